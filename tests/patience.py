"""Waiting for what comes to be: how long a test waits before it says that it does not, for all tests.

A machine may be slow, busy and shared, so what is waited for is the thing itself and never a time in which it should be
there. The time here only ends a test that waits in vain, and is shorter than the one after which pytest ends it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["PATIENCE", "gone", "until"]

#: Seconds.
PATIENCE = 60.0


def until(met: Callable[[], object], told: Callable[[], object] = lambda: "it does not come to be") -> None:
    """Wait until something is so; `told` says at last what is so instead."""
    end = time.monotonic() + PATIENCE
    while not met():
        assert time.monotonic() < end, told()
        time.sleep(0.01)


def gone(pid: int | str) -> bool:
    """Tell whether a process has ended, also if nobody has asked yet how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True
