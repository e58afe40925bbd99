"""Trees of files that a build reads and writes: what both kinds have in common, and the plain one.

Decided here and only here: how a directory that is no stack (a context, a new part of an RW layer) is worked on
quickly. Paths must be free of links, as `paths.resolve` gives them: a directory is opened beneath the tree's root with
no link followed, and the last name is used alone, relative to it. Like the union, a `PlainTree` makes nothing that a
layer would take for a mark of its own. A tree belongs to one thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from fusefs import UnionFS, syscalls
from fusefs.closing import Closing
from fusefs.copyup import copy_data
from sim.build.tartree import TarTree

__all__ = ["PlainTree", "Status", "Tree", "copy_content", "descriptor", "read", "read_file", "write_all"]

_CHUNK = 1 << 20
_DIRECTORIES_KEPT = 256
_PRIVATE = ("trusted.overlay.", "user.overlay.", "user.containers.override_stat")
_WHITEOUT = b".wh."


class Status(Protocol):
    """What `lstat` tells."""

    @property
    def st_mode(self) -> int:
        """File type and permission bits."""
        ...

    @property
    def st_ino(self) -> int:
        """Inode number."""
        ...

    @property
    def st_nlink(self) -> int:
        """Number of links."""
        ...

    @property
    def st_uid(self) -> int:
        """Owner."""
        ...

    @property
    def st_gid(self) -> int:
        """Group."""
        ...

    @property
    def st_size(self) -> int:
        """Bytes."""
        ...

    @property
    def st_blocks(self) -> int:
        """Blocks of 512 bytes."""
        ...

    @property
    def st_rdev(self) -> int:
        """Device number, of a device."""
        ...

    @property
    def st_mtime_ns(self) -> int:
        """Time of the last change."""
        ...


class PlainTree(Closing):
    """A directory as a tree, with the calls of `UnionFS` that a build needs.

    Parameters
    ----------
    root
        The directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._kept: dict[bytes, int] = {}

    def close(self) -> None:
        """Let go of it."""
        self._forget()
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def _forget(self) -> None:
        for kept in self._kept.values():
            os.close(kept)
        self._kept.clear()

    def _at(self, path: bytes, *, new: bool = False) -> tuple[int, bytes]:
        """Return the directory that a name is in, and the name."""
        above, _, name = path.strip(b"/").rpartition(b"/")
        if new and name.startswith(_WHITEOUT):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), os.fsdecode(path))
        if not above:
            return self._root, name or b"."
        found = self._kept.get(above)
        if found is None:
            if len(self._kept) >= _DIRECTORIES_KEPT:
                self._forget()
            found = syscalls.open_beneath(self._root, above, os.O_PATH | os.O_DIRECTORY)
            self._kept[above] = found
        return found, name

    def lstat(self, path: bytes) -> os.stat_result:
        """Return the status of an object, of a link itself."""
        directory, name = self._at(path)
        return os.stat(name, dir_fd=directory, follow_symlinks=False)

    def readlink(self, path: bytes) -> str:
        """Return the text of a link."""
        directory, name = self._at(path)
        return os.fsdecode(os.readlink(name, dir_fd=directory))

    def listdir(self, path: bytes) -> list[str]:
        """Return the names in a directory, sorted."""
        directory, name = self._at(path)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        found = os.open(name, flags, dir_fd=directory)
        try:
            return sorted(os.listdir(found))
        finally:
            os.close(found)

    @contextlib.contextmanager
    def descriptor(self, path: bytes, flags: int, mode: int) -> Iterator[int]:
        """Open a file for the length of a block."""
        directory, name = self._at(path, new=bool(flags & os.O_CREAT))
        found = os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, mode, dir_fd=directory)
        try:
            yield found
        finally:
            os.close(found)

    def mkdir(self, path: bytes, mode: int) -> None:
        """Make a directory."""
        directory, name = self._at(path, new=True)
        os.mkdir(name, mode, dir_fd=directory)

    def mknod(self, path: bytes, mode: int, device: int = 0) -> None:
        """Make a fifo or a device."""
        if stat.S_ISCHR(mode) and not device:
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), os.fsdecode(path))
        directory, name = self._at(path, new=True)
        os.mknod(name, mode, device, dir_fd=directory)

    def symlink(self, text: bytes, path: bytes) -> None:
        """Make a link at `path` that says `text`."""
        directory, name = self._at(path, new=True)
        os.symlink(text, name, dir_fd=directory)

    def link(self, existing: bytes, path: bytes) -> None:
        """Give an object one more name."""
        if len(self._kept) >= _DIRECTORIES_KEPT - 1:
            self._forget()  # now: two are needed at once
        source, old = self._at(existing)
        directory, name = self._at(path, new=True)
        os.link(old, name, src_dir_fd=source, dst_dir_fd=directory, follow_symlinks=False)

    def unlink(self, path: bytes) -> None:
        """Remove a name of anything but a directory."""
        directory, name = self._at(path)
        os.unlink(name, dir_fd=directory)

    def rmdir(self, path: bytes) -> None:
        """Remove an empty directory."""
        directory, name = self._at(path)
        os.rmdir(name, dir_fd=directory)
        self._forget()

    def chmod(self, path: bytes, mode: int) -> None:
        """Set the permission bits of anything but a link."""
        directory, name = self._at(path)
        os.chmod(name, mode, dir_fd=directory)

    def chown(self, path: bytes, uid: int, gid: int, *, follow_symlinks: bool = False) -> None:
        """Set owner and group, of a link itself."""
        directory, name = self._at(path)
        os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=follow_symlinks)

    def utimens(self, path: bytes, ns: tuple[int, int], *, follow_symlinks: bool = False) -> None:
        """Set the times of last access and change, of a link itself."""
        directory, name = self._at(path)
        os.utime(name, ns=ns, dir_fd=directory, follow_symlinks=follow_symlinks)

    def getxattr(self, path: bytes, name: str) -> bytes:
        """Return an extended attribute, of a link itself."""
        directory, last = self._at(path)
        return os.getxattr(b"/proc/self/fd/%d/%s" % (directory, last), name, follow_symlinks=False)

    def setxattr(self, path: bytes, name: str, value: bytes, *, follow_symlinks: bool = False) -> None:
        """Set an extended attribute, of a link itself; one of the union's own is passed over."""
        if name.startswith(_PRIVATE):
            return
        directory, last = self._at(path)
        at = b"/proc/self/fd/%d/%s" % (directory, last)
        os.setxattr(at, name, value, follow_symlinks=follow_symlinks)


