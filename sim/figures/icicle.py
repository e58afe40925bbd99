"""Figure: what fills a layer. Each directory hangs below the one it is in, as wide as the bytes in it.

Decided here: tints by depth, and that what is too narrow for its name has none. Draws in one thread at a time, as
matplotlib does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.figures.marks import hatched, plain
from sim.figures.style import LIGHT, Theme, page, styled, text_width
from sim.figures.text import bytes_text, clean, fit, heading, plural
from sim.graph.views import Icicle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["icicle"]


@styled
def icicle(data: Icicle, *, theme: Theme = LIGHT) -> Figure:
    """Draw a layer's content by size.

    Parameters
    ----------
    data
        From `sim.graph.icicle`.
    theme
        Light or dark.
    """
    width, row = 11.0, 0.52
    depth = max((slab.depth for slab in data.slabs), default=0)
    height = 0.95 + (depth + 1) * row + 0.65
    figure, axes = page(width, height, theme)
    heading(axes, theme, 0.35, height - 0.22, _title(data), _SUBTITLE, width - 0.7)
    left, body, top = 0.35, width - 0.7, height - 0.95
    for slab in data.slabs:
        part = slab.bytes / data.bytes if data.bytes else 1.0
        x = left + (slab.start / data.bytes if data.bytes else 0.0) * body
        y = top - (slab.depth + 1) * row
        wide = part * body
        gap = min(0.012, wide * 0.15)
        if slab.rest:
            hatched(axes, x + gap, y + 0.02, wide - 2 * gap, row - 0.04, theme.paper, theme.faint)
            color = theme.ink
        else:
            fill = _tint(theme, slab.depth, depth)
            plain(
                axes,
                x + gap,
                y + 0.02,
                wide - 2 * gap,
                row - 0.04,
                fill if slab.directory else theme.paper,
                edge="none" if slab.directory else theme.ro,
                lw=1.1,
            )
            color = _on(fill, theme) if slab.directory else theme.ink
        label = slab.label + ("/" if slab.directory and slab.path != "/" else "")
        size = bytes_text(slab.bytes)
        room = wide - 0.12
        back = {"facecolor": theme.paper, "edgecolor": "none", "pad": 1.2} if slab.rest else None
        if text_width(size, 7) <= room and text_width(clean(label), 8) <= room * 1.8:
            text = fit(label, room, 8)
            axes.text(
                x + 0.06, y + row * 0.66, text, size=8, color=color, va="center_baseline", parse_math=False, bbox=back
            )
            axes.text(x + 0.06, y + row * 0.27, size, size=7, color=color, va="center_baseline", bbox=back)
        elif wide > 0.2:
            text = fit(label, row * 0.9, 6.5)
            axes.text(
                x + wide / 2,
                y + row / 2,
                text,
                size=6.5,
                color=color,
                rotation=90,
                ha="center",
                va="center",
                parse_math=False,
                bbox=back,
            )
    samples = [("directory", "dir"), ("file", "file"), ("several small ones", "rest")]
    x = 0.35
    for words, kind in samples:
        if kind == "rest":
            hatched(axes, x, 0.2, 0.3, 0.18, theme.paper, theme.faint)
        else:
            plain(axes, x, 0.2, 0.3, 0.18, theme.ro if kind == "dir" else theme.paper, edge=theme.ro, lw=1.1)
        axes.text(x + 0.36, 0.28, words, size=8, color=theme.ink, va="center_baseline")
        x += 0.36 + text_width(words, 8) + 0.28
    return figure


_SUBTITLE = "Each directory hangs below the one that it is in; the width is the bytes in it."


def _title(data: Icicle) -> str:
    if not data.files:
        text = f"{data.name}: no file"
    else:
        text = f"{data.name}: {bytes_text(data.bytes)} in {plural(data.files, 'file')}"
        first = next((slab for slab in data.slabs if slab.depth == 1 and not slab.rest), None)
        if first is not None and data.bytes:
            text += f", {100 * first.bytes / data.bytes:.0f} % of it in {first.path}"
    return text + (
        f"; {plural(data.marks, 'whiteout or opaque mark', 'whiteouts and opaque marks')}" if data.marks else ""
    )


def _tint(theme: Theme, depth: int, deepest: int) -> str:
    """Return the read-only colour, paler with depth."""
    from matplotlib.colors import to_hex, to_rgb

    if depth == 0:
        return theme.ro
    # Never halfway between dark and light, where neither black nor white letters are read well.
    least, most = (0.42, 0.75) if theme.name == "light" else (0.62, 0.82)
    part = least + (most - least) * (depth - 1) / max(deepest - 1, 1)
    mixed = [(1 - part) * a + part * b for a, b in zip(to_rgb(theme.ro), to_rgb(theme.paper), strict=True)]
    return to_hex((mixed[0], mixed[1], mixed[2]))


def _on(fill: str, theme: Theme) -> str:
    """Return black or white, whichever is read better on a colour."""
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(fill)]
    light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#ffffff" if light < 0.18 else "#16181c"
