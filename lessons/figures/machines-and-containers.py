"""The figure of lesson 1: what stands on what, in three virtual machines and in three containers."""

import sys

from matplotlib.figure import Figure

from sim import figures
from sim.figures import LIGHT

WIDTH, LEFT, RIGHT = 3.9, 0.35, 5.0


def stack(axes, x, title, rows, each):
    """Draw rows that all share, and above them three columns of what each has for itself."""
    y = 0.55
    for text, color in rows:
        axes.add_patch(figure_box(x, y, WIDTH, 0.5, color))
        axes.text(x + WIDTH / 2, y + 0.25, text, ha="center", va="center", size=9.5, color=LIGHT.ink)
        y += 0.58
    for column in range(3):
        at = x + column * (WIDTH / 3)
        high = y
        for text, color, height in each:
            axes.add_patch(figure_box(at + 0.04, high, WIDTH / 3 - 0.08, height, color))
            axes.text(at + WIDTH / 6, high + height / 2, text, ha="center", va="center", size=8.5, color=LIGHT.ink)
            high += height + 0.08
    axes.text(x, 4.55, title, size=12, weight="bold", color=LIGHT.ink)


def figure_box(x, y, width, height, color):
    """Return a box."""
    from matplotlib.patches import Rectangle

    return Rectangle((x, y), width, height, facecolor=color, edgecolor=LIGHT.muted, linewidth=1)


drawn = Figure(figsize=(9.3, 5.0))
axes = drawn.add_axes((0, 0, 1, 1))
axes.set_xlim(0, 9.3)
axes.set_ylim(0, 5.0)
axes.axis("off")
stack(
    axes,
    LEFT,
    "Three virtual machines",
    [("hardware", LIGHT.glass), ("the machine's kernel", "#bcd9ec"), ("virtual machine monitor", LIGHT.glass)],
    [("its kernel", "#bcd9ec", 0.5), ("its files", LIGHT.glass, 0.62), ("processes", LIGHT.glass_rw, 0.5)],
)
stack(
    axes,
    RIGHT,
    "Three containers",
    [
        ("hardware", LIGHT.glass),
        ("the machine's kernel, one for all", "#bcd9ec"),
        ("layers of the image, read-only, once", LIGHT.glass),
    ],
    [("RW layer", "#f6d08a", 0.42), ("processes", LIGHT.glass_rw, 0.5)],
)
axes.text(
    LEFT,
    0.2,
    "A virtual machine brings a kernel and files of its own; a container brings a process and what it has changed.",
    size=9,
    color=LIGHT.muted,
)
figures.save(drawn, sys.argv[1] if sys.argv[1:] else "machines-and-containers.png")
