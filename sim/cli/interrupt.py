"""How a command that makes things on the machine ends early: in order, whatever signal asks for it.

Decided here and only here: which signals end a command in order, and that undoing what was made is not itself
interrupted. For the main thread.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

__all__ = ["InterruptedBySignal", "orderly", "shielded"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class InterruptedBySignal(BaseException):
    """A signal asked for the end. No ordinary error: only what undoes something catches it.

    Attributes
    ----------
    number
        The signal's number; the exit status is 128 more.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def _raise(number: int, frame: FrameType | None) -> None:
    raise InterruptedBySignal(number)


@contextlib.contextmanager
def orderly() -> Iterator[None]:
    """In this block Ctrl-C, an end of the terminal and `kill` raise `InterruptedBySignal`."""
    before = {number: signal.signal(number, _raise) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """In this block, which undoes something, the same signals wait; they are dropped at its end."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
