"""Data of the sharing figure: what each image or container would weigh alone, and what lies on disk.

Decided here: the order of layers and rows. The layers that most rows share come first, so that the shared base stands
in one block at the left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sim.graph.entry import Role
from sim.graph.graph import LayerGraph
from sim.graph.stack import LayerStack, layer_title, short_name

__all__ = ["Sharing", "SharingLayer", "SharingRow", "sharing"]


@dataclass(frozen=True, slots=True)
class SharingLayer:
    """One layer on disk.

    Attributes
    ----------
    name
        What people call it.
    bytes
        Bytes of file data in it.
    used
        Number of rows that have it.
    rw
        Whether it is a container's RW layer.
    """

    name: str
    bytes: int
    used: int
    rw: bool = False


@dataclass(frozen=True, slots=True)
class SharingRow:
    """One image or container.

    Attributes
    ----------
    name
        What people call it.
    layers
        Indexes of its layers in `Sharing.layers`, ascending.
    bytes
        Virtual size: bytes of all its layers, as if it were alone.
    """

    name: str
    layers: tuple[int, ...]
    bytes: int


@dataclass(frozen=True, slots=True)
class Sharing:
    """Images and containers over the layers that they share.

    Attributes
    ----------
    layers
        All layers, the most shared first; each is on disk once.
    rows
        Images and containers, those with the same layers next to one another.
    left_out
        Number of images and containers that have no row; they count in `virtual`.
    virtual
        Sum of all virtual sizes, bytes.
    disk
        Sum of all layers, bytes.
    """

    layers: tuple[SharingLayer, ...]
    rows: tuple[SharingRow, ...]
    left_out: int
    virtual: int
    disk: int

    @property
    def saved(self) -> int:
        """Bytes that sharing saves."""
        return self.virtual - self.disk


def sharing(graph: LayerGraph, names: Iterable[str] | None = None, *, max_rows: int = 30) -> Sharing:
    """Compare virtual sizes with bytes on disk.

    Parameters
    ----------
    graph
        With images or containers.
    names
        Which of them, as `LayerGraph.stack` finds them; None for all.
    max_rows
        How many rows there are at most.
    """
    stacks = list(graph.all_stacks()) if names is None else [graph.stack(name) for name in names]
    used: dict[str, int] = {}
    for stack in stacks:
        for layer in {layer.key: layer for layer in stack.layers}.values():
            used[layer.key] = used.get(layer.key, 0) + 1
    depth: dict[str, int] = {}
    for stack in stacks:
        for index, layer in enumerate(reversed(stack.layers)):
            depth.setdefault(layer.key, index)
    order = sorted(used, key=lambda key: (-used[key], depth[key], key))
    index_of = {key: index for index, key in enumerate(order)}
    layers = tuple(
        SharingLayer(short_name(layer_title(layer)), layer.bytes, used[key], layer.role is Role.RW)
        for key in order
        for layer in (graph.layers[key],)
    )
    rows = sorted((_row(stack, index_of) for stack in stacks), key=lambda row: row.layers)
    shown = tuple(rows[:max_rows])
    virtual = sum(row.bytes for row in rows)
    return Sharing(layers, shown, len(rows) - len(shown), virtual, sum(layer.bytes for layer in layers))


def _row(stack: LayerStack, index_of: dict[str, int]) -> SharingRow:
    distinct = {layer.key: layer for layer in stack.layers}
    indexes = sorted(index_of[key] for key in distinct)
    return SharingRow(stack.name, tuple(indexes), sum(layer.bytes for layer in distinct.values()))
