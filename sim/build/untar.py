"""Unpacking a tar into a tree: a build's context, and what ADD unpacks into an image.

Decided here and only here: where a member may go and what becomes of it. Every name is resolved below the directory
that is unpacked into, links included (`paths.resolve`), as after the chroot in which moby does it: a `..` at the top
stays there, so no member and no order of members leads out. An existing file gives way, directories merge, as moby's
`archive.Unpack` does it. An unpacking belongs to one thread.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, cast

from sim.build import tarsum
from sim.build.errors import BuildError
from sim.build.paths import join, remove_tree, resolve, status_of
from sim.build.tartree import TarTree
from sim.build.tree import Tree, descriptor, write_all
from sim.images.errors import ContentError

__all__ = ["MOST_MEMBERS", "Chunks", "extract", "first_member", "nanoseconds_of"]

#: Most members of one tar.
MOST_MEMBERS = 2_000_000

_CHUNK = 1 << 18
_BLOCK = 512
_EARLIEST, _LATEST = -(1 << 31) * 1_000_000_000, ((1 << 33) - 1) * 1_000_000_000
_XATTR = "SCHILY.xattr."
_DAMAGED = (tarfile.TarError, ValueError, OverflowError, EOFError, ContentError)
#: moby unpacks in a child process, whose status is part of the text.
_FAILED = "Error processing tar file(exit status 1): "


class Chunks:
    """Chunks of bytes as a stream to read from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = self._counted(chunks)
        self._rest = b""
        self.total = 0

    def _counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.total += len(chunk)
            yield chunk

    def at_end(self) -> bool:
        """Tell whether nothing comes any more."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return True
            self._rest = chunk
        return False

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, fewer only at the end."""
        parts = [self._rest]
        held = len(self._rest)
        while size < 0 or held < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            parts.append(chunk)
            held += len(chunk)
        whole = b"".join(parts)
        if size < 0:
            size = len(whole)
        self._rest = whole[size:]
        return whole[:size]


def _members(chunks: Iterable[bytes]) -> Iterator[tuple[tarfile.TarInfo, tarfile.TarFile]]:
    given = Chunks(chunks)
    stream = cast(IO[bytes], given)
    last: tarfile.TarInfo | None = None
    try:
        if given.at_end():
            return  # nothing at all is a tar with nothing in it, to Go's reader
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK, encoding="utf-8") as tar:
            for number, member in enumerate(tar):
                if number >= MOST_MEMBERS:
                    raise BuildError(f"more than {MOST_MEMBERS} members, the most that a tar may have")
                last = member
                yield member, tar
                del tar.__dict__["members"][:]  # it would remember them all
    except _DAMAGED as error:
        # The docker command ends a tar right after the content of its last member (`-f` outside of the context), which
        # Go's reader takes; a content that is cut off is damage to it as well.
        if last is not None and given.at_end() and 0 <= given.total - last.offset_data - last.size < _BLOCK:
            return
        raise BuildError(f"{_FAILED}{error}") from None


def first_member(chunks: Iterable[bytes]) -> tarfile.TarInfo | None:
    """Return the first member of what may be a tar; None where it is none, or is empty."""
    try:
        for member, _ in _members(chunks):
            return member
    except BuildError:
        pass
    return None


def nanoseconds_of(member: tarfile.TarInfo) -> int:
    """Return the time of a member, in nanoseconds since the epoch, as exact as it is written."""
    text = member.pax_headers.get("mtime", "") if member.pax_headers else ""
    try:
        whole, _, part = text.partition(".")
        found = int(whole) * 10**9 + int((part + "0" * 9)[:9]) if text else int(member.mtime) * 10**9
    except (ValueError, OverflowError):
        found = 0
    return min(max(found, _EARLIEST), _LATEST)


def _call(member: tarfile.TarInfo) -> str:
    return "mkdir" if member.isdir() else "symlink" if member.issym() else "link" if member.islnk() else "open"


def extract(
    tree: Tree,
    top: str,
    chunks: Iterable[bytes],
    *,
    owners: bool = True,
    devices: bool = True,
    hashes: dict[str, str] | None = None,
    check: Callable[[], object] = lambda: None,
) -> None:
    """Unpack a tar.

    Parameters
    ----------
    tree
        Where to.
    top
        A directory of it, free of links, under which everything goes.
    chunks
        The tar, not compressed.
    owners
        Whether members get their owners; root else.
    devices
        Whether device nodes are made; they are refused else.
    hashes
        Takes the hash of each member, by its path without a leading slash.
    check
        Called now and then; what it raises ends the unpacking.

    Raises
    ------
    BuildError
        The tar is damaged, or a member leads out of the tree.
    """
    run = _Extraction(tree, top, owners, devices)
    for member, tar in _members(chunks):
        check()
        try:  # what a member holds is read here
            digest = run.take(member, tar, hashed=hashes is not None)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE):
                raise
            raise BuildError(
                f"{_FAILED}{_call(member)} {join(member.name)}: {(error.strerror or '').lower()}"
            ) from None
        except _DAMAGED as error:
            raise BuildError(f"{_FAILED}{error}") from None
        if hashes is not None and digest is not None:
            hashes[join(member.name)[1:]] = digest
    run.finish()


