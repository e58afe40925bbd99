"""The fuse-python driver: the union on a mountpoint through libfuse 2. A protocol adapter only.

Decided here and only here: how libfuse's path-shaped callbacks become calls of the union, and which of libfuse's
options are set. Read it with `fuse(4)` at hand: each method is one request of the kernel, carried here by libfuse.

What libfuse 2 and fuse-python cannot express, so that this driver cannot do it (`LIMITS` has it as data):
times of files before 1901 and after 2038, and nanoseconds in what `stat` shows; setting one time and leaving the
other; flags of renameat2; fallocate, O_TMPFILE, SEEK_HOLE, copy_file_range inside the union; ioctl on files. A file
that is removed while it is open stays in its directory as `.fuse_hidden…` until it is closed.

Threads: libfuse calls from several; the union takes care of that.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Callable, Iterator
from typing import Any

import fuse

from fusefs.files import OpenDirectory, OpenFile
from fusefs.node import Attributes, Node
from fusefs.table import failure
from fusefs.union import Union

__all__ = ["LIMITS", "serve"]

#: What a mount by this driver cannot do, with the reason: one line each.
LIMITS = {
    "nanoseconds": "fuse-python passes times of stat in whole seconds",
    "far times": "fuse-python passes times to utimens in 32 bits",
    "omit time": "libfuse 2 has no UTIME_OMIT",
    "rename flags": "libfuse 2 has no renameat2",
    "fallocate": "fuse-python has no fallocate",
    "tmpfile": "libfuse 2 has no O_TMPFILE",
    "holes": "libfuse 2 has no SEEK_HOLE",
    "unlinked": "libfuse 2 keeps a removed open file under a hidden name",
    "directory sync": "fuse-python crashes on fsyncdir, so that a directory is not synced",
    "binary attributes": "fuse-python takes values of extended attributes as UTF-8 text only",
    "acls": "libfuse 2 does not let the kernel enforce ACLs",
    "linked pages": "libfuse 2 gives each hard link a page cache of its own",
}

log = logging.getLogger(__name__)

fuse.fuse_python_api = (0, 2)


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """Set for whom the thread works, and let nothing but `OSError` out: the mount must outlive any mistake."""

    def call(self: Any, *args: Any) -> Any:
        union: Union = self.union
        context = fuse.FuseGetContext()
        union.caller.become(context["uid"], context["gid"], context["pid"])
        try:
            return method(self, *args)
        except OSError as error:
            raise OSError(error.errno or errno.EIO, os.strerror(error.errno or errno.EIO)) from None
        except Exception:
            log.exception("%s%r failed; answered EIO", method.__name__, args[:1])
            raise OSError(errno.EIO, os.strerror(errno.EIO)) from None

    return call


def _stat(attributes: Attributes) -> fuse.Stat:
    real = attributes.real
    return fuse.Stat(
        st_mode=real.st_mode,
        st_ino=attributes.st_ino,
        st_nlink=attributes.st_nlink,
        st_uid=real.st_uid,
        st_gid=real.st_gid,
        st_rdev=real.st_rdev,
        st_size=real.st_size,
        st_blocks=attributes.st_blocks,
        st_blksize=real.st_blksize,
        st_atime=int(real.st_atime),
        st_mtime=int(real.st_mtime),
        st_ctime=int(real.st_ctime),
    )


class _Held:
    """A node held for the length of a block."""

    __slots__ = ("node", "union")

    def __init__(self, union: Union, path: str) -> None:
        self.union = union
        self.node = union.walk(os.fsencode(path), follow=False)

    def __enter__(self) -> Node:
        return self.node

    def __exit__(self, *_: object) -> None:
        self.union.release(self.node)


class _Place:
    """The directory and the name that a path's last component stands for, the directory held for a block."""

    __slots__ = ("name", "parent", "union")

    def __init__(self, union: Union, path: str) -> None:
        self.union = union
        raw = os.fsencode(path)
        head, _, self.name = raw.rpartition(b"/")
        self.parent = union.walk(head or b"/", follow=False)
        if not self.name:
            union.release(self.parent)
            raise failure(errno.EEXIST, path)

    def __enter__(self) -> tuple[Node, bytes]:
        return self.parent, self.name

    def __exit__(self, *_: object) -> None:
        self.union.release(self.parent)


