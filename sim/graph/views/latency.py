"""Data of the latency figure: how long the first write to a file takes, against the file's size.

Decided here: a first write is an operation that copied a file's data up; a later one is a write or an open for writing
that copied nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from fusefs.operation import EffectKind
from sim.graph.stack import LayerStack

__all__ = ["Latency", "Point", "latency"]


@dataclass(frozen=True, slots=True)
class Point:
    """One copy-up.

    Attributes
    ----------
    bytes
        Bytes copied.
    seconds
        Time that the operation took.
    series
        What the points of one kind are called: a driver, or the stack's name.
    """

    bytes: int
    seconds: float
    series: str


@dataclass(frozen=True, slots=True)
class Latency:
    """First writes by size.

    Attributes
    ----------
    points
        First writes that copied something.
    later
        Median time of a write that copies nothing, seconds; None if there was none.
    """

    points: tuple[Point, ...]
    later: float | None = None


def latency(stack: LayerStack, *, series: str = "") -> Latency:
    """Collect the first writes of a stack's journal."""
    points = [
        Point(operation.copied, operation.duration / 1e9, series or stack.name)
        for operation in stack.past.changes({EffectKind.COPIED_UP})
        if operation.copied and not operation.error
    ]
    later = stack.past.plain_write()
    return Latency(tuple(points), None if later is None else later / 1e9)
