"""The merged view, compared with the kernel's overlayfs, and the forms of marks that are read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from sim.graph import State, column, columns, merged
from sim.graph.directory import directory_layer, read_directory
from sim.graph.entry import EntryType
from tests.sim.graph.conftest import write


def whiteout(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mknod(path, 0o020000, 0)


def trusted(path: Path, name: str, value: bytes) -> None:
    try:
        os.setxattr(path, f"trusted.overlay.{name}", value)
    except OSError as error:
        pytest.skip(f"trusted xattrs cannot be set here: {error}")


@pytest.fixture
def tower(tmp_path: Path) -> list[Path]:
    """Four layers with every way of hiding, the topmost first."""
    top, upper, middle, base = (tmp_path / name for name in ("top", "upper", "middle", "base"))
    for path in ("/a/file", "/a/deep/er/file", "/b/file", "/c/file", "/d/x", "/e/x", "/f/x", "/only"):
        write(base, path, "base " + path)
    for path in ("/a/file", "/a/deep/middle", "/d/y", "/e/y", "/link/inner"):
        write(middle, path, "middle " + path)
    whiteout(middle / "b")
    (middle / "f").write_text("a file where a directory is below")
    write(upper, "/d/z", "opaque")
    trusted(upper / "d", "opaque", b"y")
    write(upper, "/b/anew", "b")
    write(upper, "/f/z", "a directory over a file over a directory")
    whiteout(upper / "a/deep/er")
    os.symlink("/etc", upper / "link")
    whiteout(top / "only")
    write(top, "/e/w", "w")
    write(top, "/c", "file over directory")
    return [top, upper, middle, base]


def test_the_kernel_shows_the_same_tree(tower: list[Path], tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting overlayfs needs root")
    mountpoint = tmp_path / "merged"
    mountpoint.mkdir()
    options = "lowerdir=" + ":".join(map(str, tower))
    # By mount(2): the newer call takes no option of more than 256 bytes.
    old = {**os.environ, "LIBMOUNT_FORCE_MOUNT2": "always"}
    command = ["mount", "-t", "overlay", "overlay", "-o", options, str(mountpoint)]
    done = subprocess.run(command, capture_output=True, text=True, env=old)
    if done.returncode:
        pytest.skip(f"overlayfs cannot be mounted here: {done.stderr.strip()}")
    try:
        shown = {path: (e.type, e.size, e.target) for path, e in read_directory(mountpoint).items()}
    finally:
        subprocess.run(["umount", mountpoint], check=True)
    layers = [directory_layer(path) for path in tower]
    assert {path: (e.type, e.size, e.target) for path, (_, e) in merged(layers).items()} == shown


def test_every_entry_of_every_layer_is_in_one_column(tower: list[Path]) -> None:
    layers = [directory_layer(path) for path in tower]
    found = {(cell.position, cell.entry.path) for item in columns(layers) for cell in item.cells}
    assert found == {(position, path) for position, layer in enumerate(layers) for path in layer.entries}


def test_what_hides_a_path_is_named(tower: list[Path]) -> None:
    layers = [directory_layer(path) for path in tower]

    def states(path: str) -> list[tuple[int, str, int | None]]:
        item = column(layers, path)
        assert item is not None
        return [(cell.position, cell.state.value, cell.by) for cell in item.cells]

    assert states("/only") == [(0, "whiteout", None), (3, "shadowed", 0)]
    assert states("/d/x") == [(3, "shadowed", 1)]
    assert states("/c/file") == [(3, "shadowed", 0)]
    assert states("/a/deep/er/file") == [(3, "shadowed", 1)]
    assert states("/link/inner") == [(2, "shadowed", 1)]
    assert states("/f") == [(1, "visible", None), (2, "shadowed", 1), (3, "shadowed", 1)]
    assert states("/b/file") == [(3, "shadowed", 2)]
    assert column(layers, "/nowhere") is None
    assert {cell.state for item in columns(layers) for cell in item.cells} == set(State)


def test_marks_in_names_hide_lower_layers_but_not_their_own(tmp_path: Path) -> None:
    write(tmp_path, "/etc/.wh.gone", "")
    write(tmp_path, "/etc/.wh.here", "")
    write(tmp_path, "/etc/here", "x")
    write(tmp_path, "/opt/.wh..wh..opq", "")
    write(tmp_path, "/opt/.wh..wh.plnk", "")
    entries = read_directory(tmp_path)
    assert sorted(entries) == ["/", "/etc", "/etc/gone", "/etc/here", "/opt"]
    assert entries["/etc/gone"].type is EntryType.WHITEOUT
    assert entries["/etc/here"].type is EntryType.FILE
    assert entries["/opt"].opaque
    assert not entries["/etc"].opaque


def test_an_empty_file_is_a_whiteout_only_by_its_mark_in_a_marked_directory(tmp_path: Path) -> None:
    for name in ("marked/gone", "marked/empty", "plain/gone"):
        write(tmp_path, name, "")
    try:
        os.setxattr(tmp_path / "marked", "user.overlay.opaque", b"x")
        for name in ("marked/gone", "plain/gone"):
            os.setxattr(tmp_path / name, "user.overlay.whiteout", b"y")
    except OSError as error:
        pytest.skip(f"user xattrs cannot be set here: {error}")
    types = {path: entry.type.value for path, entry in read_directory(tmp_path).items() if not entry.is_dir}
    assert types == {"/marked/gone": "whiteout", "/marked/empty": "file", "/plain/gone": "file"}


def test_hard_links_odd_names_and_other_types(tmp_path: Path) -> None:
    first = write(tmp_path, "/one", "12345")
    os.link(first, tmp_path / "two")
    (tmp_path / os.fsdecode(b"\xff\n")).write_text("")
    os.mkfifo(tmp_path / "fifo")
    layer = directory_layer(tmp_path)
    assert layer.bytes == 5
    assert layer.entries["/one"].inode == layer.entries["/two"].inode != 0
    assert layer.entries["/\udcff\n"].size == 0
    assert layer.entries["/fifo"].type is EntryType.OTHER
