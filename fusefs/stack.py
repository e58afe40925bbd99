"""A stack: which directories are laid over each other, with which options, and whether they can be.

Decided here and only here: what a stack of layers needs before it is opened (directories that exist and do not contain
each other, a work directory on the upper's filesystem, attributes that can be stored, nobody else using the upper), and
what the options mean. Opening a stack leaves nothing changed where it fails.

An `OpenStack` belongs to one `Tree`; it holds an exclusive lock (flock(2)) on the upper and the work directory until it
is closed or its process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from fusefs import marks
from fusefs.errors import LayerError
from fusefs.index import LinkIndex
from fusefs.layer import Directory, Layer
from fusefs.marks import Format

__all__ = ["OpenStack", "Options", "Redirect", "Stack"]


class Redirect(StrEnum):
    """What a rename of a directory with parts in read-only layers does, as overlayfs's option `redirect_dir`."""

    ON = "on"  #: it is moved, and an attribute says where its lower part lies
    FOLLOW = "follow"  #: EXDEV, as programs expect between filesystems; existing redirects are followed
    NOFOLLOW = "nofollow"  #: EXDEV; existing redirects are not followed


@dataclass(frozen=True, slots=True)
class Options:
    """How a stack behaves.

    Attributes
    ----------
    marks
        How whiteouts are written in the upper; None chooses `overlay` where the process may set trusted attributes,
        else `user`, else `oci`.
    redirect
        What renaming a lower directory does.
    index
        Whether hard links of a lower file stay linked when it is copied up.
    metacopy
        Whether a change of metadata alone copies no data.
    volatile
        Whether nothing is ever synced to disk: fast, and after a crash the upper is to be thrown away; a mark in the
        work directory then refuses it.
    cache
        Whether listings of read-only layers are kept; false follows changes that somebody makes in them.
    """

    marks: Format | None = None
    redirect: Redirect = Redirect.FOLLOW
    index: bool = True
    metacopy: bool = False
    volatile: bool = False
    cache: bool = True


@dataclass(frozen=True, slots=True)
class Stack:
    """The directories of a stack.

    Attributes
    ----------
    lower
        The read-only layers, the topmost first, as overlayfs's option `lowerdir`.
    upper
        The layer that takes the changes; None for a read-only stack.
    work
        An empty directory on the upper's filesystem, needed with an upper.
    """

    lower: tuple[Path, ...]
    upper: Path | None = None
    work: Path | None = None


