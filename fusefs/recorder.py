"""The recorder: what the union gives its records to.

Decided here and only here: when records reach the journal. They are only put into a queue, from any thread; a thread of
its own passes them on, `flush_interval` seconds after the first or at `batch` records, to the database or to a process
that writes it (`scribe.py`), and sleeps where there are none. So a process that is killed loses at most the last batch.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path

from fusefs.closing import Closing
from fusefs.errors import JournalError
from fusefs.journal import JournalLayer, JournalWriter, Level, prepare_journal
from fusefs.operation import Operation, Raw, to_raw

__all__ = ["Recorder"]


class Recorder(Closing):
    """Writes a journal. Call it with each operation; close it at the end.

    Parameters
    ----------
    path
        File to make. It must not be there yet, unless `append` is true: then numbering goes on after what is in it.
    layers
        The stack, as the journal's readers shall see it.
    level
        What is recorded. The caller asks `takes` first, so that what is not recorded costs nothing.
    append
        Whether to go on with a journal that is there.
    flush_interval
        Seconds after which records are on disk at the latest.
    batch
        Number of records after which they are written at once.
    apart
        Whether a process of its own writes the journal, which makes recording cost a third.

    Raises
    ------
    JournalError
        The file cannot be made, exists already, or is no journal.

    Examples
    --------
    >>> import tempfile
    >>> from fusefs import Journal, Kind
    >>> place = tempfile.TemporaryDirectory()
    >>> file = Path(place.name) / "journal.db"
    >>> with Recorder(file, [JournalLayer(1, "ro", "base", Path("/base"))]) as record:
    ...     record(Operation(Kind.LOOKUP, "/etc", layer=1))
    >>> with Journal(file) as journal:
    ...     [(op.number, op.kind.value, op.path) for op in journal.operations()]
    [(1, 'lookup', '/etc')]
    >>> place.cleanup()
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        layers: Iterable[JournalLayer],
        *,
        level: Level = Level.ALL,
        append: bool = False,
        flush_interval: float = 0.05,
        batch: int = 2000,
        apart: bool = False,
    ) -> None:
        self.path = Path(path)
        self.level = level
        self.takes = level.takes
        self._interval = flush_interval
        self._batch = batch
        self._pending: deque[Raw] = deque()
        self._lock = threading.Lock()
        self._write_lock = threading.Lock()
        self._begun, self._full = threading.Event(), threading.Event()
        self._stop = False
        self._failure = ""
        where = self.path.absolute()
        self._to: _Thread | _Process
        if apart:
            from fusefs.scribe import prepare  # which who records in its own process has no use for

            self._to = _Process(where, prepare(self.path, layers, level, append=append))
        else:
            self._to = _Thread(where, prepare_journal(self.path, layers, level, append=append))
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def __call__(self, operation: Operation) -> None:
        """Take one operation. Cheap, never blocks on the disk."""
        self.take(to_raw(operation))

    def take(self, record: Raw) -> None:
        """Take one operation as the union makes it, see `Raw`. Cheaper still."""
        pending = self._pending
        pending.append(record)
        waiting = len(pending)
        if waiting == 1:
            self._begun.set()
        elif waiting == self._batch:
            self._full.set()

    def flush(self) -> None:
        """Write what was recorded so far to the database, and return when it is there.

        Raises
        ------
        JournalError
            It could not be written (disk full). The records are dropped: a full disk must not fill the memory too.
        """
        with self._write_lock:
            self._write()
            failure = self._failure or self._to.settle()
            self._failure = ""
        if failure:
            raise JournalError(f"{self.path}: the journal cannot be written: {failure}")

    def close(self) -> None:
        """Write the rest and end the thread. A second call does nothing."""
        with self._lock:
            if self._stop:
                return
            self._stop = True
        self._begun.set()
        self._full.set()
        self._thread.join()
        with self._write_lock:
            self._to.close(self._taken())

    def _run(self) -> None:
        while not self._stop:
            if not self._begun.wait(self._to.patience):
                with self._write_lock:
                    self._to.rest()
                continue
            self._begun.clear()
            self._full.wait(self._interval)
            self._full.clear()
            with self._write_lock:
                self._write()
            if self._pending:  # came while it was written
                self._begun.set()

    def _write(self) -> None:
        taken = self._taken()
        if taken:
            self._failure = self._to.write(taken) or self._failure

    def _taken(self) -> list[Raw]:
        """Take what is waiting. One by one: a record that is being added at this moment must not be lost."""
        take = self._pending.popleft
        return [take() for _ in range(len(self._pending))]


class _Thread:
    """Writes in this process; each call returns what went wrong, "" where nothing did."""

    def __init__(self, path: Path, number: int) -> None:
        try:
            self._writer = JournalWriter(path, number)
        except sqlite3.Error as error:
            raise JournalError(f"{path}: this is no journal that can be written: {error}") from error

    def write(self, records: list[Raw]) -> str:
        try:
            self._writer.write(records)
        except sqlite3.Error as error:
            return str(error)
        return ""

    def settle(self) -> str:
        return ""

    @property
    def patience(self) -> float | None:
        """Seconds without a record after which it may rest; None while it has no need to."""
        return None

    def rest(self) -> None:
        pass

    def close(self, records: list[Raw]) -> None:
        if records:
            self.write(records)
        self._writer.finish()


class _Process:
    """Lets a scribe write."""

    def __init__(self, path: Path, number: int) -> None:
        from fusefs.scribe import Scribe

        self._scribe = Scribe(path, number)

    def write(self, records: list[Raw]) -> str:
        try:
            self._scribe.write(records)
        except OSError as error:
            return str(error)
        return ""

    def settle(self) -> str:
        try:
            return self._scribe.settle()
        except OSError as error:
            return str(error)

    @property
    def patience(self) -> float | None:
        return self._scribe.patience if self._scribe.writes else None

    def rest(self) -> None:
        self._scribe.rest()

    def close(self, records: list[Raw]) -> None:
        self._scribe.close(records)
