"""Collecting garbage: content that no image, container or worker needs any more.

Decided here and only here: what keeps content (an image's records, a container's hold, a living lease) and how it goes.
Marking and moving into `trash/` happen within one change of the records, under the write lock that every pull, load
and build takes before it relies on content; removing what is in `trash/` follows after it. So nothing can be asked for
between the look and the removal, and a process killed at any point leaves only what the next collection removes. Any
thread, any process.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sim.images.blobs import Blobs, FileLock
from sim.images.lease import drop_dead_leases
from sim.images.records import Records
from sim.images.unpack import remove_tree

__all__ = ["Collected", "collect", "discard"]

#: How long an unfinished download is kept so that the next try can go on with it, in seconds.
KEEP_PARTIAL = 7 * 24 * 3600

_REMOVERS = 2


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection removed: how many layers, their bytes unpacked, and the bytes of blobs."""

    layers: int = 0
    layer_bytes: int = 0
    blob_bytes: int = 0


def collect(root: Path, records: Records, blobs: Blobs) -> Collected:
    """Remove what nothing needs."""
    layers = layer_bytes = blob_bytes = 0
    with records.change() as change:
        # Before the leases are looked at: what comes later has a lease that this look may not see.
        working = list(blobs.ingest.iterdir())
        living = drop_dead_leases(root / "leases", records)
        needed = {
            row[0]
            for row in change.execute(
                "SELECT digest FROM image_blob UNION SELECT diff_id FROM image_layer"
                " UNION SELECT digest FROM lease UNION SELECT diff_id FROM hold"
            )
        }
        sizes = dict(change.execute("SELECT diff_id, size FROM layer").fetchall())
        # A layer that a container holds keeps no tar: there is no image that could be pushed or saved.
        for path in list((root / "layers").iterdir()):
            digest = "sha256:" + path.name
            if digest not in needed:
                layers, layer_bytes = layers + 1, layer_bytes + sizes.get(digest, 0)
                _trash(root, path)
                change.execute("DELETE FROM layer WHERE diff_id = ?", (digest,))
        for path in list(blobs.directory.iterdir()):
            if "sha256:" + path.name not in needed:
                blob_bytes += path.stat().st_size
                _trash(root, path)
                change.execute("DELETE FROM layer_blob WHERE digest = ?", ("sha256:" + path.name,))
        for path in working:
            owner = path.name.partition("-")[0]
            if owner == "sha256":
                _expire(root, blobs, path)
            elif owner not in living:
                _trash(root, path)
        change.execute(
            "DELETE FROM layer_blob WHERE NOT EXISTS (SELECT 1 FROM layer WHERE layer.diff_id = layer_blob.diff_id)"
        )
        change.execute("DELETE FROM layer_source WHERE digest NOT IN (SELECT digest FROM layer_blob)")
    for path in list(blobs.locks.iterdir()):
        lock = FileLock(path)
        if lock.acquire(wait=False):  # nobody holds it: its holder died
            lock.release()
    empty_trash(root)
    return Collected(layers, layer_bytes, blob_bytes)


def _expire(root: Path, blobs: Blobs, path: Path) -> None:
    lock = FileLock(blobs.locks / path.name.removeprefix("sha256-").removesuffix(".partial"))
    with contextlib.suppress(FileNotFoundError):
        if time.time() - path.stat().st_mtime > KEEP_PARTIAL and lock.acquire(wait=False):
            _trash(root, path)
            lock.release()


def _trash(root: Path, path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.rename(path, root / "trash" / secrets.token_hex(12))


def discard(root: Path, path: Path) -> None:
    """Throw one file or directory away at once."""
    _trash(root, path)
    empty_trash(root)


def empty_trash(root: Path) -> None:
    """Remove what was thrown away, two things at once; several may do so at once."""
    trash = root / "trash"
    names = os.listdir(trash)
    if len(names) < 2:
        for name in names:
            _remove(trash, name)
        return
    with ThreadPoolExecutor(_REMOVERS, "trash") as pool:
        for done in [pool.submit(_remove, trash, name) for name in names]:
            done.result()


def _remove(trash: Path, name: str) -> None:
    here = os.open(trash, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            try:
                remove_tree(here, os.fsencode(name))
            except NotADirectoryError:
                os.unlink(name, dir_fd=here)
    finally:
        os.close(here)
