"""One layer directory: how it is opened and listed, never through a symlink out of it.

Decided here and only here: how an object of a layer is reached (by descriptor of its directory and a single name, the
directory itself opened beneath the layer's root with no symlink followed), and what a directory of a read-only layer
is remembered as. A `Layer` may be used by any thread; its caches are filled more than once at worst.

Read-only layers do not change while they are used, so listings are kept, up to a bound, and never checked again.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict

from fusefs import marks, syscalls
from fusefs.errors import LayerError
from fusefs.marks import DirectoryMarks

__all__ = ["Directory", "Layer", "Listing", "Shelf"]

_TYPE_BITS, _TYPE_MASK = 16, 0xFFFF


class Directory:
    """An open directory (O_PATH) that closes itself when nobody holds it any more.

    `impure` is set once it is known to be marked, on disk, as holding copied-up objects.

    Trap: in `layer.directory(path).fd` nobody does, once the number is read. Give it a name for as long as it is used.
    """

    __slots__ = ("fd", "impure")

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.impure = False

    def close(self) -> None:
        """Close the descriptor, for one that must be gone now; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        """Close the descriptor."""
        self.close()


class Shelf:
    """Open directories kept for the next use, the least recently used one let go first.

    A caller holds the `Directory` itself while it works, so one that is let go is closed only afterwards.
    """

    __slots__ = ("_open", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._open: OrderedDict[object, Directory] = OrderedDict()

    def get(self, key: object) -> Directory | None:
        """Return the directory kept under `key`."""
        found = self._open.get(key)
        if found is not None:
            try:
                self._open.move_to_end(key)
            except KeyError:  # another thread has let it go just now
                self._open[key] = found
        return found

    def put(self, key: object, directory: Directory) -> Directory:
        """Keep a directory."""
        self._open[key] = directory
        while len(self._open) > self.limit:
            try:
                self._open.popitem(last=False)
            except KeyError:
                break
        return directory

    def drop(self, key: object) -> None:
        """Forget what is kept under `key`."""
        self._open.pop(key, None)

    def drop_all(self) -> None:
        """Forget all; each is closed when nobody works in it any more."""
        self._open = OrderedDict()

    def clear(self) -> None:
        """Close everything; nobody may be at work in it."""
        while self._open:
            self._open.popitem()[1].close()


class Listing:
    """The names of one directory of one read-only layer, whiteouts resolved.

    Attributes
    ----------
    names
        Name to `inode number << 16 | file type bits`; 0 for a whiteout.
    cut
        Names that are here and also hide what lower layers have under them (an OCI whiteout beside its name).
    """

    __slots__ = ("cut", "names")

    def __init__(self, names: dict[bytes, int], cut: frozenset[bytes]) -> None:
        self.names = names
        self.cut = cut

    @staticmethod
    def pack(inode: int, mode: int) -> int:
        """Return the value for a name."""
        return inode << _TYPE_BITS | stat.S_IFMT(mode)

    @staticmethod
    def unpack(value: int) -> tuple[int, int]:
        """Return inode number and file type bits.

        >>> Listing.unpack(Listing.pack(12, stat.S_IFDIR)) == (12, stat.S_IFDIR)
        True
        """
        return value >> _TYPE_BITS, value & _TYPE_MASK

    def shown(self, shift: int) -> list[tuple[bytes, int, int]]:
        """Return name, inode number with the bits of `shift`, and file type bits of all that is no whiteout."""
        names = self.names.items()
        return [(name, shift | value >> _TYPE_BITS, value & _TYPE_MASK) for name, value in names if value]


class Layer:
    """One directory of a stack.

    Parameters
    ----------
    number
        Its number in the stack, as in `Operation.layer`.
    path
        The directory.
    cache
        Whether its listings may be kept: true for a read-only layer that nobody changes.

    Raises
    ------
    LayerError
        It is missing, no directory, or may not be read.
    """

    #: Names kept in listings per layer, in all; a directory with more than a quarter of it is not kept.
    names_kept = 200_000

    def __init__(self, number: int, path: str | os.PathLike[str], *, cache: bool = True) -> None:
        self.number = number
        self.path = os.path.abspath(os.fsencode(path))
        shown = os.fsdecode(self.path)
        try:
            self.root = Directory(os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        except FileNotFoundError:
            raise LayerError(f"{shown}: there is no such directory; make it or name another") from None
        except NotADirectoryError:
            raise LayerError(f"{shown}: this is not a directory, and a layer must be one") from None
        except PermissionError:
            raise LayerError(f"{shown}: permission denied; run as a user who may enter it") from None
        self.device = os.fstat(self.root.fd).st_dev
        self._cache = cache
        self._directories = Shelf(512)
        self._listings: OrderedDict[bytes, Listing] = OrderedDict()
        self._large: set[bytes] = set()
        self._names = 0

    def directory(self, path: bytes) -> Directory:
        """Open a directory by its path from the layer's root; `b""` is the root itself.

        Raises
        ------
        OSError
            ELOOP or ENOTDIR where a component is not a directory.
        """
        if not path:
            return self.root
        found = self._directories.get(path) if self._cache else None
        if found is None:
            fd = syscalls.open_beneath(self.root.fd, path, os.O_PATH | os.O_DIRECTORY)
            found = Directory(fd)
            if self._cache:
                self._directories.put(path, found)
        return found

    def marks(self, path: bytes) -> DirectoryMarks:
        """Read what the directory at `path` says about the layers below."""
        directory = self.directory(path)
        found = marks.read_marks(b"/proc/self/fd/%d/." % directory.fd)
        if not found.opaque and self._has(directory, marks.OCI_OPAQUE):
            return DirectoryMarks(True, found.attribute_whiteouts, found.redirect)
        return found

    @staticmethod
    def _has(directory: Directory, name: bytes) -> bool:
        try:
            os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        except OSError:
            return False
        return True

    def stat(self, path: bytes, name: bytes) -> os.stat_result:
        """Return the status of `name` in the directory at `path`, of a symlink itself."""
        directory = self.directory(path)
        return os.stat(name, dir_fd=directory.fd, follow_symlinks=False)

    def entry(self, path: bytes, name: bytes) -> tuple[int, bool]:
        """Look one name up in the directory at `path`.

        Returns
        -------
        value
            As in `Listing.names`; -1 where the layer says nothing about the name.
        cut
            Whether what lower layers have under this name is hidden, as in `Listing.cut`.
        """
        if self._cache and path not in self._large:
            listing = self._listings.get(path) or self.listing(path)
            return listing.names.get(name, -1), name in listing.cut
        directory = self.directory(path)
        cut = self._has(directory, marks.OCI_PREFIX + name) if len(name) <= 251 else False
        try:
            status = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
        except FileNotFoundError:
            return (0 if cut else -1), cut
        if marks.is_whiteout(status) or name.startswith(marks.OCI_PREFIX):
            return 0, cut
        if stat.S_ISREG(status.st_mode) and not status.st_size:
            here = marks.read_marks(b"/proc/self/fd/%d/." % directory.fd)
            if here.attribute_whiteouts and self._is_marked(directory, name):
                return 0, cut
        return Listing.pack(status.st_ino, status.st_mode), cut

    def listing(self, path: bytes) -> Listing:
        """Return the names in the directory at `path`."""
        found = self._listings.get(path)
        if found is not None:
            return found
        found = self._list(path)
        if self._cache and len(found.names) > self.names_kept // 4:
            self._large.add(path)
        elif self._cache:
            self._listings[path] = found
            self._names += len(found.names) + 1
            while self._names > self.names_kept:
                try:
                    self._names -= len(self._listings.popitem(last=False)[1].names) + 1
                except KeyError:
                    break
        return found

    def forget(self) -> None:
        """Drop listings and open directories, to give memory back: they are read again when they are needed."""
        self._listings = OrderedDict()
        self._names = 0
        self._directories.drop_all()

    def _list(self, path: bytes) -> Listing:
        directory = self.directory(path)
        names: dict[bytes, int] = {}
        hidden: list[bytes] = []
        by_attribute: bool | None = None
        prefix = marks.OCI_PREFIX
        here = b"/proc/self/fd/%d/." % directory.fd
        with os.scandir(here) as entries:  # by a path of bytes, which spares it words
            for entry in entries:
                name = entry.name
                if name.startswith(prefix):
                    hidden.append(name[len(prefix) :])
                elif entry.is_file(follow_symlinks=False):
                    if by_attribute is None:
                        by_attribute = marks.read_marks(here).attribute_whiteouts
                    if by_attribute and self._is_marked(directory, name):
                        names[name] = 0
                    else:
                        names[name] = entry.inode() << _TYPE_BITS | stat.S_IFREG
                elif entry.is_dir(follow_symlinks=False):
                    names[name] = entry.inode() << _TYPE_BITS | stat.S_IFDIR
                elif entry.is_symlink():
                    names[name] = entry.inode() << _TYPE_BITS | stat.S_IFLNK
                else:
                    status = entry.stat(follow_symlinks=False)
                    names[name] = 0 if marks.is_whiteout(status) else Listing.pack(entry.inode(), status.st_mode)
        cut = frozenset(name for name in hidden if name in names)
        for name in hidden:
            if name not in names and not name.startswith(marks.OCI_PREFIX):
                names[name] = 0
        return Listing(names, cut)

    @staticmethod
    def _is_marked(directory: Directory, name: bytes) -> bool:
        path = marks.at(directory.fd, name)
        return any(
            marks.get_attribute(path, prefix + b"whiteout") is not None
            for prefix in (marks.Format.OVERLAY.prefix, marks.Format.USER.prefix)
        )

    def close(self) -> None:
        """Let go of the directory and of what was remembered."""
        self._listings.clear()
        self._names = 0
        self._directories.clear()
        self.root.close()
