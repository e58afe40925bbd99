"""Packing: a directory in overlay format becomes a layer's tar.

Decided here and only here: the order of members (each directory before what is in it, names sorted by their bytes), how
marks on disk become `.wh.` names, and what of an inode goes into a tar: everything but sockets, access and change
times, the union's own attributes and SELinux labels, which belong to the machine. The same directory always gives the
same tar. A packing belongs to one thread, which may have small files read ahead by others (`pack_name`); the directory
must not change meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from fusefs import marks
from sim.images.entry import OPAQUE_NAME, WHITEOUT_PREFIX, Entry, Kind
from sim.images.errors import LayerTarError
from sim.images.tarwrite import TarWriter

__all__ = ["KINDS", "data_of", "entry_of", "is_plain_root", "pack", "pack_members", "pack_name", "walk", "with_holes"]

_DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
#: What a tar can hold, by the file type bits of a mode.
KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFIFO: Kind.FIFO,
}
_CHUNK = 1 << 18
#: A file's holes are kept if they are at least this many bytes in all; smaller ones are written as zeros.
_WORTH_HOLES = 64 << 10
#: Files of up to how many bytes are read ahead, how many names at a time, by how many threads, and how many may wait.
_SMALL, _TOGETHER, _THREADS, _MOST = 64 << 10, 64, 4, 256


def pack(
    source: Path,
    write: Callable[[bytes | memoryview], object],
    *,
    as_layer: bool = True,
    modified: int | None = None,
    skip: frozenset[bytes] = frozenset(),
) -> None:
    """Write a directory as a tar.

    Parameters
    ----------
    source
        The directory.
    write
        Takes the tar's bytes, in order.
    as_layer
        Whether marks become `.wh.` names. Without it the directory is a whole root filesystem: a device 0/0 is refused.
    modified
        A time in nanoseconds since the epoch that no member is later than; for tars that are the same on each day.
    skip
        Paths that are left out, with all below them.

    Raises
    ------
    LayerTarError
        The directory holds what no tar can say: a renamed directory or a file whose data lies in a lower layer.
    OSError
        The directory cannot be read.
    """
    members = walk(source, as_layer=as_layer, skip=skip)
    if modified is not None:
        members = ((_at(entry, modified) if entry.modified > modified else entry, file) for entry, file in members)
    pack_members(members, write)


def pack_members(members: Iterable[tuple[Entry, int]], write: Callable[[bytes | memoryview], object]) -> None:
    """Write entries as a tar, each with a descriptor of its data, or -1 where the entry holds it or has none."""
    writer = TarWriter(write)
    for entry, file in members:
        writer.add(entry, data_of(entry, file) if file >= 0 and not entry.content else None)
    writer.finish()


def pack_name(parent: int, name: bytes, shown: bytes, write: Callable[[bytes | memoryview], object]) -> None:
    """Write one name of a directory, and what is below it, as a tar.

    Parameters
    ----------
    parent
        Descriptor of the directory. Nothing outside of it is reached, also where somebody changes it meanwhile.
    name
        The name in it; `.` is the directory itself.
    shown
        What it is called in the tar; `/` for a root whose members shall have absolute names, as Docker's client wants
        them of a container's root.
    write
        As for `pack`.
    """
    # Each call on a mounted view waits for whoever serves that, so several are made at once.
    with ThreadPoolExecutor(_THREADS, "packing") as pool:
        pack_members(_named(parent, name, shown, _Walk(False, frozenset(), pool)), write)


def _named(parent: int, name: bytes, shown: bytes, walk_: _Walk) -> Iterator[tuple[Entry, int]]:
    before = shown + b"/" if shown.strip(b"/") else shown
    status = os.stat(name, dir_fd=parent, follow_symlinks=False)
    if not stat.S_ISDIR(status.st_mode):
        for entry, file in walk_._other(name, name, parent, status, marks.DirectoryMarks()):
            yield replace(entry, path=shown), file
        return
    root = os.open(name, _DIR_FLAGS, dir_fd=parent)
    try:
        yield replace(walk_._entry(b"", os.fstat(root), b"/proc/self/fd/%d/." % root), path=shown), -1
        for entry, file in walk_.directory(root):
            if entry.path:
                target = before + entry.target if entry.kind is Kind.HARDLINK else entry.target
                yield replace(entry, path=before + entry.path, target=target), file
    finally:
        os.close(root)


def _at(entry: Entry, modified: int) -> Entry:
    return replace(entry, modified=modified)


def walk(source: Path, *, as_layer: bool = True, skip: frozenset[bytes] = frozenset()) -> Iterator[tuple[Entry, int]]:
    """Yield the entries of a directory in the order of a tar, each with a descriptor of its data or -1.

    The descriptor is closed when the next entry is asked for. Parameters and errors are those of `pack`.
    """
    root = os.open(source, _DIR_FLAGS)
    try:
        yield from _Walk(as_layer, skip).directory(root)
    finally:
        os.close(root)


def is_plain_root(entry: Entry) -> bool:
    """Tell whether a root is as every unpacker makes it, so that a tar need not tell of it: its time does not count."""
    return (entry.mode, entry.uid, entry.gid, entry.xattrs) == (0o755, 0, 0, ())


class _Walk:
    def __init__(self, as_layer: bool, skip: frozenset[bytes], pool: Executor | None = None) -> None:
        self._pool = pool
        self._ahead: dict[bytes, tuple[os.stat_result, Entry | None]] = {}
        self._as_layer = as_layer
        self._skip = skip
        # An ordinary user is root inside, so what is theirs here is root's in an image.
        self._root = (os.geteuid(), os.getegid()) if os.geteuid() else (0, 0)
        self._links: dict[tuple[int, int], bytes] = {}

    def directory(self, root: int) -> Iterator[tuple[Entry, int]]:
        """Walk without recursion: directories may lie deeper than Python's stack and than descriptors go."""
        status = os.fstat(root)
        top = self._entry(b"", status, b"/proc/self/fd/%d/." % root)
        if not is_plain_root(top):
            yield top, -1
        here = os.dup(root)
        path = b""
        waiting: list[list[bytes]] = []
        try:
            marked = self._marks(here)
            yield from self._opaque(path, marked)
            waiting.append(self._names(here))
            flags = [marked]
            while waiting:
                if not waiting[-1]:
                    waiting.pop()
                    flags.pop()
                    if waiting:
                        step = os.open(b"..", _DIR_FLAGS, dir_fd=here)
                        os.close(here)
                        here = step
                        path = path.rpartition(b"/")[0]
                    continue
                name = waiting[-1].pop()
                full = path + b"/" + name if path else name
                if full in self._skip:
                    continue
                if self._pool is not None and full not in self._ahead:
                    self._read_ahead(self._pool, here, path, (name, *waiting[-1][:-_TOGETHER:-1]))
                known = self._ahead.pop(full, None)
                if known is not None and known[1] is not None:
                    yield known[1], -1
                    continue
                status = known[0] if known is not None else os.stat(name, dir_fd=here, follow_symlinks=False)
                if not stat.S_ISDIR(status.st_mode):
                    yield from self._other(full, name, here, status, flags[-1])
                    continue
                yield self._entry(full, status, marks.at(here, name)), -1
                step = os.open(name, _DIR_FLAGS, dir_fd=here)
                os.close(here)
                here = step
                path = full
                marked = self._marks(here)
                yield from self._opaque(path, marked)
                waiting.append(self._names(here))
                flags.append(marked)
        finally:
            os.close(here)

    def _read_ahead(self, pool: Executor, here: int, path: bytes, names: Sequence[bytes]) -> None:
        """Look at some names of a directory at once, and read those that are small files with one name."""
        if len(names) < _THREADS or len(self._ahead) > _MOST:
            return

        def look(name: bytes) -> tuple[bytes, os.stat_result, Entry | None] | None:
            full = path + b"/" + name if path else name
            try:
                status = os.stat(name, dir_fd=here, follow_symlinks=False)
                size = status.st_size
                if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or not 0 < size <= _SMALL:
                    return full, status, None
                entry = self._entry(full, status, marks.at(here, name))
                fd = os.open(name, _FILE_FLAGS, dir_fd=here)
                try:
                    data = os.pread(fd, size, 0)
                finally:
                    os.close(fd)
            except OSError:
                return None  # what is wrong with it is told when its turn comes
            return full, status, replace(entry, content=data) if len(data) == size else None

        for found in pool.map(look, names):
            if found is not None:
                self._ahead[found[0]] = found[1:]

    @staticmethod
    def _names(directory: int) -> list[bytes]:
        """Return the names in a directory, the first at the end."""
        return sorted(map(os.fsencode, os.listdir(directory)), reverse=True)

    def _marks(self, directory: int) -> marks.DirectoryMarks:
        found = marks.read_marks(b"/proc/self/fd/%d/." % directory)
        if found.redirect is not None and self._as_layer:
            raise LayerTarError(
                f"a directory renamed from {os.fsdecode(found.redirect)!r} has its content in a lower layer, which no"
                " tar can say; mount without redirects (redirect_dir=off) to make layers"
            )
        return found

    def _opaque(self, path: bytes, marked: marks.DirectoryMarks) -> Iterator[tuple[Entry, int]]:
        if marked.opaque and self._as_layer:
            yield Entry(path + b"/" + OPAQUE_NAME if path else OPAQUE_NAME, mode=0), -1

    def _other(
        self, full: bytes, name: bytes, parent: int, status: os.stat_result, marked: marks.DirectoryMarks
    ) -> Iterator[tuple[Entry, int]]:
        if marks.is_whiteout(status) or (marked.attribute_whiteouts and not status.st_size and _hidden(parent, name)):
            if not self._as_layer:
                raise LayerTarError(f"{os.fsdecode(full)!r}: a whiteout in what should be a whole root filesystem")
            above = full[: len(full) - len(name)]
            yield Entry(above + WHITEOUT_PREFIX + name, mode=0), -1
            return
        if stat.S_ISSOCK(status.st_mode):
            return
        if status.st_nlink > 1:
            first = self._links.setdefault((status.st_dev, status.st_ino), full)
            if first != full:
                yield entry_of(full, Kind.HARDLINK, status, owner=self._owner(status), target=first), -1
                return
        at = marks.at(parent, name)
        if not stat.S_ISREG(status.st_mode):
            target = os.readlink(name, dir_fd=parent) if stat.S_ISLNK(status.st_mode) else b""
            yield self._entry(full, status, at, target), -1
            return
        entry = self._entry(full, status, at)
        if not status.st_size:
            yield entry, -1
            return
        fd = os.open(name, _FILE_FLAGS, dir_fd=parent)
        try:
            yield with_holes(entry, fd, status), fd
        finally:
            os.close(fd)

    def _owner(self, status: os.stat_result) -> tuple[int, int]:
        user, group = self._root
        return 0 if status.st_uid == user else status.st_uid, 0 if status.st_gid == group else status.st_gid

    def _entry(self, path: bytes, status: os.stat_result, at: bytes, target: bytes = b"") -> Entry:
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        return entry_of(path, kind, status, at, as_seen=not self._as_layer, owner=self._owner(status), target=target)


