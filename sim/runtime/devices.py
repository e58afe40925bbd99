"""The device nodes of a container, and what it may do with them.

Decided here and only here: which nodes there are for a wish, and the rules that hold a container to them. A container
gets nodes of its own, with the host's numbers and permissions, so that a change of one is not a change of the host's.
In a user namespace none can be made, and the host's are shown. Runs where the host's /dev can be seen.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sim.runtime.errors import ContainerError, InvalidSpecError
from sim.runtime.spec import Device, ProcessSpec

__all__ = ["COMMON", "Node", "device_rules", "nodes"]

#: Name, major and minor number of those that every container has.
COMMON = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))

_RULE = re.compile(r"[abc] (\d+|\*):(\d+|\*) [rwm]{1,3}")

#: Of a host's /dev, what even a privileged container has of its own, or not at all.
_OWN = frozenset({"ptmx", "console", "pts", "shm", "mqueue", "fd", *(name for name, _, _ in COMMON)})


@dataclass(frozen=True, slots=True)
class Node:
    """A device node: where the host has it, where the container has it, what it is and who may use it."""

    source: str
    target: str
    mode: int
    number: int
    uid: int
    gid: int
    permissions: str

    def rule(self) -> str:
        """Return what allows its use, as in devices.allow."""
        kind = "b" if stat.S_ISBLK(self.mode) else "c"
        return f"{kind} {os.major(self.number)}:{os.minor(self.number)} {self.permissions}"


def nodes(spec: ProcessSpec, *, all_of_host: bool = False) -> list[Node]:
    """Return the nodes that a container is to have beside the common ones.

    Raises
    ------
    ContainerError, InvalidSpecError
        One is not there, or is no device; in moby's words.
    """
    found: dict[str, Node] = {}
    if all_of_host:
        found = {node.target: node for node in _below("/dev", "/dev", "rwm", _OWN)}
    for wish in spec.devices:
        device = wish if isinstance(wish, Device) else Device(wish)
        found.update({node.target: node for node in _wished(device)})
    return list(found.values())


def device_rules(spec: ProcessSpec) -> list[str]:
    """Return the rules for what a spec asks for, as in devices.allow."""
    found = [node.rule() for node in nodes(spec)]
    for rule in spec.device_rules:
        if not _RULE.fullmatch(rule):
            raise InvalidSpecError(f"invalid device cgroup rule format: '{rule}'")
        found += [f"b{rule[1:]}", f"c{rule[1:]}"] if rule[0] == "a" else [rule]
    return found


def _wished(device: Device) -> Iterator[Node]:
    source, target = os.fspath(device.source), device.target or os.fspath(device.source)
    trouble = f'error gathering device information while adding custom device "{source}"'
    try:
        state = os.stat(source)  # what a link leads to, as with moby
    except OSError as error:
        raise ContainerError(f"{trouble}: {(error.strerror or '').lower()}") from error
    if stat.S_ISDIR(state.st_mode):
        below = list(_below(source, target, device.permissions, frozenset()))
        if not below:
            raise InvalidSpecError(f"{trouble}: no devices found")
        yield from below
    elif not _is_device(state.st_mode):
        raise InvalidSpecError(f"{trouble}: not a device node")
    else:
        yield _node(source, target, state, device.permissions)


def _below(source: str, target: str, permissions: str, without: Iterable[str]) -> Iterator[Node]:
    for entry in sorted(os.scandir(source), key=lambda each: each.name):
        if entry.name in without:
            continue
        state = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(state.st_mode):
            yield from _below(entry.path, f"{target}/{entry.name}", permissions, without)
        elif _is_device(state.st_mode):
            yield _node(entry.path, f"{target}/{entry.name}", state, permissions)


def _is_device(mode: int) -> bool:
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _node(source: str, target: str, state: os.stat_result, permissions: str) -> Node:
    return Node(source, target, state.st_mode, state.st_rdev, state.st_uid, state.st_gid, permissions)
