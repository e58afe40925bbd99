"""How a workload uses files: the same calls on a mount and on the union in this process.

Decided here and only here: the calls that workloads are written in. On a mount each is the system call of that name
with nothing around it; in the process it is the union's. Paths are those of the merged tree, absolute.

Threads: as the filesystem that is behind them.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from fusefs import UnionFS

__all__ = ["Files", "MountedFiles", "UnionFiles"]


class Files(Protocol):
    """What workloads do with files. A handle is what `open` returned."""

    def open(self, path: str, flags: int, mode: int = 0o644) -> Any:
        """Open a file as open(2)."""

    def close(self, handle: Any) -> None:
        """Close it."""

    def read(self, handle: Any, size: int, offset: int) -> bytes:
        """Read as pread(2)."""

    def write(self, handle: Any, data: bytes, offset: int) -> None:
        """Write as pwrite(2)."""

    def append(self, handle: Any, data: bytes) -> None:
        """Write at the end of a file that was opened with O_APPEND."""

    def sync(self, handle: Any) -> None:
        """Wait until all of a file is on the disk."""

    def stat(self, path: str) -> None:
        """Ask for the status of an object."""

    def list(self, path: str) -> int:
        """Read a directory; return how many names it has."""

    def list_with_status(self, path: str) -> int:
        """Read a directory and the status of all that is in it, as `ls -l` does; return how many names it has."""

    def chmod(self, path: str, mode: int) -> None:
        """Set permission bits."""

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Set owner and group."""

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        """Set an extended attribute."""

    def rename(self, old: str, new: str) -> None:
        """Move a name."""

    def link(self, existing: str, new: str) -> None:
        """Give a file one more name."""

    def unlink(self, path: str) -> None:
        """Remove a name."""

    def mkdir(self, path: str) -> None:
        """Make a directory."""

    def map(self, path: str, *, write: bool) -> mmap.mmap:
        """Map a file into memory, shared."""


class MountedFiles:
    """Files below a mountpoint, or any directory."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self.close: Callable[[int], None] = os.close
        self.read: Callable[[int, int, int], bytes] = os.pread
        self.sync: Callable[[int], None] = os.fsync

    def open(self, path: str, flags: int, mode: int = 0o644) -> int:
        """Open a file as open(2)."""
        return os.open(self._root + path, flags, mode)

    def write(self, handle: int, data: bytes, offset: int) -> None:
        """Write as pwrite(2)."""
        os.pwrite(handle, data, offset)

    def append(self, handle: int, data: bytes) -> None:
        """Write at the end of a file that was opened with O_APPEND."""
        os.write(handle, data)

    def stat(self, path: str) -> None:
        """Ask for the status of an object."""
        os.lstat(self._root + path)

    def list(self, path: str) -> int:
        """Read a directory; return how many names it has."""
        return len(os.listdir(self._root + path))

    def list_with_status(self, path: str) -> int:
        """Read a directory and the status of all that is in it; return how many names it has."""
        count = 0
        with os.scandir(self._root + path) as entries:
            for entry in entries:
                entry.stat(follow_symlinks=False)
                count += 1
        return count

    def chmod(self, path: str, mode: int) -> None:
        """Set permission bits."""
        os.chmod(self._root + path, mode)

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Set owner and group."""
        os.chown(self._root + path, uid, gid)

    def setxattr(self, path: str, name: str, value: bytes) -> None:
        """Set an extended attribute."""
        os.setxattr(self._root + path, name, value)

    def rename(self, old: str, new: str) -> None:
        """Move a name."""
        os.rename(self._root + old, self._root + new)

    def link(self, existing: str, new: str) -> None:
        """Give a file one more name."""
        os.link(self._root + existing, self._root + new)

    def unlink(self, path: str) -> None:
        """Remove a name."""
        os.unlink(self._root + path)

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        os.mkdir(self._root + path)

    def map(self, path: str, *, write: bool) -> mmap.mmap:
        """Map a file into memory, shared."""
        fd = os.open(self._root + path, os.O_RDWR if write else os.O_RDONLY)
        try:
            return mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if write else 0))
        finally:
            os.close(fd)


class UnionFiles:
    """Files of a union in this process."""

    def __init__(self, fs: UnionFS) -> None:
        self._fs = fs
        self.close: Callable[[Any], None] = fs.union.close_file
        self.read: Callable[[Any, int, int], bytes] = fs.union.read
        self.sync: Callable[[Any], None] = fs.union.fsync
        self.chmod: Callable[[str, int], None] = fs.chmod
        self.chown: Callable[[str, int, int], None] = fs.chown
        self.link: Callable[[str, str], None] = fs.link
        self.mkdir: Callable[[str], None] = fs.mkdir
        self.rename: Callable[[str, str], None] = fs.rename
        self.setxattr: Callable[[str, str, bytes], None] = fs.setxattr
        self.unlink: Callable[[str], None] = fs.unlink

    def open(self, path: str, flags: int, mode: int = 0o644) -> Any:
        """Open a file as open(2)."""
        return self._fs.open_file(path, flags, mode)

    def write(self, handle: Any, data: bytes, offset: int) -> None:
        """Write as pwrite(2)."""
        self._fs.union.write(handle, data, offset)

    def append(self, handle: Any, data: bytes) -> None:
        """Write at the end of a file."""
        self._fs.union.write(handle, data, self._fs.union.real_status(handle.node).st_size)

    def stat(self, path: str) -> None:
        """Ask for the status of an object."""
        self._fs.lstat(path)

    def list(self, path: str) -> int:
        """Read a directory; return how many names it has."""
        return len(self._fs.listdir(path))

    def list_with_status(self, path: str) -> int:
        """Read a directory and the status of all that is in it; return how many names it has."""
        names = self._fs.listdir(path)
        for name in names:
            self._fs.lstat(f"{path}/{name}")
        return len(names)

    def map(self, path: str, *, write: bool) -> mmap.mmap:
        """Map the file that lies below: what a mapping of a file in passthrough is."""
        with self._fs.open(path, os.O_RDWR if write else os.O_RDONLY) as file:
            fd = self._fs.union.descriptor(file)
            return mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ | (mmap.PROT_WRITE if write else 0))
