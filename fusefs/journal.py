"""The journal: the operations of one mount, on disk, readable while it is being written.

Decided here and only here: the SQLite schema of a journal, how it is read and written, and what a recording level
leaves out. When records reach it is decided in `recorder.py`.

A `Journal` reads, in the same or in another process, while a `JournalWriter` writes. Each belongs to one thread at a
time. What is written at once is one SQLite transaction in write-ahead mode, so that a killed writer never tears it.

The schema, version 1:

    meta(key, value)                     schema, level, closed (1 after an orderly end)
    layer(number, role, name, path)      role is 'rw' or 'ro'
    operation(number, kind, path, layer, size, offset, target, start, duration, pid, error)
    effect(operation, position, kind, path, origin, size, target)
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from fusefs.closing import Closing
from fusefs.errors import JournalError
from fusefs.operation import EFFECT_KINDS, KINDS, Effect, EffectKind, Kind, Operation, Raw

__all__ = ["Journal", "JournalLayer", "JournalWriter", "Level", "prepare_journal"]

_SCHEMA_VERSION = 1

#: How undecodable bytes of paths become text, as `os.fsdecode` does it.
_ESCAPE = "surrogateescape"

#: Rows that one statement inserts: SQLite takes 32,766 values in one.
_ROWS_AT_ONCE = 500

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE layer (number INTEGER PRIMARY KEY, role TEXT NOT NULL, name TEXT NOT NULL, path BLOB NOT NULL);
CREATE TABLE operation (
    number INTEGER PRIMARY KEY, kind TEXT NOT NULL, path BLOB NOT NULL, layer INTEGER, size INTEGER NOT NULL,
    offset INTEGER NOT NULL, target BLOB NOT NULL, start INTEGER NOT NULL, duration INTEGER NOT NULL,
    pid INTEGER NOT NULL, error INTEGER NOT NULL);
CREATE TABLE effect (
    operation INTEGER NOT NULL, position INTEGER NOT NULL, kind TEXT NOT NULL, path BLOB NOT NULL, origin INTEGER,
    size INTEGER NOT NULL, target BLOB NOT NULL, PRIMARY KEY (operation, position)) WITHOUT ROWID;
"""


#: Asks for the number of the last operation.
_LAST = "SELECT coalesce(max(number), 0) FROM operation"


class Level(StrEnum):
    """How much is recorded."""

    ALL = "all"  #: every operation
    METADATA = "metadata"  #: every operation but transfers of file data (`Kind.is_data`)
    NONE = "none"  #: nothing

    def takes(self, kind: Kind) -> bool:
        """Whether operations of this kind are recorded.

        >>> Level.METADATA.takes(Kind.READ), Level.METADATA.takes(Kind.OPEN)
        (False, True)
        """
        return self is Level.ALL or (self is Level.METADATA and not kind.is_data)


@dataclass(frozen=True, slots=True)
class JournalLayer:
    """One layer of the stack that a journal is about.

    Attributes
    ----------
    number
        As in `Operation.layer`: 0 is the RW layer, 1 the topmost read-only layer.
    role
        `"rw"` or `"ro"`.
    name
        What people call it: a digest, an image's name, or the directory's name.
    path
        The layer's directory.
    """

    number: int
    role: str
    name: str
    path: Path