class _Extraction:
    def __init__(self, tree: Tree, top: str, owners: bool, devices: bool) -> None:
        self._tree = tree
        self._top = top.rstrip("/")
        self._owners = owners
        self._devices = devices
        self._times: dict[str, int] = {}
        self._parents: set[str] = set()

    def take(self, member: tarfile.TarInfo, tar: tarfile.TarFile, *, hashed: bool) -> str | None:
        name = join(member.name)[1:]
        digest = tarsum.started(tarsum.header_of_member(member)) if hashed else None
        if not name:
            if member.isdir():
                self._describe(self._top or "/", member)
            return digest.hexdigest() if digest else None
        path = self._place(name)
        self._make(path, member, tar, digest)
        return digest.hexdigest() if digest else None

    def finish(self) -> None:
        for path, time in self._times.items():
            status = status_of(self._tree, path)
            if status is not None and stat.S_ISDIR(status.st_mode):
                self._tree.utimens(os.fsencode(path), (time, time))

    def _place(self, name: str) -> str:
        """Return where a member goes, with its parents made and every link on the way followed below the top."""
        above, _, last = name.rpartition("/")
        if above not in self._parents:
            root = self._top or "/"
            directory = resolve(self._tree, above, root=root)
            if status_of(self._tree, directory) is None and status_of(
                self._tree, resolve(self._tree, above, root=root, last=False)
            ):
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))  # a link that leads nowhere
            make_directories(self._tree, directory)
            if directory != join(self._top, above):
                return f"{directory.rstrip('/')}/{last}"
            self._parents.add(above)
        return join(self._top, name)

    def _make(self, path: str, member: tarfile.TarInfo, tar: tarfile.TarFile, digest: hashlib._Hash | None) -> None:
        tree, raw = self._tree, os.fsencode(path)
        there = status_of(tree, path)
        if there is not None and not (stat.S_ISDIR(there.st_mode) and member.isdir()):
            remove_tree(tree, path)
            self._parents.clear()
            there = None
        if member.isdir():
            if there is None:
                tree.mkdir(raw, 0o755)
        elif member.isreg():
            self._file(raw, member, tar, digest)
        elif member.issym():
            tree.symlink(os.fsencode(member.linkname), raw)
        elif member.islnk():
            source = resolve(tree, member.linkname, root=self._top or "/", last=False)
            tree.link(os.fsencode(source), raw)
            there = status_of(tree, source)
            if there is None or stat.S_ISLNK(there.st_mode):
                return
        elif member.isfifo():
            tree.mknod(raw, stat.S_IFIFO | 0o600)
        elif member.ischr() or member.isblk():
            if not self._devices:
                raise BuildError(f"{_FAILED}{member.name}: a device has no place in a build's context")
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            tree.mknod(raw, kind | 0o600, os.makedev(member.devmajor, member.devminor))
        else:
            raise BuildError(f"{_FAILED}unhandled tar header type {ord(member.type)}")
        self._describe(path, member)

    def _file(self, raw: bytes, member: tarfile.TarInfo, tar: tarfile.TarFile, digest: hashlib._Hash | None) -> None:
        data = tar.extractfile(member)
        assert data is not None
        if isinstance(self._tree, TarTree):
            self._refer(self._tree, raw, member, data, digest)
            return
        with descriptor(self._tree, raw, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as file:
            while part := data.read(_CHUNK):
                if digest is not None:
                    digest.update(part)
                write_all(file, part)

    @staticmethod
    def _refer(
        tree: TarTree, raw: bytes, member: tarfile.TarInfo, data: IO[bytes], digest: hashlib._Hash | None
    ) -> None:
        """Make a file whose data is where it lies in the tar, which is spooled while it is read."""
        parts = []
        while part := data.read(_CHUNK):
            if digest is not None:
                digest.update(part)
            if member.issparse():
                parts.append(tree.keep_aside(part))
        tree.put(raw, parts[0] if parts else member.offset_data, member.size, aside=bool(parts))

    def _describe(self, path: str, member: tarfile.TarInfo) -> None:
        tree, raw = self._tree, os.fsencode(path)
        owner = (member.uid, member.gid) if self._owners else (0, 0)
        if os.geteuid() == 0 and (self._owners or member.isdir()):
            tree.chown(raw, *(min(max(number, 0), 2**31 - 1) for number in owner), follow_symlinks=False)
        if not member.issym():
            tree.chmod(raw, member.mode & 0o7777)
        self._xattrs(raw, member.pax_headers or {})
        time = nanoseconds_of(member)
        if member.isdir():
            self._times[path] = time
        else:
            tree.utimens(raw, (time, time), follow_symlinks=False)

    def _xattrs(self, raw: bytes, headers: Mapping[str, str]) -> None:
        for key, value in headers.items():
            if not key.startswith(_XATTR):
                continue
            try:
                self._tree.setxattr(
                    raw, key.removeprefix(_XATTR), value.encode(errors="surrogateescape"), follow_symlinks=False
                )
            except OSError as error:
                if error.errno not in (errno.ENOTSUP, errno.EPERM):
                    raise


def make_directories(tree: Tree, path: str, owner: tuple[int, int] = (0, 0), mode: int = 0o755) -> None:
    """Make a directory and what is missing above it; the path must be free of links.

    Raises
    ------
    OSError
        ENOTDIR: something else is in the way.
    """
    steps = [step for step in path.split("/") if step]
    for count in range(len(steps), -1, -1):
        here = "/" + "/".join(steps[:count])
        status = status_of(tree, here)
        if status is not None:
            if not stat.S_ISDIR(status.st_mode):
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            break
    for each in range(count, len(steps)):
        raw = os.fsencode("/" + "/".join(steps[: each + 1]))
        tree.mkdir(raw, mode)
        tree.chmod(raw, mode)
        if os.geteuid() == 0:
            tree.chown(raw, *owner)
