"""Each message in words: what the kernel asks, and what it is told.

Decided here and only here: how a message is shown. One line for a request, one for its answer; fields that are 0 are
left out. Threads: any; lines are written whole.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

from fusefs.drivers.devfuse import wire
from fusefs.drivers.devfuse.wire import MESSAGES, Fopen, Shape

__all__ = ["Trace", "describe_answer", "describe_request"]

_SHOWN = 60


def _fields(shape: Shape, data: bytes | memoryview) -> str:
    if len(data) < shape.size:
        return f"{len(data)} bytes, too short for {shape.name}"
    values = zip(shape.names, shape.codec.unpack_from(data), strict=True)
    words = []
    for name, value in values:
        if name in ("open_flags", "flags") and shape is wire.OPEN_OUT:
            words.append(f"{name}={'|'.join(flag.name or '' for flag in Fopen if value & flag)}")
        elif name == "mode":
            words.append(f"mode={value:o}")
        elif value and not name.startswith(("padding", "dummy", "spare", "unused")):
            words.append(f"{name}={value}")
    return " ".join(words)


def _text(data: bytes) -> str:
    shown = data[:_SHOWN].decode("utf-8", "backslashreplace")
    return repr(shown) + ("…" if len(data) > _SHOWN else "")


def describe_request(request: memoryview) -> str:
    """Return a request in words.

    >>> body = b"etc" + bytes(1)
    >>> head = wire.IN_HEADER.codec.pack(40 + len(body), 1, 7, 1, 0, 0, 4711, 0, 0)
    >>> describe_request(memoryview(head + body))
    "#7 LOOKUP node 1 'etc' for pid 4711"
    """
    length, opcode, unique, node_id, _, _, pid, _, _ = wire.IN_HEADER.codec.unpack_from(request)
    body = bytes(request[wire.IN_HEADER.size : length])
    message = MESSAGES.get(opcode)
    if message is None:
        return f"#{unique} request {opcode} node {node_id}, {len(body)} bytes"
    words = [f"#{unique} {message.opcode.name} node {node_id}"]
    if message.shape is not None:
        words.append(_fields(message.shape, body))
        body = body[message.shape.size :]
    words += [_text(name) for name in body.split(b"\0")[: message.names]]
    if pid:
        words.append(f"for pid {pid}")
    return " ".join(word for word in words if word)


def describe_answer(opcode: int, header: bytes, answer: bytes) -> str:
    """Return an answer in words."""
    _, code, unique = wire.OUT_HEADER.codec.unpack(header)
    if code:
        return f"#{unique} = {errno.errorcode.get(-code, str(-code))}"
    message = MESSAGES.get(opcode)
    shape = message.answer if message is not None else None
    words = [f"#{unique} ="]
    if isinstance(shape, Shape):
        words.append(_fields(shape, answer))
        if len(answer) >= shape.size + wire.OPEN_OUT.size and shape is wire.ENTRY_OUT:
            words.append(_fields(wire.OPEN_OUT, answer[shape.size :]))
    elif answer:
        words.append(f"{len(answer)} bytes")
    else:
        words.append("done")
    return " ".join(words)


class Trace:
    """Where the words go.

    Parameters
    ----------
    path
        A file, to whose end they are added; `-` for standard error.
    """

    def __init__(self, path: str) -> None:
        self._fd = (
            os.dup(sys.stderr.fileno())
            if path == "-"
            else os.open(Path(path), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        )

    def request(self, request: memoryview) -> None:
        """Show a request."""
        os.write(self._fd, describe_request(request).encode(errors="surrogateescape") + b"\n")

    def answer(self, opcode: int, header: bytes, answer: bytes) -> None:
        """Show an answer."""
        os.write(self._fd, describe_answer(opcode, header, answer).encode(errors="surrogateescape") + b"\n")

    def close(self) -> None:
        """Write no more."""
        os.close(self._fd)
