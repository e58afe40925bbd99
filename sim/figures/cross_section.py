"""Figure: a stack cut open. Rows are layers, columns paths; what a process sees stands on top.

Decided here: the look of a cell. Visible: filled, blue in a read-only layer and orange in the RW layer, with a line of
sight up to the merged row. Hidden: hatched. Whiteout: a cross. Opaque directory: a ring. In the RW layer an arrow up
says copied up, a plus says new. Draws in one thread at a time, as matplotlib does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.figures.marks import badge, cross, hatched, plain, ring
from sim.figures.style import LIGHT, Theme, families, page, styled, text_width
from sim.figures.text import SLANT_ACROSS, SLANT_UP, clean, count_text, fit, heading, plural, slanted
from sim.graph.views import Box, CrossSection, SectionRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["cross_section"]

_HOW = {"copied up": "↑", "created": "+", "linked": "+", "renamed": "→"}


@styled
def cross_section(data: CrossSection, *, theme: Theme = LIGHT) -> Figure:
    """Draw a stack cut open.

    Parameters
    ----------
    data
        From `sim.graph.cross_section`.
    theme
        Light or dark.
    """
    columns = len(data.paths) or 3
    cell = min(max(9.0 / columns, 0.34), 0.95)
    row = 0.46 if len(data.rows) <= 10 else 0.34 if len(data.rows) <= 16 else 0.27
    name_width = max(
        [text_width(clean(item.name), 8.5) for item in data.rows] + [text_width("merged view", 9, bold=True)]
    )
    left = 0.35 + 0.5 + min(name_width, 2.2) + 0.15
    labels = [fit(path, 2.1, 8, mono=True) for path in data.paths]
    longest = max([text_width(label, 8, mono=True) for label in labels] + [0.5])
    overhang = max(
        [(index + 0.5) * cell + text_width(label, 8, mono=True) * SLANT_ACROSS for index, label in enumerate(labels)]
        + [0]
    )
    count_width = 0.95
    body = columns * cell
    width = max(left + max(body + count_width, overhang) + 0.3, 8.6)
    head = 0.85 + longest * SLANT_UP + 0.2
    height = head + row + 0.3 + len(data.rows) * row + 0.95
    figure, axes = page(width, height, theme)
    heading(axes, theme, 0.35, height - 0.22, _title(data), _subtitle(data), width - 0.7)

    top = height - head  # upper edge of the merged row
    first = top - row - 0.3  # upper edge of the first layer
    edges = [first - index * row for index in range(len(data.rows) + 1)]
    _glass(axes, theme, data, left, body, edges, row)
    for index, label in enumerate(labels):
        x = left + (index + 0.5) * cell
        slanted(axes, theme, x - 0.02, top + 0.08, label, family=families(mono=True))
    _merged_row(axes, theme, data, left, cell, top, row, edges)
    for index, item in enumerate(data.rows):
        for place, box in enumerate(item.boxes):
            if box is not None:
                x = left + place * cell
                _cell(axes, theme, item, box, x, edges[index] - row, cell, row, seen=data.served[place] == index)
    for index, item in enumerate(data.rows):
        axes.text(
            left + body + 0.12,
            edges[index] - row / 2,
            plural(item.files, "entry", "entries"),
            size=7.5,
            color=theme.muted,
            va="center",
        )
    if not data.paths:
        axes.text(
            left + body / 2,
            (edges[0] + edges[-1]) / 2,
            "no file in any layer",
            size=10,
            color=theme.muted,
            ha="center",
            va="center",
        )
    if data.left_out:
        axes.text(
            left + body + 0.12,
            top - row / 2,
            f"+ {count_text(data.left_out)}\nmore paths",
            size=7.5,
            color=theme.muted,
            va="center",
        )
    _key(axes, theme, data, 0.35, 0.42, width - 0.7)
    return figure


def _title(data: CrossSection) -> str:
    shown = len(data.paths)
    served = [index for index in data.served if index is not None]
    rw = sum(1 for index in served if data.rows[index].rw)
    gone = shown - len(served)
    name = f"{data.name}: " if data.name else ""
    if not shown:
        return f"{name}an empty stack of {plural(len(data.rows), 'layer')}"
    if data.left_out:
        name += f"{count_text(len(data.paths))} of {count_text(len(data.paths) + data.left_out)} paths, "
        parts = [f"{count_text(len(served) - rw)} from read-only layers"]
    else:
        parts = [f"{plural(len(served) - rw, 'path')} from read-only layers"]
    if any(item.rw for item in data.rows):
        parts.append(f"{count_text(rw)} from the RW layer")
    if gone:
        parts.append(f"{count_text(gone)} deleted")
    return name + ", ".join(parts)


def _subtitle(data: CrossSection) -> str:
    return "Look down each column from the top: the first layer that has the path is the one a process sees."


def _glass(
    axes: Axes, theme: Theme, data: CrossSection, left: float, body: float, edges: list[float], row: float
) -> None:
    for index, item in enumerate(data.rows):
        y = edges[index] - row
        plain(axes, left, y + 0.03, body, row - 0.06, theme.glass_rw if item.rw else theme.glass, zorder=0)
        badge(
            axes,
            0.35,
            y + row / 2,
            row,
            item.label,
            theme.rw if item.rw else theme.ro,
            theme.on_rw if item.rw else theme.on_ro,
        )
        axes.text(
            0.85,
            y + row / 2,
            fit(item.name, left - 0.95, 8.5),
            size=8.5,
            color=theme.ink,
            va="center_baseline",
            parse_math=False,
        )


def _merged_row(
    axes: Axes, theme: Theme, data: CrossSection, left: float, cell: float, top: float, row: float, edges: list[float]
) -> None:
    axes.text(
        left - 0.1,
        top - row / 2,
        "merged view",
        size=9,
        weight="bold",
        color=theme.ink,
        va="center_baseline",
        ha="right",
    )
    gap = min(cell * 0.09, 0.05)
    for place, served in enumerate(data.served):
        x = left + place * cell
        middle = x + cell / 2
        if served is None:
            plain(
                axes, x + gap, top - row + 0.03, cell - 2 * gap, row - 0.06, theme.paper, edge=theme.hidden, dashed=True
            )
            axes.text(middle, top - row / 2, "\u2013", size=9, color=theme.muted, ha="center", va="center_baseline")
            continue
        item = data.rows[served]
        color = theme.rw if item.rw else theme.ro
        axes.plot(
            [middle, middle], [top - row, edges[served] - 0.06], color=color, lw=2.2, zorder=1, solid_capstyle="butt"
        )
        plain(axes, x + gap, top - row + 0.03, cell - 2 * gap, row - 0.06, color)
        size = 8.5
        while size > 4 and text_width(item.label, size, bold=True) > cell - 2 * gap - 0.04:
            size -= 0.5
        axes.text(
            middle,
            top - row / 2,
            item.label,
            size=size,
            weight="bold",
            color=theme.on_rw if item.rw else theme.on_ro,
            ha="center",
            va="center_baseline",
        )


def _cell(
    axes: Axes, theme: Theme, item: SectionRow, box: Box, x: float, y: float, cell: float, row: float, *, seen: bool
) -> None:
    gap = min(cell * 0.09, 0.05)
    left, low, width, height = x + gap, y + 0.05, cell - 2 * gap, row - 0.1
    middle = (x + cell / 2, y + row / 2)
    color = theme.rw if item.rw else theme.ro
    on = theme.on_rw if item.rw else theme.on_ro
    if box.state == "whiteout":
        plain(axes, left, low, width, height, theme.paper, edge=theme.mark, lw=1.4)
        cross(axes, middle, min(width, height) * 0.3, theme.mark)
    elif box.state == "shadowed":
        hatched(axes, left, low, width, height, theme.paper, theme.hidden)
        if box.type == "whiteout":
            cross(axes, middle, min(width, height) * 0.25, theme.hidden)
    elif box.state == "merged":
        plain(axes, left, low + height * 0.3, width, height * 0.4, theme.paper, edge=color, lw=1.2)
    else:
        plain(axes, left, low, width, height, color)
        if box.opaque:
            ring(axes, middle, min(width, height) * 0.3, on)
        elif box.how in _HOW:
            axes.text(
                *middle,
                _HOW[box.how],
                size=11 if row > 0.3 else 9,
                weight="bold",
                color=on,
                ha="center",
                va="center_baseline",
            )


def _key(axes: Axes, theme: Theme, data: CrossSection, x: float, y: float, width: float) -> None:
    """Draw samples of the cells that occur, each with its meaning, in one line or two."""
    rw = SectionRow("", "", True, (), 0)
    ro = SectionRow("", "", False, (), 0)
    found = {_meaning(item.rw, box): (rw if item.rw else ro, box) for item in data.rows for box in item.boxes if box}
    at, line = x, y + 0.08
    for word in [word for word in _WORDS if word in found]:
        item, box = found[word]
        need = 0.36 + text_width(word, 8) + 0.26
        if at + need > x + width and at > x:
            at, line = x, line - 0.28
        _cell(axes, theme, item, box, at, line - 0.13, 0.3, 0.3, seen=False)
        axes.text(at + 0.36, line + 0.02, word, size=8, color=theme.ink, va="center_baseline")
        at += need


_WORDS = (
    "seen, read-only layer",
    "seen, RW layer",
    "copied up",
    "new",
    "renamed",
    "hidden by a layer above",
    "whiteout",
    "opaque directory: hides all below",
    "merged directory",
)


def _meaning(rw: bool, box: Box) -> str:
    if box.state == "whiteout":
        return "whiteout"
    if box.state == "shadowed":
        return "hidden by a layer above"
    if box.state == "merged":
        return "merged directory"
    if box.opaque:
        return "opaque directory: hides all below"
    words = {"copied up": "copied up", "created": "new", "linked": "new", "renamed": "renamed"}
    return words.get(box.how, "seen, RW layer" if rw else "seen, read-only layer")