def _connect(path: Path, *, mode: str) -> sqlite3.Connection:
    """Connect to the database at `path`; `mode` as in SQLite's URI (`ro`, `rw`, `rwc`)."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, check_same_thread=False)


def prepare_journal(path: Path, layers: Iterable[JournalLayer], level: Level, *, append: bool = False) -> int:
    """Make a journal, or make one ready to be continued; return the number of its last operation.

    Raises
    ------
    JournalError
        The file cannot be made, exists already and is not to be continued, or is no journal.
    """
    exists = path.exists() and path.stat().st_size > 0
    if exists and not append:
        raise JournalError(f"{path}: there is a file of this name already; name another journal or remove it")
    if exists:
        Journal(path).close()  # a file that is no journal is not touched
    try:
        database = _connect(path, mode="rwc")
    except sqlite3.Error as error:
        raise JournalError(f"{path}: the journal cannot be made: {error}") from error
    try:
        # A dozen waits for the disk would be most of what a mount takes to start. Only a machine that goes down in the
        # next seconds could take the new journal with it; the writer's own transactions are synced as they should be.
        database.execute("PRAGMA synchronous=OFF")
        database.execute("PRAGMA journal_mode=WAL")
        with database:
            if not exists:
                database.executescript(_SCHEMA)
            number = database.execute(_LAST).fetchone()[0]
            database.executemany(
                "INSERT OR REPLACE INTO layer VALUES (?, ?, ?, ?)",
                [(layer.number, layer.role, _stored(layer.name), os.fsencode(layer.path)) for layer in layers],
            )
            database.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [("schema", str(_SCHEMA_VERSION)), ("level", level.value), ("closed", "0")],
            )
    except sqlite3.Error as error:
        raise JournalError(f"{path}: this is no journal that can be written: {error}") from error
    finally:
        database.close()
    return int(number)


class JournalWriter:
    """Writes to a journal that was prepared.

    Parameters
    ----------
    path
        Its file.
    number
        Of the last operation that is in it.
    """

    def __init__(self, path: Path, number: int) -> None:
        self._number = number
        self._database = _connect(path, mode="rw")
        self._database.execute("PRAGMA synchronous=NORMAL")

    def write(self, records: Sequence[Raw]) -> None:
        """Write records; all of them, or none.

        Raises
        ------
        sqlite3.Error
            They cannot be written. The numbers they would have had stay free, so that a reader sees the gap.
        """
        first = self._number + 1
        self._number += len(records)
        with self._database:
            self._insert(first, records)

    def _insert(self, first: int, records: Sequence[Raw]) -> None:
        encode = os.fsencode
        self._insert_rows(
            "operation",
            [
                (
                    number,
                    kind,
                    path,
                    layer,
                    size,
                    offset,
                    encode(target) if target else b"",
                    start,
                    duration,
                    pid,
                    error,
                )
                for number, (kind, path, layer, _, size, offset, target, start, duration, pid, error) in enumerate(
                    records, first
                )
            ],
        )
        effects = [
            (number, position, kind, encode(path), origin, size, encode(target))
            for number, record in enumerate(records, first)
            if record[3]
            for position, (kind, path, origin, size, target) in enumerate(record[3])
        ]
        if effects:
            self._insert_rows("effect", effects)

    def _insert_rows(self, table: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Insert rows, many by one statement.

        Python gives up its lock around each step of a statement and has to win it back from the threads that serve the
        mount, where a thread writes; a row a step made the recorded mount wait.
        """
        row = f"({', '.join('?' * len(rows[0]))})"
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            part = rows[begin : begin + _ROWS_AT_ONCE]
            self._database.execute(
                f"INSERT INTO {table} VALUES {', '.join([row] * len(part))}", [value for one in part for value in one]
            )

    def finish(self) -> None:
        """Mark the journal as one that ended in order, and close it."""
        with contextlib.suppress(sqlite3.Error), self._database:
            self._database.execute("UPDATE meta SET value='1' WHERE key='closed'")
        self._database.close()

    def close(self) -> None:
        """Close it without that mark."""
        self._database.close()


