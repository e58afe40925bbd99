"""`layers`, `why`, `compare`, `graph`, `watch` and `mount` of a store, without a daemon; and the shell's completion."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sim.cli.main import run
from sim.images import Store, directory, file, image_from_layers, image_on, opaque, whiteout
from tests.sim.cli.fake import FakeEngine, fake_engine


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAYERLAB_ROOT", str(tmp_path / "root"))
    (tmp_path / "root").mkdir()
    with Store(tmp_path / "root/images") as store:
        content = [
            file("/etc/motd", "hello"),
            file("/etc/passwd", "root"),
            directory("/srv"),
            file("/srv/a", "x" * 100),
        ]
        base = image_from_layers(store, [store.add_entries(content)], tags=["base"])
        one = image_on(
            store, base, [file("/one", "1"), whiteout("/etc/motd"), file("/etc/passwd", "rooot")], tags=["one"]
        )
        image_on(store, one, [file("/etc/motd", "back"), opaque("/srv"), file("/srv/b", "y")], tags=["two"])
    return tmp_path / "root"


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(list(words)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def test_layers(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(said(capsys, "layers", "two", "--json"))
    wanted = {
        "number": [1, 2, 3],
        "bytes": [5, 6, 109],
        "shadows": [2, 1, 0],
        "whiteouts": [0, 1, 0],
        "opaque": [1, 0, 0],
        "wasted": [0, 0, 109],
    }
    assert {key: [layer[key] for layer in found] for key in wanted} == wanted
    table = said(capsys, "layers", "two", "--waste", "1")
    assert table.splitlines()[0].split()[:3] == ["LAYER", "ROLE", "ID"]
    assert "120 B in 3 layers, 109 B of it hidden; 9.2% is seen" in table
    assert table.splitlines()[-1].split() == ["100", "B", "3", "1", "deleted", "/srv/a"]
    assert ["w", "0", "/etc/motd"] in [
        line.split() for line in said(capsys, "layers", "two", "--files", "2").splitlines()
    ]
    assert "109 B in 1 layer, 0 B of it hidden" in said(capsys, "layers", "base")
    assert run(["layers", "two", "--files", "4"]) == 1
    assert "there is no layer 4; they are 1 to 3" in capsys.readouterr().err
    assert run(["layers", "nosuch"]) == 1
    assert "nosuch" in capsys.readouterr().err


def test_why(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, "why", "etc//motd", "two").splitlines()
    assert lines == [
        "/etc/motd in two:latest",
        "  layer 3 (base step 1): added, 5 B",
        "  layer 2 (one step 2): hidden",
        "  layer 1 (two step 3): restored, 4 B",
        "Now: served by layer 1 (two step 3), file",
        "  hidden: the whiteout of layer 2 (one step 2), by layer 1 (two step 3)",
        "  hidden: that of layer 3 (base step 1), by layer 1 (two step 3)",
    ]
    assert "Now: it does not exist for a process" in said(capsys, "why", "/etc/motd", "one")
    found = json.loads(said(capsys, "why", "/etc/motd", "one", "--json"))
    assert (found["served_by"], [event["what"] for event in found["events"]]) == (None, ["added", "hidden"])
    assert run(["why", "/nosuch", "one"]) == 1


def test_layers_are_called_as_in_figures(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "apt-get update && apt-get install --yes build-essential && rm -r /var/lib/apt/lists"
    with Store(root / "images") as store:
        one = image_on(store, store.image("base"), [file("/blob", "x")], created_by=f"/bin/sh -c {long}")
        image_on(store, one, [whiteout("/blob")], created_by="/bin/sh -c rm /blob", tags=["waste"])
    rows = said(capsys, "layers", "waste").splitlines()
    assert rows[1].endswith("  RUN rm /blob")
    assert rows[2].endswith("  RUN apt-get update && a…rm -r /var/lib/apt/lists")
    assert rows[3].endswith("  base step 1")
    names = [layer["name"] for layer in json.loads(said(capsys, "layers", "waste", "--json"))]
    assert names == ["RUN rm /blob", f"RUN {long}", "base step 1"]
    assert said(capsys, "why", "/blob", "waste").splitlines()[1:3] == [
        "  layer 2 (RUN apt-get update && a…rm -r /var/lib/apt/lists): added, 1 B",
        "  layer 1 (RUN rm /blob): hidden",
    ]
    events = json.loads(said(capsys, "why", "/blob", "waste", "--json"))["events"]
    assert [event["name"] for event in events] == [f"RUN {long}", "RUN rm /blob"]


def test_compare(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "compare", "one", "two")
    assert "shared: 2 layers, 115 B" in text
    assert "2 added, 0 changed, 1 deleted" in text
    found = json.loads(said(capsys, "compare", "base", "two", "--json"))
    assert {change["path"]: change["what"] for change in found["changes"]} == {
        "/etc/motd": "M",
        "/etc/passwd": "M",
        "/one": "A",
        "/srv/a": "D",
        "/srv/b": "A",
    }
    assert [len(found["layers"][key]) for key in ("shared", "first", "second")] == [1, 0, 2]


def test_graph(root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = json.loads(said(capsys, "graph"))
    assert sorted(node["kind"] for node in found["nodes"]).count("image") == 3
    assert "file" in {node["kind"] for node in json.loads(said(capsys, "graph", "two", "--files"))["nodes"]}
    assert said(capsys, "graph", "-o", "g.dot").startswith("g.dot: ")
    assert (tmp_path / "g.dot").read_text().startswith("digraph")
    assert "<graphml" in said(capsys, "graph", "--format", "graphml")
    assert json.loads(said(capsys, "graph", "--schema"))["title"] == "layer graph"
    assert run(["graph", "--store", "nosuch"]) == 1


def test_figures_of_the_engine(root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert said(capsys, "figure", "sharing") == "sharing.png\n"
    assert said(capsys, "figure", "cross-section", "two", "-o", "two.svg") == "two.svg\n"
    assert "motd" in (tmp_path / "two.svg").read_text()
    assert run(["figure", "timeline", "two"]) == 1
    assert "there is no such container" in capsys.readouterr().err


def test_mount_words(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, text in (
        (["a", "b", "c"], "'c' is one word too many"),
        (["two", "mnt", "--upto", "9"], "two has 3 layers: --upto is 1 to 3"),
        (["mnt", "--upto", "1"], "name it before MOUNTPOINT"),
        (["two", "mnt", "--lower", "/a"], "named twice"),
    ):
        assert run(["mount", *words]) == 2
        assert text in capsys.readouterr().err


def test_watch_needs_a_container_with_a_journal(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["watch", "nosuch"]) == 1
    assert "there is no such container" in capsys.readouterr().err
    (root / "containers/c").mkdir(parents=True)
    (root / "containers/c/config.json").write_text('{"Id": "c", "Name": "/web", "Image": "x"}')
    assert run(["watch", "web"]) == 1
    assert "its operations are not recorded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("ps --for", ["--format"]),
        ("image l", ["load", "ls"]),
        ("stop cl", ["clia-one", "clia-two"]),
        ("rmi clia", ["clia/busybox:1", "clia/busybox:latest"]),
        ("volume rm c", ["cliavol"]),
        ("network connect br", ["bridge"]),
        ("unp", ["unpause"]),
    ],
)
def test_completion(tmp_path: Path, words: str, wanted: list[str]) -> None:
    with fake_engine(tmp_path) as engine:
        found = completed(engine, words)
    assert [word for word in found if word in wanted] == wanted
    assert all(word.startswith(words.split()[-1]) for word in found)


def completed(engine: FakeEngine, words: str) -> list[str]:
    import os

    done = subprocess.run(
        [sys.executable, "-P", "-m", "sim.cli"],
        env={
            **os.environ,
            "_LAYERLAB_COMPLETE": "bash_complete",
            "COMP_WORDS": f"layerlab {words}",
            "COMP_CWORD": str(len(words.split())),
            "DOCKER_HOST": engine.url,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "_LAYERLAB_COMPLETE" in said(capsys, "completion", shell)
    assert run(["completion", "nosuch"]) == 2
