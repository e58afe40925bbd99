"""Which devices a container may use, under control groups of version 2: a small program for the kernel.

Decided here and only here: the program and how it is attached. Version 1 has files for this; version 2 has the kernel
ask a BPF program of the group at each open and mknod (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE). The program is a list of
comparisons, written here instruction by instruction. Any thread may call.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from pathlib import Path

from sim.runtime import syscalls

__all__ = ["attach_device_filter", "device_program"]

_KINDS = {"b": 1, "c": 2}
_ACCESSES = {"m": 1, "r": 2, "w": 4}
_LOAD_WORD, _MOVE, _MOVE_CONSTANT, _AND, _SHIFT_RIGHT = 0x61, 0xBF, 0xB7, 0x57, 0x77
_JUMP_UNEQUAL, _JUMP_UNEQUAL_REGISTER, _EXIT = 0x55, 0x5D, 0x95


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    return struct.pack("=BBhi", code, target | source << 4, offset, constant)


def device_program(rules: Iterable[str]) -> bytes:
    """Return the program that allows what the rules say and nothing else.

    Parameters
    ----------
    rules
        As in devices.allow of version 1: "c 1:3 rwm", "b *:* m".

    Notes
    -----
    The context has three words: access << 16 | kind, major, minor. Registers: 2 kind, 3 access, 4 major, 5 minor.
    """
    program = [
        _instruction(_LOAD_WORD, 2, 1, 0),
        _instruction(_MOVE, 3, 2),
        _instruction(_AND, 2, constant=0xFFFF),
        _instruction(_SHIFT_RIGHT, 3, constant=16),
        _instruction(_LOAD_WORD, 4, 1, 4),
        _instruction(_LOAD_WORD, 5, 1, 8),
    ]
    for rule in rules:
        kind, numbers, letters = rule.split()
        major, minor = numbers.split(":")
        allowed = sum(_ACCESSES[letter] for letter in letters)
        # Each test that fails jumps over what is left of the rule: the remaining tests and the two that allow.
        tests: list[tuple[int, int, int, int]] = [(_JUMP_UNEQUAL, 2, 0, _KINDS[kind])]
        steps: list[bytes | tuple[int, int, int, int]] = [*tests]
        if allowed != 7:
            # What is asked for, less what is allowed, must be nothing.
            steps += [
                _instruction(_MOVE, 1, 3),
                _instruction(_AND, 1, constant=allowed),
                (_JUMP_UNEQUAL_REGISTER, 1, 3, 0),
            ]
        steps += [(_JUMP_UNEQUAL, 4, 0, int(major))] if major != "*" else []
        steps += [(_JUMP_UNEQUAL, 5, 0, int(minor))] if minor != "*" else []
        steps += [_instruction(_MOVE_CONSTANT, 0, constant=1), _instruction(_EXIT)]
        for place, step in enumerate(steps):
            if isinstance(step, bytes):
                program.append(step)
            else:
                code, target, source, constant = step
                program.append(_instruction(code, target, source, len(steps) - place - 1, constant))
    program += [_instruction(_MOVE_CONSTANT, 0, constant=0), _instruction(_EXIT)]
    return b"".join(program)


def attach_device_filter(group: Path, rules: Iterable[str]) -> None:
    """Hold the processes of a group of version 2 to the devices that the rules allow.

    Raises
    ------
    OSError
        The kernel has no such filters, or the caller may not attach one.
    """
    program = syscalls.load_program(syscalls.PROGRAM_CGROUP_DEVICE, device_program(rules))
    try:
        directory = os.open(group, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            syscalls.attach_program(program, directory, syscalls.ATTACH_CGROUP_DEVICE)
        finally:
            os.close(directory)
    finally:
        os.close(program)
