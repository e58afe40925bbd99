"""Each driver against the kernel's overlayfs: the same random operations on two mounts, step by step."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from fusefs import Stack, mount
from fusefs.mount import DRIVERS
from tests.fusefs.strategies import operations, worlds
from tests.fusefs.test_against_kernel import kernel, perform_both, same
from tests.fusefs.worlds import Mounted, World, build, look

EXAMPLES = int(os.environ.get("LAYERLAB_EXAMPLES", "100")) // 5

FUSE_DRIVERS = [driver for driver in DRIVERS if driver != "overlayfs"]


def possible(driver: str, step: tuple[Any, ...]) -> bool:
    """Tell whether a driver's protocol can carry an operation (`fusefs.differences` has the reasons)."""
    if step[0] == "chown" and step[2:] == (-1, -1):
        return False
    return driver != "fuse-python" or not (step[0] == "rename" and step[3])


@pytest.mark.usefixtures("overlayfs", "fuse")
@pytest.mark.parametrize("driver", FUSE_DRIVERS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)
@given(world=worlds, steps=st.lists(operations, min_size=10, max_size=60))
def test_every_step_is_the_kernels(driver: str, world: World, steps: list[tuple[Any, ...]]) -> None:
    steps = [step for step in steps if possible(driver, step)]
    assume(steps)
    os.umask(0o022)
    place = Path(tempfile.mkdtemp())
    try:
        lower = build(world, place)
        upper, work, merged = place / "ours-upper", place / "ours-work", place / "ours-merged"
        for path in (upper, work, merged):
            path.mkdir()
        coarse = driver == "fuse-python"
        with kernel(lower, place, "kernel") as theirs:
            with mount(Stack(tuple(lower), upper, work), merged, driver=driver):
                mine = Mounted(merged)
                same(look(theirs, seconds_only=coarse), look(mine, seconds_only=coarse), lower)
                for number, step in enumerate(steps):
                    expected, found = perform_both(theirs, mine, step)
                    assert (number, step, found) == (number, step, expected)
                same(look(theirs, seconds_only=coarse), look(mine, seconds_only=coarse), lower)
            after = look(theirs)
        with kernel(lower, place, "ours") as theirs:
            same(after, look(theirs), lower)
    finally:
        shutil.rmtree(place)
