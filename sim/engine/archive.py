"""Files in and out of a container (`cp`), and what is at a path of it.

Decided here and only here: what a path means (the last name of one is not followed, unless a slash or a dot follows
it), what is told of it, and what may not be written to. Any thread may call.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import posixpath
import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.engine.container import Container
from sim.engine.errors import BadParameterError, NotFoundError
from sim.engine.fetching import fetching
from sim.engine.filling import Batch, Filler, check_writable, gather
from sim.engine.placing import Member, Placing
from sim.engine.views import rooted
from sim.images.compression import decompress
from sim.images.pack import pack_members, pack_name
from sim.images.tarread import TarReader
from sim.runtime import resolve_user
from sim.runtime.syscalls import open_in

if TYPE_CHECKING:
    from sim.engine.containers import Containers

__all__ = ["Archive", "PathStat", "Sink", "go_mode"]

#: Takes the bytes of a tar, in order.
Sink = Callable[[bytes | memoryview], object]

_PATH = os.O_PATH | os.O_CLOEXEC
_LARGEST_TABLE = 1 << 20

#: Kinds and bits of a mode, and the bits that Go has for them (`io/fs.FileMode`).
_KINDS = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
}
_BITS = {stat.S_ISUID: 1 << 23, stat.S_ISGID: 1 << 22, stat.S_ISVTX: 1 << 20}


def go_mode(mode: int) -> int:
    """Return a mode as Go's libraries number it.

    >>> go_mode(0o40755) == 0x80000000 | 0o755
    True
    """
    found = (mode & 0o777) | _KINDS.get(stat.S_IFMT(mode), 0)
    return found | sum(theirs for ours, theirs in _BITS.items() if mode & ours)


@dataclass(frozen=True, slots=True)
class PathStat:
    """What is at a path: name, bytes, mode with Go's bits, nanoseconds since the epoch, where a symlink leads."""

    name: str
    size: int
    mode: int
    modified: int
    target: str = ""


