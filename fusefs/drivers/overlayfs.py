"""The kernel's own overlayfs on the same directories: the reference for results and timings.

Decided here and only here: which options of the kernel's overlayfs mean what ours mean. Needs root, or a user
namespace of one's own. Nothing is recorded: the kernel tells nobody.
"""

from __future__ import annotations

import os

from fusefs import syscalls
from fusefs.errors import MountError
from fusefs.marks import Format
from fusefs.stack import Options, Redirect, Stack

__all__ = ["mount_overlay"]

_REDIRECT = {Redirect.ON: "on", Redirect.FOLLOW: "follow", Redirect.NOFOLLOW: "nofollow"}


def _escape(path: os.PathLike[str]) -> str:
    """Return a path as overlayfs's options take it."""
    return os.path.abspath(path).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def mount_overlay(stack: Stack, mountpoint: os.PathLike[str], options: Options) -> None:
    """Mount a stack by the kernel.

    Raises
    ------
    MountError
        The kernel refuses; its errno is in the text.
    """
    if options.marks is Format.OCI:
        raise MountError("the kernel's overlayfs cannot read the marks 'oci'; convert the layers or use another driver")
    settings = [f"lowerdir={':'.join(_escape(path) for path in stack.lower)}"]
    flags = 0
    if stack.upper is not None and stack.work is not None:
        settings += [f"upperdir={_escape(stack.upper)}", f"workdir={_escape(stack.work)}"]
        settings += [f"index={'on' if options.index else 'off'}", f"metacopy={'on' if options.metacopy else 'off'}"]
        if options.volatile:
            settings.append("volatile")
    else:
        flags |= syscalls.MS_RDONLY
    if options.marks is Format.USER:
        settings.append("userxattr")
    else:
        settings.append(f"redirect_dir={_REDIRECT[options.redirect]}")
    try:
        syscalls.mount(b"overlay", os.fsencode(mountpoint), b"overlay", flags, os.fsencode(",".join(settings)))
    except OSError as error:
        raise MountError(f"{os.fspath(mountpoint)}: the kernel's overlayfs refuses it: {error.strerror}") from error
