"""Converting a layer from one format of marks to another, so that its merged view stays the same.

Decided here and only here: what becomes of each mark and of the union's own attributes, what a format cannot express,
and how the result takes its place. How marks look on disk is decided in `marks.py`; they are read as every layer is
(`layer.py`), so all forms are understood, also mixed in one layer.

The result is made beside the target, complete and on disk, and then moved into place in one step. Interrupted at any
point, the source is what it was, and a directory `.NAME.converting-PID` may be left, which the next conversion removes.

Threads: any, each with a layer of its own; nobody may change the layer meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fusefs import marks, syscalls
from fusefs.copyup import copy_data
from fusefs.errors import LayerError
from fusefs.layer import Directory, Layer
from fusefs.marks import Format
from fusefs.table import O_DIRECTORY

__all__ = ["Conversion", "convert"]

_NAMESPACES = (Format.OVERLAY.prefix, Format.USER.prefix)

#: The union's own attributes that say something about the layers below, whoever reads them.
_KEPT = frozenset({b"redirect", b"metacopy", b"origin", b"impure"})
#: Those that are written anew, or say something about this directory's place on disk only.
_DROPPED = frozenset({b"opaque", b"whiteout", b"nlink", b"upper", b"uuid", b"protattr"})

#: What fuse-overlayfs puts beside the common marks for an opaque directory: a whiteout of this name, and attributes.
_PEERS_MARK = b".opq"
_PEERS_ATTRIBUTES = b"user.fuseoverlayfs."

_LONGEST = 255


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion did.

    Attributes
    ----------
    path
        The converted layer.
    objects
        Files, directories and other objects in it, its root not counted, nor marks.
    whiteouts, opaque
        Marks that were written.
    size
        Bytes of data that were copied; what filesystems share or have as holes is not counted.
    """

    path: Path
    objects: int
    whiteouts: int
    opaque: int
    size: int


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str] | None, wanted: Format) -> Conversion:
    """Write a layer with its marks in another format.

    Parameters
    ----------
    source
        The layer's directory.
    target
        Where the result goes, a directory that does not exist or is empty; None replaces the source.
    wanted
        The format to write.

    Raises
    ------
    LayerError
        It cannot be; the text says why. The source is as it was.
    OSError
        As the disk says (ENOSPC, EIO). The source is as it was.

    Examples
    --------
    >>> import tempfile
    >>> place = tempfile.TemporaryDirectory()
    >>> layer = Path(place.name) / "layer"
    >>> (layer / "etc").mkdir(parents=True)
    >>> _ = (layer / "etc" / ".wh.motd").write_bytes(b"")
    >>> convert(layer, None, Format.USER).whiteouts
    1
    >>> marks.is_whiteout((layer / "etc" / "motd").lstat())
    True
    >>> place.cleanup()
    """
    start = Path(os.path.realpath(source))
    end = start if target is None else Path(os.path.realpath(target))
    layer = Layer(1, start)
    if end != start:
        _check_apart(start, end)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_alone(start) if end == start else contextlib.nullcontext())
        made = stack.enter_context(_beside(end))
        writer = _Writer(layer, made, wanted)
        writer.run()
        _sync(made)
        _put_in_place(made, end, replace=end == start)
    return Conversion(end, writer.objects, writer.whiteouts, writer.opaque, writer.size)


