"""Measures of a stack or graph: what is shared, what is wasted, what a copy-up cost.

Decided here and only here: how each number is reckoned. All sizes are bytes of file data and of the texts of symlinks
(`st_size`), each hard-linked file of a layer once, as Docker and the image store count; nothing is said about blocks on
disk. All are exact for the layers given.

Functions keep no state; they belong to the thread of the graph they are asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sim.graph.entry import Entry, Layer
from sim.graph.graph import LayerGraph
from sim.graph.merge import Cell, Column, State, column, columns
from sim.graph.stack import LayerStack

__all__ = [
    "Cost",
    "PathWaste",
    "Saving",
    "Size",
    "Waste",
    "copy_up_cost",
    "disk_bytes",
    "efficiency",
    "lookup_depth",
    "savings",
    "served_by",
    "sizes",
    "virtual_bytes",
    "visible_bytes",
    "waste",
    "waste_by_path",
]


@dataclass(frozen=True, slots=True)
class Size:
    """What one image or container weighs.

    Attributes
    ----------
    name
        Of the image or container.
    virtual
        Bytes of all its layers.
    shared
        Bytes of those of its layers that another one has too.
    unique
        Bytes of those that only it has: what removing it frees. `virtual = shared + unique`.
    """

    name: str
    virtual: int
    shared: int
    unique: int


@dataclass(frozen=True, slots=True)
class Saving:
    """What `count` containers of one image take.

    Attributes
    ----------
    count
        Number of containers.
    copied
        Bytes if each had its own copy of the image.
    shared
        Bytes as they are: the image once, and one RW layer each.
    """

    count: int
    copied: int
    shared: int

    @property
    def saved(self) -> int:
        """Bytes that sharing saves."""
        return self.copied - self.shared


@dataclass(frozen=True, slots=True)
class Waste:
    """Bytes that lie in a layer and cannot be seen in the merged view.

    Attributes
    ----------
    path
        Merged path.
    bytes
        Bytes that are wasted.
    layer
        Number of the layer that holds them.
    by
        Number of the layer that hides them.
    cause
        `replaced` (a layer above has the path anew) or `deleted` (a whiteout or an opaque directory above).
    """

    path: str
    bytes: int
    layer: int
    by: int
    cause: str


@dataclass(frozen=True, slots=True)
class PathWaste:
    """All bytes that one path wastes.

    Attributes
    ----------
    path
        Merged path.
    bytes
        Bytes that cannot be seen, in all layers.
    copies
        In how many layers they lie: of N versions of a file N-1 are wasted, of a deleted file all.
    layers
        Numbers of these layers, from the top.
    by
        Numbers of the layers that hide them, from the top: what was done there caused the waste.
    """

    path: str
    bytes: int
    copies: int
    layers: tuple[int, ...]
    by: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """What copy-up cost.

    Attributes
    ----------
    copy_ups
        Objects other than directories that were copied up.
    copied
        Bytes copied.
    written
        Bytes that processes wrote.
    seconds
        Time spent in operations that copied data up.
    """

    copy_ups: int
    copied: int
    written: int
    seconds: float

    @property
    def amplification(self) -> float:
        """Bytes copied for each byte written; 0 if nothing was copied, infinite if nothing was written."""
        if not self.copied:
            return 0.0
        return self.copied / self.written if self.written else float("inf")


def virtual_bytes(stack: LayerStack) -> int:
    """Return the bytes of all layers of a stack, a layer that stands twice in it once."""
    return sum(layer.bytes for layer in _distinct(stack.layers))


def disk_bytes(stacks: Iterable[LayerStack]) -> int:
    """Return the bytes of all layers of several stacks, each layer once."""
    return sum(layer.bytes for layer in _distinct(layer for stack in stacks for layer in stack.layers))


def sizes(graph: LayerGraph) -> tuple[Size, ...]:
    """Return the size of each image and container of a graph, images first."""
    stacks = graph.all_stacks()
    used: dict[str, int] = {}
    for stack in stacks:
        for layer in _distinct(stack.layers):
            used[layer.key] = used.get(layer.key, 0) + 1
    found = []
    for stack in stacks:
        layers = _distinct(stack.layers)
        virtual = sum(layer.bytes for layer in layers)
        unique = sum(layer.bytes for layer in layers if used[layer.key] == 1)
        found.append(Size(stack.name, virtual, virtual - unique, unique))
    return tuple(found)


def savings(image: int, rw: Sequence[int]) -> tuple[Saving, ...]:
    """Return what 1, 2, … containers of one image take.

    Parameters
    ----------
    image
        Bytes of the image's layers.
    rw
        Bytes of the RW layer of each container.

    Examples
    --------
    >>> [(s.count, s.copied, s.shared, s.saved) for s in savings(100, [1, 2])]
    [(1, 101, 101, 0), (2, 203, 103, 100)]
    """
    found = []
    written = 0
    for count, own in enumerate(rw, 1):
        written += own
        found.append(Saving(count, count * image + written, image + written))
    return tuple(found)


def waste(stack: LayerStack, *, under: str = "/") -> tuple[Waste, ...]:
    """Return all that is hidden, the largest first.

    Of N versions of a file in N layers N-1 are wasted. A hard-linked file is wasted when all its names are hidden.
    """
    seen: set[tuple[int, int]] = set()
    hidden: list[tuple[Column, Cell]] = []
    for item in columns(stack.layers, under=under):
        for cell in item.cells:
            if not cell.entry.size:
                continue
            if cell.state is State.SHADOWED:
                hidden.append((item, cell))
            elif cell.entry.inode:
                seen.add((cell.position, cell.entry.inode))
    found = []
    for item, cell in hidden:
        link = (cell.position, cell.entry.inode)
        if cell.entry.inode:
            if link in seen:
                continue
            seen.add(link)
        assert cell.by is not None
        replaced = any(c.position == cell.by and not c.entry.is_whiteout and not c.entry.is_dir for c in item.cells)
        cause = "replaced" if replaced else "deleted"
        by, holder = stack.number(cell.by), stack.number(cell.position)
        found.append(Waste(item.path, cell.entry.size, holder, by, cause))
    return tuple(sorted(found, key=lambda one: (-one.bytes, one.path, one.layer)))


def waste_by_path(stack: LayerStack, *, under: str = "/") -> tuple[PathWaste, ...]:
    """Return what is hidden, added up for each path, the most wasteful first; the sum is that of `waste`."""
    by_path: dict[str, list[Waste]] = {}
    for one in waste(stack, under=under):
        by_path.setdefault(one.path, []).append(one)
    found = [
        PathWaste(
            path,
            sum(one.bytes for one in several),
            len(several),
            tuple(sorted({one.layer for one in several})),
            tuple(sorted({one.by for one in several})),
        )
        for path, several in by_path.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.bytes, one.path)))


def visible_bytes(stack: LayerStack) -> int:
    """Return the bytes of file data that a process sees, each hard-linked file once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for item in columns(stack.layers):
        cell = item.served
        if cell is None or not cell.entry.size:
            continue
        if cell.entry.inode:
            if (cell.position, cell.entry.inode) in seen:
                continue
            seen.add((cell.position, cell.entry.inode))
        total += cell.entry.size
    return total


