"""Images beside tools that none of us wrote: they read what we write, we read what they write, all unpack alike."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import socket
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusefs.syscalls import mount, umount
from sim.images import (
    ContentError,
    Entry,
    Image,
    Kind,
    LayerTarError,
    Store,
    base_image,
    directory,
    file,
    image_from_layers,
    image_on,
    opaque,
    symlink,
    whiteout,
)
from sim.images.archive import load, save
from sim.images.commit import commit, export, import_tar
from sim.images.create import image_from_rootfs
from sim.images.documents import nanoseconds
from tests.sim.images.trees import describe, plant

Tool = Callable[..., str]


@pytest.fixture
def store(tmp_path: Path, root: None) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


def run(*words: object) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(100_000):
            yield chunk


def saved(store: Store, path: Path, *names: str, form: str = "docker") -> Path:
    with path.open("wb") as stream:
        save(store, names, stream.write, form=form)  # type: ignore[arg-type]
    return path


class Mounted:
    """The merged view of an image, by the kernel."""

    def __init__(self, store: Store, image: Image, place: Path) -> None:
        place.mkdir()
        self.path = place
        # Relative names keep the mount's options within a page.
        before = os.getcwd()
        os.chdir(store.root / "layers")
        try:
            empty = Path("../empty")
            empty.mkdir(exist_ok=True)
            names = [path.name for path in store.layer_directories(image)]
            lower = ":".join([*names, "../empty"])
            mount(b"overlay", os.fsencode(place), b"overlay", 0, f"lowerdir={lower}".encode())
        finally:
            os.chdir(before)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *exception: object) -> None:
        umount(os.fsencode(self.path))


def random_layers(seed: int) -> list[list[Entry]]:
    """Make layers that add, change, replace and delete, as an image's history does."""
    chance = random.Random(seed)
    tree: dict[str, str] = {}
    layers = []
    for number in range(5):
        entries: list[Entry] = []
        for step in range(25):
            folders = [path for path, kind in tree.items() if kind == "d"] + [""]
            above = chance.choice(folders)
            path = f"{above}/n{chance.randrange(12)}".lstrip("/")
            touched = {entry.path.decode() for entry in entries}
            if path in touched or any(path.startswith(f"{item}/") and tree.get(item) != "d" for item in touched):
                continue
            act = chance.choice("fffdds-o")
            if any(other.startswith(f"{path}/") for other in touched):
                continue
            if act == "-":
                if tree.get(path):
                    entries.append(whiteout(path))
                    tree = {key: kind for key, kind in tree.items() if key != path and not key.startswith(f"{path}/")}
                continue
            if act == "o" and tree.get(path) == "d":
                entries += [directory(path), opaque(path)]
                tree = {key: kind for key, kind in tree.items() if not key.startswith(f"{path}/")}
                continue
            for parent in [path[:at] for at, char in enumerate(path) if char == "/"]:
                if parent not in touched:
                    entries.append(directory(parent, 0o750))
            if act == "d":
                entries.append(directory(path, chance.choice([0o755, 0o1777])))
                tree[path] = "d"
                continue
            tree = {key: kind for key, kind in tree.items() if not key.startswith(f"{path}/")}
            made = (
                symlink(path, "/n1") if act == "s" else file(path, f"{number} {step}", chance.choice([0o644, 0o4755]))
            )
            entries.append(made)
            tree[path] = act
        layers.append(entries)
    return layers


@pytest.mark.usefixtures("overlayfs")
@pytest.mark.parametrize("seed", range(4))
def test_umoci_unpacks_the_same_tree(store: Store, tmp_path: Path, tool: Tool, seed: int) -> None:
    umoci = tool("umoci")
    layers = [store.add_entries(entries) for entries in random_layers(seed)]
    image = image_from_layers(store, layers, tags=["random:1"])
    # umoci names images by a plain tag; the store's index has whole names.
    index = json.loads((store.root / "index.json").read_bytes())
    index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] = "random"
    (store.root / "index.json").write_text(json.dumps(index))
    run(umoci, "unpack", "--image", f"{store.root}:random", tmp_path / "bundle")
    with Mounted(store, image, tmp_path / "merged") as merged:
        ours = describe(merged, times=False)
        theirs = describe(tmp_path / "bundle" / "rootfs", times=False)
    assert ours == theirs
    assert ours


def test_skopeo_reads_the_store_and_the_archives(store: Store, tmp_path: Path, tool: Tool) -> None:
    skopeo = tool("skopeo")
    base = base_image(store)
    image = image_on(store, base, [file("/etc/motd", "x"), whiteout("/etc/issue")], tags=["app:1", "app:2"])
    places = [
        f"oci:{store.root}:docker.io/library/app:1",
        f"docker-archive:{saved(store, tmp_path / 'docker.tar', 'app')}:app:2",
        f"oci-archive:{saved(store, tmp_path / 'oci.tar', 'app:1', form='oci')}:1",
    ]
    for place in places:
        found = json.loads(run(skopeo, "inspect", "--config", place))
        assert tuple(found["rootfs"]["diff_ids"]) == image.diff_ids
        assert nanoseconds(found["history"][-1]["created"]) == image.created_ns
    assert json.loads(run(skopeo, "inspect", places[0]))["Digest"] == image.manifest.digest


