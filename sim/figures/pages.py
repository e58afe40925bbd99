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

from sim.figures.text import safe

__all__ = ["page_of"]

_HERE = Path(__file__).parent


def page_of(name: str, title: str, subtitle: str, document: Any) -> str:
    """Return the page of a name with this title, the line under it, and the data that its script reads."""
    parts = {
        "STYLE": (_HERE / "page.css").read_text(encoding="utf-8"),
        "TITLE": html.escape(safe(title)),
        "SUBTITLE": html.escape(safe(subtitle)),
        # Inside a script element only "</" and "<!--" could end the data early.
        "DATA": json.dumps(document, separators=(",", ":")).replace("<", "\\u003c"),
    }
    template = (_HERE / f"{name}.html").read_text(encoding="utf-8")
    # All at once: a name may itself look like a place for data.
    return re.sub("@(STYLE|TITLE|SUBTITLE|DATA)@", lambda found: parts[found[1]], template)
