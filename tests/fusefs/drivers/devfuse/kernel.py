"""A kernel of paper: sends requests to the dispatcher, and takes note of what it would have been told."""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass, field

from fusefs.drivers.devfuse import Tuning, wire
from fusefs.drivers.devfuse.device import Device
from fusefs.drivers.devfuse.dispatch import Dispatcher
from fusefs.drivers.devfuse.options import Passthrough
from fusefs.drivers.devfuse.wire import Opcode, Shape
from fusefs.union import Union


@dataclass
class PaperDevice(Device):
    """A device that only takes notes."""

    fd: int = -1
    told: list[tuple[str, object]] = field(default_factory=list)
    backing: dict[int, int] = field(default_factory=dict)
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def forget_status(self, node_id: int) -> None:
        self.told.append(("status", node_id))

    def forget_listing(self, node_id: int) -> None:
        self.told.append(("listing", node_id))

    def store(self, node_id: int, data: bytes) -> bool:
        self.told.append(("store", (node_id, data)))
        return True

    def backing_open(self, fd: int) -> int:
        number = next(self.numbers)
        self.backing[number] = os.fstat(fd).st_ino
        return number

    def backing_close(self, backing: int) -> None:
        del self.backing[backing]


class Kernel:
    """Sends requests as the kernel does."""

    def __init__(self, union: Union, passthrough: Passthrough = Passthrough.UPPER) -> None:
        self.device = PaperDevice()
        self.dispatcher = Dispatcher(union, self.device, Tuning())
        self.dispatcher.passthrough = passthrough
        union.moved = self.dispatcher.copied_up
        self._uniques = itertools.count(2, 2)

    def ask(self, opcode: Opcode, node: int = 1, body: bytes = b"") -> bytes:
        """Send a request; return what follows the answer's header, or raise the errno."""
        unique = next(self._uniques)
        head = wire.IN_HEADER.codec.pack(wire.IN_HEADER.size + len(body), opcode, unique, node, 0, 0, 1, 0, 0)
        answer = self.dispatcher.handle(memoryview(head + body))
        if answer is None:
            return b""
        length, error, about = wire.OUT_HEADER.codec.unpack(answer[0])
        assert (length, about) == (wire.OUT_HEADER.size + len(answer[1]), unique)
        if error:
            raise OSError(-error, os.strerror(-error))
        return answer[1]

    def lookup(self, path: bytes) -> dict[str, int]:
        """Look a path up step by step; return the last entry."""
        node = 1
        entry: dict[str, int] = {}
        for name in path.split(b"/"):
            entry = fields(wire.ENTRY_OUT, self.ask(Opcode.LOOKUP, node, name + b"\0"))
            node = entry["nodeid"]
        return entry

    def open(self, node: int, flags: int) -> dict[str, int]:
        """Open a file."""
        return fields(wire.OPEN_OUT, self.ask(Opcode.OPEN, node, wire.OPEN_IN.codec.pack(flags, 0)))

    def release(self, node: int, handle: int) -> None:
        """Close a file."""
        self.ask(Opcode.RELEASE, node, wire.RELEASE_IN.codec.pack(handle, 0, 0, 0))


def fields(shape: Shape, data: bytes) -> dict[str, int]:
    """Return the fields of a structure."""
    return dict(zip(shape.names, shape.codec.unpack_from(data), strict=True))
