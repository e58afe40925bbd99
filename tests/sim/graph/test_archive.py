"""Images from files: what this project's store, skopeo and umoci write, and what is damaged."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sim.graph import SourceError, archive_graph, merged, store_graph
from sim.graph.archive import read_layer_tar
from sim.images import Store, file, hardlink, image_from_layers, image_on, opaque, symlink, whiteout
from sim.images.archive import save


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as store:
        entries = [
            file("/etc/motd", "hello"),
            file("/etc/gone", "x" * 100),
            file("/opt/a", "a"),
            symlink("/l", "etc/motd"),
        ]
        base = image_from_layers(store, [store.add_entries(entries)], tags=["base:1"])
        more = [whiteout("/etc/gone"), opaque("/opt"), file("/opt/b", "bb"), hardlink("/opt/c", "/opt/b")]
        image_on(store, base, more, tags=["web:1"])
        yield store


def tree(graph: object, name: str) -> dict[str, tuple[object, ...]]:
    from sim.graph import LayerGraph

    assert isinstance(graph, LayerGraph)
    return {
        path: (position, entry.type, entry.size, entry.mode, entry.target)
        for path, (position, entry) in merged(graph.stack(name).layers).items()
        if path != "/"
    }


@pytest.fixture
def archive(store: Store, tmp_path: Path) -> Path:
    path = tmp_path / "images.tar"
    with path.open("wb") as stream:
        save(store, ["base:1", "web:1"], stream.write)
    return path


def test_the_store_shares_layers_between_images(store: Store) -> None:
    graph = store_graph(store)
    assert sorted(image.name for image in graph.images.values()) == ["base:1", "web:1"]
    assert graph.stack("web:1").layers[1] is graph.stack("base:1").layers[0]
    assert [layer.name for layer in graph.stack("web:1").layers] == ["web:1 step 2", "base:1 step 1"]
    assert not any(layer.was_read for layer in graph.layers.values())
    assert sorted(tree(graph, "web:1")) == ["/etc", "/etc/motd", "/l", "/opt", "/opt/b", "/opt/c"]
    read = {
        layer.key: sum({e.inode or e.path: e.size for e in layer.entries.values()}.values())
        for layer in graph.layers.values()
    }
    assert {key: layer.bytes for key, layer in graph.layers.items()} == read


def test_an_archive_shows_what_the_store_shows(store: Store, archive: Path) -> None:
    assert tree(archive_graph(archive), "web:1") == tree(store_graph(store), "web:1")


@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci"])
def test_what_skopeo_writes_is_read(store: Store, archive: Path, tmp_path: Path, form: str) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    target = tmp_path / "out"
    source = f"docker-archive:{archive}:docker.io/library/web:1"
    command = ["skopeo", "--insecure-policy", "copy", "-q", source, f"{form}:{target}:web:1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    graph = archive_graph(target)
    assert tree(graph, next(iter(graph.images))) == tree(store_graph(store), "web:1")


def rewrite(archive: Path, target: Path, leave: str = "", change: dict[str, bytes] | None = None) -> Path:
    with tarfile.open(archive) as old, tarfile.open(target, "w") as new:
        for member in old:
            if leave and leave in member.name:
                continue
            data = old.extractfile(member)
            content = data.read() if data is not None else b""
            content = (change or {}).get(member.name, content)
            member.size = len(content)
            new.addfile(member, io.BytesIO(content))
    return target


def test_a_missing_layer_is_named(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        stream = tar.extractfile("manifest.json")
        assert stream is not None
        blob = json.loads(stream.read())[0]["Layers"][0]
    with pytest.raises(SourceError, match=r"the layer sha256:\w{12} is missing .*save the image again"):
        archive_graph(rewrite(archive, tmp_path / "less.tar", leave=blob))


def test_what_is_no_archive_is_said(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        archive_graph(tmp_path / "absent")
    (tmp_path / "text").write_text("no tar")
    with pytest.raises(SourceError, match="no tar of images"):
        archive_graph(tmp_path / "text")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="neither a docker-archive nor an OCI layout"):
        archive_graph(tmp_path / "empty")
    with pytest.raises(SourceError, match="is no JSON"):
        archive_graph(rewrite(archive, tmp_path / "bad.tar", change={"manifest.json": b"{"}))
    with pytest.raises(SourceError, match="not as the specification says"):
        archive_graph(rewrite(archive, tmp_path / "odd.tar", change={"manifest.json": b'[{"Config": 3}]'}))


def test_a_damaged_layer_is_said_when_it_is_read(archive: Path, tmp_path: Path) -> None:
    with tarfile.open(archive) as tar:
        stream = tar.extractfile("manifest.json")
        assert stream is not None
        blob = json.loads(stream.read())[0]["Layers"][0]
    graph = archive_graph(rewrite(archive, tmp_path / "torn.tar", change={blob: b"\x1f\x8b\x08\x00torn"}))
    with pytest.raises(SourceError, match="cannot be read as a tar"):
        tree(graph, next(iter(graph.images)))


def test_marks_in_a_tar_hide_lower_layers_wherever_they_stand() -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name in ("./a/.wh.x", "a/x", "b/y", "b/.wh..wh..opq", "c/.wh.z"):
            tar.addfile(tarfile.TarInfo(name))
    data.seek(0)
    entries = read_layer_tar(data)
    assert {path: (e.type.value, e.opaque) for path, e in entries.items()} == {
        "/": ("directory", False),
        "/a": ("directory", False),
        "/a/x": ("file", False),
        "/b": ("directory", True),
        "/b/y": ("file", False),
        "/c": ("directory", False),
        "/c/z": ("whiteout", False),
    }
