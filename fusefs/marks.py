"""Whiteouts, opaque marks and overlay's private attributes, in each form in which they stand on disk.

Decided here and only here: how "this name is deleted" and "nothing below shows through" are written and recognised,
and which extended attributes belong to the union itself. Functions only, no state: any thread.

Three formats are written, chosen for an upper directory when a stack is opened:

========== ==================================== ==============================
format     a whiteout of NAME                   an opaque directory
========== ==================================== ==============================
`overlay`  character device 0/0 called NAME     xattr trusted.overlay.opaque=y
`user`     character device 0/0 called NAME     xattr user.overlay.opaque=y
`oci`      empty file called .wh.NAME           empty file .wh..wh..opq in it
========== ==================================== ==============================

All of them are recognised in a read-only layer, and one more that Linux 6.7 brought: an empty file with the xattr
`overlay.whiteout`, inside a directory whose `overlay.opaque` is `x`. Sources: the kernel's
filesystems/overlayfs document, sections "whiteouts and opaque directories"; the OCI image specification, "Layer
Filesystem Changeset", section "Whiteouts".
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "OCI_OPAQUE",
    "OCI_PREFIX",
    "DirectoryMarks",
    "Format",
    "at",
    "escape_attribute",
    "get_attribute",
    "is_private_attribute",
    "is_whiteout",
    "read_marks",
    "reserved_name",
    "set_attribute",
    "set_opaque",
    "try_format",
    "unescape_attribute",
    "whiteout_device",
]

OCI_PREFIX = b".wh."
OCI_OPAQUE = b".wh..wh..opq"

_NAMESPACES = (b"trusted.overlay.", b"user.overlay.")
_ABSENT = (errno.ENODATA, errno.EOPNOTSUPP, errno.EPERM, errno.EACCES)


class Format(StrEnum):
    """How marks are written in an upper directory."""

    OVERLAY = "overlay"  #: as the kernel's overlayfs does for root
    USER = "user"  #: as the kernel's overlayfs does with the option userxattr
    OCI = "oci"  #: as in the layers of images, for filesystems without devices and xattrs

    @property
    def prefix(self) -> bytes:
        """What the extended attributes begin with that the union writes; with OCI marks it writes none."""
        return _NAMESPACES[0] if self is Format.OVERLAY else _NAMESPACES[1]

    @property
    def prefixes(self) -> tuple[bytes, ...]:
        """What the union's own extended attributes begin with; with OCI marks those of both others are."""
        return _NAMESPACES if self is Format.OCI else (self.prefix,)


@dataclass(frozen=True, slots=True)
class DirectoryMarks:
    """What a directory of a layer says about the layers below it.

    Attributes
    ----------
    opaque
        Nothing below shows through.
    attribute_whiteouts
        Empty files in it may be whiteouts by an extended attribute.
    redirect
        Where its part in the layers below lies: an absolute path from the layer's root, or a name in the same
        directory; None if under its own name.
    """

    opaque: bool = False
    attribute_whiteouts: bool = False
    redirect: bytes | None = None


_PLAIN = DirectoryMarks()


def at(directory: int, name: bytes) -> bytes:
    """Return a path for calls that take no directory descriptor. Its last component is followed if the call follows.

    >>> at(7, b"passwd")
    b'/proc/self/fd/7/passwd'
    """
    return b"/proc/self/fd/%d/%s" % (directory, name)


