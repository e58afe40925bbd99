"""The system calls that Python's `os` lacks, each as a function that raises `OSError`.

Decided here and only here: every ctypes call of the package. Each function is one system call (its man page names the
rules), takes descriptors and bytes, and may be called from any thread: ctypes lets other threads run meanwhile.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

__all__ = [
    "AT_EMPTY_PATH",
    "MNT_DETACH",
    "MS_DIRSYNC",
    "MS_NOATIME",
    "MS_NODEV",
    "MS_NOEXEC",
    "MS_NOSUID",
    "MS_RDONLY",
    "MS_SYNCHRONOUS",
    "RENAME_EXCHANGE",
    "RENAME_NOREPLACE",
    "RENAME_WHITEOUT",
    "UTIME_NOW",
    "UTIME_OMIT",
    "clone_file",
    "copy_range",
    "fallocate",
    "file_handle",
    "filesystem_uuid",
    "fill_memory",
    "keep_capabilities",
    "mount",
    "open_beneath",
    "release_memory",
    "rename",
    "set_arguments_end",
    "set_filesystem_ids",
    "set_name",
    "syncfs",
    "umount",
    "utimens",
]

_libc = ctypes.CDLL(None, use_errno=True)

RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT = 1, 2, 4
AT_EMPTY_PATH = 0x1000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_SYNCHRONOUS, MS_DIRSYNC, MS_NOATIME = 1, 2, 4, 8, 16, 128, 1024
MNT_DETACH = 2
UTIME_NOW, UTIME_OMIT = (1 << 30) - 1, (1 << 30) - 2

_AT_SYMLINK_NOFOLLOW = 0x100
_FICLONE = 0x40049409
_FS_IOC_GETFSUUID = 0x80111500
_SECBIT_NO_SETUID_FIXUP = 4
_PR_GET_SECUREBITS, _PR_SET_SECUREBITS = 27, 28
_PR_SET_NAME, _PR_SET_MM, _PR_SET_MM_MAP = 15, 35, 14
_RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 4, 8

#: Number of openat2 on every architecture whose table is the generic one or x86's; from the kernel's syscall tables.
_SYS_OPENAT2 = 437


def _check(result: int, name: bytes | str | None = None) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), name)
    return result


def rename(old_dir: int, old: bytes, new_dir: int, new: bytes, flags: int = 0) -> None:
    """Rename with flags (renameat2(2)); without flags as `os.rename`."""
    if not flags:
        os.rename(old, new, src_dir_fd=old_dir, dst_dir_fd=new_dir)
        return
    _check(_libc.renameat2(old_dir, old, new_dir, new, flags), old)


def open_beneath(directory: int, path: bytes, flags: int, mode: int = 0) -> int:
    """Open a relative path below a directory, following no symlink on the way or at its end (openat2(2)).

    Raises
    ------
    OSError
        ELOOP where any component is a symlink, EXDEV where the path leads out.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS)
    result = _libc.syscall(_SYS_OPENAT2, directory, path, how, len(how))
    if result < 0 and ctypes.get_errno() in (errno.ENOSYS, errno.EPERM):
        return _walk(directory, path, flags, mode)
    return _check(result, path)


def _walk(directory: int, path: bytes, flags: int, mode: int) -> int:
    """Do what `open_beneath` does where the kernel lacks openat2, or a sandbox forbids it: step by step."""
    names = [name for name in path.split(b"/") if name not in (b"", b".")]
    if b".." in names:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
    at = os.dup(directory)
    try:
        for name in names[:-1]:
            step = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = step
        last = names[-1] if names else b"."
        return os.open(last, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=at)
    finally:
        os.close(at)


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


def utimens(directory: int, name: bytes, accessed: int | None, modified: int | None, *, follow: bool = False) -> None:
    """Set times in nanoseconds since the epoch (utimensat(2)); None leaves one as it is, -1 means now.

    `directory` is -1 for a path that begins at the root. Times before 1970 are negative; -1 ns itself cannot be asked
    for, which no filesystem minds.
    """
    if accessed not in (None, -1) and modified not in (None, -1):  # what Python has too, and five times as fast
        os.utime(
            name,
            ns=(accessed, modified),
            dir_fd=directory if directory >= 0 else None,
            follow_symlinks=follow,
        )
        return

    def spec(time: int | None) -> _Timespec:
        if time is None:
            return _Timespec(0, UTIME_OMIT)
        if time == -1:
            return _Timespec(0, UTIME_NOW)
        return _Timespec(*divmod(time, 1_000_000_000))

    times = (_Timespec * 2)(spec(accessed), spec(modified))
    _check(_libc.utimensat(directory, name, times, 0 if follow else _AT_SYMLINK_NOFOLLOW), name)


def fallocate(descriptor: int, mode: int, offset: int, length: int) -> None:
    """Allocate, punch or zero a range of a file (fallocate(2))."""
    _check(_libc.fallocate64(descriptor, mode, ctypes.c_int64(offset), ctypes.c_int64(length)))


