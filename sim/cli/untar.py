"""What comes out of a container, unpacked on this machine.

Decided here and only here: that nothing an archive says leads out of the directory that it is unpacked in: names are
taken apart, directories on the way are never symbolic links, and files are made anew. One thread.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from typing import IO

from sim.cli.failure import Failure

__all__ = ["unpack"]


class _Reader(io.RawIOBase):
    """Chunks as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: object) -> int:
        """Fill a buffer, as far as one chunk goes."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        while not self._rest:
            try:
                self._rest = next(self._chunks)
            except StopIteration:
                return 0
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def unpack(chunks: Iterable[bytes], root: str, *, owners: bool = False) -> None:
    """Unpack an archive whose first component is the root of all.

    Parameters
    ----------
    root
        Where that root comes to lie: a directory's or file's path; what is above it must be there.
    owners
        Whether files belong to whom the archive says.

    Raises
    ------
    Failure
        The archive is broken, or leads out of the root.
    """
    later: list[tuple[str, tarfile.TarInfo]] = []
    stream = io.BufferedReader(_Reader(iter(chunks)), 1 << 18)
    first = ""
    try:
        with tarfile.open(fileobj=stream, mode="r|") as tar:
            for member in tar:
                parts = [part for part in member.name.split("/") if part not in ("", ".")]
                if ".." in parts:
                    raise Failure(f"{member.name}: the archive leads out of the directory that was asked for")
                if not first:
                    first = parts[0] if parts else "."
                inner = parts[1:] if parts[:1] == [first] else parts
                path = os.path.join(root, *inner)
                _check_way(root, inner)
                _make(tar, member, path, root, first)
                if owners:
                    with contextlib.suppress(PermissionError):
                        os.chown(path, member.uid, member.gid, follow_symlinks=False)
                if member.isdir():
                    later.append((path, member))
                elif not member.issym() and not member.islnk():  # a hard link's attributes are its file's
                    _attributes(path, member)
    except tarfile.TarError as error:
        raise Failure(f"the archive cannot be read: {error}") from None
    for path, member in reversed(later):  # what is made in a directory changes its time
        _attributes(path, member)
    for _ in iter(lambda: stream.read(1 << 18), b""):
        pass


def _check_way(root: str, parts: list[str]) -> None:
    """Refuse to go through a symbolic link."""
    place = root
    for part in parts[:-1]:
        place = os.path.join(place, part)
        try:
            found = os.lstat(place)
        except FileNotFoundError:
            os.mkdir(place, 0o755)
            continue
        if not stat.S_ISDIR(found.st_mode):
            raise Failure(f"{place}: the archive goes through what is no directory")


def _make(tar: tarfile.TarFile, member: tarfile.TarInfo, path: str, root: str, first: str) -> None:
    if member.isdir():
        if os.path.islink(path) or not os.path.isdir(path):
            _clear(path)
            os.mkdir(path, 0o700)
        return
    _clear(path)
    if member.issym():
        os.symlink(member.linkname, path)
    elif member.islnk():
        parts = [part for part in member.linkname.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise Failure(f"{member.linkname}: the archive links out of the directory that was asked for")
        inner = parts[1:] if parts[:1] == [first] else parts
        _check_way(root, inner)
        os.link(os.path.join(root, *inner), path, follow_symlinks=False)
    elif member.isreg():
        source = tar.extractfile(member)
        assert source is not None
        _write(path, source)
    elif member.isfifo():
        os.mkfifo(path, 0o600)
    elif member.ischr() or member.isblk():
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        os.mknod(path, 0o600 | kind, os.makedev(member.devmajor, member.devminor))


def _write(path: str, source: IO[bytes]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        while data := source.read(1 << 18):
            file.write(data)


def _clear(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):
        if os.path.isdir(path) and not os.path.islink(path):
            raise Failure(f"cannot overwrite directory {path} with what is none") from None
        raise


def _attributes(path: str, member: tarfile.TarInfo) -> None:
    os.chmod(path, stat.S_IMODE(member.mode))
    os.utime(path, (member.mtime, member.mtime))
