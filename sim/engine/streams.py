"""Passing bytes between a client's connection and a process: output out, input in, until one of them is over.

Decided here and only here: how attach and exec carry streams. One thread does both directions, so that neither waits
for the other, and a slow client slows the process down but loses nothing. A client may shut down its writing: that ends
the input, and output goes on. A `Relay` belongs to one thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import ssl
import struct
from collections.abc import Callable, Sequence

from sim.runtime import DetachKeys

__all__ = ["Far", "Pipes", "Relay", "ShimStream", "Terminal", "frame"]

_PIECE = 1 << 16
_ENOUGH = 1 << 20  #: bytes that wait for somebody slow, until the other side has to wait too
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_GONE = select.POLLHUP | select.POLLERR


def frame(stream: int, data: bytes) -> bytes:
    """Return a piece of output as it travels where there is no terminal: a header of 8 bytes, the data.

    >>> frame(2, b"no")
    b'\\x02\\x00\\x00\\x00\\x00\\x00\\x00\\x02no'
    """
    return struct.pack(">BxxxI", stream, len(data)) + data


class Far:
    """What is at the other side of a relay: descriptors that are read, and one that is written to."""

    #: Descriptor -> stream (1, 2) to be framed as; 0 as it is.
    outputs: dict[int, int]
    #: Descriptor that is written to; -1 for none.
    input: int

    def write(self, data: bytes | bytearray) -> int:
        """Write input; return how much was taken."""
        return os.write(self.input, data)

    def end_input(self) -> None:
        """Say that no more input comes."""
        os.close(self.input)

    def close(self) -> None:
        """Let go of everything."""


class ShimStream(Far):
    """A container's stream: framed by its shim already."""

    def __init__(self, stream: socket.socket, *, typing: bool) -> None:
        stream.setblocking(False)
        self._stream = stream
        self.outputs = {stream.fileno(): 0}
        self.input = stream.fileno() if typing else -1

    def write(self, data: bytes | bytearray) -> int:
        """Write input; return how much was taken."""
        return self._stream.send(data)

    def end_input(self) -> None:
        """Shut down the writing: the shim closes the container's input if it was made to."""
        with contextlib.suppress(OSError):
            self._stream.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let go of it; the container goes on."""
        self._stream.close()


class Pipes(Far):
    """The pipes of a process without a terminal."""

    def __init__(self, stdin: int, stdout: int, stderr: int) -> None:
        self.outputs = {each: stream for each, stream in ((stdout, 1), (stderr, 2)) if each >= 0}
        self.input = stdin
        self._open = [each for each in (stdin, stdout, stderr) if each >= 0]
        for each in self._open:
            os.set_blocking(each, False)

    def end_input(self) -> None:
        """Close the input."""
        os.close(self.input)
        self._open.remove(self.input)
        self.input = -1

    def close(self) -> None:
        """Close all."""
        for each in self._open:
            os.close(each)
        self._open.clear()


class Terminal(Far):
    """The master end of a process's terminal."""

    def __init__(self, master: int, *, typing: bool) -> None:
        self._master = master
        os.set_blocking(master, False)
        self.outputs = {master: 0}
        self.input = master if typing else -1

    def end_input(self) -> None:
        """Type what ends the input of a terminal."""
        with contextlib.suppress(OSError):
            os.write(self._master, b"\x04")
        self.input = -1

    def close(self) -> None:
        """Close it."""
        os.close(self._master)


