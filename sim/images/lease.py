"""Leases: what keeps content from being collected while a pull, a load, a commit or a build is under way.

Decided here and only here: that content belongs to whoever is at work with it until an image refers to it, and that
whoever died has let go. A lease is a file that its owner holds locked (so the kernel lets go of it with the process)
and rows that name the content. A lease may be used by any thread.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable
from pathlib import Path

from sim.images.blobs import FileLock
from sim.images.records import Records

__all__ = ["Lease", "drop_dead_leases"]


class Lease:
    """Content that must stay while its owner works. A context manager: it ends with the block."""

    def __init__(self, directory: Path, records: Records) -> None:
        self.name = secrets.token_hex(8)
        self._records = records
        self._lock = FileLock(directory / self.name)
        self._lock.acquire()

    def add(self, *digests: str) -> None:
        """Keep content of these digests, whether it is there already or comes later."""
        with self._records.change() as change:
            change.executemany("INSERT OR IGNORE INTO lease VALUES (?, ?)", [(self.name, digest) for digest in digests])

    def drop(self, *digests: str) -> None:
        """Let go of some content, because an image refers to it now."""
        with self._records.change() as change:
            change.executemany(
                "DELETE FROM lease WHERE name = ? AND digest = ?", [(self.name, digest) for digest in digests]
            )

    def close(self) -> None:
        """Let go."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._lock.release)
            with self._records.change() as change:
                change.execute("DELETE FROM lease WHERE name = ?", (self.name,))

    def __enter__(self) -> Lease:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let go, whatever happened."""
        self.close()


def drop_dead_leases(directory: Path, records: Records) -> frozenset[str]:
    """Forget the leases of owners that died; return the names of those that live. Call it within a change."""
    living: set[str] = set()
    names: Iterable[str] = {path.name for path in directory.iterdir()}
    for name in names:
        lock = FileLock(directory / name)
        if lock.acquire(wait=False):
            lock.release()
        else:
            living.add(name)
    with records.change() as change:
        for (name,) in change.execute("SELECT DISTINCT name FROM lease").fetchall():
            if name not in living:
                change.execute("DELETE FROM lease WHERE name = ?", (name,))
    return frozenset(living)
