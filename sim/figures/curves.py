"""Figure: what was measured, as curves against a size or a number: time by file size, by depth, space by file size.

Decided here and only here: both scales are logarithmic; each point has its interval; a curve's name stands at its
right end; and where a curve bends from its fixed cost to the cost of the bytes (its knee), that is marked and
explained. Draws in one thread at a time, as matplotlib does.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sim.figures.style import LIGHT, Theme, chart, styled, text_width
from sim.figures.text import bytes_text, count_text, fit, heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Curve", "Curves", "Dot", "curves", "series_style", "short_time"]

#: Okabe and Ito's colours in an order in which neighbours differ most, each with a mark of its own.
_COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
_MARKERS = "os^Dv<>PX*ph"
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))


@dataclass(frozen=True, slots=True)
class Dot:
    """One measured point: the value in the middle and its interval."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Curve:
    """What was measured of one driver.

    Attributes
    ----------
    name
        What it is called.
    dots
        By `x`.
    knee
        Where its fixed cost and the cost of the bytes are equal, in the unit of `x`; None where no cost model fits.
    """

    name: str
    dots: tuple[Dot, ...]
    knee: float | None = None


@dataclass(frozen=True, slots=True)
class Curves:
    """A figure's data.

    Attributes
    ----------
    title, subtitle
        What is seen, and how it was measured.
    curves
        The curves.
    x, y
        What the axes are called.
    x_unit, y_unit
        `bytes`, `seconds` or `count`.
    note
        Words on the marked knee; "" for none.
    diagonal
        What a line at y = x is called; "" for no such line.
    """

    title: str
    subtitle: str
    curves: tuple[Curve, ...]
    x: str = "size of the file"
    y: str = "time of the operation"
    x_unit: str = "bytes"
    y_unit: str = "seconds"
    note: str = ""
    diagonal: str = ""


