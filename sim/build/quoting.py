"""How Go prints values: what history and messages of the classic builder are spelt with.

Decided here and only here: Go's `%q` of strings and of lists, its durations, and its parsing of them. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["duration", "parse_duration", "quote", "quote_list", "quote_rune"]

_SHORT = {
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
    "\\": "\\\\",
}
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def _escaped(character: str, mark: str) -> str:
    if character == mark:
        return "\\" + character
    if character in _SHORT:
        return _SHORT[character]
    number = ord(character)
    if character == " " or (character.isprintable() and not 0xDC80 <= number <= 0xDCFF):
        return character
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is no UTF-8
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def quote(text: str) -> str:
    r"""Return a string as Go's `%q` prints it.

    >>> print(quote('say "ü"\n'))
    "say \"ü\"\n"
    """
    return '"' + "".join(_escaped(character, '"') for character in text) + '"'


def quote_list(words: Iterable[str]) -> str:
    """Return a list of strings as Go's `%q` prints it.

    >>> print(quote_list(["sh", "-c"]))
    ["sh" "-c"]
    """
    return "[" + " ".join(quote(word) for word in words) + "]"


def quote_rune(number: int) -> str:
    r"""Return a number as Go's `%q` prints it: as a character.

    >>> print(quote_rune(3), quote_rune(65))
    '\x03' 'A'
    """
    return "'" + _escaped(chr(number) if 0 <= number < 0x110000 else "�", "'") + "'"


def duration(nanoseconds: int) -> str:
    """Return a duration as Go prints it.

    >>> duration(90 * 10**9), duration(1_500_000), duration(0)
    ('1m30s', '1.5ms', '0s')
    """
    if nanoseconds == 0:
        return "0s"
    sign, left = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    if left < 10**9:
        for unit, size in (("ms", 10**6), ("µs", 10**3), ("ns", 1)):
            if left >= size:
                return sign + _decimal(left, size) + unit
    hours, left = divmod(left, _UNITS["h"])
    minutes, left = divmod(left, _UNITS["m"])
    text = f"{hours}h" if hours else ""
    if hours or minutes:
        text += f"{minutes}m"
    return f"{sign}{text}{_decimal(left, 10**9)}s"


def _decimal(value: int, size: int) -> str:
    whole, rest = divmod(value, size)
    digits = str(size + rest)[1:].rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def parse_duration(text: str) -> int:
    """Return the nanoseconds of a duration as Go reads it.

    Raises
    ------
    ValueError
        It is none; the text is Go's.

    Examples
    --------
    >>> parse_duration("1m30.5s")
    90500000000
    """
    sign = -1 if text.startswith("-") else 1
    left = text[1:] if text[:1] in ("-", "+") else text
    if left == "0":
        return 0
    if not left:
        raise ValueError(f"time: invalid duration {quote(text)}")
    total = 0
    while left:
        found = re.match(r"(\d*)(?:\.(\d*))?", left)
        if found is None or not (found[1] or found[2]):
            raise ValueError(f"time: invalid duration {quote(text)}")
        left = left[found.end() :]
        unit = re.match(r"[^\d.]*", left)
        name = unit[0] if unit else ""
        if not name:
            raise ValueError(f"time: missing unit in duration {quote(text)}")
        if name not in _UNITS:
            raise ValueError(f"time: unknown unit {quote(name)} in duration {quote(text)}")
        left = left[len(name) :]
        size = _UNITS[name]
        total += int(found[1] or 0) * size
        if found[2]:
            total += int(found[2]) * size // 10 ** len(found[2])
    return sign * total