def entry_of(
    path: bytes,
    kind: Kind,
    status: os.stat_result,
    at: bytes | int | None = None,
    *,
    as_seen: bool = False,
    owner: tuple[int, int] | None = None,
    target: bytes = b"",
    content: bytes = b"",
) -> Entry:
    """Return what a tar says of an object.

    Parameters
    ----------
    path
        Its path in the tar.
    kind, status
        What it is.
    at
        Where its extended attributes are read: a path that is followed nowhere, or a descriptor; None for a further
        name of a file that has been told of.
    as_seen
        Whether they are called there as in a merged view; else as in a layer, where some are the union's own.
    owner
        User and group, where they are not those of the status.
    target, content
        As in `Entry`.
    """
    device = (0, 0)
    if kind is Kind.CHARACTER or kind is Kind.BLOCK:
        device = (os.major(status.st_rdev), os.minor(status.st_rdev))
    uid, gid = owner or (status.st_uid, status.st_gid)
    return Entry(
        path,
        kind,
        stat.S_IMODE(status.st_mode),
        uid,
        gid,
        status.st_mtime_ns,
        status.st_size if kind is Kind.FILE else 0,
        target,
        device,
        _xattrs(path, at, as_seen) if at is not None else (),
        None,
        content,
    )


def _xattrs(path: bytes, at: bytes | int, as_seen: bool) -> tuple[tuple[bytes, bytes], ...]:
    try:
        names = os.listxattr(at, follow_symlinks=isinstance(at, int))
    except OSError:
        return ()
    if not names:
        return ()
    found = []
    for text in names:
        name = os.fsencode(text)
        if name == b"security.selinux":
            continue
        value = marks.get_attribute(at, name)
        if as_seen:
            found += [(name, value)] if value is not None else []
            continue
        if any(marks.is_private_attribute(name, form) for form in (marks.Format.OVERLAY, marks.Format.USER)):
            if name.endswith(b".overlay.metacopy"):
                raise LayerTarError(f"{os.fsdecode(path)!r}: its data lies in a lower layer (metacopy)")
            continue
        for form in (marks.Format.OVERLAY, marks.Format.USER):
            name = marks.unescape_attribute(name, form)
        if value is not None:
            found.append((name, value))
    return tuple(sorted(found))


def with_holes(entry: Entry, fd: int, status: os.stat_result) -> Entry:
    """Return a file with its holes told of, where it has some worth it."""
    if status.st_blocks * 512 + _WORTH_HOLES > status.st_size:
        return entry
    extents = tuple(_extents(fd, status.st_size))
    if status.st_size - sum(length for _, length in extents) < _WORTH_HOLES:
        return entry
    return replace(entry, extents=extents)


def _hidden(parent: int, name: bytes) -> bool:
    at = marks.at(parent, name)
    return any(
        marks.get_attribute(at, form.prefix + b"whiteout") is not None
        for form in (marks.Format.OVERLAY, marks.Format.USER)
    )


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:
            return  # ENXIO: nothing but a hole is left
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, end - start


def data_of(entry: Entry, fd: int) -> Iterator[bytes]:
    """Yield what a file holds, holes left out."""
    extents = entry.extents if entry.extents is not None else ((0, entry.size),)
    for offset, length in extents:
        while length:
            part = os.pread(fd, min(length, _CHUNK), offset)
            if not part:
                return
            yield part
            offset, length = offset + len(part), length - len(part)
