"""Putting the members of a tar into a container's view without the kernel.

Decided here and only here: which members are put there by whoever has the view open: this process, for one that is
mounted nowhere, or the process that serves it, at its door. Files, directories and symlinks are taken; at the first
member that is something else, or would lie where something is mounted, a `Filler` stops and leaves it and all after it
to `Placing`, which works on the mounted view. A `Filler` belongs to one thread.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.door import fill
from fusefs.filling import Filling, Item
from sim.engine.errors import ForbiddenError
from sim.engine.fetching import mounted
from sim.engine.placing import Member, moment, worded
from sim.engine.views import rooted
from sim.images.entry import Kind
from sim.runtime.syscalls import open_in

if TYPE_CHECKING:
    from sim.engine.container import Container
    from sim.engine.containers import Containers

__all__ = ["Batch", "Filler", "check_writable", "gather"]

#: Bytes of a file that is not kept in memory, and bytes of members that are put there in one go.
_LARGE, _TOGETHER = 4 << 20, 8 << 20

#: How many members are, by this process and at the door: there the next ones are got ready meanwhile.
_MOST, _MOST_AT_DOOR = 1000, 300
_TAKEN = {Kind.FILE: stat.S_IFREG, Kind.DIRECTORY: stat.S_IFDIR, Kind.SYMLINK: stat.S_IFLNK}


@dataclass(frozen=True, slots=True)
class Batch:
    """Members with their contents.

    Attributes
    ----------
    members
        They, in the order of the tar.
    large
        The member after them, where it is too large to be kept in memory; its content is unread.
    last
        Whether none comes after them.
    failure
        What ended the tar after them, where it has no right end.
    """

    members: Sequence[Member]
    large: Member | None = None
    last: bool = False
    failure: Exception | None = None

    def after(self) -> Iterator[Member]:
        """Yield what follows the members that are whole.

        Raises
        ------
        Exception
            What ended the tar.
        """
        if self.large is not None:
            yield self.large
        if self.failure is not None:
            raise self.failure


def gather(members: Iterator[Member], most: int = _MOST) -> Batch:
    """Return the next members, whole: what is put into a view in one go, while nobody waits for a client."""
    found: list[Member] = []
    room = _TOGETHER
    try:
        for entry, body in members:
            if entry.size > _LARGE:
                return Batch(found, (entry, body))
            found.append((entry, [(offset, bytes(part)) for offset, part in body]))
            room -= entry.size
            if room < 0 or len(found) == most:
                return Batch(found)
    except Exception as error:
        return Batch(found, last=True, failure=error)
    return Batch(found, last=True)


class Filler:
    """A container, and the directory in it that a tar goes into.

    Parameters
    ----------
    owner
        The containers of the engine.
    container
        One of them.
    path
        The directory's path in it.
    """

    def __init__(self, owner: Containers, container: Container, path: str) -> None:
        self._owner, self._container, self._path = owner, container, path
        self._times: dict[bytes, int] = {}

    @property
    def most(self) -> int:
        """How many members are best put there together."""
        return _MOST_AT_DOOR if self._container.state.running else _MOST

    def take(self, members: Sequence[Member], *, last: bool = False) -> int | None:
        """Put members in their places.

        Parameters
        ----------
        members
            With their contents as bytes.
        last
            Whether none comes after them, so that directories get their times, which filling them has changed.

        Returns
        -------
        int or None
            How many are left, from the first on that is not for this class; None where the view cannot be filled so.

        Raises
        ------
        BadParameterError
            A member may not go where it wants.
        OSError
            The disk is full or fails.
        """
        points = mounted(self._container)
        if points is None:
            return None
        items = list(_items(members))
        made = {item.path: item.modified for item in items if stat.S_ISDIR(item.mode)}
        wanted = self._times | made if last and len(items) == len(members) else {}
        times = list(reversed(wanted.items()))
        way = self._at_the_door if self._container.state.running else self._in_this_process
        found = way(points, items, times)
        if found is None:
            return None
        done, error = found
        if error is not None:
            raise worded(error, self._path, members[done][0]) from None
        self._times |= {item.path: item.modified for item in items[:done] if item.path in made}
        return len(members) - done

    @property
    def times(self) -> dict[str, int]:
        """The times that directories shall have when all is in them, by their paths in the tar."""
        return {os.fsdecode(path): modified for path, modified in self._times.items()}

    def _at_the_door(
        self, points: Collection[bytes], items: Sequence[Item], times: Sequence[tuple[bytes, int]]
    ) -> tuple[int, OSError | None] | None:
        with rooted(self._owner, self._container) as root:
            try:
                os.close(open_in(root, self._path, os.O_PATH | os.O_DIRECTORY))
            except OSError:
                return None
        check_writable(self._container, self._path)
        try:
            return fill(self._owner.rootfs.door(self._container.id), os.fsencode(self._path), points, items, times)
        except OSError:  # it has none, or has just ended
            return None

    def _in_this_process(
        self, points: Collection[bytes], items: Sequence[Item], times: Sequence[tuple[bytes, int]]
    ) -> tuple[int, OSError | None] | None:
        with self._owner.rootfs.opened(self._container.record) as union:
            if union is None:
                return None
            try:
                node = union.walk(os.fsencode(self._path), barred=points)
            except OSError:
                return None
            union.release(node)
            if not node.is_directory:
                return None
            check_writable(self._container, self._path)
            filling = Filling(union, os.fsencode(self._path), points)
            found = filling.take(items)
            filling.set_times(times)
        return found


def check_writable(container: Container, path: str) -> None:
    """Refuse a path at which a container may write nothing either.

    Raises
    ------
    ForbiddenError
        Its root filesystem, or the volume there, is read-only.
    """
    record = container.record
    for point in sorted(record.mounts, key=lambda each: len(each.destination), reverse=True):
        if path == point.destination or path.startswith(point.destination.rstrip("/") + "/"):
            if not point.rw:
                raise ForbiddenError("mounted volume is marked read-only")
            return
    if record.host_config.readonly_rootfs:
        raise ForbiddenError("container rootfs is marked read-only")


def _items(members: Iterable[Member]) -> Iterator[Item]:
    """Yield the members as items, up to the first that is more than one."""
    for entry, body in members:
        kind = _TAKEN.get(entry.kind)
        if kind is None or entry.xattrs or entry.extents is not None:
            return
        content = entry.target if entry.kind is Kind.SYMLINK else b"".join(part for _, part in body)
        yield Item(entry.path, kind | entry.mode, entry.uid, entry.gid, moment(entry), content)
