"""What one layer has at one path, and the layer as a whole.

Decided here and only here: which facts about a file the graph keeps, and in which units. Everything that is read (a
directory, an archive, a journal) becomes entries in layers first; nodes, measures and figures are made from these.

An `Entry` is frozen. A `Layer` reads its entries once, when they are first asked for; after that it does not change,
but for the RW layer of a journal that is followed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from sim.graph.errors import SourceError

__all__ = ["Entry", "EntryType", "Layer", "Role", "file_bytes", "join", "parent_of"]


class EntryType(StrEnum):
    """The type of what lies at a path of one layer."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    WHITEOUT = "whiteout"  #: a mark: nothing here, whatever lower layers say
    OTHER = "other"  #: a device, fifo or socket


class Role(StrEnum):
    """Whether a layer may be written to."""

    RW = "rw"
    RO = "ro"


@dataclass(frozen=True, slots=True)
class Entry:
    """What one layer has at one path.

    Attributes
    ----------
    path
        Absolute path inside the layer, undecodable bytes as surrogate escapes.
    type
        Its type.
    size
        Bytes of file data, or of the text of a symlink (`st_size`); 0 for all else. So Docker counts.
    mode
        Permission bits (`st_mode & 0o7777`); -1 if unknown, as in an RW layer worked out from a journal.
    uid, gid
        Owner; -1 if unknown.
    mtime
        Time of last change, nanoseconds since the epoch. Negative for what a journal's operation has changed: minus the
        number of that operation, so that any two moments of one journal can be compared.
    target
        Text of a symlink; else "".
    opaque
        Whether this directory hides all that lower layers have in it.
    redirect
        Where the lower part of this renamed directory lies: an absolute path, or a name in the same directory; else "".
    inode
        Equal and non-zero for the names of one hard-linked file in one layer; 0 for a file with one name.
    """

    path: str
    type: EntryType
    size: int = 0
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    target: str = ""
    opaque: bool = False
    redirect: str = ""
    inode: int = 0

    @property
    def is_dir(self) -> bool:
        """Whether this is a directory."""
        return self.type is EntryType.DIRECTORY

    @property
    def is_whiteout(self) -> bool:
        """Whether this is a whiteout."""
        return self.type is EntryType.WHITEOUT


def join(directory: str, name: str) -> str:
    """Return the path of `name` in `directory`.

    >>> join("/", "etc"), join("/etc", "passwd")
    ('/etc', '/etc/passwd')
    """
    return f"/{name}" if directory == "/" else f"{directory}/{name}"


def parent_of(path: str) -> str:
    """Return the directory that `path` is in; the root's is the root.

    >>> parent_of("/etc/passwd"), parent_of("/etc"), parent_of("/")
    ('/etc', '/', '/')
    """
    return path.rpartition("/")[0] or "/"


def file_bytes(entries: Iterable[Entry]) -> int:
    """Return the bytes of files and symlinks in `entries`, each hard-linked file of a layer once.

    >>> file_bytes([Entry("/a", EntryType.FILE, 5, inode=7), Entry("/b", EntryType.FILE, 5, inode=7)])
    5
    """
    total = 0
    seen: set[int] = set()
    for entry in entries:
        if not entry.size:
            continue
        if entry.inode:
            if entry.inode in seen:
                continue
            seen.add(entry.inode)
        total += entry.size
    return total


class Layer:
    """One layer: its name, its role and what it holds.

    Parameters
    ----------
    key
        What it is known by in the graph, the same for the same content: a digest, or a directory's real path.
    name
        What people read.
    role
        Whether it may be written to.
    load
        Gives the entries by path. Called once, when they are first asked for.
    size
        Bytes of file data, if known without reading the entries.
    command
        The instruction that made it, where an image's history tells; else "".
    read
        Gives the first bytes of a file of the layer: called with its entry and how many bytes at most.
    place
        Its directory, without symlinks in the path; None for a layer that lies in an archive.
    """

    def __init__(
        self,
        key: str,
        name: str,
        role: Role,
        load: Callable[[], Mapping[str, Entry]],
        *,
        size: int | None = None,
        command: str = "",
        read: Callable[[Entry, int], bytes] | None = None,
        place: Path | None = None,
    ) -> None:
        self.key = key
        self.name = name
        self.role = role
        self.command = command
        self.place = place
        self._load = load
        self._size = size
        self._read = read

    def __repr__(self) -> str:
        """Show name and role."""
        return f"Layer({self.name!r}, {self.role.value})"

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """All entries by path, the root among them."""
        return self._load()

    @cached_property
    def children(self) -> Mapping[str, list[str]]:
        """Names in each directory, sorted, by the directory's path. Directories without any are not in it."""
        found: dict[str, list[str]] = {}
        for path in self.entries:
            if path != "/":
                directory, _, name = path.rpartition("/")
                found.setdefault(directory or "/", []).append(name)
        for names in found.values():
            names.sort()
        return found

    def content(self, entry: Entry, limit: int = 1 << 20) -> bytes:
        """Return the first `limit` bytes of one of its files.

        Raises
        ------
        SourceError
            The layer is known by its journal only, or the file cannot be read any more.
        """
        if self._read is None or entry.type is not EntryType.FILE:
            raise SourceError(f"{entry.path}: the content is not at hand, only what is known of it")
        return self._read(entry, limit)

    def forget(self) -> None:
        """Forget what was reckoned from the entries: they have changed, as only those of a followed RW layer do."""
        self.__dict__.pop("children", None)
        self._size = None

    @property
    def was_read(self) -> bool:
        """Whether the entries have been asked for."""
        return "entries" in self.__dict__

    @property
    def known_bytes(self) -> int | None:
        """As `bytes`, but None where the entries would have to be read for it."""
        return self._size

    @property
    def bytes(self) -> int:
        """Bytes of file data in the layer, each hard-linked file once."""
        if self._size is None:
            self._size = file_bytes(self.entries.values())
        return self._size
