"""Converting marks: the merged view stays the same, ours and the kernel's, and nothing is lost on the way."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusefs import Format, LayerError, Options, Stack, UnionFS, marks, mount, syscalls
from fusefs import convert as module
from fusefs.convert import convert
from sim.cli.main import run
from tests.conftest import User
from tests.fusefs.strategies import layers
from tests.fusefs.test_against_kernel import kernel
from tests.fusefs.worlds import Mounted, Seen, Thing, build, look

FORMATS = st.sampled_from(Format)


def view(layer: Path, base: Path, written: Format) -> dict[str, Seen]:
    """Return what is seen of a layer over another one, by a union whose own marks are those of the layer."""
    with UnionFS([layer, base], options=Options(marks=written)) as fs:
        return {path: replace(seen, inode=0) for path, seen in look(fs).items()}


def without_attributes(found: dict[str, Seen]) -> dict[str, Seen]:
    return {path: replace(seen, inode=0, attributes=()) for path, seen in found.items()}


def marked(layer: Path) -> tuple[set[str], set[str], set[str]]:
    """Return the paths of device whiteouts, of OCI marks and of opaque directories."""
    devices, names, opaque = set(), set(), set()
    for at in layer.rglob("*"):
        shown = str(at.relative_to(layer))
        if marks.is_whiteout(at.lstat()):
            devices.add(shown)
        if at.name.startswith(".wh."):
            names.add(shown)
        if at.is_dir() and not at.is_symlink() and marks.read_marks(os.fsencode(at)).opaque:
            opaque.add(shown)
    return devices, names, opaque


@pytest.mark.usefixtures("root")
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    layer=layers(),
    base=layers(),
    steps=st.lists(st.tuples(FORMATS, st.booleans()), min_size=1, max_size=3),
)
def test_the_merged_view_stays(
    layer: Mapping[str, Thing], base: Mapping[str, Thing], steps: list[tuple[Format, bool]]
) -> None:
    place = Path(tempfile.mkdtemp())
    try:
        top, bottom = build([layer, base], place)
        expected = view(top, bottom, Format.OVERLAY)
        for number, (wanted, in_place) in enumerate(steps):
            stack = []
            for one in (top, bottom):
                target = one if in_place else place / f"{one.name}-{number}"
                convert(one, None if in_place else target, wanted)
                stack.append(target)
                devices, names, _ = marked(target)
                assert not (devices if wanted is Format.OCI else names)
            top, bottom = stack
            assert view(top, bottom, wanted) == expected
        assert not [name for name in os.listdir(place) if "converting" in name]
    finally:
        shutil.rmtree(place)


@pytest.mark.usefixtures("overlayfs")
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(layer=layers(), base=layers(), between=FORMATS)
def test_the_kernel_sees_the_same_after_there_and_back(
    layer: Mapping[str, Thing], base: Mapping[str, Thing], between: Format
) -> None:
    place = Path(tempfile.mkdtemp())
    try:
        top, bottom = build([layer, base], place)
        with kernel([top, bottom], place, "before") as before:
            expected = {path: replace(seen, inode=0) for path, seen in look(before).items()}
        convert(top, place / "between", between)
        convert(place / "between", place / "back", Format.OVERLAY)
        with kernel([place / "back", bottom], place, "after") as after:
            assert {path: replace(seen, inode=0) for path, seen in look(after).items()} == expected
        assert marked(place / "back") == marked(top)
    finally:
        shutil.rmtree(place)


@pytest.mark.usefixtures("overlayfs", "fuse")
def test_a_layer_that_fuse_overlayfs_wrote(tmp_path: Path, tool: Callable[..., str]) -> None:
    peer = tool("fuse-overlayfs")
    for path in ("lower/d/x", "lower/e", "peer-upper", "peer-work", "peer-merged"):
        (tmp_path / path).mkdir(parents=True)
    for path in ("lower/f", "lower/d/x/y", "lower/e/z"):
        (tmp_path / path).write_text(path)
    merged = tmp_path / "peer-merged"
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/peer-upper,workdir={tmp_path}/peer-work"
    subprocess.run([peer, "-o", options, merged], check=True, capture_output=True, timeout=60)
    try:
        (merged / "f").unlink()
        shutil.rmtree(merged / "d")
        (merged / "d").mkdir()
        (merged / "d/new").write_text("new")
        (merged / "e/z").unlink()
        seen = {str(at.relative_to(merged)) for at in merged.rglob("*")}
    finally:
        syscalls.umount(os.fsencode(merged))
    convert(tmp_path / "peer-upper", None, Format.OVERLAY)
    assert marked(tmp_path / "peer-upper") == ({"f", "e/z"}, set(), {"d"})
    with kernel([tmp_path / "lower"], tmp_path, "peer") as theirs:
        found = look(theirs)
    assert found.keys() - {""} == seen == {"d", "d/new", "e"}
    assert not [name for one in found.values() for name, _ in one.attributes if "overlay" in name]


# Nothing is lost


def test_all_metadata_links_and_holes_are_kept(root: None, tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    (layer / "d/sub").mkdir(parents=True)
    sparse = layer / "d/sparse"
    with sparse.open("wb") as file:
        file.seek(100 << 20)
        file.write(b"end")
    (layer / "d/hard").hardlink_to(sparse)
    (layer / "soft").symlink_to("/no/where")
    os.mkfifo(layer / "fifo")
    os.mknod(layer / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    subprocess.run(
        [sys.executable, "-c", "import socket; socket.socket(socket.AF_UNIX).bind('s')"], cwd=layer, check=True
    )
    os.mknod(layer / "d/gone", stat.S_IFCHR, 0)
    os.chown(layer / "soft", 5, 6, follow_symlinks=False)
    os.chown(sparse, 7, 8)
    sparse.chmod(0o6711)
    os.setxattr(sparse, "user.colour", b"\x00\xff")
    os.setxattr(layer / "soft", "trusted.secret", b"s", follow_symlinks=False)
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(sparse, "security.capability", capability)
    (layer / "d/sub").chmod(0o1777)
    for number, at in enumerate([*sorted(layer.rglob("*"), reverse=True), layer]):
        os.utime(at, ns=(123_456_789_000_000_000 + number, -987_654_321 - number), follow_symlinks=False)

    def facts(root: Path) -> dict[str, object]:
        found: dict[str, object] = {}
        for at in [root, *root.rglob("*")]:
            status = at.lstat()
            if at.name.endswith("gone"):
                continue
            names = sorted(os.listxattr(at, follow_symlinks=False))
            found[str(at.relative_to(root))] = (
                status.st_mode, status.st_uid, status.st_gid, status.st_nlink, status.st_rdev, status.st_mtime_ns,
                status.st_size if not at.is_dir() else 0,
                [(name, os.getxattr(at, name, follow_symlinks=False)) for name in names],
                os.readlink(at) if at.is_symlink() else "",
            )  # fmt: skip
        return found

    expected = facts(layer)
    accessed = sparse.stat().st_atime_ns
    done = convert(layer, tmp_path / "made", Format.OCI)
    assert facts(tmp_path / "made") == expected
    assert (tmp_path / "made/d/.wh.gone").exists()
    assert (tmp_path / "made/d/hard").samefile(tmp_path / "made/d/sparse")
    assert (tmp_path / "made/d/sparse").stat().st_blocks < 100
    assert (tmp_path / "made/d/sparse").stat().st_atime_ns == accessed
    assert (done.objects, done.whiteouts, done.opaque) == (8, 1, 0)
    assert done.size < 1 << 20
    convert(tmp_path / "made", None, Format.USER)
    assert facts(tmp_path / "made") == expected


def test_names_of_any_bytes(root: None, tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    names = [b"new\nline", b"\xff\xfe", b"a" * 251, b"-rf", b"'\"$(x)", b"%s", b" "]
    for name in names:
        os.mknod(os.path.join(os.fsencode(layer), name), stat.S_IFCHR, 0)
        os.makedirs(os.path.join(os.fsencode(layer), b"d" + name[:200]))
    convert(layer, None, Format.OCI)
    assert sorted(os.listdir(os.fsencode(layer))) == sorted(
        [b".wh." + name for name in names] + [b"d" + name[:200] for name in names]
    )
    convert(layer, None, Format.OVERLAY)
    assert marked(layer)[0] == {os.fsdecode(name) for name in names}


def test_hostile_marks_name_nothing(root: None, tmp_path: Path) -> None:
    layer, outside = tmp_path / "layer", tmp_path / "outside"
    (layer / "d").mkdir(parents=True)
    outside.mkdir()
    (outside / "kept").write_text("kept")
    for name in (".wh.", ".wh..", ".wh...", ".wh..wh.plnk", "d/.wh..wh.aufs", "d/.wh..."):
        (layer / name).write_text("")
    (layer / "link").symlink_to(outside)
    (layer / ".wh.link").write_text("")
    convert(layer, None, Format.OVERLAY)
    assert marked(layer) == (set(), set(), set())
    assert sorted(os.listdir(layer)) == ["d", "link"]
    assert os.listdir(outside) == ["kept"]
    assert (layer / "link").is_symlink()


def test_an_oci_whiteout_beside_its_directory_cuts_it_off(root: None, tmp_path: Path) -> None:
    for path in ("base/d/old", "layer/d/new"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "layer/.wh.d").write_text("")
    before = view(tmp_path / "layer", tmp_path / "base", Format.OCI)
    convert(tmp_path / "layer", None, Format.OVERLAY)
    assert marked(tmp_path / "layer") == (set(), set(), {"d"})
    assert view(tmp_path / "layer", tmp_path / "base", Format.OVERLAY) == before


def test_whiteouts_by_attribute_are_understood(root: None, tmp_path: Path) -> None:
    (tmp_path / "layer/d").mkdir(parents=True)
    (tmp_path / "layer/d/gone").write_text("")
    os.setxattr(tmp_path / "layer/d", "trusted.overlay.opaque", b"x")
    os.setxattr(tmp_path / "layer/d/gone", "trusted.overlay.whiteout", b"")
    convert(tmp_path / "layer", None, Format.OVERLAY)
    assert marked(tmp_path / "layer") == ({"d/gone"}, set(), set())
    assert "trusted.overlay.opaque" not in os.listxattr(tmp_path / "layer/d")


def test_a_redirect_goes_along(root: None, tmp_path: Path) -> None:
    (tmp_path / "base/old/inside").mkdir(parents=True)
    (tmp_path / "layer/new").mkdir(parents=True)
    os.setxattr(tmp_path / "layer/new", "trusted.overlay.redirect", b"old")
    convert(tmp_path / "layer", None, Format.USER)
    assert os.getxattr(tmp_path / "layer/new", "user.overlay.redirect") == b"old"
    with UnionFS([tmp_path / "layer", tmp_path / "base"]) as fs:
        assert fs.listdir("/new") == ["inside"]
    with pytest.raises(LayerError, match="new: cannot be kept with the marks 'oci': it was renamed"):
        convert(tmp_path / "layer", None, Format.OCI)
    assert os.getxattr(tmp_path / "layer/new", "user.overlay.redirect") == b"old"


def test_marks_of_an_overlay_inside_never_become_ours(root: None, tmp_path: Path) -> None:
    (tmp_path / "layer/d").mkdir(parents=True)
    os.setxattr(tmp_path / "layer/d", "trusted.overlay.overlay.opaque", b"y")
    convert(tmp_path / "layer", tmp_path / "same", Format.OVERLAY)
    assert os.listxattr(tmp_path / "same/d") == ["trusted.overlay.overlay.opaque"]
    for wanted in (Format.USER, Format.OCI):
        with pytest.raises(LayerError, match="overlay inside"):
            convert(tmp_path / "layer", None, wanted)
    assert os.listxattr(tmp_path / "layer/d") == ["trusted.overlay.overlay.opaque"]


# What cannot be


def test_a_name_too_long_for_a_mark_is_refused(root: None, tmp_path: Path) -> None:
    (tmp_path / "layer").mkdir()
    os.mknod(tmp_path / "layer" / ("n" * 252), stat.S_IFCHR, 0)
    with pytest.raises(LayerError, match="too long"):
        convert(tmp_path / "layer", None, Format.OCI)
    assert marked(tmp_path / "layer")[0] == {"n" * 252}
    assert os.listdir(tmp_path) == ["layer"]


def test_a_target_that_cannot_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "layer").mkdir()
    (tmp_path / "full/x").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    for target, said in (
        ("full", "not empty"),
        ("layer/inside", "lie in each other"),
        (".", "lie in each other"),
        ("file", "not a directory"),
        ("no/where", "no such directory"),
    ):
        with pytest.raises(LayerError, match=said):
            convert(tmp_path / "layer", tmp_path / target, Format.OCI)
    (tmp_path / "empty").mkdir()
    assert convert(tmp_path / "layer", tmp_path / "empty", Format.OCI).path == tmp_path / "empty"


@pytest.mark.usefixtures("root", "fuse")
def test_a_layer_that_a_mount_writes_to_is_left_alone(tmp_path: Path) -> None:
    for name in ("lower", "upper", "work", "m"):
        (tmp_path / name).mkdir()
    stack = Stack((tmp_path / "lower",), tmp_path / "upper", tmp_path / "work")
    with mount(stack, tmp_path / "m"), pytest.raises(LayerError, match="unmount it first"):
        convert(tmp_path / "upper", None, Format.OCI)
    convert(tmp_path / "upper", None, Format.OCI)


# Interruptions


def test_a_failure_leaves_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "layer").mkdir()
    for name in ("a", ".wh.b", "c"):
        (tmp_path / "layer" / name).write_text(name)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "copy_data", full)
    with pytest.raises(OSError, match="No space left"):
        convert(tmp_path / "layer", None, Format.OCI)
    assert os.listdir(tmp_path) == ["layer"]
    assert sorted(os.listdir(tmp_path / "layer")) == [".wh.b", "a", "c"]


def test_killed_it_leaves_the_source_and_the_next_one_cleans_up(tmp_path: Path) -> None:
    (tmp_path / "layer").mkdir()
    for name in ("a", ".wh.b", "c"):
        (tmp_path / "layer" / name).write_text(name)
    code = (
        "import os, signal, sys\nfrom fusefs import Format, convert\n"
        "convert._sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)\n"
        "convert.convert(sys.argv[1], None, Format.OCI)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "layer")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert sorted(os.listdir(tmp_path / "layer")) == [".wh.b", "a", "c"]
    assert len(os.listdir(tmp_path)) == 2
    convert(tmp_path / "layer", None, Format.OCI)
    assert os.listdir(tmp_path) == ["layer"]


# As people call it


def test_an_ordinary_user_converts(user: User) -> None:
    said = user.python(
        "import os, sys\n"
        "from pathlib import Path\n"
        "from sim.cli.main import run\n"
        "layer = Path('layer'); (layer / 'd').mkdir(parents=True)\n"
        "(layer / 'd' / '.wh.gone').write_text(''); (layer / 'd' / '.wh..wh..opq').write_text('')\n"
        "assert run(['layers', 'convert', 'layer', 'made', '--marks', 'user']) == 0\n"
        "print(os.getxattr('made/d', 'user.overlay.opaque'), os.lstat('made/d/gone').st_rdev)\n"
        "if os.geteuid(): assert run(['layers', 'convert', 'made', '--marks', 'overlay']) == 1\n"
    )
    done, mark = said.splitlines()
    assert done.endswith("/made: 1 objects, 1 whiteouts, 1 opaque directories, 0 B copied")
    assert mark == "b'y' 0"


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["layers", "convert", str(tmp_path / "missing"), "--marks", "oci"]) == 1
    assert "missing: there is no such directory" in capsys.readouterr().err
    assert run(["layers", "convert", str(tmp_path), "--marks", "none"]) == 2


def test_seen_through_a_mount(root: None, fuse: None, tmp_path: Path) -> None:
    for name in ("base/etc", "layer/etc", "m"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "base/etc/motd").write_text("old")
    os.mknod(tmp_path / "layer/etc/motd", stat.S_IFCHR, 0)
    convert(tmp_path / "layer", None, Format.OCI)
    with mount(Stack((tmp_path / "layer", tmp_path / "base")), tmp_path / "m"):
        assert without_attributes(look(Mounted(tmp_path / "m"))).keys() == {"", "etc"}
