"""A directory as a build's context: a tar stream without what `.dockerignore` leaves out.

Decided here and only here: what is sent. The patterns of `.dockerignore` are read in `sim.build.ignore`; the Dockerfile
and `.dockerignore` themselves go along even where they are left out, and the engine leaves them out of what is copied.
A Dockerfile from outside of the context goes along under a name of its own.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from sim.cli.failure import Failure

__all__ = ["directory_context", "file_and_context", "looks_like_tar", "tar_pieces"]

_IGNORE = ".dockerignore"
_PIECE = 1 << 18
_MAGIC = (b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")


def looks_like_tar(head: bytes) -> bool:
    """Tell whether data begins as a tar archive, compressed or not."""
    return head.startswith(_MAGIC) or head[257:262] == b"ustar"


def file_and_context(text: bytes) -> tuple[Iterable[bytes], str]:
    """Return a context that holds a Dockerfile alone."""
    name = "Dockerfile"
    return tar_pieces([], {name: text}), name


def directory_context(root: str, file: str, text: bytes | None) -> tuple[Iterable[bytes], str]:
    """Return a directory's context and the Dockerfile's name in it.

    Parameters
    ----------
    file
        The value of `--file`.
    text
        The Dockerfile where it came from standard input.

    Raises
    ------
    Failure
        There is no Dockerfile, or `.dockerignore` cannot be read.
    """
    top = os.path.realpath(root)
    extra: dict[str, bytes] = {}
    name = "Dockerfile"
    if text is None:
        name, text = _dockerfile(top, file)
    if text is not None:
        name = f".dockerfile.{os.urandom(10).hex()}"
        extra[name] = text
    lines = _ignore_lines(top)
    if text is not None:
        # The file that came along is left out of the image, also where the context says nothing of the sort.
        extra[_IGNORE] = "\n".join([*lines, name, _IGNORE] if lines else [name]).encode() + b"\n"
    return tar_pieces(_chosen(top, lines, {name, _IGNORE}, extra), extra, top), name


def _dockerfile(top: str, file: str) -> tuple[str, bytes | None]:
    """Return the Dockerfile's name in the context, and its text where it lies outside."""
    path = file or os.path.join(top, "Dockerfile")
    if not file and not os.path.lexists(path) and os.path.lexists(os.path.join(top, "dockerfile")):
        path = os.path.join(top, "dockerfile")
    real = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(path))), os.path.basename(path))
    try:
        found = os.stat(real)
    except OSError as error:
        said = (error.strerror or "").lower()
        shown = real if not file else os.path.abspath(path)
        raise Failure(
            f"unable to prepare context: unable to evaluate symlinks in Dockerfile path: lstat {shown}: {said}"
        ) from None
    if stat.S_ISDIR(found.st_mode):
        raise Failure(
            f"unable to prepare context: unable to evaluate symlinks in Dockerfile path: {path} is a directory"
        )
    inside = os.path.relpath(real, top)
    if inside.startswith("..") or os.path.islink(real):
        with open(real, "rb") as stream:
            return "", stream.read()
    return inside, None


def _ignore_lines(top: str) -> list[str]:
    try:
        with open(os.path.join(top, _IGNORE), encoding="utf-8-sig", errors="surrogateescape") as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Failure(f"error checking context: open {top}/{_IGNORE}: {(error.strerror or '').lower()}") from None


def _chosen(top: str, lines: list[str], kept: set[str], replaced: Iterable[str]) -> Iterator[str]:
    """Yield the paths that go along, directories before what is in them."""
    from sim.build.errors import DockerfileError
    from sim.build.ignore import IgnoreList

    try:
        ignored = IgnoreList(lines)
    except DockerfileError as error:
        raise Failure(f"error checking context: {error}") from None
    hidden = set(replaced)

    def walk(place: str) -> Iterator[str]:
        try:
            entries = sorted(os.scandir(os.path.join(top, place)), key=lambda entry: entry.name)
        except OSError as error:
            raise Failure(f"error checking context: can't stat '{error.filename}'") from None
        for entry in entries:
            path = os.path.join(place, entry.name) if place else entry.name
            if path in hidden:
                continue
            out = bool(lines) and path not in kept and ignored.excludes(path)
            if entry.is_dir(follow_symlinks=False):
                if not out:
                    yield path
                    yield from walk(path)
                elif ignored.enters(path) or any(name.startswith(f"{path}/") for name in kept):
                    yield from walk(path)  # the directory itself is left out: it gets what directories have
            elif not out:
                yield path

    return walk("")


def tar_pieces(
    paths: Iterable[str], extra: dict[str, bytes], top: str = "", names: dict[str, str] | None = None
) -> Iterator[bytes]:
    """Yield a tar archive in pieces, so that files of any size take no memory.

    Parameters
    ----------
    paths
        Files below `top`, in this order.
    extra
        More files, by name.
    names
        Other names for paths in the archive.
    """
    for name, data in extra.items():
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o600
        yield _head(member) + data + bytes(-len(data) % 512)
    known = tarfile.TarFile(fileobj=io.BytesIO(), mode="w")  # nothing is written: it knows hard links
    for path in paths:
        full = os.path.join(top, path)
        try:
            member = known.gettarinfo(full, (names or {}).get(path, path))
            # Names of this machine's users count for the engine's cache, and the docker command sends none.
            member.uname = member.gname = ""
            if member is None:  # a socket
                continue
            member.mtime = int(member.mtime)
            if not member.isreg():
                yield _head(member)
                continue
            with open(full, "rb") as file:
                _capabilities(member, full)
                yield _head(member)
                yield from _content(file, member.size)
        except FileNotFoundError:
            continue  # it went away meanwhile
        except PermissionError:
            raise Failure(f"error checking context: no permission to read from '{full}'") from None
    yield bytes(1024)


def _head(member: tarfile.TarInfo) -> bytes:
    return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _capabilities(member: tarfile.TarInfo, full: str) -> None:
    try:
        value = os.getxattr(full, "security.capability")
    except OSError:
        return
    member.pax_headers = {"SCHILY.xattr.security.capability": value.decode("utf-8", "surrogateescape")}


def _content(file: BinaryIO, size: int) -> Iterator[bytes]:
    """Yield as many bytes as were promised, however long the file is by now, and fill up the block."""
    left = size
    while left and (data := file.read(min(left, _PIECE))):
        left -= len(data)
        yield data
    while left:
        yield bytes(min(left, _PIECE))
        left -= min(left, _PIECE)
    if size % 512:
        yield bytes(-size % 512)
