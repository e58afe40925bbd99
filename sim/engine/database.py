"""What the engine remembers: containers, volumes, networks, in one SQLite database.

Decided here and only here: the tables, and how those of an older version become those of this one: a migration that was
released is never changed; the next one is added below it. A value that only its own module looks into is kept as JSON.
"""

from __future__ import annotations

from pathlib import Path

from sim.engine.errors import UnavailableError
from sim.images.database import Database, DatabaseError

__all__ = ["EngineDatabase"]

_MIGRATIONS = (
    """
CREATE TABLE container (
    number INTEGER PRIMARY KEY AUTOINCREMENT,   -- the order in which they were made
    id TEXT NOT NULL UNIQUE,                    -- 64 hexadecimal digits
    name TEXT NOT NULL UNIQUE,                  -- without the slash
    image TEXT NOT NULL,                        -- ID of the image
    document BLOB NOT NULL                      -- JSON: sim.engine.model.Record
);
CREATE TABLE volume (
    name TEXT PRIMARY KEY,
    document BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE network (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    document BLOB NOT NULL
) WITHOUT ROWID
""",
)


class EngineDatabase(Database):
    """The database of one engine, in its data root.

    Raises
    ------
    UnavailableError
        The file is no database of ours, or of a newer version.
    """

    def __init__(self, path: Path) -> None:
        try:
            super().__init__(path, _MIGRATIONS, "engine")
        except DatabaseError as error:
            raise UnavailableError(str(error)) from None
