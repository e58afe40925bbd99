"""Reading a layer from a plain directory.

Decided here: how a directory tree becomes entries. What a mark is and how it is written on disk is `fusefs.marks`'s
matter; every form that is known there is read here. Nothing is followed out of the layer: no symlink is resolved.

Functions here keep no state; any thread may call them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from fusefs import marks
from sim.graph.entry import Entry, EntryType, Layer, Role, join
from sim.graph.errors import SourceError

__all__ = ["directory_layer", "read_directory", "read_file"]

_PREFIX = os.fsdecode(marks.OCI_PREFIX)
_OPAQUE = os.fsdecode(marks.OCI_OPAQUE)
_WHITEOUT_ATTRIBUTES = (b"trusted.overlay.whiteout", b"user.overlay.whiteout")
_TYPES = {stat.S_IFREG: EntryType.FILE, stat.S_IFDIR: EntryType.DIRECTORY, stat.S_IFLNK: EntryType.SYMLINK}


def directory_layer(path: Path, *, role: Role = Role.RO, name: str = "", key: str = "") -> Layer:
    """Return the layer in a directory; it is read when its entries are first asked for.

    Parameters
    ----------
    path
        The layer's directory, in overlay format.
    role, name, key
        As in `Layer`; the name is the directory's by default, the key its real path.

    Raises
    ------
    SourceError
        There is no such directory.
    """
    if not path.is_dir():
        raise SourceError(f"{path}: there is no such layer directory; name one that exists")
    real = path.resolve()
    return Layer(
        key or str(real),
        name or real.name or "/",
        role,
        lambda: read_directory(real),
        read=lambda entry, limit: read_file(real, entry, limit),
        place=real,
    )


def read_directory(root: Path) -> Mapping[str, Entry]:
    """Read all entries of a layer directory.

    Raises
    ------
    SourceError
        It cannot be read (gone, or no permission).
    """
    entries: dict[str, Entry] = {}
    try:
        for entry in _walk(os.fspath(root)):
            entries[entry.path] = entry
    except OSError as error:
        raise SourceError(f"{root}: the layer cannot be read: {error.strerror} ({error.filename})") from error
    return entries


def read_file(root: Path, entry: Entry, limit: int) -> bytes:
    """Return the first bytes of a file of a layer directory.

    Raises
    ------
    SourceError
        It is not there as a regular file any more, or may not be read.
    """
    *directories, name = entry.path.strip("/").split("/")
    at = -1
    try:
        at = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for directory in directories:
            # One name at a time, each no symlink: a layer is not trusted.
            inner = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = inner
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        with os.fdopen(os.open(name, flags, dir_fd=at), "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise SourceError(f"{entry.path}: this is no regular file any more")
            return stream.read(limit)
    except OSError as error:
        raise SourceError(f"{entry.path}: the file cannot be read: {error.strerror}") from error
    finally:
        if at >= 0:
            os.close(at)


def _walk(root: str) -> Iterator[Entry]:
    pending = [("/", root)]
    seen = {"/": os.lstat(root)}
    while pending:
        directory, host = pending.pop()
        found = marks.read_marks(os.fsencode(host))
        opaque = found.opaque
        hidden: list[Entry] = []
        names: set[str] = set()
        with os.scandir(host) as listing:
            for item in listing:
                if item.name == _OPAQUE:
                    opaque = True
                    continue
                status = item.stat(follow_symlinks=False)
                if item.name.startswith(_PREFIX):
                    name = item.name.removeprefix(_PREFIX)
                    if not name.startswith(_PREFIX):  # .wh..wh.plnk and the like are housekeeping of aufs
                        hidden.append(_whiteout(join(directory, name), status))
                    continue
                path = join(directory, item.name)
                names.add(path)
                if stat.S_ISDIR(status.st_mode):
                    seen[path] = status
                    pending.append((path, item.path))
                elif marks.is_whiteout(status) or (found.attribute_whiteouts and _is_marked(item.path, status)):
                    yield _whiteout(path, status)
                else:
                    yield _entry(path, item.path, status)
        # A `.wh.` name hides what lower layers have, never what its own layer has.
        yield from (mark for mark in hidden if mark.path not in names)
        status = seen.pop(directory)
        yield Entry(
            directory,
            EntryType.DIRECTORY,
            0,
            stat.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
            status.st_mtime_ns,
            opaque=opaque,
            redirect=os.fsdecode(found.redirect or b""),
        )


def _is_marked(path: str, status: os.stat_result) -> bool:
    if not stat.S_ISREG(status.st_mode) or status.st_size:
        return False
    raw = os.fsencode(path)
    return any(marks.get_attribute(raw, name) is not None for name in _WHITEOUT_ATTRIBUTES)


def _whiteout(path: str, status: os.stat_result) -> Entry:
    return Entry(path, EntryType.WHITEOUT, mtime=status.st_mtime_ns)


def _entry(path: str, host: str, status: os.stat_result) -> Entry:
    kind = _TYPES.get(stat.S_IFMT(status.st_mode), EntryType.OTHER)
    regular = kind is EntryType.FILE
    return Entry(
        path,
        kind,
        status.st_size if regular or kind is EntryType.SYMLINK else 0,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_mtime_ns,
        target=os.readlink(host) if kind is EntryType.SYMLINK else "",
        inode=status.st_ino if regular and status.st_nlink > 1 else 0,
    )
