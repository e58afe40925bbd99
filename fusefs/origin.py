"""Origins: how a copied-up object remembers which lower object it was, so that its inode number stays the same.

Decided here and only here: the bytes of the `overlay.origin` attribute, which the kernel's overlayfs reads and writes
in the same way (`struct ovl_fb` in fs/overlayfs/overlayfs.h): version 0, magic 0xfb, length, flags, type of the file
handle, UUID of the filesystem, the handle. Functions only: any thread.

A handle names an inode for as long as the filesystem lives. To get the inode number out of it one would open it by
open_by_handle_at(2), which takes a privilege; the handles of the usual filesystems have it in plain sight, at a place
that the type tells (include/linux/exportfs.h), so it is read from there.
"""

from __future__ import annotations

import struct

from fusefs import syscalls

__all__ = ["decode_origin", "encode_origin"]

_HEADER = struct.Struct("=BBBBB16s")
_MAGIC = 0xFB


def encode_origin(directory: int, name: bytes, uuid: bytes) -> bytes | None:
    """Return the attribute's value for an object of a lower layer; None where its filesystem has no handles.

    Parameters
    ----------
    directory, name
        Descriptor of its directory and its name there.
    uuid
        UUID of its filesystem, zeros where all layers are on one.
    """
    handle = syscalls.file_handle(directory, name)
    if handle is None:
        return None
    kind, data = handle
    if kind > 0xFF or _HEADER.size + len(data) > 0xFF:
        return None
    return _HEADER.pack(0, _MAGIC, _HEADER.size + len(data), 0, kind, uuid) + data


def decode_origin(value: bytes) -> tuple[bytes, int] | None:
    """Return the filesystem's UUID and the inode number that an attribute's value names; None if it names none.

    >>> decode_origin(bytes.fromhex("00fb1d0001") + bytes(16) + bytes.fromhex("96c020009882fe40"))[1]
    2146454
    >>> decode_origin(b"")
    """
    if len(value) < _HEADER.size:
        return None
    version, magic, length, flags, kind, uuid = _HEADER.unpack_from(value)
    data = value[_HEADER.size : length]
    if version or magic != _MAGIC or length != len(value) or flags & 1:
        return None
    inode = _inode(kind, data)
    return None if inode is None else (uuid, inode)


def _inode(kind: int, data: bytes) -> int | None:
    """Return the inode number inside a handle, by its type."""
    if kind == 0x01 and len(data) == 12:  # tmpfs: generation, low and high half
        return int.from_bytes(data[4:12], "little")
    if kind == 0x01 and len(data) >= 8:  # FILEID_INO32_GEN: ext4, xfs with small numbers
        return int.from_bytes(data[:4], "little")
    if kind in (0x81, 0x4D) and len(data) >= 12:  # xfs with 64-bit numbers; btrfs, whose object id comes first
        return int.from_bytes(data[:8], "little")
    return None
