"""The graph of a journal: its nodes and edges, at any moment, and as it is followed."""

from __future__ import annotations

import contextlib
import json
import tempfile
import threading
import time
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import networkx
import pytest
from hypothesis import HealthCheck, example, given, settings

from fusefs import JournalLayer, Recorder, UnionFS
from sim.graph import (
    EDGE_ATTRIBUTES,
    NODE_ATTRIBUTES,
    SCHEMA,
    LayerGraph,
    NameUnknown,
    SourceError,
    add_directories,
    advance,
    directories_graph,
    follow,
    history,
    journal_graph,
    to_dot,
    to_graphml,
    to_json,
)
from tests.sim.graph.conftest import APP, BASE, operations
from tests.sim.graph.test_replay import CHANGES, stack, steps


def edges(graph: LayerGraph, kind: str) -> set[tuple[str, str]]:
    """Return the edges of a kind as (layer name:path or name) pairs."""

    def name(node: str) -> str:
        attributes = graph.nx.nodes[node]
        if attributes["kind"] != "file":
            return str(attributes["name"])
        layer = graph.nx.nodes[attributes["layer"]]["name"]
        return f"{ {APP: 'app', BASE: 'base'}.get(layer, layer) }:{attributes['path']}"

    return {(name(source), name(target)) for source, target, key in graph.nx.edges(keys=True) if key == kind}


def test_the_journal_becomes_nodes_and_edges(journal: Path) -> None:
    graph = journal_graph(journal, name="web")
    assert edges(graph, "writes to") == {("web", "web")}
    assert edges(graph, "parent") == {("web", APP), (APP, BASE)}
    assert ("web:/etc/passwd", "base:/etc/passwd") in edges(graph, "copied up")
    assert ("web:/app/start.py", "app:/app/main.py") in edges(graph, "copied up")
    assert ("web:/app/start.py", "web:/app/main.py") in edges(graph, "renamed")
    assert ("web:/bin/ash", "base:/bin/ash") in edges(graph, "whiteout")
    assert ("web:/usr/share/doc", "base:/usr/share/doc") in edges(graph, "opaque")
    assert edges(graph, "created") == {("web", "web:/usr/share/doc"), ("web", "web:/usr/share/doc/new")}
    assert edges(graph, "read") == {("web", "app:/etc"), ("web", "app:/etc/hosts"), ("web", "base:/bin/sh")}
    assert ("app:/etc/hosts", "base:/etc/hosts") in edges(graph, "shadows")
    container = graph.nx.nodes["container:web"]
    assert (container["operations"], container["failed"], container["copied"]) == (20, 1, 170)


def test_files_that_nobody_touched_are_not_in_the_graph_until_they_are_asked_for(journal: Path) -> None:
    graph = journal_graph(journal, name="web")
    assert not any(attributes["path"] == "/var/cache/index" for _, attributes in graph.files())
    graph.add_paths(graph.stack(), ["/var/cache/index"])
    assert ("app:/var/cache/index", "base:/var/cache/index") in edges(graph, "whiteout")


def test_every_attribute_is_documented_and_no_other_is_there(journal: Path) -> None:
    graph = journal_graph(journal, name="web")
    graph.add_files(graph.stack())
    for _, attributes in graph.nx.nodes(data=True):
        assert attributes.keys() == {"kind", "label", *NODE_ATTRIBUTES[attributes["kind"]]}
    for *_, key, attributes in graph.nx.edges(keys=True, data=True):
        assert attributes.keys() == {"kind", *EDGE_ATTRIBUTES[key]}
    jsonschema.Draft202012Validator(dict(SCHEMA)).validate(json.loads(to_json(graph)))


def test_graphml_and_dot_are_read_by_others(journal: Path) -> None:
    graph = journal_graph(journal, name="w\u00e9b\udcff\n")
    again = networkx.parse_graphml(to_graphml(graph))
    assert again.number_of_nodes() == graph.nx.number_of_nodes()
    assert again.number_of_edges() == graph.nx.number_of_edges()
    assert again.nodes["container:w\u00e9b\\xff\\x0a"]["copied"] == 170
    pygraphviz = pytest.importorskip("pygraphviz")
    assert len(pygraphviz.AGraph(string=to_dot(graph)).nodes()) == graph.nx.number_of_nodes()


@pytest.mark.parametrize("number", [0, 1, 6, 7, 12, 15, 19, 20])
def test_a_moment_of_the_past_shows_what_was_done_until_then(journal: Path, number: int) -> None:
    graph = journal_graph(journal, name="web", at=number)
    assert graph.nx.nodes["container:web"]["operations"] == number
    rw = graph.stack().layers[0]
    assert ("/etc/passwd" in rw.entries) is (number >= 6)
    if number >= 6:
        assert rw.entries["/etc/passwd"].size == (110 if number == 6 else 132)
    assert ("/tmp.log" in rw.entries) is (number == 19)
    assert ("/app/start.py" in rw.entries) is (number >= 15)