@dataclass(slots=True)
class OpenStack:
    """A stack whose directories are open and locked.

    Attributes
    ----------
    layers
        All layers by number: first the upper or None, then the read-only ones, topmost first.
    staging
        Directory inside the work directory where objects are made before they are moved into the upper.
    marks
        How whiteouts are written.
    uuid
        The filesystem's UUID by device number, as origins name it.
    """

    layers: list[Layer | None]
    options: Options
    marks: Format
    staging: Directory | None = None
    index: LinkIndex | None = None
    _locks: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Let go of all directories and locks; leave an empty work directory."""
        if self.staging is not None:
            _empty(self.staging.fd)
            self.staging.close()
        if self.index is not None:
            self.index.directory.close()
        for layer in self.layers:
            if layer is not None:
                layer.close()
        for lock in self._locks:
            os.close(lock)
        self._locks.clear()
        self.layers = []
        self.staging = None
        self.index = None


def open_stack(stack: Stack, options: Options) -> OpenStack:
    """Check and open the directories of a stack.

    Raises
    ------
    LayerError
        One cannot be used; the text says which, why, and what to do.
    """
    if not stack.lower and stack.upper is None:
        raise LayerError("a stack needs at least one layer: name a lower or an upper directory")
    if (stack.upper is None) != (stack.work is None):
        one, other = ("an upper", "a work") if stack.work is None else ("a work", "an upper")
        raise LayerError(f"{one} directory was given without {other} directory: give both, or none for read-only")
    with contextlib.ExitStack() as undo:

        def opened(number: int, path: Path, *, cache: bool) -> Layer:
            layer = Layer(number, path, cache=cache)
            undo.callback(layer.close)
            return layer

        lowers = [opened(number, path, cache=options.cache) for number, path in enumerate(stack.lower, 1)]
        if stack.upper is None or stack.work is None:
            undo.pop_all()
            return OpenStack([None, *lowers], options, options.marks or Format.OVERLAY)
        upper, work = opened(0, stack.upper, cache=False), opened(-1, stack.work, cache=False)
        _check_apart(upper, work, lowers)
        locks: list[int] = []
        for layer, role in ((upper, "upper"), (work, "work")):
            locks.append(_lock(layer, role))
            undo.callback(os.close, locks[-1])
        _check_writable(upper)
        _check_writable(work)
        chosen = _choose_marks(work, upper, options)
        _check_complete(work)
        staging = _prepare(work, b"work")
        undo.callback(staging.close)
        if options.volatile:
            os.mkdir(b"incompat", 0o700, dir_fd=staging.fd)
            os.mkdir(b"incompat/volatile", 0o700, dir_fd=staging.fd)
        index = None
        if options.index and chosen is not Format.OCI:
            index = LinkIndex(_prepare(work, b"index", empty=False), chosen)
        undo.pop_all()
        work.close()
        return OpenStack([upper, *lowers], options, chosen, staging, index, locks)


def _shown(path: bytes) -> str:
    return os.fsdecode(path)


def _check_apart(upper: Layer, work: Layer, lowers: Sequence[Layer]) -> None:
    """Refuse directories that lie in each other, or a work directory from which nothing can be moved to the upper."""
    if work.device != upper.device:
        raise LayerError(
            f"{_shown(work.path)}: the work directory must be on the same filesystem as the upper directory"
            f" {_shown(upper.path)}, since files are moved from one into the other; choose one beside it"
        )
    above, inside = os.path.realpath(upper.path), os.path.realpath(work.path)
    if above == inside or above.startswith(inside + b"/") or inside.startswith(above + b"/"):
        raise LayerError(
            f"{_shown(work.path)}: the work and the upper directory must not contain each other; choose one beside it"
        )
    for lower in lowers:
        if os.path.realpath(lower.path) == above:
            raise LayerError(f"{_shown(upper.path)}: the upper directory is a lower directory as well; choose another")


def _lock(layer: Layer, role: str) -> int:
    fd = os.open(layer.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise LayerError(
            f"{_shown(layer.path)}: another mount uses this {role} directory; unmount it first or choose another"
        ) from None
    except OSError:  # a filesystem without locks
        return fd
    return fd


def _check_writable(layer: Layer) -> None:
    if not os.access(layer.path, os.W_OK | os.X_OK):
        reason = "it lies on a read-only filesystem" if _read_only(layer) else "permission denied"
        raise LayerError(f"{_shown(layer.path)}: cannot be written: {reason}; choose a directory that you may write")


def _read_only(layer: Layer) -> bool:
    return bool(os.statvfs(layer.path).f_flag & os.ST_RDONLY)


def _choose_marks(work: Layer, upper: Layer, options: Options) -> Format:
    """Return the format of marks that this process can write on the upper's filesystem."""
    wanted = [options.marks] if options.marks else [Format.OVERLAY, Format.USER, Format.OCI]
    for candidate in wanted:
        try:
            marks.try_format(work.root.fd, candidate)
        except OSError as error:
            failure = error
        else:
            return candidate
    if options.marks is None:
        raise LayerError(
            f"{_shown(upper.path)}: no whiteout of any form can be made here ({failure.strerror}), as on another union;"
            " put the upper and the work directory on another filesystem (ext4, xfs, btrfs, tmpfs)"
        )
    why = "has no extended attributes of that kind" if failure.errno != errno.EPERM else "does not let this user do it"
    raise LayerError(
        f"{_shown(upper.path)}: the marks '{options.marks}' cannot be written: the filesystem {why};"
        " use the marks 'user' or 'oci', or another filesystem (ext4, xfs, btrfs, tmpfs)"
    )


def _check_complete(work: Layer) -> None:
    """Refuse an upper that was written without syncing by a process that did not end in order.

    The mark is the kernel overlayfs's (filesystems/overlayfs, "volatile mount").
    """
    mark = os.path.join(work.path, b"work/incompat/volatile")
    if os.path.lexists(mark):
        raise LayerError(
            f"{_shown(work.path)}: the upper was written with the option 'volatile' and not unmounted in order, so that"
            f" it may be incomplete; throw it away, or remove {_shown(mark)} to use it all the same"
        )


def _prepare(work: Layer, name: bytes, *, empty: bool = True) -> Directory:
    """Make the directory inside the work directory, without what an interrupted process left there."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=work.root.fd)
    try:
        fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=work.root.fd)
    except OSError as error:
        raise LayerError(
            f"{_shown(work.path)}: the work directory cannot be used: {os.strerror(error.errno or 0)}: {_shown(name)};"
            " empty it or choose another"
        ) from None
    directory = Directory(fd)
    if empty:
        _empty(fd)
    return directory


def _empty(directory: int) -> None:
    """Remove all that is in a directory, never following a symlink."""
    here = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        with os.scandir(here) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_directory in found:
            with contextlib.suppress(OSError):
                if is_directory:
                    shutil.rmtree(name, dir_fd=here)
                else:
                    os.unlink(name, dir_fd=here)
    finally:
        os.close(here)