def set_name(name: str) -> None:
    """Name the calling thread as `ps` shows it, at most 15 bytes (prctl(2)); a process is called as its first one."""
    _libc.prctl(_PR_SET_NAME, name.encode()[:15] + b"\0", 0, 0, 0)


def syncfs(descriptor: int) -> None:
    """Write everything of the filesystem that holds `descriptor` to disk (syncfs(2))."""
    _check(_libc.syncfs(descriptor))


def clone_file(source: int, target: int) -> bool:
    """Make `target` share the data of `source` (ioctl FICLONE); false where the filesystem cannot."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.EPERM, errno.ENOSYS):
            return False
        raise
    return True


def copy_range(source: int, target: int, offset: int, count: int) -> int:
    """Copy up to `count` bytes at `offset` within the kernel (copy_file_range(2), else sendfile(2)); 0 at the end."""
    try:
        return os.copy_file_range(source, target, count, offset, offset)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EIO):
            raise
    os.lseek(target, offset, os.SEEK_SET)
    return os.sendfile(target, source, offset, count)


def file_handle(directory: int, name: bytes) -> tuple[int, bytes] | None:
    """Return type and bytes of an object's file handle (name_to_handle_at(2)); None where the filesystem has none.

    The handle names the inode, not the path, and stays the same over renames and reboots.
    """
    buffer = ctypes.create_string_buffer(struct.pack("=Ii", 128, 0), 136)
    mount_id = ctypes.c_int()
    flags = 0 if name else AT_EMPTY_PATH
    if _libc.name_to_handle_at(directory, name, buffer, ctypes.byref(mount_id), flags) < 0:
        return None
    size, kind = struct.unpack_from("=Ii", buffer)
    return kind, buffer.raw[8 : 8 + size]


def filesystem_uuid(directory: int) -> bytes:
    """Return the 16 bytes by which the kernel knows a filesystem (ioctl FS_IOC_GETFSUUID, Linux 6.9); else zeros."""
    answer = bytearray(17)
    try:
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return bytes(16)
    try:
        fcntl.ioctl(fd, _FS_IOC_GETFSUUID, answer)
    except OSError:
        return bytes(16)
    finally:
        os.close(fd)
    return bytes(answer[1:17])


def release_memory() -> None:
    """Give memory that is free in this process back to the kernel (malloc_trim(3)), where the C library can."""
    trim = getattr(_libc, "malloc_trim", None)
    if trim is not None:
        trim(ctypes.c_size_t(0))


def keep_capabilities() -> None:
    """Let the calling thread, and those it starts, keep their capabilities when `set_filesystem_ids` is used.

    Without it the kernel takes the capabilities about files away from a thread whose filesystem user is not root
    (capabilities(7), SECBIT_NO_SETUID_FIXUP). Where this is not allowed nothing changes.
    """
    bits = _libc.prctl(_PR_GET_SECUREBITS, 0, 0, 0, 0)
    if bits >= 0:
        _libc.prctl(_PR_SET_SECUREBITS, bits | _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)


def fill_memory(address: int, data: bytes) -> None:
    """Write over memory of this process; the caller knows what is there."""
    ctypes.memmove(address, data, len(data))


def set_arguments_end(address: int) -> bool:
    """Say where the arguments end that the kernel shows of this process (prctl(2), PR_SET_MM_MAP); false if it may not.

    For a process that has one thread: the rest of its layout is told again as it is.
    """
    with open("/proc/self/stat", "rb") as file:
        fields = [int(each) for each in file.read().rpartition(b")")[2].split()[1:]]
    start_code, end_code, start_stack = fields[22:25]
    start_data, end_data, start_brk, start_arguments, _, start_environment, end_environment = fields[41:48]
    _libc.sbrk.restype = ctypes.c_void_p
    brk = _libc.sbrk(ctypes.c_ssize_t(0))
    code, heap = (start_code, end_code, start_data, end_data), (start_brk, brk, start_stack)
    words = (*code, *heap, start_arguments, address, start_environment, end_environment, 0)
    layout = struct.pack("=12QIi", *words, 0, -1)
    wide = [ctypes.c_ulong(each) for each in (len(layout), 0)]
    done: int = _libc.prctl(_PR_SET_MM, ctypes.c_ulong(_PR_SET_MM_MAP), layout, *wide)
    return done == 0


def set_filesystem_ids(uid: int, gid: int) -> None:
    """Set who owns what the calling thread creates from now on (setfsgid(2), setfsuid(2)); no other thread's."""
    _libc.setfsgid(ctypes.c_uint32(gid))
    _libc.setfsuid(ctypes.c_uint32(uid))


def mount(source: bytes, target: bytes, kind: bytes, flags: int, options: bytes) -> None:
    """Mount a filesystem (mount(2))."""
    _check(_libc.mount(source, target, kind, ctypes.c_ulong(flags), options), target)


def umount(target: bytes, flags: int = 0) -> None:
    """Unmount (umount2(2))."""
    _check(_libc.umount2(target, flags), target)
