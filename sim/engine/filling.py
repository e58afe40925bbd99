"""Putting the members of a tar into a view that is open in this process and mounted nowhere.

Decided here and only here: which members are put there without the kernel. A call on a mounted view waits for whoever
serves it, several times for each file; here each is a call of the union, and recorded as such. Paths are walked in the
merged view, which no symlink and no `..` leads out of. Files, directories and symlinks are taken; at the first member
that is something else, or would lie where something is mounted, `Filling` stops and leaves it and all after it to
`Placing`, which works on the mounted view. A `Filling` belongs to one thread, and has the view to itself.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.engine.placing import Body, Member, moment, worded
from sim.images.entry import Entry, Kind

if TYPE_CHECKING:
    from fusefs.node import Node
    from fusefs.union import Union

__all__ = ["OWN", "Batch", "Filling", "gather"]

#: The directory in which files of the engine's are mounted in every container, and these.
OWN = ("/etc", frozenset({b"hosts", b"hostname", b"resolv.conf"}))

#: Bytes of a file that is not kept in memory, and bytes and number of members that are put there in one go.
_LARGE, _TOGETHER, _MOST = 4 << 20, 8 << 20, 1000
_TAKEN = (Kind.FILE, Kind.DIRECTORY, Kind.SYMLINK)


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


def gather(members: Iterator[Member]) -> Batch:
    """Return the next members, whole: what is put into a view in one go, while nobody waits for a client."""
    found: list[Member] = []
    room = _TOGETHER
    try:
        for entry, body in members:
            if entry.size > _LARGE:
                return Batch(found, (entry, body))
            found.append((entry, [(offset, bytes(part)) for offset, part in body]))
            room -= entry.size
            if room < 0 or len(found) == _MOST:
                return Batch(found)
    except Exception as error:
        return Batch(found, last=True, failure=error)
    return Batch(found, last=True)


class Filling:
    """A view, and the directory of it that a tar goes into.

    Parameters
    ----------
    union
        The view.
    directory
        The directory's path in it.
    times
        Gets the times that directories shall have when all is in them, by their paths in the tar.
    """

    def __init__(self, union: Union, directory: str, times: dict[str, int]) -> None:
        self._union, self._directory = union, directory.rstrip("/")
        self._parent: tuple[bytes, Node] | None = None
        self._guarded = False
        self._times = times

    def take(self, members: Iterable[Member]) -> int:
        """Put members in their places; return how many, up to the first that is not for this class.

        Raises
        ------
        BadParameterError
            A member may not go where it wants.
        OSError
            The disk is full or fails.
        """
        done = 0
        try:
            for entry, body in members:
                if not self._take(entry, body):
                    break
                done += 1
        finally:
            self._leave()
        return done

    def finish(self) -> None:
        """Set the times of directories, which filling them changed."""
        union = self._union
        for path, modified in reversed(self._times.items()):
            with contextlib.suppress(OSError):
                node = union.walk(os.fsencode(f"{self._directory}/{path}"))
                try:
                    union.utimens(node, modified, modified)
                finally:
                    union.release(node)

    def _leave(self) -> None:
        if self._parent is not None:
            self._union.release(self._parent[1])
            self._parent = None

    def _open(self, path: bytes) -> Node | None:
        """Return the directory that a member lies in, valid until the next call; None where there is none."""
        if self._parent is not None:
            if self._parent[0] == path:
                return self._parent[1]
            self._leave()
        try:
            node = self._union.walk(os.fsencode(self._directory) + b"/" + path)
        except OSError:
            return None
        if not node.is_directory:
            self._union.release(node)
            return None
        self._parent = (path, node)
        self._guarded = node.path() == OWN[0]
        return node

    def _take(self, entry: Entry, body: Body) -> bool:
        """Put a member in its place; tell whether that was possible here."""
        if entry.kind not in _TAKEN or entry.xattrs or entry.extents is not None:
            return False
        above, _, name = entry.path.rpartition(b"/")
        parent = self._open(above)
        if parent is None or (self._guarded and name in OWN[1]):
            return False
        try:
            there = self._union.has(parent, name)
            if there and not self._makes_room(parent, name, entry):
                return False
            if entry.kind is Kind.FILE:
                self._write(parent, name, entry, body)
            elif entry.kind is Kind.SYMLINK:
                self._describe(self._union.symlink(parent, name, entry.target), entry)
            else:
                union = self._union
                node = union.lookup(parent, name) if there else union.mkdir(parent, name, 0o700)
                self._describe(node, entry)
                self._times[os.fsdecode(entry.path)] = moment(entry)
        except OSError as error:
            raise worded(error, self._directory, entry) from None
        return True

    def _makes_room(self, parent: Node, name: bytes, entry: Entry) -> bool:
        """Remove what a member replaces; tell whether directories stay directories, and others others."""
        node = self._union.lookup(parent, name)
        was = node.is_directory
        self._union.release(node)
        if was is not (entry.kind is Kind.DIRECTORY):
            return False
        if not was:
            self._union.unlink(parent, name)
        return True

    def _write(self, parent: Node, name: bytes, entry: Entry, body: Body) -> None:
        """Make a file; none is left of one whose content does not arrive whole."""
        union = self._union
        node, file = union.create(parent, name, os.O_WRONLY, entry.mode & 0o777)
        union.hold(node)
        try:
            try:
                for offset, part in body:
                    while part:
                        done = union.write(file, part, offset)
                        part, offset = part[done:], offset + done
            finally:
                union.close_file(file)
            self._describe(node, entry)
        except BaseException:
            with contextlib.suppress(OSError):
                union.unlink(parent, name)
            raise
        finally:
            union.release(node)

    def _describe(self, node: Node, entry: Entry) -> None:
        """Give what was made its owner, mode and time, as far as it has not got them, and give the node back."""
        union = self._union
        try:
            made = union.real_status(node)
            if (made.st_uid, made.st_gid) != (entry.uid, entry.gid):
                union.chown(node, entry.uid, entry.gid)
                made = union.real_status(node)
            if entry.kind is not Kind.SYMLINK and stat.S_IMODE(made.st_mode) != entry.mode:
                union.chmod(node, entry.mode)
            union.utimens(node, moment(entry), moment(entry))
        finally:
            union.release(node)
