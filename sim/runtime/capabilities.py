"""Capabilities: their names and numbers, Docker's default set, and how `--cap-add` and `--cap-drop` change it.

Decided here and only here: which capabilities a container's process has. Numbers are those of linux/capability.h, the
default set is moby's `caps/defaults.go`. Values and pure functions; any thread may call them.
"""

from __future__ import annotations

from collections.abc import Iterable

from sim.runtime.errors import InvalidSpecError

__all__ = ["DEFAULT", "NAMES", "capability_mask", "capability_names"]

_IN_ORDER = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
    SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
_USUAL = """
    CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL
    AUDIT_WRITE
"""

#: Every capability; the place is the number.
NAMES = tuple(_IN_ORDER.split())

#: What a container has when nobody asks for more or less.
DEFAULT = frozenset(_USUAL.split())

_NUMBERS = {name: number for number, name in enumerate(NAMES)}


def _names(wishes: Iterable[str]) -> tuple[bool, set[str]]:
    everything, names = False, set()
    for wish in wishes:
        name = wish.upper().removeprefix("CAP_")
        if name == "ALL":
            everything = True
        elif name in _NUMBERS:
            names.add(name)
        else:
            raise InvalidSpecError(f"invalid capability {wish!r}: the known ones are {', '.join(NAMES)}, and ALL")
    return everything, names


def capability_mask(add: Iterable[str] = (), drop: Iterable[str] = (), *, privileged: bool = False) -> int:
    """Return the bit mask of what a container may have.

    Parameters
    ----------
    add, drop
        Names, with or without `CAP_`, in any case; `ALL` stands for every one. As with Docker a name that is added
        counts even where ALL is dropped, and one that is dropped even where ALL is added.
    privileged
        Every capability, whatever the others say.

    Raises
    ------
    InvalidSpecError
        For a name that is no capability.

    Examples
    --------
    >>> hex(capability_mask())
    '0xa80425fb'
    >>> capability_names(capability_mask(add=["net_admin"], drop=["ALL"]))
    ('NET_ADMIN',)
    """
    add_all, added = _names(add)
    drop_all, dropped = _names(drop)
    if privileged:
        return (1 << len(NAMES)) - 1
    if add_all:
        names = set(NAMES) - dropped
    elif drop_all:
        names = added
    else:
        names = (set(DEFAULT) | added) - dropped
    return sum(1 << _NUMBERS[name] for name in names)


def capability_names(mask: int) -> tuple[str, ...]:
    """Return the names in a bit mask, in order of their numbers.

    Examples
    --------
    >>> capability_names(0b11)
    ('CHOWN', 'DAC_OVERRIDE')
    """
    return tuple(name for number, name in enumerate(NAMES) if mask >> number & 1)