def efficiency(stack: LayerStack) -> float:
    """Return the part of the layers' bytes that a process sees, from 0 to 1; 1 for an empty stack."""
    total = sum(layer.bytes for layer in stack.layers)
    return visible_bytes(stack) / total if total else 1.0


def copy_up_cost(stack: LayerStack) -> Cost:
    """Return what copy-up cost in the operations of a stack's journal; all 0 without one."""
    if stack.replay is None:
        return Cost(0, 0, 0, 0.0)
    totals = stack.replay.totals
    return Cost(totals.copy_ups, totals.copied, totals.written, totals.copying / 1e9)


def served_by(stack: LayerStack) -> dict[int | None, int]:
    """Return the number of operations that each layer answered, by its number; None for those that none did."""
    return dict(stack.replay.totals.served or {}) if stack.replay is not None else {}


def lookup_depth(stack: LayerStack, path: str) -> int:
    """Return how many layers are asked for a path, in each directory on the way, until it is found or known absent.

    One probe is one name looked for in one layer's directory. A layer in which the directory does not exist is not
    asked; layers below the one that ends the search are not either.
    """
    return sum(len(asked) for asked in probes(stack.layers, path))


def probes(layers: Sequence[Layer], path: str) -> list[list[tuple[int, Entry | None]]]:
    """Return for each component of a path the layers that are asked for it, with what each has, from the top.

    A directory's search goes on through all layers below it, since directories merge; that of anything else ends.
    """
    found: list[list[tuple[int, Entry | None]]] = []
    at = ""
    parts = [part for part in path.split("/") if part]
    places = [position for position, _ in enumerate(layers)]
    root = column(layers, "/")
    if root is not None:
        places = [cell.position for cell in root.cells if cell.state in (State.VISIBLE, State.MERGED)]
    for part in parts:
        at = f"{at}/{part}"
        item = column(layers, at)
        cells = {cell.position: cell for cell in item.cells} if item is not None else {}
        asked: list[tuple[int, Entry | None]] = []
        live: list[int] = []
        for position in places:
            cell = cells.get(position)
            entry = cell.entry if cell is not None else None
            asked.append((position, entry))
            if entry is None or cell is None:
                continue
            if cell.state in (State.VISIBLE, State.MERGED) and entry.is_dir:
                live.append(position)
            if not entry.is_dir or entry.opaque:
                break
        found.append(asked)
        if not live:
            break
        places = live
    return found


def _distinct(layers: Iterable[Layer]) -> list[Layer]:
    return list({layer.key: layer for layer in layers}.values())
