"""Messages between the processes of one container: small packets with descriptors, and pickled values.

Decided here and only here: how caller, zygote, shim and the container's first process speak to each other. Between
processes that were forked for each other a message is a pickle: each channel is a socket pair that only its two ends
have. On a shim's named socket, where a later version may call, a message is JSON. One thread an end.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import pickle
import socket
import struct
from typing import Any

__all__ = ["Channel", "pair"]

_LIMIT = 64  #: descriptors in one message at most
_LARGEST = 1 << 26  #: bytes of one message at most; arguments and environment are far below
_HEADER = struct.Struct("=I")


class Channel:
    """One end of a stream on which messages travel whole.

    A message is a value and a few descriptors.

    Parameters
    ----------
    connection
        A stream socket.
    named
        Whether anybody may be at the other end: then values are what JSON can say, else what can be pickled.
    """

    def __init__(self, connection: socket.socket, *, named: bool = False) -> None:
        self.socket = connection
        self._named = named

    def fileno(self) -> int:
        """Return the descriptor, for `select`."""
        return self.socket.fileno()

    def send(self, value: object, descriptors: tuple[int, ...] = ()) -> None:
        """Send a message.

        Raises
        ------
        OSError
            The other end is gone.
        """
        body = json.dumps(value).encode() if self._named else pickle.dumps(value, protocol=5)
        extra = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        data = _HEADER.pack(len(body)) + body
        sent = self.socket.sendmsg([data], extra, socket.MSG_NOSIGNAL)
        if sent < len(data):  # sending nothing would fail where the other end has answered and closed already
            self.socket.sendall(memoryview(data)[sent:], socket.MSG_NOSIGNAL)

    def tell(self, value: object, descriptors: tuple[int, ...] = ()) -> None:
        """Send a message to an end that may be gone."""
        with contextlib.suppress(OSError):
            self.send(value, descriptors)

    def receive(self) -> tuple[Any, list[int]]:
        """Wait for a message; return it and its descriptors.

        Raises
        ------
        EOFError
            The other end is closed, or its process has ended.
        """
        found = array.array("i")
        try:
            header, extra, flags, _ = self.socket.recvmsg(
                _HEADER.size, socket.CMSG_SPACE(_LIMIT * found.itemsize), socket.MSG_CMSG_CLOEXEC
            )
            for level, kind, data in extra:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    found.frombytes(data[: len(data) - len(data) % found.itemsize])
            header += self._exactly(_HEADER.size - len(header)) if header else b""
            if not header or flags & socket.MSG_CTRUNC:
                raise EOFError("the other end of the channel is closed")
            (length,) = _HEADER.unpack(header)
            if length > _LARGEST:
                raise EOFError("what comes on the channel is no message")
            body = self._exactly(length)
            return json.loads(body) if self._named else pickle.loads(body), list(found)
        except (ConnectionError, EOFError) as error:
            for descriptor in found:
                os.close(descriptor)
            raise EOFError("the other end of the channel is closed") from error

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            part = self.socket.recv(min(count, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close this end."""
        with contextlib.suppress(OSError):
            self.socket.close()


def pair() -> tuple[Channel, Channel]:
    """Return the two ends of a new channel."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(one), Channel(other)