class Journal(Closing):
    """Reads a journal, also while it is being written.

    Parameters
    ----------
    path
        The journal's file.

    Raises
    ------
    JournalError
        There is no such file, it cannot be read, or it is no journal of a version known here.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise JournalError(f"{self.path}: there is no such journal")
        try:
            self._database = _connect(self.path, mode="ro")
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: this cannot be read as a journal: {error}") from error
        try:
            rows = self._database.execute("SELECT key, value FROM meta").fetchall()
        except sqlite3.Error as error:
            self._database.close()
            raise JournalError(f"{self.path}: this cannot be read as a journal: {error}") from error
        self._meta: dict[str, str] = dict(rows)
        if self._meta.get("schema") != str(_SCHEMA_VERSION):
            self._database.close()
            raise JournalError(
                f"{self.path}: the journal has schema {self._meta.get('schema')}, this version reads {_SCHEMA_VERSION}"
            )

    @property
    def level(self) -> Level:
        """What was recorded."""
        return Level(self._meta["level"])

    @property
    def closed(self) -> bool:
        """Whether the recorder ended in order; false while it runs and after it was killed."""
        return self.query("SELECT value FROM meta WHERE key='closed'") == [("1",)]

    def layers(self) -> list[JournalLayer]:
        """Return the stack, the RW layer first."""
        rows = self.query("SELECT number, role, name, path FROM layer ORDER BY number")
        return [
            JournalLayer(number, role, os.fsdecode(name), Path(os.fsdecode(path))) for number, role, name, path in rows
        ]

    def __len__(self) -> int:
        """Return the number of operations on disk so far."""
        return int(self.query(_LAST)[0][0])

    def operations(
        self, *, after: int = 0, until: int | None = None, kinds: Iterable[Kind] | None = None
    ) -> Iterator[Operation]:
        """Yield operations in the order of their numbers, in bounded memory.

        Parameters
        ----------
        after
            Only those with a greater number.
        until
            Only those with this number or a smaller one.
        kinds
            Only those of these kinds.
        """
        where = ["number > ?"]
        values: list[int | str] = [after]
        if until is not None:
            where.append("number <= ?")
            values.append(until)
        if kinds is not None:
            wanted = [kind.value for kind in kinds]
            where.append(f"kind IN ({','.join('?' * len(wanted))})")
            values.extend(wanted)
        condition = " AND ".join(where)
        while True:
            rows = self.query(
                f"SELECT * FROM operation WHERE {condition} ORDER BY number LIMIT 5000",
                (values[0], *values[1:]),
            )
            if not rows:
                return
            yield from self._with_effects(rows)
            values[0] = rows[-1][0]

    def changes(
        self,
        *,
        after: int = 0,
        until: int | None = None,
        effects: Collection[EffectKind] | None = None,
        path: str | None = None,
    ) -> Iterator[Operation]:
        """Yield the operations that had effects, in the order of their numbers, in bounded memory.

        Parameters
        ----------
        after, until
            As in `operations`.
        effects
            Only those that had an effect of one of these kinds.
        path
            Only those that had an effect which names this path; with `effects` given, those of either sort.
        """
        wanted: list[str] = []
        values: list[int | str | bytes] = [after]
        if until is not None:
            values.append(until)
        if effects is not None:
            wanted.append(f"kind IN ({','.join('?' * len(effects))})")
            values.extend(kind.value for kind in effects)
        if path is not None:
            wanted.append("path = ? OR target = ?")
            values.extend([os.fsencode(path)] * 2)
        condition = "operation > ?" + (" AND operation <= ?" if until is not None else "")
        if wanted:
            condition += f" AND ({' OR '.join(wanted)})"
        while True:
            rows = self.query(
                "SELECT operation.* FROM (SELECT DISTINCT operation AS number FROM effect"
                f" WHERE {condition} ORDER BY number LIMIT 5000) AS chosen"
                " CROSS JOIN operation ON operation.number = chosen.number",
                values,
            )
            if not rows:
                return
            yield from self._with_effects(rows)
            values[0] = rows[-1][0]

    def pick(self, numbers: Sequence[int]) -> list[Operation]:
        """Return the operations of these numbers, at most 30,000, in order."""
        marks = ",".join("?" * len(numbers))
        rows = self.query(f"SELECT * FROM operation WHERE number IN ({marks}) ORDER BY number", numbers)
        return list(self._with_effects(rows)) if rows else []

    def _with_effects(self, rows: Sequence[tuple[Any, ...]]) -> Iterator[Operation]:
        first, last = rows[0][0], rows[-1][0]
        if last - first < 4 * len(rows):
            effects = self._effects("BETWEEN ? AND ?", (first, last))
        else:
            effects = self._effects(f"IN ({','.join('?' * len(rows))})", [row[0] for row in rows])
        for row in rows:
            yield _operation(row, effects.get(row[0], ()))

    def _effects(self, which: str, values: Sequence[int]) -> dict[int, tuple[Effect, ...]]:
        found: dict[int, tuple[Effect, ...]] = {}
        for number, kind, path, origin, size, target in self.query(
            "SELECT operation, kind, path, origin, size, target FROM effect"
            f" WHERE operation {which} ORDER BY operation, position",
            values,
        ):
            there = target.decode(errors=_ESCAPE) if target else ""
            effect = Effect(EFFECT_KINDS[kind], path.decode(errors=_ESCAPE), origin, size, there)
            found[number] = (*found[number], effect) if number in found else (effect,)
        return found

    def follow(self, *, after: int = 0, poll: float = 0.1, timeout: float | None = None) -> Iterator[Operation]:
        """Yield operations as they reach the disk, until the recorder ends in order or `timeout` seconds are over."""
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            closed = self.closed
            for operation in self.operations(after=after):
                after = operation.number
                yield operation
            if closed or (end is not None and time.monotonic() >= end):
                return
            time.sleep(poll)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def query(self, text: str, values: Sequence[object] = ()) -> list[Any]:
        """Return rows of the database, by the schema above; for modules of this package.

        Raises
        ------
        JournalError
            It cannot be read.
        """
        try:
            return self._database.execute(text, values).fetchall()
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: the journal cannot be read: {error}") from error


def _stored(name: str) -> str | bytes:
    """Return a layer's name as SQLite can hold it: as bytes where it is no text, as a directory's name may be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def _operation(row: tuple[Any, ...], effects: tuple[Effect, ...]) -> Operation:
    """Build an operation from a row of the table, in the order of its columns."""
    number, kind, path, layer, size, offset, target, start, duration, pid, error = row
    return Operation(
        KINDS[kind], path.decode(errors=_ESCAPE), layer, effects, size, offset,
        target.decode(errors=_ESCAPE) if target else "", start, duration, pid, error, number,
    )  # fmt: skip
