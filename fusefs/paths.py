"""The union by paths, in this process: no mount, no privilege.

Decided here and only here: the path-shaped calls, named as those of `os` and `pathlib`. Each resolves its path to a
node and calls the union (`union.py`), so what happens and what is recorded is what a mount would do and record.

Threads: any may call.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fusefs.closing import Closing
from fusefs.files import OpenFile
from fusefs.node import Attributes, Node
from fusefs.record import Record
from fusefs.stack import Options, Stack
from fusefs.table import failure
from fusefs.union import Union

__all__ = ["AnyPath", "UnionFS"]

AnyPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]


class UnionFS(Closing):
    """A stack of layers as one tree, in this process: no mount, no privilege, any thread.

    Parameters
    ----------
    lower
        Directories of the read-only layers, the topmost first.
    upper, work
        Directories of the RW layer and of unfinished work, on one filesystem; both or none. Without them the tree is
        read-only.
    record
        Called with each `Operation`; a `Recorder`, or `list.append`.
    options
        How the stack behaves.

    Raises
    ------
    LayerError
        A directory cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> place = tempfile.TemporaryDirectory()
    >>> top = Path(place.name)
    >>> for name in ("base", "upper", "work"):
    ...     (top / name).mkdir()
    >>> _ = (top / "base" / "motto").write_text("one")
    >>> records = []
    >>> fs = UnionFS(lower=[top / "base"], upper=top / "upper", work=top / "work", record=records.append)
    >>> fs.read_bytes("/motto")
    b'one'
    >>> fs.append_bytes("/motto", b" and two")
    >>> (top / "upper" / "motto").read_text(), (top / "base" / "motto").read_text()
    ('one and two', 'one')
    >>> [(op.kind.value, op.copied) for op in records if op.copied]
    [('open', 3)]
    >>> fs.unlink("/motto")
    >>> fs.listdir("/")
    []
    >>> fs.close()
    >>> place.cleanup()
    """

    def __init__(
        self,
        lower: Sequence[AnyPath] = (),
        upper: AnyPath | None = None,
        work: AnyPath | None = None,
        *,
        record: Record | None = None,
        options: Options | None = None,
    ) -> None:
        def path(value: AnyPath) -> Path:
            return Path(os.fsdecode(value))

        stack = Stack(
            tuple(path(one) for one in lower),
            None if upper is None else path(upper),
            None if work is None else path(work),
        )
        self.union = Union(stack, options)
        self.union.record = record
        self.union.takes = getattr(record, "takes", self.union.takes)

    def close(self) -> None:
        """Let go of the layers."""
        self.union.close()

    @contextlib.contextmanager
    def _node(self, path: AnyPath, *, follow: bool = True) -> Iterator[Node]:
        node = self.union.walk(os.fsencode(path), follow=follow)
        try:
            yield node
        finally:
            self.union.release(node)

    @contextlib.contextmanager
    def _place(self, path: AnyPath) -> Iterator[tuple[Node, bytes]]:
        """Find where a name is to be made or removed."""
        with self.union.lock:
            parent, name = self.union.walk_parent(os.fsencode(path).rstrip(b"/") or b"/")
            self.union.hold(parent)
        try:
            if not name:
                raise failure(errno.EBUSY, os.fsdecode(path))
            yield parent, name
        finally:
            self.union.release(parent)

    # Looking

    def stat(self, path: AnyPath, *, follow_symlinks: bool = True) -> Attributes:
        """Return the status of an object."""
        with self._node(path, follow=follow_symlinks) as node:
            self.union.getattr(node)
            return self.union.attributes(node)

    def lstat(self, path: AnyPath) -> Attributes:
        """Return the status of an object, of a symlink itself."""
        return self.stat(path, follow_symlinks=False)

    def exists(self, path: AnyPath) -> bool:
        """Tell whether a path leads to something."""
        try:
            self.union.release(self.union.walk(os.fsencode(path)))
        except OSError:
            return False
        return True

    def layer(self, path: AnyPath) -> int | None:
        """Return the number of the layer that serves an object."""
        with self._node(path, follow=False) as node:
            return node.layer

    def listdir(self, path: AnyPath = "/") -> list[str]:
        """Return the names in a directory, sorted."""
        with self._node(path) as node:
            directory = self.union.opendir(node)
            try:
                return sorted(os.fsdecode(name) for name, _, _ in self.union.readdir(directory))
            finally:
                self.union.closedir(directory)

    def readlink(self, path: AnyPath) -> str:
        """Return the text of a symlink."""
        with self._node(path, follow=False) as node:
            return os.fsdecode(self.union.readlink(node))

    # Content

    @contextlib.contextmanager
    def open(self, path: AnyPath, flags: int = os.O_RDONLY, mode: int = 0o666) -> Iterator[OpenFile]:
        """Open a file for the length of a block; flags as for `os.open`, O_CREAT and O_EXCL included."""
        file = self.open_file(path, flags, mode)
        try:
            yield file
        finally:
            self.union.close_file(file)

    def open_file(self, path: AnyPath, flags: int = os.O_RDONLY, mode: int = 0o666) -> OpenFile:
        """Open a file; `union.close_file` closes it."""
        union = self.union
        raw = os.fsencode(path)
        with union.lock:
            parent, name = union.walk_parent(raw, follow=not flags & os.O_EXCL)
            union.hold(parent)
        try:
            if flags & os.O_CREAT and name and (flags & os.O_EXCL or not union.has(parent, name)):
                try:
                    node, file = union.create(parent, name, flags, mode)
                except FileExistsError:
                    if flags & os.O_EXCL:
                        raise
                else:
                    union.release(node)
                    return file
        finally:
            union.release(parent)
        with self._node(path) as node:
            return union.open(node, flags & ~os.O_CREAT)

    def read_bytes(self, path: AnyPath) -> bytes:
        """Return the whole content of a file."""
        with self.open(path) as file:
            parts: list[bytes] = []
            offset = 0
            while part := self.union.read(file, 1 << 20, offset):
                parts.append(part)
                offset += len(part)
            return b"".join(parts)

    def write_bytes(self, path: AnyPath, data: bytes) -> int:
        """Make or replace the content of a file."""
        with self.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as file:
            return self.union.write(file, data, 0)

    def append_bytes(self, path: AnyPath, data: bytes) -> None:
        """Write at the end of a file."""
        with self.open(path, os.O_WRONLY | os.O_CREAT) as file:
            self.union.write(file, data, self.union.real_status(file.node).st_size)

    def truncate(self, path: AnyPath, size: int) -> None:
        """Cut or extend a file to `size` bytes."""
        with self._node(path) as node:
            self.union.truncate(node, size)

    # Names

    def mkdir(self, path: AnyPath, mode: int = 0o777) -> None:
        """Make a directory."""
        with self._place(path) as (parent, name):
            self.union.release(self.union.mkdir(parent, name, mode))

    def mknod(self, path: AnyPath, mode: int, device: int = 0) -> None:
        """Make a fifo, socket, device or empty file."""
        with self._place(path) as (parent, name):
            self.union.release(self.union.mknod(parent, name, mode, device))

    def symlink(self, text: AnyPath, path: AnyPath) -> None:
        """Make a symlink at `path` that says `text`."""
        with self._place(path) as (parent, name):
            self.union.release(self.union.symlink(parent, name, os.fsencode(text)))

    def link(self, existing: AnyPath, path: AnyPath) -> None:
        """Give an object one more name."""
        with self._node(existing, follow=False) as node, self._place(path) as (parent, name):
            self.union.release(self.union.link(parent, name, node))

    def unlink(self, path: AnyPath) -> None:
        """Remove a name of anything but a directory."""
        with self._place(path) as (parent, name):
            self.union.unlink(parent, name)

    def rmdir(self, path: AnyPath) -> None:
        """Remove an empty directory."""
        with self._place(path) as (parent, name):
            self.union.rmdir(parent, name)

    def rename(self, old: AnyPath, new: AnyPath, flags: int = 0) -> None:
        """Move a name; flags as for renameat2(2)."""
        with self._place(old) as (parent, name), self._place(new) as (new_parent, new_name):
            self.union.rename(parent, name, new_parent, new_name, flags)

    # Metadata

    def chmod(self, path: AnyPath, mode: int) -> None:
        """Set the permission bits."""
        with self._node(path) as node:
            self.union.chmod(node, mode)

    def chown(self, path: AnyPath, uid: int, gid: int, *, follow_symlinks: bool = True) -> None:
        """Set owner and group; -1 leaves one as it is."""
        with self._node(path, follow=follow_symlinks) as node:
            self.union.chown(node, uid, gid)

    def utimens(self, path: AnyPath, ns: tuple[int | None, int | None], *, follow_symlinks: bool = True) -> None:
        """Set the times of last access and change, ns since the epoch; None leaves one as it is, -1 means now."""
        with self._node(path, follow=follow_symlinks) as node:
            self.union.utimens(node, *ns)

    def getxattr(self, path: AnyPath, name: str, *, follow_symlinks: bool = True) -> bytes:
        """Return an extended attribute."""
        with self._node(path, follow=follow_symlinks) as node:
            return self.union.getxattr(node, os.fsencode(name))

    def listxattr(self, path: AnyPath, *, follow_symlinks: bool = True) -> list[str]:
        """Return the names of the extended attributes, sorted."""
        with self._node(path, follow=follow_symlinks) as node:
            return sorted(os.fsdecode(name) for name in self.union.listxattr(node))

    def setxattr(self, path: AnyPath, name: str, value: bytes, flags: int = 0, *, follow_symlinks: bool = True) -> None:
        """Set an extended attribute."""
        with self._node(path, follow=follow_symlinks) as node:
            self.union.setxattr(node, os.fsencode(name), value, flags)

    def removexattr(self, path: AnyPath, name: str, *, follow_symlinks: bool = True) -> None:
        """Remove an extended attribute."""
        with self._node(path, follow=follow_symlinks) as node:
            self.union.removexattr(node, os.fsencode(name))
