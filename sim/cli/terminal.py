"""The terminal under an interactive command: raw mode, size, the keys that detach, the streams both ways.

Decided here and only here: how input reaches a container's process and output this process's streams. Output is read by
the main thread, so that signals are seen to; input by a thread that ends with the process.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

from sim.cli.failure import Failure

if TYPE_CHECKING:
    from sim.cli.client import Engine, Hijacked

__all__ = ["Detached", "check_terminal", "follow_size", "forwarded_signals", "raw_mode", "size", "transfer"]

#: Signals that are the runtime's own, or that only this process can mean.
_OURS = (signal.SIGCHLD, signal.SIGPIPE, signal.SIGWINCH, signal.SIGURG, signal.SIGKILL, signal.SIGSTOP)


class Detached(Exception):  # noqa: N818 - what happened
    """The keys that detach were typed."""


def size() -> tuple[int, int]:
    """Return the terminal's height and width; zeros where there is none."""
    for stream in (1, 0):
        with contextlib.suppress(OSError):
            width, height = os.get_terminal_size(stream)
            return height, width
    return 0, 0


def check_terminal(tty: bool) -> None:
    """Refuse a terminal for the container where this process has none.

    Raises
    ------
    Failure
        It has none.
    """
    if tty and not os.isatty(0):
        raise Failure("the input device is not a TTY")


@contextlib.contextmanager
def raw_mode(wanted: bool) -> Iterator[None]:
    """In this block each key goes to the container as it is typed."""
    if not wanted or not os.isatty(0):
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(0)
    tty.setraw(0, termios.TCSANOW)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSANOW, before)


@contextlib.contextmanager
def follow_size(engine: Engine, path: str) -> Iterator[None]:
    """Give the container's terminal the size of this one, now and when it changes."""
    other = engine.apart()

    def tell(number: int = 0, frame: FrameType | None = None) -> None:
        height, width = size()
        if height or width:
            with contextlib.suppress(Failure, OSError):
                other.post(path, h=height, w=width)

    tell()
    before = signal.signal(signal.SIGWINCH, tell)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextlib.contextmanager
def forwarded_signals(engine: Engine, container: str, wanted: bool) -> Iterator[None]:
    """In this block signals go to the container's process instead of this one."""
    if not wanted:
        yield
        return
    other = engine.apart()

    def forward(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(Failure, OSError):
            other.post(f"/containers/{container}/kill", signal=signal.Signals(number).name.removeprefix("SIG"))

    before = {}
    for number in signal.valid_signals():
        if number in _OURS or (isinstance(number, int) and number >= 32):
            continue
        with contextlib.suppress(OSError, ValueError):
            before[number] = signal.signal(number, forward)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _codes(keys: str) -> bytes:
    """Return the bytes of keys such as `ctrl-p,ctrl-q`.

    Raises
    ------
    Failure
        There is no such key.
    """
    found = bytearray()
    for key in keys.split(","):
        if len(key) == 1:
            found += key.encode()
        elif key.startswith("ctrl-") and len(key) == 6:
            code = ord(key[5].lower()) - 96 if key[5].isalpha() else "@[\\]^_".find(key[5])
            code = {0: 0, 1: 27, 2: 28, 3: 29, 4: 30, 5: 31}[code] if not key[5].isalpha() and code >= 0 else code
            if code < 0:
                raise Failure(f"Unknown character: '{key}'")
            found.append(code)
        else:
            raise Failure(f"Unknown character: '{key}'")
    return bytes(found)


class _Keys:
    """Watches what is typed for the keys that detach.

    >>> keys = _Keys(b"\\x10\\x11")
    >>> keys.take(b"ab\\x10"), keys.take(b"c\\x10")
    (b'ab', b'\\x10c')
    >>> keys.take(b"\\x11") is None
    True
    """

    def __init__(self, codes: bytes) -> None:
        self._codes = codes
        self._seen = 0

    def take(self, data: bytes) -> bytes | None:
        """Return what goes on to the container; None when the keys were typed."""
        if not self._codes:
            return data
        out = bytearray()
        for byte in data:
            if byte == self._codes[self._seen]:
                self._seen += 1
                if self._seen == len(self._codes):
                    return None
                continue
            out += self._codes[: self._seen]
            self._seen = 0
            if byte == self._codes[0]:
                self._seen = 1
            else:
                out.append(byte)
        return bytes(out)


def transfer(
    connection: Hijacked,
    *,
    stdin: bool,
    tty: bool,
    detach_keys: str = "",
    raw: bool | None = None,
    when_open: Callable[[], None] | None = None,
) -> None:
    """Carry input and output until the output ends.

    Parameters
    ----------
    stdin
        Whether this process's input goes to the container.
    tty
        Whether the container has a terminal: output is one plain stream then.
    detach_keys
        The keys that end this; `ctrl-p,ctrl-q` where empty.
    raw
        Whether output is plain in spite of `tty`.
    when_open
        Called once input and output are carried.

    Raises
    ------
    Detached
        The keys were typed.
    """
    detached = threading.Event()
    keys = _Keys(_codes(detach_keys or "ctrl-p,ctrl-q") if tty else b"")

    def carry_input() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(0, 1 << 16):
                passed = keys.take(data)
                if passed is None:
                    detached.set()
                    connection.close()
                    return
                if passed:
                    connection.send(passed)
        connection.end_input()

    with raw_mode(tty and stdin):
        if stdin:
            threading.Thread(target=carry_input, daemon=True, name="input").start()
        if when_open is not None:
            when_open()
        try:
            if tty if raw is None else raw:
                for data in connection.chunks():
                    write(1, data)
            else:
                frame_output(connection.chunks())
        except (OSError, ValueError):
            if not detached.is_set():
                raise
    if detached.is_set():
        raise Detached


def frame_output(chunks: Iterator[bytes]) -> None:
    """Write frames to standard output and standard error.

    Raises
    ------
    Failure
        The engine says in a frame of its own that something failed.
    """
    from sim.cli.client.hijack import frames

    def take(stream: int, data: bytes) -> None:
        if stream == 3:
            raise Failure(f"error from daemon in stream: {data.decode('utf-8', 'replace')}")
        write(2 if stream == 2 else 1, data)

    frames(chunks, take)


def write(stream: int, data: bytes) -> None:
    """Write all of it to a descriptor; what Python still holds for it goes first."""
    (sys.stdout if stream == 1 else sys.stderr).flush()
    view = memoryview(data)
    while view:
        view = view[os.write(stream, view) :]
