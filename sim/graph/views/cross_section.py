"""Data of the stack's cross-section: rows are layers, columns are paths.

Decided here: which paths are worth a column when there are more than fit, and which layers share a row.

Paths are taken in this order: those in the RW layer; those that some layer hides; then the others, evenly over the
tree. A fifth of the columns is kept for each of the three, so that none is told as if it were not there. Directories
get a column only where they hide something, or where nothing else is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fusefs.operation import EffectKind
from sim.graph.entry import Role
from sim.graph.merge import Cell, Column, State, column, columns
from sim.graph.stack import LayerStack
from sim.graph.views.rows import group_least, row_label, row_name

__all__ = ["Box", "CrossSection", "SectionRow", "cross_section"]


@dataclass(frozen=True, slots=True)
class Box:
    """What one row has in one column.

    Attributes
    ----------
    state
        `visible`, `merged`, `whiteout` or `shadowed`.
    type
        `file`, `directory`, `symlink`, `whiteout` or `other`.
    bytes
        Bytes of file data.
    how
        For the RW layer with a journal, how it came there: `copied up`, `created`, `linked`, `renamed`, ...; else "".
    opaque
        Whether this is a directory that hides what is below.
    """

    state: str
    type: str
    bytes: int = 0
    how: str = ""
    opaque: bool = False


@dataclass(frozen=True, slots=True)
class SectionRow:
    """One row: a layer, or several that lie on one another.

    Attributes
    ----------
    label
        Layer number, or the first and last of those in the row.
    name
        Name of the layer, or how many there are.
    rw
        Whether it is the RW layer.
    boxes
        One for each column, None where the layer has nothing.
    files
        Number of all its entries other than directories, whether shown or not.
    """

    label: str
    name: str
    rw: bool
    boxes: tuple[Box | None, ...]
    files: int


@dataclass(frozen=True, slots=True)
class CrossSection:
    """A stack cut open.

    Attributes
    ----------
    name
        Of the image, container or mount.
    paths
        The columns.
    rows
        The layers, the topmost first.
    served
        For each column the index of the row that a process sees; None where it sees nothing.
    left_out
        Number of paths that have no column.
    """

    name: str
    paths: tuple[str, ...]
    rows: tuple[SectionRow, ...]
    served: tuple[int | None, ...]
    left_out: int = 0


def cross_section(
    stack: LayerStack, paths: Iterable[str] | None = None, *, under: str = "/", max_paths: int = 40, max_rows: int = 24
) -> CrossSection:
    """Cut a stack open.

    Parameters
    ----------
    stack
        What is cut.
    paths
        The columns, as they are given; None for a choice of those below `under`.
    under
        Only paths at or below this directory.
    max_paths, max_rows
        How many columns and rows there are at most.
    """
    if paths is None:
        found = [item for item in columns(stack.layers, under=under) if _worth(item)]
        if not found:
            found = [item for item in columns(stack.layers, under=under) if item.path != under]
        chosen = _choose(stack, found, max_paths)
        left_out = len(found) - len(chosen)
    else:
        chosen = [column(stack.layers, path) or Column(path, ()) for path in paths]
        left_out = 0
    groups = _group(stack, chosen, max_rows)
    rows = tuple(_row(stack, group, chosen) for group in groups)
    row_of = {position: index for index, group in enumerate(groups) for position in group}
    served = tuple(row_of[cell.position] if (cell := item.served) is not None else None for item in chosen)
    return CrossSection(stack.name, tuple(item.path for item in chosen), rows, served, left_out)


def _worth(item: Column) -> bool:
    """Whether a path says something about layers: not a directory, or one that hides or is hidden."""
    if item.path == "/":
        return False
    if not item.is_dir:
        return True
    hides = any(cell.entry.opaque or cell.entry.is_whiteout for cell in item.cells)
    return (hides and any(cell.state is State.SHADOWED for cell in item.cells)) or hides


def _rank(stack: LayerStack, item: Column) -> int:
    if any(cell.position == 0 and stack.layers[0].role is Role.RW for cell in item.cells):
        return 0
    return 1 if len(item.cells) > 1 else 2


def _choose(stack: LayerStack, found: Sequence[Column], limit: int) -> list[Column]:
    by_rank: list[list[Column]] = [[], [], []]
    for item in found:
        by_rank[_rank(stack, item)].append(item)
    chosen: list[Column] = []
    least = [min(len(group), limit // 5) for group in by_rank]
    for rank, group in enumerate(by_rank):
        room = limit - len(chosen) - sum(least[rank + 1 :])
        chosen.extend(group if len(group) <= room else _evenly(group, room))
    return sorted(chosen, key=lambda item: item.path)


def _evenly(items: Sequence[Column], count: int) -> list[Column]:
    """Return `count` of the items, spread evenly."""
    return [items[index * len(items) // count] for index in range(count)] if count > 0 else []


def _group(stack: LayerStack, chosen: Sequence[Column], limit: int) -> list[list[int]]:
    """Return positions by row: each layer has its own while there is room, then neighbours share one."""
    used = {cell.position for item in chosen for cell in item.cells}
    groups: list[list[int]] = []
    if len(stack.layers) <= limit:
        return [[position] for position in range(len(stack.layers))]
    for position in range(len(stack.layers)):
        if position not in used and groups and groups[-1][-1] not in used:
            groups[-1].append(position)
        else:
            groups.append([position])
    weights = [sum(1 for item in chosen for cell in item.cells if cell.position in group) for group in groups]
    return [[position for index in joined for position in groups[index]] for joined in group_least(weights, limit)]


def _row(stack: LayerStack, group: Sequence[int], chosen: Sequence[Column]) -> SectionRow:
    layers = [stack.layers[position] for position in group]
    inside = set(group)
    boxes = []
    for item in chosen:
        cell = next((cell for cell in item.cells if cell.position in inside), None)
        boxes.append(None if cell is None else _box(stack, item.path, cell))
    rw = layers[0].role is Role.RW
    label, name = row_label(stack, group), row_name(stack, group)
    files = sum(1 for layer in layers for entry in layer.entries.values() if not entry.is_dir)
    return SectionRow(label, name, rw, tuple(boxes), files)


def _box(stack: LayerStack, path: str, cell: Cell) -> Box:
    how = ""
    if cell.position == 0 and stack.replay is not None:
        origin = stack.replay.origins.get(path)
        if origin is not None and origin.how not in (EffectKind.WHITEOUT, EffectKind.OPAQUE):
            how = EffectKind.RENAMED.value if origin.renamed else origin.how.value
    entry = cell.entry
    return Box(cell.state.value, entry.type.value, entry.size, how, entry.opaque)
