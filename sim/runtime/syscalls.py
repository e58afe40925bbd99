"""The system calls about namespaces, mounts and privileges that Python's `os` lacks, each raising `OSError`.

Decided here and only here: every ctypes call of the runtime, but for libseccomp's. Each function is one system call
(its man page names the rules). Those that change the caller's own namespaces or privileges act on the calling thread
alone, and are called only in processes that have one thread.

The newer calls go by their number, which is the same on every architecture, so that the C library's age is no matter.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct

__all__ = [
    "ATTACH_CGROUP_DEVICE",
    "AT_EMPTY_PATH",
    "CLONE_NEWCGROUP",
    "CLONE_NEWIPC",
    "CLONE_NEWNET",
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "CLONE_NEWUSER",
    "CLONE_NEWUTS",
    "MOUNT_NODEV",
    "MOUNT_NOEXEC",
    "MOUNT_NOSUID",
    "MOUNT_RDONLY",
    "MOUNT_STRICTATIME",
    "PROGRAM_CGROUP_DEVICE",
    "RESOLVE_IN_ROOT",
    "RESOLVE_NO_MAGICLINKS",
    "RESOLVE_NO_SYMLINKS",
    "ambient_clear",
    "attach_program",
    "attach_tree",
    "bounding_drop",
    "capabilities",
    "clone_tree",
    "close_from",
    "filesystem_type",
    "last_capability",
    "load_filter",
    "load_program",
    "make_private",
    "new_filesystem",
    "new_session_keyring",
    "open_in",
    "pivot_root",
    "set_capabilities",
    "set_death_signal",
    "set_domain_name",
    "set_dumpable",
    "set_keep_capabilities",
    "set_no_new_privileges",
    "set_subreaper",
    "setns",
    "tree_attributes",
    "umount",
    "unshare",
]

_libc = ctypes.CDLL(None, use_errno=True)

CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MOUNT_RDONLY, MOUNT_NOSUID, MOUNT_NODEV, MOUNT_NOEXEC, MOUNT_STRICTATIME = 1, 2, 4, 8, 0x20
AT_EMPTY_PATH = 0x1000
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_IN_ROOT = 2, 4, 16
MNT_DETACH = 2
PROGRAM_CGROUP_DEVICE, ATTACH_CGROUP_DEVICE = 15, 6

_AT_FDCWD, _AT_RECURSIVE, _OPEN_TREE_CLONE = -100, 0x8000, 1
_MS_REC, _MS_PRIVATE, _MS_SLAVE = 0x4000, 1 << 18, 1 << 19
_SYS_OPEN_TREE, _SYS_MOVE_MOUNT, _SYS_FSOPEN, _SYS_FSCONFIG, _SYS_FSMOUNT = 428, 429, 430, 431, 432
_SYS_CLOSE_RANGE, _SYS_OPENAT2, _SYS_MOUNT_SETATTR = 436, 437, 442
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS = 1, 4, 8
_PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 23, 24, 36, 38
_SYS_SECCOMP = {"x86_64": 317, "aarch64": 277, "riscv64": 277, "armv7l": 383, "i686": 354, "ppc64le": 358, "s390x": 348}
_SECCOMP_SET_MODE_FILTER = 1
_SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "armv7l": 386, "i686": 357, "ppc64le": 361, "s390x": 351}
_SYS_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "armv7l": 311, "i686": 288, "ppc64le": 271, "s390x": 280}
_KEYCTL_JOIN_SESSION_KEYRING = 1
_BPF_PROG_LOAD, _BPF_PROG_ATTACH, _BPF_F_ALLOW_MULTI = 5, 8, 2
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


_machine = os.uname().machine


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _check(result: int, name: str | bytes | None = None) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(name) if name is not None else None)
    return result


def _call(number: int, *arguments: int | bytes | None) -> int:
    """Make a system call by number; whole numbers travel as 64 bits, for a C `int` would be cut from a flag word."""
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *wide)
    return result


def _prctl(option: int, value: int | bytes = 0, third: int = 0) -> int:
    wide = ctypes.c_ulong(value) if isinstance(value, int) else value
    result: int = _libc.prctl(option, wide, ctypes.c_ulong(third), ctypes.c_ulong(0), ctypes.c_ulong(0))
    return result


def unshare(flags: int) -> None:
    """Leave the shared namespaces named by `CLONE_NEW*` flags for new ones (unshare(2))."""
    _check(_libc.unshare(flags))


def setns(descriptor: int, kind: int = 0) -> None:
    """Join a namespace by descriptor, or with a pidfd those of a process named by `CLONE_NEW*` flags (setns(2))."""
    _check(_libc.setns(descriptor, kind))


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root mount and put the old one at `old` (pivot_root(2))."""
    _check(_libc.pivot_root(os.fsencode(new), os.fsencode(old)), new)