def _file_class(union: Union) -> type:
    """Return the class whose instances fuse-python makes for open files."""

    class File:
        def __init__(self, path: str, flags: int, mode: int | None = None) -> None:
            self.union = union
            self.file: OpenFile = self.start(path, flags, mode)

        @_guarded
        def start(self, path: str, flags: int, mode: int | None) -> OpenFile:
            if flags & os.O_CREAT and mode is not None:
                with _Place(union, path) as (parent, name):
                    node, file = union.create(parent, name, flags, stat.S_IMODE(mode))
                    union.release(node)
                    return file
            with _Held(union, path) as node:
                return union.open(node, flags)

        @_guarded
        def read(self, size: int, offset: int) -> bytes:
            return union.read(self.file, size, offset)

        @_guarded
        def write(self, data: bytes, offset: int) -> int:
            return union.write(self.file, data, offset)

        @_guarded
        def release(self, _flags: int) -> None:
            union.close_file(self.file)

        @_guarded
        def fsync(self, data_only: int) -> None:
            union.fsync(self.file, data_only=bool(data_only))

        @_guarded
        def fgetattr(self) -> fuse.Stat:
            union.getattr(self.file.node)
            return _stat(union.attributes(self.file.node))

        @_guarded
        def ftruncate(self, size: int) -> None:
            union.truncate(self.file.node, size)

    return File


def _directory_class(union: Union) -> type:
    """Return the class whose instances fuse-python makes for open directories."""

    class Directory:
        def __init__(self, path: str) -> None:
            self.union = union
            self.directory: OpenDirectory = self.start(path)

        @_guarded
        def start(self, path: str) -> OpenDirectory:
            with _Held(union, path) as node:
                return union.opendir(node)

        @_guarded
        def listing(self, rewind: bool) -> list[tuple[bytes, int, int]]:
            return union.readdir(self.directory, rewind=rewind)

        def readdir(self, offset: int) -> Iterator[fuse.Direntry]:
            node = self.directory.node
            above = node.parent or node
            entries = [
                (b".", node.inode, stat.S_IFDIR),
                (b"..", above.inode, stat.S_IFDIR),
                *self.listing(offset == 0),
            ]
            for position, (name, inode, kind) in enumerate(entries[offset:], offset + 1):
                yield fuse.Direntry(os.fsdecode(name), offset=position, ino=inode, type=kind)

        @_guarded
        def releasedir(self) -> None:
            union.closedir(self.directory)

        # No fsyncdir: fuse-python 1.0.9 brings the process down when the kernel asks for it. Without the method the
        # kernel is told that there is none, and a sync of a directory succeeds.

    return Directory


