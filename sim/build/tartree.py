"""A tar as a tree: the context of a build, without a file of it on the host.

Decided here and only here: how the tree is kept (nodes in memory, data in the spooled tar, read where it lies there).
Nothing is created on the host's filesystem by any name that a tar brings, so no name can do harm there, and a build
that the cache answers makes no file at all. It has the calls of `PlainTree`. A tree belongs to one thread.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fusefs.closing import Closing

__all__ = ["TarTree"]

_CHUNK = 1 << 20
_PRIVATE = ("trusted.overlay.", "user.overlay.")


@dataclass(slots=True)
class _Node:
    """An object; its attributes are named as those of `os.stat_result`."""

    st_mode: int
    st_ino: int
    st_nlink: int = 1
    st_uid: int = 0
    st_gid: int = 0
    st_size: int = 0
    st_rdev: int = 0
    st_mtime_ns: int = field(default_factory=time.time_ns)
    text: bytes = b""
    offset: int = 0
    aside: bool = False
    names: dict[bytes, _Node] = field(default_factory=dict)
    xattrs: dict[str, bytes] = field(default_factory=dict)

    @property
    def st_blocks(self) -> int:
        """Blocks of 512 bytes."""
        return -(-self.st_size // 512)


def _failure(code: int, path: bytes) -> OSError:
    return OSError(code, os.strerror(code), os.fsdecode(path))


class TarTree(Closing):
    """A tree whose files' data lie in the tar, which is one file of the host.

    Parameters
    ----------
    place
        A directory for it.
    """

    def __init__(self, place: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._spool = os.open(place / "context.tar", flags, 0o600)
        self._aside = os.open(place / "context.aside", flags, 0o600)
        self._end = self._aside_end = 0
        self._count = 1
        self._root = _Node(stat.S_IFDIR | 0o755, 1, 2)

    def close(self) -> None:
        """Let go of it."""
        if self._spool >= 0:
            os.close(self._spool)
            os.close(self._aside)
            self._spool = self._aside = -1

    # -- data

    def spooled(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass a tar on and write it down, so that data is where the tar has it."""
        for chunk in chunks:
            self._end = self._write(self._spool, chunk, self._end)
            yield chunk

    def keep_aside(self, data: bytes) -> int:
        """Keep data that does not lie in the tar as it is, such as that of a file with holes; return where."""
        at = self._aside_end
        self._aside_end = self._write(self._aside, data, at)
        return at

    @staticmethod
    def _write(target: int, data: bytes, at: int) -> int:
        view = memoryview(data)
        while view:
            done = os.pwrite(target, view, at)
            at += done
            view = view[done:]
        return at

    def put(self, path: bytes, offset: int, size: int, *, aside: bool = False) -> None:
        """Make a file of data that lies in the tar, or aside."""
        node = self._make(path, stat.S_IFREG | 0o600)
        node.offset, node.st_size, node.aside = offset, size, aside

    def read(self, path: bytes) -> Iterator[bytes]:
        """Yield the content of a file."""
        node = self._find(path)
        if not stat.S_ISREG(node.st_mode):
            raise _failure(errno.EINVAL, path)
        offset, left = node.offset, node.st_size
        while left:
            part = os.pread(self._aside if node.aside else self._spool, min(left, _CHUNK), offset)
            if not part:
                raise _failure(errno.EIO, path)
            yield part
            offset, left = offset + len(part), left - len(part)

    # -- looking

    def _find(self, path: bytes) -> _Node:
        at = self._root
        for name in path.split(b"/"):
            if name:
                if not stat.S_ISDIR(at.st_mode):
                    raise _failure(errno.ENOTDIR, path)
                found = at.names.get(name)
                if found is None:
                    raise _failure(errno.ENOENT, path)
                at = found
        return at

    def _place(self, path: bytes) -> tuple[_Node, bytes]:
        above, _, name = path.rstrip(b"/").rpartition(b"/")
        parent = self._find(above)
        if not stat.S_ISDIR(parent.st_mode):
            raise _failure(errno.ENOTDIR, path)
        if not name:
            raise _failure(errno.EBUSY, path)
        return parent, name

    def lstat(self, path: bytes) -> _Node:
        """Return the status of an object, of a link itself."""
        return self._find(path)

    def readlink(self, path: bytes) -> str:
        """Return the text of a link."""
        return os.fsdecode(self._find(path).text)

    def listdir(self, path: bytes) -> list[str]:
        """Return the names in a directory, sorted."""
        return sorted(os.fsdecode(name) for name in self._find(path).names)

    def getxattr(self, path: bytes, name: str) -> bytes:
        """Return an extended attribute."""
        found = self._find(path).xattrs.get(name)
        if found is None:
            raise _failure(errno.ENODATA, path)
        return found

    # -- changing

    def _make(self, path: bytes, mode: int) -> _Node:
        parent, name = self._place(path)
        if name in parent.names:
            raise _failure(errno.EEXIST, path)
        if name.startswith(b".wh."):  # would be a mark in a layer
            raise _failure(errno.EPERM, path)
        if len(name) > 255:
            raise _failure(errno.ENAMETOOLONG, path)
        self._count += 1
        made = parent.names[name] = _Node(mode, self._count)
        return made

    def mkdir(self, path: bytes, mode: int) -> None:
        """Make a directory."""
        self._make(path, stat.S_IFDIR | mode)

    def mknod(self, path: bytes, mode: int, device: int = 0) -> None:
        """Make a fifo or a device."""
        self._make(path, mode).st_rdev = device

    def symlink(self, text: bytes, path: bytes) -> None:
        """Make a link at `path` that says `text`."""
        made = self._make(path, stat.S_IFLNK | 0o777)
        made.text, made.st_size = text, len(text)

    def link(self, existing: bytes, path: bytes) -> None:
        """Give an object one more name."""
        node = self._find(existing)
        if stat.S_ISDIR(node.st_mode):
            raise _failure(errno.EPERM, path)
        self._make(path, 0)
        parent, name = self._place(path)
        parent.names[name] = node
        node.st_nlink += 1

    def unlink(self, path: bytes) -> None:
        """Remove a name of anything but a directory."""
        parent, name = self._place(path)
        self._find(path).st_nlink -= 1
        del parent.names[name]

    def rmdir(self, path: bytes) -> None:
        """Remove an empty directory."""
        parent, name = self._place(path)
        if parent.names[name].names:
            raise _failure(errno.ENOTEMPTY, path)
        del parent.names[name]

    def chmod(self, path: bytes, mode: int) -> None:
        """Set the permission bits."""
        node = self._find(path)
        node.st_mode = stat.S_IFMT(node.st_mode) | stat.S_IMODE(mode)

    def chown(self, path: bytes, uid: int, gid: int, *, follow_symlinks: bool = False) -> None:
        """Set owner and group."""
        node = self._find(path)
        node.st_uid, node.st_gid = uid, gid

    def utimens(self, path: bytes, ns: tuple[int, int], *, follow_symlinks: bool = False) -> None:
        """Set the time of the last change."""
        self._find(path).st_mtime_ns = ns[1]

    def setxattr(self, path: bytes, name: str, value: bytes, *, follow_symlinks: bool = False) -> None:
        """Set an extended attribute; one of the union's own is passed over."""
        if not name.startswith(_PRIVATE):
            self._find(path).xattrs[name] = value
