"""Pages: one HTML file each, with nothing to load from anywhere.

Decided here: how data get into a page, and what keeps them from breaking out of it. The look that all pages share is
in `page.css`, each page and its few lines of script in an HTML file of its name. Any thread may call.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

__all__ = ["page_of", "page_text"]

_HERE = Path(__file__).parent


def page_of(name: str, title: str, subtitle: str, document: Any) -> str:
    """Return the page of a name with this title, the line under it, and the data that its script reads."""
    parts = {
        "STYLE": (_HERE / "page.css").read_text(encoding="utf-8"),
        "TITLE": html.escape(page_text(title)),
        "SUBTITLE": html.escape(page_text(subtitle)),
        # Inside a script element only "</" and "<!--" could end the data early.
        "DATA": json.dumps(document, separators=(",", ":")).replace("<", "\\u003c"),
    }
    template = (_HERE / f"{name}.html").read_text(encoding="utf-8")
    # All at once: a name may itself look like a place for data.
    return re.sub("@(STYLE|TITLE|SUBTITLE|DATA)@", lambda found: parts[found[1]], template)


def page_text(text: str) -> str:
    r"""Return text that UTF-8 can hold, and that shows what is in it: odd characters as backslash escapes.

    >>> page_text("a\udcffb\n")
    'a\\xffb\\x0a'
    """
    if text.isprintable():
        return text
    return "".join(map(_character, text))


def _character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if character.isprintable():
        return character
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
