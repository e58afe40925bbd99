"""The union against the kernel's overlayfs: the same random operations, step by step, then each other's uppers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusefs import Options, Stack, UnionFS, syscalls
from fusefs.drivers.overlayfs import mount_overlay
from tests.fusefs.strategies import operations, worlds
from tests.fusefs.worlds import Mounted, Seen, World, build, look, perform

EXAMPLES = int(os.environ.get("LAYERLAB_EXAMPLES", "150"))


@contextmanager
def kernel(lower: list[Path], place: Path, name: str, options: Options | None = None) -> Iterator[Mounted]:
    """Mount a stack by the kernel, with an upper of this name."""
    upper, work, merged = place / f"{name}-upper", place / f"{name}-work", place / f"{name}-merged"
    for path in (upper, work, merged):
        path.mkdir(exist_ok=True)
    mount_overlay(Stack(tuple(lower), upper, work), merged, options or Options())
    try:
        yield Mounted(merged)
    finally:
        syscalls.umount(os.fsencode(merged))


@contextmanager
def ours(lower: list[Path], place: Path, name: str, options: Options | None = None) -> Iterator[UnionFS]:
    """Open a stack in this process, with an upper of this name."""
    upper, work = place / f"{name}-upper", place / f"{name}-work"
    for path in (upper, work):
        path.mkdir(exist_ok=True)
    with UnionFS(lower, upper, work, options=options) as fs:
        yield fs


def same(one: dict[str, Seen], other: dict[str, Seen], lower: list[Path]) -> None:
    """Compare two views; inode numbers where they come from a read-only layer, as they then must be equal."""
    known = {os.lstat(os.path.join(at, name)).st_ino for root in lower for at, d, f in os.walk(root) for name in d + f}
    for path in sorted(set(one) | set(other)):
        assert path in one, f"only the union has /{path}"
        assert path in other, f"only the kernel has /{path}"
        left, right = one[path], other[path]
        numbers = path and (left.inode in known or right.inode in known)
        mine, theirs = (
            (seen.status, seen.content, seen.attributes, seen.modified, seen.inode if numbers else 0)
            for seen in (right, left)
        )
        assert mine == theirs, f"/{path}: {mine} is not the kernel's {theirs}"


@pytest.mark.usefixtures("overlayfs")
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(world=worlds, steps=st.lists(operations, min_size=5, max_size=40))
def test_every_step_is_the_kernels(world: World, steps: list[tuple[Any, ...]]) -> None:
    os.umask(0o022)
    place = Path(tempfile.mkdtemp())
    try:
        lower = build(world, place)
        with kernel(lower, place, "kernel") as theirs, ours(lower, place, "ours") as mine:
            same(look(theirs), look(mine), lower)
            for number, step in enumerate(steps):
                expected = perform(theirs, step)
                assert (number, step, perform(mine, step)) == (number, step, expected)
            after = look(theirs)
            same(after, look(mine), lower)
        with kernel(lower, place, "ours") as theirs, ours(lower, place, "kernel") as mine:
            same(after, look(theirs), lower)
            same(after, look(mine), lower)
        with ours(lower, place, "ours") as mine:
            same(after, look(mine), lower)
    finally:
        shutil.rmtree(place)
