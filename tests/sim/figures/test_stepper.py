"""The page to step through operations: what is in it, and what a browser shows of it."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from sim import graph
from sim.figures import stepper
from sim.graph import LayerStack, NameUnknown
from tests.sim.figures.browser import shown
from tests.sim.figures.scenes import random_scene, small_scene
from tests.sim.figures.test_layout import odd_scene


def data_of(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    data = json.loads(found[1])
    assert isinstance(data, dict)
    return data


def test_the_last_step_is_the_stack_as_it_is() -> None:
    stack = small_scene().stack
    last = graph.steps(stack).steps[-1].section
    now = graph.cross_section(stack, last.paths)
    assert last.served == now.served
    assert [row.boxes for row in last.rows] == [row.boxes for row in now.rows]


def test_the_first_step_has_an_empty_rw_layer() -> None:
    first = graph.steps(small_scene().stack).steps[0].section
    assert not any(first.rows[0].boxes)
    assert all(first.rows[row].rw is False for row in first.served if row is not None)


def test_nothing_is_loaded_from_anywhere() -> None:
    page = stepper(graph.steps(small_scene().stack))
    assert not re.search(r"https?:|\bsrc=|@import|url\(|<link", page)


def test_odd_names_do_not_break_out_of_the_data() -> None:
    scene = odd_scene()
    page = stepper(graph.steps(scene.stack))
    page.encode()
    assert page.count("</script>") == 2
    assert r"/new\x5cn" not in page
    assert len(data_of(page)["paths"]) == 6  # type: ignore[arg-type]


def test_a_name_that_looks_like_a_place_for_data_is_a_name() -> None:
    stack = small_scene().stack
    page = stepper(graph.steps(LayerStack("@DATA@", stack.layers, stack.replay, stack.operations)))
    assert "<h1>@DATA@: 7 changes, step by step</h1>" in page


def test_a_long_journal_is_cut_and_says_so() -> None:
    found = graph.steps(random_scene(3, 20, 300).stack, max_steps=10)
    assert len(found.steps) == 11
    assert found.left_out > 0
    assert f"{found.left_out} later changes not shown" in stepper(found)


def test_a_stack_without_a_journal_cannot_be_stepped_through() -> None:
    with pytest.raises(NameUnknown, match="has no journal to go through"):
        graph.steps(LayerStack("image", ()))


def test_a_browser_shows_the_step_that_is_asked_for(tmp_path: Path) -> None:
    page = stepper(graph.steps(small_scene().stack))
    text = shown(tmp_path, page, "1:/etc/passwd")
    assert "4: open /etc/passwd" in text
    assert "operation 4: copied up, 900 bytes" in text
    assert "operation 5: written" not in text
    assert html.unescape(text).count("✕") == 2  # the whiteout of the app layer, and the word in the key
    text = shown(tmp_path, page, "99:/etc/passwd")
    assert "operation 5: written" in text
    assert "⊖" in html.unescape(text).split('<div class="key">')[0]
