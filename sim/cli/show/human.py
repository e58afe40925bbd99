"""Sizes, durations and times in the docker command's words, the first two from the engine.

Decided here and only here. Pure functions; any thread.
"""

from __future__ import annotations

import time

from sim.engine.durations import duration_words
from sim.engine.units import binary_size, size

__all__ = ["ago", "binary_size", "clip", "created_at", "duration_words", "size"]


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
