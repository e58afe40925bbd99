"""Directories of builds, and how they go.

Decided here and only here: what stands in the way of removing one: what is still mounted there, and the directory that
the kernel's overlayfs leaves in a work directory, which its owner may not list. Functions; any thread.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from fusefs.errors import FusefsError
from fusefs.mount import find_mount
from sim.images.unpack import remove_tree

__all__ = ["discard"]


def discard(place: Path) -> None:
    """Remove the directory of a build or of one of its steps, with all that is in it.

    Raises
    ------
    OSError
        It cannot be removed.
    """
    for mounted in (*place.glob("merged"), *place.glob("*/merged")):
        with contextlib.suppress(FusefsError):
            found = find_mount(mounted)
            if found is not None:
                found.unmount()
    if os.geteuid() != 0:
        for closed in (*place.glob("work/work"), *place.glob("*/work/work")):
            closed.chmod(0o700)
    parent = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_tree(parent, os.fsencode(place.name))
    finally:
        os.close(parent)
