"""Data of two figures about savings: from virtual sizes down to bytes on disk, and by the number of containers.

Decided here: the steps of the waterfall (each shared layer saves its bytes once for each user but the first) and which
are put together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sim.graph.graph import LayerGraph
from sim.graph.measures import Saving, savings
from sim.graph.stack import layer_title, short_name

__all__ = ["SavingsCurve", "Step", "Waterfall", "savings_curve", "waterfall"]


@dataclass(frozen=True, slots=True)
class Step:
    """What one shared layer saves.

    Attributes
    ----------
    name
        Of the layer, or how many layers there are in the step.
    bytes
        Bytes saved.
    used
        Number of images and containers that have the layer; 0 for several layers.
    """

    name: str
    bytes: int
    used: int


@dataclass(frozen=True, slots=True)
class Waterfall:
    """From the sum of virtual sizes to bytes on disk. `virtual = disk + the bytes of all steps`."""

    virtual: int
    disk: int
    steps: tuple[Step, ...]
    images: int
    containers: int


@dataclass(frozen=True, slots=True)
class SavingsCurve:
    """Bytes against the number of containers of one image.

    Attributes
    ----------
    name
        Of the image.
    image
        Bytes of its layers.
    points
        One for each number of containers, from 1.
    """

    name: str
    image: int
    points: tuple[Saving, ...]


def waterfall(graph: LayerGraph, *, max_steps: int = 8) -> Waterfall:
    """Say what each shared layer saves, those that save the most first."""
    used: dict[str, int] = {}
    for stack in graph.all_stacks():
        for key in {layer.key for layer in stack.layers}:
            used[key] = used.get(key, 0) + 1
    virtual = sum(graph.layers[key].bytes * count for key, count in used.items())
    disk = sum(graph.layers[key].bytes for key in used)
    shared = [key for key, count in used.items() if count > 1 and graph.layers[key].bytes]
    shared.sort(key=lambda key: (-graph.layers[key].bytes * (used[key] - 1), key))
    steps = [
        Step(short_name(layer_title(graph.layers[key])), graph.layers[key].bytes * (used[key] - 1), used[key])
        for key in shared
    ]
    if len(steps) > max_steps:
        rest = steps[max_steps - 1 :]
        steps[max_steps - 1 :] = [Step(f"{len(rest)} more layers", sum(step.bytes for step in rest), 0)]
    return Waterfall(virtual, disk, tuple(steps), len(graph.images), len(graph.stacks))


def savings_curve(name: str, image: int, rw: Sequence[int]) -> SavingsCurve:
    """Reckon what 1, 2, … containers of an image take; parameters as in `sim.graph.measures.savings`."""
    return SavingsCurve(name, image, savings(image, rw))
