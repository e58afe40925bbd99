"""How a run ends early: in order, at the first signal that asks for it.

Decided here and only here: which signals end a run, and that undoing what was made is not itself interrupted. For the
main thread; elsewhere signals do not arrive, and nothing here has any effect.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

__all__ = ["Interrupted", "orderly"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end: Ctrl-C, the end of the terminal, or `kill`."""


def _ignore() -> None:
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _stop(number: int, frame: object) -> None:
    _ignore()
    raise Interrupted(signal.Signals(number).name)


@contextlib.contextmanager
def orderly() -> Iterator[Callable[[], None]]:
    """In this block the first signal raises `Interrupted`, further ones are ignored.

    Yields
    ------
    Callable
        From when it is called until the end of the block, signals are ignored: for what undoes, and keeps results.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    before = {number: signal.signal(number, _stop) for number in _SIGNALS}
    try:
        yield _ignore
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
