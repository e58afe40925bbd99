"""Filling: many objects put into a view in one go, by whoever serves it or has it open.

Decided here and only here: how an object gets to its place, and which have to go another way. A call on a mounted view
waits for whoever serves it, several times for each file; here each is a call of the union, and recorded as such. Paths
are walked in the merged view, which no symlink and no `..` leads out of. At the first item that would lie where
something is mounted, in a directory that is not there, or in place of a directory, or a directory in place of something
else, filling stops: that item and all after it are left.

A `Filling` belongs to one thread. Others may use the view meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from fusefs.node import Node
from fusefs.union import Union

__all__ = ["Filling", "Item"]


class Item(NamedTuple):
    """An object that is to be in a view.

    Attributes
    ----------
    path
        Its path from the directory that is filled, without slashes at its ends.
    mode
        File type, one of a file, a directory, a symlink, and permission bits.
    uid, gid
        Whose it is.
    modified
        Nanoseconds since the epoch.
    content
        What is in a file; the text of a symlink.
    """

    path: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    modified: int = 0
    content: bytes | memoryview = b""


class Filling:
    """A view, and the directory of it that is filled.

    Parameters
    ----------
    union
        The view.
    directory
        The directory's path in it.
    points
        Paths in the view on which something else is mounted.
    told
        Called with a directory and a name in it that leads to something new; with no name where the directory's own
        status has changed besides.
    """

    def __init__(
        self,
        union: Union,
        directory: bytes,
        points: Collection[bytes] = (),
        told: Callable[[Node, bytes], object] | None = None,
    ) -> None:
        self._union, self._directory, self._points = union, directory.rstrip(b"/"), points
        self._told = told
        self._parent: tuple[bytes, Node] | None = None
        self._above = b""

    def take(self, items: Iterable[Item]) -> tuple[int, OSError | None]:
        """Put items in their places.

        Returns
        -------
        int
            How many, up to the first that is left.
        OSError or None
            What is wrong with that one: the disk is full, a name is too long. None if it is to go another way.
        """
        done = 0
        try:
            for item in items:
                if not self._take(item):
                    break
                done += 1
        except OSError as error:
            return done, error
        finally:
            self._leave()
        return done, None

    def set_times(self, times: Iterable[tuple[bytes, int]]) -> None:
        """Set the times of change of directories, which filling them has changed, by their paths."""
        union = self._union
        for path, modified in times:
            with contextlib.suppress(OSError):
                node = union.walk(self._directory + b"/" + path, barred=self._points)
                try:
                    union.utimens(node, modified, modified)
                    self._tell(node, b"")
                finally:
                    union.release(node)

    def _tell(self, parent: Node, name: bytes) -> None:
        if self._told is not None:
            self._told(parent, name)

    def _leave(self) -> None:
        if self._parent is not None:
            self._union.release(self._parent[1])
            self._parent = None

    def _open(self, path: bytes) -> Node | None:
        """Return the directory that an item lies in, valid until the next call; None where there is none."""
        if self._parent is not None:
            if self._parent[0] == path:
                return self._parent[1]
            self._leave()
        try:
            node = self._union.walk(self._directory + b"/" + path, barred=self._points)
        except OSError:
            return None
        if not node.is_directory:
            self._union.release(node)
            return None
        self._parent = (path, node)
        self._above = node.raw_path().rstrip(b"/") + b"/"
        return node

    def _take(self, item: Item) -> bool:
        """Put an item in its place; tell whether that was possible here."""
        union = self._union
        above, _, name = item.path.rpartition(b"/")
        parent = self._open(above)
        if parent is None or self._above + name in self._points:
            return False
        is_directory = stat.S_ISDIR(item.mode)
        try:  # without a look first: most names are free
            self._make(parent, name, item)
        except FileExistsError:
            if not self._makes_room(parent, name, is_directory):
                return False
            if is_directory:  # what else is mounted below a directory that stays is not disturbed
                node = union.lookup(parent, name)
                self._describe(node, item)
                self._tell(node, b"")
                return True
            self._make(parent, name, item)
        self._tell(parent, name)
        return True

    def _make(self, parent: Node, name: bytes, item: Item) -> None:
        if stat.S_ISDIR(item.mode):
            self._describe(self._union.mkdir(parent, name, 0o700), item)
        elif stat.S_ISLNK(item.mode):
            self._describe(self._union.symlink(parent, name, bytes(item.content)), item)
        else:
            self._write(parent, name, item)

    def _makes_room(self, parent: Node, name: bytes, is_directory: bool) -> bool:
        """Remove what an item replaces; tell whether directories stay directories, and others others."""
        node = self._union.lookup(parent, name)
        was = node.is_directory
        self._union.release(node)
        if was is not is_directory:
            return False
        if not was:
            self._union.unlink(parent, name)
        return True

    def _write(self, parent: Node, name: bytes, item: Item) -> None:
        """Make a file; none is left of one whose content does not arrive whole."""
        union = self._union
        node, file = union.create(parent, name, os.O_WRONLY, item.mode & 0o777)
        union.hold(node)
        try:
            try:
                part, offset = item.content, 0
                while part:
                    done = union.write(file, part, offset)
                    part, offset = part[done:], offset + done
                made = os.fstat(union.descriptor(file))
            finally:
                union.close_file(file)
            self._describe(node, item, made)
        except BaseException:
            with contextlib.suppress(OSError):
                union.unlink(parent, name)
            raise
        finally:
            union.release(node)

    def _describe(self, node: Node, item: Item, made: os.stat_result | None = None) -> None:
        """Give what was made its owner, mode and time, as far as it has not got them, and give the node back."""
        union = self._union
        try:
            made = made or union.real_status(node)
            if (made.st_uid, made.st_gid) != (item.uid, item.gid):
                union.chown(node, item.uid, item.gid)
                made = union.real_status(node)
            mode = stat.S_IMODE(item.mode)
            if not stat.S_ISLNK(item.mode) and stat.S_IMODE(made.st_mode) != mode:
                union.chmod(node, mode)
            union.utimens(node, item.modified, item.modified)
        finally:
            union.release(node)
