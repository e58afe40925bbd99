"""The device /dev/fuse: how a mount is made on it, its descriptors, notifications, and backing files.

Decided here and only here: how this process gets a mount (directly, or by fusermount3), and every write to the device
that is not an answer. Any thread may call.

But for one, a notification never waits for a request: only statuses, listings of directories and pages that no request
is in flight for are dropped or filled, so that the kernel needs no lock whose holder waits for us. The one is that
which drops a name.
"""

from __future__ import annotations

import array
import contextlib
import errno
import fcntl
import os
import shutil
import socket
import struct
from collections.abc import Iterable, Sequence

from fusefs import syscalls
from fusefs.drivers.devfuse import wire
from fusefs.drivers.devfuse.wire import Notify
from fusefs.errors import MountError

__all__ = ["Device"]

_HEADER = wire.OUT_HEADER.codec
_INVAL_INODE = wire.NOTIFY_INVAL_INODE_OUT.codec
_INVAL_ENTRY = wire.NOTIFY_INVAL_ENTRY_OUT.codec
_STORE = wire.NOTIFY_STORE_OUT.codec
_PRUNE = wire.NOTIFY_PRUNE_OUT.codec
_BACKING = wire.BACKING_MAP.codec

#: Options that are flags of mount(2), and those that the kernel takes as text.
_FLAGS = {
    "ro": syscalls.MS_RDONLY,
    "noexec": syscalls.MS_NOEXEC,
    "noatime": syscalls.MS_NOATIME,
    "sync": syscalls.MS_SYNCHRONOUS,
    "dirsync": syscalls.MS_DIRSYNC,
}
_CONTEXTS = ("context", "fscontext", "defcontext", "rootcontext")

#: What keeps a mount from being made directly by this process, so that fusermount3 is asked.
_NOT_ALLOWED = (errno.EPERM, errno.EACCES)


