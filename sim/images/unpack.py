"""Unpacking: a layer's tar becomes a directory in the kernel's overlay format.

Decided here and only here: where a tar's member may go, and how `.wh.` names become marks on disk. Nothing is reached
by gluing a name to a path: the directory is opened beneath the layer's root with no symlink followed, and the last name
is used alone, relative to it. So no order of members leads out of the layer, and nobody but us writes in it meanwhile.
An unpacking belongs to one thread.

A layer is unpacked by itself, not over those below it, so it is the same for every image that has it. Two things follow
from that, as in Docker's overlay2 driver: a directory that no member describes gets mode 0755, and a hard link to a
file of a lower layer cannot be made. Rules of whiteouts: OCI image specification, "Layer Filesystem Changeset": they
hide what lower layers have, never what the same tar brings, in whatever order it stands there.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fusefs import marks, syscalls
from fusefs.layer import Directory
from sim.images.entry import OPAQUE_NAME, WHITEOUT_PREFIX, Entry, Kind
from sim.images.errors import LayerTarError
from sim.images.tarread import TarReader

__all__ = ["MOST_ENTRIES", "Unpacked", "measure", "remove_tree", "unpack"]

#: Most members of one layer.
MOST_ENTRIES = 10_000_000

_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN_DIRECTORIES = 128
#: Range of times that every filesystem holds, in nanoseconds.
_EARLIEST, _LATEST = -(1 << 31) * 1_000_000_000, ((1 << 33) - 1) * 1_000_000_000


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What a layer holds.

    Attributes
    ----------
    size
        Bytes of everything but directories, each inode once, as `stat` tells them: holes count as what reads from them,
        symlinks as their text. So Docker counts.
    entries
        How many names it has, marks included.
    opaque
        Whether its root hides every layer below.
    """

    size: int
    entries: int
    opaque: bool


def unpack(chunks: Iterable[bytes], target: Path, *, most_entries: int = MOST_ENTRIES) -> Unpacked:
    """Unpack the tar of one layer into an empty directory.

    Parameters
    ----------
    chunks
        The tar, not compressed; read to its end.
    target
        An empty directory that nobody else uses; what is in it after an error is to be thrown away.
    most_entries
        Most members that are taken.

    Raises
    ------
    LayerTarError
        The tar is damaged, or a member is not safe or cannot be made here; the text names the member.
    OSError
        The disk is full or fails.
    """
    root = os.open(target, _DIR_FLAGS)
    try:
        os.fchmod(root, 0o755)
        run = _Unpacking(root)
        reader = TarReader(chunks)
        for number, entry in enumerate(reader):
            if number >= most_entries:
                raise LayerTarError(f"more than {most_entries} members, the most that a layer may have")
            try:
                run.take(entry, reader)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE):
                    raise
                raise LayerTarError(f"{_shown(entry.path)}: {_cause(entry, error)}") from None
        run.finish()
        if run.replaced:
            found = measure(target)
            return Unpacked(found.size, found.entries, run.opaque)
        return Unpacked(run.size, run.entries, run.opaque)
    finally:
        os.close(root)


def measure(target: Path) -> Unpacked:
    """Measure an unpacked layer by walking it; the same figures that `unpack` returned for it."""
    size = entries = 0
    seen: set[tuple[int, int]] = set()
    pending = [os.fspath(target)]
    while pending:
        with os.scandir(pending.pop()) as found:
            for item in found:
                entries += 1
                if item.is_dir(follow_symlinks=False):
                    pending.append(item.path)
                else:
                    status = item.stat(follow_symlinks=False)
                    if status.st_nlink > 1:
                        if (status.st_dev, status.st_ino) in seen:
                            continue
                        seen.add((status.st_dev, status.st_ino))
                    size += status.st_size
    return Unpacked(size, entries, marks.read_marks(os.fsencode(target)).opaque)


def _shown(path: bytes) -> str:
    text = path.decode(errors="backslashreplace")
    return repr(text if len(text) <= 200 else text[:200] + "…")


