"""Pseudo-terminals: made inside a container, sized, and relayed to the terminal of a person.

Decided here and only here: how a terminal is made and what a relay does. `relay` is called by the thread that waits
for the container; the other functions act on descriptors alone.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import select
import signal
import struct
import termios
import tty
from collections.abc import Callable
from types import FrameType

from sim.runtime.channel import Channel

__all__ = ["DetachKeys", "open_container_terminal", "relay", "resize", "size"]

_TIOCSPTLCK, _TIOCGPTN = 0x40045431, 0x80045430  # not in Python 3.11's termios


def open_container_terminal(channel: Channel, wish: tuple[int, int] = (0, 0)) -> tuple[int, int, int]:
    """Make a terminal in the container's own devpts, take it as the controlling one, send its master to the shim.

    The caller leads a session and is in the container's mount namespace. The slave is opened by its number, through
    no link, so it is the one that belongs to the master (CVE-2025-52565).
    """
    master = os.open("/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
    fcntl.ioctl(master, _TIOCSPTLCK, struct.pack("=i", 0))
    number = struct.unpack("=I", fcntl.ioctl(master, _TIOCGPTN, bytes(4)))[0]
    slave = os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY | os.O_NOFOLLOW | os.O_CLOEXEC)
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    if any(wish):
        resize(master, *wish)
    channel.send(("terminal",), (master,))
    os.close(master)
    return slave, slave, slave


def resize(terminal: int, rows: int, columns: int) -> None:
    """Set a terminal's size in characters; the kernel tells its processes by SIGWINCH."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("=HHHH", rows, columns, 0, 0))


def size(terminal: int) -> tuple[int, int]:
    """Return a terminal's rows and columns."""
    rows, columns, _, _ = struct.unpack("=HHHH", fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


class DetachKeys:
    """Finds the keys that detach in what is typed (`--detach-keys`, "ctrl-p,ctrl-q").

    Examples
    --------
    >>> keys = DetachKeys()
    >>> keys.feed(b"ls\\x10")
    (b'ls', False)
    >>> keys.feed(b"\\x11")
    (b'', True)
    """

    def __init__(self, text: str = "ctrl-p,ctrl-q") -> None:
        self._keys = bytes(_key(each) for each in text.split(",")) if text else b""
        self._held = b""

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """Take typed bytes; return those to pass on, and whether the keys were complete."""
        passed = bytearray()
        for byte in typed if self._keys else b"":
            self._held += bytes([byte])
            while self._held and not self._keys.startswith(self._held):
                passed.append(self._held[0])
                self._held = self._held[1:]
            if self._held == self._keys:
                self._held = b""
                return bytes(passed), True
        return bytes(passed) if self._keys else typed, False


def _key(text: str) -> int:
    if len(text) == 1:
        return ord(text)
    name = text.removeprefix("ctrl-")
    if name != text and len(name) == 1 and "@" <= name.upper() <= "_":
        return ord(name.upper()) & 0x1F
    raise ValueError(f"invalid detach keys: unknown character {text!r}: a letter, or ctrl- and one of a-z @ [ \\ ] ^ _")


def relay(master: int, source: int, sink: int, ended: Callable[[], bool]) -> None:
    """Pass bytes between a person's terminal and a container's until that one ends.

    The person's terminal is in raw mode meanwhile, so that each key, Ctrl-C among them, is the container's; its size
    is followed. Called by the main thread, or sizes are not followed.

    Parameters
    ----------
    master
        Master end of the container's terminal.
    source, sink
        Descriptors that are read and written.
    ended
        Asked when nothing has come for a while: whether the container is over.
    """
    personal = os.isatty(source)
    saved = termios.tcgetattr(source) if personal else None

    def follow(number: int = 0, frame: FrameType | None = None) -> None:
        with contextlib.suppress(OSError):
            resize(master, *size(source))

    previous = None
    if personal:
        follow()
        with contextlib.suppress(ValueError):
            previous = signal.signal(signal.SIGWINCH, follow)
        tty.setraw(source)
    try:
        _pass(master, source, sink, ended)
    finally:
        if saved is not None:
            termios.tcsetattr(source, termios.TCSADRAIN, saved)
        if previous is not None:
            signal.signal(signal.SIGWINCH, previous)


def _pass(master: int, source: int, sink: int, ended: Callable[[], bool]) -> None:
    poll = select.poll()
    for each in (master, source):
        poll.register(each, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll(500)}
        if master in ready:
            try:
                data = os.read(master, 1 << 16)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                data = b""  # the last process that had the terminal is gone
            if not data:
                return
            _write_all(sink, data)
        if source in ready:
            data = os.read(source, 1 << 16)
            if data:
                _write_all(master, data)
            else:
                poll.unregister(source)
                with contextlib.suppress(OSError):
                    os.write(master, b"\x04")  # the end of the input, as a terminal says it
        if not ready and ended():
            return


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