class Relay:
    """One client and one process.

    Parameters
    ----------
    client
        The connection.
    far
        The process's side.
    rest
        Input that was read already.
    keys
        The keys that detach, where the client types into a terminal.
    over
        Descriptors that say, readable, that the process has ended: what is there by then is still passed on.
    """

    def __init__(
        self,
        client: socket.socket,
        far: Far,
        rest: bytes = b"",
        *,
        keys: DetachKeys | None = None,
        over: Sequence[int] = (),
    ) -> None:
        self._client, self._far, self._keys = client, far, keys
        self._out = bytearray()
        self._in = bytearray()
        self._sources = dict(far.outputs)
        self._over = list(over)
        self._listening = True
        self._present = True
        self._typing = far.input >= 0
        self._detached = False
        self._ending = False
        self._take(rest)

    def run(self, before_end: Callable[[], object] = lambda: None) -> bool:
        """Pass bytes until the process's output is over; tell whether it was so, and not that the client went.

        Parameters
        ----------
        before_end
            Called when the output is over, before the client is told.
        """
        self._client.setblocking(False)
        while (self._sources or self._out) and self._present and not self._detached:
            if self._ending and not self._readable():
                self._flush()
                break
            self._turn()
        if self._present and not self._detached:
            before_end()
        self._hang_up()
        return self._present and not self._detached

    @property
    def detached(self) -> bool:
        """Whether the client typed the keys that detach."""
        return self._detached

    def drain(self) -> None:
        """Go on reading what nobody wants any more, so that the process does not wait for it."""
        while self._sources and not self._ending:
            poll = select.poll()
            for each in (*self._sources, *self._over):
                poll.register(each, select.POLLIN)
            for descriptor, _ in poll.poll():
                if descriptor in self._over:
                    self._ending = True
                else:
                    self._read(descriptor)
            self._out.clear()

    def _turn(self) -> None:
        poll = select.poll()
        client = self._client.fileno()
        wanted = select.POLLOUT if self._out else 0
        if self._listening and len(self._in) < _ENOUGH:
            wanted |= select.POLLIN
        poll.register(client, wanted)
        both = self._far.input if self._in and self._typing else -1
        if len(self._out) < _ENOUGH:
            for each in self._sources:
                poll.register(each, select.POLLIN | (select.POLLOUT if each == both else 0))
        if both >= 0 and (both not in self._sources or len(self._out) >= _ENOUGH):
            poll.register(both, select.POLLOUT)
        if not self._ending:
            for each in self._over:
                poll.register(each, select.POLLIN)
        for descriptor, event in poll.poll():
            if descriptor == client:
                self._client_event(event)
            elif descriptor in self._over:
                self._ending = True
            else:
                if descriptor in self._sources and event & ~select.POLLOUT:
                    self._read(descriptor)
                if descriptor == both and event & (select.POLLOUT | _GONE):
                    self._feed()
        self._flush()

    def _readable(self) -> bool:
        poll = select.poll()
        for each in self._sources:
            poll.register(each, select.POLLIN)
        return any(event & select.POLLIN for _, event in poll.poll(0))

    def _client_event(self, event: int) -> None:
        if event & select.POLLIN:
            try:
                while True:
                    data = self._client.recv(_PIECE)
                    if not data:
                        self._listening = False
                        self._end_input()
                        break
                    self._take(data)
                    if len(self._in) >= _ENOUGH:
                        break
            except _NOT_NOW:
                pass
            except OSError:
                self._present = False
                return
        if event & _GONE:
            self._present = False

    def _take(self, data: bytes) -> None:
        if not self._typing:
            return  # nobody reads it
        if self._keys is not None:
            data, self._detached = self._keys.feed(data)
        self._in += data
        self._feed()

    def _feed(self) -> None:
        try:
            while self._in and self._typing:
                del self._in[: self._far.write(bytes(self._in[:_PIECE]))]
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more
            self._in.clear()
            self._typing = False
            return
        if not self._listening:
            self._end_input()

    def _end_input(self) -> None:
        if self._typing and not self._in:
            self._typing = False
            self._far.end_input()

    def _read(self, source: int) -> None:
        try:
            data = os.read(source, _PIECE)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno not in (errno.EIO, errno.ECONNRESET):  # EIO: a terminal whose last process is gone
                raise
            data = b""
        if not data:
            del self._sources[source]
            return
        stream = self._sources[source]
        self._out += frame(stream, data) if stream else data

    def _flush(self) -> None:
        try:
            while self._out:
                del self._out[: self._client.send(bytes(self._out[: 4 * _PIECE]))]
        except _NOT_NOW:
            return
        except OSError:
            self._present = False

    def _hang_up(self) -> None:
        """Finish the connection so that the client gets all that was sent, and no reset."""
        with contextlib.suppress(OSError, ValueError):
            self._client.settimeout(10)
            if self._out and self._present:
                self._client.sendall(self._out)
                self._out.clear()
            if isinstance(self._client, ssl.SSLSocket):
                self._client.settimeout(1)
                self._client.unwrap()  # says that it is the end, and no connection that was cut
                return
            self._client.shutdown(socket.SHUT_WR)
            self._client.setblocking(False)
            while self._client.recv(_PIECE):
                pass
