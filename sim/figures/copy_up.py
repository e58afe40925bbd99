"""Figure: one copy-up in four frames: before, copying aside, moving into place, after.

Decided here: what stands in each frame. Draws in one thread at a time, as matplotlib does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.figures.marks import hatched, plain
from sim.figures.style import LIGHT, Theme, page, styled
from sim.figures.text import bytes_text, fit, heading, plural
from sim.figures.timeline import duration_text
from sim.graph.views import CopyUp

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["copy_up"]

_FRAME, _GAP = 2.75, 0.22


@styled
def copy_up(data: CopyUp, *, theme: Theme = LIGHT) -> Figure:
    """Draw a copy-up in frames.

    Parameters
    ----------
    data
        From `sim.graph.copy_up`.
    theme
        Light or dark.
    """
    width, height = 0.7 + 4 * _FRAME + 3 * _GAP, 4.6
    figure, axes = page(width, height, theme)
    heading(axes, theme, 0.35, height - 0.22, _title(data), _subtitle(data), width - 0.7)
    parents = len(data.parents)
    steps = (
        ("1  before", "the file is read from where it is"),
        ("2  copy aside", f"complete, with mode, owner, times{' and parents' if parents else ''}"),
        ("3  rename", "moved into place in one step"),
        ("4  after", f"writes go to the copy{f': {bytes_text(data.written)}' if data.written else ''}"),
    )
    for index, (name, words) in enumerate(steps):
        x = 0.35 + index * (_FRAME + _GAP)
        axes.text(x, height - 0.98, name, size=10, weight="bold", color=theme.ink, va="center_baseline")
        axes.text(x, height - 1.18, fit(words, _FRAME, 8), size=8, color=theme.muted, va="center_baseline")
        _frame(axes, theme, data, index, x, height - 1.35)
    return figure


def _title(data: CopyUp) -> str:
    name = fit(data.path, 4.6, 13, bold=True)
    return f"{name}: the {data.kind} copies {bytes_text(data.bytes)} up from layer {data.origin}"


def _subtitle(data: CopyUp) -> str:
    words = f"Operation {data.operation} took {duration_text(data.seconds)}."
    if data.parents:
        words += f" {plural(len(data.parents), 'directory', 'directories')} above it came first."
    return words + " Killed at any point, the file is there as before or as after, never half."


def _frame(axes: Axes, theme: Theme, data: CopyUp, index: int, x: float, top: float) -> None:
    row = 0.78
    names = (
        ("RW layer", theme.rw, theme.glass_rw),
        ("work directory", theme.rw, theme.paper),
        (f"layer {data.origin}  {data.origin_name}", theme.ro, theme.glass),
    )
    middles = []
    for place, (name, edge, fill) in enumerate(names):
        y = top - (place + 1) * row + 0.06
        plain(
            axes,
            x,
            y,
            _FRAME,
            row - 0.1,
            fill,
            edge=edge if place == 1 else "none",
            dashed=place == 1,
            lw=1.0,
            zorder=0,
        )
        axes.text(
            x + 0.08,
            y + row - 0.22,
            fit(name, _FRAME - 0.2, 7.5),
            size=7.5,
            color=theme.muted,
            va="center_baseline",
            parse_math=False,
        )
        middles.append(y + 0.26)
    box = 1.5
    left = x + (_FRAME - box) / 2
    lower, work, upper = middles[2], middles[1], middles[0]
    name = data.path.rpartition("/")[2] or "/"
    if index < 3:
        _file(axes, theme, name, left, lower, box, theme.ro, theme.on_ro)
    else:
        hatched(axes, left, lower - 0.17, box, 0.34, theme.paper, theme.hidden)
        axes.text(
            left + box / 2,
            lower,
            "hidden, unchanged",
            size=7.5,
            color=theme.ink,
            ha="center",
            va="center_baseline",
            bbox={"facecolor": theme.paper, "edgecolor": "none", "pad": 1},
        )
    if index == 1:
        _file(axes, theme, name, left, work, box, theme.rw, theme.on_rw)
        _arrow(axes, theme.rw, x + _FRAME / 2, lower + 0.17, work - 0.17, bytes_text(data.bytes), theme)
    if index == 2:
        plain(axes, left, work - 0.17, box, 0.34, theme.paper, edge=theme.hidden, dashed=True)
        _arrow(axes, theme.rw, x + _FRAME / 2, work + 0.17, upper - 0.17, "rename", theme)
    if index >= 2:
        _file(axes, theme, name, left, upper, box, theme.rw, theme.on_rw)
    seen = lower if index < 2 else upper
    # The eye of the process: a line of sight at the right, ending at the file that is seen.
    sight = x + _FRAME - 0.24
    axes.plot([sight, sight, left + box], [top - 0.02, seen, seen], color=theme.ink, lw=1.4, zorder=5)
    axes.plot([left + box], [seen], marker="<", ms=6, color=theme.ink, zorder=5)
    axes.text(
        x + _FRAME,
        top - 3 * row - 0.1,
        f"a process sees {'layer ' + str(data.origin) if index < 2 else 'the RW layer'}",
        size=8,
        weight="bold",
        color=theme.ink,
        ha="right",
        va="top",
    )


def _file(axes: Axes, theme: Theme, name: str, x: float, y: float, width: float, fill: str, on: str) -> None:
    plain(axes, x, y - 0.17, width, 0.34, fill)
    axes.text(
        x + width / 2,
        y,
        fit(name, width - 0.16, 8.5),
        size=8.5,
        weight="bold",
        color=on,
        ha="center",
        va="center_baseline",
        parse_math=False,
    )


def _arrow(axes: Axes, color: str, x: float, start: float, end: float, words: str, theme: Theme) -> None:
    axes.annotate(
        "",
        (x, end),
        (x, start),
        arrowprops={"arrowstyle": "-|>", "color": color, "lw": 2.4, "mutation_scale": 14, "shrinkA": 0, "shrinkB": 0},
        zorder=4,
    )
    axes.text(
        x + 0.12,
        (start + end) / 2 - 0.02,
        words,
        size=8,
        weight="bold",
        color=theme.ink,
        ha="left",
        va="center",
        bbox={"facecolor": theme.paper, "edgecolor": "none", "pad": 1},
        zorder=6,
    )
