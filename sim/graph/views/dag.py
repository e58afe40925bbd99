"""Data of the image graph: tags, images, containers and layers, and what stands on what.

Decided here: which nodes are drawn when there are more than fit (the layers with the most bytes, and all that leads to
them), and that layers with one user and one parent in a row become one node.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.graph.graph import LayerGraph
from sim.graph.kinds import EdgeKind, NodeKind

__all__ = ["Dag", "DagNode", "image_dag"]

_EDGES = {EdgeKind.PARENT, EdgeKind.TOP, EdgeKind.NAMES, EdgeKind.RUNS, EdgeKind.WRITES_TO}


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
    """The nodes and edges that are drawn; an edge is (key of the source, key of the target, kind)."""

    nodes: tuple[DagNode, ...]
    edges: tuple[tuple[str, str, str], ...]
    left_out: int = 0


def image_dag(graph: LayerGraph, *, max_images: int = 12) -> Dag:
    """Choose the nodes and edges of the graph above the level of files.

    Parameters
    ----------
    graph
        With images or containers.
    max_images
        How many images, and how many containers, are drawn at most.
    """
    used: dict[str, int] = {}
    for stack in graph.all_stacks():
        for layer in {layer.key: layer for layer in stack.layers}.values():
            used[layer.key] = used.get(layer.key, 0) + 1
    images = list(graph.images)[:max_images]
    containers = list(graph.stacks)[:max_images]
    keep = {f"image:{key}" for key in images} | {f"container:{name}" for name in containers}
    for key in images:
        keep |= {f"layer:{layer}" for layer in graph.images[key].layers}
        keep |= {f"tag:{tag}" for tag in graph.images[key].tags}
    for name in containers:
        keep |= {f"layer:{layer.key}" for layer in graph.stacks[name].layers}
    total = len(graph.images) + len(graph.stacks)
    nodes = []
    for key, attributes in graph.nx.nodes(data=True):
        if key not in keep:
            continue
        kind = attributes["kind"]
        if kind in (NodeKind.LAYER.value, NodeKind.RW_LAYER.value):
            layer = graph.layers[key.removeprefix("layer:")]
            nodes.append(DagNode(key, kind, attributes["label"], layer.bytes, used.get(layer.key, 0)))
        else:
            nodes.append(DagNode(key, kind, attributes["label"]))
    edges = tuple(
        (source, target, kind)
        for source, target, kind in graph.nx.edges(keys=True)
        if kind in _EDGES and source in keep and target in keep
    )
    return Dag(tuple(nodes), edges, total - len(images) - len(containers))
