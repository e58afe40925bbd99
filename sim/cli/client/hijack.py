"""Connections that are no longer HTTP: attach and exec.

Decided here and only here: how the 8-byte frames are taken apart (1 byte stream, 3 zero, 4 bytes length), and how the
end of the input is told to the engine. One thread reads, another may write: an encrypted connection bears only one at a
time, so it gets a thread of its own (`_Pump`), and both talk to that.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import io
    from ssl import SSLSocket

__all__ = ["Hijacked", "frames"]

_HEAD = struct.Struct(">BxxxL")


class Hijacked:
    """A two-way connection with a container's process. A context manager, which closes it."""

    def __init__(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
        self._connection = connection
        self._first = b""
        # What came right behind the head is in the reader's buffer already.
        self._reader: io.BufferedReader = answer.fp
        sock = connection.sock
        if sock is None:  # the answer took it over, as its body goes on until the connection's end
            sock = answer.fp.raw._sock  # type: ignore[attr-defined]
        self._socket: socket.socket = sock
        self._pump: _Pump | None = None
        if "ssl" in sys.modules:
            from ssl import SSLSocket

            if isinstance(sock, SSLSocket):
                self._pump = _Pump(sock)
                # What the reader has taken already comes before what the pump will take.
                self._first = self._buffered(answer)
                self._socket = self._pump.outer
                self._reader = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        """Return the same."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    @staticmethod
    def _buffered(answer: http.client.HTTPResponse) -> bytes:
        """Return what came behind the head, without waiting for more."""
        raw = answer.fp.raw._sock  # type: ignore[attr-defined]
        raw.setblocking(False)
        try:
            return bytes(answer.fp.peek()) if hasattr(answer.fp, "peek") else b""
        except OSError:
            return b""

    def send(self, data: bytes) -> None:
        """Send input."""
        self._socket.sendall(data)

    def end_input(self) -> None:
        """Tell the engine that no more input comes; output still does."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def chunks(self) -> Iterator[bytes]:
        """Yield output as it comes, as it is."""
        if self._first:
            yield self._first
        with contextlib.suppress(ConnectionResetError):
            while data := self._reader.read1(1 << 16):
                yield data

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._pump is not None:
            self._reader.close()
            self._pump.close()
        self._connection.close()


class _Pump:
    """Carries between an encrypted connection and a plain pair of sockets, in a thread of its own.

    Attributes
    ----------
    outer
        The end for others: plain, and to be closed in one direction.
    """

    def __init__(self, encrypted: SSLSocket) -> None:
        import threading

        self._encrypted = encrypted
        self.outer, self._inner = socket.socketpair()
        self._thread = threading.Thread(target=self._carry, daemon=True, name="tls")
        self._thread.start()

    def _carry(self) -> None:
        import select
        import ssl

        self._encrypted.setblocking(False)
        waiting, ended = b"", False
        try:
            while True:
                pending = bool(self._encrypted.pending())
                wanted = [self._encrypted, *([] if waiting or ended else [self._inner])]
                readable, _, _ = select.select(wanted, [self._encrypted] if waiting else [], [], 0 if pending else None)
                if self._inner in readable:
                    waiting = self._inner.recv(1 << 16)
                    if not waiting:
                        ended = True
                        with contextlib.suppress(ssl.SSLWantReadError):
                            self._encrypted.unwrap()  # says that we end; what comes is read on
                        continue
                if waiting:
                    with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                        waiting = waiting[self._encrypted.send(waiting) :]
                if pending or self._encrypted in readable:
                    with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                        data = self._encrypted.recv(1 << 16)
                        if not data:
                            return
                        self._inner.sendall(data)
        except (OSError, ValueError):
            return  # it broke off, or this end was closed
        finally:
            with contextlib.suppress(OSError):
                self._inner.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End it."""
        self.outer.close()
        self._thread.join(5)
        self._inner.close()


def frames(chunks: Iterator[bytes], take: Callable[[int, bytes], None]) -> None:
    """Take frames apart.

    Parameters
    ----------
    chunks
        What comes.
    take
        Gets the number of the stream (1 output, 2 errors, 3 the engine's own error) and the data, of neighbouring
        frames at once.

    Examples
    --------
    >>> found = []
    >>> come = [bytes([1, 0, 0, 0, 0, 0]), bytes([0, 2]) + b"hi" + bytes(3)]
    >>> frames(iter(come), lambda number, data: found.append((number, data)))
    >>> found
    [(1, b'hi')]
    """
    waiting = bytearray()
    for data in chunks:
        waiting += data
        at, end = 0, len(waiting)
        current = 0
        parts: list[bytes] = []
        with memoryview(waiting) as view:
            while end - at >= 8:
                stream, size = _HEAD.unpack_from(view, at)
                if end - at < 8 + size:
                    break
                if stream != current and parts:  # neighbours go together: a log has a frame for each line
                    take(current, b"".join(parts))
                    parts = []
                current = stream
                parts.append(bytes(view[at + 8 : at + 8 + size]))
                at += 8 + size
        if parts:
            take(current, b"".join(parts))
        del waiting[:at]
