"""Copy-up: an object of a read-only layer gets its copy in the RW layer, whole or not at all.

Decided here and only here: what is copied and in which order, how the copy becomes visible, what is synced.

The copy is made in the work directory, complete with owner, mode, times and extended attributes, and then moved into
the upper by one rename. So whoever looks sees the lower object or the finished copy, and an interrupted process leaves
at most a file in the work directory, which the next mount removes.

Threads: data is copied without the tree's lock, so that nobody waits for a large file but who wants that file; a lock
per file makes two first writers copy once. A caller must not hold the tree's lock when it copies up anything but a
directory.

Theory of operation, for a file:

    lower/etc/passwd ──data, metadata──▶ work/work/#1 ──rename──▶ upper/etc/passwd
                                         (fsync, unless volatile)
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
import threading
from collections.abc import Callable

from fusefs import marks, origin, syscalls
from fusefs.layer import Directory
from fusefs.marks import Format
from fusefs.node import Node
from fusefs.operation import EffectKind
from fusefs.record import Recording
from fusefs.stack import Options, Stack
from fusefs.table import failure

__all__ = ["CopyUp", "copy_data", "copy_metadata"]

#: Attributes without which an object is not the same to the kernel, so that failing to copy one fails the copy-up.
_ESSENTIAL = (b"system.posix_acl_access", b"system.posix_acl_default", b"security.")

#: An object: its descriptor where it is open, which saves the walk through /proc; else a path that is not followed.
Place = int | bytes

#: Bytes that take long to copy, and that are copied before it is asked whether anybody still wants them.
_MUCH, _PIECE = 1 << 16, 64 << 20


def _never() -> bool:
    return False


def _nothing() -> None:
    pass


def copy_data(
    source: int,
    target: int,
    size: int,
    blocks: int,
    abandoned: Callable[[], bool] = _never,
    waits: Callable[[], None] = _nothing,
) -> tuple[int, bool]:
    """Copy the first `size` bytes of a file, holes as holes, the data shared where the filesystem can.

    Parameters
    ----------
    source, target
        Descriptors, open for reading and for writing; the target is empty.
    size
        Bytes to have in the target.
    blocks
        Blocks of 512 bytes that the source occupies; fewer than its size needs means that it has holes.
    abandoned
        Asked between pieces whether nobody wants the copy any more.
    waits
        Called before much is copied.

    Returns
    -------
    int
        Bytes of data that were moved: none for holes, none for data that is now shared.
    bool
        Whether all of it is shared. Then it is on the disk already, and needs no sync, as the kernel's overlayfs has
        it: a sync would cost a hundred times what the rest does.

    Raises
    ------
    OSError
        EINTR when it was abandoned; what the disk says.
    """
    if size and syscalls.clone_file(source, target):
        os.ftruncate(target, size)
        return 0, True
    if size > _MUCH:
        waits()
    copied = offset = 0
    sparse = blocks * 512 < size
    while offset < size:
        end = size
        if sparse:
            try:
                offset = os.lseek(source, offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # a hole up to the end
                    break
                raise
            end = min(size, os.lseek(source, offset, os.SEEK_HOLE))
        while offset < end:
            moved = syscalls.copy_range(source, target, offset, min(end - offset, _PIECE))
            if abandoned():
                raise failure(errno.EINTR)
            if not moved:
                break
            offset += moved
            copied += moved
        else:
            continue
        break  # the source ended early
    if offset < size:
        os.ftruncate(target, size)
    return copied, False


def copy_attributes(source: Place, target: Place, own: Format) -> None:
    """Copy the extended attributes of one object to another.

    The union's own attributes stay behind. What the target cannot hold is left out, unless the object would not be
    the same without it (ACLs, capabilities), as the kernel's overlayfs has it.
    """
    try:
        names = os.listxattr(source, follow_symlinks=isinstance(source, int))
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EPERM):
            return
        raise
    for text in names:
        name = os.fsencode(text)
        if marks.is_private_attribute(name, own):
            continue
        value = marks.get_attribute(source, name)
        if value is None:
            continue
        try:
            os.setxattr(target, name, value, follow_symlinks=isinstance(target, int))
        except OSError as error:
            essential = name.startswith(_ESSENTIAL)
            unprivileged = error.errno == errno.EPERM and os.geteuid() != 0
            if not unprivileged and (essential or error.errno != errno.EOPNOTSUPP):
                raise


def copy_metadata(status: os.stat_result, source: Place, target: Place, own: Format) -> None:
    """Give an object the owner, attributes, mode and times of another one.

    Parameters
    ----------
    status, source
        The one that is copied from.
    target
        The other one.
    own
        Which extended attributes are the union's own.
    """
    is_open = isinstance(target, int)
    made = os.stat(target, follow_symlinks=is_open)
    if (made.st_uid, made.st_gid) != (status.st_uid, status.st_gid):
        try:
            os.chown(target, status.st_uid, status.st_gid, follow_symlinks=is_open)
        except PermissionError:
            if os.geteuid() == 0:
                raise
    copy_attributes(source, target, own)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(target, stat.S_IMODE(status.st_mode))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=is_open)


class CopyUp(Recording):
    """The merged view of a stack, with copy-up. For the parameters see `Table`.

    Attributes
    ----------
    moved
        Called, under the tree's lock, with each object that was copied up and the inode number that it had before: a
        driver whose kernel keeps statuses has them asked for again.
    """

    def __init__(self, stack: Stack, options: Options | None = None) -> None:
        super().__init__(stack, options)
        self._serial = itertools.count(1)
        self._own = os.geteuid(), os.getegid()
        self.moved: Callable[[Node, int], None] | None = None

    @property
    def staging(self) -> Directory:
        """The directory where objects are made before they are moved into the upper."""
        assert self._open.staging is not None
        return self._open.staging

    def _staged_name(self) -> bytes:
        return b"#%x" % next(self._serial)

    def copy_up(self, node: Node, *, limit: int | None = None, data: bool = True) -> None:
        """See to it that an object is in the RW layer, and all directories above it.

        Parameters
        ----------
        node
            The object, held by the caller. If it is not a directory, the tree's lock must not be held.
        limit
            How many bytes of its data are needed, where the caller is about to cut it anyway.
        data
            Whether its data is needed at all: with the option `metacopy`, a change of metadata does without.

        Raises
        ------
        OSError
            EROFS for a read-only stack; ENOSPC, EIO and what else the disk says: then nothing has changed.
        """
        if node.upper:
            if node.index is not None:
                with self.lock:
                    if node.parent is not None and self._link_up(node.parent, node.name, node):
                        self._note(EffectKind.COPIED_UP, self._where(node))
            if node.data is None or not data:
                return
        _ = self.upper
        if node.is_directory:
            with self.lock:
                self._copy_up_directories(node)
            return
        with self.lock:
            if node.parent is not None and not node.upper:
                self._copy_up_directories(node.parent)
            if node.copying is None:
                node.copying = threading.Lock()
        if not node.copying.acquire(blocking=False):
            self.caller.waits()
            node.copying.acquire()
        try:
            if not node.upper:
                self._copy_up_file(node, limit, data=data)
            if data and node.data is not None:
                self._copy_up_data(node, limit)
        finally:
            node.copying.release()

    def _copy_up_directories(self, node: Node) -> None:
        """Copy up a directory and those above it, the highest first; under the lock."""
        chain: list[Node] = []
        at: Node | None = node
        while at is not None and not at.upper:
            if at.dead:
                raise failure(errno.ENOENT)
            chain.append(at)
            at = at.parent
        for directory in reversed(chain):
            self._copy_up_directory(directory)

    def _copy_up_directory(self, node: Node) -> None:
        assert node.parent is not None
        status = self.real_status(node)
        source, path = self.host_path(node)
        staged = self._staged_name()
        number = node.lower[0][0]
        os.mkdir(staged, 0o700, dir_fd=self.staging.fd)
        try:
            target = marks.at(self.staging.fd, staged)
            copy_metadata(status, path, target, self.marks)
            self._keep_origin(source, b"", status, target)
            self._publish(node, staged)
        except BaseException:
            os.rmdir(staged, dir_fd=self.staging.fd)
            raise
        node.upper = True
        node.status = None
        node.generation += 1
        self._note(EffectKind.COPIED_UP, self._where(node), origin=number)
        if self.moved is not None:
            self.moved(node, node.inode)

    def _keep_origin(self, source: Directory, name: bytes, status: os.stat_result, target: Place) -> bytes:
        """Write into a copy which lower object it was; return what was written."""
        if self.marks is Format.OCI:
            return b""
        value = origin.encode_origin(source.fd, name, self._uuids.get(status.st_dev, bytes(16)))
        if value is None or not marks.set_attribute(target, self._origin_name, value):
            return b""
        return value

    def _publish(self, node: Node, staged: bytes) -> None:
        """Move a finished copy to its place in the upper; under the lock. The parent's times stay as they were."""
        parent = node.parent
        assert parent is not None
        above = self.upper_directory(parent)
        before = os.fstat(above.fd)
        self._mark_impure(parent, above)
        syscalls.rename(self.staging.fd, staged, above.fd, node.name, syscalls.RENAME_NOREPLACE)
        _restore_times(above, before)

    def _mark_impure(self, node: Node, directory: Directory) -> None:
        """Mark a directory of the upper as holding objects whose inode number is another one's."""
        if directory.impure or self.marks is Format.OCI or (node.impure and not node.lower):
            return
        path = b"/proc/self/fd/%d/." % directory.fd
        if not node.impure or marks.get_attribute(path, self._impure_name) is None:
            marks.set_attribute(path, self._impure_name, b"y")
        node.impure = directory.impure = True

    def _copy_up_file(self, node: Node, limit: int | None, *, data: bool) -> None:
        """Copy up anything but a directory; under the lock of this node only."""
        status = self.real_status(node)
        bare = not data and self._may_lack_data(status)
        lower_name = node.lower_name
        number = node.lower[0][0]
        staged = self._staged_name()
        try:
            if stat.S_ISREG(status.st_mode):
                copied, value = self._stage_file(node, status, staged, limit, bare=bare)
            else:
                copied, value = 0, self._stage_other(node, status, staged)
            entry = self.index.name(value) if self.index is not None and value and status.st_nlink > 1 else None
            with self.lock:
                where = self._where(node)
                made = status
                if status.st_nlink > 1:
                    made = os.stat(staged, dir_fd=self.staging.fd, follow_symlinks=False)
                if entry is not None and self.index is not None:
                    self.index.add(self.staging.fd, staged, entry, status.st_nlink)
                    node.index, node.count = entry, status.st_nlink
                    self._remember_key(node, (made.st_dev, made.st_ino))
                    if node.parent is not None:
                        self._link_up(node.parent, node.name, node)
                elif node.parent is not None:
                    self._publish(node, staged)
                else:
                    fd = os.open(staged, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.staging.fd)
                    node.orphan = Directory(fd)
                    os.unlink(staged, dir_fd=self.staging.fd)
                if not bare:
                    node.data = None
                elif node.data is None:
                    node.data = (number, node.lower[0][1], lower_name)
                node.upper = True
                node.lower = ()
                node.lower_name = b""
                node.status = None
                node.generation += 1
                before = node.inode
                if status.st_nlink > 1 and entry is None:
                    node.inode = self._inode(self.upper.device, made.st_ino)
                self._note(EffectKind.COPIED_UP, where, origin=number, size=copied)
                if self.moved is not None:
                    self.moved(node, before)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(staged, dir_fd=self.staging.fd)
            raise

    def _may_lack_data(self, status: os.stat_result) -> bool:
        """Tell whether a copy of this file's metadata alone will do."""
        return (
            self.options.metacopy
            and self.marks is not Format.OCI
            and stat.S_ISREG(status.st_mode)
            and status.st_size > 0
            and status.st_nlink == 1
        )

    def _say_where_data_is(self, node: Node) -> None:
        """Before a copy of the metadata alone gets another name, write into it where its data is; under the lock."""
        if node.data is not None and node.upper:
            _, directory, name = node.data
            kept, path = self.host_path(node)
            redirect = b"/" + (directory + b"/" + name if directory else name)
            os.setxattr(path, self.marks.prefix + b"redirect", redirect, follow_symlinks=node.orphan is not None)
            del kept

    def _open_data(self, node: Node) -> int:
        """Open a file's data in its read-only layer."""
        if node.data is not None:
            number, path, name = node.data
            directory = self.layer(number).directory(path)
        else:
            directory, name = self.locate(node)
        return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory.fd)

    def _copy_up_data(self, node: Node, limit: int | None) -> None:
        """Give a copy of the metadata alone its data; until the mark is gone, the data below counts."""
        assert node.data is not None
        number = node.data[0]
        with self.lock:
            kept, path = self.host_path(node)
            follow = node.orphan is not None
            before = os.stat(path, follow_symlinks=follow)
            target = os.open(path, os.O_WRONLY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
        try:
            source = self._open_data(node)
            try:
                size = before.st_size if limit is None else min(limit, before.st_size)
                blocks = os.fstat(source).st_blocks
                copied, shared = copy_data(source, target, size, blocks, self.caller.abandoned, self.caller.waits)
            finally:
                os.close(source)
            if not self.options.volatile and size and not shared:
                self.caller.waits()
                os.fsync(target)
            os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
            for name in (b"metacopy", b"redirect"):
                with contextlib.suppress(OSError):
                    os.removexattr(target, self.marks.prefix + name)
        finally:
            os.close(target)
            del kept
        with self.lock:
            node.data = None
            node.generation += 1
            self._note(EffectKind.COPIED_UP, self._where(node), origin=number, size=copied)

    def _wants_index(self, node: Node) -> bool:
        """Tell whether this is a file with several names that must get into the index before one of them goes."""
        if node.upper or node.is_directory or self.index is None:
            return False
        return self.real_status(node).st_nlink > 1

    def _link_up(self, parent: Node, name: bytes, node: Node) -> bool:
        """Give the copy of a file with several names this one in the upper; false where it has it already."""
        assert self.index is not None
        assert node.index is not None
        self._copy_up_directories(parent)
        above = self.upper_directory(parent)
        try:
            os.stat(name, dir_fd=above.fd, follow_symlinks=False)
        except FileNotFoundError:
            pass
        else:
            return False
        before = os.fstat(above.fd)
        self._mark_impure(parent, above)
        self.index.link(node.index, above.fd, name)
        _restore_times(above, before)
        self.index.set_count(node.index, node.count)
        return True

    def _dress(self, status: os.stat_result, source: Place, directory: Directory, name: bytes, target: Place) -> bytes:
        """Give a copy in the work directory everything but its data; return the origin that was written into it."""
        copy_metadata(status, source, target, self.marks)
        if status.st_nlink > 1 and self.index is None:
            return b""
        return self._keep_origin(directory, name, status, target)

    def _stage_other(self, node: Node, status: os.stat_result, staged: bytes) -> bytes:
        """Make anything but a file or directory in the work directory; return its origin."""
        directory, name = self.locate(node)
        place = self.staging.fd
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=directory.fd), staged, dir_fd=place)
        else:
            os.mknod(staged, stat.S_IFMT(status.st_mode) | 0o600, status.st_rdev, dir_fd=place)
        return self._dress(status, marks.at(directory.fd, name), directory, name, marks.at(place, staged))

    def _stage_file(
        self, node: Node, status: os.stat_result, staged: bytes, limit: int | None, *, bare: bool
    ) -> tuple[int, bytes]:
        """Make a file in the work directory with its content, unless `bare`; return the bytes copied and its origin."""
        directory, name = self.locate(node)
        size = status.st_size if limit is None else min(limit, status.st_size)
        copied, shared, reading = 0, True, -1
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        target = os.open(staged, flags, 0o600, dir_fd=self.staging.fd)
        try:
            if bare:
                os.ftruncate(target, size)
                marks.set_attribute(target, self.marks.prefix + b"metacopy", b"")
            elif size:
                reading = self._open_data(node)
                blocks = status.st_blocks if node.data is None else os.fstat(reading).st_blocks
                copied, shared = copy_data(reading, target, size, blocks, self.caller.abandoned, self.caller.waits)
            # Where the data lies in another layer still, the metadata is not that file's.
            source = reading if reading >= 0 and node.data is None else marks.at(directory.fd, name)
            value = self._dress(status, source, directory, name, target)
            if not self.options.volatile and not shared:
                self.caller.waits()
                os.fsync(target)
            return copied, value
        finally:
            if reading >= 0:
                os.close(reading)
            os.close(target)


def _restore_times(directory: Directory, before: os.stat_result) -> None:
    """Let a directory have the times that it had before something was copied up into it."""
    with contextlib.suppress(OSError):
        os.utime(b".", ns=(before.st_atime_ns, before.st_mtime_ns), dir_fd=directory.fd)
