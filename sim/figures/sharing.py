"""Figure: what images and containers weigh alone, and what lies on disk.

Decided here: columns are layers, as wide as they have bytes; a row is an image or a container, filled where it has the
layer; the bottom row is the disk, where each layer is once. Columns too narrow to be seen are widened to a sliver, and
the figure says so. Draws in one thread at a time, as matplotlib does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.figures.marks import plain
from sim.figures.style import LIGHT, Theme, page, styled, text_width
from sim.figures.text import SLANT_ACROSS, SLANT_UP, bytes_text, clean, fit, heading, plural, slanted
from sim.figures.timeline import spread
from sim.graph.views import Sharing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["sharing"]

_SLIVER = 0.14  # inches


@styled
def sharing(data: Sharing, *, theme: Theme = LIGHT) -> Figure:
    """Draw virtual sizes against bytes on disk.

    Parameters
    ----------
    data
        From `sim.graph.sharing`.
    theme
        Light or dark.
    """
    row = 0.44 if len(data.rows) <= 10 else 0.32 if len(data.rows) <= 20 else 0.24
    name_width = max(
        [text_width(clean(item.name), 9) for item in data.rows] + [text_width("on disk, once", 9, bold=True)]
    )
    left = 0.35 + min(name_width, 2.2) + 0.2
    body = 8.0
    right = 1.25
    spans, widened = _spans(data, body)
    labels = _labels(data)
    longest = max([text_width(text, 8) for text in labels.values()] + [0.3])
    slots = spread([spans[i][0] + spans[i][1] / 2 for i in labels], 0.27, body)
    width = left + max(body + right, max(slots, default=0) + longest * SLANT_ACROSS + 0.2) + 0.2
    head = 0.85 + longest * SLANT_UP + 0.5
    height = head + (len(data.rows) + 1) * row + 0.35 + 0.75
    figure, axes = page(width, height, theme)
    heading(axes, theme, 0.35, height - 0.22, _title(data), _subtitle(data), width - 0.7)
    top = height - head
    for slot, (index, text) in zip(slots, labels.items(), strict=True):
        start, span = spans[index]
        x = left + start + span / 2
        axes.plot([x, x, left + slot], [top, top + 0.08, top + 0.28], color=theme.muted, lw=0.7)
        slanted(axes, theme, left + slot, top + 0.32, text)
    _rows(axes, theme, data, spans, left, body, top, row)
    low = top - len(data.rows) * row - 0.3
    _disk(axes, theme, data, spans, left, body, low, row)
    notes = []
    if widened:
        notes.append(f"{plural(widened, 'layer')} too small for this scale drawn as slivers")
    if len(labels) < len(data.layers):
        notes.append(f"{plural(len(data.layers) - len(labels), 'layer')} not named")
    if data.left_out:
        notes.append(
            f"{plural(data.left_out, 'more image or container', 'more images and containers')} counted, not drawn"
        )
    _key(axes, theme, data, 0.35, 0.32, "; ".join(notes), width)
    return figure


def _title(data: Sharing) -> str:
    if not data.rows:
        return "No image and no container: nothing on disk"
    if not data.saved:
        return f"Nothing is shared: {bytes_text(data.disk)} of layers, {bytes_text(data.disk)} on disk"
    part = round(100 * data.saved / data.virtual)
    return f"{bytes_text(data.virtual)} of layers take {bytes_text(data.disk)} on disk: sharing saves {part} %"


def _subtitle(data: Sharing) -> str:
    return "Each row is filled where it has the layer; the width of a layer is its bytes. A layer is on disk once."


def _spans(data: Sharing, body: float) -> tuple[list[tuple[float, float]], int]:
    """Return start and width of each layer in inches, and how many had to be widened."""
    total = sum(layer.bytes for layer in data.layers)
    count = len(data.layers)
    sliver = min(_SLIVER, body / max(count, 1) * 0.9)
    widths = [layer.bytes / total * body if total else body / count for layer in data.layers]
    small = [width < sliver for width in widths]
    rest = sum(width for width, is_small in zip(widths, small, strict=True) if not is_small)
    room = body - sliver * sum(small)
    widths = [sliver if is_small else width * room / rest for width, is_small in zip(widths, small, strict=True)]
    spans, at = [], 0.0
    for width in widths:
        spans.append((at, width))
        at += width
    return spans, sum(small)


def _labels(data: Sharing) -> dict[int, str]:
    """Name the layers, of many only the largest."""
    order = sorted(range(len(data.layers)), key=lambda index: -data.layers[index].bytes)[:28]
    return {
        index: f"{fit(data.layers[index].name, 1.8, 8)}  {bytes_text(data.layers[index].bytes)}"
        for index in sorted(order)
    }


def _color(theme: Theme, data: Sharing, index: int) -> str:
    return theme.rw if data.layers[index].rw else theme.ro


def _rows(
    axes: Axes,
    theme: Theme,
    data: Sharing,
    spans: list[tuple[float, float]],
    left: float,
    body: float,
    top: float,
    row: float,
) -> None:
    axes.text(left + body + 0.15, top + 0.1, "virtual size", size=8.5, color=theme.muted, va="bottom")
    seen: set[int] = set()
    for place, item in enumerate(data.rows):
        y = top - (place + 1) * row
        plain(axes, left, y + 0.04, body, row - 0.08, theme.glass, zorder=0)
        for index in item.layers:
            start, span = spans[index]
            gap = min(0.012, span * 0.1)
            color = _color(theme, data, index)
            first = index not in seen
            seen.add(index)
            if first:
                plain(axes, left + start + gap, y + 0.05, span - 2 * gap, row - 0.1, color)
            else:
                # Already counted in a row above: an outline, since it costs nothing more.
                plain(axes, left + start + gap, y + 0.05, span - 2 * gap, row - 0.1, theme.paper, edge=color, lw=1.2)
        axes.text(
            left - 0.12,
            y + row / 2,
            fit(item.name, left - 0.5, 9),
            size=9 if row > 0.3 else 7.5,
            color=theme.ink,
            ha="right",
            va="center_baseline",
            parse_math=False,
        )
        axes.text(
            left + body + 0.15,
            y + row / 2,
            bytes_text(item.bytes),
            size=9 if row > 0.3 else 7.5,
            color=theme.ink,
            va="center_baseline",
        )


def _disk(
    axes: Axes,
    theme: Theme,
    data: Sharing,
    spans: list[tuple[float, float]],
    left: float,
    body: float,
    top: float,
    row: float,
) -> None:
    axes.plot([left, left + body + 1.1], [top + 0.14, top + 0.14], color=theme.muted, lw=0.8)
    y = top - row + 0.06
    for index in range(len(data.layers)):
        start, span = spans[index]
        gap = min(0.012, span * 0.1)
        plain(axes, left + start + gap, y + 0.03, span - 2 * gap, row - 0.06, _color(theme, data, index))
        used = f"\u00d7 {data.layers[index].used}"
        if data.layers[index].used > 1 and span > text_width(used, 8.5, bold=True) + 0.1:
            axes.text(
                left + start + span / 2,
                y + row / 2,
                used,
                size=8.5,
                weight="bold",
                ha="center",
                va="center_baseline",
                color=theme.on_rw if data.layers[index].rw else theme.on_ro,
            )
    axes.text(
        left - 0.12,
        y + row / 2,
        "on disk, once",
        size=9,
        weight="bold",
        color=theme.ink,
        ha="right",
        va="center_baseline",
    )
    axes.text(
        left + body + 0.15,
        y + row / 2,
        bytes_text(data.disk),
        size=9,
        weight="bold",
        color=theme.ink,
        va="center_baseline",
    )
    axes.text(left + body + 0.15, y - 0.06, f"of {bytes_text(data.virtual)}", size=8, color=theme.muted, va="top")


def _key(axes: Axes, theme: Theme, data: Sharing, x: float, y: float, note: str, width: float) -> None:
    samples = [("read-only layer", theme.ro, False)]
    if len(data.rows) > 1:
        samples.append(("the same layer again: costs nothing", theme.ro, True))
    if any(layer.rw for layer in data.layers):
        samples.append(("RW layer of a container", theme.rw, False))
    for words, color, hollow in samples:
        plain(axes, x, y - 0.08, 0.3, 0.16, theme.paper if hollow else color, edge=color, lw=1.2)
        axes.text(x + 0.36, y, words, size=8, color=theme.ink, va="center_baseline")
        x += 0.36 + text_width(words, 8) + 0.28
    if note:
        axes.text(0.35, y - 0.2, fit(note, width - 0.7, 7.5), size=7.5, color=theme.muted, va="center_baseline")
