"""The scribe: a process of its own that writes a mount's journal.

Decided here and only here: how records get from the process that serves a mount to the one that writes them. Written
there, in a thread, they would keep the mount waiting, since Python runs one thread at a time. Here they are passed on
as they are (`marshal`, which takes well under a microsecond for each), and turned into rows elsewhere, on another
processor where there is one. What has been passed on is written also when the serving process is killed.

On a socket between the two, after the name of the journal: four bytes that hold a length, then so many bytes, a list of
records. Length 0 asks for an answer once all before it is written: a length again and the text of what went wrong since
the last answer, none where nothing did. At the end of its input the scribe ends: in order after `close`, which it is
told by `_END`.

What writes takes some megabytes of its own, and most mounts are idle most of the time. So the scribe only waits: a fork
of it writes, and ends once nothing has come for a while. What comes with the end is written without one.

`Scribe` belongs to one thread at a time. `start` forks: the process must have no other thread yet.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import select
import signal
import socket
import sqlite3
import struct
from pathlib import Path

from fusefs.journal import JournalWriter, last_number
from fusefs.operation import Raw
from fusefs.title import set_title

__all__ = ["Scribe"]

_LENGTH = struct.Struct("=I")
_END = 0xFFFFFFFF
_BUFFER = 1 << 20
_PEEK = 1 << 16
_PATIENCE = 5.0  #: seconds without a record after which nobody writes any more
_IDLE = 3  #: exit status of who wrote, for that reason
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
    def start(cls) -> Scribe:
        """Fork a scribe: the earlier, the less of what this process does will be in its memory too."""
        ours, theirs = socket.socketpair()
        for end, option in ((ours, socket.SO_SNDBUF), (theirs, socket.SO_RCVBUF)):
            end.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        pid = os.fork()
        if not pid:
            _become_scribe(theirs)
        theirs.close()
        return cls(pid, ours)

    def open(self, path: Path, number: int) -> None:
        """Tell it of a journal that was prepared; `number` is that of the last operation in it.

        Raises
        ------
        OSError
            The scribe is gone.
        """
        data = marshal.dumps((os.fsencode(path), number))
        self._connection.sendall(_LENGTH.pack(len(data)) + data)

    def write(self, records: list[Raw]) -> None:
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

    def close(self, records: list[Raw]) -> None:
        """Let it write these and all that it has got, mark the journal as ended in order, and end."""
        data = marshal.dumps(records) if records else b""
        with contextlib.suppress(OSError):
            self._connection.sendall((_LENGTH.pack(len(data)) + data if data else b"") + _LENGTH.pack(_END))
            self._connection.recv(1)  # its end
        self._connection.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _become_scribe(connection: socket.socket) -> None:
    """Be the scribe, in the forked process, until there is no more to write; never returns."""
    status = 1
    try:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # it ends when there is nothing more to write
        _hold_nothing_but(connection.fileno())
        set_title(_NAME)
        data = _message(connection)
        if data:
            path, number = marshal.loads(data)
            set_title(_NAME, os.fsdecode(path))
            status = _watch(connection, Path(os.fsdecode(path)), number)
    finally:
        os._exit(status)


def _hold_nothing_but(kept: int) -> None:
    """Close what was inherited: layers, and the starter's pipes, at whose ends others wait."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nothing, stream)
    os.closerange(3, kept)
    os.closerange(kept + 1, os.sysconf("SC_OPEN_MAX"))


def _message(connection: socket.socket) -> bytes:
    """Wait for what has a length before it; return nothing at the end."""
    head = connection.recv(_LENGTH.size, socket.MSG_WAITALL)
    if len(head) < _LENGTH.size:
        return b""
    (length,) = _LENGTH.unpack(head)
    data = connection.recv(length, socket.MSG_WAITALL)
    return data if len(data) == length else b""


def _watch(connection: socket.socket, path: Path, number: int) -> int:
    """Have written what comes, until there is no more; return the exit status."""
    continued = False
    while True:
        found = connection.recv(_PEEK, socket.MSG_PEEK)
        if not found:
            return 0  # the serving process was killed
        whole = found.endswith(_LENGTH.pack(_END))
        writer = 0 if whole else os.fork()
        if not writer:
            gc.enable()
            return _serve(connection, JournalWriter(path, last_number(path) if continued else number))
        status = os.waitstatus_to_exitcode(os.waitpid(writer, 0)[1])
        if status != _IDLE:
            return int(status != 0)
        continued = True


def _serve(connection: socket.socket, writer: JournalWriter) -> int:
    """Write what comes; return 0 at the end, `_IDLE` where nothing comes for a while and nothing was lost."""
    trouble, lost = "", False
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    while True:
        if not lost and not poll.poll(_PATIENCE * 1000):
            writer.close()
            return _IDLE
        head = connection.recv(_LENGTH.size, socket.MSG_WAITALL)
        if len(head) < _LENGTH.size:
            writer.close()  # the serving process was killed
            return 0
        (length,) = _LENGTH.unpack(head)
        if length == _END:
            writer.finish()
            return 0
        if not length:
            said, trouble = trouble.encode(), ""
            with contextlib.suppress(OSError):
                connection.sendall(_LENGTH.pack(len(said)) + said)
            continue
        data = connection.recv(length, socket.MSG_WAITALL)
        if len(data) < length:
            writer.close()
            return 0
        try:
            writer.write(marshal.loads(data))
        except sqlite3.Error as error:
            # These records are lost: a full disk must not fill the memory too. Whose numbers they were, only we know.
            trouble, lost = str(error), True
