"""The scribe: a process of its own that writes a mount's journal.

Decided here and only here: how records get from the process that serves a mount to the one that writes them. Written
there, in a thread, they would keep the mount waiting, since Python runs one thread at a time. Here they are passed on
as they are (`marshal`, which takes well under a microsecond for each), and turned into rows elsewhere, on another
processor where there is one. What has been passed on is written also when the serving process is killed.

On a socket between the two: four bytes that hold a length, then so many bytes, a list of records. Length 0 asks for an
answer once all before it is written: a length again and the text of what went wrong since the last answer, none where
nothing did. At the end of its input the scribe ends: in order after `close`, which it is told by `_END`.

`Scribe` belongs to one thread at a time. `start` forks: the process must have no other thread yet.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import signal
import socket
import sqlite3
import struct
from pathlib import Path

from fusefs.journal import JournalWriter, RawRecord
from fusefs.title import set_title

__all__ = ["Scribe"]

_LENGTH = struct.Struct("=I")
_END = 0xFFFFFFFF
_BUFFER = 1 << 20
_NAME = "layerlab-scribe"


class Scribe:
    """The serving process's side.

    Parameters
    ----------
    pid
        Of the scribe, a child.
    connection
        The way to it.
    """

    def __init__(self, pid: int, connection: socket.socket) -> None:
        self._pid, self._connection = pid, connection

    @classmethod
    def start(cls, path: Path, number: int) -> Scribe:
        """Fork a scribe for a journal that was prepared; `number` is that of the last operation in it."""
        ours, theirs = socket.socketpair()
        for end, option in ((ours, socket.SO_SNDBUF), (theirs, socket.SO_RCVBUF)):
            end.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        pid = os.fork()
        if not pid:
            _become_scribe(theirs, path, number)
        theirs.close()
        return cls(pid, ours)

    def write(self, records: list[RawRecord]) -> None:
        """Pass records on.

        Raises
        ------
        OSError
            The scribe is gone.
        """
        data = marshal.dumps(records)
        self._connection.sendall(_LENGTH.pack(len(data)) + data)

    def settle(self) -> str:
        """Wait until all that was passed on is written; return what went wrong, "" where nothing did.

        Raises
        ------
        OSError
            The scribe is gone.
        """
        self._connection.sendall(_LENGTH.pack(0))
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size))
        return self._take(length).decode()

    def _take(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            piece = self._connection.recv(count - len(found))
            if not piece:
                raise ConnectionResetError("the process that writes the journal is gone")
            found += piece
        return found

    def close(self) -> None:
        """Let it write the rest, mark the journal as ended in order, and end."""
        with contextlib.suppress(OSError):
            self._connection.sendall(_LENGTH.pack(_END))
            self._connection.recv(1)  # its end
        self._connection.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _become_scribe(connection: socket.socket, path: Path, number: int) -> None:
    """Be the scribe, in the forked process, until there is no more to write; never returns."""
    status = 1
    try:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # it ends when there is nothing more to write
        _hold_nothing_but(connection.fileno())
        gc.enable()
        set_title(_NAME, os.fspath(path))
        _serve(connection, JournalWriter(path, number))
        status = 0
    finally:
        os._exit(status)


def _hold_nothing_but(kept: int) -> None:
    """Close what was inherited: layers, and the starter's pipes, at whose ends others wait."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def _serve(connection: socket.socket, writer: JournalWriter) -> None:
    trouble = ""
    incoming = connection.makefile("rb", buffering=_BUFFER)
    while True:
        head = incoming.read(_LENGTH.size)
        if len(head) < _LENGTH.size:
            writer.close()  # the serving process was killed
            return
        (length,) = _LENGTH.unpack(head)
        if length == _END:
            writer.finish()
            return
        if not length:
            said, trouble = trouble.encode(), ""
            with contextlib.suppress(OSError):
                connection.sendall(_LENGTH.pack(len(said)) + said)
            continue
        data = incoming.read(length)
        if len(data) < length:
            writer.close()
            return
        try:
            writer.write(marshal.loads(data))
        except sqlite3.Error as error:
            trouble = str(error)  # these records are lost: a full disk must not fill the memory too