Tree = UnionFS | PlainTree | TarTree


def read(tree: Tree, path: bytes) -> Iterator[bytes]:
    """Yield the content of a file at a path that is free of links."""
    if isinstance(tree, TarTree):
        yield from tree.read(path)
        return
    with descriptor(tree, path) as file:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), os.fsdecode(path))
        while part := os.read(file, _CHUNK):
            yield part


def read_file(tree: Tree, path: str) -> bytes:
    """Return the content of a file at a path that is free of links."""
    return b"".join(read(tree, os.fsencode(path)))


def copy_content(tree: Tree, path: bytes, status: Status, target: int) -> None:
    """Copy the content of a file into an empty one, holes as holes where the tree has them."""
    if isinstance(tree, TarTree):
        for part in tree.read(path):
            write_all(target, part)
        return
    with descriptor(tree, path) as given:
        copy_data(given, target, status.st_size, status.st_blocks)


def write_all(target: int, data: bytes) -> None:
    """Write all of some data."""
    while data:
        data = data[os.write(target, data) :]


@contextlib.contextmanager
def descriptor(tree: UnionFS | PlainTree, path: bytes, flags: int = os.O_RDONLY, mode: int = 0o600) -> Iterator[int]:
    """Open a file of a tree for the length of a block."""
    if isinstance(tree, PlainTree):
        with tree.descriptor(path, flags, mode) as found:
            yield found
    else:
        with tree.open(path, flags, mode) as file:
            yield tree.union.descriptor(file)
