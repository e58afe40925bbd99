"""Data of the heat figure: how much was read from, and written to, each part of the tree.

Decided here: that bytes are added up along the path, and which lines are worth having when there are more than fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from fusefs.operation import Kind
from sim.graph.entry import parent_of
from sim.graph.stack import LayerStack

__all__ = ["Heat", "HeatLine", "heat"]


@dataclass(frozen=True, slots=True)
class HeatLine:
    """One file or directory.

    Attributes
    ----------
    name
        Last component of its path; a directory's ends in a slash.
    depth
        0 for the root.
    reads, writes
        Number of operations that read from it, and that changed it, with all that is in it.
    read, written
        Bytes read from it and written to it, with all that is in it.
    """

    name: str
    depth: int
    reads: int
    writes: int
    read: int
    written: int


@dataclass(frozen=True, slots=True)
class Heat:
    """Where the operations of a stack went.

    Attributes
    ----------
    name
        Of the container or mount.
    lines
        From the root down.
    left_out
        Number of touched paths that have no line.
    """

    name: str
    lines: tuple[HeatLine, ...]
    left_out: int = 0


_QUIET = frozenset({Kind.LOOKUP, Kind.GETATTR, Kind.STATFS, Kind.RELEASE, Kind.FSYNC, Kind.LSEEK})


def heat(stack: LayerStack, *, max_lines: int = 40) -> Heat:
    """Add up reads and writes over the tree; lookups and getattrs are neither."""
    sums: dict[str, list[int]] = {}
    for tally in stack.past.tallies():
        if tally.failed or (tally.kind in _QUIET and not tally.changed):
            continue
        path = tally.path
        while True:
            line = sums.setdefault(path, [0, 0, 0, 0])
            line[1 if tally.changed else 0] += tally.operations
            if tally.kind is Kind.READ:
                line[2] += tally.size
            elif tally.kind is Kind.WRITE:
                line[3] += tally.size
            if path == "/":
                break
            path = parent_of(path)
    order = sorted(sums, key=lambda path: (-(sums[path][0] + sums[path][1]), path))
    chosen: set[str] = set()
    for path in order:
        needed = set()
        at = path
        while at not in chosen:
            needed.add(at)
            if at == "/":
                break
            at = parent_of(at)
        if len(chosen) + len(needed) <= max_lines:
            chosen |= needed
    inner = {parent_of(path) for path in sums if path != "/"}
    lines = []
    for path in sorted(chosen, key=lambda path: path.split("/") if path != "/" else []):
        name = "/" if path == "/" else path.rpartition("/")[2] + ("/" if path in inner else "")
        lines.append(HeatLine(name, 0 if path == "/" else path.count("/"), *sums[path]))
    return Heat(stack.name, tuple(lines), len(sums) - len(chosen))
