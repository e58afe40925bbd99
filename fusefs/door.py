"""The door of a serving process: a socket at which it takes whole batches of objects for the view that it serves.

Decided here and only here: who may knock, what is said there, and that nobody keeps the process from ending. The socket
lies in a directory that only the mount's owner reaches, and only a process of the same user is heard. Callers are
served one after the other: each brings one batch, which is there already when it knocks, and gets one answer. One that
does not go on is left after a while.

    caller to server    directory, points, items, times of directories: the size of each, then they
    server to caller    how many items were taken, and the error at the one that was not

Numbers are of this machine.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

from fusefs.filling import Filling, Item
from fusefs.node import Node
from fusefs.table import failure
from fusefs.union import Union

__all__ = ["Door", "fill"]

_HEAD = struct.Struct("=4I")  #: bytes of the directory, the points, the items, the times
_ITEM = struct.Struct("=IIIqII")  #: mode, user, group, time, bytes of the path, bytes of the content
_TIME = struct.Struct("=qI")  #: time, bytes of the path
_ANSWER = struct.Struct("=Ii")  #: items taken, errno of the next
_PEER = struct.Struct("=3i")

#: Bytes of a message at most; a caller's batch is far smaller.
_MOST = 1 << 26

#: Seconds that a caller may take for the next part of what it says.
_PATIENCE = 10

#: Called with what was changed behind the kernel's back: directories and names in them.
Changed = Callable[[Sequence[tuple[Node, bytes]]], object]


class Door:
    """The server's side.

    Parameters
    ----------
    path
        Where the socket shall be.
    union
        The view.
    changed
        See `Changed`.
    """

    def __init__(self, path: str, union: Union, changed: Changed) -> None:
        self._union, self._changed = union, changed
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with _short(path) as short:
            self._socket.bind(short)
        os.chmod(path, 0o600)
        self._socket.listen(4)

    def fileno(self) -> int:
        """Return the descriptor that can be read when somebody knocks."""
        return self._socket.fileno()

    def serve(self, ended: int) -> None:
        """Serve who knocks, until they go or the descriptor `ended` can be read."""
        caller, _ = self._socket.accept()
        with caller:
            pid, uid, _ = _PEER.unpack(caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
            if uid != os.geteuid():
                return
            self._union.caller.become(0, 0, pid)
            with contextlib.suppress(OSError, EOFError):
                sizes = _HEAD.unpack(_receive(caller, _HEAD.size, ended))
                if sum(sizes) > _MOST:
                    return
                whole = memoryview(_receive(caller, sum(sizes), ended))
                caller.sendall(_ANSWER.pack(*self._take(*_cut(whole, sizes))))

    def _take(self, directory: memoryview, points: memoryview, items: memoryview, times: memoryview) -> tuple[int, int]:
        changes: list[tuple[Node, bytes]] = []
        union = self._union

        def told(node: Node, name: bytes) -> None:
            changes.append((union.hold(node), name))

        filling = Filling(union, bytes(directory), frozenset(bytes(points).split(b"\0")), told)
        try:
            done, error = filling.take(_items(items))
            filling.set_times(_times(times))
        finally:
            self._changed(changes)
            for node, _ in changes:
                union.release(node)
        return done, error.errno or 0 if error is not None else 0

    def close(self) -> None:
        """Take the socket away."""
        self._socket.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)


def fill(
    path: Path,
    directory: bytes,
    points: Collection[bytes] = (),
    items: Iterable[Item] = (),
    times: Iterable[tuple[bytes, int]] = (),
) -> tuple[int, OSError | None]:
    """Have a view filled by the process that serves it.

    Parameters
    ----------
    path
        Where the socket is.
    directory, points
        As for `Filling`.
    items, times
        As for `Filling.take` and then `Filling.set_times`; no more than some ten megabytes.

    Returns
    -------
    int, OSError or None
        As `Filling.take`.

    Raises
    ------
    OSError
        Nobody serves there, or has ended before the answer: some of the items may be there.
    """
    parts: list[bytes | memoryview] = []
    for item in items:
        parts.append(_ITEM.pack(item.mode, item.uid, item.gid, item.modified, len(item.path), len(item.content)))
        parts += (item.path, item.content)
    said = [directory, b"\0".join(points), b"".join(parts)]
    said.append(b"".join([_TIME.pack(modified, len(path)) + path for path, modified in times]))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as server:
        with _short(path) as short:
            server.connect(short)
        server.sendall(b"".join([_HEAD.pack(*map(len, said)), *said]))
        try:
            done, code = _ANSWER.unpack(_receive(server, _ANSWER.size))
        except EOFError:
            raise failure(errno.EPIPE) from None
    return done, failure(code) if code else None


@contextlib.contextmanager
def _short(path: str | os.PathLike[str]) -> Iterator[str]:
    """Have a path by which a socket is reached whose own path may be longer than those of sockets are."""
    above = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{above}/{os.path.basename(path)}"
    finally:
        os.close(above)


def _receive(connection: socket.socket, size: int, ended: int = -1) -> bytearray:
    """Return so many bytes.

    Raises
    ------
    EOFError
        The other side has gone, does not go on, or `ended` can be read.
    """
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    if ended >= 0:
        poll.register(ended, select.POLLIN)
    data = bytearray(size)
    view = memoryview(data)
    while view:
        if ended >= 0:
            ready = [fd for fd, _ in poll.poll(_PATIENCE * 1000)]
            if not ready or ended in ready:
                raise EOFError
        count = connection.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return data


def _cut(whole: memoryview, sizes: Sequence[int]) -> Iterator[memoryview]:
    at = 0
    for size in sizes:
        yield whole[at : at + size]
        at += size


def _items(message: memoryview) -> Iterator[Item]:
    """Yield the items of a message; their contents are parts of it."""
    at = 0
    while at < len(message):
        mode, uid, gid, modified, path_size, size = _ITEM.unpack_from(message, at)
        at += _ITEM.size
        end = at + path_size
        yield Item(bytes(message[at:end]), mode, uid, gid, modified, message[end : end + size])
        at = end + size


def _times(message: memoryview) -> Iterator[tuple[bytes, int]]:
    at = 0
    while at < len(message):
        modified, size = _TIME.unpack_from(message, at)
        at += _TIME.size
        yield bytes(message[at : at + size]), modified
        at += size
