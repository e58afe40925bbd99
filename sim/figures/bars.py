"""Figure: drivers beside each other in one case, each with the interval of its time.

Decided here and only here: bars begin at nothing, so that their lengths can be compared; where the longest would leave
the others invisible the scale is logarithmic and there are dots in place of bars, since a bar needs a zero. Draws in
one thread at a time, as matplotlib does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.figures.curves import short_time
from sim.figures.style import LIGHT, Theme, page, styled, text_width
from sim.figures.text import fit, heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Bar", "Bars", "bars"]

#: The longest bar may be so many times as long as the shortest.
_LINEAR = 25


@dataclass(frozen=True, slots=True)
class Bar:
    """One driver's time in a case, seconds, and its interval.

    Attributes
    ----------
    name
        The driver.
    value, low, high
        The median and its interval.
    note
        What stands behind it, as "2.1 times".
    reference
        Whether the others are compared with this one.
    """

    name: str
    value: float
    low: float
    high: float
    note: str = ""
    reference: bool = False


@dataclass(frozen=True, slots=True)
class Bars:
    """A figure's data: one group of bars for each case.

    Attributes
    ----------
    title, subtitle
        What is seen, and how it was measured.
    groups
        The case in words, and its bars.
    """

    title: str
    subtitle: str
    groups: tuple[tuple[str, tuple[Bar, ...]], ...]


@styled
def bars(data: Bars, *, theme: Theme = LIGHT) -> Figure:
    """Draw drivers side by side.

    Parameters
    ----------
    data
        What was measured, from `sim.bench.report`.
    theme
        Light or dark.
    """
    groups = [(name, group) for name, group in data.groups if group]
    columns = 2 if len(groups) > 1 else 1
    rows = max((len(groups) + columns - 1) // columns, 1)
    most = max((len(group) for _, group in groups), default=1)
    cell = 0.62 + 0.245 * most + 0.2
    width, height = 12.0 if columns == 2 else 8.4, 0.95 + rows * cell
    figure, words = page(width, height, theme)
    heading(words, theme, 0.35, height - 0.22, data.title, data.subtitle, width - 0.7)
    if not groups:
        words.text(width / 2, height / 2, "nothing was measured", color=theme.muted, ha="center")
        return figure
    label = min(max(text_width(bar.name, 8.5) for _, group in groups for bar in group) + 0.15, 2.3)
    across = (width - 0.7 - 0.35 * (columns - 1)) / columns
    for index, (name, group) in enumerate(groups):
        left = 0.35 + (index % columns) * (across + 0.35)
        top = height - 0.95 - (index // columns) * cell
        words.text(left, top, fit(name, across, 9.5, bold=True), size=9.5, weight="bold", color=theme.ink, va="top")
        box = (
            (left + label) / width,
            (top - 0.3 - 0.245 * len(group)) / height,
            (across - label - 1.55) / width,
            0.245 * len(group) / height,
        )
        axes = figure.add_axes(box, facecolor="none")
        _group(axes, theme, group, label)
    return figure


def _group(axes: Axes, theme: Theme, group: tuple[Bar, ...], label: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    low, high = min(bar.value for bar in group), max(max(bar.high, bar.value) for bar in group)
    linear = high / low <= _LINEAR
    if not linear:
        axes.set_xscale("log")
    for row, bar in enumerate(group):
        color = theme.rw if bar.reference else theme.ro
        if linear:
            axes.barh(
                row, bar.value, height=0.68, color=color, edgecolor=theme.paper,
                hatch="///" if bar.reference else None, zorder=2,
            )  # fmt: skip
        axes.errorbar(
            [bar.value], [row], xerr=[[max(bar.value - bar.low, 0)], [max(bar.high - bar.value, 0)]], ecolor=theme.ink,
            elinewidth=1.2, capsize=3, fmt="none" if linear else ("s" if bar.reference else "o"), color=color, ms=7,
            zorder=4,
        )  # fmt: skip
        axes.annotate(
            fit(bar.name, label - 0.12, 8.5), (0, row), xycoords=("axes fraction", "data"), xytext=(-6, 0),
            textcoords="offset points", ha="right", va="center", size=8.5, color=theme.ink, annotation_clip=False,
            weight="bold" if bar.reference else "normal", parse_math=False,
        )  # fmt: skip
        told = short_time(bar.value) + (f", {bar.note}" if bar.note else "")
        axes.annotate(
            told, (1, row), xycoords=("axes fraction", "data"), xytext=(6, 0), textcoords="offset points", va="center",
            size=8.5, color=theme.ink, annotation_clip=False, parse_math=False,
        )  # fmt: skip
    axes.set_ylim(len(group) - 0.5, -0.5)
    if linear:
        axes.set_xlim(0, high * 1.03)
        axes.xaxis.set_major_locator(MaxNLocator(4))
    else:
        axes.set_xlim(low / 1.6, high * 1.3)
        axes.xaxis.set_major_locator(LogLocator(10))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_time(value) if value else "0"))
    axes.tick_params(axis="x", labelsize=7.5, colors=theme.muted, length=2)
    axes.set_yticks([])
    axes.spines["left"].set_visible(linear)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(theme.muted)
    axes.grid(True, axis="x", color="#888888", alpha=0.25)
