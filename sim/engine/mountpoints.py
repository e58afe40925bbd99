"""Mounting what a volume's options say.

Decided here and only here: which words of `o=` are flags of mount(2) and which are the filesystem's own. For root.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping
from pathlib import Path

from sim.engine.errors import EngineError

__all__ = ["is_mounted", "mount_options", "unmount"]

_FLAGS = {
    "ro": (1, True), "rw": (1, False), "nosuid": (2, True), "suid": (2, False), "nodev": (4, True), "dev": (4, False),
    "noexec": (8, True), "exec": (8, False), "sync": (16, True), "async": (16, False), "dirsync": (128, True),
    "noatime": (1024, True), "atime": (1024, False), "nodiratime": (2048, True), "diratime": (2048, False),
    "bind": (4096, True), "rbind": (4096 | 16384, True), "relatime": (1 << 21, True), "norelatime": (1 << 21, False),
    "strictatime": (1 << 24, True), "nostrictatime": (1 << 24, False),
}  # fmt: skip
_RDONLY, _REMOUNT, _BIND = 1, 32, 4096
_DETACH = 2


def _mount(source: bytes, target: bytes, kind: bytes, flags: int, data: bytes) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.mount(source, target, kind, ctypes.c_ulong(flags), data) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def mount_options(name: str, target: Path, options: Mapping[str, str]) -> None:
    """Mount what the options of a volume say on its directory.

    Raises
    ------
    EngineError
        It cannot be mounted; in Docker's words.
    """
    flags, rest = 0, []
    for word in filter(None, options.get("o", "").split(",")):
        if word in _FLAGS:
            bit, on = _FLAGS[word]
            flags = flags | bit if on else flags & ~bit
        else:
            rest.append(word)
    device, kind = options.get("device", ""), options.get("type", "")
    arguments = (os.fsencode(device), os.fsencode(target), kind.encode())
    try:
        _mount(*arguments, flags, ",".join(rest).encode())
        if flags & _BIND and flags & _RDONLY:  # a bind takes over the flags of its source: it needs a second call
            _mount(*arguments, flags | _REMOUNT, b"")
    except OSError as error:
        raise EngineError(
            f"failed to mount local volume: mount {device}:{target}, flags: {flags:#x}, data: {','.join(rest)}:"
            f" {(error.strerror or str(error)).lower()} (volume {name})"
        ) from None


def is_mounted(path: Path) -> bool:
    """Tell whether something is mounted on a directory."""
    wanted = os.fsencode(path)
    with open("/proc/self/mountinfo", "rb") as file:
        return any(line.split(b" ", 5)[4] == wanted for line in file)


def unmount(path: Path) -> None:
    """Take away what is mounted on a directory; nothing there is no error."""
    library = ctypes.CDLL(None, use_errno=True)
    while is_mounted(path):
        if library.umount2(os.fsencode(path), _DETACH) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), os.fspath(path))
