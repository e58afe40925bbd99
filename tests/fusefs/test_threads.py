"""Many callers at once: slow copy-ups hold up nobody else, nothing gets lost, nothing is remembered for ever."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fusefs import Format, Options, UnionFS, copyup, syscalls
from fusefs.node import Node
from tests.fusefs.worlds import look, perform


@pytest.fixture
def fs(tmp_path: Path) -> Iterator[UnionFS]:
    for name in ("lower/dir", "upper", "work"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("large", "other", "dir/inner"):
        (tmp_path / "lower" / name).write_bytes(b"0123456789")
    marks = None if os.geteuid() == 0 else Format.USER
    with UnionFS([tmp_path / "lower"], tmp_path / "upper", tmp_path / "work", options=Options(marks=marks)) as fs:
        yield fs


class Slow:
    """Makes the copying of data wait until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started, self.go_on = threading.Event(), threading.Event()
        real = copyup.copy_data

        def copy(*arguments: Any) -> tuple[int, bool]:
            self.started.set()
            assert self.go_on.wait(20)
            return real(*arguments)

        monkeypatch.setattr(copyup, "copy_data", copy)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    return Slow(monkeypatch)


def start(action: Callable[[], object]) -> threading.Thread:
    """Run something in a thread that must end without an exception."""
    thread = threading.Thread(target=action)
    thread.start()
    return thread


def test_a_slow_copy_up_holds_up_nobody_else(fs: UnionFS, slow: Slow) -> None:
    writer = start(lambda: fs.append_bytes("/large", b"!"))
    assert slow.started.wait(20)
    assert fs.listdir("/") == ["dir", "large", "other"]
    assert fs.read_bytes("/large") == b"0123456789"
    fs.mkdir("/new")
    fs.unlink("/other")
    fs.rename("/new", "/newer")
    assert fs.stat("/large").st_size == 10
    assert writer.is_alive()
    slow.go_on.set()
    writer.join()
    assert fs.read_bytes("/large") == b"0123456789!"


def test_a_file_removed_while_it_is_copied_stays_removed(fs: UnionFS, slow: Slow) -> None:
    with fs.open("/large") as file:
        writer = start(lambda: fs.union.copy_up(file.node))
        assert slow.started.wait(20)
        fs.unlink("/large")
        slow.go_on.set()
        writer.join()
        assert not fs.exists("/large")
        assert fs.union.read(file, 100, 0) == b"0123456789"
        fs.union.truncate(file.node, 3)
        assert fs.union.read(file, 100, 0) == b"012"
        assert fs.union.attributes(file.node).st_nlink == 0
    assert not fs.exists("/large")


def test_a_file_renamed_while_it_is_copied_is_copied_to_its_new_name(fs: UnionFS, slow: Slow, tmp_path: Path) -> None:
    writer = start(lambda: fs.append_bytes("/large", b"!"))
    assert slow.started.wait(20)
    mover = start(lambda: fs.rename("/large", "/dir/moved"))
    slow.go_on.set()
    writer.join()
    mover.join()
    assert fs.read_bytes("/dir/moved") == b"0123456789!"
    assert not fs.exists("/large")
    assert not (tmp_path / "upper" / "large").is_file()