def test_what_the_rw_layer_holds_is_found_again_on_disk(tmp_path: Path) -> None:
    lower, upper, work = stack(tmp_path)
    layers = [JournalLayer(0, "rw", "web", upper)]
    layers += [JournalLayer(number, "ro", path.name, path) for number, path in enumerate(lower, 1)]
    with Recorder(tmp_path / "j", layers) as record, UnionFS(lower, upper, work, record=record) as fs:
        fs.append_bytes("/a", b"more")
        fs.unlink("/d/b")
    now = journal_graph(tmp_path / "j")
    then = journal_graph(tmp_path / "j", at=len(record_numbers(tmp_path / "j")))
    for graph in (now, then):
        assert graph.stack().layers[0].bytes == 10
        assert graph.nx.nodes[f"layer:{graph.stack().layers[0].key}"]["bytes"] == 10


def record_numbers(path: Path) -> list[int]:
    from fusefs import Journal

    with Journal(path) as journal:
        return [operation.number for operation in journal.operations()]


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=steps)
@example(steps=[("rename", "/d/a", "/a", 0), ("rename", "/d/e/a", "/d/a", 0), ("append", "/d/e/a", "/a", 0)])
def test_a_graph_that_is_followed_is_the_graph_made_anew(steps: list[tuple[str, str, str, int]]) -> None:
    from fusefs import Journal

    with tempfile.TemporaryDirectory() as home:
        lower, upper, work = stack(Path(home))
        layers = [JournalLayer(0, "rw", "web", Path(home) / "elsewhere")]
        layers += [JournalLayer(number, "ro", path.name, path) for number, path in enumerate(lower, 1)]
        path = Path(home) / "j"
        with Recorder(path, layers) as record, UnionFS(lower, upper, work, record=record) as fs:
            for what, first, second, number in steps:
                with contextlib.suppress(OSError):
                    CHANGES[what](fs, first, second, number)
        followed = journal_graph(path, at=0)
        with Journal(path) as journal:
            for operation in journal.operations():
                advance(followed, followed.stack(), operation)
        anew = journal_graph(path)
        for node, attributes in anew.nx.nodes(data=True):
            assert followed.nx.nodes[node] == attributes
        inside = set(anew.nx.nodes)
        wanted = {(u, v, k): d for u, v, k, d in anew.nx.edges(keys=True, data=True)}
        found = {(u, v, k): d for u, v, k, d in followed.nx.edges(keys=True, data=True) if {u, v} <= inside}
        assert found == wanted


def test_operations_are_followed_while_they_are_recorded(tmp_path: Path, base: Path) -> None:
    path = tmp_path / "j"
    layers = [JournalLayer(0, "rw", "web", tmp_path / "gone"), JournalLayer(2, "ro", "base", base)]
    with Recorder(path, layers, flush_interval=0.02) as record:

        def work() -> None:
            for operation in operations()[:8]:
                record(operation)
                time.sleep(0.005)
            record.close()

        thread = threading.Thread(target=work)
        thread.start()
        seen = [
            (op.number, graph.nx.nodes["container:web"]["operations"])
            for op, graph in follow(path, name="web", poll=0.01)
        ]
        thread.join()
    assert seen == [(number, number) for number in range(1, 9)]


def test_a_name_that_is_absent_or_means_two_things_is_said(base: Path, app: Path) -> None:
    graph = directories_graph([app, base], name="one")
    add_directories(graph, [base], name="two")
    assert graph.stack("two").layers[0] is graph.stack("one").layers[1]
    with pytest.raises(NameUnknown, match="name one of them: one, two"):
        graph.stack()
    with pytest.raises(NameUnknown, match="'three' is no image or container"):
        graph.stack("three")
    with pytest.raises(NameUnknown, match="no operation touched"):
        history(graph.stack("one"), "/nothing")


def test_a_source_that_cannot_be_read_is_said_in_one_line(tmp_path: Path, journal: Path) -> None:
    with pytest.raises(SourceError, match="no such journal"):
        journal_graph(tmp_path / "absent")
    torn = tmp_path / "torn"
    torn.write_bytes(journal.read_bytes()[:3000])
    with pytest.raises(SourceError, match="cannot be read as a journal"):
        journal_graph(torn)
    with pytest.raises(SourceError, match="no operation 21; it has 20"):
        journal_graph(journal, at=21)
    with pytest.raises(SourceError, match="no such layer directory"):
        directories_graph([tmp_path / "absent"])


def test_a_journal_whose_layers_are_gone_still_tells_what_happened(tmp_path: Path) -> None:
    layers = [JournalLayer(n, "ro" if n else "rw", f"layer {n}", tmp_path / f"gone{n}") for n in range(3)]
    with Recorder(tmp_path / "j", layers) as record:
        for operation in operations():
            record(operation)
    graph = journal_graph(tmp_path / "j", name="web")
    assert graph.stack().layers[0].entries["/etc/passwd"].size == 132
    assert graph.nx.nodes["container:web"]["copied"] == 170
