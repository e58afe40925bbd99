"""Seccomp filters: the default profile and profiles in Docker's JSON, compiled through libseccomp.

Decided here and only here: the meaning of a profile, and every call of libseccomp. A filter is compiled in the caller,
once for each profile and set of capabilities, and travels as bytes to the process that is to be confined, where the
library is not needed. Any thread may call.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import json
import os
import platform
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sim.runtime.capabilities import capability_names
from sim.runtime.errors import InvalidSpecError, UnsupportedError
from sim.runtime.seccomp_profile import AF_VSOCK, ALLOWED, BY_CAPABILITY, NAMESPACE_FLAGS, PERSONALITIES
from sim.runtime.spec import ProcessSpec

__all__ = ["Argument", "Profile", "Rule", "compiled_filter", "default_profile", "read_profile"]

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": _ERRNO,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_ALLOW": _ALLOW,
}
_COMPARISONS = {"NE": 1, "LT": 2, "LE": 3, "EQ": 4, "GE": 5, "GT": 6, "MASKED_EQ": 7}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "x86"}
#: Those that a processor runs beside its own, and by whose calls a filter for that one alone would be passed by.
_RELATED = {"x86_64": (b"x86", b"x32"), "aarch64": (b"arm",), "s390x": (b"s390",)}
_ATTRIBUTE_NO_NEW_PRIVS, _ATTRIBUTE_OPTIMIZE = 3, 8
#: How the kernel names an architecture to a filter (linux/audit.h).
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}
_X32 = 0x40000000


@dataclass(frozen=True, slots=True)
class Argument:
    """A condition on the argument at `index`: "EQ" and so on; for "MASKED_EQ" `value` is the mask."""

    index: int
    operator: str
    value: int
    second: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens to some system calls when all conditions hold."""

    names: tuple[str, ...]
    action: int = _ALLOW
    arguments: tuple[Argument, ...] = ()


@dataclass(frozen=True, slots=True)
class Profile:
    """Rules, and what happens to the rest; `newer` to calls with a higher number than any that is named."""

    default: int
    rules: tuple[Rule, ...]
    newer: int | None = None


def default_profile(capabilities: int, machine: str = platform.machine()) -> Profile:
    """Return the profile that confines a container unless another is asked for.

    Examples
    --------
    >>> from sim.runtime.capabilities import capability_mask
    >>> rules = default_profile(capability_mask()).rules
    >>> any("mount" in rule.names for rule in rules), any("chroot" in rule.names for rule in rules)
    (False, True)
    """
    names = capability_names(capabilities)
    flags = 1 if machine.startswith("s390") else 0
    rules = [Rule(tuple(sorted(ALLOWED)))]
    rules += [Rule(("personality",), _ALLOW, (Argument(0, "EQ", value),)) for value in PERSONALITIES]
    rules.append(Rule(("socket",), _ALLOW, (Argument(0, "NE", AF_VSOCK),)))
    rules += [Rule(calls) for name, calls in BY_CAPABILITY.items() if name in names]
    if "SYS_ADMIN" not in names:
        rules.append(Rule(("clone",), _ALLOW, (Argument(flags, "MASKED_EQ", NAMESPACE_FLAGS),)))
        # Its flags lie in memory, where no filter can look: programs are to use clone instead.
        rules.append(Rule(("clone3",), _ERRNO | errno.ENOSYS))
    return Profile(_ERRNO | errno.EPERM, tuple(rules), _ERRNO | errno.ENOSYS)


def read_profile(text: str, capabilities: int, machine: str = platform.machine()) -> Profile:
    """Read a profile in the JSON of `--security-opt seccomp=FILE`.

    Raises
    ------
    InvalidSpecError
        It is no such profile.
    """
    names = {f"CAP_{name}" for name in capability_names(capabilities)}
    here = {_ARCHITECTURES.get(machine, machine)}
    try:
        data = json.loads(text)
        default = _action(data["defaultAction"], data.get("defaultErrnoRet"))
        rules = [
            Rule(
                tuple(each.get("names") or [each["name"]]),
                _action(each["action"], each.get("errnoRet")),
                tuple(map(_argument, each.get("args") or [])),
            )
            for each in data.get("syscalls") or []
            if _applies(each.get("includes") or {}, names, here)
            and not _excluded(each.get("excludes") or {}, names, here)
        ]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidSpecError(f"Decoding seccomp profile failed: {error!r}") from error
    return Profile(default, tuple(rules))


def _action(name: str, number: int | None) -> int:
    return _ACTIONS[name] | ((errno.EPERM if number is None else number) if name == "SCMP_ACT_ERRNO" else 0)


