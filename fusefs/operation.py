"""The record of one filesystem operation: the public vocabulary of the whole project.

Decided here and only here: what is said about an operation, in which words and in which units. The union emits one
`Operation` for every call that reaches it, the journal keeps it, the layer graph is built from it.

Layers are numbered as lookup meets them: 0 is the RW layer (the upper directory), 1 is the topmost read-only layer,
2 the one below it, and so on. A stack without an upper has no layer 0.

Paths are those of the merged view, absolute, as text with undecodable bytes as surrogate escapes (`os.fsdecode`).

All values are frozen, so they may be shared between threads. They are tuples, since one is made for each request that a
mount serves, and a tuple is made four times as fast as any other frozen object.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import NamedTuple

__all__ = [
    "EFFECT_KINDS",
    "KINDS",
    "Effect",
    "EffectKind",
    "Kind",
    "Operation",
    "Raw",
    "RawEffect",
    "from_raw",
    "to_raw",
]


class Kind(StrEnum):
    """What was asked of the filesystem, by the name of the system call that is closest to it."""

    LOOKUP = "lookup"
    GETATTR = "getattr"
    READLINK = "readlink"
    READDIR = "readdir"
    GETXATTR = "getxattr"
    LISTXATTR = "listxattr"
    STATFS = "statfs"
    OPEN = "open"
    READ = "read"
    WRITE = "write"
    FSYNC = "fsync"
    RELEASE = "release"
    CREATE = "create"
    MKDIR = "mkdir"
    MKNOD = "mknod"
    SYMLINK = "symlink"
    LINK = "link"
    UNLINK = "unlink"
    RMDIR = "rmdir"
    RENAME = "rename"
    CHMOD = "chmod"
    CHOWN = "chown"
    UTIMENS = "utimens"
    TRUNCATE = "truncate"
    SETXATTR = "setxattr"
    REMOVEXATTR = "removexattr"
    FALLOCATE = "fallocate"
    COPY_FILE_RANGE = "copy_file_range"
    LSEEK = "lseek"

    @property
    def is_data(self) -> bool:
        """Whether this is a transfer of file data, which the recording level `metadata` leaves out."""
        return self in _DATA


_DATA = frozenset({Kind.READ, Kind.WRITE})


class EffectKind(StrEnum):
    """What an operation did to the RW layer. An operation that changed nothing has no effect."""

    COPIED_UP = "copied up"  #: an object of a read-only layer now has its copy in the RW layer
    CREATED = "created"  #: a new name in the RW layer
    REMOVED = "removed"  #: a name went away from the RW layer
    WHITEOUT = "whiteout"  #: a mark in the RW layer now hides a name of the read-only layers
    OPAQUE = "opaque"  #: a directory of the RW layer now hides all that the read-only layers have in it
    REVEALED = "revealed"  #: a whiteout was taken away, since its name is in use again
    RENAMED = "renamed"  #: a name moved; `path` is the old one and `target` the new one
    LINKED = "linked"  #: one more name for an object; `path` is the new one and `target` the existing one
    WRITTEN = "written"  #: file data of the RW layer was written
    METADATA = "metadata"  #: mode, owner, times, size or an extended attribute was set
    REDIRECT = "redirect"  #: a directory of the RW layer now names, in `target`, where its lower part lies


class Effect(NamedTuple):
    """One change that an operation made to the RW layer.

    Attributes
    ----------
    kind
        What changed.
    path
        The merged path that changed; for a copy-up of a parent this is the parent's path.
    origin
        Number of the read-only layer that the object came from (copied up) or that is hidden by it (whiteout,
        opaque); None where there is none.
    size
        Bytes: copied from the lower file (copied up), written (written); else 0.
    target
        The second path of renamed, linked and redirect; else "".
    """

    kind: EffectKind
    path: str
    origin: int | None = None
    size: int = 0
    target: str = ""


class Operation(NamedTuple):
    """One operation on the merged view: what, where, which layer served it, what it changed, what it cost.

    Attributes
    ----------
    kind
        What was asked.
    path
        The merged path that it was asked of, absolute.
    layer
        Number of the layer that served it (after the operation, for one that changes); None if no layer has the
        name, or if it failed before one was found.
    effects
        The changes made to the RW layer, in the order in which they were made.
    size
        Bytes of file data read or written by the caller; for `fallocate` the length of the range; for `readdir` the
        number of names. Else 0.
    offset
        Where in the file the data was read or written, in bytes (`copy_file_range`: in the file written to); for
        `truncate` the new length; for `fallocate` the start of the range. Else 0.
    target
        The second path (`rename`: the new one; `link`: the existing one; `symlink`: the text of the link); for
        xattr calls the attribute's name. Else "".
    start
        When it began: nanoseconds since the epoch (`time.time_ns`).
    duration
        How long it took inside the union, in nanoseconds; the driver's and kernel's share is not in it.
    pid
        Process that asked, as seen by the kernel of the mount; 0 if unknown.
    error
        The errno it failed with; 0 for success.
    number
        Position in the journal, from 1; 0 before a journal has taken it.

    Examples
    --------
    >>> op = Operation(Kind.OPEN, "/etc/passwd", layer=0,
    ...                effects=(Effect(EffectKind.COPIED_UP, "/etc/passwd", origin=2, size=911),))
    >>> op.copied
    911
    """

    kind: Kind
    path: str
    layer: int | None = None
    effects: tuple[Effect, ...] = ()
    size: int = 0
    offset: int = 0
    target: str = ""
    start: int = 0
    duration: int = 0
    pid: int = 0
    error: int = 0
    number: int = 0

    @property
    def copied(self) -> int:
        """Bytes that copy-up moved because of this operation."""
        return sum(effect.size for effect in self.effects if effect.kind is EffectKind.COPIED_UP)


#: Enumeration members by value: looking one up in a dictionary is cheaper than calling the class, and is done often.
KINDS = {kind.value: kind for kind in Kind}
EFFECT_KINDS = {kind.value: kind for kind in EffectKind}

#: The fields of an `Effect`, the kind a plain word.
RawEffect = tuple[str, str, int | None, int, str]

#: An operation as it is made, before anybody looks at it: the fields of `Operation` in their order, but for the number.
#: Kinds are plain words, the path is bytes, and effects are `RawEffect`s, so that nothing is converted that may never
#: be read, and all of it can be passed on to another process as it is.
Raw = tuple[str, bytes, int | None, tuple[RawEffect, ...], int, int, str, int, int, int, int]


def from_raw(raw: Raw) -> Operation:
    """Return the operation that a raw one is.

    >>> from_raw(("unlink", b"/a", 0, (("removed", "/a", None, 0, ""),), 0, 0, "", 1, 2, 3, 0)).effects[0].kind
    <EffectKind.REMOVED: 'removed'>
    """
    kind, path, layer, effects, size, offset, target, start, duration, pid, error = raw
    plain = tuple([Effect(EFFECT_KINDS[word], where, origin, many, to) for word, where, origin, many, to in effects])
    return Operation(KINDS[kind], os.fsdecode(path), layer, plain, size, offset, target, start, duration, pid, error)


def to_raw(operation: Operation) -> Raw:
    """Return the raw form of an operation; its number is left out.

    >>> operation = Operation(Kind.LOOKUP, "/a", 1)
    >>> from_raw(to_raw(operation)) == operation
    True
    """
    kind, path, layer, effects, size, offset, target, start, duration, pid, error, _ = operation
    plain = tuple([(each.kind.value, each.path, each.origin, each.size, each.target) for each in effects])
    return kind.value, os.fsencode(path), layer, plain, size, offset, target, start, duration, pid, error