def series_style(index: int) -> tuple[str, str, object]:
    """Return colour, mark and dashes of the curve with this number."""
    return _COLORS[index % len(_COLORS)], _MARKERS[index % len(_MARKERS)], _DASHES[index // len(_COLORS) % 3]


def short_time(seconds: float) -> str:
    """Write a time on an axis.

    >>> short_time(3e-7), short_time(2e-4), short_time(0.05), short_time(3.0)
    ('0.3 µs', '200 µs', '50 ms', '3 s')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale * 0.9999:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds * 1e6:.2g} µs"


@styled
def curves(data: Curves, *, theme: Theme = LIGHT) -> Figure:
    """Draw curves.

    Parameters
    ----------
    data
        What was measured, from `sim.bench.report`.
    theme
        Light or dark.
    """
    shown = [curve for curve in data.curves if curve.dots]
    side = max([text_width(curve.name, 8.5) for curve in shown] + [text_width(data.diagonal, 8.5), 0.9]) + 0.65
    side = min(side, 3.0)
    high = max(5.2, 1.9 + 0.24 * (len(shown) + bool(data.diagonal)))
    figure, words, axes = chart(9.6, high, theme, left=1.05, right=side)
    heading(words, theme, 0.35, high - 0.22, data.title, data.subtitle, 8.9)
    axes.set_xscale("log", base=2 if data.x_unit == "bytes" else 10)
    axes.set_yscale("log")
    _limits(axes, shown)
    ends: list[tuple[float, str, str, str]] = []
    for index, curve in enumerate(shown):
        color, marker, dashes = series_style(index)
        xs, ys = [dot.x for dot in curve.dots], [dot.y for dot in curve.dots]
        down = [max(dot.y - dot.low, 0) for dot in curve.dots]
        up = [max(dot.high - dot.y, 0) for dot in curve.dots]
        axes.errorbar(
            xs, ys, yerr=[down, up], color=color, ls=dashes, lw=1.8, marker=marker, ms=5.5, mfc=theme.paper, mew=1.4,
            elinewidth=1.0, capsize=2.5, zorder=3,
        )  # fmt: skip
        ends.append((ys[-1], curve.name, color, marker))
    if data.diagonal:
        low, top = axes.get_xlim()
        axes.plot([low, top], [low, top], color=theme.muted, lw=1.3, ls=":", zorder=1, scalex=False, scaley=False)
        ends.append((min(top, axes.get_ylim()[1]), data.diagonal, theme.muted, ""))
    for index, curve in enumerate(shown):
        if curve.knee is not None:
            _mark_knee(axes, theme, curve, series_style(index)[0])
    if data.note:
        axes.text(
            0.015, 0.975, data.note, transform=axes.transAxes, size=8.5, color=theme.ink, va="top",
            bbox={"facecolor": theme.glass, "edgecolor": theme.faint, "boxstyle": "round,pad=0.45"}, zorder=6,
            parse_math=False,
        )  # fmt: skip
    _names(axes, theme, ends, side - 0.5)
    _scales(axes, data)
    return figure


def _limits(axes: Axes, shown: list[Curve]) -> None:
    dots = [dot for curve in shown for dot in curve.dots]
    if not dots:
        axes.set_xlim(1, 10)
        axes.set_ylim(1e-6, 1e-3)
        axes.text(0.5, 0.5, "nothing was measured", transform=axes.transAxes, ha="center")
        return
    left, right = min(dot.x for dot in dots), max(dot.x for dot in dots)
    low, high = min(dot.low for dot in dots), max(dot.high for dot in dots)
    axes.set_xlim(left / 1.4, right * 1.4)
    # Room above for the note; at least a decade, so that noise does not look like a mountain.
    wide = max(math.log10(high / low), 1.0)
    axes.set_ylim(low / 10 ** (wide * 0.08), low * 10 ** (wide * 1.32))


def _mark_knee(axes: Axes, theme: Theme, curve: Curve, color: str) -> None:
    """Mark where a curve bends: a ring on it, and a tick at the axis."""
    assert curve.knee is not None
    left, right = axes.get_xlim()
    if not left < curve.knee < right:
        return
    y = _height(curve, curve.knee)
    axes.plot([curve.knee], [y], marker="o", ms=12, mfc="none", mec=color, mew=2.0, zorder=5)
    axes.plot([curve.knee, curve.knee], [axes.get_ylim()[0], y], color=color, lw=0.9, ls=(0, (2, 2)), zorder=1)


def _height(curve: Curve, x: float) -> float:
    """Return how high a curve is at a place between its points, as it is drawn."""
    dots = curve.dots
    for left, right in itertools.pairwise(dots):
        if left.x <= x <= right.x:
            share = math.log(x / left.x) / math.log(right.x / left.x)
            return float(left.y * (right.y / left.y) ** share)
    return dots[0].y if x < dots[0].x else dots[-1].y


def _names(axes: Axes, theme: Theme, ends: list[tuple[float, str, str, str]], room: float) -> None:
    """Write names at the right ends of curves, kept apart, each joined to its end."""
    low, high = (math.log(value) for value in axes.get_ylim())
    figure = axes.get_figure()
    assert figure is not None
    inches = axes.get_position().height * figure.get_figheight()  # type: ignore[union-attr]
    step = 0.215 / inches
    wanted = sorted(
        ((math.log(max(y, 1e-12)) - low) / (high - low), name, color, mark) for y, name, color, mark in ends
    )
    places: list[float] = []
    for place, *_ in wanted:
        places.append(max(place, places[-1] + step) if places else max(place, 0.0))
    over = max(places[-1] - 1.0, 0.0) if places else 0.0
    for index in range(len(places) - 1, -1, -1):  # push down what stands above the top
        limit = 1.0 - (len(places) - 1 - index) * step
        places[index] = min(places[index], limit) if over else places[index]
    for (end, name, color, mark), y in zip(wanted, places, strict=True):
        axes.plot([1.0, 1.025], [end, y], color=color, lw=0.8, transform=axes.transAxes, clip_on=False)
        if mark:
            axes.plot([1.04], [y], marker=mark, ms=5.5, mfc="none", mec=color, transform=axes.transAxes, clip_on=False)
        axes.annotate(
            fit(name, room, 8.5), (1.04, y), xycoords="axes fraction", xytext=(9, 0), textcoords="offset points",
            size=8.5, color=theme.ink, va="center", annotation_clip=False, parse_math=False,
        )  # fmt: skip


def _unit(unit: str, value: float) -> str:
    if unit == "seconds":
        return short_time(value)
    return bytes_text(round(value)) if unit == "bytes" else count_text(round(value))


def _scales(axes: Axes, data: Curves) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    left, right = axes.get_xlim()
    if data.x_unit == "bytes":
        first, last = max(math.ceil(math.log2(left)), 0), math.floor(math.log2(right))
        step = max(math.ceil((last - first + 1) / 8), 1)
        axes.set_xticks([2**power for power in range(first, last + 1, step)])
    else:
        seen = sorted({dot.x for curve in data.curves for dot in curve.dots})
        axes.set_xticks(seen if len(seen) < 10 else seen[:: len(seen) // 8])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _unit(data.x_unit, value)))
    bottom, top = axes.get_ylim()
    if data.y_unit == "bytes":
        powers = range(math.ceil(math.log2(bottom)), math.floor(math.log2(top)) + 1)
        axes.set_yticks([2.0**power for power in powers[:: max(math.ceil(len(powers) / 8), 1)]])
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0,) if top / bottom > 300 else (1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _unit(data.y_unit, value)))
    axes.set_xlabel(data.x)
    axes.set_ylabel(data.y)
    axes.grid(True, which="major", color="#888888", alpha=0.25)
