"""Every figure by its name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sim.figures import FIGURES, draw
from sim.graph import LayerGraph, LayerStack, NameUnknown
from tests.sim.figures.scenes import small_scene
from tests.sim.figures.test_layout import check


@pytest.mark.parametrize("name", FIGURES)
def test_each_figure_is_drawn_by_its_name(name: str) -> None:
    check(draw(name, small_scene().graph, "web", path="/etc/passwd"))


def test_what_is_missing_is_said() -> None:
    graph = small_scene().graph
    with pytest.raises(NameUnknown, match="there is no figure 'pie'; there are: cross-section, lookup,"):
        draw("pie", graph, "web")
    with pytest.raises(NameUnknown, match="is about one path"):
        draw("lookup", graph, "web")
    with pytest.raises(NameUnknown, match="name one of them"):
        draw("timeline", small_scene_of_two())


def small_scene_of_two() -> LayerGraph:

    graph = LayerGraph()
    for name in ("one", "two"):
        graph.add_stack(LayerStack(name, ()))
    return graph


def test_matplotlib_and_networkx_are_imported_only_when_used() -> None:
    heavy = ("matplotlib", "networkx", "numpy", "pygraphviz")
    code = f"import sim, sim.graph, sim.figures, sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
