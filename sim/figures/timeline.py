"""Figure: the operations of a mount in time, one lane a layer.

Decided here: the mark of each group of operations, and that what passes between layers is an arrow: up for a copy-up,
down for a whiteout or an opaque mark. Changes are named above, each with a line to its mark. Draws in one thread at a
time, as matplotlib does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sim.figures.marks import badge, plain
from sim.figures.style import LIGHT, Theme, families, page, styled, text_width
from sim.figures.text import SLANT_ACROSS, SLANT_UP, bytes_text, clean, count_text, fit, heading, plural, slanted
from sim.graph.views import Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["duration_text", "spread", "timeline"]

_GROUPS = {
    # group: (marker, words, size, filled)
    "look": ("|", "lookup, getattr", 5.0, False),
    "read": ("o", "open, read, list", 5.5, False),
    "write": ("s", "write, chmod, …", 6.0, True),
    "create": ("P", "create", 8.0, True),
    "remove": ("X", "remove", 8.0, True),
    "rename": (">", "rename", 7.5, True),
    "fail": ("1", "failed", 8.0, False),
}


@styled
def timeline(data: Timeline, *, theme: Theme = LIGHT) -> Figure:
    """Draw operations in lanes.

    Parameters
    ----------
    data
        From `sim.graph.timeline`.
    theme
        Light or dark.
    """
    lane = 0.5 if len(data.lanes) <= 10 else 0.34 if len(data.lanes) <= 24 else 0.2
    name_width = max([text_width(clean(item.name), 8.5) for item in data.lanes] + [0.6])
    left = 0.35 + 0.5 + min(name_width, 2.2) + 0.25
    body = 9.4
    labels = [(note.verb, fit(note.path, 2.3, 8, mono=True)) for note in data.notes]
    longest = max(
        [text_width(f"{verb}  ", 8, bold=True) + text_width(path, 8, mono=True) for verb, path in labels] + [0]
    )
    slots = spread([_x(data, note.number, body) for note in data.notes], 0.26, body)
    overhang = longest * SLANT_ACROSS if labels else 0
    width = left + max(body, max(slots, default=0) + overhang) + 0.4
    head = 0.85 + (longest * SLANT_UP + 0.55 if labels else 0.15)
    height = head + max(len(data.lanes), 1) * lane + 1.25
    figure, axes = page(width, height, theme)
    heading(axes, theme, 0.35, height - 0.22, _title(data), _subtitle(data), width - 0.7)
    top = height - head
    middles = [top - (index + 0.5) * lane for index in range(len(data.lanes))]
    _lanes(axes, theme, data, left, body, middles, lane)
    _bars(axes, theme, data, left, body, middles, lane)
    _arrows(axes, theme, data, left, body, middles, lane)
    _events(axes, theme, data, left, body, middles)
    for note, slot, (verb, path) in zip(data.notes, slots, labels, strict=True):
        x, at = left + _x(data, note.number, body), left + slot
        color = theme.mark if verb in ("whiteout", "opaque") else theme.ink
        axes.plot([x, x, at], [top - 0.02, top + 0.08, top + 0.36], color=theme.muted, lw=0.7, zorder=1)
        slanted(axes, theme, at, top + 0.40, verb, color=color, weight="bold")
        run = text_width(f"{verb}  ", 8, bold=True)
        place = at + run * SLANT_ACROSS, top + 0.40 + run * SLANT_UP
        slanted(axes, theme, *place, path, family=families(mono=True))
    bottom = top - len(data.lanes) * lane
    _ticks(axes, theme, data, left, body, bottom)
    _key(axes, theme, data, 0.35, 0.3)
    if not data.last:
        axes.text(
            left + body / 2,
            (top + bottom) / 2,
            "no operation recorded",
            size=10,
            color=theme.muted,
            ha="center",
            va="center",
        )
    return figure


def spread(wanted: Sequence[float], apart: float, limit: float) -> list[float]:
    """Move ascending places as little as needed so that neighbours are `apart`, keeping them from 0 to `limit`.

    >>> spread([1.0, 1.0, 1.0], 0.5, 3.0)
    [0.5, 1.0, 1.5]
    """
    # Groups of places that touch are moved as one, to the mean of where their members want to be.
    groups: list[tuple[float, int]] = []  # (sum of the wished places of the group's first member, members)
    for place in wanted:
        total, count = place, 1
        while groups:
            before, members = groups[-1]
            if before / members + members * apart <= total / count:
                break
            groups.pop()
            total = before + total - count * members * apart
            count += members
        groups.append((total, count))
    found = [total / count + index * apart for total, count in groups for index in range(count)]
    if found and found[-1] > limit:
        for index in range(len(found) - 1, -1, -1):
            found[index] = min(found[index], limit - (len(found) - 1 - index) * apart)
    for index in range(len(found)):
        found[index] = max(found[index], index * apart)
    return found


def _x(data: Timeline, number: int, body: float) -> float:
    """Return the place of an operation's mark from the left end of the lanes, in inches."""
    count = max(data.last - data.first + 1, 1)
    return (number - data.first + 0.5) / count * body