@pytest.mark.parametrize(
    ("form", "squeeze"),
    [("docker-archive", "plain"), ("oci-archive", "plain"), ("oci-archive", "gzip"), ("oci-archive", "zstd")],
)
def test_we_load_what_skopeo_writes(store: Store, tmp_path: Path, tool: Tool, form: str, squeeze: str) -> None:
    skopeo = tool("skopeo")
    image = base_image(store)
    more = ["--dest-compress", "--dest-compress-format", squeeze] if squeeze != "plain" else []
    target = tmp_path / "out.tar"
    source = f"oci:{store.root}:docker.io/layerlab/base:latest"
    run(skopeo, "copy", "-q", *more, source, f"{form}:{target}:localhost/copy:1")
    with Store(tmp_path / "second") as second:
        (loaded,) = load(second, chunks(target))
        assert loaded.diff_ids == image.diff_ids
        assert [name.familiar for name in loaded.tags] == ["localhost/copy:1"]
        assert describe(loaded.layers[0].path) == describe(image.layers[0].path)


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory with a short name: podman takes no runroot of more than 50 characters."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(place)


def test_podman_loads_and_saves(store: Store, tmp_path: Path, short: Path, tool: Tool) -> None:
    podman = [tool("podman"), "--root", tmp_path / "p", "--runroot", short / "r", "--storage-driver", "vfs"]
    base = base_image(store)
    image = image_on(store, base, [file("/etc/motd", "x"), whiteout("/etc/issue")], tags=["localhost/app:1"])
    archive = saved(store, tmp_path / "ours.tar", "localhost/app:1", base.id)
    assert "Loaded image: localhost/app:1" in run(*podman, "load", "-i", archive)
    assert run(*podman, "image", "inspect", "--format", "{{.Id}}", "localhost/app:1").strip() == image.id[7:]
    for form in ("docker-archive", "oci-archive"):
        back = tmp_path / f"{form}.tar"
        run(*podman, "save", "-q", "--format", form, "-o", back, "localhost/app:1")
        with Store(tmp_path / form) as second:
            (loaded,) = load(second, chunks(back))
            assert (loaded.id == image.id) or form == "oci-archive"
            assert loaded.diff_ids == image.diff_ids
            assert loaded.tags == image.tags
    run(*podman, "system", "reset", "--force")


def test_save_and_load_keep_everything(store: Store, tmp_path: Path) -> None:
    base = base_image(store)
    image = image_on(store, base, [file("/a")], tags=["app:1", "team/app:2"])
    archive = saved(store, tmp_path / "a.tar", "app:1", "team/app", "layerlab/base:latest")
    again = saved(store, tmp_path / "b.tar", "app:1", "team/app", "layerlab/base:latest")
    assert archive.read_bytes() == again.read_bytes()
    with Store(tmp_path / "second") as second:
        loaded = load(second, chunks(archive))
        assert [item.id for item in loaded] == [image.id, base.id]
        assert [item.manifest.digest for item in loaded] == [image.manifest.digest, base.manifest.digest]
        assert [name.familiar for name in loaded[0].tags] == ["app:1", "team/app:2"]
        load(second, chunks(archive))
        assert len(second.images()) == 2
        second.collect()
        assert sorted(path.name for path in second.blobs.directory.iterdir()) == sorted(
            {path.name for path in store.blobs.directory.iterdir()}
        )


def test_the_older_archive(store: Store, tmp_path: Path) -> None:
    """As Docker wrote it up to version 24: a directory for each layer, doubles as symlinks, gzip around it all."""
    config = store.blobs.read(base_image(store).id)
    layer = b"".join(store.blobs.chunks(base_image(store).diff_ids[0]))
    fields = json.loads(config)
    fields["rootfs"]["diff_ids"] *= 2
    fields["history"] *= 2
    config = json.dumps(fields).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.USTAR_FORMAT) as archive:

        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        add("1/VERSION", b"1.0")
        add("1/layer.tar", layer)
        link = tarfile.TarInfo("2/layer.tar")
        link.type, link.linkname = tarfile.SYMTYPE, "../1/layer.tar"
        archive.addfile(link)
        add("abc.json", config)
        item = {"Config": "abc.json", "RepoTags": ["old:1"], "Layers": ["1/layer.tar", "2/layer.tar"]}
        add("manifest.json", json.dumps([item]).encode())
    with Store(tmp_path / "second") as second:
        (loaded,) = load(second, [buffer.getvalue()])
        assert [name.familiar for name in loaded.tags] == ["old:1"]
        assert len(loaded.layers) == 2
        assert len(set(loaded.layers)) == 1


