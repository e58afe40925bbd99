"""Data of the image graph: tags, images, containers and layers, and what stands on what.

Decided here: which images and layers are drawn when there are more than fit (of layers those with the most bytes,
counted once for each user), and that a run of four layers or more that only stand on one another, with the same users,
becomes one node.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from sim.graph.entry import Role
from sim.graph.graph import LayerGraph
from sim.graph.kinds import EdgeKind, NodeKind
from sim.graph.stack import layer_title, short_name

__all__ = ["Dag", "DagNode", "image_dag"]

_LONG_RUN = 4


@dataclass(frozen=True, slots=True)
class DagNode:
    """One node.

    Attributes
    ----------
    key
        Its key in the graph.
    kind
        `layer`, `rw layer`, `image`, `tag` or `container`.
    label
        What people call it.
    bytes
        Bytes of file data in a layer; 0 for all else.
    used
        For a layer the number of images and containers that have it.
    """

    key: str
    kind: str
    label: str
    bytes: int = 0
    used: int = 0


@dataclass(frozen=True, slots=True)
class Dag:
    """What is drawn.

    Attributes
    ----------
    nodes
        Tags, images, containers and layers.
    edges
        Key of the source, key of the target, kind as in `EdgeKind`.
    left_out
        Number of images and containers that are not drawn.
    left_out_layers
        Number of layers of drawn images and containers that are not drawn; those around them are joined.
    """

    nodes: tuple[DagNode, ...]
    edges: tuple[tuple[str, str, str], ...]
    left_out: int = 0
    left_out_layers: int = 0


def image_dag(graph: LayerGraph, *, max_images: int = 12, max_layers: int = 24) -> Dag:
    """Choose the nodes and edges of the graph above the level of files.

    Parameters
    ----------
    graph
        With images or containers.
    max_images
        How many images, and how many containers, are drawn at most.
    max_layers
        How many layers are drawn at most.
    """
    images = list(graph.images.values())[:max_images]
    stacks = list(graph.stacks.values())[:max_images]
    used: dict[str, int] = {}
    for stack in graph.all_stacks():
        for key in {layer.key for layer in stack.layers}:
            used[key] = used.get(key, 0) + 1
    drawn = dict.fromkeys(key for image in images for key in image.layers)
    drawn.update(dict.fromkeys(layer.key for stack in stacks for layer in stack.layers))
    kept = set(drawn)
    if len(drawn) > max_layers:
        order = sorted(
            drawn, key=lambda key: (graph.layers[key].role is Role.RO, -graph.layers[key].bytes * used[key], key)
        )
        kept = set(order[:max_layers])
    edges: dict[tuple[str, str, str], None] = {}
    nodes: list[DagNode] = []
    for image in images:
        node = f"image:{image.key}"
        nodes.append(DagNode(node, NodeKind.IMAGE.value, image.name))
        _chain(edges, node, EdgeKind.TOP, [key for key in image.layers if key in kept])
        for tag in image.tags:
            nodes.append(DagNode(f"tag:{tag}", NodeKind.TAG.value, tag))
            edges[f"tag:{tag}", node, EdgeKind.NAMES.value] = None
    shown = {f"image:{image.key}" for image in images}
    for stack in stacks:
        node = f"container:{stack.name}"
        nodes.append(DagNode(node, NodeKind.CONTAINER.value, stack.name))
        runs = [target for _, target, kind in graph.nx.out_edges(node, keys=True) if kind == EdgeKind.RUNS.value]
        edges.update(((node, target, EdgeKind.RUNS.value), None) for target in runs if target in shown)
        keys = [layer.key for layer in stack.layers if layer.key in kept]
        writes = bool(stack.layers) and stack.layers[0].role is Role.RW
        _chain(edges, node, EdgeKind.WRITES_TO if writes else EdgeKind.TOP, keys)
    head = _runs(graph, kept, used, list(edges))
    for key in (key for key in drawn if key in kept and head.get(key, key) == key):
        members = [graph.layers[member] for member, first in head.items() if first == key] or [graph.layers[key]]
        kind = NodeKind.RW_LAYER if graph.layers[key].role is Role.RW else NodeKind.LAYER
        label = short_name(layer_title(members[0])) if len(members) == 1 else f"{len(members)} layers"
        nodes.append(DagNode(f"layer:{key}", kind.value, label, sum(layer.bytes for layer in members), used[key]))
    node_of = {f"layer:{key}": f"layer:{first}" for key, first in head.items()}
    joined = ((node_of.get(source, source), node_of.get(target, target), kind) for source, target, kind in edges)
    final = dict.fromkeys(edge for edge in joined if edge[0] != edge[1])
    left_out = len(graph.images) + len(graph.stacks) - len(images) - len(stacks)
    return Dag(tuple(nodes), tuple(final), left_out, len(drawn) - len(kept))


def _chain(edges: dict[tuple[str, str, str], None], node: str, first: EdgeKind, keys: list[str]) -> None:
    if keys:
        edges[node, f"layer:{keys[0]}", first.value] = None
    for above, below in pairwise(keys):
        edges[f"layer:{above}", f"layer:{below}", EdgeKind.PARENT.value] = None


def _runs(graph: LayerGraph, kept: set[str], used: dict[str, int], edges: list[tuple[str, str, str]]) -> dict[str, str]:
    """Return by layer the first of the run that it is in."""
    ro = {key for key in kept if graph.layers[key].role is Role.RO}
    above: dict[str, list[str]] = {key: [] for key in ro}
    below: dict[str, list[str]] = {key: [] for key in ro}
    for source, target, _ in edges:
        upper, lower = source.removeprefix("layer:"), target.removeprefix("layer:")
        if lower in ro:
            above[lower].append(source)
            if upper in ro:
                below[upper].append(lower)

    def following(key: str) -> str | None:
        if len(below[key]) != 1:
            return None
        lower = below[key][0]
        return lower if used[lower] == used[key] and len(above[lower]) == 1 else None

    continued = {following(key) for key in ro}
    found: dict[str, str] = {}
    for key in sorted(ro - continued):
        run = [key]
        below_it = following(key)
        while below_it is not None:
            run.append(below_it)
            below_it = following(below_it)
        if len(run) >= _LONG_RUN:
            found.update(dict.fromkeys(run, key))
    return found
