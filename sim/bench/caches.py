"""The state of the kernel's caches before a sample.

Decided here and only here: what cold and settled mean. Settled: nothing is waiting to be written on the filesystem that
is measured on, so that no sample pays for the one before it. Cold: also the kernel's caches of pages, names and status
were dropped, of every filesystem; only root can. Functions only; one thread.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from fusefs import syscalls

__all__ = ["can_drop", "drop", "settle"]

_DROP = "/proc/sys/vm/drop_caches"


def settle(place: Path) -> None:
    """Write out all that waits on the filesystem of a directory."""
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            syscalls.syncfs(fd)
    finally:
        os.close(fd)


def can_drop() -> bool:
    """Whether this process may drop the kernel's caches."""
    return os.access(_DROP, os.W_OK)


def drop() -> None:
    """Drop the kernel's caches of pages, names and status (Documentation/admin-guide/sysctl/vm.rst, drop_caches)."""
    Path(_DROP).write_text("3")
