"""Words and colours of the explorer: paths made short, the lines of a file, the letters and colours of changes.

Decided here and only here: how the content of a file is shown in a terminal (nothing in it may move the cursor or
colour the screen), and which colour goes with which letter: Okabe and Ito's, and never a colour without its letter.
Functions only; any thread.
"""

from __future__ import annotations

from sim.figures.text import safe

__all__ = ["COLOURS", "SIGNS", "hex_lines", "shorten", "text_lines"]

#: Colour by letter: added, modified, deleted; and for the RW layer's number.
COLOURS = {"A": "#009e73", "M": "#e69f00", "D": "#d55e00", "RW": "#e69f00"}

#: What stands behind a name, by the type of the entry.
SIGNS = {"directory": "/", "symlink": "@", "other": "%", "whiteout": " ✕", "file": ""}


def shorten(text: str, width: int) -> str:
    """Shorten text to so many characters, in the middle: the end of a path tells most.

    >>> shorten("/usr/lib/x86_64-linux-gnu/libc.so.6", 20)
    '/usr/li…gnu/libc.so.6'
    >>> shorten("/etc", 20)
    '/etc'
    """
    if len(text) <= width:
        return text
    head = max((width - 1) * 2 // 5, 0)
    return f"{text[:head]}…{text[len(text) - (width - head) :]}"


def text_lines(data: bytes) -> list[str]:
    r"""Return the lines of a file to be shown: as text, or in hexadecimal if it is none.

    >>> text_lines(b"a\tb\n\x1b[0m"), text_lines(b"\0\1z")
    (['a       b', '\\x1b[0m'], ['00000000  00 01 7a                                         ..z'])
    """
    if b"\0" in data[:8192]:
        return hex_lines(data)
    text = data.decode(errors="surrogateescape")
    if sum(0xDC80 <= ord(one) <= 0xDCFF for one in text[:8192]) > len(text[:8192]) // 10:
        return hex_lines(data)
    return [safe(line.rstrip("\r").expandtabs(8)) for line in text.removesuffix("\n").split("\n")]


def hex_lines(data: bytes) -> list[str]:
    """Return lines of sixteen bytes each, with their offset, in hexadecimal and as characters."""
    lines = []
    for offset in range(0, len(data), 16):
        part = data[offset : offset + 16]
        digits = " ".join(f"{byte:02x}" for byte in part)
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{offset:08x}  {digits:<47}  {letters}".rstrip())
    return lines
