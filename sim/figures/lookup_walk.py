"""Figure: how a path is looked up, layer by layer and name by name.

Decided here: columns are the names of the path, rows the layers; each probe is a cell with its number in the order.
Draws in one thread at a time, as matplotlib does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.figures.marks import badge, cross, plain, ring
from sim.figures.style import LIGHT, Theme, families, page, styled, text_width
from sim.figures.text import clean, fit, heading, plural
from sim.graph.views import LookupWalk, Probe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["lookup_walk"]

_MOST_PARTS = 8


@styled
def lookup_walk(data: LookupWalk, *, theme: Theme = LIGHT) -> Figure:
    """Draw a lookup.

    Parameters
    ----------
    data
        From `sim.graph.lookup_walk`.
    theme
        Light or dark.
    """
    row = 0.5 if len(data.rows) <= 8 else 0.34 if len(data.rows) <= 20 else 0.22
    shown = _shown(len(data.parts))
    column = 1.75 if len(shown) <= 4 else 1.3
    name_width = max([text_width(clean(lane.name), 8.5) for lane in data.rows] + [0.6])
    left = 0.35 + 0.5 + min(name_width, 2.2) + 0.3
    width = max(left + max(len(shown), 1) * column + 0.4, 8.2)
    height = 1.35 + len(data.rows) * row + 0.95
    figure, axes = page(width, height, theme)
    heading(axes, theme, 0.35, height - 0.22, _title(data), _SUBTITLE, width - 0.7)
    top = height - 1.35
    place = {part: index for index, part in enumerate(shown)}
    for index, lane in enumerate(data.rows):
        y = top - (index + 0.5) * row
        plain(
            axes,
            left,
            y - row / 2 + 0.03,
            len(shown) * column,
            row - 0.06,
            theme.glass_rw if lane.rw else theme.glass,
            zorder=0,
        )
        badge(
            axes, 0.35, y, row, lane.label, theme.rw if lane.rw else theme.ro, theme.on_rw if lane.rw else theme.on_ro
        )
        axes.text(
            0.85,
            y,
            fit(lane.name, left - 1.1, 8.5),
            size=8.5 if row > 0.25 else 7.5,
            color=theme.ink,
            va="center_baseline",
            parse_math=False,
        )
    for part, index in place.items():
        x = left + (index + 0.5) * column
        text = "…" if part < 0 else data.parts[part] + ("" if part == len(data.parts) - 1 else "/")
        axes.text(
            x,
            top + 0.12,
            fit(text, column - 0.15, 9.5, mono=True),
            size=9.5,
            family=families(mono=True),
            weight="bold",
            color=theme.ink,
            ha="center",
            va="bottom",
            parse_math=False,
        )
        if part < 0:
            axes.text(
                x,
                top - len(data.rows) * row / 2,
                f"{len(data.parts) - _MOST_PARTS + 1}\nmore\nnames",
                size=8,
                color=theme.muted,
                ha="center",
                va="center",
            )
    _path(axes, theme, data, place, left, column, top, row)
    for probe in data.probes:
        if probe.part in place:
            x = left + place[probe.part] * column
            _probe(axes, theme, data, probe, x, top - (probe.row + 1) * row, column, row)
    _unasked(axes, theme, data, place, left, column, top, row)
    if not data.parts:
        axes.text(left + 0.2, top - row / 2, "the root is always there", size=9, color=theme.muted, va="center")
    return figure


_SUBTITLE = "From the left: each name is looked for in the layers that have its directory, from the top."


def _shown(count: int) -> list[int]:
    """Return indexes of the names that are shown; -1 for those left out."""
    if count <= _MOST_PARTS:
        return list(range(count))
    return [0, 1, 2, -1, *range(count - (_MOST_PARTS - 4), count)]


def _title(data: LookupWalk) -> str:
    asked = plural(max((probe.last for probe in data.probes), default=0), "probe")
    path = data.path if len(data.path) <= 50 else f"{data.path[:22]}…{data.path[-24:]}"
    if data.found is None:
        return f"{path} does not exist: known after {asked}"
    lane = data.rows[data.found]
    where = "the RW layer" if lane.rw else f"layer {lane.label}"
    return f"{path} is found in {where} after {asked}"


def _path(
    axes: Axes,
    theme: Theme,
    data: LookupWalk,
    place: dict[int, int],
    left: float,
    column: float,
    top: float,
    row: float,
) -> None:
    for part, index in place.items():
        rows = [probe.row for probe in data.probes if probe.part == part]
        if part < 0 or not rows:
            continue
        x = left + (index + 0.17) * column
        axes.plot(
            [x, x], [top - (min(rows) + 0.5) * row, top - (max(rows) + 0.5) * row], color=theme.muted, lw=1.1, zorder=1
        )
        if index:
            axes.annotate(
                "",
                (left + (index + 0.06) * column, top + 0.2),
                (left + (index - 0.06) * column, top + 0.2),
                arrowprops={"arrowstyle": "-|>", "color": theme.muted, "lw": 1.1},
            )


def _probe(
    axes: Axes, theme: Theme, data: LookupWalk, probe: Probe, x: float, y: float, column: float, row: float
) -> None:
    lane = data.rows[probe.row]
    color = theme.rw if lane.rw else theme.ro
    middle = y + row / 2
    radius = min(row * 0.36, 0.15)
    from matplotlib.patches import Circle

    number = (x + 0.17 * column, middle)
    if probe.last > probe.step:
        plain(axes, number[0] - 0.2, number[1] - 0.1, 0.4, 0.2, theme.paper, edge=color, lw=1.3, zorder=3)
    else:
        axes.add_patch(Circle(number, radius, facecolor=theme.paper, edgecolor=color, lw=1.3, zorder=3))
    text = str(probe.step) if probe.last <= probe.step else f"{probe.step}\u2013{probe.last}"
    axes.text(
        *number,
        text,
        size=8 if radius > 0.12 and len(text) < 3 else 6 if len(text) != 3 or radius > 0.12 else 4.5,
        color=theme.ink,
        ha="center",
        va="center_baseline",
        zorder=4,
    )
    start, wide = x + 0.31 * column, 0.62 * column
    size = 8.5 if row > 0.3 else 7
    if probe.answer == "nothing":
        axes.text(start + 0.05, middle, "not here", size=size, color=theme.muted, va="center_baseline")
        return
    low, high = y + row * 0.16, row * 0.68
    if probe.answer == "whiteout":
        plain(axes, start, low, wide, high, theme.paper, edge=theme.mark, lw=1.4)
        cross(axes, (start + 0.2, middle), high * 0.28, theme.mark)
        axes.text(start + 0.4, middle, "whiteout", size=size, color=theme.mark, va="center_baseline", zorder=4)
    elif probe.answer in ("directory", "opaque"):
        plain(axes, start, low, wide, high, theme.paper, edge=color, lw=1.4)
        if probe.answer == "opaque":
            ring(axes, (start + 0.2, middle), high * 0.3, theme.mark)
        words = "opaque" if probe.answer == "opaque" else "found" if probe.served else "directory"
        axes.text(
            start + (0.4 if probe.answer == "opaque" else 0.1),
            middle,
            words,
            size=size,
            color=theme.mark if probe.answer == "opaque" else theme.ink,
            va="center_baseline",
            zorder=4,
        )
    else:
        plain(axes, start, low, wide, high, color)
        axes.text(
            start + wide / 2,
            middle,
            f"{probe.answer}: found" if probe.served else probe.answer,
            size=size,
            weight="bold",
            color=theme.on_rw if lane.rw else theme.on_ro,
            ha="center",
            va="center_baseline",
        )


def _unasked(
    axes: Axes,
    theme: Theme,
    data: LookupWalk,
    place: dict[int, int],
    left: float,
    column: float,
    top: float,
    row: float,
) -> None:
    """Say in the last name's column which layers were not asked any more."""
    last = len(data.parts) - 1
    if last not in place or row < 0.25:
        return
    asked = {probe.row for probe in data.probes if probe.part == last}
    for index in range(len(data.rows)):
        if index not in asked:
            axes.text(
                left + (place[last] + 0.31) * column + 0.05,
                top - (index + 0.5) * row,
                "not asked",
                size=8.5,
                style="italic",
                color=theme.muted,
                va="center_baseline",
            )
