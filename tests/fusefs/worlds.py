"""Small worlds for comparing unions: layers described as data, operations as data, and what is seen afterwards.

A world is a list of layers, each a mapping from path to `Thing`. It is built once on disk; the kernel's overlayfs and
ours then get the same lower directories and an upper of their own each. `perform` does one operation through the
functions of `os` (on a mountpoint) or through `UnionFS`, and returns what a caller would see of it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusefs import UnionFS, syscalls

#: A time in the past, so that what an operation sets to "now" can be told from what a layer had. In ns.
PAST = 1_500_000_000_123_456_789

World = Sequence[Mapping[str, "Thing"]]


@dataclass(frozen=True)
class Thing:
    """One object of a layer: `kind` is dir, opaque, file, symlink, fifo, whiteout or link; `text` is its content."""

    kind: str
    text: str = ""
    mode: int = 0o644
    attributes: Mapping[str, str] = field(default_factory=dict)


def build(world: World, place: Path, prefix: str = "trusted") -> list[Path]:
    """Make the layers of a world on disk; return their directories in the given order, the topmost first.

    Opaque marks are attributes that begin with `prefix`, trusted or user.
    """
    found: list[Path] = []
    for number, layer in enumerate(world, 1):
        root = place / f"layer{number}"
        root.mkdir(parents=True)
        for path in sorted(layer):
            _make(root, path, layer[path], prefix)
        _age(root)
        found.append(root)
    return found


def _make(root: Path, path: str, thing: Thing, prefix: str) -> None:
    at = root / path
    match thing.kind:
        case "dir" | "opaque":
            at.mkdir(exist_ok=True)
            if thing.kind == "opaque":
                os.setxattr(at, f"{prefix}.overlay.opaque", b"y")
            at.chmod(0o755)
        case "file":
            at.write_text(thing.text)
            at.chmod(thing.mode)
        case "symlink":
            at.symlink_to(thing.text)
        case "fifo":
            os.mkfifo(at)
        case "whiteout":
            os.mknod(at, stat.S_IFCHR, 0)
        case "link":
            if not (root / thing.text).is_file() or (root / thing.text).is_symlink():
                at.write_text("no link")
            else:
                at.hardlink_to(root / thing.text)
    for name, value in thing.attributes.items():
        os.setxattr(at, name, value.encode(), follow_symlinks=False)


def _age(root: Path) -> None:
    for directory, names, files in os.walk(root, topdown=False):
        for name in [*names, *files]:
            os.utime(os.path.join(directory, name), ns=(PAST, PAST), follow_symlinks=False)
    os.utime(root, ns=(PAST, PAST))


class Mounted:
    """The functions of `os` on the tree below a directory, named as those of `UnionFS`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def at(self, path: str) -> str:
        return f"{self.root}/{path}"

    def close(self) -> None:
        """Do nothing: the mount is not ours."""


def _failed(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, str(error.errno))


def perform(where: Mounted | UnionFS, operation: tuple[Any, ...]) -> object:
    """Do one operation; return its result, or the name of the errno it failed with."""
    name, *arguments = operation
    try:
        if isinstance(where, UnionFS):
            return _IN_PROCESS[name](where, *arguments)
        return _ON_MOUNT[name](where, *arguments)
    except OSError as error:
        return _failed(error)


def _open_write(path: str, flags: int, data: bytes, offset: int) -> int:
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    try:
        return os.pwrite(fd, data, offset) if data else 0
    finally:
        os.close(fd)


def _union_write(fs: UnionFS, path: str, flags: int, data: bytes, offset: int) -> int:
    try:
        if stat.S_ISLNK(fs.lstat(path).st_mode):
            raise OSError(errno.ELOOP if not flags & os.O_EXCL else errno.EEXIST, "")
    except FileNotFoundError:
        pass
    with fs.open(path, flags | os.O_NONBLOCK, 0o644) as file:
        return fs.union.write(file, data, offset) if data else 0


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        return b"" if stat.S_ISFIFO(os.fstat(fd).st_mode) else os.read(fd, 1 << 20)
    finally:
        os.close(fd)


def _union_read(fs: UnionFS, path: str) -> bytes:
    kind = fs.lstat(path).st_mode
    if stat.S_ISLNK(kind):
        raise OSError(errno.ELOOP, "")
    return b"" if stat.S_ISFIFO(kind) else fs.read_bytes(path)


