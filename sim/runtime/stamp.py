"""Telling a process from a later one with the same number.

Decided here and only here: that a number and the time of its start name a process. Any thread may call.
"""

from __future__ import annotations

__all__ = ["process_start"]


def process_start(pid: int) -> int:
    """Return when a process began, in clock ticks since boot; 0 for none, which no process has."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError):
        return 0
