"""The scribe: a process of its own that writes a mount's journal.

Decided here and only here: how records get from the process that serves a mount to the one that writes them, and that
the former opens no database but at its end, for the memory that this takes: the journal is made by a fork (`prepare`).
Written in a thread there, records would keep the mount waiting, since Python runs one thread at a time. Here they are
passed on as they are (`marshal`, which takes well under a microsecond for each), and turned into rows elsewhere, on
another processor where there is one. What has been passed on is written also when the serving process is killed.

On a socket between the two: four bytes that hold a length, then so many bytes, a list of records. Length 0 asks for an
answer once all before it is written: a length again and the text of what went wrong since the last answer, none where
nothing did. `_REST` and `_END` end the scribe, `_END` with the mark that the journal has ended in order. The end of its
input does so too, where the serving process was killed.

What writes takes some megabytes of its own, and most mounts are idle most of the time. So a scribe is forked when there
is something to write, and let go when nothing has come for a while. What comes with the end, or the mark alone, is
written without one. The numbers of operations are counted by who passes them on, so each scribe goes on where the one
before ended, also where that was killed: then some are missing, as a reader can see.

`Scribe` belongs to one thread at a time. The process may have others: what is forked is alone, and touches nothing of
theirs.
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
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from fusefs.errors import JournalError
from fusefs.journal import JournalLayer, JournalWriter, Level, prepare_journal
from fusefs.operation import Raw
from fusefs.title import set_title

__all__ = ["Scribe", "prepare"]

_LENGTH = struct.Struct("=I")
_END, _REST = 0xFFFFFFFF, 0xFFFFFFFE
_BUFFER = 1 << 20
_NAME = "layerlab-scribe"

#: What is served goes before what is written about it; so much later that a busy machine still lets it keep up.
_NICE = 10


class Scribe:
    """The serving process's side.

    Parameters
    ----------
    path
        The journal, which was prepared.
    number
        Of the last operation in it.
    """

    #: Seconds without a record after which nobody need write any more.
    patience = 5.0

    def __init__(self, path: Path, number: int) -> None:
        self._path, self._number = path.absolute(), number
        self._pid = 0
        self._connection: socket.socket | None = None

    @property
    def writes(self) -> bool:
        """Whether there is a process to write."""
        return self._connection is not None

    def write(self, records: list[Raw]) -> None:
        """Pass records on, to a new process where there is none.

        Raises
        ------
        OSError
            It is gone, with what it had not written; the next records get another.
        """
        data = marshal.dumps(records)
        try:
            if self._connection is None:
                self._connection = self._begin()
            self._connection.sendall(_LENGTH.pack(len(data)) + data)
        except OSError:
            self._leave()
            raise
        finally:
            self._number += len(records)

    def _begin(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            for end, option in ((ours, socket.SO_SNDBUF), (theirs, socket.SO_RCVBUF)):
                end.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
            try:
                self._pid = _fork()
            except OSError:
                ours.close()
                raise
            if not self._pid:
                _become_scribe(theirs, self._path, self._number)
        return ours

    def settle(self) -> str:
        """Wait until all that was passed on is written; return what went wrong, "" where nothing did.

        Raises
        ------
        OSError
            Who wrote is gone.
        """
        if self._connection is None:
            return ""
        try:
            self._connection.sendall(_LENGTH.pack(0))
            (length,) = _LENGTH.unpack(self._take(self._connection, _LENGTH.size))
            return self._take(self._connection, length).decode()
        except OSError:
            self._leave()
            raise

    @staticmethod
    def _take(connection: socket.socket, count: int) -> bytes:
        found = b""
        while len(found) < count:
            piece = connection.recv(count - len(found))
            if not piece:
                raise ConnectionResetError("the process that writes the journal is gone")
            found += piece
        return found

    def rest(self) -> None:
        """Let it write what it has got, and end; the next record gets another."""
        self._end(_LENGTH.pack(_REST))

    def close(self, records: list[Raw]) -> None:
        """Have these and all that was passed on written, and the journal marked as ended in order."""
        if self._connection is None:
            with contextlib.suppress(sqlite3.Error):
                writer = JournalWriter(self._path, self._number)
                if records:
                    writer.write(records)
                writer.finish()
            return
        data = marshal.dumps(records) if records else b""
        self._end((_LENGTH.pack(len(data)) + data if data else b"") + _LENGTH.pack(_END))

    def _end(self, said: bytes) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.sendall(said)
                self._connection.recv(1)  # its end
            self._leave()

    def _leave(self) -> None:
        """Let go of the process, which has ended or does so now."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)


def prepare(path: Path, layers: Iterable[JournalLayer], level: Level, *, append: bool) -> int:
    """Make a journal, or go on with one, as `prepare_journal` does, without what that takes of memory.

    A process that is forked for it does it, and ends: a database takes more than a megabyte, also after its end.

    Raises
    ------
    JournalError
        The file cannot be made, exists already, or is no journal.
    OSError
        Nothing can be forked.
    """
    reading, writing = os.pipe()
    with open(reading, "rb") as answer:
        try:
            pid = _fork()
            if not pid:
                _prepare(writing, path, tuple(layers), level, append=append)
        finally:
            os.close(writing)
        said = answer.read()
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    number, failed = (
        marshal.loads(said) if said else (0, f"{path}: the process that was to make the journal was killed")
    )
    if failed:
        raise JournalError(failed)
    return int(number)


def _prepare(answer: int, path: Path, layers: tuple[JournalLayer, ...], level: Level, *, append: bool) -> NoReturn:
    try:
        try:
            found = (prepare_journal(path, layers, level, append=append), "")
        except (JournalError, sqlite3.Error, OSError) as error:
            found = (0, str(error))
        os.write(answer, marshal.dumps(found))
    finally:
        os._exit(0)


def _fork() -> int:
    with warnings.catch_warnings():  # of other threads, which what is forked touches nothing of
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _become_scribe(connection: socket.socket, path: Path, number: int) -> NoReturn:
    """Be the scribe, in the forked process, until there is no more to write."""
    status = 1
    try:
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, signal.SIG_IGN)  # it ends when there is nothing more to write
        _hold_nothing_but(connection.fileno())
        gc.freeze()  # what was inherited stays shared
        gc.enable()
        os.nice(_NICE)
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
    """Write what comes, until the end."""
    trouble = ""
    while True:
        head = connection.recv(_LENGTH.size, socket.MSG_WAITALL)
        (length,) = _LENGTH.unpack(head) if len(head) == _LENGTH.size else (_REST,)
        if length == _END:
            writer.finish()
            return
        if length == _REST:
            writer.close()
            return
        if not length:
            said, trouble = trouble.encode(), ""
            with contextlib.suppress(OSError):
                connection.sendall(_LENGTH.pack(len(said)) + said)
            continue
        data = connection.recv(length, socket.MSG_WAITALL)
        if len(data) < length:
            writer.close()
            return
        try:
            writer.write(marshal.loads(data))
        except sqlite3.Error as error:
            # These records are lost: a full disk must not fill the memory too. Their numbers stay free.
            trouble = str(error)
