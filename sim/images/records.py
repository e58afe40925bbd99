"""What the store remembers beside the content: images, names, parents, leases, in one SQLite database.

Decided here and only here: the tables. How they are changed is decided in `sim.images.database`.
"""

from __future__ import annotations

from pathlib import Path

from sim.images.database import Database, DatabaseError
from sim.images.errors import StoreError

__all__ = ["Records"]

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

_STEPS = """
CREATE TABLE step (                             -- which command of a build made an image from its parent
    image TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
    command TEXT NOT NULL,                      -- a JSON list
    parent TEXT NOT NULL,                       -- empty for none
    PRIMARY KEY (parent, image, command)
) WITHOUT ROWID;
CREATE INDEX step_image ON step(image);
CREATE INDEX image_parent ON image(parent);
"""

#: When a name was given (RFC 3339).
_TAG_TIMES = "ALTER TABLE tag ADD COLUMN tagged TEXT NOT NULL DEFAULT ''"


class Records(Database):
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
        try:
            super().__init__(path, (_TABLES, _STEPS, _TAG_TIMES), "image store", sync=sync)
        except DatabaseError as error:
            raise StoreError(str(error)) from None
