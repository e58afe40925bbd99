"""Words on figures: sizes in bytes, paths made short, titles, labels.

Decided here: how a number of bytes is written (binary units, three digits), how a path that is too long is shortened
(in the middle, so that the name at its end stays), how odd characters are shown, also on pages and in the terminal, and
how far labels are slanted. Functions only; any thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sim.figures.style import Theme, characters, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "SLANT_ACROSS",
    "SLANT_UP",
    "bytes_text",
    "clean",
    "count_text",
    "fit",
    "heading",
    "plural",
    "safe",
    "slanted",
]

_SLANT = 52  # degrees

#: How far slanted text goes to the right and up, for each inch of its length.
SLANT_ACROSS, SLANT_UP = 0.616, 0.788

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def bytes_text(count: int) -> str:
    """Write a number of bytes.

    >>> [bytes_text(n) for n in (0, 999, 1023, 1536, 1048575, 25 * 2**20, 123 * 2**30)]
    ['0 B', '999 B', '1023 B', '1.5 KiB', '1 MiB', '25 MiB', '123 GiB']
    """
    value = float(count)
    unit = 0
    while abs(value) >= 1024 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    if unit and abs(value) >= 1023.5 and unit < len(_UNITS) - 1:
        value /= 1024
        unit += 1
    if unit == 0:
        return f"{count} B"
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
    return (
        f"{value:.{digits}f}".rstrip("0").rstrip(".") + f" {_UNITS[unit]}" if digits else f"{value:.0f} {_UNITS[unit]}"
    )


def count_text(count: int) -> str:
    """Write a count with thin separators.

    >>> count_text(1234567)
    '1,234,567'
    """
    return f"{count:,}"


def plural(count: int, one: str, many: str = "") -> str:
    """Write a count with its noun.

    >>> plural(1, "path"), plural(3, "path"), plural(2, "copy", "copies")
    ('1 path', '3 paths', '2 copies')
    """
    return f"{count_text(count)} {one if count == 1 else many or one + 's'}"


def clean(text: str) -> str:
    r"""Return text that can be drawn: control and undecodable characters as escapes, dollars kept from meaning maths.

    >>> clean("/a\nb\udcff"), clean("/usr/share")
    ('/a\\x0ab\\xff', '/usr/share')
    """
    if text.isascii() and text.isprintable() and "$" not in text:
        return text
    return "".join(_clean_character(character) for character in text)


def _clean_character(character: str) -> str:
    return character if character.isprintable() and _drawable(ord(character)) else _escape(ord(character))


def safe(text: str) -> str:
    r"""Return text that a terminal or a page can show, and UTF-8 hold: what cannot be printed as escapes.

    Control, invisible and undecodable characters are; so nothing moves a cursor, and no name hides what is in it.

    >>> safe("/a\nb\udcff\x1b[1m"), safe("/usr/share/日本")
    ('/a\\x0ab\\xff\\x1b[1m', '/usr/share/日本')
    """
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else _escape(ord(one)) for one in text)


def _escape(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _drawable(code: int) -> bool:
    """Whether both sets of faces that the figures use have the character; one that they lack would be an empty box."""
    return code in characters() and code in characters(mono=True)


def fit(text: str, width: float, size: float, *, mono: bool = False, bold: bool = False) -> str:
    """Shorten cleaned text in the middle until it is at most `width` inches wide at `size` points.

    >>> fit("/usr/lib/x86_64-linux-gnu/libc.so.6", 1.5, 8, mono=True)
    '/usr/lib/…/libc.so.6'
    """
    text = clean(text)
    if text_width(text, size, mono=mono, bold=bold) <= width:
        return text
    low, high = 1, len(text) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if text_width(_elide(text, middle), size, mono=mono, bold=bold) <= width:
            low = middle
        else:
            high = middle - 1
    return _elide(text, low)


def _elide(text: str, keep: int) -> str:
    """Keep `keep` characters of text, more of its end than of its beginning; cut at a slash where one is near."""
    tail = max(1, (keep * 3 + 4) // 5)
    head = keep - tail
    end = text[len(text) - tail :]
    slash = end.find("/")
    if 0 < slash <= 6 and text.startswith("/"):
        end = end[slash:]
    start = text[:head]
    cut = start.rfind("/")
    if cut > 0 and head - cut <= 6 and text.startswith("/"):
        start = start[: cut + 1]
    return f"{start}…{end}"


def heading(axes: Axes, theme: Theme, x: float, y: float, title: str, subtitle: str, width: float) -> None:
    """Write a title of one line and a line under it, `width` inches wide at most, the first with its top at `y`."""
    size = 13.0
    title = clean(title)
    while size > 9 and text_width(title, size, bold=True) > width:
        size -= 0.5
    axes.text(
        x, y, fit(title, width, size, bold=True), size=size, weight="bold", color=theme.ink, va="top", parse_math=False
    )
    small = 9.5
    subtitle = clean(subtitle)
    while small > 7 and text_width(subtitle, small) > width:
        small -= 0.25
    axes.text(x, y - 0.27, fit(subtitle, width, small), size=small, color=theme.muted, va="top", parse_math=False)


def slanted(axes: Axes, theme: Theme, x: float, y: float, text: str, *, color: str = "", **look: Any) -> None:
    """Write a label of 8 points that rises to the right from a place, in the theme's ink or another colour.

    `look` is what matplotlib takes of text: `family`, `weight`.
    """
    axes.text(
        x,
        y,
        text,
        rotation=_SLANT,
        rotation_mode="anchor",
        size=8,
        color=color or theme.ink,
        va="center",
        ha="left",
        parse_math=False,
        **look,
    )
