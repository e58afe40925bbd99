"""Every way in which the kernel may remember, against its own overlayfs: after each step all that is seen is compared.

All is looked at before the first step, so each later look is answered from what the kernel remembers, where it does.
Files are also held open from the start, and read through those descriptors at the end.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusefs import Options, Redirect, Stack, mount
from fusefs.drivers.devfuse import Passthrough, Tuning
from tests.fusefs.strategies import operations, worlds
from tests.fusefs.test_against_kernel import kernel, perform_both, same
from tests.fusefs.worlds import Mounted, World, build, look

EXAMPLES = max(4, int(os.environ.get("LAYERLAB_EXAMPLES", "100")) // 12)

WAYS = {
    "passthrough": (Options(), Tuning(), True),
    "all in passthrough": (Options(), Tuning(passthrough=Passthrough.ALL), False),
    "page cache": (Options(), Tuning(passthrough=Passthrough.OFF), True),
    "page cache, not filled": (Options(), Tuning(passthrough=Passthrough.OFF, prefill=0), True),
    "no cache": (Options(cache=False), Tuning(), True),
    "forgetful": (Options(), Tuning(nodes=4), True),
    "links apart": (Options(index=False), Tuning(), True),
    "redirects": (Options(redirect=Redirect.ON), Tuning(), True),
}


def hold(where: Mounted) -> dict[str, int]:
    """Open every file for reading; return the descriptors by path."""
    held = {}
    for directory, _, files in os.walk(where.root):
        for name in files:
            path = os.path.join(directory, name)
            # The kernel lists the whiteouts of a directory that is in one layer only.
            if os.path.lexists(path) and stat.S_ISREG(os.lstat(path).st_mode):
                held[os.path.relpath(path, where.root)] = os.open(path, os.O_RDONLY)
    return held


def through(held: dict[str, int]) -> dict[str, tuple[bytes, int]]:
    """Return what is read through descriptors, and the size that they have."""
    return {path: (os.pread(fd, 1 << 20, 0), os.fstat(fd).st_size) for path, fd in held.items()}


@pytest.mark.usefixtures("overlayfs", "fuse")
@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)
@given(world=worlds, steps=st.lists(operations, min_size=10, max_size=30))
def test_nothing_stale_is_seen(way: str, world: World, steps: list[tuple[Any, ...]]) -> None:
    options, tuning, keeps_open = WAYS[way]
    os.umask(0o022)
    place = Path(tempfile.mkdtemp())
    held: list[dict[str, int]] = []
    try:
        lower = build(world, place)
        upper, work, merged = place / "ours-upper", place / "ours-work", place / "ours-merged"
        for path in (upper, work, merged):
            path.mkdir()
        with kernel(lower, place, "kernel", options) as theirs:
            try:
                with mount(Stack(tuple(lower), upper, work), merged, driver="devfuse", options=options, tuning=tuning):
                    mine = Mounted(merged)
                    held = [hold(one) for one in (theirs, mine)] if keeps_open else []
                    same(look(theirs), look(mine), lower)
                    for number, step in enumerate(steps):
                        if step[0] == "chown" and step[2:] == (-1, -1):
                            continue
                        expected, found = perform_both(theirs, mine, step)
                        assert (number, step, found) == (number, step, expected)
                        same(look(theirs), look(mine), lower)
                    if held:
                        assert through(held[1]) == through(held[0])
                    for fd in [fd for one in held for fd in one.values()]:
                        os.close(fd)
                    held = []
            finally:
                for fd in [fd for one in held for fd in one.values()]:
                    os.close(fd)
    finally:
        shutil.rmtree(place)
