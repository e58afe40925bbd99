"""Putting the members of a tar into a container's directory.

Decided here and only here: where a member may go and what it replaces. Each member's directory is opened anew from the
container's root, which no symlink and no `..` leads out of, and its last name is used alone, relative to it; so neither
a tar nor a process in the container that changes directories meanwhile leads anywhere else. Small files that follow
each other in one directory are made by several threads, since each call waits for whoever serves the view; all else is
in the order of the tar. A `Placing` belongs to one thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

from sim.engine.errors import BadParameterError, EngineError
from sim.engine.views import make_directories
from sim.images.entry import Entry, Kind
from sim.images.unpack import remove_tree
from sim.runtime.syscalls import open_in

__all__ = ["Body", "Member", "Placing", "moment", "worded"]

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

#: Files of up to how many bytes are made together, how many of them at most, and by how many threads.
_SMALL, _TOGETHER, _THREADS = 1 << 16, 64, 4
_EARLIEST, _LATEST = -(1 << 31) * 1_000_000_000, ((1 << 33) - 1) * 1_000_000_000


Body = Iterable[tuple[int, bytes | memoryview]]
Member = tuple[Entry, Body]


class Placing:
    """One tar, and the directory that it goes into.

    Parameters
    ----------
    root
        Descriptor of the container's root.
    directory
        The directory in it.
    keeps_kind
        Refuse to put a directory where there is something else, and the other way round.
    owner
        User and group of all that is made; None for what the tar says.
    """

    def __init__(
        self, root: int, directory: str, *, keeps_kind: bool = False, owner: tuple[int, int] | None = None
    ) -> None:
        self._root, self._directory = root, directory.rstrip("/")
        self._keeps_kind, self._owner = keeps_kind, owner
        self._times: dict[str, int] = {}
        self._parent: tuple[str, int] = ("", -1)
        self._waiting: dict[bytes, tuple[Entry, Body]] = {}
        self._above = b""
        self._pool = ThreadPoolExecutor(_THREADS, "placing")

    def take(self, members: Iterable[Member], times: Mapping[str, int] | None = None) -> None:
        """Put members in their places.

        Parameters
        ----------
        members
            The members, all that are still to come; the content of each is read before the next is asked for.
        times
            The times of directories that were made before.

        Raises
        ------
        BadParameterError
            A member may not go where it wants.
        LayerTarError
            The tar is damaged.
        OSError
            The disk is full or fails.
        """
        self._times.update(times or {})
        try:
            for entry, body in members:
                self._take(entry, body)
            self._flush()
            self._finish()
        finally:
            self._pool.shutdown()
            if self._parent[1] >= 0:
                os.close(self._parent[1])

    def _open(self, path: str) -> int:
        """Return a descriptor of the directory that a member lies in; valid until the next call."""
        if self._parent[1] >= 0:
            if self._parent[0] == path:
                return self._parent[1]
            os.close(self._parent[1])
            self._parent = ("", -1)
        full = f"{self._directory}/{path}"
        try:
            found = open_in(self._root, full, _DIRECTORY)
        except FileNotFoundError:
            make_directories(self._root, full)
            found = open_in(self._root, full, _DIRECTORY)
        self._parent = (path, found)
        return found

    def _take(self, entry: Entry, body: Body) -> None:
        """Put a member in its place, or among those that are put there together."""
        above, _, name = entry.path.rpartition(b"/")
        if entry.kind is not Kind.FILE or entry.size > _SMALL or entry.extents is not None:
            self._flush()
            self._put(self._directory_of(entry), name, entry, body)
            return
        if above != self._above or name in self._waiting or len(self._waiting) >= _TOGETHER:
            self._flush()
        self._above = above
        self._waiting[name] = (entry, [(offset, bytes(part)) for offset, part in body])

    def _flush(self) -> None:
        """Put the files that wait in their places."""
        waiting, self._waiting = list(self._waiting.items()), {}
        if not waiting:
            return
        parent = self._directory_of(waiting[0][1][0])

        def some(first: int) -> None:
            for name, (entry, body) in waiting[first::_THREADS]:
                self._put(parent, name, entry, body)

        if len(waiting) < _THREADS:
            for name, (entry, body) in waiting:
                self._put(parent, name, entry, body)
            return
        for done in [self._pool.submit(some, first) for first in range(_THREADS)]:
            done.result()

    def _directory_of(self, entry: Entry) -> int:
        """Return a descriptor of the directory that a member lies in, as `_open`."""
        try:
            return self._open(os.fsdecode(entry.path.rpartition(b"/")[0]))
        except OSError as error:
            raise worded(error, self._directory, entry) from None

    def _put(self, parent: int, name: bytes, entry: Entry, body: Body) -> None:
        try:
            try:
                self._make(parent, name, entry, body)
            except FileExistsError:
                self._make_room(parent, name, entry)
                self._make(parent, name, entry, body)
        except OSError as error:
            raise worded(error, self._directory, entry) from None

    def _make(self, parent: int, name: bytes, entry: Entry, body: Body) -> None:
        """Make what a member says, where nothing is; a directory may be there."""
        if entry.kind is Kind.FILE:
            self._write(parent, name, entry, body)
            return
        if entry.kind is Kind.DIRECTORY:
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    raise
            self._times[os.fsdecode(entry.path)] = moment(entry)
        elif entry.kind is Kind.HARDLINK:
            self._link(parent, name, entry)
            return
        elif entry.kind is Kind.SYMLINK:
            os.symlink(entry.target, name, dir_fd=parent)
        elif entry.kind is Kind.FIFO:
            os.mkfifo(name, 0o600, dir_fd=parent)
        else:
            form = stat.S_IFCHR if entry.kind is Kind.CHARACTER else stat.S_IFBLK
            os.mknod(name, form | 0o600, os.makedev(*entry.device), dir_fd=parent)
        self._describe(parent, name, entry)

    def _make_room(self, parent: int, name: bytes, entry: Entry) -> None:
        """Remove what a member takes the place of."""
        try:
            there = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return
        was, becomes = stat.S_ISDIR(there.st_mode), entry.kind is Kind.DIRECTORY
        place, above = f"{self._directory}/{os.fsdecode(entry.path)}", self._directory or "/"
        if self._keeps_kind and was and not becomes:
            raise BadParameterError(f'cannot overwrite directory "{place}" with non-directory "{above}"')
        if self._keeps_kind and becomes and not was:
            raise BadParameterError(f'cannot overwrite non-directory "{place}" with directory "{above}"')
        if was and becomes:
            return
        if _is_mounted(parent, name):  # the kernel would let go of a mount in a namespace that is not this process's
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if was:
            remove_tree(parent, name)
        else:
            os.unlink(name, dir_fd=parent)

    def _write(self, parent: int, name: bytes, entry: Entry, body: Body) -> None:
        """Make a file. Each call is a way through the kernel to whoever serves the view, so none is made in vain."""
        fd = os.open(name, _NEW, entry.mode & 0o777, dir_fd=parent)
        try:
            made = os.fstat(fd)  # before anything is written: its attributes are known then
            for offset, part in body:
                while part:
                    done = os.pwrite(fd, part, offset)
                    part, offset = part[done:], offset + done
            if entry.extents is not None:
                os.truncate(fd, entry.size)
            if (made.st_uid, made.st_gid) != (self._owner or (entry.uid, entry.gid)):
                os.fchown(fd, *(self._owner or (entry.uid, entry.gid)))
            if stat.S_IMODE(made.st_mode) != entry.mode or entry.mode & 0o7000:
                os.fchmod(fd, entry.mode)
            self._attributes(b"/proc/self/fd/%d" % fd, entry)
            os.utime(fd, ns=(moment(entry), moment(entry)))
        except BaseException:
            # Its content did not come, or found no room: half a file is worse than none.
            with contextlib.suppress(OSError):
                if os.stat(name, dir_fd=parent, follow_symlinks=False).st_ino == os.fstat(fd).st_ino:
                    os.unlink(name, dir_fd=parent)
            raise
        finally:
            os.close(fd)

    @staticmethod
    def _attributes(at: bytes, entry: Entry) -> None:
        for key, value in entry.xattrs:
            with contextlib.suppress(OSError):  # what this filesystem cannot hold is left out
                os.setxattr(at, key, value)

    def _link(self, parent: int, name: bytes, entry: Entry) -> None:
        above, _, last = entry.target.rpartition(b"/")
        source = open_in(self._root, f"{self._directory}/{os.fsdecode(above)}", os.O_PATH | os.O_DIRECTORY)
        try:
            os.link(last, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        finally:
            os.close(source)

    def _describe(self, parent: int, name: bytes, entry: Entry) -> None:
        """Give what was made its owner, mode, attributes and time.

        By a descriptor that cannot be a symlink's: somebody in the container might have put one there just now.
        """
        uid, gid = self._owner or (entry.uid, entry.gid)
        os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        if entry.kind is not Kind.SYMLINK:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                if stat.S_ISLNK(os.fstat(fd).st_mode):
                    raise OSError(errno.ELOOP, "somebody put a symbolic link in its place")
                here = b"/proc/self/fd/%d" % fd
                os.chmod(here, entry.mode)
                self._attributes(here, entry)
            finally:
                os.close(fd)
        os.utime(name, ns=(moment(entry), moment(entry)), dir_fd=parent, follow_symlinks=False)

    def _finish(self) -> None:
        """Set the times of directories, which filling them changed."""
        for path, modified in reversed(self._times.items()):
            with contextlib.suppress(OSError):
                fd = open_in(self._root, f"{self._directory}/{path}", _DIRECTORY)
                try:
                    os.utime(fd, ns=(modified, modified))
                finally:
                    os.close(fd)


def _is_mounted(parent: int, name: bytes) -> bool:
    """Tell whether something is mounted on a name."""
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        return _mount_of(fd) != _mount_of(parent)
    finally:
        os.close(fd)


def _mount_of(fd: int) -> bytes:
    with open(f"/proc/self/fdinfo/{fd}", "rb") as table:
        return next(line for line in table if line.startswith(b"mnt_id:"))


def worded(error: OSError, directory: str, entry: Entry) -> EngineError:
    """Return what is said of a member that cannot be put into a directory."""
    shown = f"{directory}/{os.fsdecode(entry.path)}: {(error.strerror or '').lower()}"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
    return EngineError(shown) if full else BadParameterError(shown)


def moment(entry: Entry) -> int:
    """Return a member's time, as every filesystem can hold it."""
    return min(max(entry.modified, _EARLIEST), _LATEST)
