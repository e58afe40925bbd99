"""The exceptions of the package.

A failed filesystem operation raises `OSError` with the errno that the kernel's overlayfs gives, exactly as the
functions of `os` do. What is wrong with a mount or a stack itself (a missing layer, a busy mountpoint) raises:

    FusefsError
    ├── LayerError       a layer directory that cannot be used
    ├── MountError       a mount that cannot be made or undone
    └── JournalError     a journal that cannot be read or written
"""

from __future__ import annotations

__all__ = ["FusefsError", "JournalError", "LayerError", "MountError"]


class FusefsError(Exception):
    """Base of what goes wrong with a stack as a whole.

    The text names the thing, then says how to mend it: it is shown to people as it is.
    """


class LayerError(FusefsError):
    """A lower, upper or work directory that cannot be used."""


class MountError(FusefsError):
    """A mount that cannot be made or undone."""


class JournalError(FusefsError):
    """A journal that cannot be read or written."""