class Archive:
    """Carries files into and out of one engine's containers."""

    def __init__(self, owner: Containers) -> None:
        self._owner = owner

    @contextlib.contextmanager
    def _found(self, container: Container, name: str, path: str) -> Iterator[tuple[int, bytes, PathStat]]:
        """Have directory and last name of a path in the mounted view, and what is there."""
        absolute = _absolute(path)
        with rooted(self._owner, container) as root:
            above, last = posixpath.split(absolute)
            try:
                parent = open_in(root, above, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                raise _missing(path, name) from None
            try:
                base = os.fsencode(last or ".")
                try:
                    status = os.stat(base, dir_fd=parent, follow_symlinks=False)
                except OSError:
                    raise _missing(path, name) from None
                target = self._target(root, absolute) if stat.S_ISLNK(status.st_mode) else ""
                yield parent, base, _path_stat(absolute, status, target)
            finally:
                os.close(parent)

    @staticmethod
    def _target(root: int, path: str) -> str:
        """Return the path in the container that a symlink leads to in the end; as far as it goes where that is not."""
        at, left = "/", [part for part in path.split("/") if part not in ("", ".")]
        for _ in range(255):
            if not left:
                return at
            part = left.pop(0)
            if part == "..":
                at = posixpath.dirname(at)
                continue
            step = posixpath.join(at, part)
            try:
                parent = open_in(root, at, _PATH | os.O_DIRECTORY)
                try:
                    text = os.readlink(part, dir_fd=parent)
                finally:
                    os.close(parent)
            except OSError:
                at = step  # no symlink, or not there
                continue
            if text.startswith("/"):
                at = "/"
            left = [each for each in text.split("/") if each not in ("", ".")] + left
        return at

    @contextlib.contextmanager
    def _seen(self, name: str, path: str) -> Iterator[tuple[Container, PathStat, Callable[[Sink], None]]]:
        """Have a container, what is at a path of it, and what writes that as a tar."""
        if not path:
            raise BadParameterError("bad parameter: pathcannot be empty")
        container = self._owner.get(name)
        absolute = _absolute(path)
        with contextlib.ExitStack() as stack:
            try:
                fetched = stack.enter_context(fetching(self._owner, container, absolute))
            except OSError:
                raise _missing(path, name) from None
            if fetched is not None:
                found = _path_stat(absolute, fetched.attributes.real)
                yield container, found, lambda sink: pack_members(fetched.members(os.fsencode(found.name)), sink)
                return
        with self._found(container, name, path) as (parent, base, found):
            yield container, found, lambda sink: pack_name(parent, base, os.fsencode(found.name), sink)

    def stat(self, name: str, path: str) -> PathStat:
        """Tell what is at a path.

        Raises
        ------
        NotFoundError
            There is nothing.
        """
        with self._seen(name, path) as (_, found, _):
            return found

    @contextlib.contextmanager
    def reader(self, name: str, path: str) -> Iterator[tuple[PathStat, Callable[[Sink], None]]]:
        """Have what is at a path, and a function that writes it as a tar."""
        with self._seen(name, path) as (container, found, write):
            self._owner.tell(container, "archive-path")
            yield found, write

    def extract(
        self, name: str, path: str, chunks: Iterable[bytes], *, keeps_kind: bool = False, own: bool = False
    ) -> None:
        """Put the members of a tar into a directory.

        Parameters
        ----------
        keeps_kind
            Put no directory where there is something else, and nothing else where there is one.
        own
            All belongs to the container's user, whatever the tar says.

        Raises
        ------
        NotFoundError
            There is no such directory.
        BadParameterError
            It is no directory; a member may not go where it wants.
        ForbiddenError
            It is not writable in the container either.
        """
        if not path:
            raise BadParameterError("bad parameter: pathcannot be empty")
        container = self._owner.get(name)
        absolute = posixpath.normpath(_absolute(path))
        reader = TarReader(decompress(chunks))
        members: Iterator[Member] = ((entry, reader.body()) for entry in reader if entry.path)
        filler = Filler(self._owner, container, absolute)
        # The user that all is to belong to is looked up in the view as it is mounted.
        fills = not own and filler.take([]) is not None
        if fills:
            left = self._fill(filler, members)
            if left is None:
                self._owner.tell(container, "extract-to-dir")
                return
            members = left
        with rooted(self._owner, container) as root:
            try:
                place = open_in(root, absolute, _PATH)
            except OSError:
                raise _missing(path, name) from None
            try:
                if not stat.S_ISDIR(os.fstat(place).st_mode):
                    raise BadParameterError("extraction point is not a directory")
            finally:
                os.close(place)
            check_writable(container, absolute)
            owner = _user(root, container.record.config.user) if own else None
            Placing(root, absolute, keeps_kind=keeps_kind, owner=owner).take(members, filler.times)
        self._owner.tell(container, "extract-to-dir")

    @staticmethod
    def _fill(filler: Filler, members: Iterator[Member]) -> Iterator[Member] | None:
        """Put members into a view that is not mounted here; return those that are left, None where none is.

        The next ones are read while those before are put there, so that neither the client nor the view waits.
        """
        with ThreadPoolExecutor(1, "gathering") as pool:
            ahead: Future[Batch] | None = pool.submit(gather, members, filler.most)
            while ahead is not None:
                batch = ahead.result()
                ahead = None if batch.last or batch.large is not None else pool.submit(gather, members, filler.most)
                left = filler.take(batch.members, last=batch.last)
                if left != 0 or batch.large is not None:
                    rest = batch.members[len(batch.members) - left :] if left is not None else batch.members
                    after = ahead.result() if ahead is not None else Batch(())
                    return itertools.chain(rest, batch.after(), after.members, after.after(), members)
                if batch.failure is not None:
                    raise batch.failure
        return None


def _absolute(path: str) -> str:
    """Return a path from the root, with the slash or dot at its end, which say that a symlink there is followed."""
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    if path.endswith("/.") or path == ".":
        return posixpath.join(cleaned, ".")
    return cleaned.rstrip("/") + "/" if path.endswith("/") else cleaned


def _path_stat(path: str, status: os.stat_result, target: str = "") -> PathStat:
    name = posixpath.basename(path.rstrip("/")) or "/"
    return PathStat(name, status.st_size, go_mode(status.st_mode), status.st_mtime_ns, target)


def _missing(path: str, name: str) -> NotFoundError:
    return NotFoundError(f"Could not find the file {path} in container {name}")


def _user(root: int, wish: str) -> tuple[int, int]:
    """Return user and group that a container runs as."""
    texts = []
    for path in ("/etc/passwd", "/etc/group"):
        try:
            fd = open_in(root, path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                regular = stat.S_ISREG(os.fstat(fd).st_mode)
                texts.append(os.read(fd, _LARGEST_TABLE).decode(errors="replace") if regular else "")
            finally:
                os.close(fd)
        except OSError:
            texts.append("")
    found = resolve_user(wish, texts[0], texts[1])
    return found.uid, found.gid
