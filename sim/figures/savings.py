"""Figures: from the sum of virtual sizes down to bytes on disk, and bytes against the number of containers.

Decided here: the waterfall falls from left to right, one step a shared layer; the curve's two lines have their names at
their ends. Draws in one thread at a time, as matplotlib does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.figures.marks import plain
from sim.figures.style import LIGHT, Theme, chart, page, styled
from sim.figures.text import bytes_text, fit, heading, plural
from sim.graph.views import SavingsCurve, Waterfall

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["byte_axis", "savings_curve", "waterfall"]


@styled
def waterfall(data: Waterfall, *, theme: Theme = LIGHT) -> Figure:
    """Draw what each shared layer saves.

    Parameters
    ----------
    data
        From `sim.graph.waterfall`.
    theme
        Light or dark.
    """
    bars: list[tuple[str, str, int, int, str]] = [("virtual sizes", "added up", 0, data.virtual, theme.ro)]
    level = data.virtual
    for step in data.steps:
        bars.append((step.name, f"used \u00d7 {step.used}" if step.used else "", level - step.bytes, level, theme.good))
        level -= step.bytes
    bars.append(("on disk", "each layer once", 0, data.disk, theme.rw))
    column = min(max(9.0 / len(bars), 0.95), 1.7)
    left = 0.4
    width, height = max(left + len(bars) * column + 0.4, 8.2), 4.9
    figure, axes = page(width, height, theme)
    heading(axes, theme, 0.35, height - 0.22, _waterfall_title(data), _WATERFALL, width - 0.7)
    base, high = 1.0, height - 2.25
    top = data.virtual or 1
    for index, (name, used, low, end, color) in enumerate(bars):
        x = left + index * column
        y0, y1 = base + low / top * high, base + end / top * high
        step_bar = 0 < index < len(bars) - 1
        plain(
            axes,
            x + 0.08,
            y0,
            column - 0.16,
            max(y1 - y0, 0.015),
            theme.paper if step_bar else color,
            edge=color,
            lw=1.6,
        )
        if step_bar:
            axes.annotate(
                "",
                (x + column / 2, y0),
                (x + column / 2, y1),
                zorder=5,
                arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.8, "shrinkA": 0, "shrinkB": 0},
            )
        amount = f"\u2212{bytes_text(end - low)}" if step_bar else bytes_text(end)
        axes.text(x + column / 2, y1 + 0.07, amount, size=9, weight="bold", color=theme.ink, ha="center", va="bottom")
        axes.text(
            x + column / 2,
            base - 0.12,
            fit(name, column - 0.1, 8),
            size=8,
            color=theme.ink,
            ha="center",
            va="top",
            parse_math=False,
        )
        if used:
            axes.text(x + column / 2, base - 0.31, used, size=7.5, color=theme.muted, ha="center", va="top")
        if index < len(bars) - 1:
            level_y = base + (low if step_bar else end) / top * high
            axes.plot([x + column - 0.08, x + column + 0.08], [level_y, level_y], color=theme.muted, lw=1.0)
    axes.plot([left, left + len(bars) * column], [base, base], color=theme.muted, lw=0.8)
    return figure


_WATERFALL = "A layer that several images or containers have is on disk once: each use after the first is saved."


def _waterfall_title(data: Waterfall) -> str:
    who = [plural(data.images, "image")] if data.images else []
    who += [plural(data.containers, "container")] if data.containers else []
    if not who or not data.virtual:
        return "No bytes in any layer"
    part = 100 * (data.virtual - data.disk) / data.virtual
    return f"{' and '.join(who)}: {bytes_text(data.virtual)} seen, {bytes_text(data.disk)} on disk, {part:.0f} % saved"


@styled
def savings_curve(data: SavingsCurve, *, theme: Theme = LIGHT) -> Figure:
    """Draw bytes against the number of containers.

    Parameters
    ----------
    data
        From `sim.graph.savings_curve`.
    theme
        Light or dark.
    """
    figure, words, axes = chart(9.2, 4.9, theme, right=2.35)
    heading(words, theme, 0.35, 4.68, _curve_title(data), _CURVE, 8.5)
    counts = [point.count for point in data.points]
    copied = [point.copied for point in data.points]
    shared = [point.shared for point in data.points]
    mark = "o" if len(counts) <= 12 else None
    axes.plot(counts, copied, color=theme.ro, ls="--", marker=mark, label="copies")
    axes.plot(counts, shared, color=theme.rw, ls="-", lw=2.6, marker="s" if mark else None)
    axes.fill_between(counts, shared, copied, color=theme.good, alpha=0.13, lw=0)
    axes.set_xlabel("containers of the image")
    axes.set_xlim(min(counts, default=0), max(counts, default=1) + (1 if len(counts) == 1 else 0))
    axes.set_ylim(0, max(copied, default=1) * 1.06 or 1)
    byte_axis(axes, max(copied, default=1))
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10, min_n_ticks=1))
    if data.points:
        last = data.points[-1]
        top = axes.get_ylim()[1]
        apart = 0.12 * top
        high, low = float(last.copied), float(last.shared)
        if high - low < apart:
            high, low = min(high + apart / 2, top), max(low - apart / 2, 0.0)
        for y, text, color in (
            (high, f"a copy each\n{bytes_text(last.copied)}", theme.ink),
            (low, f"layers shared\n{bytes_text(last.shared)}", theme.ink),
        ):
            axes.annotate(
                text,
                (last.count, y),
                xytext=(10, 0),
                textcoords="offset points",
                size=9,
                color=color,
                va="center",
                weight="bold",
                annotation_clip=False,
                linespacing=1.3,
            )
        if last.saved and last.count > 2 and last.saved > 0.3 * top:
            middle = data.points[int(len(data.points) * 0.72)]
            axes.text(
                middle.count,
                (middle.copied + middle.shared) / 2,
                f"saved\n{bytes_text(middle.saved)}",
                size=9,
                color=theme.ink,
                ha="center",
                va="center",
                linespacing=1.3,
            )
    return figure


_CURVE = (
    "Each container adds its RW layer only; the image's layers are on disk once, however many containers read them."
)


def _curve_title(data: SavingsCurve) -> str:
    if not data.points:
        return "No container"
    last = data.points[-1]
    name = f" of {data.name}" if data.name else ""
    ratio = last.copied / last.shared if last.shared else 1.0
    take = f"{bytes_text(last.shared)}, not {bytes_text(last.copied)}"
    return f"{plural(last.count, 'container')}{name} take {take}: {ratio:.3g} times less"


def byte_axis(axes: Axes, largest: int) -> None:
    """Put ticks at round numbers of bytes on the vertical axis."""
    unit = 1
    while largest / unit >= 1024:
        unit *= 1024
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    ticks = [round(tick * unit) for tick in MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]).tick_values(0, largest / unit)]
    axes.set_yticks(sorted({tick for tick in ticks if 0 <= tick <= axes.get_ylim()[1]}))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: bytes_text(round(value))))
    axes.set_ylabel("bytes on disk")
