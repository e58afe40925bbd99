"""The layer graph: one `networkx.MultiDiGraph` of layers, images, tags, containers and files.

Decided here: which nodes and edges a source becomes, and when a file enters the graph. Files enter only when they were
touched by an operation or are asked for (`add_paths`, `add_files`), so that a store of a thousand images opens at once.

A `LayerGraph` and its `nx` belong to one thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from fusefs.operation import EffectKind
from sim.graph.entry import Entry, Layer, Role, parent_of
from sim.graph.errors import NameUnknown
from sim.graph.kinds import EdgeKind, NodeKind, file_key
from sim.graph.merge import Cell, Column, State, column, columns
from sim.graph.pathtree import PathTree
from sim.graph.stack import LayerStack, layer_title, short_name

if TYPE_CHECKING:
    import networkx

__all__ = ["Image", "LayerGraph"]


@dataclass(frozen=True, slots=True)
class Image:
    """An image: a list of layers that has names.

    Attributes
    ----------
    key
        Its digest, or another name that no other image has.
    tags
        Names that people give it; may be empty.
    layers
        Keys of its layers, the topmost first.
    """

    key: str
    tags: tuple[str, ...]
    layers: tuple[str, ...]

    @property
    def name(self) -> str:
        """Its first tag, or the short digest."""
        return self.tags[0] if self.tags else short_name(self.key)


class LayerGraph:
    """Layers, images and containers as one graph.

    Make an empty one and add sources to it (`sim.graph.sources` has a function for each kind), then ask for stacks.

    Attributes
    ----------
    nx
        The `networkx.MultiDiGraph`. `sim.graph.kinds` documents its nodes, edges and attributes.
    layers
        Layers by key.
    images
        Images by key.
    stacks
        Stacks of containers and mounts by name.
    """

    def __init__(self) -> None:
        import networkx

        self.nx: networkx.MultiDiGraph = networkx.MultiDiGraph()
        self.layers: dict[str, Layer] = {}
        self.images: dict[str, Image] = {}
        self.stacks: dict[str, LayerStack] = {}
        self._paths = PathTree()

    def __repr__(self) -> str:
        """Say how much is in it."""
        return (
            f"LayerGraph({len(self.images)} images, {len(self.stacks)} containers, {len(self.layers)} layers, "
            f"{self.nx.number_of_nodes()} nodes, {self.nx.number_of_edges()} edges)"
        )

    # Adding sources

    def add_layer(self, layer: Layer) -> Layer:
        """Add a layer, unless one of its key is there already. Return the one that is in the graph."""
        known = self.layers.setdefault(layer.key, layer)
        if known is layer:
            rw = layer.role is Role.RW
            self.nx.add_node(
                f"layer:{layer.key}",
                kind=(NodeKind.RW_LAYER if rw else NodeKind.LAYER).value,
                label=short_name(layer_title(layer)),
                name=layer.name,
                bytes=-1 if layer.known_bytes is None else layer.known_bytes,
            )
        return known

    def add_chain(self, layers: Sequence[Layer]) -> tuple[Layer, ...]:
        """Add layers that lie on one another, the topmost first, with an edge from each to its parent."""
        known = tuple(self.add_layer(layer) for layer in layers)
        for above, below in pairwise(known):
            self._edge(f"layer:{above.key}", f"layer:{below.key}", EdgeKind.PARENT)
        return known

    def add_image(self, key: str, tags: Iterable[str], layers: Sequence[Layer]) -> Image:
        """Add an image with its layers, the topmost first."""
        known = self.add_chain(layers)
        image = Image(key, tuple(tags), tuple(layer.key for layer in known))
        self.images[key] = image
        node = f"image:{key}"
        sizes = [layer.known_bytes for layer in known]
        total = -1 if None in sizes else sum(size for size in sizes if size is not None)
        name = image.name
        self.nx.add_node(node, kind=NodeKind.IMAGE.value, label=name, name=name, bytes=total, layers=len(known))
        if known:
            self._edge(node, f"layer:{known[0].key}", EdgeKind.TOP)
        for tag in image.tags:
            self.nx.add_node(f"tag:{tag}", kind=NodeKind.TAG.value, label=tag, name=tag)
            self._edge(f"tag:{tag}", node, EdgeKind.NAMES)
        return image

    def add_stack(self, stack: LayerStack, *, image: str | None = None) -> LayerStack:
        """Add a container or mount, with the files that its journal has touched.

        Parameters
        ----------
        stack
            Its layers; those that the graph has already are shared with it.
        image
            Key of the image that it runs, if one is known.
        """
        known = self.add_chain(stack.layers)
        stack = LayerStack(stack.name, known, stack.replay, stack.operations)
        self.stacks[stack.name] = stack
        node = f"container:{stack.name}"
        self.nx.add_node(node, kind=NodeKind.CONTAINER.value, label=stack.name, name=stack.name)
        self.count(stack)
        lower = known
        if known and known[0].role is Role.RW:
            self._edge(node, f"layer:{known[0].key}", EdgeKind.WRITES_TO)
            lower = known[1:]
        if image is None:
            below = tuple(layer.key for layer in lower)
            image = next((key for key, other in self.images.items() if other.layers == below), None)
        if image is not None:
            self._edge(node, f"image:{image}", EdgeKind.RUNS)
        elif lower:
            self._edge(node, f"layer:{lower[0].key}", EdgeKind.TOP)
        if stack.replay is not None:
            touched = {path for path, _ in stack.replay.reads} | stack.replay.entries.keys()
            self.add_paths(stack, sorted(touched))
        self.measure(stack)
        return stack

    # Asking

    def stack(self, name: str | None = None) -> LayerStack:
        """Return the stack of a container, image or tag.

        Parameters
        ----------
        name
            Name of a container or mount, tag of an image, or the beginning of its digest; None for the only one there
            is.

        Raises
        ------
        NameUnknown
            There is none of this name, or there are several.
        """
        if name is None:
            known = [*self.stacks, *(image.name for image in self.images.values())]
            if len(self.stacks) == 1:
                return next(iter(self.stacks.values()))
            if len(known) != 1:
                raise NameUnknown(f"there are {len(known)} images and containers; name one of them{_some(known)}")
            name = known[0]
        if name in self.stacks:
            return self.stacks[name]
        found = [image for image in self.images.values() if name in image.tags or name == image.key]
        found = found or [image for image in self.images.values() if f"{name}:latest" in image.tags]
        if not found:
            wanted = name.removeprefix("sha256:")
            found = [image for image in self.images.values() if image.key.removeprefix("sha256:").startswith(wanted)]
        if not found or not name:
            known = [*self.stacks, *(image.name for image in self.images.values())]
            raise NameUnknown(f"{name!r} is no image or container of this graph; there are{_some(known)}")
        if len(found) > 1:
            raise NameUnknown(
                f"{name!r} means {len(found)} images; give more of the digest{_some([i.key for i in found])}"
            )
        return LayerStack(found[0].name, tuple(self.layers[key] for key in found[0].layers))

    def all_stacks(self) -> tuple[LayerStack, ...]:
        """Return the stacks of all images, then those of all containers and mounts."""
        return (*(self.stack(key) for key in self.images), *self.stacks.values())

    # Files

    def add_paths(self, stack: LayerStack, paths: Iterable[str]) -> None:
        """Add what each layer of a stack has at these paths, as file nodes with their edges."""
        for path in paths:
            found = column(stack.layers, path)
            if found is not None:
                self._add_column(stack, found)
                if stack.replay is not None:
                    for cell in found.cells:
                        self._read(stack, path, stack.number(cell.position))

    def add_files(self, stack: LayerStack, *, under: str = "/") -> None:
        """Add every file that any layer of a stack has at or below `under`."""
        for found in columns(stack.layers, under=under):
            self._add_column(stack, found)
        self._reads(stack)
        self.measure(stack)

    def _add_column(self, stack: LayerStack, found: Column) -> None:
        for cell in found.cells:
            self._file(stack, cell.position, cell.entry, cell.state)
        for cell in found.cells:
            if cell.by is not None:
                self._hides(stack, found.path, cell)
        if stack.replay is not None and found.cells and found.cells[0].position == 0 and stack.first_number == 0:
            self._origin(stack, found.path)

    def _file(self, stack: LayerStack, position: int, entry: Entry, state: State | None = None) -> str:
        layer = stack.layers[position]
        node = file_key(layer.key, entry.path)
        if state is None and node in self.nx:
            return node
        if state is None:
            found = column(stack.layers, entry.path)
            cell = next((c for c in found.cells if c.position == position), None) if found is not None else None
            state = cell.state if cell is not None else State.SHADOWED
        if node not in self.nx:
            self._paths.add(entry.path)
        self.nx.add_node(
            node,
            kind=NodeKind.FILE.value,
            label=entry.path.rpartition("/")[2] or "/",
            path=entry.path,
            layer=f"layer:{layer.key}",
            type=entry.type.value,
            bytes=entry.size,
            state=state.value,
            opaque=entry.opaque,
        )
        self._edge(f"layer:{layer.key}", node, EdgeKind.CONTAINS)
        return node

    def _hides(self, stack: LayerStack, path: str, cell: Cell) -> None:
        """Add the edge from whatever hides a cell: the same path in the layer above, or a directory above it."""
        assert cell.by is not None
        layer = stack.layers[cell.by]
        ancestor = path
        while True:
            entry = layer.entries.get(ancestor)
            if entry is not None and (ancestor == path or entry.opaque or not entry.is_dir):
                break
            if ancestor == "/":
                return
            ancestor = parent_of(ancestor)
        source = self._file(stack, cell.by, entry)
        target = file_key(stack.layers[cell.position].key, cell.entry.path)
        made = stack.replay.origins.get(ancestor) if stack.replay is not None and cell.by == 0 else None
        operation = made.operation if made is not None else 0
        if entry.is_whiteout:
            self._edge(source, target, EdgeKind.WHITEOUT, operation=operation)
        elif (entry.opaque and ancestor != path) or (entry.opaque and cell.entry.is_dir):
            self._edge(source, target, EdgeKind.OPAQUE, operation=operation)
        else:
            self._edge(source, target, EdgeKind.SHADOWS)

    def _origin(self, stack: LayerStack, path: str) -> None:
        assert stack.replay is not None
        origin = stack.replay.origins.get(path)
        if origin is None:
            return
        node = file_key(stack.layers[0].key, path)
        below = stack.position(origin.layer) if origin.layer is not None else None
        entry = stack.layers[below].entries.get(origin.path) if below is not None else None
        if origin.how is EffectKind.COPIED_UP and below is not None and entry is not None:
            target = self._file(stack, below, entry)
            self._edge(node, target, EdgeKind.COPIED_UP, operation=origin.operation, bytes=origin.size)
        elif origin.how in (EffectKind.CREATED, EffectKind.LINKED, EffectKind.OPAQUE):
            self._edge(f"container:{stack.name}", node, EdgeKind.CREATED, operation=origin.operation)
        if origin.renamed:
            left = stack.layers[0].entries.get(origin.was)
            if left is not None:
                self._edge(node, self._file(stack, 0, left), EdgeKind.RENAMED, operation=origin.renamed)

    def _reads(self, stack: LayerStack) -> None:
        if stack.replay is not None:
            for path, number in stack.replay.reads:
                self._read(stack, path, number)

    def add_read(self, stack: LayerStack, path: str, number: int) -> None:
        """Bring the edge for reads of a path from the layer of a number up to date, with the file if it is new."""
        position = stack.position(number)
        if position is not None and file_key(stack.layers[position].key, path) not in self.nx:
            found = column(stack.layers, path)
            if found is not None:
                self._add_column(stack, found)
        self._read(stack, path, number)

    def _read(self, stack: LayerStack, path: str, number: int) -> None:
        position = stack.position(number)
        seen = stack.replay.reads.get((path, number)) if stack.replay is not None else None
        if position is None or seen is None:
            return
        node = file_key(stack.layers[position].key, path)
        if node in self.nx:
            counts = {"operations": seen.operations, "reads": seen.reads, "bytes": seen.bytes}
            self._edge(f"container:{stack.name}", node, EdgeKind.READ, **counts, first=seen.first, last=seen.last)

    def known_below(self, path: str) -> list[str]:
        """Return the paths at and below a path that are in the graph, of any layer."""
        return list(self._paths.below(path))

    def remove_file(self, node: str) -> None:
        """Take a file node out of the graph, with its edges, if it is there."""
        if node in self.nx:
            self._paths.discard(self.nx.nodes[node]["path"])
            self.nx.remove_node(node)

    def count(self, stack: LayerStack) -> None:
        """Bring the counts of a container up to date."""
        totals = stack.replay.totals if stack.replay is not None else None
        self.nx.nodes[f"container:{stack.name}"].update(
            operations=totals.operations if totals else 0,
            failed=totals.failed if totals else 0,
            copied=totals.copied if totals else 0,
            written=totals.written if totals else 0,
            read=totals.read if totals else 0,
        )

    def _edge(self, source: str, target: str, kind: EdgeKind, **attributes: int) -> None:
        self.nx.add_edge(source, target, key=kind.value, kind=kind.value, **attributes)

    def measure(self, stack: LayerStack) -> None:
        """Say the bytes of those layers of a stack that have been read, and of its RW layer."""
        for layer in stack.layers:
            if layer.was_read or layer.role is Role.RW:
                self.nx.nodes[f"layer:{layer.key}"]["bytes"] = layer.bytes

    def files(self, layer: str | None = None) -> Iterator[tuple[str, Mapping[str, object]]]:
        """Yield the file nodes that are in the graph, of one layer or of all, with their attributes."""
        for node, attributes in self.nx.nodes(data=True):
            if attributes["kind"] == NodeKind.FILE.value and layer in (
                None,
                attributes["layer"].removeprefix("layer:"),
            ):
                yield node, attributes


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(sorted(names)[:8])
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return f": {shown}{more}" if names else " none"