def test_readers_go_on_while_others_copy_up(fs: UnionFS) -> None:
    wrong: list[bytes] = []

    def read() -> None:
        with fs.open("/large") as file:
            for _ in range(300):
                data = fs.union.read(file, 10, 0)
                if data not in (b"0123456789", b"ABCDE56789"):
                    wrong.append(data)

    def write() -> None:
        with fs.open("/large", os.O_RDWR) as file:
            for _ in range(100):
                fs.union.write(file, b"ABCDE", 0)

    threads = [start(action) for action in (read, write, read, write, read)]
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_storm_of_operations_leaves_a_sound_tree(fs: UnionFS, tmp_path: Path) -> None:
    names = [*"abcdef", "dir", "large", "other"]
    paths = [*names, *(f"dir/{name}" for name in "abcd"), "a/x", "b/x"]
    surprises: list[BaseException] = []

    def storm(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(250):
            one, other = chance.choice(paths), chance.choice(paths)
            step = chance.choice([
                ("mkdir", one, 0o755), ("rmdir", one), ("unlink", one), ("rename", one, other, 0), ("link", one, other),
                ("write", one, os.O_WRONLY | os.O_CREAT, b"data", 0), ("read", one), ("chmod", one, 0o700),
                ("listdir", one), ("stat", one), ("truncate", one, 2), ("symlink", "x", one),
            ])  # fmt: skip
            try:
                perform(fs, step)
            except BaseException as error:
                surprises.append(error)

    threads = [start(lambda seed=seed: storm(seed)) for seed in range(6)]  # type: ignore[misc]
    for thread in threads:
        thread.join()
    assert surprises == []
    before = look(fs)
    held = [node for node in nodes(fs.union.root) if node.pins]
    assert held == [fs.union.root]
    fs.close()
    marks = None if os.geteuid() == 0 else Format.USER
    with UnionFS([tmp_path / "lower"], tmp_path / "upper", tmp_path / "work", options=Options(marks=marks)) as again:
        assert look(again) == before


def nodes(node: Node) -> list[Node]:
    """Return a node and all known ones below it."""
    return [node, *(found for child in set(node.children.values()) for found in nodes(child))]


def test_what_nobody_holds_is_forgotten(fs: UnionFS, tmp_path: Path) -> None:
    fs.union.nodes_kept = 50
    for number in range(20):
        (tmp_path / "lower" / f"d{number}").mkdir()
        for inner in range(20):
            (tmp_path / "lower" / f"d{number}" / f"f{inner}").touch()
    numbers = {path: fs.stat(path).st_ino for number in range(20) for inner in range(20)
               for path in [f"/d{number}/f{inner}"]}  # fmt: skip
    assert len(nodes(fs.union.root)) < 120
    descriptors = len(os.listdir("/proc/self/fd"))
    assert {path: fs.stat(path).st_ino for path in numbers} == numbers
    assert len(os.listdir("/proc/self/fd")) <= descriptors + 1


def test_two_unions_share_a_lower_layer_but_never_an_upper(fs: UnionFS, tmp_path: Path) -> None:
    from fusefs import LayerError

    for name in ("upper2", "work2"):
        (tmp_path / name).mkdir()
    with UnionFS([tmp_path / "lower"], tmp_path / "upper2", tmp_path / "work2", options=fs.union.options) as other:
        fs.append_bytes("/large", b" one")
        other.append_bytes("/large", b" two")
        assert (fs.read_bytes("/large"), other.read_bytes("/large")) == (b"0123456789 one", b"0123456789 two")
    for upper, work in (("upper", "work2"), ("upper2", "work")):
        with pytest.raises(LayerError, match="another mount uses this"):
            UnionFS([tmp_path / "lower"], tmp_path / upper, tmp_path / work)
    with UnionFS([tmp_path / "lower"], tmp_path / "upper2", tmp_path / "work2", options=fs.union.options):
        pass


def test_waiting_writers_copy_once_after_a_copy_up_that_failed(fs: UnionFS, monkeypatch: pytest.MonkeyPatch) -> None:
    real = copyup.copy_data
    first, fail = threading.Event(), threading.Event()
    copies: list[int] = []

    def copy(*arguments: Any) -> tuple[int, bool]:
        copies.append(1)
        if len(copies) == 1:
            first.set()
            assert fail.wait(20)
            raise OSError(5, "Input/output error")
        return real(*arguments)

    monkeypatch.setattr(copyup, "copy_data", copy)
    results: list[str] = []

    def write() -> None:
        try:
            with fs.open("/large", os.O_RDWR) as file:
                fs.union.write(file, b"ABCDE", 0)
            results.append("written")
        except OSError as error:
            results.append(str(error.strerror))

    threads = [start(write)]
    assert first.wait(20)
    threads += [start(write) for _ in range(8)]
    fail.set()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["Input/output error", *["written"] * 8]
    assert len(copies) == 2
    assert fs.read_bytes("/large") == b"ABCDE56789"


def test_before_it_waits_for_a_disk_or_another_copy_up_it_says_so(
    fs: UnionFS, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow.go_on.set()
    caller = fs.union.caller
    told: list[str] = []
    sync = os.fsync

    def told_sync(fd: int) -> None:
        told.append("sync")
        sync(fd)

    monkeypatch.setattr(os, "fsync", told_sync)
    monkeypatch.setattr(syscalls, "clone_file", lambda *_: False)

    def write(name: str) -> None:
        caller.waits = lambda: told.append("waits")
        fs.append_bytes(name, b"!")

    write("/large")
    assert told == ["waits", "sync"]

    told.clear()
    slow.started.clear()
    slow.go_on.clear()
    writer = start(lambda: fs.append_bytes("/other", b"?"))
    assert slow.started.wait(20)
    another = start(lambda: write("/other"))
    while "waits" not in told:
        assert another.is_alive()
    slow.go_on.set()
    writer.join()
    another.join()
    assert told == ["waits", "sync"], "the second one found the copy of the first"


def test_before_it_copies_much_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(syscalls, "clone_file", lambda *_: False)
    with open(tmp_path / "from", "w+b") as source, open(tmp_path / "to", "w+b") as target:
        for size, expected in ((1 << 16, []), (1 << 17, ["waits"])):
            source.write(b"x" * size)
            source.flush()
            copyup.copy_data(source.fileno(), target.fileno(), size, 1 << 20, waits=lambda: told.append("waits"))
            assert told == expected
