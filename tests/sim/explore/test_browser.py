"""The rows of the tree: what a layer did to each path, in both views, and that only open directories cost."""

from __future__ import annotations

import time
from pathlib import Path

from hypothesis import given

from sim.explore import Browser, Row
from sim.graph import (
    Entry,
    EntryType,
    Layer,
    LayerStack,
    Role,
    difference,
    directories_graph,
    merged,
)
from sim.graph.entry import parent_of
from tests.sim.explore.conftest import ODD
from tests.sim.graph.test_measures import stacks


def rows(browser: Browser) -> dict[str, str]:
    browser.open_all()
    return {row.path: row.mark or ("·" if row.inside else "") for row in browser.rows()}


def of(dirs: list[Path]) -> Browser:
    return Browser(directories_graph(dirs).stack())


def test_what_the_topmost_layer_did(dirs: list[Path]) -> None:
    assert rows(of(dirs)) == {
        "/bin": "",
        "/bin/sh": "",
        "/etc": "",
        "/etc/hosts": "",
        "/etc/passwd": "",
        "/srv": "·",
        "/srv/app.py": "",
        "/srv/id_rsa": "D",
        f"/srv/{ODD}": "",
        "/usr": "·",
        "/usr/share": "·",
        "/usr/share/doc": "M",
        "/usr/share/doc/new": "A",
        "/usr/share/doc/readme": "D",
        "/var": "",
        "/var/cache": "",
    }


def test_what_a_layer_below_did_is_against_what_is_below_it(dirs: list[Path]) -> None:
    browser = of(dirs)
    browser.choose(1)
    found = rows(browser)
    assert {path: mark for path, mark in found.items() if mark} == {
        "/etc": "·",
        "/etc/hosts": "M",
        "/srv": "A",
        "/srv/app.py": "A",
        "/srv/id_rsa": "A",
        f"/srv/{ODD}": "A",
        "/var": "·",
        "/var/cache": "·",
        "/var/cache/index": "D",
    }
    assert "/usr/share/doc/readme" in found
    browser.choose(2)
    assert set(rows(browser).values()) == {"A"}


def test_a_layers_own_entries(dirs: list[Path]) -> None:
    browser = of(dirs)
    browser.switch(own=True)
    assert set(rows(browser)) == {
        "/srv",
        "/srv/id_rsa",
        "/usr",
        "/usr/share",
        "/usr/share/doc",
        "/usr/share/doc/new",
    }
    assert browser.row("/srv/id_rsa") == Row("/srv/id_rsa", 1, browser.stack.layers[0].entries["/srv/id_rsa"], 0, "D")


def test_only_what_changed(dirs: list[Path]) -> None:
    browser = of(dirs)
    browser.switch(only_changes=True)
    assert set(rows(browser)) == {
        "/srv",
        "/srv/id_rsa",
        "/usr",
        "/usr/share",
        "/usr/share/doc",
        "/usr/share/doc/new",
        "/usr/share/doc/readme",
    }


def test_a_closed_directory_hides_its_rows(dirs: list[Path]) -> None:
    browser = of(dirs)
    assert [row.path for row in browser.rows()] == ["/bin", "/etc", "/srv", "/usr", "/var"]
    browser.toggle("/etc")
    assert [row.path for row in browser.rows()][:4] == ["/bin", "/etc", "/etc/hosts", "/etc/passwd"]
    browser.reveal("/usr/share/doc/new")
    assert "/usr/share/doc/new" in [row.path for row in browser.rows()]
    browser.close_all()
    assert len(browser.rows()) == 5


def test_a_search_finds_names_that_the_view_has(dirs: list[Path]) -> None:
    browser = of(dirs)
    assert browser.search("S") == ["/bin/sh", "/etc/hosts", "/etc/passwd", "/srv", "/srv/id_rsa", "/usr", "/usr/share"]
    assert browser.search("index") == []
    browser.choose(1)
    assert browser.search("index") == ["/var/cache/index"]
    browser.switch(own=True)
    assert browser.search("passwd") == []


def test_nothing_is_shown_as_nothing() -> None:
    browser = Browser(LayerStack("", ()))
    assert (browser.rows(), browser.search("a"), browser.row("/")) == ([], [], None)


def _hidden_by_a_file(path: str, view: dict[str, Entry]) -> bool:
    """Whether a path went because something above it is no directory any more: there is nowhere to show it."""
    while path != "/":
        path = parent_of(path)
        if path in view and not view[path].is_dir:
            return True
    return False


@given(stacks)
def test_the_marks_are_the_difference_between_two_merged_views(stack: LayerStack) -> None:
    for position in range(len(stack.layers)):
        browser = Browser(stack)
        browser.choose(position)
        browser.open_all()
        view = {path: entry for path, (_, entry) in merged(stack.layers[position:]).items()}
        below = {path: entry for path, (_, entry) in merged(stack.layers[position + 1 :]).items()}
        shown = {row.path: row for row in browser.rows()}
        changes = {change.path: change.what for change in difference(below, view) if change.path != "/"}
        for what in "AD":
            marked = {path for path, row in shown.items() if row.mark == what}
            wanted = {path for path, letter in changes.items() if letter == what}
            assert marked == {path for path in wanted if not _hidden_by_a_file(path, view)}
        assert {path for path, row in shown.items() if row.mark != "D"} == view.keys() - {"/"}
        modified = {path for path, letter in changes.items() if letter == "M"}
        assert modified <= {path for path, row in shown.items() if row.mark == "M"}
        for path, row in shown.items():
            if row.mark == "M":
                assert path in below
                assert row.position == position


def test_a_hundred_thousand_files_are_opened_only_where_they_are_looked_at() -> None:
    table = {"/": Entry("/", EntryType.DIRECTORY)}
    for number in range(100_000):
        directory = f"/d{number % 1000}"
        table.setdefault(directory, Entry(directory, EntryType.DIRECTORY))
        table[f"{directory}/f{number}"] = Entry(f"{directory}/f{number}", EntryType.FILE, 1)
    base = Layer("base", "base", Role.RO, lambda: table)
    top = Layer("top", "top", Role.RO, lambda: {"/": table["/"], "/d1": table["/d1"], "/d1/new": table["/d1/f1"]})
    browser = Browser(LayerStack("big", (top, base)))
    looked = 0

    class Counting(dict[str, Entry]):
        def get(self, key: str, default: object = None) -> Entry | None:  # type: ignore[override]
            nonlocal looked
            looked += 1
            return super().get(key)

    big = Counting(table)
    browser.stack = LayerStack("big", (top, Layer("base", "base", Role.RO, lambda: big)))
    browser.toggle("/d1")
    start = time.process_time()
    assert len(browser.rows()) == 1000 + 100 + 1
    assert time.process_time() - start < 5
    assert looked < 10_000