def make_private(path: str, *, slave: bool = False) -> None:
    """Stop mount events between a tree and its peers in both directions, or with `slave` only outward."""
    kind = _MS_SLAVE if slave else _MS_PRIVATE
    _check(_libc.mount(None, os.fsencode(path), None, ctypes.c_ulong(_MS_REC | kind), None), path)


def umount(path: str, flags: int = MNT_DETACH) -> None:
    """Unmount (umount2(2)); by default detached, so that open files are no hindrance."""
    _check(_libc.umount2(os.fsencode(path), flags), path)


def clone_tree(path: str, directory: int = _AT_FDCWD, *, recursive: bool = True) -> int:
    """Return a descriptor of a detached copy of the mounts at a path (open_tree(2)); "" means `directory` itself."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | (_AT_RECURSIVE if recursive else 0) | (0 if path else AT_EMPTY_PATH)
    return _check(_call(_SYS_OPEN_TREE, directory, os.fsencode(path), flags), path)


def attach_tree(tree: int, target: int) -> None:
    """Mount a detached tree on the object that the descriptor `target` is open on (move_mount(2))."""
    _check(_call(_SYS_MOVE_MOUNT, tree, b"", target, b"", 0x4 | 0x40))


def tree_attributes(
    tree: int, added: int = 0, removed: int = 0, *, recursive: bool = True, private: bool = False, slave: bool = False
) -> None:
    """Add and remove `MOUNT_*` attributes of a tree of mounts (mount_setattr(2)).

    `private` stops its propagation; `slave` lets it hear of its peers, and not them of it.
    """
    packed = struct.pack("=QQQQ", added, removed, _MS_PRIVATE if private else _MS_SLAVE if slave else 0, 0)
    flags = AT_EMPTY_PATH | (_AT_RECURSIVE if recursive else 0)
    _check(_call(_SYS_MOUNT_SETATTR, tree, b"", flags, packed, len(packed)))


def new_filesystem(kind: str, options: dict[str, str | None] | None = None, attributes: int = 0) -> int:
    """Make a detached mount of a new filesystem and return its descriptor (fsopen(2), fsconfig(2), fsmount(2)).

    Parameters
    ----------
    kind
        As in /proc/filesystems.
    options
        Name and value; None for an option that has no value.
    attributes
        `MOUNT_*` flags.
    """
    context = _check(_call(_SYS_FSOPEN, os.fsencode(kind), 1), kind)
    try:
        for name, value in {"source": kind, **(options or {})}.items():
            if value is None:
                _check(_call(_SYS_FSCONFIG, context, _FSCONFIG_SET_FLAG, name.encode(), None, 0), f"{kind}: {name}")
            else:
                text = os.fsencode(value)
                result = _call(_SYS_FSCONFIG, context, _FSCONFIG_SET_STRING, name.encode(), text, 0)
                _check(result, f"{kind}: {name}={value}")
        _check(_call(_SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0), kind)
        return _check(_call(_SYS_FSMOUNT, context, 1, attributes), kind)
    finally:
        os.close(context)


def open_in(root: int, path: str, flags: int, resolve: int = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS) -> int:
    """Open a path as if the directory `root` were the root, symlinks included (openat2(2)).

    Raises
    ------
    OSError
        ELOOP where the way leads through a magic link of /proc, which could lead anywhere.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
    for _ in range(128):
        result = _call(_SYS_OPENAT2, root, os.fsencode(path), how, len(how))
        if result >= 0 or ctypes.get_errno() != errno.EAGAIN:
            break  # EAGAIN: somebody renamed on the way, so the kernel could not tell whether the way stays inside
    return _check(result, path)


def close_from(first: int) -> None:
    """Close every descriptor from `first` on (close_range(2))."""
    if _call(_SYS_CLOSE_RANGE, first, 0xFFFFFFFF, 0) < 0:
        os.closerange(first, os.sysconf("SC_OPEN_MAX"))


def filesystem_type(descriptor: int) -> int:
    """Return the magic number of the filesystem that a descriptor is on (fstatfs(2))."""
    buffer = ctypes.create_string_buffer(256)
    _check(_libc.fstatfs(descriptor, buffer))
    word: int = struct.unpack_from("=Q", buffer)[0]
    return word


def set_death_signal(number: int) -> None:
    """Have the kernel send a signal to this process when its parent dies (prctl(2))."""
    _check(_prctl(_PR_SET_PDEATHSIG, number))