class _Filesystem(fuse.Fuse):  # type: ignore[misc]
    """The callbacks of libfuse."""

    def __init__(self, union: Union, ready: Callable[[], None]) -> None:
        super().__init__(version="%prog", usage="", dash_s_do="setsingle")
        self.union = union
        self.ready = ready
        self.file_class = _file_class(union)
        self.dir_class = _directory_class(union)

    def fsinit(self) -> None:
        self.ready()

    @_guarded
    def getattr(self, path: str) -> fuse.Stat:
        with _Held(self.union, path) as node:
            self.union.getattr(node)
            return _stat(self.union.attributes(node))

    @_guarded
    def readlink(self, path: str) -> str:
        with _Held(self.union, path) as node:
            return os.fsdecode(self.union.readlink(node))

    @_guarded
    def mknod(self, path: str, mode: int, device: int) -> None:
        with _Place(self.union, path) as (parent, name):
            self.union.release(self.union.mknod(parent, name, mode, device))

    @_guarded
    def mkdir(self, path: str, mode: int) -> None:
        with _Place(self.union, path) as (parent, name):
            self.union.release(self.union.mkdir(parent, name, stat.S_IMODE(mode)))

    @_guarded
    def symlink(self, text: str, path: str) -> None:
        with _Place(self.union, path) as (parent, name):
            self.union.release(self.union.symlink(parent, name, os.fsencode(text)))

    @_guarded
    def link(self, existing: str, path: str) -> None:
        with _Held(self.union, existing) as node, _Place(self.union, path) as (parent, name):
            self.union.release(self.union.link(parent, name, node))

    @_guarded
    def unlink(self, path: str) -> None:
        with _Place(self.union, path) as (parent, name):
            self.union.unlink(parent, name)

    @_guarded
    def rmdir(self, path: str) -> None:
        with _Place(self.union, path) as (parent, name):
            self.union.rmdir(parent, name)

    @_guarded
    def rename(self, old: str, new: str) -> None:
        with _Place(self.union, old) as (parent, name), _Place(self.union, new) as (new_parent, new_name):
            self.union.rename(parent, name, new_parent, new_name)

    @_guarded
    def chmod(self, path: str, mode: int) -> None:
        with _Held(self.union, path) as node:
            self.union.chmod(node, mode)

    @_guarded
    def chown(self, path: str, uid: int, gid: int) -> None:
        with _Held(self.union, path) as node:
            self.union.chown(node, uid, gid)

    @_guarded
    def truncate(self, path: str, size: int) -> None:
        with _Held(self.union, path) as node:
            self.union.truncate(node, size)

    @_guarded
    def utimens(self, path: str, accessed: Any, modified: Any) -> None:
        with _Held(self.union, path) as node:
            times = [int(one.tv_sec) * 1_000_000_000 + int(one.tv_nsec) for one in (accessed, modified)]
            self.union.utimens(node, times[0], times[1])

    @_guarded
    def getxattr(self, path: str, name: str, size: int) -> Any:
        with _Held(self.union, path) as node:
            value = self.union.getxattr(node, os.fsencode(name))
            if not size:
                return len(value)
            if len(value) > size:
                raise failure(errno.ERANGE, path)
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise failure(errno.EOPNOTSUPP, path) from None

    @_guarded
    def listxattr(self, path: str, size: int) -> Any:
        with _Held(self.union, path) as node:
            names = [os.fsdecode(name) for name in self.union.listxattr(node)]
            if not size:
                return sum(len(os.fsencode(name)) + 1 for name in names)
            return names

    @_guarded
    def setxattr(self, path: str, name: str, value: Any, flags: int) -> None:
        with _Held(self.union, path) as node:
            self.union.setxattr(node, os.fsencode(name), os.fsencode(value), flags)

    @_guarded
    def removexattr(self, path: str, name: str) -> None:
        with _Held(self.union, path) as node:
            self.union.removexattr(node, os.fsencode(name))

    @_guarded
    def statfs(self) -> fuse.StatVfs:
        real = self.union.statfs(self.union.root)
        return fuse.StatVfs(
            f_bsize=real.f_bsize, f_frsize=real.f_frsize, f_blocks=real.f_blocks, f_bfree=real.f_bfree,
            f_bavail=real.f_bavail, f_files=real.f_files, f_ffree=real.f_ffree, f_favail=real.f_favail,
            f_flag=real.f_flag, f_namemax=real.f_namemax,
        )  # fmt: skip


def serve(union: Union, mountpoint: str, options: list[str], ready: Callable[[], None]) -> None:
    """Mount a union and serve it until it is unmounted.

    Parameters
    ----------
    union
        What to serve.
    mountpoint
        The directory to mount on.
    options
        Options of the mount, as `mount -o` has them.
    ready
        Called once the kernel has accepted the mount.
    """
    filesystem = _Filesystem(union, ready)
    for option in (
        *options, "use_ino", "default_permissions", "big_writes", "max_write=131072", "max_read=131072",
        "entry_timeout=3600", "attr_timeout=0", "negative_timeout=0",
    ):  # fmt: skip
        filesystem.fuse_args.add(option)
    filesystem.fuse_args.mountpoint = mountpoint
    filesystem.fuse_args.setmod("foreground")
    filesystem.multithreaded = True
    filesystem.main()
