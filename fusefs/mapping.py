"""Other owners than those on disk: ID mapping, squashing, and what else a mount may show differently from its layers.

Decided here and only here: which user and group IDs the merged view shows for those that are stored, which are stored
for those that a caller gives, and what happens to an ID that has no counterpart: it becomes the overflow ID, as in a
user namespace (user_namespaces(7), "Unmapped user and group IDs").

    stored in the layers     0      1 ...                what ext4 says
                             │      │    ▲
    shown                    ▼      ▼    │
    merged view           1000 110000 ...                what stat(2), chown(2) and ACLs through the mount say

A squashed ID is shown for every owner. It changes nothing on disk: what a caller creates or gives away is stored as if
nothing were squashed, so that fuse-overlayfs and this agree about one and the same upper directory.

`PresentedUnion` is a union with such a presentation, for any driver: it differs from `Union` in who the caller is, in
`attributes`, in `chown` and in the extended attributes that hold IDs. Where nothing is presented differently a driver
gets a plain `Union`, which pays nothing.

Threads: as `Union`; the rest are values.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from fusefs.node import Attributes, Node
from fusefs.record import Caller
from fusefs.stack import Options, Stack
from fusefs.table import failure
from fusefs.union import Union

__all__ = ["Ids", "Presentation", "PresentedUnion", "Range", "overflow_id", "parse_ranges"]

_MOST = 1 << 32
_ACCESS_LISTS = (b"system.posix_acl_access", b"system.posix_acl_default")
_LIST_VERSION = 2
_LIST_HEADER = struct.Struct("<I")
_LIST_ENTRY = struct.Struct("<HHI")
_USER, _GROUP = 0x02, 0x08


def overflow_id(kind: str) -> int:
    """Return the ID that stands for those without a counterpart; `kind` is `uid` or `gid`."""
    try:
        return int(Path(f"/proc/sys/kernel/overflow{kind}").read_text())
    except (OSError, ValueError):
        return 65534


@dataclass(frozen=True, slots=True)
class Range:
    """`count` successive IDs: from `stored` on in the layers, from `shown` on in the merged view."""

    stored: int
    shown: int
    count: int


@dataclass(frozen=True, slots=True)
class Ids:
    """How IDs of one kind, users or groups, are translated.

    Attributes
    ----------
    ranges
        Which stored IDs are shown as which; none means that all are shown as they are.
    squash
        The ID that is shown for every owner; None to show them as `ranges` has it.
    overflow
        What an ID outside all ranges becomes, in either direction.

    Examples
    --------
    >>> ids = Ids((Range(0, 1000, 1), Range(1, 110000, 65536)))
    >>> ids.shown(0), ids.shown(5), ids.stored(110004), ids.stored(7)
    (1000, 110004, 5, 65534)
    """

    ranges: tuple[Range, ...] = ()
    squash: int | None = None
    overflow: int = 65534

    def owner(self, stored: int) -> int:
        """Return the ID that is shown for an owner."""
        return self.shown(stored) if self.squash is None else self.squash

    def shown(self, stored: int) -> int:
        """Return the ID that is shown for a stored one; squashing has no part in it."""
        if not self.ranges:
            return stored
        for one in self.ranges:
            if one.stored <= stored < one.stored + one.count:
                return one.shown + stored - one.stored
        return self.overflow

    def stored(self, shown: int) -> int:
        """Return the ID that is stored for one that a caller has or gives."""
        if not self.ranges:
            return shown
        for one in self.ranges:
            if one.shown <= shown < one.shown + one.count:
                return one.stored + shown - one.shown
        return self.overflow


def parse_ranges(text: str) -> tuple[Range, ...]:
    """Read ranges as fuse-overlayfs's options `uidmapping` and `gidmapping` have them: `STORED:SHOWN:COUNT:...`.

    Raises
    ------
    ValueError
        It is no such thing.

    Examples
    --------
    >>> parse_ranges("0:1000:1:1:110000:65536")[1]
    Range(stored=1, shown=110000, count=65536)
    """
    words = [word for word in text.replace(",", ":").split(":") if word]
    if not words or len(words) % 3 or not all(word.isascii() and word.isdecimal() for word in words):
        raise ValueError(f"{text}: this is no mapping; write STORED:SHOWN:COUNT, once or more, joined by colons")
    numbers = [int(word) for word in words]
    found = tuple(Range(*numbers[at : at + 3]) for at in range(0, len(numbers), 3))
    for one in found:
        if not one.count or max(one.stored, one.shown) + one.count > _MOST:
            raise ValueError(f"{text}: a range is empty, or reaches beyond the highest ID, {_MOST - 1}")
    for side in ("stored", "shown"):
        ends = sorted((getattr(one, side), getattr(one, side) + one.count) for one in found)
        if any(end > start for (_, end), (start, _) in pairwise(ends)):
            raise ValueError(f"{text}: two ranges overlap, so an ID would have two counterparts")
    return found


@dataclass(frozen=True, slots=True)
class Presentation:
    """What the merged view shows differently from what the layers have.

    Attributes
    ----------
    users, groups
        Owners.
    count_links
        Whether directories show their number of links; if not they show 1, which tells programs not to rely on it.
    access_lists
        Whether there are ACLs; if not they cannot be read or set (EOPNOTSUPP).
    attributes
        Whether there are extended attributes at all; if not none can be read or set (EOPNOTSUPP).
    """

    users: Ids = Ids()
    groups: Ids = Ids()
    count_links: bool = True
    access_lists: bool = True
    attributes: bool = True

    @property
    def is_plain(self) -> bool:
        """Whether nothing is shown differently."""
        ids = (self.users, self.groups)
        translated = any(one.ranges or one.squash is not None for one in ids)
        return not translated and self.count_links and self.access_lists and self.attributes

    @classmethod
    def from_plain(cls, said: dict[str, object]) -> Presentation:
        """Return the presentation that `dataclasses.asdict` made plain, also after a way through JSON."""

        def ids(plain: object) -> Ids:
            assert isinstance(plain, dict)
            return Ids(tuple(Range(**one) for one in plain["ranges"]), plain["squash"], plain["overflow"])

        flags = {name: bool(said[name]) for name in ("count_links", "access_lists", "attributes")}
        return cls(ids(said["users"]), ids(said["groups"]), **flags)


class _PresentedCaller(Caller):
    """A caller whose IDs are those that the merged view shows; what it creates belongs to the stored ones."""

    def __init__(self, presentation: Presentation) -> None:
        super().__init__()
        self.presentation = presentation

    def become(self, uid: int, gid: int, pid: int) -> None:
        """Work for another process from now on."""
        shown = self.presentation
        super().become(shown.users.stored(uid), shown.groups.stored(gid), pid)


def _translate_list(value: bytes, user: Callable[[int], int], group: Callable[[int], int]) -> bytes:
    """Return an ACL with other IDs (the form of the attribute: include/uapi/linux/posix_acl_xattr.h)."""
    entries, rest = divmod(len(value) - _LIST_HEADER.size, _LIST_ENTRY.size)
    if entries < 0 or rest or _LIST_HEADER.unpack_from(value)[0] != _LIST_VERSION:
        return value
    found = bytearray(value)
    for number in range(entries):
        at = _LIST_HEADER.size + number * _LIST_ENTRY.size
        tag, permissions, identity = _LIST_ENTRY.unpack_from(found, at)
        if tag in (_USER, _GROUP):
            _LIST_ENTRY.pack_into(found, at, tag, permissions, (user if tag == _USER else group)(identity))
    return bytes(found)


def _with_owner(real: os.stat_result, uid: int, gid: int) -> os.stat_result:
    """Return a status with another owner."""
    reduced: Any = real.__reduce__()
    fields, more = reduced[1]
    return os.stat_result((*fields[:4], uid, gid, *fields[6:]), more)


class PresentedUnion(Union):
    """A union that shows some things differently from what its layers have.

    Parameters
    ----------
    stack, options
        As for `Union`.
    presentation
        What is shown differently.
    """

    def __init__(
        self, stack: Stack, options: Options | None = None, presentation: Presentation = Presentation()
    ) -> None:
        super().__init__(stack, options)
        self.presentation = presentation
        self.caller = _PresentedCaller(presentation)

    def attributes(self, node: Node, seen: os.stat_result | None = None) -> Attributes:
        """Return the status of an object as the merged view shows it."""
        found = super().attributes(node, seen)
        users, groups = self.presentation.users, self.presentation.groups
        uid, gid = users.owner(found.st_uid), groups.owner(found.st_gid)
        real = found.real if (uid, gid) == (found.st_uid, found.st_gid) else _with_owner(found.real, uid, gid)
        links = 1 if node.is_directory and not self.presentation.count_links else found.st_nlink
        return found._replace(real=real, st_nlink=links)

    def chown(self, node: Node, uid: int, gid: int) -> None:
        """Set the owner, given as the merged view shows it; -1 leaves one as it is."""
        shown = self.presentation
        super().chown(
            node,
            uid if uid in (-1, _MOST - 1) else shown.users.stored(uid),
            gid if gid in (-1, _MOST - 1) else shown.groups.stored(gid),
        )

    # Extended attributes

    def _check_shown(self, name: bytes) -> None:
        if not self.presentation.attributes or (name in _ACCESS_LISTS and not self.presentation.access_lists):
            raise failure(errno.EOPNOTSUPP, name)

    def getxattr(self, node: Node, name: bytes) -> bytes:
        """Return an extended attribute; an ACL names the IDs that are shown."""
        self._check_shown(name)
        value = super().getxattr(node, name)
        if name not in _ACCESS_LISTS:
            return value
        return _translate_list(value, self.presentation.users.shown, self.presentation.groups.shown)

    def setxattr(self, node: Node, name: bytes, value: bytes, flags: int = 0) -> None:
        """Set an extended attribute; an ACL names the IDs that are shown."""
        self._check_shown(name)
        if name in _ACCESS_LISTS:
            value = _translate_list(value, self.presentation.users.stored, self.presentation.groups.stored)
        super().setxattr(node, name, value, flags)

    def listxattr(self, node: Node) -> list[bytes]:
        """Return the names of the extended attributes that are shown."""
        if not self.presentation.attributes:
            raise failure(errno.EOPNOTSUPP)
        names: Iterable[bytes] = super().listxattr(node)
        return [name for name in names if self.presentation.access_lists or name not in _ACCESS_LISTS]

    def removexattr(self, node: Node, name: bytes) -> None:
        """Remove an extended attribute."""
        self._check_shown(name)
        super().removexattr(node, name)