@pytest.mark.usefixtures("overlayfs")
def test_commit_of_a_real_upper_directory(store: Store, tmp_path: Path) -> None:
    base = base_image(store)
    upper, work, merged = (tmp_path / name for name in ("upper", "work", "merged"))
    for path in (upper, work, merged):
        path.mkdir()
    lower = ":".join(str(path) for path in store.layer_directories(base))
    mount(b"overlay", os.fsencode(merged), b"overlay", 0, f"lowerdir={lower},upperdir={upper},workdir={work}".encode())
    try:
        (merged / "etc" / "motd").write_text("changed")
        (merged / "etc" / "issue").unlink()
        shutil.rmtree(merged / "srv" / "www")
        (merged / "srv" / "www").mkdir()
        (merged / "srv" / "www" / "new").write_text("new")
        os.rename(merged / "home" / "student" / "notes.txt", merged / "home" / "student" / "moved.txt")
        plant(merged / "mnt" / "all")
        wanted = describe(merged)
        exported: list[bytes] = []
        export(merged, lambda data: exported.append(bytes(data)))
    finally:
        umount(os.fsencode(merged))
    image = commit(
        store,
        base,
        upper,
        tags=["changed"],
        changes=['CMD ["cat", "/etc/motd"]', "ENV A=1", "EXPOSE 80"],
        author="me",
        message="said",
        command="/bin/sh",
    )
    assert image.parent == base.id
    assert image.settings["Cmd"] == ["cat", "/etc/motd"]
    assert image.environment[-1] == "A=1"
    assert (image.history[-1].comment, image.history[-1].author, image.history[-1].created_by) == (
        "said",
        "me",
        "/bin/sh",
    )
    with Mounted(store, image, tmp_path / "again") as view:
        assert describe(view) == wanted
    with tarfile.open(store.blobs.path(image.diff_ids[-1])) as layer:
        names = layer.getnames()
    assert {"etc/.wh.issue", "srv/www/.wh..wh..opq", "home/student/.wh.notes.txt"} <= set(names)
    assert "etc/hosts" not in names
    flat = import_tar(store, exported, tags=["flat"], changes=["USER 1000"], message="from there")
    assert describe(flat.layers[0].path) == wanted
    assert (len(flat.layers), flat.settings, flat.history[0].comment) == (1, {"User": "1000"}, "from there")
    (tmp_path / "empty").mkdir(mode=0o755)
    nothing = commit(store, image, tmp_path / "empty")
    assert (nothing.layers, nothing.history[-1].empty_layer) == (image.layers, True)


@pytest.mark.parametrize("kind", ["directory", "tar", "tar.gz", "tar.xz", "tar.bz2"])
def test_images_from_a_root_filesystem(store: Store, tmp_path: Path, kind: str) -> None:
    source = tmp_path / "rootfs"
    plant(source)
    if kind != "directory":
        flags = {"tar": "", "tar.gz": "z", "tar.xz": "J", "tar.bz2": "j"}[kind]
        words = [
            "--format=pax",
            "--xattrs",
            "--xattrs-include=*",
            "-C",
            source,
            f"-c{flags}f",
            tmp_path / f"x.{kind}",
            ".",
        ]
        run("tar", *words)
    image = image_from_rootfs(store, source if kind == "directory" else tmp_path / f"x.{kind}", tags=["r"])
    assert describe(image.layers[0].path) == describe(source)


def test_sockets_are_left_out_and_whiteouts_refused_in_an_export(store: Store, tmp_path: Path) -> None:
    view = tmp_path / "v"
    view.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(view / "s"))
        parts: list[bytes] = []
        export(view, lambda data: parts.append(bytes(data)))
    assert b"".join(parts) == bytes(1024)
    os.mknod(view / "w", 0o020000, 0)
    with pytest.raises(LayerTarError, match="whiteout in what should be a whole root"):
        export(view, parts.append)  # type: ignore[arg-type]


def test_a_truncated_archive_lists_nothing(store: Store, tmp_path: Path) -> None:
    base_image(store)
    whole = saved(store, tmp_path / "a.tar", "layerlab/base").read_bytes()
    with Store(tmp_path / "second") as second:
        for length in (10, 700, 100_000, len(whole) - 3000):
            with pytest.raises(ContentError):
                load(second, [whole[:length]])
            assert second.images() == []
        second.collect()
        assert list(second.blobs.directory.iterdir()) == []
        assert list((second.root / "layers").iterdir()) == []
        assert load(second, [whole])[0].name == "layerlab/base:latest"


def test_entries_of_every_kind_mount(store: Store, tmp_path: Path, overlayfs: None) -> None:
    entries = [directory("/d"), Entry(b"d/fifo", Kind.FIFO, 0o600), file("/d/f", b"\0" * 10, uid=5, gid=6)]
    base = base_image(store)
    with Mounted(store, image_on(store, base, entries), tmp_path / "m") as merged:
        assert sorted(os.listdir(merged / "d")) == ["f", "fifo"]
        assert (os.stat(merged / "d" / "f").st_uid, os.stat(merged / "d" / "f").st_gid) == (5, 6)
        assert os.access(merged / "bin" / "busybox", os.X_OK)
        assert (
            subprocess.run(["chroot", merged, "/bin/ls", "/d"], capture_output=True, check=True).stdout == b"f\nfifo\n"
        )
