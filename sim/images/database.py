"""A SQLite database that several threads and processes change, one change after another.

Decided here and only here: that every change is one transaction which takes the write lock first (`BEGIN IMMEDIATE`),
so that a killed process leaves none half done, and how the tables of an older version become those of a newer one.
One `Database` may be used by any thread: a lock admits one at a time.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Database", "DatabaseError"]


class DatabaseError(Exception):
    """A file that is no database of this kind, or one of a newer version; the text says which and what to do."""


class Database:
    """A database file and its tables.

    Parameters
    ----------
    path
        Its file; made where it is missing.
    migrations
        Statements, separated by semicolons, that lead from each version to the next; the first makes the tables of an
        empty database. Its version is the number of those that were carried out (`PRAGMA user_version`).
    what
        What the file is, for messages: "image store".
    sync
        Whether each change is on the disk itself before it is reported done. Without it a change survives a killed
        process, not a power cut.

    Raises
    ------
    DatabaseError
        The file is no database of ours, or of a newer version.
    """

    def __init__(self, path: Path, migrations: Sequence[str], what: str, *, sync: bool = False) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        known = len(migrations)
        try:
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
            self._connection.execute("PRAGMA foreign_keys = ON")
            with self.change() as change:
                version = change.execute("PRAGMA user_version").fetchone()[0]
                for migration in migrations[version:]:
                    for statement in migration.split(";"):
                        change.execute(statement)
                if version < known:
                    change.execute(f"PRAGMA user_version = {known}")
        except sqlite3.Error as error:
            raise DatabaseError(f"{path}: this is no {what}'s database ({error}); name another directory") from None
        if version > known:
            self.close()
            raise DatabaseError(f"{path}: made by a newer version ({version}, known is {known}); use that version")

    @contextlib.contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Make one change: all of it is kept, or, after an exception, none. Nested changes are part of the outer."""
        with self._lock:
            if self._depth == 0:
                self._connection.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield self._connection
            except BaseException:
                self._depth -= 1
                if self._depth == 0:
                    self._connection.execute("ROLLBACK")
                raise
            self._depth -= 1
            if self._depth == 0:
                self._connection.execute("COMMIT")

    def version(self) -> tuple[int, int]:
        """Return what is another value after each change, whoever made it."""
        with self._lock:
            return self._connection.execute("PRAGMA data_version").fetchone()[0], self._connection.total_changes

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()
