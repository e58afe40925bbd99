"""The title of a process: what `ps` shows of one that was forked and runs no program of its own.

Decided here and only here: where a title is kept and how long it may be. The kernel shows the memory that the program's
arguments came in, so they are written over; a process that others are forked from is started with room (`room`) for
their titles. Its own environment is hidden with `forget_environment`, where somebody may look who must not see it.

For processes that have one thread yet.
"""

from __future__ import annotations

import os

from fusefs import syscalls

__all__ = ["forget_environment", "room", "set_title"]

_ROOM = 2048


def room() -> str:
    """Return an argument for a program's end that makes room for titles."""
    return " " * _ROOM


def set_title(program: str, *arguments: str) -> None:
    """Have this process shown as a program with these arguments, as far as there is room, and named like it."""
    syscalls.set_name(os.path.basename(program))
    parts = [os.fsencode(each) for each in (program, *arguments)]
    start, end, _, _ = _area()
    if start < end:
        text = b"\0".join(parts)[: end - start - 1] + b"\0"
        syscalls.fill_memory(start, text.ljust(end - start, b"\0"))
        syscalls.set_arguments_end(start + len(text))


def forget_environment() -> None:
    """Wipe the variables that this process was started with where others could read them; `os.environ` keeps them."""
    _, _, start, end = _area()
    if start < end:
        syscalls.fill_memory(start, bytes(end - start))


_known: list[int] = []


def _area() -> list[int]:
    """Return where arguments and environment begin and end; looked up once, for a title moves their end."""
    if not _known:
        try:
            with open("/proc/self/stat", "rb") as file:
                _known.extend(int(each) for each in file.read().rpartition(b")")[2].split()[45:49])
        except OSError:
            _known.extend([0] * 4)
    return _known