def _title(data: Timeline) -> str:
    name = f"{data.name}: " if data.name else ""
    parts = [plural(data.last - data.first + 1 if data.last else 0, "operation")]
    if data.copy_ups:
        parts.append(f"{plural(data.copy_ups, 'copy-up')} of {bytes_text(data.copied)}")
    if data.whiteouts:
        parts.append(plural(data.whiteouts, "whiteout"))
    return name + ", ".join(parts)


def _subtitle(data: Timeline) -> str:
    words = (
        "Each operation stands in the lane of the layer that answered it. Reading stays below; writing goes to the top."
    )
    if data.left_out:
        words += f" {plural(data.left_out, 'more change')} not named."
    if data.arrows_left_out:
        words += f" {plural(data.arrows_left_out, 'more arrow')} not drawn."
    return words


def _lanes(
    axes: Axes, theme: Theme, data: Timeline, left: float, body: float, middles: Sequence[float], lane: float
) -> None:
    for item, y in zip(data.lanes, middles, strict=True):
        nowhere = item.label == "none"
        plain(
            axes,
            left,
            y - lane / 2 + 0.03,
            body,
            lane - 0.06,
            theme.glass_rw if item.rw else theme.paper if nowhere else theme.glass,
            edge=theme.faint if nowhere else "none",
            dashed=nowhere,
            zorder=0,
        )
        fill = theme.rw if item.rw else theme.hidden if nowhere else theme.ro
        badge(axes, 0.35, y, lane, item.label, fill, theme.on_rw if item.rw else theme.on_ro)
        axes.text(
            0.85,
            y,
            fit(item.name, left - 1.05, 8.5),
            size=8.5 if lane > 0.25 else 7,
            color=theme.ink,
            va="center_baseline",
            parse_math=False,
        )


def _bars(
    axes: Axes, theme: Theme, data: Timeline, left: float, body: float, middles: Sequence[float], lane: float
) -> None:
    most = max((count for row in data.counts for count in row), default=0)
    if not most:
        return
    from matplotlib.collections import LineCollection

    bins = len(data.counts[0])
    step = body / bins
    for row, y, item in zip(data.counts, middles, data.lanes, strict=True):
        color = theme.rw if item.rw else theme.hidden if item.label == "none" else theme.ro
        places = [index for index, count in enumerate(row) if count]
        # The square root keeps a single operation visible next to a thousand.
        heights = [max((row[index] / most) ** 0.5 * (lane - 0.12), 0.02) for index in places]
        base = y - lane / 2 + 0.05
        lines = [
            [(left + (index + 0.5) * step, base), (left + (index + 0.5) * step, base + high)]
            for index, high in zip(places, heights, strict=True)
        ]
        axes.add_collection(
            LineCollection(lines, colors=color, alpha=0.4, lw=step * 0.85 * 72, capstyle="butt", zorder=1)
        )
    axes.text(
        left + body,
        middles[-1] - lane / 2 - 0.62,
        f"bars: operations that changed nothing, up to {count_text(most)} a bar (height by square root)",
        size=7.5,
        color=theme.muted,
        ha="right",
        va="top",
    )


