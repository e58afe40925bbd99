"""The page to look around in layers: what each layer is told to have done, and what a browser shows of it."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given

from sim import graph
from sim.figures import explorer
from sim.graph import Entry, EntryType, LayerStack, difference, directories_graph, merged
from sim.graph.views import layer_changes
from tests.sim.explore.conftest import dirs as dirs
from tests.sim.figures.browser import shown
from tests.sim.figures.scenes import layer, random_scene, small_scene
from tests.sim.figures.test_layout import odd_scene
from tests.sim.graph.test_measures import stacks

CLICK = """
const rows = () => [...document.querySelectorAll("#tree div")];
const press = (name) => rows().find((row) => row.textContent.includes(name)).click();
"""


def rows(page: str) -> list[tuple[str, str]]:
    """Return the mark and the name of each row of the tree."""
    tree = page.split('id="tree"')[1].split('class="key"')[0]
    found = re.findall(r'<span class="mark">(.)</span>.*?<span class="name">(.*?)</span>', tree)
    return [(mark.strip(), name) for mark, name in found]


@given(stacks)
def test_the_changes_of_a_layer_are_the_difference_that_it_makes(stack: LayerStack) -> None:
    for position, changes in enumerate(layer_changes(stack)):
        view = {path: entry for path, (_, entry) in merged(stack.layers[position:]).items()}
        below = {path: entry for path, (_, entry) in merged(stack.layers[position + 1 :]).items()}
        wanted = {one.path: one.what for one in difference(below, view) if one.path != "/"}
        told = {one.path: one.what for one in changes}
        for what in "AD":
            assert {p for p, w in told.items() if w == what} == {p for p, w in wanted.items() if w == what}
        assert {p for p, w in wanted.items() if w == "M"} <= {p for p, w in told.items() if w == "M"}
        assert all(path in below for path, what in told.items() if what in ("M", "D", ""))


def test_a_renamed_directory_takes_its_files_along() -> None:
    base = layer("base", [Entry("/old/file", EntryType.FILE, 5)])
    top = layer("top", [Entry("/old", EntryType.WHITEOUT), Entry("/new", EntryType.DIRECTORY, redirect="/old")])
    assert [(one.what, one.path) for one in layer_changes(LayerStack("s", (top, base)))[0]] == [
        ("A", "/new"),
        ("A", "/new/file"),
        ("D", "/old"),
        ("D", "/old/file"),
    ]


def test_what_does_not_fit_is_counted() -> None:
    stack = random_scene(10, 200, 100).stack
    whole = graph.exploration(stack)
    part = graph.exploration(stack, max_paths=50)
    paths = [{one.path for layer in found.layers for one in layer.changes} for found in (whole, part)]
    assert len(paths[1]) <= 50
    assert part.left_out == len(paths[0] - paths[1])
    assert f"{part.left_out} paths left out" in explorer(part)
    # What upper layers changed is rather shown than what lies at the bottom.
    assert {one.path for one in part.layers[0].changes if one.what} == {
        one.path for one in whole.layers[0].changes if one.what
    } or len(part.layers[0].changes) > 30


def test_nothing_is_loaded_from_anywhere() -> None:
    page = explorer(graph.exploration(small_scene().stack))
    assert not re.search(r"https?:|\bsrc=|@import|url\(|<link", page)


def test_nothing_at_all_is_a_page_too(tmp_path: Path) -> None:
    assert "0 layers to look into" in shown(tmp_path, explorer(graph.exploration(LayerStack("", ()))))


def test_a_browser_shows_the_layer_and_the_path_that_are_asked_for(dirs: list[Path], tmp_path: Path) -> None:
    page = explorer(graph.exploration(directories_graph(dirs, name="web").stack()))
    text = shown(tmp_path, page, "1:/usr/share/doc/readme")
    found = rows(text)
    assert ("D", "readme") in found
    assert ("A", "new") in found
    assert ("M", "doc/ ⊖") in found
    assert ("", "bin/") in found
    assert "layer 3 (base): added, 300 bytes" in text
    assert "layer 1 (clean): hidden (/usr/share/doc)" in text
    assert "<td>/var/cache/index</td><td>3</td><td>2</td><td>deleted</td>" in text
    text = shown(tmp_path, page, "2:/etc/hosts")
    assert ("M", "hosts") in rows(text)
    assert ("", "passwd") in rows(text)


def test_a_browser_reacts_to_its_user(dirs: list[Path], tmp_path: Path) -> None:
    page = explorer(graph.exploration(directories_graph(dirs, name="web").stack()))
    own = CLICK + "document.getElementById('own').click(); press('srv');"
    assert rows(shown(tmp_path, page, "1", own)) == [("·", "srv/"), ("D", "id_rsa"), ("·", "usr/")]
    below = CLICK + "document.querySelectorAll('#layers button')[1].click(); press('srv'); press('id_rsa');"
    text = shown(tmp_path, page, "1", below)
    assert ("A", "id_rsa") in rows(text)
    assert "History of /srv/id_rsa" in text
    search = "const s = document.getElementById('search'); s.value = 'PASS'; s.oninput();"
    assert rows(shown(tmp_path, page, "1", search)) == [("", "etc/"), ("", "passwd")]


def test_odd_names_do_not_break_out(tmp_path: Path) -> None:
    page = explorer(graph.exploration(odd_scene().stack))
    page.encode()
    assert page.count("</script>") == 2
    text = shown(tmp_path, page, "RW")
    assert "new\\x0aline\\x09tab\\xff\\x1b" in text
    assert "x" * 1000 in text
