"""Streams over WebSocket, for clients that cannot have the connection itself: browsers.

Decided here and only here: the answer to the handshake (RFC 6455, section 4.2.2), that output travels without the
frames that tell its streams apart, as binary messages (as text before version 1.28, as with Docker), and that a client
that closes is gone. Its frames are made and read by wsproto. A `Bridge` carries between the client's connection and a
plain socket, in a thread of its own, and neither direction waits for the other.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import select
import socket
import ssl
import threading

from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, TextMessage
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import RemoteProtocolError

from sim.api.exchange import Request
from sim.engine.errors import BadParameterError

__all__ = ["Bridge", "accepted"]

_ID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_PIECE, _ENOUGH = 1 << 16, 1 << 20
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_SECONDS = 5  #: for a client to answer the closing


def accepted(request: Request) -> str:
    """Return the answer to the key of a handshake.

    Raises
    ------
    BadParameterError
        It is none.
    """
    headers = {name.lower(): value for name, value in request.headers.items()}
    key = headers.get("sec-websocket-key", "").strip()
    wanted = headers.get("upgrade", "").lower() == "websocket" and "upgrade" in headers.get("connection", "").lower()
    if not wanted or headers.get("sec-websocket-version") != "13" or len(key) != 24:
        raise BadParameterError("not websocket protocol")
    return base64.b64encode(hashlib.sha1(key.encode("latin-1") + _ID).digest()).decode()


class Bridge:
    """Between a client's connection and a plain socket.

    Parameters
    ----------
    client
        The connection, after the handshake.
    rest
        What has been read of it already.
    framed
        Whether what comes from the plain socket has a header before each piece, which is left out.
    binary
        Whether messages are binary.

    Attributes
    ----------
    inner
        The plain socket's end for whoever serves the client.
    """

    def __init__(self, client: socket.socket, rest: bytes, *, framed: bool, binary: bool) -> None:
        self._client, self._framed, self._binary = client, framed, binary
        self._frames = Connection(ConnectionType.SERVER)
        self.inner, self._outer = socket.socketpair()
        self._out, self._in, self._pieces = bytearray(), bytearray(), bytearray()
        self._left = 0  # of the piece whose header was read last
        self._closing = self._over = False
        self._take(rest)
        self._thread = threading.Thread(target=self._run, name="websocket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Send what is left, say that it is over, and wait for the client to say so too, a while at most."""
        self.inner.close()
        self._thread.join()

    def _run(self) -> None:
        self._client.setblocking(False)
        self._outer.setblocking(False)
        try:
            while not self._over:
                if self._closing and not self._out and not self._waits():
                    return
                self._turn()
            self._flush()
        except OSError:
            return  # one of the two is gone
        finally:
            self._outer.close()

    def _waits(self) -> bool:
        """Tell whether the client's word that it is over too comes in time."""
        return bool(select.select([self._client], [], [], _SECONDS)[0])

    def _turn(self) -> None:
        poll = select.poll()
        listening = len(self._in) < _ENOUGH
        poll.register(self._client, (select.POLLIN if listening else 0) | (select.POLLOUT if self._out else 0))
        if not self._closing:
            wanted = (select.POLLIN if len(self._out) < _ENOUGH else 0) | (select.POLLOUT if self._in else 0)
            poll.register(self._outer, wanted)
        pending = listening and isinstance(self._client, ssl.SSLSocket) and self._client.pending() > 0
        events = dict(poll.poll(0 if pending else None))
        if pending or events.get(self._client.fileno(), 0) & (select.POLLIN | select.POLLHUP | select.POLLERR):
            with contextlib.suppress(*_NOT_NOW):
                self._take(self._client.recv(_PIECE) or None)
        if events.get(self._outer.fileno(), 0) & (select.POLLIN | select.POLLHUP | select.POLLERR):
            self._give()
        with contextlib.suppress(*_NOT_NOW):
            while self._in and not self._closing:
                del self._in[: self._outer.send(self._in[:_PIECE])]
        self._flush()

    def _flush(self) -> None:
        with contextlib.suppress(*_NOT_NOW):
            while self._out:
                del self._out[: self._client.send(bytes(self._out[: 4 * _PIECE]))]

    def _take(self, data: bytes | None) -> None:
        """Take what the client sends; None where it sends no more."""
        if data is None:
            self._over = True
            return
        try:
            self._frames.receive_data(data)
            for event in self._frames.events():
                if isinstance(event, BytesMessage):
                    self._in += event.data
                elif isinstance(event, TextMessage):
                    self._in += event.data.encode()
                elif isinstance(event, Ping):
                    self._out += self._frames.send(event.response())
                elif isinstance(event, CloseConnection):
                    if not self._closing:
                        self._out += self._frames.send(event.response())
                    self._over = True
        except RemoteProtocolError as error:
            if not self._closing:
                hint = error.event_hint
                self._out += self._frames.send(
                    hint if isinstance(hint, CloseConnection) else CloseConnection(code=CloseReason.PROTOCOL_ERROR)
                )
            self._over = True

    def _give(self) -> None:
        """Send on what comes from the plain socket; where it ends, say that it is over."""
        try:
            data = self._outer.recv(_PIECE)
        except _NOT_NOW:
            return
        if not data:
            self._closing = True
            self._out += self._frames.send(CloseConnection(code=CloseReason.NORMAL_CLOSURE))
            return
        plain = self._without_headers(data) if self._framed else data
        if plain:
            message = BytesMessage(plain) if self._binary else TextMessage(plain.decode(errors="replace"))
            self._out += self._frames.send(message)

    def _without_headers(self, data: bytes) -> bytes:
        self._pieces += data
        found = bytearray()
        while self._pieces:
            if not self._left:
                if len(self._pieces) < 8:
                    break
                self._left = int.from_bytes(self._pieces[4:8])
                del self._pieces[:8]
                continue
            part = self._pieces[: self._left]
            found += part
            self._left -= len(part)
            del self._pieces[: len(part)]
        return bytes(found)
