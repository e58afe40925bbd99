"""Files and their content: open, read, write, truncate, and the metadata of any object.

Decided here and only here: when content or metadata is copied up (at the first open for writing, at the first change
of metadata), and what an open file reads after its data moved to the RW layer: the new data, as on the kernel's
overlayfs since Linux 4.19.

Threads: any. Data is read and written without the tree's lock. An `OpenFile` may be used by several threads.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from fusefs import marks, syscalls
from fusefs.layer import Directory
from fusefs.node import Node
from fusefs.operation import EffectKind, Kind
from fusefs.record import recorded
from fusefs.renames import Renames
from fusefs.stack import Options, Stack
from fusefs.table import failure
from fusefs.tree import Entry

__all__ = ["Files", "OpenDirectory", "OpenFile"]

#: Flags of open(2) that reach the file in its layer; the others are the kernel's or the driver's affair.
_PASSED = os.O_ACCMODE | os.O_DSYNC | os.O_SYNC | os.O_NONBLOCK
_FALLOC_KEEP_SIZE = 1

#: Extended attributes that the kernel and common programs ask of each file that they change, and few files have.
_OFTEN_ASKED = frozenset({b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"})

#: What stands for the descriptor of a file that is not opened in its layer yet, and of one that is closed.
_UNOPENED, _CLOSED = -1, -2


class OpenFile:
    """An open file of the merged view.

    Attributes
    ----------
    node
        The object.
    flags
        As given to open(2).
    fd
        Descriptor of the file in its layer, negative where there is none: ask `Files.descriptor` for it.
    """

    __slots__ = ("fd", "flags", "generation", "node")

    def __init__(self, node: Node, fd: int, flags: int) -> None:
        self.node = node
        self.fd = fd
        self.flags = flags
        self.generation = node.generation

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self.flags & os.O_ACCMODE != os.O_RDONLY


class OpenDirectory:
    """An open directory: a listing whose order and offsets stay while names come and go."""

    __slots__ = ("entries", "node")

    def __init__(self, node: Node) -> None:
        self.node = node
        self.entries: list[Entry] | None = None


class Files(Renames):
    """The merged view of a stack, with files and metadata. For the parameters see `Table`.

    All methods raise `OSError` with the errno that the kernel's overlayfs gives.
    """

    def __init__(self, stack: Stack, options: Options | None = None) -> None:
        super().__init__(stack, options)
        #: Errno by which a layer says that a kind of object lacks one of the attributes that are asked for often.
        self._lacks: dict[tuple[int | None, int, bytes], int] = {}

    # Opening

    @recorded(Kind.OPEN)
    def open(self, node: Node, flags: int, *, deferred: bool = False) -> OpenFile:
        """Open a file (open(2)); for writing it is copied up first, with O_TRUNC without its data.

        With `deferred` the file in its layer is opened when its descriptor is first needed, unless it is cut: a driver
        whose kernel reads and writes by itself needs none.
        """
        if stat.S_ISLNK(node.kind):
            raise failure(errno.ELOOP)
        if node.is_directory:
            raise failure(errno.EISDIR)
        writes = flags & os.O_ACCMODE != os.O_RDONLY
        truncates = bool(flags & os.O_TRUNC)
        if (writes or truncates) and node.kind == stat.S_IFREG:
            self.copy_up(node, limit=0 if truncates else None)
        with self.lock:
            file = OpenFile(self.hold(node), _UNOPENED, flags)
            try:
                if truncates or not deferred:
                    file.fd = self._open_real(node, flags & _PASSED | (flags & os.O_TRUNC))
            except BaseException:
                self.release(node)
                raise
        if truncates:
            self._note(EffectKind.METADATA)
        return file

    def _open_real(self, node: Node, flags: int) -> int:
        """Open an object in its layer."""
        if node.data is not None and flags & os.O_ACCMODE == os.O_RDONLY:
            return self._open_data(node)
        directory, name = self.locate(node)
        flags |= os.O_CLOEXEC
        if not name:
            return os.open(b"/proc/self/fd/%d" % directory.fd, flags)
        flags |= os.O_NOFOLLOW
        if not node.upper:
            try:  # reading a read-only layer leaves no trace in it
                return os.open(name, flags | os.O_NOATIME, dir_fd=directory.fd)
            except PermissionError:
                pass
        return os.open(name, flags, dir_fd=directory.fd)

    @recorded(Kind.CREATE)
    def create(self, parent: Node, name: bytes, flags: int, mode: int) -> tuple[Node, OpenFile]:
        """Make a file and open it (open(2) with O_CREAT and O_EXCL); the node is held for the caller."""
        opened: list[int] = []

        def make(place: int, at: bytes) -> int:
            wanted = flags & _PASSED | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            opened.append(os.open(at, wanted, mode, dir_fd=place))
            return opened[0]

        with self.lock:
            try:
                node = self._make(parent, name, make, is_directory=False)
            except BaseException:
                for fd in opened:
                    os.close(fd)
                raise
            if self.options.cache:  # cheap while it is open: whoever writes to it is asked for its capabilities first
                with contextlib.suppress(OSError):
                    node.attributes = tuple([os.fsencode(each) for each in os.listxattr(opened[0])])
            return node, OpenFile(self.hold(node), opened[0], flags)

    @recorded(Kind.OPEN)
    def tmpfile(self, parent: Node, flags: int, mode: int) -> tuple[Node, OpenFile]:
        """Make a file without a name in a directory (open(2) with O_TMPFILE); `link` can give it one."""
        with self.lock:
            self.copy_up(parent)
            above = self.upper_directory(parent)
            with self._as_caller():
                wanted = flags & _PASSED | flags & os.O_EXCL | os.O_TMPFILE | os.O_CLOEXEC
                fd = os.open(b".", wanted, mode, dir_fd=above.fd)
            status = os.fstat(fd)
            node = Node(stat.S_IFREG, self._inode(self.upper.device, status.st_ino), None, b"(unnamed)")
            node.upper = node.dead = True
            node.orphan = Directory(os.open(b"/proc/self/fd/%d" % fd, os.O_PATH | os.O_CLOEXEC))
            node.pins = 1
            return node, OpenFile(self.hold(node), fd, flags)

    @recorded(Kind.RELEASE)
    def close_file(self, file: OpenFile) -> None:
        """Close an open file."""
        self.drop_file(file)

    def drop_file(self, file: OpenFile) -> None:
        """Close an open file that nobody uses any more; not recorded."""
        fd, file.fd = file.fd, _CLOSED
        if fd >= 0:
            os.close(fd)
        if fd != _CLOSED:
            self.release(file.node)

    # An open file that several readers share, one after the other or at once

    @recorded(Kind.OPEN)
    def join(self, file: OpenFile) -> None:
        """Take note that an open file has one more user, as if it were opened again."""

    @recorded(Kind.RELEASE)
    def leave(self, file: OpenFile, *, last: bool) -> None:
        """Take note that it has one less; the last one lets go of the file in its layer until it is needed again."""
        if not last:
            return
        fd, file.fd = file.fd, _UNOPENED
        if fd >= 0:
            os.close(fd)

    def descriptor(self, file: OpenFile) -> int:
        """Return the descriptor of the file where its data is now."""
        node = file.node
        if file.fd < 0:
            with self.lock:
                if file.fd == _CLOSED:
                    raise failure(errno.EBADF)
                if file.fd == _UNOPENED:
                    file.fd = self._open_real(node, file.flags & _PASSED)
                    file.generation = node.generation
        if file.generation != node.generation:
            with self.lock:
                if file.generation != node.generation:
                    fresh = self._open_real(node, file.flags & _PASSED)
                    # The number stays the same, so that another thread in the middle of a read is not disturbed.
                    os.dup2(fresh, file.fd, inheritable=False)
                    os.close(fresh)
                    file.generation = node.generation
        return file.fd

    # Data

    @recorded(Kind.READ)
    def read(self, file: OpenFile, size: int, offset: int) -> bytes:
        """Read up to `size` bytes at `offset` (pread(2))."""
        data = os.pread(self.descriptor(file), size, offset)
        caller = self.caller
        caller.size, caller.offset = len(data), offset
        return data

    @recorded(Kind.WRITE)
    def write(self, file: OpenFile, data: bytes | bytearray | memoryview, offset: int) -> int:
        """Write all of `data` at `offset` (pwrite(2)); return the number of bytes written."""
        fd = self.descriptor(file)
        view = memoryview(data)
        written = 0
        while written < len(view):
            count = os.pwrite(fd, view[written:], offset + written)
            if not count:
                break
            written += count
        caller = self.caller
        caller.size, caller.offset = written, offset
        self._note(EffectKind.WRITTEN, size=written)
        return written

    @recorded(Kind.FSYNC)
    def fsync(self, file: OpenFile, *, data_only: bool = False) -> None:
        """Write a file to disk (fsync(2), fdatasync(2)); nothing with the option `volatile`, or below."""
        if self.options.volatile or not file.node.upper:
            return
        fd = self.descriptor(file)
        if data_only:
            os.fdatasync(fd)
        else:
            os.fsync(fd)

    def fsync_directory(self, node: Node) -> None:
        """Write a directory's names to disk."""
        if self.options.volatile or not node.upper:
            return
        directory = self.upper_directory(node)
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory.fd)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    @recorded(Kind.FALLOCATE)
    def fallocate(self, file: OpenFile, mode: int, offset: int, length: int) -> None:
        """Allocate, punch or zero a range of a file (fallocate(2))."""
        self.caller.offset, self.caller.size = offset, length
        syscalls.fallocate(self.descriptor(file), mode, offset, length)
        if mode != _FALLOC_KEEP_SIZE:  # which allocates beyond the end, and changes nothing that is seen
            self._note(EffectKind.METADATA)

    @recorded(Kind.LSEEK)
    def lseek(self, file: OpenFile, offset: int, whence: int) -> int:
        """Find data or holes (lseek(2) with SEEK_DATA, SEEK_HOLE)."""
        fd = os.open(b"/proc/self/fd/%d" % self.descriptor(file), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.lseek(fd, offset, whence)
        finally:
            os.close(fd)

    @recorded(Kind.COPY_FILE_RANGE)
    def copy_range(self, source: OpenFile, at: int, target: OpenFile, to: int, count: int) -> int:
        """Copy data between two open files inside the kernel (copy_file_range(2)); return the bytes copied."""
        done = os.copy_file_range(self.descriptor(source), self.descriptor(target), count, at, to)
        self.caller.size, self.caller.offset = done, to
        self.caller.target = self._where(target.node)
        self._note(EffectKind.WRITTEN, self.caller.target, size=done)
        return done

    # Listing

    def opendir(self, node: Node) -> OpenDirectory:
        """Open a directory for listing."""
        if not node.is_directory:
            raise failure(errno.ENOTDIR)
        return OpenDirectory(self.hold(node))

    @recorded(Kind.READDIR)
    def readdir(self, directory: OpenDirectory, *, rewind: bool = False) -> list[Entry]:
        """Return the whole listing as it was when first asked for; with `rewind`, as it is now."""
        if directory.entries is None or rewind:
            directory.entries = self.entries(directory.node)
        self.caller.size = len(directory.entries)
        return directory.entries

    def closedir(self, directory: OpenDirectory) -> None:
        """Close an open directory."""
        directory.entries = None
        self.release(directory.node)

    # Metadata

    @recorded(Kind.GETATTR)
    def getattr(self, node: Node) -> os.stat_result:
        """Return the status of the object in its layer, for the record; drivers use `attributes`."""
        return self.real_status(node)

    @recorded(Kind.READLINK)
    def readlink(self, node: Node) -> bytes:
        """Return the text of a symlink."""
        if not stat.S_ISLNK(node.kind):
            raise failure(errno.EINVAL)
        kept, path = self.host_path(node)
        if node.orphan is not None:
            return os.readlink(b"", dir_fd=kept.fd)
        return os.readlink(path)

    def _reach(self, node: Node) -> tuple[Directory, bytes, int | None]:
        """Return how to reach an object with calls that can take a descriptor of a directory, which is cheaper.

        A path, and the descriptor that it begins at, None for one that begins at the root; first the directory, which
        must be kept for as long as both are used. What `host_path` says about symlinks holds.
        """
        directory, name = self.locate(node)
        return (directory, name, directory.fd) if name else (*self.host_path(node), None)

    @recorded(Kind.CHMOD)
    def chmod(self, node: Node, mode: int) -> None:
        """Set the permission bits (chmod(2))."""
        if stat.S_ISLNK(node.kind):
            raise failure(errno.EOPNOTSUPP)
        self.copy_up(node, data=False)
        with self.lock:
            kept, path, place = self._reach(node)
            os.chmod(path, stat.S_IMODE(mode), dir_fd=place)
            del kept
        self._note(EffectKind.METADATA)

    @recorded(Kind.CHOWN)
    def chown(self, node: Node, uid: int, gid: int) -> None:
        """Set the owner (lchown(2)); -1 leaves one as it is."""
        self.copy_up(node, data=False)
        with self.lock:
            kept, path, place = self._reach(node)
            os.chown(path, uid, gid, dir_fd=place, follow_symlinks=node.orphan is not None)
            del kept
        self._note(EffectKind.METADATA)

    @recorded(Kind.UTIMENS)
    def utimens(self, node: Node, accessed: int | None, modified: int | None) -> None:
        """Set the times (utimensat(2)), ns since the epoch; None leaves one as it is, -1 means now."""
        self.copy_up(node, data=False)
        with self.lock:
            kept, path, place = self._reach(node)
            syscalls.utimens(-1 if place is None else place, path, accessed, modified, follow=node.orphan is not None)
            del kept
        self._note(EffectKind.METADATA)

    @recorded(Kind.TRUNCATE)
    def truncate(self, node: Node, size: int) -> None:
        """Cut or extend a file (truncate(2)); on its first copy-up only the bytes that stay are copied."""
        if node.is_directory:
            raise failure(errno.EISDIR)
        if node.kind != stat.S_IFREG or size < 0:
            raise failure(errno.EINVAL)
        self.caller.offset = size
        self.copy_up(node, limit=size)
        with self.lock:
            fd = self._open_real(node, os.O_WRONLY)
        try:
            os.ftruncate(fd, size)
        finally:
            os.close(fd)
        self._note(EffectKind.METADATA)

    # Extended attributes

    def _attribute_name(self, name: bytes) -> bytes:
        return marks.escape_attribute(name, self.marks)

    @recorded(Kind.GETXATTR)
    def getxattr(self, node: Node, name: bytes) -> bytes:
        """Return an extended attribute (lgetxattr(2)); ENODATA where there is none."""
        self.caller.target = os.fsdecode(name)
        if name not in _OFTEN_ASKED or not self.options.cache:
            return self._getxattr(node, self._attribute_name(name))
        # Programs ask in vain, again and again: names that were looked at once answer that without a system call.
        key = (node.layer, node.kind, name)
        code = self._lacks.get(key)
        if code is not None and name not in self._attribute_names(node):
            raise failure(code, name)
        try:
            return self._getxattr(node, name)
        except OSError as error:
            if error.errno in (errno.ENODATA, errno.EOPNOTSUPP):
                self._lacks[key] = error.errno
            raise

    def _getxattr(self, node: Node, name: bytes) -> bytes:
        with self.lock:
            _, path = self.host_path(node)
            return os.getxattr(path, name, follow_symlinks=node.orphan is not None)

    def _attribute_names(self, node: Node) -> tuple[bytes, ...]:
        """Return the names of the extended attributes of the object in its layer."""
        names = node.attributes
        if names is None:
            with self.lock:
                _, path = self.host_path(node)
                found = os.listxattr(path, follow_symlinks=node.orphan is not None)
                names = tuple([os.fsencode(name) for name in found])
                if self.options.cache:
                    node.attributes = names
        return names

    @recorded(Kind.LISTXATTR)
    def listxattr(self, node: Node) -> list[bytes]:
        """Return the names of the extended attributes (llistxattr(2)), the union's own left out."""
        names = self._attribute_names(node)
        if not names:
            return []
        own = self.marks
        return [marks.unescape_attribute(name, own) for name in names if not marks.is_private_attribute(name, own)]

    @staticmethod
    def _check_attribute(node: Node, name: bytes) -> None:
        """Refuse attributes that this kind of object cannot have (xattr(7), user extended attributes)."""
        if name.startswith(b"user.") and node.kind not in (stat.S_IFREG, stat.S_IFDIR):
            raise failure(errno.EPERM, name)

    @recorded(Kind.SETXATTR)
    def setxattr(self, node: Node, name: bytes, value: bytes, flags: int = 0) -> None:
        """Set an extended attribute (lsetxattr(2)); flags XATTR_CREATE, XATTR_REPLACE."""
        self.caller.target = os.fsdecode(name)
        _ = self.upper
        self._check_attribute(node, name)
        self.copy_up(node, data=False)
        with self.lock:
            _, path = self.host_path(node)
            real = self._attribute_name(name)
            node.attributes = None
            os.setxattr(path, real, value, flags, follow_symlinks=node.orphan is not None)
        self._note(EffectKind.METADATA)

    @recorded(Kind.REMOVEXATTR)
    def removexattr(self, node: Node, name: bytes) -> None:
        """Remove an extended attribute (lremovexattr(2)); what is not there is refused before anything is copied."""
        self.caller.target = os.fsdecode(name)
        real = self._attribute_name(name)
        _ = self.upper
        self._check_attribute(node, name)
        with self.lock:
            _, path = self.host_path(node)
            os.getxattr(path, real, follow_symlinks=node.orphan is not None)
        self.copy_up(node, data=False)
        with self.lock:
            _, path = self.host_path(node)
            node.attributes = None
            os.removexattr(path, real, follow_symlinks=node.orphan is not None)
        self._note(EffectKind.METADATA)

    @recorded(Kind.STATFS)
    def statfs(self, node: Node) -> os.statvfs_result:
        """Return the size of the filesystem (statfs(2)): that of the upper, or of the topmost layer."""
        layer = self.layers[0] or self.layer(1)
        return os.statvfs(layer.root.fd)  # never by its path: it may lie below the mountpoint
