"""Data of the lookup walk: which layer is asked for which part of a path, and what it answers.

Decided here: the words for an answer. Rows are layers, columns the components of the path, from the root.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from sim.graph.entry import Entry
from sim.graph.measures import probes
from sim.graph.merge import column
from sim.graph.stack import LayerStack
from sim.graph.views.rows import group_alike, row_label, row_name
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
    last
        The last step, if several layers share the row.
    """

    step: int
    part: int
    row: int
    answer: str
    served: bool = False
    last: int = 0


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


def lookup_walk(stack: LayerStack, path: str, *, max_rows: int = 16) -> LookupWalk:
    """Look a path up, one probe after the other.

    Parameters
    ----------
    stack
        Where.
    path
        Absolute merged path.
    max_rows
        In a stack of more layers neighbours that give the same answers share a row.
    """
    item = column(stack.layers, path)
    served = item.served if item is not None else None
    asked = probes(stack.layers, path)
    answers: list[dict[int, str]] = [{position: _answer(entry) for position, entry in row} for row in asked]
    groups = group_alike(len(stack.layers), lambda position: [answer.get(position) for answer in answers], max_rows)
    row_of = {position: index for index, group in enumerate(groups) for position in group}
    found: list[Probe] = []
    step = 0
    for part, row in enumerate(answers):
        for position, answer in row.items():
            step += 1
            served_here = served is not None and served.position == position and _is_last(path, part)
            if found and (found[-1].part, found[-1].row) == (part, row_of[position]):
                found[-1] = replace(found[-1], last=step, served=found[-1].served or served_here)
            else:
                found.append(Probe(step, part, row_of[position], answer, served_here, step))
    rows = tuple(
        Lane(row_label(stack, group), row_name(stack, group), row_label(stack, group) == "RW") for group in groups
    )
    parts = tuple(part for part in path.split("/") if part)
    where = row_of[served.position] if served is not None else None
    return LookupWalk(stack.name, path, parts, rows, tuple(found), where)


def _is_last(path: str, part: int) -> bool:
    return part == len([name for name in path.split("/") if name]) - 1


def _answer(entry: Entry | None) -> str:
    if entry is None:
        return "nothing"
    return "opaque" if entry.is_dir and entry.opaque else entry.type.value
