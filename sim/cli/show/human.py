"""Sizes, durations and times in the docker command's words.

Decided here and only here. Pure functions; any thread.
"""

from __future__ import annotations

import time

from sim.engine.durations import duration_words

__all__ = ["ago", "binary_size", "clip", "created_at", "duration_words", "size"]

_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB")


def _scaled(number: float, base: float, units: tuple[str, ...], digits: int) -> str:
    place = 0
    while number >= base and place < len(units) - 1:
        number /= base
        place += 1
    return f"{number:.{digits}g}{units[place]}"


def size(number: float, digits: int = 4) -> str:
    """Return bytes in decimal units.

    >>> size(1984000), size(1984000, 3), size(0), size(999), size(-1)
    ('1.984MB', '1.98MB', '0B', '999B', '-1B')
    """
    return _scaled(number, 1000.0, _DECIMAL, digits)


def binary_size(number: float, digits: int = 4) -> str:
    """Return bytes in binary units.

    >>> binary_size(8 << 30), binary_size(1536)
    ('8GiB', '1.5KiB')
    """
    return _scaled(number, 1024.0, _BINARY, digits)


def ago(timestamp: float) -> str:
    """Return how long ago a moment was."""
    return f"{duration_words(time.time() - timestamp)} ago"


def created_at(timestamp: int) -> str:
    """Return a moment as tables have it: `2026-11-27 23:32:56 +0000 UTC`."""
    moment = time.localtime(timestamp)
    return time.strftime("%Y-%m-%d %H:%M:%S %z ", moment) + moment.tm_zone


def clip(text: str, width: int) -> str:
    """Return a text of at most this many columns, with an ellipsis where something is left away.

    >>> clip("sleep 1000", 6), clip("sleep", 6)
    ('sleep…', 'sleep')
    """
    if len(text) <= width and text.isascii():
        return text
    if width < 1:
        return ""
    wide = [2 if _wide(one) else 1 for one in text]
    if sum(wide) <= width:
        return text
    if width == 1:
        return text[:1]
    room = width - 1
    kept = 0
    for one in wide:
        if room < one:
            break
        room -= one
        kept += 1
    return text[:kept] + "…"


def _wide(one: str) -> bool:
    if one.isascii():
        return False
    from unicodedata import east_asian_width

    return east_asian_width(one) in "WF"
