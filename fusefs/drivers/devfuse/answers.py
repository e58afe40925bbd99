"""Answers as the kernel takes them: a status, an entry, a listing.

Decided here and only here: how a status of the merged view is packed, how long the kernel may believe an answer, and
where in a listing a name stands.

Names stand in a listing in the order of a hash of the name: so a position means the same for every reader, before and
after names come and go, and nothing has to be remembered of who reads what. (ext4 does the same.)

Threads: functions and values only.
"""

from __future__ import annotations

import functools
import os
import stat
import struct
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any

from fusefs.drivers.devfuse import wire
from fusefs.node import Attributes
from fusefs.tree import Entry

__all__ = [
    "FOREVER",
    "NOTHING",
    "TICK",
    "Listing",
    "Validity",
    "attributes_of",
    "pack_absent",
    "pack_attributes",
    "pack_entry",
    "pack_statfs",
]

#: How long the kernel may believe what only changes through it: ten years, in seconds.
FOREVER = 315_360_000

#: Seconds and nanoseconds.
Validity = tuple[int, int]

#: How long the kernel may believe the status of a file that is being written in passthrough: one tick of its clock. It
#: knows of writes; only what a shared mapping does to the time of change it does not, and that is told by the tick.
TICK: Validity = (0, 1_000_000)

_ENTRY = wire.ENTRY_OUT.codec.pack
_ATTR = wire.ATTR_OUT.codec.pack
_SECOND = 1_000_000_000
_HASH_BITS = (1 << 62) - 1

Values = tuple[int, ...]


def attributes_of(attributes: Attributes) -> Values:
    """Return the fields of `fuse_attr`."""
    real = attributes.real
    plain: Any = real  # by place its times are whole seconds, by name they are not
    mode, _, _, _, uid, gid, size, accessed, modified, changed = plain
    return (
        attributes.st_ino, size, attributes.st_blocks, accessed, modified, changed, real.st_atime_ns % _SECOND,
        real.st_mtime_ns % _SECOND, real.st_ctime_ns % _SECOND, mode, attributes.st_nlink, uid, gid,
        real.st_rdev & 0xFFFFFFFF, real.st_blksize, 0,
    )  # fmt: skip


def pack_attributes(attributes: Attributes, valid: Validity) -> bytes:
    """Return a `fuse_attr_out`; `valid` is for how long it may be believed."""
    return _ATTR(*valid, 0, *attributes_of(attributes))


def pack_entry(node_id: int, attributes: Attributes, valid: int, status_valid: Validity) -> bytes:
    """Return a `fuse_entry_out`; `valid` is for how many seconds the name may be believed."""
    return _ENTRY(node_id, 0, valid, status_valid[0], 0, status_valid[1], *attributes_of(attributes))


def pack_absent(valid: int) -> bytes:
    """Return the `fuse_entry_out` of a name that leads to nothing."""
    return _ENTRY(0, 0, valid, 0, 0, 0, *(0,) * 16)


def pack_statfs(real: os.statvfs_result) -> bytes:
    """Return a `fuse_statfs_out`."""
    return wire.STATFS_OUT.codec.pack(
        real.f_blocks, real.f_bfree, real.f_bavail, real.f_files, real.f_ffree, real.f_bsize, real.f_namemax,
        real.f_frsize, 0, 0, 0, 0, 0, 0, 0,
    )  # fmt: skip


class Listing:
    """The names of a directory at one moment, each at its position.

    Parameters
    ----------
    own, above
        Inode numbers of the directory and of the one above it.
    entries
        Its names.

    Examples
    --------
    >>> listing = Listing(2, 2, [(b"a", 11, stat.S_IFREG)])
    >>> [name for _, name, _, _ in listing.after(0)]
    [b'.', b'..', b'a']
    """

    __slots__ = ("_found", "_positions")

    def __init__(self, own: int, above: int, entries: list[Entry]) -> None:
        found = {hash(entry[0]) & _HASH_BITS: entry for entry in entries}
        if len(found) < len(entries) or 1 in found or 2 in found:
            found = _spread(entries)
        found[1] = b".", own, stat.S_IFDIR
        found[2] = b"..", above, stat.S_IFDIR
        self._found = found
        self._positions = sorted(found)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._positions)

    def after(self, position: int) -> Iterator[tuple[int, bytes, int, int]]:
        """Yield position, name, inode number and file type of the names after a position."""
        found, positions = self._found, self._positions
        for number in range(bisect_right(positions, position), len(positions)):
            at = positions[number]
            yield at, *found[at]

    def page(self, position: int, size: int) -> bytes:
        """Return the `fuse_dirent`s after a position, as many as have room in `size` bytes."""
        parts: list[bytes] = []
        for at, name, inode, kind in self.after(position):
            length = len(name)
            codec = _dirent(length)
            size -= codec.size
            if size < 0:
                break
            parts.append(codec.pack(inode, at, length, kind >> 12, name))
        return b"".join(parts)

    def page_plus(
        self, position: int, size: int, look: Callable[[list[bytes]], list[Values]], *, most: int = sys.maxsize
    ) -> bytes:
        """Return the `fuse_direntplus`es after a position, as many as have room in `size` bytes, or `most`.

        Parameters
        ----------
        look
            Called with names; returns for each the fields of its `fuse_entry_out`, zeros for one that is gone.
        """
        chosen: list[tuple[int, bytes, int, int]] = []
        for entry in self.after(position):
            size -= _dirent_plus(len(entry[1])).size
            if size < 0 or len(chosen) == most:
                break
            chosen.append(entry)
        looked = iter(look([name for at, name, _, _ in chosen if at > 2]))
        parts: list[bytes] = []
        for at, name, inode, kind in chosen:
            values = next(looked) if at > 2 else NOTHING
            length = len(name)
            parts.append(_dirent_plus(length).pack(*values, inode, at, length, kind >> 12, name))
        return b"".join(parts)


def _spread(entries: list[Entry]) -> dict[int, Entry]:
    """Return entries by position where hashes alone would put two at one, or one at that of `.` or `..`.

    >>> one, other = _spread([(b"a", 1, 0), (b"a", 2, 0)])
    >>> other - one
    1
    """
    found: dict[int, Entry] = {}
    last = 2
    for position, entry in sorted((hash(entry[0]) & _HASH_BITS, entry) for entry in entries):
        last = max(last + 1, position)
        found[last] = entry
    return found


@functools.cache
def _dirent(length: int) -> struct.Struct:
    """Return the structure of a `fuse_dirent` with a name of so many bytes, filled up to a multiple of eight."""
    return wire.DIRENT.followed_by(length)


@functools.cache
def _dirent_plus(length: int) -> struct.Struct:
    """Return that of a `fuse_direntplus`."""
    return wire.DIRENT_PLUS.followed_by(length)


#: The fields of a `fuse_entry_out` that says nothing about a name in a listing.
NOTHING: Values = (0,) * 22