class Device:
    """A mount's end of the device.

    Parameters
    ----------
    fd
        The first descriptor.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def mount(cls, mountpoint: str, options: Sequence[str]) -> Device:
        """Mount on a directory.

        Parameters
        ----------
        mountpoint
            The directory.
        options
            As `mount -o` has them: `fsname=`, `subtype=`, `ro`, `allow_other`, `dev`, `suid`, `noexec`, `noatime`,
            `sync`, `dirsync`, and SELinux's `context=` and its like.

        Raises
        ------
        MountError
            Neither this process nor fusermount3 may.
        """
        fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        try:
            _mount_directly(fd, mountpoint, options)
        except OSError as error:
            os.close(fd)
            if error.errno not in _NOT_ALLOWED:
                raise MountError(f"{mountpoint}: cannot be mounted: {error.strerror}") from None
            fd = _ask_fusermount(mountpoint, options)
        return cls(fd)

    def clone(self) -> int:
        """Return one more descriptor of the mount; the first one where the kernel has no such thing."""
        try:
            fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return os.dup(self.fd)
        try:
            fcntl.ioctl(fd, wire.DEV_IOC_CLONE, struct.pack("=I", self.fd))
        except OSError:
            os.close(fd)
            return os.dup(self.fd)
        return fd

    def close(self) -> None:
        """Close the first descriptor."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    # Notifications. What the kernel does not know (ENOENT) or cannot (EINVAL) is not an error.

    def _notify(self, code: Notify, *parts: bytes | memoryview) -> bool:
        size = _HEADER.size + sum(len(part) for part in parts)
        try:
            os.writev(self.fd, (_HEADER.pack(size, code, 0), *parts))
        except OSError:
            return False
        return True

    def forget_status(self, node_id: int) -> None:
        """Let the kernel ask for the status of a node again."""
        self._notify(Notify.INVAL_INODE, _INVAL_INODE.pack(node_id, -1, 0))

    def forget_listing(self, node_id: int) -> None:
        """Let the kernel ask for the status and the listing of a directory again."""
        self._notify(Notify.INVAL_INODE, _INVAL_INODE.pack(node_id, 0, 0))

    def forget_name(self, parent_id: int, name: bytes) -> None:
        """Let the kernel ask again what a name leads to.

        It needs the directory's lock, which who waits for an answer may have: not for who answers.
        """
        self._notify(Notify.INVAL_ENTRY, _INVAL_ENTRY.pack(parent_id, len(name), 0), name, b"\0")

    def store(self, node_id: int, data: bytes) -> bool:
        """Put the beginning of a file into the page cache."""
        return self._notify(Notify.STORE, _STORE.pack(node_id, 0, len(data), 0), data)

    def prune(self, node_ids: Iterable[int]) -> bool:
        """Ask the kernel to let go of nodes that nobody uses; false where it cannot be asked."""
        packed = array.array("Q", node_ids).tobytes()
        return self._notify(Notify.PRUNE, _PRUNE.pack(len(packed) // 8, 0, 0), packed)

    # Backing files

    def backing_open(self, fd: int) -> int:
        """Register a file for passthrough and return its backing ID.

        Raises
        ------
        OSError
            EPERM without privilege, ELOOP for a file of a stacked filesystem, EOPNOTSUPP before Linux 6.9.
        """
        # A mutable buffer, so that the result is the call's own and not the buffer's.
        backing: int = fcntl.ioctl(self.fd, wire.DEV_IOC_BACKING_OPEN, bytearray(_BACKING.pack(fd, 0, 0)))
        return backing

    def backing_close(self, backing: int) -> None:
        """Give a backing ID back."""
        with contextlib.suppress(OSError):
            fcntl.ioctl(self.fd, wire.DEV_IOC_BACKING_CLOSE, struct.pack("=I", backing))


def _mount_directly(fd: int, mountpoint: str, options: Sequence[str]) -> None:
    """Call mount(2)."""
    values = dict(option.partition("=")[::2] for option in options)
    flags = 0
    for name, flag in _FLAGS.items():
        if name in values:
            flags |= flag
    if "dev" not in values:
        flags |= syscalls.MS_NODEV
    if "suid" not in values:
        flags |= syscalls.MS_NOSUID
    data = f"fd={fd},rootmode=40000,user_id={os.geteuid()},group_id={os.getegid()},default_permissions"
    if "allow_other" in values:
        data += ",allow_other"
    data += "".join(f",{name}={values[name]}" for name in _CONTEXTS if name in values)
    kind = "fuse." + values["subtype"] if "subtype" in values else "fuse"
    source = os.fsencode(values.get("fsname", "fuse"))
    syscalls.mount(source, os.fsencode(mountpoint), kind.encode(), flags, data.encode())


def _ask_fusermount(mountpoint: str, options: Sequence[str]) -> int:
    """Let fusermount3, which is privileged, mount; it sends the descriptor over a socket."""
    import subprocess  # who mounts directly has no use for it, and would carry it along

    program = shutil.which("fusermount3") or shutil.which("fusermount")
    if program is None:
        raise MountError("fusermount3: not found, and only root mounts without it; install the package 'fuse3'")
    # The descriptor must not be taken from us before we mount: `_FUSE_COMMFD` names our end of the socket there.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    wanted = [option for option in options if option not in ("dev", "suid", "allow_other")]
    with ours, theirs:
        done = subprocess.run(
            [program, "-o", ",".join([*wanted, "default_permissions"]), "--", mountpoint],
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
            pass_fds=(theirs.fileno(),),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip() or f"fusermount3 ended with {done.returncode}"
            raise MountError(f"{mountpoint}: cannot be mounted: {said}")
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    for level, kind, payload in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fd = int(struct.unpack("=i", payload[:4])[0])
            os.set_inheritable(fd, False)
            return fd
    raise MountError(f"{mountpoint}: cannot be mounted: fusermount3 sent no descriptor")