def _check_apart(source: Path, target: Path) -> None:
    if target.is_relative_to(source) or source.is_relative_to(target):
        raise LayerError(f"{target}: the layer and what is made of it lie in each other; name another directory")
    try:
        if os.listdir(target):
            raise LayerError(f"{target}: this directory is not empty; name one that does not exist yet")
    except FileNotFoundError:
        if not target.parent.is_dir():
            raise LayerError(f"{target.parent}: there is no such directory; make it first") from None
    except NotADirectoryError:
        raise LayerError(f"{target}: this is not a directory; name one that does not exist yet") from None


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep mounts from taking a layer as their upper meanwhile; refuse if one has it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise LayerError(f"{path}: a mount uses this directory; unmount it first, or name another target") from None
    finally:
        os.close(fd)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """Make a directory beside `path`, and see to it that nothing is left of it, nor of interrupted conversions."""
    for name in os.listdir(path.parent):
        found = re.fullmatch(re.escape(f".{path.name}.converting-") + "([0-9]+)", name)
        if found and not os.path.exists(f"/proc/{found[1]}"):
            shutil.rmtree(path.parent / name, ignore_errors=True)
    made = path.parent / f".{path.name}.converting-{os.getpid()}"
    made.mkdir(mode=0o700)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _put_in_place(made: Path, end: Path, *, replace: bool) -> None:
    """Move the finished layer to its place; where it replaces the source, that is then at `made`."""
    parent = os.open(end.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if replace:
            here = os.fsencode(end.name)
            syscalls.rename(parent, os.fsencode(made.name), parent, here, syscalls.RENAME_EXCHANGE)
        else:
            os.rename(made, end)
        os.fsync(parent)
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.EXDEV):
            raise
        raise LayerError(f"{end}: a filesystem is mounted here, so it cannot be replaced; name a target") from None
    finally:
        os.close(parent)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syscalls.syncfs(fd)
    finally:
        os.close(fd)


