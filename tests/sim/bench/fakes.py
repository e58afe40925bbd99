"""Drivers of a known speed, on plain directories, and a clock that only they move."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sim.bench.files import MountedFiles
from sim.bench.noise import NoiseMeter
from sim.bench.session import Driver, Layout, PlainSession, Session


class Clock:
    """Time that passes when somebody says so. A look takes what fixed work does: that is always as fast."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        self.now += 200_000
        return self.now


def meter(clock: Clock) -> NoiseMeter:
    """Return a meter that knows of this clock alone, whatever is stolen from the machine that the test runs on."""
    return NoiseMeter(clock, lambda: (clock.now, 0))


class SlowFiles(MountedFiles):
    """Files of which the status takes as long as is told."""

    def __init__(self, root: Path, wait: Callable[[], None]) -> None:
        super().__init__(root)
        self._wait = wait

    def stat(self, path: str) -> None:
        if path.startswith("/stat-"):  # not those that do not count
            self._wait()
        super().stat(path)


def driver(name: str, wait: Callable[[], None], *, lacks: str = "", **more: Any) -> Driver:
    """Return a driver that waits at each stat."""

    def start(layout: Layout) -> Session:
        return PlainSession(name, layout, SlowFiles(layout.merged, wait), layout.merged)

    return Driver(name, "a fake", "", start, lambda: lacks, **more)


def timed(clock: Clock, seconds: float, *, noise: float = 0.0, seed: int = 1) -> Callable[[], None]:
    """Return a wait that moves the clock, by so much and now and then more: real times have a long tail."""
    draw = random.Random(seed)

    def wait() -> None:
        clock.now += int(seconds * 1e9 * (1 + noise * draw.expovariate(1)))

    return wait


def sleeping(seconds: float) -> Callable[[], None]:
    """Return a wait that takes real time."""
    return lambda: time.sleep(seconds)


class FailingAfter:
    """A wait that fails from some call on."""

    def __init__(self, calls: int, error: BaseException) -> None:
        self.left = calls
        self.error = error

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise self.error


class InterruptAfter:
    """A wait that sends this process a signal at some call."""

    def __init__(self, calls: int, number: int = signal.SIGINT) -> None:
        self.left = calls
        self.number = number

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), self.number)
