"""The hash of a file in a build's context: what a COPY's cache key is made of.

Decided here and only here: which fields of a tar's header count. They are those of moby's `tarsum` version 1 (all but
times), so that the same context gives the key, and with it the history, that the classic builder gives it. Pure
functions; a hash object belongs to one thread.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlib import _Hash

    from sim.build.tree import Status

__all__ = ["header_of_member", "header_of_status", "joined", "started"]

Fields = tuple[tuple[str, str], ...]


def header_of_member(member: tarfile.TarInfo) -> Fields:
    """Return the fields of a member of a tar, as its writer spelt them."""
    name = member.name + "/" if member.isdir() and not member.name.endswith("/") else member.name
    device = member.ischr() or member.isblk()
    xattrs = {
        key.removeprefix("SCHILY.xattr."): value
        for key, value in (member.pax_headers or {}).items()
        if key.startswith("SCHILY.xattr.")
    }
    return _fields(
        name,
        member.mode,
        member.uid,
        member.gid,
        member.size if member.isreg() else 0,
        member.type.decode("latin-1"),
        member.linkname,
        member.uname,
        member.gname,
        (member.devmajor, member.devminor) if device else (0, 0),
        xattrs,
    )


def header_of_status(
    path: str,
    status: Status,
    target: str = "",
    *,
    owner: tuple[int, int] = (0, 0),
    xattrs: Mapping[str, str] | None = None,
) -> Fields:
    """Return the fields of a file that is in no tar, as the docker command would write them."""
    mode = status.st_mode
    kind = next((kind for test, kind in _KINDS if test(mode)), "0")
    if kind == "5":
        path += "/"
    size = status.st_size if kind == "0" else 0
    device = (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind in "34" else (0, 0)
    return _fields(path, mode, *owner, size, kind, target, "", "", device, xattrs or {})


_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISDIR, "5"),
    (stat.S_ISLNK, "2"),
    (stat.S_ISCHR, "3"),
    (stat.S_ISBLK, "4"),
    (stat.S_ISFIFO, "6"),
)


def _fields(
    name: str,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    kind: str,
    link: str,
    user: str,
    group: str,
    device: tuple[int, int],
    xattrs: Mapping[str, str],
) -> Fields:
    return (
        ("name", name),
        ("mode", str(mode)),
        ("uid", str(uid)),
        ("gid", str(gid)),
        ("size", str(size)),
        ("typeflag", kind),
        ("linkname", link),
        ("uname", user),
        ("gname", group),
        ("devmajor", str(device[0])),
        ("devminor", str(device[1])),
        *sorted(xattrs.items()),
    )


def started(fields: Fields) -> _Hash:
    """Return a hash that has read the header; the file's data comes next."""
    found = hashlib.sha256()
    for name, value in fields:
        found.update((name + value).encode(errors="surrogateescape"))
    return found


def joined(kind: str, hashes: Iterable[str]) -> str:
    """Return the hash of several: `dir:…` for a directory's files, `multi:…` for several sources.

    >>> joined("multi", ["file:a", "file:b"])[:14]
    'multi:17e5db45'
    """
    text = ",".join(hashes)
    return f"{kind}:{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()}"
