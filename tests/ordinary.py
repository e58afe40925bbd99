"""Run a program as an ordinary user, also where the checkout or the interpreter lies in root's own directories.

    python -m tests.ordinary UID GID PATH... -- PROGRAM [ARGUMENT...]

Started by root. Each PATH (a checkout, an environment, an interpreter) is made reachable for the user, in a mount
namespace of its own: a directory above it that others may not search is covered by one that they may, which holds
nothing but what leads to the paths. Nothing outside of the namespace changes.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
import tempfile
from pathlib import Path

CLONE_NEWNS = 0x00020000
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 0x1000, 0x2000, 0x4000, 0x40000

MNT_DETACH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    if _libc.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def closed_above(path: Path) -> Path | None:
    """Return the topmost directory on the way to `path` that others may not search."""
    for directory in reversed(path.parents):
        if not directory.stat().st_mode & stat.S_IXOTH:
            return directory
    return None


def open_the_way(paths: list[Path]) -> None:
    """Cover what keeps others from `paths`; the process must be in a mount namespace of its own."""
    while closed := next(filter(None, map(closed_above, paths)), None):
        inside = [path for path in paths if path.is_relative_to(closed)]
        held = [os.open(path, os.O_PATH) for path in inside]
        _mount("tmpfs", str(closed), "tmpfs", 0, "mode=755")
        for path, fd in zip(inside, held, strict=True):
            if path.exists():  # a path inside another one
                continue
            path.mkdir(parents=True)
            _mount(f"/proc/self/fd/{fd}", str(path), "", MS_BIND | MS_REC)
        for fd in held:
            os.close(fd)


def open_fuse() -> None:
    """Cover /dev/fuse, where it is for root only, by one that everybody may open, as distributions have it."""
    try:
        status = os.stat("/dev/fuse")
    except OSError:
        return
    if status.st_mode & 0o006 == 0o006:
        return
    place = tempfile.mkdtemp()
    _mount("tmpfs", place, "tmpfs", 0)
    os.mknod(f"{place}/fuse", stat.S_IFCHR, status.st_rdev)
    os.chmod(f"{place}/fuse", 0o666)
    _mount(f"{place}/fuse", "/dev/fuse", "", MS_BIND)
    _libc.umount2(place.encode(), MNT_DETACH)
    os.rmdir(place)


def main(arguments: list[str]) -> None:
    """Do as the module's text says."""
    split = arguments.index("--")
    uid, gid, *paths = arguments[:split]
    program = arguments[split + 1 :]
    if _libc.unshare(CLONE_NEWNS) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    _mount("", "/", "", MS_REC | MS_PRIVATE)
    open_the_way(sorted({Path(path).resolve() for path in paths}))
    open_fuse()
    os.setgroups([])
    os.setgid(int(gid))
    os.setuid(int(uid))
    os.execvp(program[0], program)


if __name__ == "__main__":
    main(sys.argv[1:])
