"""Every figure by its name, drawn straight from a graph: what a command line needs.

Decided here and only here: the names of the figures, and what each is drawn from when only a graph and the name of a
stack are given. Draws in one thread at a time, as matplotlib does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from sim import graph as views
from sim.figures.copy_up import copy_up
from sim.figures.cross_section import cross_section
from sim.figures.icicle import icicle
from sim.figures.image_dag import image_dag
from sim.figures.latency import latency
from sim.figures.lookup_walk import lookup_walk
from sim.figures.savings import savings_curve, waterfall
from sim.figures.sharing import sharing
from sim.figures.style import LIGHT, Theme
from sim.figures.timeline import timeline
from sim.figures.trees import change_tree, heat
from sim.graph import LayerGraph, LayerStack, NameUnknown, Role

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FIGURES", "Known", "draw"]


@dataclass(frozen=True, slots=True)
class Known:
    """One figure of the catalogue.

    Attributes
    ----------
    words
        What it shows, in a few words.
    draws
        From the graph, the stack, a path (or "") and a theme.
    needs_stack
        Whether it is about one stack; else it is about the whole graph.
    needs_path
        Whether it is about one path; for others a path narrows what is shown, where that makes sense.
    """

    words: str
    draws: Callable[[LayerGraph, LayerStack, str, Theme], Figure]
    needs_stack: bool = True
    needs_path: bool = False


def draw(name: str, graph: LayerGraph, stack: str | None = None, *, path: str = "", theme: Theme = LIGHT) -> Figure:
    """Draw a figure by its name.

    Parameters
    ----------
    name
        One of `FIGURES`.
    graph
        What is drawn.
    stack
        Name of the image or container, as `LayerGraph.stack` finds it; not needed if there is only one.
    path
        A merged path, for figures about one; others show what is at or below it.
    theme
        Light or dark.

    Raises
    ------
    NameUnknown
        There is no such figure, stack or path, or one is needed and was not given.
    """
    known = FIGURES.get(name)
    if known is None:
        raise NameUnknown(f"there is no figure {name!r}; there are: {', '.join(FIGURES)}")
    if known.needs_path and not path:
        raise NameUnknown(f"the figure {name!r} is about one path; name it")
    chosen = graph.stack(stack) if known.needs_stack else LayerStack("", ())
    return known.draws(graph, chosen, path, theme)


def _below(stack: LayerStack) -> LayerStack:
    """Return the stack without its RW layer."""
    return LayerStack(stack.name, tuple(layer for layer in stack.layers if layer.role is not Role.RW))


def _icicle(graph: LayerGraph, stack: LayerStack, path: str, theme: Theme) -> Figure:
    """Draw the layer of a stack with the most bytes."""
    if not stack.layers:
        raise NameUnknown(f"{stack.name or 'the stack'} has no layer to draw")
    return icicle(views.icicle(max(stack.layers, key=lambda layer: layer.bytes)), theme=theme)


def _savings(graph: LayerGraph, stack: LayerStack, path: str, theme: Theme) -> Figure:
    """Draw what up to a hundred containers like this one would take."""
    rw = sum(layer.bytes for layer in stack.layers if layer.role is Role.RW)
    image = views.virtual_bytes(_below(stack))
    return savings_curve(views.savings_curve(stack.name, image, [rw] * 100), theme=theme)


def _changes(graph: LayerGraph, stack: LayerStack, path: str, theme: Theme) -> Figure:
    data = views.change_tree(_below(stack), stack, names=("its read-only layers", stack.name))
    return change_tree(data, theme=theme)


#: By name, in the order in which a lesson would show them.
FIGURES: Mapping[str, Known] = MappingProxyType(
    {
        "cross-section": Known(
            "the stack cut open: which layer serves each path",
            lambda g, s, path, theme: cross_section(views.cross_section(s, under=path or "/"), theme=theme),
        ),
        "lookup": Known(
            "how one path is looked up, layer by layer",
            lambda g, s, path, theme: lookup_walk(views.lookup_walk(s, path), theme=theme),
            needs_path=True,
        ),
        "images": Known(
            "images and containers over the layers that they share",
            lambda g, s, path, theme: image_dag(views.image_dag(g), theme=theme),
            needs_stack=False,
        ),
        "icicle": Known("what fills the largest layer of a stack", _icicle),
        "timeline": Known(
            "operations in one lane a layer",
            lambda g, s, path, theme: timeline(views.timeline(s), theme=theme),
        ),
        "copy-up": Known(
            "one copy-up in four frames: of the path, or the largest",
            lambda g, s, path, theme: copy_up(views.copy_up(s, path or None), theme=theme),
        ),
        "sharing": Known(
            "virtual sizes against bytes on disk",
            lambda g, s, path, theme: sharing(views.sharing(g), theme=theme),
            needs_stack=False,
        ),
        "waterfall": Known(
            "from the sum of virtual sizes down to bytes on disk",
            lambda g, s, path, theme: waterfall(views.waterfall(g), theme=theme),
            needs_stack=False,
        ),
        "savings": Known("what up to a hundred containers like this one take", _savings),
        "latency": Known(
            "how long first writes take, by size",
            lambda g, s, path, theme: latency(views.latency(s), theme=theme),
        ),
        "changes": Known("what was added, modified and deleted", _changes),
        "heat": Known(
            "where reads and writes went",
            lambda g, s, path, theme: heat(views.heat(s), theme=theme),
        ),
    }
)
