"""Figure: how long a first write takes, against the size of the file that it copies up.

Decided here: both scales are logarithmic, so a line of slope one is a constant speed. Draws in one thread at a time, as
matplotlib does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.figures.style import LIGHT, Theme, chart, styled
from sim.figures.text import bytes_text, fit, heading, plural
from sim.figures.timeline import duration_text
from sim.graph.views import Latency

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["latency"]

_MARKERS = "os^Dv"


@styled
def latency(data: Latency, *, theme: Theme = LIGHT) -> Figure:
    """Draw first writes by size.

    Parameters
    ----------
    data
        From `sim.graph.latency`; points with more than one `series` get a colour and a mark each.
    theme
        Light or dark.
    """
    figure, words, axes = chart(9.2, 4.9, theme, left=1.05, right=1.9)
    heading(words, theme, 0.35, 4.68, _title(data), _SUBTITLE, 8.5)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    points = [point for point in data.points if point.bytes > 0 and point.seconds > 0]
    colors = (theme.rw, theme.ro, theme.good, theme.mark, theme.ink)
    series = sorted({point.series for point in points})
    ends: list[tuple[float, str, str, str]] = []
    for index, name in enumerate(series):
        mine = [point for point in points if point.series == name]
        color = colors[index % len(colors)]
        axes.scatter(
            [p.bytes for p in mine],
            [p.seconds for p in mine],
            s=26,
            marker=_MARKERS[index % len(_MARKERS)],
            facecolor="none",
            edgecolor=color,
            lw=1.3,
            zorder=3,
        )
        medians = _medians([(p.bytes, p.seconds) for p in mine])
        axes.plot([x for x, _ in medians], [y for _, y in medians], color=color, lw=2, zorder=2)
        ends.append((medians[-1][1], name or "first write", color, _MARKERS[index % len(_MARKERS)]))
    if points:
        sizes = [point.bytes for point in points]
        times = [point.seconds for point in points] + ([data.later] if data.later else [])
        axes.set_xlim(min(sizes) / 1.5, max(sizes) * 1.5)
        axes.set_ylim(min(times) / 2, max(times) * 2)
    else:
        axes.set_xlim(1024, 2**20)
        axes.set_ylim(1e-5, 1e-1)
        axes.text(0.5, 0.5, "no first write that copied data", transform=axes.transAxes, ha="center", color=theme.muted)
    if data.later:
        axes.axhline(data.later, color=theme.muted, lw=1.4, ls=":")
        ends.append((data.later, f"later writes\nmedian {duration_text(data.later)}", theme.muted, ""))
    _name(axes, theme, ends)
    _scales(axes)
    return figure


_SUBTITLE = (
    "Each mark is one write that had to copy the file up first; the line joins the medians of sizes near each other."
)


def _title(data: Latency) -> str:
    points = sorted(data.points, key=lambda point: point.bytes)
    if not points:
        return "No copy-up yet"
    small, large = points[0], points[-1]
    text = f"{plural(len(points), 'first write')}: {duration_text(small.seconds)} for {bytes_text(small.bytes)}"
    return text + (
        f", {duration_text(large.seconds)} for {bytes_text(large.bytes)}" if large.bytes > small.bytes else ""
    )


def _medians(points: list[tuple[int, float]]) -> list[tuple[float, float]]:
    """Return the median time of the points of each doubling of size."""
    groups: dict[int, list[tuple[int, float]]] = {}
    for size, seconds in points:
        groups.setdefault(size.bit_length(), []).append((size, seconds))
    found = []
    for _, group in sorted(groups.items()):
        sizes = sorted(size for size, _ in group)
        times = sorted(seconds for _, seconds in group)
        found.append((float(sizes[len(sizes) // 2]), times[len(times) // 2]))
    return found


def _name(axes: Axes, theme: Theme, ends: list[tuple[float, str, str, str]]) -> None:
    """Write names at the right ends of lines, kept apart."""
    import math

    low, high = (math.log(value) for value in axes.get_ylim())
    places = sorted(((math.log(end[0]) - low) / (high - low), end[1], end[2], end[3]) for end in ends)
    last = -1.0
    for place, text, color, marker in places:
        y = max(place, last + 0.09 + 0.05 * text.count("\n"))
        last = y
        if marker:
            axes.plot(
                [1.025], [y], marker=marker, ms=5.5, mfc="none", color=color, transform=axes.transAxes, clip_on=False
            )
        axes.annotate(
            fit(text, 1.5, 8.5) if "\n" not in text else text,
            (1.0, y),
            xycoords="axes fraction",
            xytext=(20, 0),
            textcoords="offset points",
            size=8.5,
            color=theme.ink,
            va="center",
            annotation_clip=False,
        )


def _scales(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    low, high = axes.get_xlim()
    first, last = int(low).bit_length(), int(high).bit_length()
    step = max((last - first) // 7, 1)
    axes.set_xticks([2**power for power in range(first, last, step) if low <= 2**power <= high])
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: bytes_text(round(value))))
    axes.xaxis.set_minor_locator(NullLocator())
    bottom, top = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1.0,) if top / bottom > 50 else (1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: duration_text(value)))
    axes.set_xlabel("size of the file copied up")
    axes.set_ylabel("time of the operation")
    axes.grid(True, which="major", color="#888888", alpha=0.25)
