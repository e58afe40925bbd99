"""Answers as the kernel takes them: a status, an entry, a listing.

Decided here and only here: how a status of the merged view is packed, how long the kernel may believe an answer, and
where in a listing a name stands.

Names stand in a listing in the order of a hash of the name: so a position means the same for every reader, before and
after names come and go, and nothing has to be remembered of who reads what. (ext4 does the same.)

Threads: functions and values only.
"""

from __future__ import annotations

import os
import stat
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator

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
_DIRENT = wire.DIRENT.codec
_DIRENT_PLUS = wire.DIRENT_PLUS.codec
_SECOND = 1_000_000_000
_HASH_BITS = (1 << 62) - 1

Values = tuple[int, ...]


def attributes_of(attributes: Attributes) -> Values:
    """Return the fields of `fuse_attr`."""
    real = attributes.real
    accessed, accessed_ns = divmod(real.st_atime_ns, _SECOND)
    modified, modified_ns = divmod(real.st_mtime_ns, _SECOND)
    changed, changed_ns = divmod(real.st_ctime_ns, _SECOND)
    return (
        attributes.st_ino, real.st_size, attributes.st_blocks, accessed, modified, changed, accessed_ns, modified_ns,
        changed_ns, real.st_mode, attributes.st_nlink, real.st_uid, real.st_gid, real.st_rdev & 0xFFFFFFFF,
        real.st_blksize, 0,
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

    __slots__ = ("_names", "_positions")

    def __init__(self, own: int, above: int, entries: list[Entry]) -> None:
        found = sorted((hash(name) & _HASH_BITS, name, inode, kind) for name, inode, kind in entries)
        names: list[tuple[int, bytes, int, int]] = [(1, b".", own, stat.S_IFDIR), (2, b"..", above, stat.S_IFDIR)]
        last = 2
        for position, name, inode, kind in found:
            last = max(last + 1, position)
            names.append((last, name, inode, kind))
        self._names = names
        self._positions = [position for position, *_ in names]

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._names)

    def after(self, position: int) -> Iterator[tuple[int, bytes, int, int]]:
        """Yield position, name, inode number and file type of the names after a position."""
        for at in range(bisect_left(self._positions, position + 1), len(self._names)):
            yield self._names[at]

    def page(self, position: int, size: int) -> bytes:
        """Return the `fuse_dirent`s after a position, as many as have room in `size` bytes."""
        parts: list[bytes] = []
        room = size
        for at, name, inode, kind in self.after(position):
            length = len(name)
            whole = (_DIRENT.size + length + 7) & ~7
            if whole > room:
                break
            room -= whole
            parts.append(_DIRENT.pack(inode, at, length, kind >> 12))
            parts.append(name.ljust(whole - _DIRENT.size, b"\0"))
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
        room = size
        for entry in self.after(position):
            whole = (_DIRENT_PLUS.size + len(entry[1]) + 7) & ~7
            if whole > room or len(chosen) == most:
                break
            room -= whole
            chosen.append(entry)
        wanted = [name for at, name, _, _ in chosen if at > 2]
        looked = iter(look(wanted))
        parts: list[bytes] = []
        for at, name, inode, kind in chosen:
            values = next(looked) if at > 2 else NOTHING
            length = len(name)
            whole = (_DIRENT_PLUS.size + length + 7) & ~7
            parts.append(_DIRENT_PLUS.pack(*values, inode, at, length, kind >> 12))
            parts.append(name.ljust(whole - _DIRENT_PLUS.size, b"\0"))
        return b"".join(parts)


#: The fields of a `fuse_entry_out` that says nothing about a name in a listing.
NOTHING: Values = (0,) * 22
