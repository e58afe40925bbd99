"""How the commands put operations, sizes and paths into words.

Decided here: the units and the phrases that tables and lines use. Plain text in, plain text out; any thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from fusefs.operation import Effect, EffectKind, Operation

__all__ = ["count_words", "effect_words", "failure", "printable", "program", "short_name", "size_words", "time_words"]


def program() -> str:
    """Return how this command was called, to be typed again: `layerlab`, or the script in a checkout."""
    return os.environ.get("LAYERLAB_COMMAND") or "layerlab"


def printable(path: str) -> str:
    """Return a path without what would move a terminal's cursor or cannot be encoded.

    >>> printable("/a\\nb")
    '/a\\\\nb'
    """
    if path.isprintable():
        return path
    return "".join(one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode() for one in path)


def size_words(size: float) -> str:
    """Return a number of bytes in binary units with three digits, as the figures have them.

    >>> size_words(911), size_words(1982256), size_words(0)
    ('911 B', '1.89 MiB', '0 B')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            return f"{size:.0f} B" if unit == "B" else f"{size:.{3 if size < 1000 else 4}g} {unit}"
        size /= 1024
    raise AssertionError


def count_words(count: int, one: str, many: str = "") -> str:
    """Return a number with its noun.

    >>> count_words(1, "read"), count_words(1234, "entry", "entries")
    ('1 read', '1,234 entries')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def time_words(nanoseconds: float) -> str:
    """Return a duration with three digits.

    >>> time_words(12_345), time_words(1_500_000), time_words(2e9)
    ('12.3 µs', '1.5 ms', '2 s')
    """
    for unit, one in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= one:
            return f"{nanoseconds / one:.3g} {unit}"
    return f"{nanoseconds:.0f} ns"


def short_name(name: str) -> str:
    """Return a digest's first twelve digits, or another name as it is.

    >>> short_name("sha256:" + "0123456789abcdef" * 4)
    '0123456789ab'
    """
    algorithm, colon, digits = name.partition(":")
    return digits[:12] if colon and algorithm.startswith("sha") else name


def failure(number: int) -> str:
    """Return an errno by its name and meaning.

    >>> failure(2)
    'ENOENT (No such file or directory)'
    """
    return f"{errno.errorcode.get(number, str(number))} ({os.strerror(number)})"


def effect_words(effect: Effect, operation: Operation, layers: Mapping[int, str] | None = None) -> str:
    """Return what an effect did, in words; the path only where it is another than the operation's.

    Parameters
    ----------
    effect
        One of the operation's effects.
    operation
        The operation, whose path is known to the reader already.
    layers
        Names of layers by number, for the origin.
    """
    origin = ""
    if effect.origin is not None:
        origin = (layers or {}).get(effect.origin, f"layer {effect.origin}")
    place = "" if effect.path in (operation.path, operation.target) else f"{printable(effect.path)} "
    match effect.kind:
        case EffectKind.COPIED_UP:
            size = f", {size_words(effect.size)}" if effect.size else ""
            return f"{place}copied up from {origin}{size}"
        case EffectKind.WHITEOUT:
            return f"{place}whiteout hides it in {origin}" if origin else f"{place}whiteout"
        case EffectKind.OPAQUE:
            return f"{place}opaque: hides all in {origin}" if origin else f"{place}opaque"
        case EffectKind.REVEALED:
            return f"{place}whiteout taken away"
        case EffectKind.WRITTEN:
            return f"{place}written, {size_words(effect.size)}"
        case EffectKind.METADATA:
            return f"{place}metadata set"
        case EffectKind.RENAMED:
            return f"now {printable(effect.target)}"
        case EffectKind.LINKED:
            return f"one more name of {printable(effect.target)}"
        case EffectKind.REDIRECT:
            return f"{place}redirect to {printable(effect.target)}"
        case EffectKind.CREATED | EffectKind.REMOVED:
            return f"{place}{effect.kind.value}"
