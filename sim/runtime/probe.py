"""Probes: a command in a running container that has to answer in time, and is taken away with its children if not.

Decided here and only here: what is kept of a probe's output, and how one that takes too long is ended. When to probe,
and what follows from it, is the engine's. A probe belongs to the thread that calls.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.runtime.errors import NotRunningError

if TYPE_CHECKING:
    from sim.runtime.container import Execution

__all__ = ["Probe", "run_probe"]

_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Probe:
    """How a probe ended.

    Attributes
    ----------
    code
        Exit status; None for one that took too long.
    output
        The beginning of what it wrote, on either stream, in the order in which it did.
    seconds
        How long it took.
    """

    code: int | None
    output: bytes
    seconds: float


def run_probe(execution: Execution, timeout: float, limit: int) -> Probe:
    """Run a process in a container, for `timeout` seconds at most, and keep `limit` bytes of its output.

    A child that it leaves behind is not waited for, even if it holds the streams.

    Raises
    ------
    ContainerError
        It could not be started.
    """
    began = time.monotonic()
    reading, writing = os.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    kept = bytearray()
    with execution, contextlib.ExitStack() as stack:
        stack.callback(os.close, reading)
        try:
            execution.start(nothing, writing, writing)
        finally:
            os.close(nothing)
            os.close(writing)
        os.set_blocking(reading, False)
        code = _attend(execution, reading, kept, began + timeout, limit)
        _read(reading, kept, limit)
    return Probe(code, bytes(kept), time.monotonic() - began)


def _attend(execution: Execution, reading: int, kept: bytearray, deadline: float, limit: int) -> int | None:
    """Read until the process has ended; return its exit status, None where it had to be killed."""
    poll = select.poll()
    poll.register(reading, select.POLLIN)
    poll.register(execution.fileno(), select.POLLIN)
    while True:
        left = deadline - time.monotonic()
        ready = {descriptor for descriptor, _ in poll.poll(max(0, left * 1000))}
        if execution.fileno() in ready:
            return execution.wait()
        if left <= 0:
            with contextlib.suppress(NotRunningError):
                execution.signal(signal.SIGKILL, group=True)
            execution.wait()
            return None
        if reading in ready and not _read(reading, kept, limit):
            poll.unregister(reading)


def _read(reading: int, kept: bytearray, limit: int) -> bool:
    """Take what there is; false at the end."""
    with contextlib.suppress(BlockingIOError):
        for _ in range(16):  # one that writes without end must not keep us from looking at the clock
            data = os.read(reading, _PIECE)
            if not data:
                return False
            kept += data[: limit - len(kept)]
    return True
