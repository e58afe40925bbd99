"""The RW layer worked out from the journal, compared with the directory on disk after every single operation."""

from __future__ import annotations

import contextlib
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusefs import Operation, Options, Redirect, UnionFS
from sim.graph.directory import directory_layer, read_directory
from sim.graph.entry import Entry, Role
from sim.graph.merge import merged
from sim.graph.replay import Replay, first_state
from tests.sim.graph.conftest import altered

PATHS = ["/a", "/b", "/d", "/d/a", "/d/b", "/d/e", "/d/e/a", "/d/e/b", "/n", "/n/a", "/n/m"]
paths = st.sampled_from(PATHS)


def write(fs: UnionFS, path: str, other: str, number: int) -> None:
    fs.write_bytes(path, b"w" * number)


def append(fs: UnionFS, path: str, other: str, number: int) -> None:
    fs.append_bytes(path, b"a" * number)


CHANGES: dict[str, Callable[[UnionFS, str, str, int], Any]] = {
    "write": write,
    "append": append,
    "truncate": lambda fs, path, other, number: fs.truncate(path, number),
    "unlink": lambda fs, path, other, number: fs.unlink(path),
    "mkdir": lambda fs, path, other, number: fs.mkdir(path),
    "rmdir": lambda fs, path, other, number: fs.rmdir(path),
    "rename": lambda fs, path, other, number: fs.rename(path, other),
    "link": lambda fs, path, other, number: fs.link(path, other),
    "symlink": lambda fs, path, other, number: fs.symlink("x" * (number + 1), path),
    "chmod": lambda fs, path, other, number: fs.chmod(path, 0o700 + number % 8),
    "read": lambda fs, path, other, number: fs.read_bytes(path),
    "list": lambda fs, path, other, number: fs.listdir(path),
}
steps = st.lists(st.tuples(st.sampled_from(sorted(CHANGES)), paths, paths, st.integers(0, 40)), max_size=25)


def stack(root: Path) -> tuple[list[Path], Path, Path]:
    for name in ("top/d/e", "base/d/e", "base/n", "upper", "work"):
        (root / name).mkdir(parents=True)
    (root / "base/a").write_text("base a")
    (root / "base/d/a").write_text("base d a")
    (root / "base/d/e/a").write_text("x" * 30)
    (root / "base/n/a").write_text("n")
    (root / "top/d/b").write_text("top b")
    (root / "top/d/e/b").write_text("top e b")
    (root / "top/.wh.b").write_text("")
    (root / "base/b").write_text("hidden by the top layer")
    return [root / "top", root / "base"], root / "upper", root / "work"


def shape(entries: dict[str, Entry]) -> dict[str, tuple[object, ...]]:
    return {path: (e.type, e.size, e.target, e.redirect) for path, e in entries.items()}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps, redirect=st.sampled_from([Redirect.FOLLOW, Redirect.ON]))
def test_after_each_operation_the_replay_is_the_directory(
    steps: list[tuple[str, str, str, int]], redirect: Redirect
) -> None:
    with tempfile.TemporaryDirectory() as home:
        lower, upper, work = stack(Path(home))
        layers = {number: directory_layer(path) for number, path in enumerate(lower, 1)}
        records: list[Operation] = []
        with UnionFS(lower, upper, work, record=records.append, options=Options(redirect=redirect)) as fs:
            replay = Replay(layers)
            for what, path, other, number in steps:
                with contextlib.suppress(OSError):
                    CHANGES[what](fs, path, other, number)
                for record in records:
                    replay.take(altered(record, number=replay.number + 1))
                records.clear()
                disk = dict(read_directory(upper))
                assert shape(replay.entries) == shape(disk), (what, path, other, number)
            assert replay.missing == {}


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps, redirect=st.sampled_from([Redirect.FOLLOW, Redirect.ON]))
def test_the_merged_view_is_what_the_union_shows(steps: list[tuple[str, str, str, int]], redirect: Redirect) -> None:
    with tempfile.TemporaryDirectory() as home:
        lower, upper, work = stack(Path(home))
        with UnionFS(lower, upper, work, options=Options(redirect=redirect)) as fs:
            for what, path, other, number in steps:
                with contextlib.suppress(OSError):
                    CHANGES[what](fs, path, other, number)
            layers = [directory_layer(upper, role=Role.RW), *(directory_layer(path) for path in lower)]
            assert {path: position for path, (position, _) in merged(layers).items()} == walk(fs, "/")


def walk(fs: UnionFS, path: str) -> dict[str, int | None]:
    """Return every path that the union shows, with the layer that it says it comes from."""
    found = {path: fs.layer(path)}
    if stat.S_ISDIR(fs.lstat(path).st_mode):
        for name in fs.listdir(path):
            found |= walk(fs, f"{path.rstrip('/')}/{name}")
    return found


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=steps, steps=steps)
def test_what_was_there_before_the_journal_is_found_out(
    before: list[tuple[str, str, str, int]], steps: list[tuple[str, str, str, int]]
) -> None:
    with tempfile.TemporaryDirectory() as home:
        lower, upper, work = stack(Path(home))
        layers = {number: directory_layer(path) for number, path in enumerate(lower, 1)}
        with UnionFS(lower, upper, work) as fs:
            for what, path, other, number in before:
                with contextlib.suppress(OSError):
                    CHANGES[what](fs, path, other, number)
        start = read_directory(upper)
        records: list[Operation] = []
        with UnionFS(lower, upper, work, record=records.append) as fs:
            for what, path, other, number in steps:
                with contextlib.suppress(OSError):
                    CHANGES[what](fs, path, other, number)
        found = first_state(records, layers, read_directory(upper))
        assert found.keys() - {"/"} <= start.keys()
        # What a rename replaced, or was in a directory that was moved or removed, leaves no trace: all else does.
        touched = {path for record in records for effect in record.effects for path in (effect.path, effect.target)}
        untouched = {path for path in start if not any(path == t or path.startswith(t + "/") for t in touched if t)}
        assert untouched - {"/"} <= found.keys()
