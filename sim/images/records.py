"""What the store remembers beside the content: images, names, parents, leases, in one SQLite database.

Decided here and only here: the tables, and that every change is one transaction which takes the write lock first
(`BEGIN IMMEDIATE`), so that changes of several processes come one after another and a killed one leaves none.
One `Records` may be used by any thread: a lock admits one at a time.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from sim.images.errors import StoreError

__all__ = ["Records"]

_VERSION = 1
_TABLES = """
CREATE TABLE image (
    number INTEGER PRIMARY KEY AUTOINCREMENT,   -- the order in which images came
    id TEXT NOT NULL UNIQUE,                    -- digest of the configuration
    manifest TEXT NOT NULL,                     -- digest of the manifest that stands for it now
    media_type TEXT NOT NULL,
    parent TEXT,                                -- ID of the image that it was built on here
    added REAL NOT NULL                         -- seconds since the epoch
);
CREATE TABLE image_layer (
    image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
    position INTEGER NOT NULL,                  -- 0 is the bottom
    diff_id TEXT NOT NULL,
    PRIMARY KEY (image, position)
) WITHOUT ROWID;
CREATE INDEX image_layer_diff ON image_layer(diff_id);
CREATE TABLE image_blob (                       -- every blob that must stay while the image is there
    image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    PRIMARY KEY (image, digest)
) WITHOUT ROWID;
CREATE TABLE tag (
    repository TEXT NOT NULL,
    tag TEXT NOT NULL,
    image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
    PRIMARY KEY (repository, tag)
) WITHOUT ROWID;
CREATE INDEX tag_image ON tag(image);
CREATE TABLE repository_digest (                -- by which digests a registry knows an image
    repository TEXT NOT NULL,
    digest TEXT NOT NULL,
    image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX repository_digest_image ON repository_digest(image);
CREATE TABLE layer (
    diff_id TEXT PRIMARY KEY,
    size INTEGER NOT NULL,                      -- bytes of all but directories, each inode once
    entries INTEGER NOT NULL,
    opaque INTEGER NOT NULL                     -- whether its root hides everything below
) WITHOUT ROWID;
CREATE TABLE layer_blob (                       -- the forms in which a layer is known, compressed or not
    diff_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    PRIMARY KEY (diff_id, digest)
) WITHOUT ROWID;
CREATE INDEX layer_blob_digest ON layer_blob(digest);
CREATE TABLE layer_source (                     -- repositories known to have a blob: pushes mount it
    digest TEXT NOT NULL,
    repository TEXT NOT NULL,
    PRIMARY KEY (digest, repository)
) WITHOUT ROWID;
CREATE TABLE lease (                            -- content that a process at work needs
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (name, digest)
) WITHOUT ROWID;
CREATE TABLE hold (                             -- layers that a container needs
    owner TEXT NOT NULL,
    diff_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (owner, position)
) WITHOUT ROWID;
"""


class Records:
    """The database of one store.

    Parameters
    ----------
    path
        Its file; made where it is missing.
    sync
        Whether each change is on the disk itself before it is reported done.

    Raises
    ------
    StoreError
        The file is no database of ours, or of a newer version.
    """

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        try:
            self._connection = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
            self._connection.execute("PRAGMA foreign_keys = ON")
            with self.change() as change:
                version = change.execute("PRAGMA user_version").fetchone()[0]
                if version == 0:
                    for statement in _TABLES.split(";"):
                        change.execute(statement)
                    change.execute(f"PRAGMA user_version = {_VERSION}")
        except sqlite3.Error as error:
            raise StoreError(f"{path}: this is no image store's database ({error}); name another directory") from None
        if version > _VERSION:
            self.close()
            raise StoreError(f"{path}: made by a newer version ({version}, known is {_VERSION}); use that version")

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

    def rows(self, query: str, *values: object) -> list[tuple[str, ...]]:
        """Return what a query finds. Numbers come as numbers; the type names the usual column."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()