def _user_attributes(names: Sequence[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("security."))


def _status(status: Any, *, is_root: bool) -> tuple[object, ...]:
    mode = status.st_mode
    size = status.st_size if not stat.S_ISDIR(mode) else 0
    links = 0 if is_root else status.st_nlink
    return oct(mode), status.st_uid, status.st_gid, size, links, status.st_rdev


def _listing(path: str) -> list[str]:
    """List a directory. The kernel lists the whiteouts of a directory that is in one layer only: they are left out."""
    return sorted(name for name in os.listdir(path) if os.path.lexists(f"{path}/{name}"))


_ON_MOUNT: dict[str, Any] = {
    "mkdir": lambda m, p, mode: os.mkdir(m.at(p), mode),
    "rmdir": lambda m, p: os.rmdir(m.at(p)),
    "unlink": lambda m, p: os.unlink(m.at(p)),
    "rename": lambda m, p, q, flags: syscalls.rename(-1, os.fsencode(m.at(p)), -1, os.fsencode(m.at(q)), flags),
    "link": lambda m, p, q: os.link(m.at(p), m.at(q), follow_symlinks=False),
    "symlink": lambda m, text, p: os.symlink(text, m.at(p)),
    "mkfifo": lambda m, p: os.mkfifo(m.at(p)),
    "mkwhiteout": lambda m, p: os.mknod(m.at(p), stat.S_IFCHR, 0),
    "write": lambda m, p, flags, data, offset: _open_write(m.at(p), flags, data, offset),
    "read": lambda m, p: _read(m.at(p)),
    "truncate": lambda m, p, size: os.truncate(m.at(p), size),
    "chmod": lambda m, p, mode: os.chmod(m.at(p), mode),
    "chown": lambda m, p, uid, gid: os.chown(m.at(p), uid, gid, follow_symlinks=False),
    "utimens": lambda m, p, ns: os.utime(m.at(p), ns=(ns, ns), follow_symlinks=False),
    "setxattr": lambda m, p, name, value, flags: os.setxattr(m.at(p), name, value, flags, follow_symlinks=False),
    "getxattr": lambda m, p, name: os.getxattr(m.at(p), name, follow_symlinks=False),
    "removexattr": lambda m, p, name: os.removexattr(m.at(p), name, follow_symlinks=False),
    "listxattr": lambda m, p: _user_attributes(os.listxattr(m.at(p), follow_symlinks=False)),
    "listdir": lambda m, p: _listing(m.at(p)),
    "readlink": lambda m, p: os.readlink(m.at(p)),
    "stat": lambda m, p: _status(os.lstat(m.at(p)), is_root=p in ("", "/")),
}

_IN_PROCESS: dict[str, Any] = {
    "mkdir": lambda f, p, mode: f.mkdir("/" + p, mode),
    "rmdir": lambda f, p: f.rmdir("/" + p),
    "unlink": lambda f, p: f.unlink("/" + p),
    "rename": lambda f, p, q, flags: f.rename("/" + p, "/" + q, flags),
    "link": lambda f, p, q: f.link("/" + p, "/" + q),
    "symlink": lambda f, text, p: f.symlink(text, "/" + p),
    "mkfifo": lambda f, p: f.mknod("/" + p, stat.S_IFIFO | 0o644),
    "mkwhiteout": lambda f, p: f.mknod("/" + p, stat.S_IFCHR, 0),
    "write": lambda f, p, flags, data, offset: _union_write(f, "/" + p, flags, data, offset),
    "read": lambda f, p: _union_read(f, "/" + p),
    "truncate": lambda f, p, size: f.truncate("/" + p, size),
    "chmod": lambda f, p, mode: f.chmod("/" + p, mode),
    "chown": lambda f, p, uid, gid: f.chown("/" + p, uid, gid, follow_symlinks=False),
    "utimens": lambda f, p, ns: f.utimens("/" + p, (ns, ns), follow_symlinks=False),
    "setxattr": lambda f, p, name, value, flags: f.setxattr("/" + p, name, value, flags, follow_symlinks=False),
    "getxattr": lambda f, p, name: f.getxattr("/" + p, name, follow_symlinks=False),
    "removexattr": lambda f, p, name: f.removexattr("/" + p, name, follow_symlinks=False),
    "listxattr": lambda f, p: _user_attributes(f.listxattr("/" + p, follow_symlinks=False)),
    "listdir": lambda f, p: f.listdir("/" + p),
    "readlink": lambda f, p: f.readlink("/" + p),
    "stat": lambda f, p: _status(f.lstat("/" + p), is_root=not p),
}


@dataclass(frozen=True)
class Seen:
    """What is seen of one object: all that two unions must agree on. `inode` is compared by those who can."""

    status: tuple[object, ...]
    content: object
    attributes: tuple[tuple[str, bytes], ...]
    modified: int | None
    inode: int


def look(where: Mounted | UnionFS, *, seconds_only: bool = False) -> dict[str, Seen]:
    """Return all that is seen of a tree, by path; times only where they are not of this test."""
    return dict(_look(where, "", seconds_only))


def _look(where: Mounted | UnionFS, path: str, seconds_only: bool) -> Iterator[tuple[str, Seen]]:
    status = where.lstat("/" + path) if isinstance(where, UnionFS) else os.lstat(where.at(path))
    mode = status.st_mode
    content: object = None
    if stat.S_ISDIR(mode):
        content = perform(where, ("listdir", path))
    elif stat.S_ISLNK(mode):
        content = perform(where, ("readlink", path))
    elif stat.S_ISREG(mode):
        content = perform(where, ("read", path))
    names = perform(where, ("listxattr", path))
    assert isinstance(names, list)
    attributes = tuple((name, perform(where, ("getxattr", path, name))) for name in names)
    old = status.st_mtime < 1_700_000_000
    modified = (status.st_mtime_ns // 1_000_000_000 if seconds_only else status.st_mtime_ns) if old else None
    seen = Seen(_status(status, is_root=not path), content, attributes, modified, status.st_ino)  # type: ignore[arg-type]
    yield path, seen
    if isinstance(content, list):
        for name in content:
            yield from _look(where, f"{path}/{name}" if path else name, seconds_only)