def set_dumpable(allowed: bool) -> None:
    """Say whether others of the same user may look into this process through /proc (prctl(2))."""
    _check(_prctl(_PR_SET_DUMPABLE, int(allowed)))


def set_domain_name(name: str) -> None:
    """Set the NIS domain name of the caller's uts namespace (setdomainname(2))."""
    text = os.fsencode(name)
    _check(_libc.setdomainname(text, ctypes.c_size_t(len(text))), name)


def new_session_keyring() -> None:
    """Leave the caller's keys behind: join a new session keyring, where the kernel has any (keyctl(2))."""
    number = _SYS_KEYCTL.get(_machine)
    if number is not None and _call(number, _KEYCTL_JOIN_SESSION_KEYRING, None) < 0:
        code = ctypes.get_errno()
        if code not in (errno.ENOSYS, errno.EPERM, errno.EDQUOT):
            raise OSError(code, os.strerror(code))


def set_subreaper() -> None:
    """Become the parent of descendants whose own parent ends (prctl(2))."""
    _check(_prctl(_PR_SET_CHILD_SUBREAPER, 1))


def set_keep_capabilities(keep: bool) -> None:
    """Keep the permitted capabilities when the user changes from root to another (prctl(2)), until the next exec."""
    _check(_prctl(_PR_SET_KEEPCAPS, int(keep)))


def set_no_new_privileges() -> None:
    """Let no exec give more privileges than this process has, from now on and for ever (prctl(2))."""
    _check(_prctl(_PR_SET_NO_NEW_PRIVS, 1))


def ambient_clear() -> None:
    """Empty the ambient set of capabilities (capabilities(7))."""
    _check(_prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL))


def bounding_drop(number: int) -> None:
    """Take a capability out of the bounding set, for ever (capabilities(7))."""
    _check(_prctl(_PR_CAPBSET_DROP, number))


@functools.cache
def last_capability() -> int:
    """Return the highest number of a capability that this kernel knows; asked for once."""
    number = 0
    while _prctl(_PR_CAPBSET_READ, number + 1) >= 0:
        number += 1
    return number


def capabilities() -> tuple[int, int, int]:
    """Return the effective, permitted and inheritable set of the calling thread, as bit masks (capget(2))."""
    header, data = _capability_header(), ctypes.create_string_buffer(24)
    _check(_libc.capget(header, data))
    low_e, low_p, low_i, high_e, high_p, high_i = struct.unpack("=6I", data.raw)
    return low_e | high_e << 32, low_p | high_p << 32, low_i | high_i << 32


def set_capabilities(effective: int, permitted: int, inheritable: int) -> None:
    """Set the capabilities of the calling thread, as bit masks (capset(2))."""
    low, high = 0xFFFFFFFF, 32
    words = [effective & low, permitted & low, inheritable & low, effective >> high, permitted >> high]
    data = ctypes.create_string_buffer(struct.pack("=6I", *words, inheritable >> high), 24)
    _check(_libc.capset(_capability_header(), data))


def load_filter(program: bytes) -> None:
    """Let every system call from now on pass through a filter, for ever and for every child (seccomp(2)).

    Parameters
    ----------
    program
        Instructions of 8 bytes each, as libseccomp exports them.
    """
    number = _SYS_SECCOMP.get(_machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"no number of seccomp(2) is known for the architecture {_machine}")
    packed = _Program(len(program) // 8, program)
    flags = ctypes.c_long(0)
    _check(_libc.syscall(ctypes.c_long(number), ctypes.c_long(_SECCOMP_SET_MODE_FILTER), flags, ctypes.byref(packed)))


def _bpf(command: int, attributes: bytes) -> int:
    number = _SYS_BPF.get(_machine)
    if number is None:
        raise OSError(errno.ENOSYS, f"no number of bpf(2) is known for the architecture {_machine}")
    return _check(_call(number, command, attributes, len(attributes)))


def load_program(kind: int, program: bytes) -> int:
    """Load a BPF program and return its descriptor (bpf(2))."""
    code = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"MIT")
    first = struct.pack("=IIQQ", kind, len(program) // 8, ctypes.addressof(code), ctypes.addressof(licence))
    return _bpf(_BPF_PROG_LOAD, first + bytes(96))


def attach_program(program: int, group: int, kind: int) -> None:
    """Attach a BPF program to a control group, beside those that are there (bpf(2))."""
    _bpf(_BPF_PROG_ATTACH, struct.pack("=IIII", group, program, kind, _BPF_F_ALLOW_MULTI) + bytes(16))


def _capability_header() -> ctypes.Array[ctypes.c_char]:
    return ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), 8)