def _argument(data: dict[str, Any]) -> Argument:
    operator = data["op"].removeprefix("SCMP_CMP_")
    if operator not in _COMPARISONS:
        raise ValueError(f"unknown comparison {data['op']}")
    return Argument(int(data["index"]), operator, int(data["value"]), int(data.get("valueTwo", 0)))


def _kernel() -> tuple[int, int]:
    major, minor = os.uname().release.split(".")[:2]
    return int(major), int("".join(filter(str.isdigit, minor)) or 0)


def _applies(wish: dict[str, Any], names: set[str], here: set[str]) -> bool:
    if wish.get("minKernel"):
        major, minor = str(wish["minKernel"]).split(".")[:2]
        if _kernel() < (int(major), int(minor)):
            return False
    arches = wish.get("arches")
    return (not arches or bool(here & set(arches))) and set(wish.get("caps") or []) <= names


def _excluded(wish: dict[str, Any], names: set[str], here: set[str]) -> bool:
    return bool(here & set(wish.get("arches") or [])) or bool(names & set(wish.get("caps") or []))


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("index", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    )


@functools.cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        text = "libseccomp.so.2 is missing: install it (Debian: libseccomp2) or use --security-opt seccomp=unconfined"
        raise UnsupportedError(text) from error
    library.seccomp_init.restype = ctypes.c_void_p
    return library


def _compile(profile: Profile) -> bytes:
    library = _library()
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(profile.default)))
    if not context:
        raise UnsupportedError("libseccomp can make no filter with this default action")
    try:
        for related in _RELATED.get(platform.machine(), ()):
            library.seccomp_arch_add(context, library.seccomp_arch_resolve_name(related))
        library.seccomp_attr_set(context, _ATTRIBUTE_NO_NEW_PRIVS, ctypes.c_uint32(0))
        library.seccomp_attr_set(context, _ATTRIBUTE_OPTIMIZE, ctypes.c_uint32(2))
        highest = max(
            [_add(library, context, rule, n, profile.default) for rule in profile.rules for n in rule.names], default=0
        )
        file = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        try:
            result = library.seccomp_export_bpf(context, file)
            if result < 0:
                raise UnsupportedError(f"libseccomp cannot compile the profile: {os.strerror(-result)}")
            return _newer(profile.newer, highest) + os.pread(file, os.fstat(file).st_size, 0)
        finally:
            os.close(file)
    finally:
        library.seccomp_release(context)


def _newer(action: int | None, highest: int) -> bytes:
    """Return the instructions that go first: calls that are newer than the profile get an answer of their own.

    Programs try a new call and fall back on an old one when there is no such call (ENOSYS), not when it is forbidden.
    """
    here = _AUDIT.get(platform.machine())
    if action is None or here is None:
        return b""
    load, equal, greater, greater_equal, end = 0x20, 0x15, 0x25, 0x35, 0x06
    program = (
        (load, 0, 0, 4),  # the architecture
        (equal, 0, 4, here),
        (load, 0, 0, 0),  # the number
        (greater, 0, 2, highest),
        (greater_equal, 1, 0, _X32),  # x32 counts from here: libseccomp's part knows what to do
        (end, 0, 0, action),
    )
    return b"".join(struct.pack("=HBBI", *each) for each in program)


def _add(library: ctypes.CDLL, context: ctypes.c_void_p, rule: Rule, name: str, default: int) -> int:
    """Add a rule for one call; return the call's number here, or one below zero."""
    number: int = library.seccomp_syscall_resolve_name(name.encode())
    if number == -1 or rule.action == default:  # of another architecture, or newer than the library; or nothing new
        return number
    packed = _pack(rule.arguments)
    result = library.seccomp_rule_add_array(
        context, ctypes.c_uint32(rule.action), number, len(rule.arguments), packed if rule.arguments else None
    )
    if result < 0 and -result not in (errno.EDOM, errno.EEXIST):
        raise UnsupportedError(f"libseccomp refuses the rule for {name}: {os.strerror(-result)}")
    return number


def _pack(arguments: Iterable[Argument]) -> Any:
    found = [
        # For MASKED_EQ libseccomp takes the mask first and the value second, as the profile does.
        _Comparison(each.index, _COMPARISONS[each.operator], each.value, each.second)
        for each in arguments
    ]
    return (_Comparison * len(found))(*found)


@functools.lru_cache(maxsize=64)
def _cached(profile: str, capabilities: int) -> bytes:
    read = default_profile(capabilities) if profile == "default" else read_profile(profile, capabilities)
    return _compile(read)


def compiled_filter(spec: ProcessSpec) -> bytes:
    """Return the filter that a spec asks for; empty for none.

    Raises
    ------
    InvalidSpecError, UnsupportedError
        The profile cannot be read, or not compiled on this machine.
    """
    if spec.privileged or spec.seccomp == "unconfined":
        return b""
    return _cached(spec.seccomp, spec.capabilities)
