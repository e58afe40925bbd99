"""Being told when a file of a directory changes (inotify(7)), which Python's `os` lacks.

Decided here and only here: the system calls. A `Notices` belongs to one thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path

__all__ = ["Notices"]

_CLOEXEC, _NONBLOCK = 0o2000000, 0o4000
_MODIFY, _MOVED_TO, _CREATE = 0x2, 0x80, 0x100

_libc = ctypes.CDLL(None, use_errno=True)


class Notices:
    """A descriptor that is readable when files of a directory were written, made or moved into it."""

    def __init__(self, directory: Path) -> None:
        self._fd: int = _libc.inotify_init1(_CLOEXEC | _NONBLOCK)
        if self._fd < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))
        if _libc.inotify_add_watch(self._fd, os.fsencode(directory), _MODIFY | _MOVED_TO | _CREATE) < 0:
            error = ctypes.get_errno()
            os.close(self._fd)
            raise OSError(error, os.strerror(error), os.fspath(directory))

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._fd

    def clear(self) -> None:
        """Forget what was told, so that it is readable at the next change."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._fd, 1 << 16):
                pass

    def close(self) -> None:
        """Be told no more."""
        os.close(self._fd)
