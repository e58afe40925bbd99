"""The kernel's own overlayfs on the same directories: the reference for results and timings.

Decided here and only here: which options of the kernel's overlayfs mean what ours mean. Needs root, or a user
namespace of one's own. Nothing is recorded: the kernel tells nobody.
"""

from __future__ import annotations

import contextlib
import os

from fusefs import syscalls
from fusefs.errors import MountError
from fusefs.marks import Format
from fusefs.stack import Options, Redirect, Stack

__all__ = ["mount_overlay"]

_REDIRECT = {Redirect.ON: "on", Redirect.FOLLOW: "follow", Redirect.NOFOLLOW: "nofollow"}

#: Bytes of all layers' names together up to which they are told as they are: mount(2) takes a page of options, and cuts
#: off what is more without a word. There have to be the names of upper and work directory in it as well.
_ROOM = 1500


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
    lower = ":".join(_escape(path) for path in stack.lower)
    with contextlib.ExitStack() as held:
        if len(os.fsencode(lower)) > _ROOM:
            lower = ":".join(_by_descriptor(path, held) for path in stack.lower)
        _mount(f"lowerdir={lower}", stack, mountpoint, options)


def _by_descriptor(path: os.PathLike[str], held: contextlib.ExitStack) -> str:
    """Return a short name of a directory, good as long as `held` is: the kernel resolves it in this process."""
    descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    held.callback(os.close, descriptor)
    return f"/proc/self/fd/{descriptor}"


def _mount(lower: str, stack: Stack, mountpoint: os.PathLike[str], options: Options) -> None:
    settings = [lower]
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