def _arrows(
    axes: Axes, theme: Theme, data: Timeline, left: float, body: float, middles: Sequence[float], lane: float
) -> None:
    from matplotlib.collections import LineCollection

    many = len(data.arrows) > 80
    both = {arrow.number for arrow in data.arrows if arrow.what == "copied up"} & {
        arrow.number for arrow in data.arrows if arrow.what != "copied up"
    }
    for what, color, head in (("copied up", theme.rw, "^"), ("whiteout", theme.mark, "v"), ("opaque", theme.mark, "v")):
        found = [arrow for arrow in data.arrows if arrow.what == what]
        if not found:
            continue
        aside = 0.0 if many else -0.05 if what == "copied up" else 0.05  # so that the two do not hide one another
        xs = [left + _x(data, arrow.number, body) + aside * (arrow.number in both) for arrow in found]
        reach = min(0.13, lane * 0.3)
        ends = [
            (middles[arrow.source], middles[arrow.target] + (-reach if arrow.target < arrow.source else reach))
            for arrow in found
        ]
        lines = [[(x, start), (x, end)] for x, (start, end) in zip(xs, ends, strict=True)]
        style = "-" if what == "copied up" else (0, (3, 1.6))
        axes.add_collection(LineCollection(lines, colors=color, lw=0.8 if many else 1.8, ls=style, zorder=2))
        axes.scatter(xs, [start for start, _ in ends], marker="o", s=4 if many else 14, color=color, zorder=3, lw=0)
        axes.scatter(xs, [end for _, end in ends], marker=head, s=10 if many else 34, color=color, zorder=3, lw=0)


def _events(axes: Axes, theme: Theme, data: Timeline, left: float, body: float, middles: Sequence[float]) -> None:
    count = len(data.events)
    scale = 1.25 if count <= 60 else 1.0 if count <= 250 else 0.7
    for group, (marker, _, size, filled) in _GROUPS.items():
        for rw in (True, False):
            found = [e for e in data.events if e.group == group and data.lanes[e.lane].rw is rw]
            if not found:
                continue
            color = theme.mark if group == "fail" else theme.ink
            line = marker in "|1"
            axes.scatter(
                [left + _x(data, e.number, body) for e in found],
                [middles[e.lane] for e in found],
                marker=marker,
                s=(size * scale) ** 2,
                lw=0.5 if filled else 1.3 * scale,
                zorder=4,
                facecolors=color if filled or line else theme.paper,
                edgecolors=theme.paper if filled else None if line else color,
            )


def _ticks(axes: Axes, theme: Theme, data: Timeline, left: float, body: float, bottom: float) -> None:
    y = bottom - 0.04
    axes.plot([left, left + body], [y, y], color=theme.muted, lw=0.8)
    count = data.last - data.first + 1 if data.last else 0
    step = 1
    while count / step > 20:
        step = next(step * f for f in (2, 5, 10) if count / (step * f) <= 20 or f == 10)
    numbers = [n for n in range(data.first, data.last + 1) if n == data.first or n % step == 0] if count else []
    if len(numbers) > 1 and numbers[1] - numbers[0] < step * 0.5:
        numbers.pop(0)
    for number in numbers:
        x = left + _x(data, number, body)
        axes.plot([x, x], [y, y - 0.05], color=theme.muted, lw=0.8)
        axes.text(x, y - 0.09, count_text(number), size=8, color=theme.muted, ha="center", va="top")
    axes.text(
        left,
        y - 0.3,
        f"operation number; {duration_text(data.seconds)} from the first to the last",
        size=8.5,
        color=theme.ink,
        va="top",
    )


def duration_text(seconds: float) -> str:
    """Write a duration with a unit that fits."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _key(axes: Axes, theme: Theme, data: Timeline, x: float, y: float) -> None:
    used = {event.group for event in data.events}
    for group, (marker, words, size, filled) in _GROUPS.items():
        if group not in used:
            continue
        color = theme.mark if group == "fail" else theme.ink
        axes.plot([x + 0.08], [y], marker=marker, ms=size, color=color, mfc=color if filled else theme.paper, mew=1.2)
        axes.text(x + 0.24, y, words, size=8, color=theme.ink, va="center_baseline")
        x += 0.24 + text_width(words, 8) + 0.26
    for what, color, head in (("copied up", theme.rw, "^"), ("whiteout", theme.mark, "v"), ("opaque", theme.mark, "v")):
        if not any(arrow.what == what for arrow in data.arrows):
            continue
        low, high = y - 0.1, y + 0.1
        axes.plot(
            [x + 0.08, x + 0.08], [low, high], color=color, lw=1.8, ls="-" if what == "copied up" else (0, (3, 1.6))
        )
        axes.plot([x + 0.08], [high if head == "^" else low], marker=head, ms=5.5, color=color)
        words = {"copied up": "copy-up", "whiteout": "whiteout: hides", "opaque": "opaque: hides"}[what]
        axes.text(x + 0.24, y, words, size=8, color=theme.ink, va="center_baseline")
        x += 0.24 + text_width(words, 8) + 0.26
