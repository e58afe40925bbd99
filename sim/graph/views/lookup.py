"""Data of the lookup walk: which layer is asked for which part of a path, and what it answers.

Decided here: the words for an answer. Rows are layers, columns the components of the path, from the root.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.graph.entry import Entry, Role
from sim.graph.measures import probes
from sim.graph.merge import column
from sim.graph.stack import LayerStack, short_name
from sim.graph.views.timeline import Lane

__all__ = ["LookupWalk", "Probe", "lookup_walk"]


@dataclass(frozen=True, slots=True)
class Probe:
    """One name looked for in one layer.

    Attributes
    ----------
    step
        When, from 1.
    part
        Index of the component of the path.
    row
        Index of the layer, from the top.
    answer
        `nothing`, `directory`, `opaque`, `whiteout`, or the type that was found.
    served
        Whether this is the answer that a process gets.
    """

    step: int
    part: int
    row: int
    answer: str
    served: bool = False


@dataclass(frozen=True, slots=True)
class LookupWalk:
    """How a path is looked up.

    Attributes
    ----------
    name
        Of the image, container or mount.
    path
        The path.
    parts
        Its components.
    rows
        The layers, from the top.
    probes
        In the order in which they are made.
    found
        Index of the layer that serves the path; None if it does not exist.
    """

    name: str
    path: str
    parts: tuple[str, ...]
    rows: tuple[Lane, ...]
    probes: tuple[Probe, ...]
    found: int | None


def lookup_walk(stack: LayerStack, path: str) -> LookupWalk:
    """Look a path up, one probe after the other."""
    item = column(stack.layers, path)
    served = item.served if item is not None else None
    asked = probes(stack.layers, path)
    found: list[Probe] = []
    for part, row in enumerate(asked):
        for position, entry in row:
            last = part == len(asked) - 1 and served is not None and served.position == position
            found.append(Probe(len(found) + 1, part, position, _answer(entry), last and _is_last(path, part)))
    rows = tuple(
        Lane(
            "RW" if layer.role is Role.RW else str(stack.number(position)),
            short_name(layer.name),
            layer.role is Role.RW,
        )
        for position, layer in enumerate(stack.layers)
    )
    parts = tuple(part for part in path.split("/") if part)
    return LookupWalk(stack.name, path, parts, rows, tuple(found), served.position if served is not None else None)


def _is_last(path: str, part: int) -> bool:
    return part == len([name for name in path.split("/") if name]) - 1


def _answer(entry: Entry | None) -> str:
    if entry is None:
        return "nothing"
    return "opaque" if entry.is_dir and entry.opaque else entry.type.value