def _cause(entry: Entry, error: OSError) -> str:
    if error.errno in (errno.ELOOP, errno.ENOTDIR):
        return "its path leads through a symbolic link or a file, which could leave the layer and is refused"
    if error.errno == errno.EPERM and entry.kind in (Kind.CHARACTER, Kind.BLOCK):
        return "a device can only be made by root; unpack this layer as root"
    if error.errno == errno.ENAMETOOLONG:
        return "a name longer than the filesystem takes (255 bytes)"
    return f"{error.strerror}"


def _format(root: int) -> marks.Format:
    """Return in which format this process can write whiteouts: root may lack the privilege, inside a container."""
    try:
        marks.try_format(root, marks.Format.OVERLAY)
    except OSError:
        return marks.Format.USER
    return marks.Format.OVERLAY


class _Unpacking:
    """One run: the layer's root, the directories kept open, and what is to be done at the end."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._privileged = os.geteuid() == 0
        self._marks = _format(root)
        self._open: dict[bytes, Directory] = {}
        self._times: dict[bytes, int] = {}
        self._ids = (os.geteuid(), os.getegid())
        self.size = 0
        self.entries = 0
        self.replaced = False
        self.opaque = False

    # -- directories

    def _directory(self, path: bytes) -> int:
        """Return a descriptor of the directory at `path`, made with its parents where it is not there yet."""
        if not path:
            return self._root
        kept = self._open.get(path)
        if kept is not None:
            return kept.fd
        try:
            found = syscalls.open_beneath(self._root, path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            # A whiteout in the way gives ENOTDIR: the tar hides a directory below and brings one of its own.
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                raise
            found = self._make_parents(path)
        while len(self._open) >= _OPEN_DIRECTORIES:
            self._open.pop(next(iter(self._open)))
        self._open[path] = Directory(found)
        return found

    def _make_parents(self, path: bytes) -> int:
        """Make what is missing of a directory's path and return a descriptor of it."""
        here = os.dup(self._root)
        at = 0
        while at >= 0:
            end = path.find(b"/", at)
            name = path[at:end] if end >= 0 else path[at:]
            try:
                self._make_directory(here, name, path[:end] if end >= 0 else path, implied=True)
                step = os.open(name, _DIR_FLAGS, dir_fd=here)
            finally:
                os.close(here)
            here = step
            at = end + 1 if end >= 0 else -1
        return here

    def _make_directory(self, parent: int, name: bytes, path: bytes, *, implied: bool = False) -> None:
        """Make a directory, over a whiteout or (unless implied) a file of the same tar as an opaque one."""
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                return
            if implied and not marks.is_whiteout(status):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)) from None
            os.unlink(name, dir_fd=parent)
            self.replaced = True
            os.mkdir(name, 0o755, dir_fd=parent)
            marks.set_opaque(parent, name, self._marks)
        self.entries += 1
        if implied:
            os.chmod(name, 0o755, dir_fd=parent)  # whatever the umask is; it was made just now, so it is no symlink
            self._times.setdefault(path, 0)

    def _make_room(self, parent: int, name: bytes) -> None:
        """Remove what an earlier member put under this name."""
        self.replaced = True
        status = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=parent)
            return
        self._open.clear()
        remove_tree(parent, name)

    # -- members

    def take(self, entry: Entry, reader: TarReader) -> None:
        """Make what one member says."""
        path = entry.path
        if not path:
            if entry.kind is not Kind.DIRECTORY:
                raise LayerTarError("the layer's root is described as something else than a directory")
            self._describe_directory(self._root, entry)
            return
        parent_path, _, name = path.rpartition(b"/")
        if b".wh." in path and (name.startswith(WHITEOUT_PREFIX) or b"/.wh." in b"/" + parent_path):
            self._mark(entry, parent_path, name)
            return
        parent = self._directory(parent_path)
        kind = entry.kind
        if kind is Kind.DIRECTORY:
            self._make_directory(parent, name, path)
            self._describe_directory(self._directory(path), entry)
        elif kind is Kind.FILE:
            self._file(parent, name, entry, reader)
        else:
            self._special(parent, name, entry)

    def _mark(self, entry: Entry, parent_path: bytes, name: bytes) -> None:
        if b"/.wh." in b"/" + parent_path:
            if b"/.wh..wh." in b"/" + parent_path:
                return  # the bookkeeping of AUFS, which every reader passes over
            raise LayerTarError(f"{_shown(entry.path)}: a whiteout cannot have anything below it")
        if name == OPAQUE_NAME:
            if parent_path:
                self._directory(parent_path)
                above, _, last = parent_path.rpartition(b"/")
                marks.set_opaque(self._directory(above), last, self._marks)
            else:
                os.setxattr(self._root, self._marks.prefix + b"opaque", b"y")
                self.opaque = True
            return
        if name.startswith(WHITEOUT_PREFIX * 2):
            return
        hidden = name[len(WHITEOUT_PREFIX) :]
        if hidden in (b"", b".", b".."):
            raise LayerTarError(f"{_shown(entry.path)}: a whiteout of {_shown(hidden)} could leave the layer")
        parent = self._directory(parent_path)
        try:
            marks.whiteout_device(parent, hidden)
            modified = min(max(entry.modified, _EARLIEST), _LATEST)
            os.utime(hidden, ns=(modified, modified), dir_fd=parent, follow_symlinks=False)
            self.entries += 1
        except FileExistsError:
            if stat.S_ISDIR(os.stat(hidden, dir_fd=parent, follow_symlinks=False).st_mode):
                marks.set_opaque(parent, hidden, self._marks)

    def _file(self, parent: int, name: bytes, entry: Entry, reader: TarReader) -> None:
        try:
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        except FileExistsError:
            self._make_room(parent, name)
            fd = os.open(name, _NEW_FILE, 0o600, dir_fd=parent)
        try:
            if entry.size:
                if entry.extents is None:
                    for _, part in reader.body():
                        while part:
                            part = part[os.write(fd, part) :]
                else:
                    for offset, part in reader.body():
                        while part:
                            done = os.pwrite(fd, part, offset)
                            part, offset = part[done:], offset + done
                    os.truncate(fd, entry.size)
            if self._privileged and (entry.uid, entry.gid) != self._ids:
                os.fchown(fd, entry.uid, entry.gid)
            os.fchmod(fd, entry.mode)
            if entry.xattrs:
                self._xattrs(b"/proc/self/fd/%d" % fd, entry)
            modified = min(max(entry.modified, _EARLIEST), _LATEST)
            os.utime(fd, ns=(modified, modified))
        finally:
            os.close(fd)
        self.size += entry.size
        self.entries += 1

    def _special(self, parent: int, name: bytes, entry: Entry) -> None:
        try:
            self._make_special(parent, name, entry)
        except FileExistsError:
            if entry.kind is Kind.HARDLINK and entry.target == entry.path:
                raise LayerTarError(f"{_shown(entry.path)}: a hard link to itself") from None
            self._make_room(parent, name)
            self._make_special(parent, name, entry)
        self.entries += 1
        if entry.kind is Kind.HARDLINK:
            return
        if self._privileged and (entry.uid, entry.gid) != self._ids:
            os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
        at = marks.at(parent, name)
        if entry.kind is not Kind.SYMLINK:
            os.chmod(at, entry.mode)  # nothing but what was made just now can be there, and that is no symlink
        if entry.xattrs:
            self._xattrs(at, entry)
        modified = min(max(entry.modified, _EARLIEST), _LATEST)
        os.utime(name, ns=(modified, modified), dir_fd=parent, follow_symlinks=False)

    def _make_special(self, parent: int, name: bytes, entry: Entry) -> None:
        kind = entry.kind
        if kind is Kind.SYMLINK:
            if not entry.target:
                raise LayerTarError(f"{_shown(entry.path)}: a symbolic link without a target")
            os.symlink(entry.target, name, dir_fd=parent)
            self.size += len(entry.target)
        elif kind is Kind.HARDLINK:
            self._link(parent, name, entry)
        elif kind is Kind.FIFO:
            os.mkfifo(name, 0o600, dir_fd=parent)
        else:
            form = stat.S_IFCHR if kind is Kind.CHARACTER else stat.S_IFBLK
            os.mknod(name, form | 0o600, os.makedev(*entry.device), dir_fd=parent)

    def _link(self, parent: int, name: bytes, entry: Entry) -> None:
        above, _, last = entry.target.rpartition(b"/")
        try:
            source = syscalls.open_beneath(self._root, above or b".", os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise self._no_target(entry, error) from None
        try:
            os.link(last, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError as error:
            raise self._no_target(entry, error) from None
        finally:
            os.close(source)

    @staticmethod
    def _no_target(entry: Entry, error: OSError) -> LayerTarError:
        return LayerTarError(
            f"{_shown(entry.path)}: a hard link to {_shown(entry.target)}, which is no file of this layer"
            f" ({error.strerror})"
        )

    def _describe_directory(self, fd: int, entry: Entry) -> None:
        if self._privileged:
            os.fchown(fd, entry.uid, entry.gid)
        os.fchmod(fd, entry.mode)
        if entry.xattrs:
            self._xattrs(b"/proc/self/fd/%d/." % fd, entry)
        self._times[entry.path] = min(max(entry.modified, _EARLIEST), _LATEST)

    def _xattrs(self, at: bytes, entry: Entry) -> None:
        """Set extended attributes; overlay's own, which a tar must not forge, as data that nests."""
        for name, value in entry.xattrs:
            for form in (marks.Format.OVERLAY, marks.Format.USER):
                name = marks.escape_attribute(name, form)
            try:
                follow = entry.kind is Kind.FILE or entry.kind is Kind.DIRECTORY
                os.setxattr(at, name, value, follow_symlinks=follow)
            except OSError as error:
                # What this filesystem or an unprivileged user cannot hold is left out, as by every other reader.
                if error.errno not in (errno.EOPNOTSUPP, errno.EPERM):
                    raise LayerTarError(
                        f"{_shown(entry.path)}: extended attribute {_shown(name)}: {error.strerror}"
                    ) from None

    def finish(self) -> None:
        """Set the times of directories, which filling them changed."""
        self._open.clear()
        for path, modified in self._times.items():
            try:
                fd = syscalls.open_beneath(self._root, path or b".", os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                    continue  # a later member took its place
                raise
            try:
                os.utime(fd, ns=(modified, modified))
            finally:
                os.close(fd)


def remove_tree(parent: int, name: bytes) -> None:
    """Remove a directory with everything in it, never through a symlink, however deep, with one descriptor."""
    here = os.open(name, _DIR_FLAGS, dir_fd=parent)
    try:
        path = [(name, _clear(here))]
        while True:
            this, below = path[-1]
            if below:
                step = os.open(below[-1], _DIR_FLAGS, dir_fd=here)
                path.append((below.pop(), _clear(step)))
            elif len(path) > 1:
                step = os.open(b"..", _DIR_FLAGS, dir_fd=here)
                os.rmdir(this, dir_fd=step)
                path.pop()
            else:
                break
            os.close(here)
            here = step
    finally:
        os.close(here)
    os.rmdir(name, dir_fd=parent)


def _clear(directory: int) -> list[bytes]:
    """Remove what is no directory and return the names of those that are."""
    below = []
    with os.scandir(directory) as found:
        items = list(found)
    for item in items:
        if item.is_dir(follow_symlinks=False):
            below.append(os.fsencode(item.name))
        else:
            os.unlink(item.name, dir_fd=directory)
    return below
