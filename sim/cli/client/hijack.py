"""Connections that are no longer HTTP: attach and exec.

Decided here and only here: how the 8-byte frames are taken apart (1 byte stream, 3 zero, 4 bytes length), and how the
end of the input is told to the engine. One thread reads, another may write.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

__all__ = ["Hijacked", "frames"]

_HEAD = struct.Struct(">BxxxL")


class Hijacked:
    """A two-way connection with a container's process. A context manager, which closes it."""

    def __init__(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
        self._connection = connection
        # What came right behind the head is in the reader's buffer already.
        self._reader = answer.fp
        sock = connection.sock
        if sock is None:  # the answer took it over, as its body goes on until the connection's end
            sock = answer.fp.raw._sock  # type: ignore[attr-defined]
        self._socket: socket.socket = sock

    def __enter__(self) -> Self:
        """Return the same."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def send(self, data: bytes) -> None:
        """Send input."""
        self._socket.sendall(data)

    def end_input(self) -> None:
        """Tell the engine that no more input comes; output still does."""
        with contextlib.suppress(OSError):
            # The plain socket's: an encrypted one's would end both directions.
            socket.socket.shutdown(self._socket, socket.SHUT_WR)

    def chunks(self) -> Iterator[bytes]:
        """Yield output as it comes, as it is."""
        with contextlib.suppress(ConnectionResetError):
            while data := self._reader.read1(1 << 16):
                yield data

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        self._connection.close()


def frames(chunks: Iterator[bytes], take: Callable[[int, memoryview], None]) -> None:
    """Take frames apart.

    Parameters
    ----------
    chunks
        What comes.
    take
        Gets the number of the stream (1 output, 2 errors, 3 the engine's own error) and the data.

    Examples
    --------
    >>> found = []
    >>> come = [bytes([1, 0, 0, 0, 0, 0]), bytes([0, 2]) + b"hi" + bytes(3)]
    >>> frames(iter(come), lambda number, data: found.append((number, bytes(data))))
    >>> found
    [(1, b'hi')]
    """
    waiting = bytearray()
    for data in chunks:
        waiting += data
        at = 0
        view = memoryview(waiting)
        while len(view) - at >= 8:
            stream, size = _HEAD.unpack_from(view, at)
            if len(view) - at < 8 + size:
                break
            take(stream, view[at + 8 : at + 8 + size])
            at += 8 + size
        view.release()
        del waiting[:at]
