"""The shapes that cells are made of, on a page whose unit is the inch.

Decided here: corners, hatches and strokes. Draws in one thread at a time, as matplotlib does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.figures.style import text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["badge", "cross", "hatched", "plain", "ring"]


def badge(axes: Axes, x: float, y: float, row: float, text: str, fill: str, on: str) -> None:
    """Draw the coloured tag with a layer's number at the left of its row, 0.42 inch wide."""
    high = min(row - 0.06, 0.26)
    plain(axes, x, y - high / 2, 0.42, high, fill)
    size = 8.5 if row > 0.25 else 7.0
    while size > 4 and text_width(text, size, bold=True) > 0.36:
        size -= 0.5
    axes.text(x + 0.21, y, text, size=size, weight="bold", color=on, ha="center", va="center_baseline")


def plain(
    axes: Axes,
    x: float,
    y: float,
    width: float,
    height: float,
    fill: str,
    *,
    edge: str = "none",
    lw: float = 0.9,
    dashed: bool = False,
    zorder: float = 2,
) -> None:
    """Draw a filled rectangle."""
    from matplotlib.patches import Rectangle

    axes.add_artist(
        Rectangle(
            (x, y), width, height, facecolor=fill, edgecolor=edge, lw=lw, ls="--" if dashed else "-", zorder=zorder
        )
    )


def hatched(
    axes: Axes, x: float, y: float, width: float, height: float, fill: str, line: str, *, zorder: float = 2
) -> None:
    """Draw a rectangle with diagonal lines: something that is there and cannot be seen."""
    from matplotlib.patches import Rectangle

    axes.add_artist(
        Rectangle(
            (x, y),
            width,
            height,
            facecolor=fill,
            edgecolor=line,
            hatch="//////",
            lw=0.8,
            zorder=zorder,
            hatch_linewidth=0.7,
        )
    )


def cross(axes: Axes, middle: tuple[float, float], radius: float, color: str) -> None:
    """Draw a cross: nothing here, and nothing from below."""
    x, y = middle
    for sign in (1, -1):
        axes.plot(
            [x - radius, x + radius],
            [y - sign * radius, y + sign * radius],
            color=color,
            lw=2.2,
            zorder=4,
            solid_capstyle="round",
        )


def ring(axes: Axes, middle: tuple[float, float], radius: float, color: str) -> None:
    """Draw a ring with a bar: a lid on what is below."""
    from matplotlib.patches import Circle

    axes.add_artist(Circle(middle, radius, facecolor="none", edgecolor=color, lw=1.8, zorder=4))
    axes.plot([middle[0] - radius * 0.55, middle[0] + radius * 0.55], [middle[1]] * 2, color=color, lw=1.8, zorder=4)