def is_whiteout(status: os.stat_result) -> bool:
    """Tell whether this is the device that stands for a deleted name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def whiteout_device(directory: int, name: bytes) -> None:
    """Make a whiteout called `name`; needs no privilege since Linux 5.8 (EPERM before)."""
    os.mknod(name, stat.S_IFCHR, 0, dir_fd=directory)


def reserved_name(name: bytes) -> bool:
    """Tell whether this name could be read as a mark, so that nobody may create it through the union."""
    return name.startswith(OCI_PREFIX)


def get_attribute(path: bytes | int, name: bytes) -> bytes | None:
    """Return the value of an extended attribute of the object itself, given by path or open, None where it has none."""
    try:
        return os.getxattr(path, name, follow_symlinks=isinstance(path, int))
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise


def set_attribute(path: bytes | int, name: bytes, value: bytes) -> bool:
    """Set an extended attribute of the object itself, given by path or open; false where it can have none."""
    try:
        os.setxattr(path, name, value, follow_symlinks=isinstance(path, int))
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EPERM):
            return False
        raise
    return True


def read_marks(path: bytes | int) -> DirectoryMarks:
    """Read what a directory, given open or by a path that is followed nowhere, says about the layers below it."""
    try:
        names = os.listxattr(path, follow_symlinks=isinstance(path, int))
    except OSError as error:
        if error.errno in _ABSENT:
            return _PLAIN
        raise
    opaque = special = False
    redirect: bytes | None = None
    for name in names:
        if ".overlay." not in name:
            continue
        raw = os.fsencode(name)
        for prefix in _NAMESPACES:
            if raw == prefix + b"opaque":
                value = get_attribute(path, raw)
                opaque = opaque or value == b"y"
                special = special or value == b"x"
            elif raw == prefix + b"redirect":
                redirect = get_attribute(path, raw)
    if not (opaque or special or redirect):
        return _PLAIN
    return DirectoryMarks(opaque, special, redirect)


def set_opaque(directory: int, name: bytes, marks: Format) -> None:
    """Make a directory of the upper opaque.

    Raises
    ------
    OSError
        EOPNOTSUPP where the filesystem has no extended attributes.
    """
    if marks is Format.OCI:
        mark = os.open(at(directory, name) + b"/" + OCI_OPAQUE, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600)
        os.close(mark)
    else:
        os.setxattr(at(directory, name), marks.prefix + b"opaque", b"y", follow_symlinks=False)


def try_format(directory: int, marks: Format) -> None:
    """Make an opaque directory and a whiteout in a directory, and take them away again.

    Raises
    ------
    OSError
        This process cannot write these marks there: EPERM, or EOPNOTSUPP for want of extended attributes.
    """
    probe = b"layerlab-probe-%d" % os.getpid()
    if marks is Format.OCI:
        mark = OCI_PREFIX + probe
        os.close(os.open(mark, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600, dir_fd=directory))
        os.unlink(mark, dir_fd=directory)
        return
    os.mkdir(probe, 0o700, dir_fd=directory)
    try:
        set_opaque(directory, probe, marks)
        whiteout_device(directory, probe + b"-w")
        os.unlink(probe + b"-w", dir_fd=directory)
    finally:
        os.rmdir(probe, dir_fd=directory)


def is_private_attribute(name: bytes, marks: Format) -> bool:
    """Tell whether an extended attribute on disk is the union's own, invisible through the merged view.

    >>> is_private_attribute(b"trusted.overlay.opaque", Format.OVERLAY)
    True
    >>> is_private_attribute(b"trusted.overlay.overlay.opaque", Format.OVERLAY)
    False
    """
    return any(name.startswith(prefix) and not name.startswith(prefix + b"overlay.") for prefix in marks.prefixes)


def escape_attribute(name: bytes, marks: Format) -> bytes:
    """Return the name on disk of an extended attribute that the caller named, so that unions nest.

    >>> escape_attribute(b"trusted.overlay.opaque", Format.OVERLAY)
    b'trusted.overlay.overlay.opaque'
    """
    for prefix in marks.prefixes:
        if name.startswith(prefix):
            return prefix + b"overlay." + name[len(prefix) :]
    return name


def unescape_attribute(name: bytes, marks: Format) -> bytes:
    """Return the name that the caller sees of an extended attribute on disk; the reverse of `escape_attribute`."""
    for prefix in marks.prefixes:
        if name.startswith(prefix + b"overlay."):
            return prefix + name[len(prefix) + 8 :]
    return name
