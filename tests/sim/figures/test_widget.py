"""The stepper of a notebook: moved by hand, and shown where there are no widgets."""

from __future__ import annotations

import base64
from typing import Any

import ipywidgets
import nbclient
import nbformat
import pytest

from sim import graph
from sim.figures import DARK, step_widget
from tests.sim.figures.scenes import small_scene
from tests.sim.figures.test_layout import odd_scene

PNG = b"\x89PNG\r\n\x1a\n"


def parts(widget: Any) -> tuple[Any, Any, list[Any]]:
    """Return the slider, the choice of paths, and the texts: what is done, section, tree, history."""
    found: list[Any] = []
    waiting = [widget]
    while waiting:
        one = waiting.pop(0)
        found.append(one)
        waiting.extend(getattr(one, "children", ()))
    slider = next(one for one in found if isinstance(one, ipywidgets.IntSlider))
    choice = next(one for one in found if isinstance(one, ipywidgets.Select))
    texts = [one for one in found if isinstance(one, ipywidgets.HTML)]
    return slider, choice, [texts[0], texts[1], texts[2], texts[3]]


def test_the_slider_changes_the_stack_and_the_tree() -> None:
    data = graph.steps(small_scene().stack)
    slider, _, texts = parts(step_widget(data))
    assert slider.value == len(data.steps) - 1
    last = [text.value for text in texts]
    slider.value = 0
    first = [text.value for text in texts]
    assert "the beginning" in first[0]
    assert all(one != other for one, other in zip(first[:3], last[:3], strict=True))
    assert first[1].count("✕") == 2  # the whiteout of the app layer, and the word in the key
    assert "⊖</td>" in last[1]
    slider.value = 1
    assert "4: open /etc/passwd" in texts[0].value


def test_a_click_on_a_path_shows_its_history_until_then() -> None:
    slider, choice, texts = parts(step_widget(graph.steps(small_scene().stack), theme=DARK))
    choice.value = "/etc/passwd"
    everything = "".join(text.value for text in texts)
    assert "operation 5: written" in everything
    slider.value = 1
    everything = "".join(text.value for text in texts)
    assert "operation 4: copied up" in everything
    assert "operation 5: written" not in everything


def test_odd_names_are_text_and_not_markup() -> None:
    scene = odd_scene()
    _, choice, texts = parts(step_widget(graph.steps(scene.stack)))
    choice.value = scene.paths[3]
    for text in texts:
        assert "\x1b" not in text.value
        assert "\udcff" not in text.value


def test_where_there_are_no_widgets_there_is_a_figure() -> None:
    bundle = step_widget(graph.steps(small_scene().stack))._repr_mimebundle_()
    assert bundle["image/png"].startswith(PNG)


@pytest.mark.filterwarnings("default")
def test_a_kernel_offers_both() -> None:
    notebook = nbformat.v4.new_notebook()  # type: ignore[no-untyped-call]
    code = (
        "from sim import figures, graph\n"
        "with graph.Lab(mounted=False) as lab:\n"
        "    lab.layer('base', {'/a': 'a'})\n"
        "    box = lab.start()\n"
        "    box.append('/a', 'b')\n"
        "    widget = figures.step_widget(graph.steps(box.stack()))\n"
        "widget"
    )
    notebook.cells = [nbformat.v4.new_code_cell(code)]  # type: ignore[no-untyped-call]
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    (output,) = notebook.cells[0].outputs
    assert "application/vnd.jupyter.widget-view+json" in output.data
    assert base64.b64decode(output.data["image/png"]).startswith(PNG)
