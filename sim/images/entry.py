"""Entries: one member of a layer, as plain data, before a tar or after one.

Decided here and only here: what a layer can say about one path. Frozen values, any thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from sim.images.errors import LayerTarError

__all__ = [
    "OPAQUE_NAME",
    "WHITEOUT_PREFIX",
    "Entry",
    "Kind",
    "clean_path",
    "directory",
    "file",
    "hardlink",
    "opaque",
    "symlink",
    "whiteout",
]

WHITEOUT_PREFIX = b".wh."
OPAQUE_NAME = b".wh..wh..opq"

#: Longest path in a layer, in bytes: what a system call takes.
_LONGEST_PATH = 4095


class Kind(Enum):
    """What an entry is; the value is its type flag in a tar."""

    FILE = b"0"
    HARDLINK = b"1"
    SYMLINK = b"2"
    CHARACTER = b"3"
    BLOCK = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


@dataclass(frozen=True, slots=True)
class Entry:
    """One member of a layer.

    Attributes
    ----------
    path
        From the layer's root, without slashes at its ends; empty for the root itself. A whiteout is a file whose last
        name begins with `.wh.`.
    mode
        Permission bits with setuid, setgid and sticky; no type.
    modified
        Nanoseconds since the epoch.
    size
        Bytes of a file, holes included.
    target
        The text of a symlink, or the path of the entry that a hard link is another name of.
    device
        Major and minor number.
    xattrs
        Names and values, sorted by name.
    extents
        Offset and length of the parts that hold data, where the file has holes; None where it has none.
    content
        The bytes of a file made by hand, or the host file that holds them.
    """

    path: bytes
    kind: Kind = Kind.FILE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    modified: int = 0
    size: int = 0
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    extents: tuple[tuple[int, int], ...] | None = None
    content: bytes | Path = b""


def clean_path(name: bytes, what: str = "name") -> bytes:
    """Return a name from a tar as a path from the layer's root.

    Raises
    ------
    LayerTarError
        It is absolute, climbs with `..`, holds a zero byte or is too long.

    Examples
    --------
    >>> clean_path(b"./etc//passwd"), clean_path(b"./")
    (b'etc/passwd', b'')
    """
    if name.startswith(b"/"):
        if not name.strip(b"/."):
            return b""
        raise LayerTarError(f"{what} {_shown(name)}: an absolute name, which could leave the layer, is refused")
    if b"\0" in name or len(name) > _LONGEST_PATH:
        raise LayerTarError(f"{what} {_shown(name)}: a name may have at most {_LONGEST_PATH} bytes and no zero byte")
    if b"./" not in name and b"//" not in name and name[-1:] not in (b"/", b".") and name:
        return name
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise LayerTarError(f"{what} {_shown(name)}: '..' could leave the layer and is refused")
    return b"/".join(parts)


def _shown(name: bytes) -> str:
    text = name.decode(errors="backslashreplace")
    return repr(text if len(text) <= 200 else text[:200] + "…")


def _plain(path: str | bytes) -> bytes:
    return clean_path((path.encode() if isinstance(path, str) else path).lstrip(b"/"))


def file(
    path: str | bytes, content: str | bytes | Path = b"", mode: int = 0o644, *, uid: int = 0, gid: int = 0
) -> Entry:
    """Return a file with this content: text, bytes, or the host file that holds it."""
    data = content.encode() if isinstance(content, str) else content
    size = data.stat().st_size if isinstance(data, Path) else len(data)
    return Entry(_plain(path), Kind.FILE, mode, uid, gid, size=size, content=data)


def directory(path: str | bytes, mode: int = 0o755, *, uid: int = 0, gid: int = 0) -> Entry:
    """Return a directory; it merges with one of that name in the layers below."""
    return Entry(_plain(path), Kind.DIRECTORY, mode, uid, gid)


def symlink(path: str | bytes, target: str | bytes) -> Entry:
    """Return a symbolic link."""
    return Entry(_plain(path), Kind.SYMLINK, 0o777, target=target.encode() if isinstance(target, str) else target)


def hardlink(path: str | bytes, target: str | bytes) -> Entry:
    """Return another name of an entry that stands before it."""
    return Entry(_plain(path), Kind.HARDLINK, target=_plain(target))


def whiteout(path: str | bytes) -> Entry:
    """Return the mark that `path` of the layers below is deleted."""
    parent, slash, name = _plain(path).rpartition(b"/")
    return Entry(parent + slash + WHITEOUT_PREFIX + name, mode=0)


def opaque(path: str | bytes) -> Entry:
    """Return the mark that nothing of the layers below shows through in the directory `path`."""
    parent = _plain(path)
    return Entry((parent + b"/" if parent else b"") + OPAQUE_NAME, mode=0)


def at(entries: Iterable[Entry], modified: int) -> list[Entry]:
    """Return the entries with their time set, in nanoseconds since the epoch."""
    from dataclasses import replace

    return [replace(entry, modified=modified) for entry in entries]
