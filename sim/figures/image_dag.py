"""Figure: images and containers over the layers that they stand on.

Decided here: the disc of a layer has an area in proportion to its bytes, and a second rim if it is shared. Graphviz's
`dot` says where things stand. Draws in one thread at a time, as matplotlib does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sim.figures.marks import plain
from sim.figures.style import LIGHT, Theme, page, styled, text_width
from sim.figures.text import bytes_text, fit, heading, plural
from sim.graph.views import Dag, DagNode

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["image_dag"]

_LARGEST, _SMALLEST = 0.45, 0.07  # radii in inches
_NAMES = {"image": "image", "tag": "tag", "container": "container"}


@styled
def image_dag(data: Dag, *, theme: Theme = LIGHT) -> Figure:
    """Draw images, containers and layers.

    Parameters
    ----------
    data
        From `sim.graph.image_dag`.
    theme
        Light or dark.
    """
    largest = max((node.bytes for node in data.nodes), default=0)
    labels = {node.key: _label(node) for node in data.nodes}
    radii = {node.key: _radius(node, largest) for node in data.nodes}
    places, curves, wide, high = _layout(data, labels, radii)
    width, height = max(wide + 0.9, 8.2), high + 1.75
    figure, axes = page(width, height, theme)
    heading(axes, theme, 0.35, height - 0.22, _title(data), _subtitle(data), width - 0.7)
    shift = ((width - wide) / 2, 0.6)
    kinds = {node.key: node.kind for node in data.nodes}
    for (source, target, kind), curve in curves.items():
        _edge(axes, theme, kind, [(x + shift[0], y + shift[1]) for x, y in curve], kinds[source], kinds[target])
    for node in data.nodes:
        x, y = places[node.key]
        _node(axes, theme, node, labels[node.key], radii[node.key], x + shift[0], y + shift[1])
    _key(axes, theme, data, 0.35, 0.3)
    return figure


def _title(data: Dag) -> str:
    layers = [node for node in data.nodes if node.kind == "layer"]
    shared = [node for node in layers if node.used > 1]
    images = sum(1 for node in data.nodes if node.kind == "image")
    containers = sum(1 for node in data.nodes if node.kind == "container")
    users = [plural(images, "image")] if images else []
    if containers:
        users.append(plural(containers, "container"))
    if not users:
        return "No image and no container"
    text = f"{' and '.join(users)} on {plural(len(layers), 'read-only layer')}"
    return f"{text}, {len(shared)} of them shared" if layers else text


def _subtitle(data: Dag) -> str:
    words = (
        "Follow the arrows down: everything stands on its parent layer. The area of a disc is the bytes in the layer."
    )
    if data.left_out_layers:
        words = (
            f"The area of a disc is the bytes in the layer. {plural(data.left_out_layers, 'smaller layer')} not drawn."
        )
    return words + (f" {plural(data.left_out, 'more image or container', 'more')} not drawn." if data.left_out else "")


def _label(node: DagNode) -> str:
    return fit(node.label, 1.7, 8.5) + (f"\n{bytes_text(node.bytes)}" if "layer" in node.kind else "")


def _radius(node: DagNode, largest: int) -> float:
    if "layer" not in node.kind:
        return 0.0
    return max(_LARGEST * math.sqrt(node.bytes / largest), _SMALLEST) if largest else _SMALLEST


def _extent(label: str, radius: float) -> tuple[float, float]:
    """Return width and height of a node: a box around its label, or a disc with its label below."""
    lines = label.split("\n")
    text = max(text_width(line, 8.5) for line in lines)
    if radius:
        return max(2 * radius + 0.1, text), 2 * radius + 0.09 + _LINE * len(lines) + 0.04
    return text + 0.24, 0.3


_LINE = 0.165  # inches from line to line of a label


Points = list[tuple[float, float]]


def _layout(
    data: Dag, labels: dict[str, str], radii: dict[str, float]
) -> tuple[dict[str, tuple[float, float]], dict[tuple[str, str, str], Points], float, float]:
    """Ask `dot` where nodes and curves go; all in inches from the lower left corner."""
    if not data.nodes:
        return {}, {}, 4.0, 0.5
    import pygraphviz  # type: ignore[import-untyped]

    graph = pygraphviz.AGraph(directed=True, strict=False, rankdir="TB", nodesep="0.3", ranksep="0.42")
    # Without a label no font is looked for; sizes are ours.
    graph.node_attr.update(shape="box", fixedsize="true", label="")
    names = {node.key: f"n{index}" for index, node in enumerate(data.nodes)}
    for node in data.nodes:
        wide, high = _extent(labels[node.key], radii[node.key])
        graph.add_node(names[node.key], width=f"{wide:.3f}", height=f"{high:.3f}")
    for index, (source, target, _) in enumerate(data.edges):
        graph.add_edge(names[source], names[target], key=str(index), arrowhead="none", headport="n", tailport="s")
    graph.layout("dot")
    box = [float(value) / 72 for value in graph.graph_attr["bb"].split(",")]
    places = {}
    for node in data.nodes:
        x, y = graph.get_node(names[node.key]).attr["pos"].split(",")
        places[node.key] = (float(x) / 72 - box[0], float(y) / 72 - box[1])
    curves = {}
    for index, edge in enumerate(data.edges):
        text = graph.get_edge(names[edge[0]], names[edge[1]], str(index)).attr["pos"]
        numbers = [pair.split(",")[-2:] for pair in text.replace("e,", "").split()]
        curves[edge] = [(float(x) / 72 - box[0], float(y) / 72 - box[1]) for x, y in numbers]
    return places, curves, box[2] - box[0], box[3] - box[1]


def _edge(axes: Axes, theme: Theme, kind: str, curve: Points, source: str, target: str) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    writes = kind == "writes to"
    color = theme.rw if writes or source == "rw layer" else theme.muted
    path = Path(curve, [Path.MOVETO] + [Path.CURVE4] * (len(curve) - 1))
    axes.add_patch(
        PathPatch(
            path, facecolor="none", edgecolor=color, lw=1.3, ls="--" if kind in ("names", "runs") else "-", zorder=1
        )
    )
    (x0, y0), (x1, y1) = curve[-2], curve[-1]
    length = math.hypot(x1 - x0, y1 - y0) or 1.0
    step = ((x1 - x0) / length * 0.01, (y1 - y0) / length * 0.01)
    axes.annotate(
        "",
        (x1, y1),
        (x1 - step[0], y1 - step[1]),
        zorder=1,
        arrowprops={"arrowstyle": "-|>", "color": color, "lw": 0, "mutation_scale": 9, "shrinkA": 0, "shrinkB": 0},
    )


def _node(axes: Axes, theme: Theme, node: DagNode, label: str, radius: float, x: float, y: float) -> None:
    from matplotlib.patches import Circle

    wide, high = _extent(label, radius)
    if radius:
        color = theme.rw if node.kind == "rw layer" else theme.ro
        middle = (x, y + high / 2 - radius - 0.045)
        axes.add_patch(Circle(middle, radius, facecolor=color, edgecolor="none", zorder=3))
        if node.used > 1:
            axes.add_patch(Circle(middle, radius + 0.045, facecolor="none", edgecolor=theme.ink, lw=1.4, zorder=3))
            used = f"\u00d7{node.used}"
            if radius > text_width(used, 8, bold=True) / 2 + 0.04:
                axes.text(
                    *middle, used, size=8, weight="bold", color=theme.on_ro, ha="center", va="center_baseline", zorder=4
                )
        for index, line in enumerate(label.split("\n")):
            place = middle[1] - radius - 0.09 - (index + 0.5) * _LINE
            axes.text(
                x,
                place,
                line,
                size=8.5,
                color=theme.muted if index else theme.ink,
                ha="center",
                va="center_baseline",
                parse_math=False,
                zorder=4,
            )
        return
    styles = {"image": (theme.ink, theme.paper), "container": (theme.rw, theme.on_rw), "tag": (theme.paper, theme.ink)}
    fill, on = styles[node.kind]
    plain(
        axes,
        x - wide / 2,
        y - high / 2 + 0.02,
        wide,
        high - 0.04,
        fill,
        edge=theme.muted if node.kind == "tag" else "none",
        dashed=node.kind == "tag",
        zorder=3,
    )
    axes.text(x, y, label, size=8.5, color=on, ha="center", va="center_baseline", zorder=4, parse_math=False)


def _key(axes: Axes, theme: Theme, data: Dag, x: float, y: float) -> None:
    from matplotlib.patches import Circle

    kinds = {node.kind for node in data.nodes}
    samples = [("tag", theme.paper), ("image", theme.ink), ("container", theme.rw)]
    for kind, fill in samples:
        if kind in kinds:
            plain(
                axes, x, y - 0.08, 0.3, 0.16, fill, edge=theme.muted if kind == "tag" else "none", dashed=kind == "tag"
            )
            axes.text(x + 0.36, y, kind, size=8, color=theme.ink, va="center_baseline")
            x += 0.36 + text_width(kind, 8) + 0.26
    shared = any(node.used > 1 for node in data.nodes)
    discs = [("layer", "read-only layer", theme.ro, False), ("rw layer", "RW layer", theme.rw, False)]
    if shared:
        discs.append(("layer", "shared layer, \u00d7 its users", theme.ro, True))
    for kind, words, color, rim in discs:
        if kind not in kinds:
            continue
        axes.add_patch(Circle((x + 0.1, y), 0.075, facecolor=color, edgecolor="none"))
        if rim:
            axes.add_patch(Circle((x + 0.1, y), 0.115, facecolor="none", edgecolor=theme.ink, lw=1.3))
        axes.text(x + 0.28, y, words, size=8, color=theme.ink, va="center_baseline")
        x += 0.28 + text_width(words, 8) + 0.26
