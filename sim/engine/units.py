"""Sizes in about four digits and a unit, as Docker says them.

Decided here and only here, for the daemon, whose progress lines say them, and for the command, whose tables do. Imports
nothing: the command line asks it at each start.
"""

from __future__ import annotations

__all__ = ["binary_size", "size"]

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

    >>> size(1984162), size(1984000, 3), size(0), size(999), size(999999), size(-1)
    ('1.984MB', '1.98MB', '0B', '999B', '1000kB', '-1B')
    """
    return _scaled(number, 1000.0, _DECIMAL, digits)


def binary_size(number: float, digits: int = 4) -> str:
    """Return bytes in binary units.

    >>> binary_size(8 << 30), binary_size(1536)
    ('8GiB', '1.5KiB')
    """
    return _scaled(number, 1024.0, _BINARY, digits)
