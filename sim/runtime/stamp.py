"""Telling a process from a later one with the same number.

Decided here and only here: that a number and the time of its start name a process, as long as the machine runs. Any
thread may call.
"""

from __future__ import annotations

__all__ = ["boot", "process_start"]


def boot() -> str:
    """Return what names this run of the machine: after another start, numbers and times are somebody else's."""
    with open("/proc/sys/kernel/random/boot_id", "rb") as file:  # as text, each shim would load a codec for it
        return file.read().strip().decode()


def process_start(pid: int) -> int:
    """Return when a process began, in clock ticks since boot; 0 for none, which no process has.

    One that has ended, and that its parent has not asked about yet, is none.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
            return 0 if fields[0] in (b"Z", b"X") else int(fields[19])
    except (OSError, IndexError):
        return 0