class _Writer:
    """One conversion: walks the layer, writes its counterpart."""

    def __init__(self, layer: Layer, made: Path, wanted: Format) -> None:
        self.layer = layer
        self.wanted = wanted
        self.root = Directory(os.open(made, O_DIRECTORY))
        self.objects = self.whiteouts = self.opaque = self.size = 0
        self._links: dict[tuple[int, int], tuple[bytes, bytes]] = {}

    def run(self) -> None:
        """Write everything; directories get their metadata last, the deepest first, when nothing changes them."""
        waiting: list[tuple[bytes, bool]] = [(b"", False)]
        done: list[bytes] = []
        while waiting:
            path, cut = waiting.pop()
            done.append(path)
            said = self.layer.marks(path)
            if said.opaque or cut:
                self._make_opaque(path)
            elif said.redirect is not None and self.wanted is Format.OCI:
                raise self._cannot(path, b"", "it was renamed, which these marks cannot say; mount it and copy it anew")
            waiting += self._directory(path)
        for path in reversed(done):
            source, place = self.layer.directory(path), self._place(path)
            real = b"/proc/self/fd/%d/." % source.fd
            self._metadata(os.stat(real), real, place, b".", path, b"")

    def _place(self, path: bytes) -> Directory:
        """Open a directory of the result."""
        return Directory(syscalls.open_beneath(self.root.fd, path, O_DIRECTORY)) if path else self.root

    def _directory(self, path: bytes) -> Iterator[tuple[bytes, bool]]:
        """Write what is in a directory; yield the directories in it, to be written, and whether each is cut off."""
        place = self._place(path)
        listing = self.layer.listing(path)
        for name, value in listing.names.items():
            if value == 0:
                if name not in (b"", b".", b"..", _PEERS_MARK):
                    self._whiteout(place, path, name)
                continue
            self.objects += 1
            status = self.layer.stat(path, name)
            if stat.S_ISDIR(status.st_mode):
                os.mkdir(name, 0o700, dir_fd=place.fd)
                yield path + b"/" + name if path else name, name in listing.cut
            else:
                self._object(place, path, name, status)

    def _cannot(self, path: bytes, name: bytes, why: str) -> LayerError:
        shown = os.fsdecode(b"/".join(part for part in (path, name) if part)) or "."
        return LayerError(f"{shown}: cannot be kept with the marks '{self.wanted}': {why}")

    def _make_opaque(self, path: bytes) -> None:
        self.opaque += 1
        place = self._place(path)
        try:
            marks.set_opaque(place.fd, b".", self.wanted)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP):
                raise
            why = f"an opaque directory: {os.strerror(error.errno)}; be root, or choose other marks"
            raise self._cannot(path, b"", why) from None

    def _whiteout(self, place: Directory, path: bytes, name: bytes) -> None:
        self.whiteouts += 1
        if self.wanted is Format.OCI:
            mark = marks.OCI_PREFIX + name
            if len(mark) > _LONGEST:
                raise self._cannot(
                    path, name, f"a mark's name has {len(marks.OCI_PREFIX)} bytes more, which is too long"
                )
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW, 0o600, dir_fd=place.fd))
            return
        try:
            marks.whiteout_device(place.fd, name)
        except PermissionError:
            raise self._cannot(path, name, "devices may not be made here; be root, or choose the marks 'oci'") from None

    def _object(self, place: Directory, path: bytes, name: bytes, status: os.stat_result) -> None:
        """Write anything but a directory."""
        key = (status.st_dev, status.st_ino)
        if status.st_nlink > 1 and key in self._links:
            above, known = self._links[key]
            held = self._place(above)
            os.link(known, name, src_dir_fd=held.fd, dst_dir_fd=place.fd, follow_symlinks=False)
            return
        source = self.layer.directory(path)
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=source.fd), name, dir_fd=place.fd)
        elif kind == stat.S_IFREG:
            self._data(source, place, name, status)
        else:
            try:
                os.mknod(name, kind | 0o600, status.st_rdev, dir_fd=place.fd)
            except PermissionError:
                raise self._cannot(path, name, "it is a device, which only root may make") from None
        self._metadata(status, marks.at(source.fd, name), place, name, path, name)
        if status.st_nlink > 1:
            self._links[key] = (path, name)

    def _data(self, source: Directory, place: Directory, name: bytes, status: os.stat_result) -> None:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            reading = os.open(name, flags | os.O_NOATIME, dir_fd=source.fd)
        except PermissionError:
            reading = os.open(name, flags, dir_fd=source.fd)
        try:
            wanted = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            writing = os.open(name, wanted, 0o600, dir_fd=place.fd)
            try:
                self.size += copy_data(reading, writing, status.st_size, status.st_blocks)[0]
            finally:
                os.close(writing)
        finally:
            os.close(reading)

    # Metadata

    def _metadata(
        self, status: os.stat_result, real: bytes, place: Directory, name: bytes, path: bytes, shown: bytes
    ) -> None:
        """Give an object of the result the owner, attributes, mode and times of its source at `real`."""
        target = marks.at(place.fd, name)
        try:
            os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
        except PermissionError:
            if os.geteuid() == 0:
                raise
        for text in _attributes(real):
            old = os.fsencode(text)
            new = self._attribute(old, status, path, shown)
            value = marks.get_attribute(real, old) if new is not None else None
            if new is not None and value is not None:
                os.setxattr(target, new, value, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(target, stat.S_IMODE(status.st_mode))
        syscalls.utimens(place.fd, name, status.st_atime_ns, status.st_mtime_ns)

    def _attribute(self, name: bytes, status: os.stat_result, path: bytes, shown: bytes) -> bytes | None:
        """Return an attribute's name in the result; None leaves it out."""
        prefix = next((one for one in _NAMESPACES if name.startswith(one)), None)
        if prefix is None:
            return None if name.startswith(_PEERS_ATTRIBUTES) else name
        own = self.wanted.prefix
        said = name[len(prefix) :]
        if said.startswith(b"overlay."):
            inner = said[len(b"overlay.") :]
            if prefix == own and self.wanted is not Format.OCI:
                return name
            if inner in _KEPT | _DROPPED:
                raise self._cannot(
                    path, shown, "it carries a mark of an overlay inside, which would become one of ours"
                )
            return prefix + inner
        if said in _DROPPED:
            return None
        if said not in _KEPT:
            return name
        if self.wanted is Format.OCI:
            if said == b"metacopy":
                raise self._cannot(path, shown, "its data is in a layer below, which these marks cannot say")
            return None
        if said == b"origin" and status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            return None  # without its entry in the index it would name another file
        return own + said


def _attributes(path: bytes) -> list[str]:
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EPERM):
            return []
        raise
