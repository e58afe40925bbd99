"""What a word means: files, directories, containers and images; and what is said when it means nothing, or several."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs import JournalLayer, Recorder, UnionFS
from sim.explore import Target, open_target
from sim.graph import GraphError, engine_graph
from sim.images import Store, file, image_from_layers, image_on, whiteout
from sim.images.archive import save


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with two images and three containers, one of which records nothing."""
    root = tmp_path / "data"
    with Store(root / "images") as store:
        base = image_from_layers(
            store, [store.add_entries([file("/etc/motd", "hi"), file("/a", "a")])], tags=["base:1"]
        )
        web = image_on(store, base, [whiteout("/a")], tags=["web:latest"])
        for number, name in enumerate(("one", "two", "plain"), 1):
            place = root / "containers" / (str(number) * 64)
            for part in ("upper", "work"):
                (place / part).mkdir(parents=True)
            config = {"Id": str(number) * 64, "Name": f"/{name}", "Image": web.id}
            (place / "config.json").write_text(json.dumps(config))
            if name == "plain":
                (place / "upper/new").write_text("n")
                (root / "init" / web.id.removeprefix("sha256:") / "proc").mkdir(parents=True)
                continue
            lower = store.layer_directories(web)
            layers = [JournalLayer(0, "rw", name, place / "upper")]
            layers += [JournalLayer(n, "ro", path.name, path) for n, path in enumerate(lower, 1)]
            with (
                Recorder(place / "journal.db", layers) as record,
                UnionFS(lower, place / "upper", place / "work", record=record) as fs,
            ):
                fs.write_bytes("/etc/motd", b"changed")
    (root / "containers" / "half-made").mkdir()
    (root / "containers" / "half-made" / "config.json").write_text("{")
    return root


@pytest.fixture
def archive(root: Path, tmp_path: Path) -> Path:
    path = tmp_path / "images.tar"
    with Store(root / "images") as store, path.open("wb") as stream:
        save(store, ["base:1", "web:latest"], stream.write)
    return path


@pytest.fixture
def opened() -> Iterator[list[Target]]:
    found: list[Target] = []
    yield found
    for target in found:
        target.close()


@pytest.mark.parametrize(
    ("word", "what", "name", "layers"),
    [
        ("one", "container", "one", 3),
        ("2222", "container", "two", 3),
        ("plain", "container", "plain", 4),
        ("web", "image", "web:latest", 2),
        ("base:1", "image", "base:1", 1),
    ],
)
def test_names_of_containers_and_images(
    root: Path, opened: list[Target], word: str, what: str, name: str, layers: int
) -> None:
    target = open_target(word, root=root)
    opened.append(target)
    assert (target.what, target.stack.name, len(target.stack.layers)) == (what, name, layers)
    assert (target.follower is not None) == (name in ("one", "two"))


def test_a_container_shares_the_layers_of_its_image(root: Path) -> None:
    graph = engine_graph(root)
    assert sorted(graph.stacks) == ["one", "plain", "two"]
    for stack in graph.stacks.values():
        assert stack.layers[-2:] == graph.stack("web").layers
        image = next(key for key, image in graph.images.items() if image.name == "web:latest")
        assert graph.nx.has_edge(f"container:{stack.name}", f"image:{image}", "runs")
    assert graph.stack("plain").layers[0].entries["/new"].size == 1
    assert graph.stack("one").layers[0].bytes == len("changed")


def test_directories(tmp_path: Path, opened: list[Target], dirs: list[Path]) -> None:
    target = open_target(":".join(map(str, dirs)))
    assert (target.what, target.stack.name, len(target.stack.layers)) == ("stack", "clean:app:base", 3)
    target = open_target(str(dirs[2]))
    assert len(target.stack.layers) == 1
    target = open_target(str(dirs[2]), upper=dirs[1])
    assert target.stack.first_number == 0
    with pytest.raises(GraphError, match="nowhere: there is no such directory"):
        open_target(f"{dirs[0]}:{tmp_path}/nowhere")


def test_files(root: Path, archive: Path, opened: list[Target]) -> None:
    target = open_target(str(archive), image="web")
    assert target.stack.layers[1].content(target.stack.layers[1].entries["/etc/motd"]) == b"hi"
    with pytest.raises(GraphError, match=r"2 images in it; say which with --image: base:1, web:latest"):
        open_target(str(archive))
    journal = root / "containers" / ("1" * 64) / "journal.db"
    opened.append(open_target(str(journal)))
    assert opened[-1].what == "mount"
    assert open_target(str(root / "images"), image="base:1").stack.name == "base:1"


def test_a_name_is_the_images_where_a_directory_has_it_too(
    root: Path, tmp_path: Path, opened: list[Target], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build's context often has its image's name."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("web", "one", "other"):
        Path(name).mkdir()
        (Path(name) / "file").touch()
    for word, what in (("web", "image"), ("one", "container"), ("./web", "stack"), ("other", "stack")):
        opened.append(open_target(word, root=root))
        assert (word, opened[-1].what) == (word, what)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("none", r"'none' is no file, directory, container or image; known are: one, plain, two, base:1, web:latest"),
        ("", r"'' is no file"),
        ("/nowhere/at/all", "there is no such file or directory"),
        ("./a:/b", "a: there is no such directory"),
    ],
)
def test_what_means_nothing(root: Path, word: str, said: str) -> None:
    with pytest.raises(GraphError, match=said):
        open_target(word, root=root)


def test_what_means_several(root: Path) -> None:
    for number, id in enumerate(("ab" + "0" * 62, "ab" + "1" * 62)):
        place = root / "containers" / id
        place.mkdir()
        (place / "config.json").write_text(json.dumps({"Id": id, "Name": f"/c{number}", "Image": ""}))
    with pytest.raises(GraphError, match="'ab' means 2 containers; give more of the ID: c0"):
        open_target("ab", root=root)
    with pytest.raises(GraphError, match="c1: its image  is gone"):
        open_target("c1", root=root)


def test_no_store_at_all(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match="there is none in"):
        open_target("web", root=tmp_path)
    with pytest.raises(GraphError, match="this is no image store"):
        open_target("web", store=tmp_path)


def test_damaged_files(tmp_path: Path, archive: Path) -> None:
    (tmp_path / "text").write_text("hello")
    with pytest.raises(GraphError, match="no tar of images"):
        open_target(str(tmp_path / "text"))
    cut = tmp_path / "cut.tar"
    cut.write_bytes(archive.read_bytes()[:3000])
    with pytest.raises(GraphError):
        open_target(str(cut))
    (tmp_path / "journal.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with pytest.raises(GraphError, match="cannot be read as a journal"):
        open_target(str(tmp_path / "journal.db"))


def test_a_layer_that_cannot_be_read_is_told_before_anything_is_shown(root: Path, tmp_path: Path) -> None:
    with Store(root / "images") as store:
        places = store.layer_directories("web:latest")
    open_target("web", root=root).read()
    target = open_target("web", root=root)
    shutil.rmtree(places[1])
    with pytest.raises(GraphError, match="cannot be read"):
        target.read()
