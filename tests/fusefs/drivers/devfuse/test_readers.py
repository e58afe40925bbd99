"""Readers through the page cache share a handle, and who lists a large directory is asked whether it wants statuses."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs import Kind, Stack
from fusefs.drivers.devfuse import wire
from fusefs.drivers.devfuse.wire import Opcode
from fusefs.union import Union
from tests.fusefs.drivers.devfuse.kernel import Kernel, fields

MANY = 1000


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[Kernel]:
    lower, upper, work = (tmp_path / name for name in ("lower", "upper", "work"))
    for path in (lower / "dir", upper, work):
        path.mkdir(parents=True)
    (lower / "file").write_bytes(b"lower")
    for number in range(MANY):
        (lower / "dir" / f"name{number}").touch()
    union = Union(Stack((lower,), upper, work))
    one = Kernel(union)
    yield one
    one.dispatcher.close()
    union.close()


def read(kernel: Kernel, node: int, handle: int) -> bytes:
    return kernel.ask(Opcode.READ, node, wire.READ_IN.codec.pack(handle, 0, 100, 0, 0, 0, 0))


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_readers_share_a_handle_which_stays(kernel: Kernel) -> None:
    node = kernel.lookup(b"file")["nodeid"]
    before = descriptors()
    first = kernel.open(node, os.O_RDONLY)["fh"]
    assert kernel.open(node, os.O_RDONLY)["fh"] == first
    assert read(kernel, node, first) == b"lower"
    assert descriptors() == before + 1
    kernel.release(node, first)
    assert read(kernel, node, first) == b"lower"
    kernel.release(node, first)
    assert descriptors() == before, "the last reader closes the file in its layer"
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        kernel.release(node, first)
    assert kernel.open(node, os.O_RDONLY)["fh"] == first
    assert read(kernel, node, first) == b"lower"


def test_who_writes_has_a_handle_of_its_own_and_readers_see_it(kernel: Kernel) -> None:
    node = kernel.lookup(b"file")["nodeid"]
    reader = kernel.open(node, os.O_RDONLY)["fh"]
    writer = kernel.open(node, os.O_RDWR)["fh"]
    assert writer != reader
    kernel.ask(Opcode.WRITE, node, wire.WRITE_IN.codec.pack(writer, 0, 5, 0, 0, 0, 0) + b"UPPER")
    assert read(kernel, node, reader) == b"UPPER"
    later = kernel.open(node, os.O_RDONLY)["fh"]
    assert later != reader, "its data has moved"
    for handle in (reader, writer, later):
        kernel.release(node, handle)
    again = kernel.open(node, os.O_RDONLY)
    assert again["open_flags"] & wire.Fopen.PASSTHROUGH
    assert again["backing_id"]


def test_a_forgotten_file_leaves_nothing(kernel: Kernel) -> None:
    node = kernel.lookup(b"file")["nodeid"]
    before = descriptors()
    handle = kernel.open(node, os.O_RDONLY)["fh"]
    read(kernel, node, handle)
    kernel.release(node, handle)
    known = kernel.dispatcher.nodes.find(node).node
    assert known.pins == 2
    kernel.ask(Opcode.FORGET, node, wire.FORGET_IN.codec.pack(1))
    assert known.pins == 0
    assert descriptors() == before


def test_each_reader_is_recorded_and_a_file_that_waits_for_the_next_is_not(kernel: Kernel) -> None:
    node = kernel.lookup(b"file")["nodeid"]
    seen: list[tuple[Kind, str, int | None]] = []
    union = kernel.dispatcher.union
    union.record = lambda operation: seen.append((operation.kind, operation.path, operation.layer))
    handles = [kernel.open(node, os.O_RDONLY)["fh"] for _ in range(2)]
    assert handles[0] == handles[1]
    for handle in handles:
        kernel.release(node, handle)
    kernel.ask(Opcode.FORGET, node, wire.FORGET_IN.codec.pack(1))
    kernel.dispatcher.close()
    assert seen == [(kind, "/file", 1) for kind in (Kind.OPEN, Kind.OPEN, Kind.RELEASE, Kind.RELEASE)]


def listing(kernel: Kernel, node: int, position: int, size: int = 32768) -> list[tuple[int, int, bytes]]:
    """Return node ID, position and name of each entry of an answer to READDIRPLUS."""
    data = kernel.ask(Opcode.READDIRPLUS, node, wire.READ_IN.codec.pack(0, position, size, 0, 0, 0, 0))
    found, at = [], 0
    while at < len(data):
        entry = fields(wire.DIRENT_PLUS, data[at:])
        start = at + wire.DIRENT_PLUS.size
        found.append((entry["nodeid"], entry["off"], data[start : start + entry["namelen"]]))
        at = (start + entry["namelen"] + 7) & ~7
    return found


def test_a_large_listing_begins_with_a_few_statuses(kernel: Kernel) -> None:
    node = kernel.lookup(b"dir")["nodeid"]
    first = listing(kernel, node, 0)
    assert len(first) == 16
    names, position = [name for _, _, name in first], first[-1][1]
    while page := listing(kernel, node, position):
        assert len(page) > 16 or len(names) + len(page) == MANY + 2
        assert all(known for known, _, _ in page)
        names += [name for _, _, name in page]
        position = page[-1][1]
    assert sorted(names) == sorted([b".", b"..", *(b"name%d" % number for number in range(MANY))])


def test_a_small_listing_comes_whole(kernel: Kernel) -> None:
    assert [name for _, _, name in listing(kernel, 1, 0)[:2]] == [b".", b".."]
    assert len(listing(kernel, 1, 0)) == 4
    assert listing(kernel, 1, listing(kernel, 1, 0)[-1][1]) == []
