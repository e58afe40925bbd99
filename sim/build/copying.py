"""COPY and ADD into an image's RW layer.

Decided here and only here: where a source lands, what gives way to it, and what of an inode comes along (data with its
holes, mode, times, hard links among one directory's files, file capabilities; the owner only where that is asked for).
The rules are moby's `performCopyForInfo`. Source and target are unions in this process: no path is ever given to the
host to resolve. A copy belongs to one thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fusefs import UnionFS
from sim.build.errors import BuildError, CancelledError
from sim.build.paths import join, remove_tree, resolve, status_of
from sim.build.source import Found, Source
from sim.build.tree import PlainTree, Status, copy_content, descriptor, read
from sim.build.untar import extract, first_member, make_directories
from sim.images.compression import decompress
from sim.images.errors import ContentError

__all__ = ["Copy", "copy", "replaced"]

_CHUNK = 1 << 18
_CAPABILITY = "security.capability"


@dataclass(frozen=True, slots=True)
class Copy:
    """How things are copied.

    Attributes
    ----------
    target
        Where to: absolute; a slash at its end makes it a directory.
    owner
        Whom copies belong to; None keeps the owners.
    mode
        Permission bits of files and directories that are copied; None keeps them.
    extract
        Whether local archives are unpacked.
    """

    target: str
    owner: tuple[int, int] | None = (0, 0)
    mode: int | None = None
    extract: bool = False


def copy(tree: UnionFS, found: Found, how: Copy, check: Callable[[], object] = lambda: None) -> bool:
    """Copy one source; tell whether the tree, if it is a union, knows all of it.

    Parameters
    ----------
    tree
        The image with an RW layer.
    check
        Called now and then; what it raises ends the copy.

    Raises
    ------
    BuildError
        It cannot be: something is in the way. The text is Docker's.
    """
    source = found.source
    at = resolve(source.tree, found.path)
    status = source.status(at)
    if status is None:
        raise BuildError("failed to copy files: source path not found")
    target = resolve(tree, how.target)
    run = _Copy(tree, source, how, check)
    if stat.S_ISDIR(status.st_mode):
        with _words("failed to copy directory", "mkdir", target):
            return run.directory(at, target)
    if how.extract and found.extract and stat.S_ISREG(status.st_mode) and first_member(_plain(source, at)):
        with _words("", "mkdir", target):
            make_directories(tree, target)
        try:
            extract(tree, target, _plain(source, at), check=check)
        except CancelledError:
            raise
        except BuildError as error:
            raise BuildError(f"failed to copy files: {error}") from None
        return True
    there = status_of(tree, target)
    if how.target.endswith("/") or (there is not None and stat.S_ISDIR(there.st_mode)):
        target = resolve(tree, f"{target}/{found.path.rpartition('/')[2]}")
    with _words("failed to copy file" if there else "failed to create new directory", "mkdir", target):
        run.single(at, status, target)
    return True


def replaced(tree: UnionFS, source: Source, how: Copy) -> Callable[[str, Status], None]:
    """Return a function that copies one object of a source to the same path of a tree where nothing is in the way."""
    run = _Copy(tree, source, how, lambda: None)

    def one(path: str, status: Status) -> None:
        raw = os.fsencode(path)
        if stat.S_ISDIR(status.st_mode):
            if status_of(tree, path) is None:
                tree.mkdir(raw, 0o700)
            run.describe(raw, raw, status)
        else:
            run.object(raw, raw, status)

    return one


@contextlib.contextmanager
def _words(what: str, call: str, path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            raise
        reason = (error.strerror or "").lower()
        middle = f"{what}: " if what else ""
        raise BuildError(f"failed to copy files: {middle}{call} {path}: {reason}") from None


def _plain(source: Source, path: str) -> Iterator[bytes]:
    """Yield the content of a file, unwrapped if it is compressed."""

    def chunks() -> Iterator[bytes]:
        yield from read(source.tree, os.fsencode(path))

    try:
        yield from decompress(chunks())
    except ContentError as error:
        raise BuildError(f"Error processing tar file(exit status 1): {error}") from None


class _Copy:
    def __init__(self, tree: UnionFS | PlainTree, source: Source, how: Copy, check: Callable[[], object]) -> None:
        self._tree = tree
        self._source = source
        self._how = how
        self._check = check
        self._links: dict[int, bytes] = {}

    def directory(self, at: str, target: str) -> bool:
        """Copy what is in a directory; tell whether it went through the union."""
        tree, how = self._tree, self._how
        existed = status_of(tree, target) is not None
        make_directories(tree, target, how.owner or (0, 0))
        if not existed and how.mode is not None:
            tree.chmod(os.fsencode(target), how.mode)
        upper = tree.union.stack.upper if isinstance(tree, UnionFS) else None
        if existed or upper is None:
            self._below(at, target)
            return True
        # All of it is new, so there is nothing to hide or to copy up: the RW layer's own directory will do.
        with PlainTree(upper) as plain:
            self._tree = plain
            self._below(at, target)
        self._tree = tree
        return False

    def _below(self, at: str, target: str) -> None:
        tree = self._tree
        times: list[tuple[bytes, int]] = []
        base, above = at.rstrip("/"), target.rstrip("/")
        for path, status in self._source.walk(at):
            self._check()
            goal = above + path[len(base) :]
            there = status_of(tree, goal)
            if there is not None and not (stat.S_ISDIR(there.st_mode) and stat.S_ISDIR(status.st_mode)):
                remove_tree(tree, goal)
                there = None
            raw = os.fsencode(goal)
            if stat.S_ISDIR(status.st_mode):
                if there is None:
                    tree.mkdir(raw, 0o700)
                self.describe(os.fsencode(path), raw, status)
                times.append((raw, status.st_mtime_ns))
            else:
                self.object(os.fsencode(path), raw, status)
        for raw, time in times:
            tree.utimens(raw, (time, time))

    def single(self, at: str, status: Status, target: str) -> None:
        tree = self._tree
        make_directories(tree, join(target, ".."), self._how.owner or (0, 0))
        there = status_of(tree, target)
        if there is not None:
            remove_tree(tree, target)
        self.object(os.fsencode(at), os.fsencode(target), status)

    def object(self, at: bytes, raw: bytes, status: Status) -> None:
        tree, mode = self._tree, status.st_mode
        if stat.S_ISREG(mode):
            if status.st_nlink > 1:
                first = self._links.get(status.st_ino)
                if first is not None:
                    tree.link(first, raw)
                    return
                self._links[status.st_ino] = raw
            self._data(at, raw, status)
        elif stat.S_ISLNK(mode):
            tree.symlink(os.fsencode(self._source.tree.readlink(at)), raw)
        elif stat.S_ISSOCK(mode):
            return
        else:
            tree.mknod(raw, stat.S_IFMT(mode) | 0o600, status.st_rdev)
        self.describe(at, raw, status)
        time = status.st_mtime_ns
        tree.utimens(raw, (time, time), follow_symlinks=False)

    def _data(self, at: bytes, raw: bytes, status: Status) -> None:
        source, target = self._source.tree, self._tree
        with descriptor(target, raw, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as made:
            if status.st_size:
                copy_content(source, at, status, made)

    def describe(self, at: bytes, raw: bytes, status: Status) -> None:
        tree, how = self._tree, self._how
        is_link = stat.S_ISLNK(status.st_mode)
        # moby unpacks, then gives what it unpacked away: by that a program loses its set-user-ID bit. What keeps its
        # owner keeps this too.
        if how.owner is not None and not is_link:
            tree.chmod(raw, stat.S_IMODE(status.st_mode))
        if os.geteuid() == 0:
            tree.chown(raw, *(how.owner or (status.st_uid, status.st_gid)), follow_symlinks=False)
        if how.mode is not None and not is_link:
            tree.chmod(raw, how.mode)
        elif how.owner is None and not is_link:
            tree.chmod(raw, stat.S_IMODE(status.st_mode))
        if stat.S_ISREG(status.st_mode):
            with contextlib.suppress(OSError):
                tree.setxattr(raw, _CAPABILITY, self._source.tree.getxattr(at, _CAPABILITY))
