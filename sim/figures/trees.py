"""Figures that are trees: before and after with A, M and D, and where reads and writes went.

Decided here: how a tree is laid out in lines, and in columns where it is long. Draws in one thread at a time, as
matplotlib does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sim.figures.marks import plain
from sim.figures.style import LIGHT, Theme, families, page, styled, text_width
from sim.figures.text import bytes_text, clean, count_text, fit, heading, plural
from sim.graph.views import ChangeTree, Heat, HeatLine, TreeLine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["change_tree", "heat"]

_ROW, _INDENT = 0.235, 0.2


@styled
def change_tree(data: ChangeTree, *, theme: Theme = LIGHT) -> Figure:
    """Draw a tree with what was added, modified and deleted.

    Parameters
    ----------
    data
        From `sim.graph.change_tree`.
    theme
        Light or dark.
    """
    indent = _indent(data.lines)
    columns = 1 if len(data.lines) <= 26 else 2
    rows = math.ceil(len(data.lines) / columns) or 1
    column = 6.4 if columns == 1 else 5.4
    width, height = max(0.7 + columns * column, 8.2), 1.1 + rows * _ROW + 0.6
    figure, axes = page(width, height, theme)
    heading(axes, theme, 0.35, height - 0.22, _title(data), f"From {data.before} to {data.after}.", width - 0.7)
    for index, line in enumerate(data.lines):
        x = 0.35 + index // rows * column
        y = height - 1.1 - (index % rows + 0.5) * _ROW
        _line(axes, theme, line, x, y, column - 0.3, indent)
    _guides(axes, theme, [line.depth for line in data.lines], rows, column, height - 1.1, 0.35 + 0.34, indent)
    x = 0.35
    for letter, words in (("A", "added"), ("M", "modified"), ("D", "deleted")):
        _badge(axes, theme, letter, x, 0.3)
        axes.text(x + 0.32, 0.3, words, size=8, color=theme.ink, va="center_baseline")
        x += 0.32 + text_width(words, 8) + 0.28
    if data.left_out:
        axes.text(
            x + 0.1,
            0.3,
            f"{plural(data.left_out, 'more change')} not shown",
            size=8,
            color=theme.muted,
            va="center_baseline",
        )
    return figure


def _title(data: ChangeTree) -> str:
    total = data.added + data.modified + data.deleted
    if not total:
        return "Nothing changed"
    parts = [(data.added, "added"), (data.modified, "modified"), (data.deleted, "deleted")]
    return f"{plural(total, 'change')}: " + ", ".join(f"{count_text(count)} {word}" for count, word in parts if count)


def _colors(theme: Theme) -> dict[str, str]:
    return {"A": theme.good, "M": theme.rw, "D": theme.mark}


def _badge(axes: Axes, theme: Theme, letter: str, x: float, y: float) -> None:
    color = _colors(theme)[letter]
    plain(axes, x, y - 0.085, 0.22, 0.17, color if letter != "D" else theme.paper, edge=color, lw=1.3)
    on = {"A": "#ffffff" if theme.name == "light" else "#10131a", "M": theme.on_rw, "D": theme.mark}[letter]
    axes.text(x + 0.11, y, letter, size=8, weight="bold", color=on, ha="center", va="center_baseline", zorder=4)


def _line(axes: Axes, theme: Theme, line: TreeLine, x: float, y: float, width: float, indent: float) -> None:
    if line.what:
        _badge(axes, theme, line.what, x, y)
    start = x + 0.34 + line.depth * indent
    note = ""
    if line.what == "M" and line.before != line.after:
        before, after = bytes_text(line.before), bytes_text(line.after)
        note = f"{before} → {after}"
        if before == after:
            note = f"{'+' if line.after > line.before else chr(0x2212)}{bytes_text(abs(line.after - line.before))}"
    elif line.what in ("A", "D") and (line.before or line.after):
        note = bytes_text(line.before or line.after)
    elif line.folded:
        note = f"{count_text(line.folded)} unchanged"
    room = x + width - start - text_width(note, 7.5) - 0.1
    name = fit(line.name, max(room, 0.8), 8.5, mono=True)
    axes.text(
        start,
        y,
        name,
        size=8.5,
        family=families(mono=True),
        color=theme.ink if line.what else theme.muted,
        weight="bold" if line.what else "normal",
        va="center_baseline",
        parse_math=False,
    )
    if line.what == "D":
        end = start + text_width(name, 8.5, mono=True)
        axes.plot([start, end], [y, y], color=theme.mark, lw=1.1, zorder=5)
    axes.text(x + width, y, note, size=7.5, color=theme.muted, ha="right", va="center_baseline")


def _indent(lines: Sequence[TreeLine] | Sequence[HeatLine]) -> float:
    """Return by how much a line stands further right than its parent: less in a deep tree."""
    return min(_INDENT, 2.2 / max([line.depth for line in lines] + [1]))


def _guides(
    axes: Axes, theme: Theme, depths: Sequence[int], rows: int, column: float, top: float, left: float, indent: float
) -> None:
    """Draw the lines from each line of a tree to its parent."""
    for index, depth in enumerate(depths):
        if not depth:
            continue
        parent = next((i for i in range(index - 1, -1, -1) if depths[i] == depth - 1), index)
        first = index // rows * rows
        x = left + index // rows * column + (depth - 1) * indent + 0.05 * indent / _INDENT
        y = top - (index % rows + 0.5) * _ROW
        above = top - (parent % rows + 0.5) * _ROW - 0.09 if parent >= first else top
        axes.plot([x, x, x + 0.55 * indent], [above, y, y], color=theme.faint, lw=0.9, zorder=0)


@styled
def heat(data: Heat, *, theme: Theme = LIGHT) -> Figure:
    """Draw where reads and writes went.

    Parameters
    ----------
    data
        From `sim.graph.heat`.
    theme
        Light or dark.
    """
    rows = max(len(data.lines), 1)
    indent = _indent(data.lines)
    wanted = [line.depth * indent + text_width(clean(line.name), 8.5, mono=True) for line in data.lines]
    names = min(max([*wanted, 1.6]) + 0.35, 4.4)
    bar = 2.3
    width, height = max(0.35 + names + 2 * (bar + 0.35) + 0.45, 8.2), 1.4 + rows * _ROW + 0.35
    figure, axes = page(width, height, theme)
    heading(axes, theme, 0.35, height - 0.22, _heat_title(data), _heat_subtitle(data), width - 0.7)
    top = height - 1.4
    most = max([max(line.reads, line.writes) for line in data.lines] + [1])
    starts = (0.35 + names, 0.35 + names + bar + 0.35)
    for start, words in zip(starts, ("reads (open, read, list)", "changes"), strict=True):
        axes.text(start, top + 0.13, words, size=8.5, weight="bold", color=theme.ink, va="center_baseline")
    for index, line in enumerate(data.lines):
        y = top - (index + 0.5) * _ROW
        x = 0.35 + line.depth * indent
        axes.text(
            x,
            y,
            fit(line.name, max(0.35 + names - x - 0.2, 0.8), 8.5, mono=True),
            size=8.5,
            family=families(mono=True),
            color=theme.muted if line.name.endswith("/") else theme.ink,
            va="center_baseline",
            parse_math=False,
        )
        for start, count, amount, color in (
            (starts[0], line.reads, line.read, theme.ro),
            (starts[1], line.writes, line.written, theme.rw),
        ):
            if not count:
                continue
            long = max(count / most * (bar - 0.95), 0.03)
            inner = line.name.endswith("/")
            plain(axes, start, y - 0.07, long, 0.14, theme.paper if inner else color, edge=color, lw=1.0)
            text = count_text(count) + (f", {bytes_text(amount)}" if amount else "")
            axes.text(start + long + 0.06, y, text, size=7.5, color=theme.ink, va="center_baseline")
    _guides(axes, theme, [line.depth for line in data.lines], rows, 0.0, top, 0.35, indent)
    axes.text(
        0.35,
        0.2,
        "filled: a file's own; outlined: a directory with all that is in it",
        size=8,
        color=theme.muted,
        va="center_baseline",
    )
    return figure


def _heat_title(data: Heat) -> str:
    name = f"{data.name}: " if data.name else ""
    if not data.lines:
        return f"{name}nothing read, nothing written"
    root = data.lines[0]
    read = f"{plural(root.reads, 'read')} of {bytes_text(root.read)}"
    return f"{name}{read}, {plural(root.writes, 'change')} with {bytes_text(root.written)} written"


def _heat_subtitle(data: Heat) -> str:
    words = "Bars count operations on each file and, added up, on each directory."
    return words + (f" {plural(data.left_out, 'more path')} not shown." if data.left_out else "")
