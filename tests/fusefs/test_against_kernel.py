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
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fusefs import Format, Options, Redirect, Stack, UnionFS, syscalls
from fusefs.drivers.overlayfs import mount_overlay
from tests.fusefs.strategies import operations, worlds
from tests.fusefs.worlds import Mounted, Seen, Thing, World, build, look, perform

EXAMPLES = int(os.environ.get("LAYERLAB_EXAMPLES", "100"))


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


def _modified(where: Mounted | UnionFS, path: str) -> int | None:
    """Return the time of change of an object in ns, None where there is none."""
    try:
        return (where.lstat("/" + path) if isinstance(where, UnionFS) else os.lstat(where.at(path))).st_mtime_ns
    except OSError:
        return None


def perform_both(theirs: Mounted, mine: Mounted | UnionFS, step: tuple[Any, ...]) -> tuple[object, object]:
    """Do one operation by the kernel and by us; return what a caller would see of each.

    A rename that is refused since its target is not empty can leave the directory that it should have moved out of with
    a new time of change, for the kernel alone (`fusefs.differences`). Ours then gets that time as well: so just this
    time of just this directory is left out, and whatever happens to it afterwards is compared.
    """
    above = os.path.dirname(step[1]) if step[0] == "rename" else ""
    before = (_modified(theirs, above), _modified(mine, above))
    expected, found = perform(theirs, step), perform(mine, step)
    if step[0] == "rename" and expected == found == "ENOTEMPTY":
        after = (_modified(theirs, above), _modified(mine, above))
        if before[0] != after[0] and before[1] == after[1]:
            perform(mine, ("utimens", above, after[0]))
    return expected, found


#: Stacks on which the same is expected of both: name, options, the place, whether inode numbers are compared.
SETTINGS = {
    "default": (Options(), None),
    "no index": (Options(index=False), None),
    "redirect": (Options(redirect=Redirect.ON), None),
    "no cache": (Options(cache=False), None),
    "metacopy": (Options(metacopy=True, redirect=Redirect.ON), None),
    "user": (Options(marks=Format.USER, index=False), None),
    "oci": (Options(marks=Format.OCI), None),
    "tmpfs": (Options(), "/dev/shm"),
}

#: One layer with directories in directories.
DIRECTORIES: World = [{path: Thing("dir", mode=0o755) for path in ("a", "a/a", "c", "c/b", "c/b/a")}]

#: A directory that a read-only layer shows is renamed onto one of the upper that is not empty.
REFUSED = [("mkdir", "b", 0o755), ("mkdir", "b/a", 0o755), ("rename", "c/b", "b", 0)]

#: The same with redirects off: an own directory stands where a read-only layer has a file.
OVER_A_FILE: World = [{"c": Thing("dir", mode=0o755), "c/b": Thing("file", "x")}]
REPLACED = [("unlink", "c/b"), ("mkdir", "c/b", 0o755), ("utimens", "c", 1_000_000_001)]

#: What the kernel does otherwise with the option userxattr, see `fusefs.differences`.
_NOT_FOR_USERS = ("symlink", "mkfifo", "link")


def fits(name: str, world: World, steps: list[tuple[Any, ...]]) -> tuple[World, list[tuple[Any, ...]]]:
    """Leave out what two implementations do differently in this setting, for a known reason."""
    if name != "user":
        return world, steps
    kept = [
        {path: thing for path, thing in layer.items() if thing.kind not in ("fifo", "symlink", "link")}
        for layer in world
    ]
    return kept, [
        step for step in steps if step[0] not in _NOT_FOR_USERS and "trusted.overlay" not in " ".join(map(str, step))
    ]


@pytest.mark.usefixtures("overlayfs")
@pytest.mark.parametrize("setting", SETTINGS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), report_multiple_bugs=False)
@given(world=worlds, steps=st.lists(operations, min_size=5, max_size=40))
@example(world=DIRECTORIES, steps=[("rename", "c/b", "a", 0)])  # onto a directory of a lower layer that is not empty
@example(world=DIRECTORIES, steps=REFUSED)
@example(world=DIRECTORIES, steps=[*REFUSED, ("utimens", "c", 0)])  # the time is compared again once it is set
@example(world=OVER_A_FILE, steps=[*REPLACED, *REFUSED])
def test_every_step_is_the_kernels(setting: str, world: World, steps: list[tuple[Any, ...]]) -> None:
    os.umask(0o022)
    options, where = SETTINGS[setting]
    world, steps = fits(setting, world, steps)
    place = Path(tempfile.mkdtemp(dir=where))
    try:
        lower = build(world, place, "user" if options.marks is Format.USER else "trusted")
        oci = options.marks is Format.OCI  # which the kernel cannot read
        with (
            kernel(lower, place, "kernel", Options(index=False) if oci else options) as theirs,
            ours(lower, place, "ours", options) as mine,
        ):
            same(look(theirs), look(mine), lower)
            for number, step in enumerate(steps):
                expected, found = perform_both(theirs, mine, step)
                assert (number, step, found) == (number, step, expected)
            after = look(theirs)
            same(after, look(mine), lower)
        if not oci:
            with kernel(lower, place, "ours", options) as theirs, ours(lower, place, "kernel", options) as mine:
                same(after, look(theirs), lower)
                same(after, look(mine), lower)
        with ours(lower, place, "ours", options) as mine:
            same(after, look(mine), [] if oci else lower)
    finally:
        shutil.rmtree(place)
