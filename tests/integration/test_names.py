"""Names: whiteouts, opaque directories, long and odd names, many layers, large directories, read-only stacks."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from fusefs import Options, Redirect
from fusefs.drivers.fusepython import LIMITS
from fusefs.marks import is_whiteout
from fusefs.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, rename
from tests.integration.conftest import Union


def whiteouts(root: Path) -> set[str]:
    """Return the paths of all whiteouts of a directory tree."""
    return {
        os.path.relpath(os.path.join(at, name), root)
        for at, _, names in os.walk(root)
        for name in names
        if is_whiteout(os.lstat(os.path.join(at, name)))
    }


def fill(root: Path) -> None:
    (root / "dir" / "sub").mkdir(parents=True)
    for name in ("file", "dir/one", "dir/two", "dir/sub/three"):
        (root / name).write_text(name)


def test_what_is_removed_and_made_anew_hides_the_old(union: Union) -> None:
    fill(union.lower)
    merged = union.mount()
    shutil.rmtree(merged / "dir")
    assert whiteouts(union.upper) == {"dir"}
    (merged / "dir").mkdir()
    assert os.listdir(merged / "dir") == []
    assert os.getxattr(union.upper / "dir", "trusted.overlay.opaque") == b"y"
    shutil.rmtree(merged / "dir")
    (merged / "dir").write_text("now a file")
    os.unlink(merged / "dir")
    (merged / "dir").symlink_to("file")
    assert (merged / "dir").read_text() == "file"
    union.unmount()
    union.mount()
    assert os.readlink(merged / "dir") == "file"


def test_a_name_that_no_lower_layer_has_leaves_no_whiteout(union: Union) -> None:
    fill(union.lower)
    merged = union.mount()
    (merged / "new").write_text("1")
    os.rename(merged / "new", merged / "newer")
    os.unlink(merged / "newer")
    (merged / "newdir").mkdir()
    (merged / "newdir" / "x").touch()
    shutil.rmtree(merged / "newdir")
    assert os.listdir(union.upper) == []


def test_a_directory_of_whiteouts_can_be_removed(union: Union) -> None:
    fill(union.lower)
    merged = union.mount()
    with pytest.raises(OSError, match="not empty"):
        os.rmdir(merged / "dir" / "sub")
    os.unlink(merged / "dir" / "sub" / "three")
    os.rmdir(merged / "dir" / "sub")
    assert whiteouts(union.upper) == {"dir/sub"}
    left = {path.name for path in (union.work / "work").iterdir()}
    assert left == whiteouts(union.work / "work"), "only the whiteout that others are links to"


def test_whiteouts_cannot_be_made_opened_or_seen(union: Union) -> None:
    fill(union.lower)
    merged = union.mount()
    os.unlink(merged / "file")
    with pytest.raises(PermissionError):
        os.mknod(merged / "white", stat.S_IFCHR, 0)
    with pytest.raises(FileNotFoundError):
        os.lstat(merged / "file")
    assert os.listdir(merged) == ["dir"]


@pytest.mark.parametrize("redirect", [Redirect.FOLLOW, Redirect.ON])
def test_a_lower_directory_moves_by_redirect_or_not_at_all(new_union: Callable[..., Union], redirect: Redirect) -> None:
    union = new_union(options=Options(redirect=redirect))
    fill(union.lower)
    merged = union.mount()
    if redirect is Redirect.FOLLOW:
        with pytest.raises(OSError, match="cross-device") as caught:
            os.rename(merged / "dir", merged / "moved")
        assert caught.value.errno == errno.EXDEV
        shutil.move(merged / "dir", merged / "moved")
    else:
        os.rename(merged / "dir" / "sub", merged / "sub")
        os.rename(merged / "dir", merged / "moved")
        assert os.getxattr(union.upper / "moved", "trusted.overlay.redirect") in (b"dir", b"/dir")
        os.rename(merged / "sub", merged / "moved" / "sub")
        union.unmount()
        union.mount()
    assert (merged / "moved" / "sub" / "three").read_text() == "dir/sub/three"
    assert sorted(os.listdir(merged / "moved")) == ["one", "sub", "two"]
    assert not (merged / "dir").exists()


@pytest.mark.cannot("fuse-python", LIMITS["rename flags"])
def test_rename_with_flags(union: Union) -> None:
    fill(union.lower)
    (union.lower / "other").write_text("other")
    merged = union.mount()
    with pytest.raises(FileExistsError):
        rename(-1, bytes(merged / "file"), -1, bytes(merged / "other"), RENAME_NOREPLACE)
    rename(-1, bytes(merged / "file"), -1, bytes(merged / "other"), RENAME_EXCHANGE)
    assert ((merged / "file").read_text(), (merged / "other").read_text()) == ("other", "file")


def test_long_and_odd_names(union: Union) -> None:
    long, odd = b"n" * 255, bytes({*range(1, 256)} - {ord("/")})
    lower, merged = bytes(union.lower), bytes(union.merged)
    for name in (long, odd):
        Path(os.fsdecode(lower + b"/" + name)).write_bytes(b"1")
    union.mount()
    for name in (long, odd):
        with open(merged + b"/" + name, "ab") as file:
            file.write(b"2")
        os.rename(merged + b"/" + name, merged + b"/" + name[::-1])
    assert set(os.listdir(merged)) == {long, odd[::-1]}
    for name in (long, odd):
        with open(merged + b"/" + name[::-1], "rb") as file:
            assert file.read() == b"12"
        os.unlink(merged + b"/" + name[::-1])
    with pytest.raises(OSError, match="too long"):
        os.mkdir(merged + b"/" + b"n" * 256)


def test_paths_as_deep_as_the_system_allows(union: Union) -> None:
    union.mount()
    here = os.getcwd()
    depth = 500
    try:
        os.chdir(union.merged)
        for _ in range(depth):
            os.mkdir("d")
            os.chdir("d")
        Path("end").write_text("deep")
        os.chdir(union.merged)
        assert Path("/".join(["d"] * depth + ["end"])).read_text() == "deep"
    finally:
        os.chdir(here)
    shutil.rmtree(union.merged / "d")
    assert os.listdir(union.merged) == []


def test_five_hundred_layers(new_union: Callable[..., Union], driver: str) -> None:
    count = 60 if driver == "overlayfs" else 500  # mount(2) takes a page of options
    union = new_union(lowers=count)
    for number, layer in enumerate(union.layers, 1):
        (layer / "shared").write_text(str(number))
        (layer / f"own{number}").touch()
        (layer / "dir").mkdir()
        (layer / "dir" / f"in{number}").touch()
    merged = union.mount()
    assert (merged / "shared").read_text() == "1"
    assert len(os.listdir(merged)) == count + 2
    assert len(os.listdir(merged / "dir")) == count
    (merged / "dir" / f"in{count}").write_text("changed")
    os.unlink(merged / f"own{count}")
    assert not (merged / f"own{count}").exists()
    assert (merged / "dir" / f"in{count}").read_text() == "changed"


def test_a_large_directory(union: Union) -> None:
    count = 100_000
    for number in range(count):
        os.close(os.open(union.lower / f"f{number:06}", os.O_CREAT | os.O_WRONLY))
    merged = union.mount()
    (merged / "new").touch()
    os.unlink(merged / "f000000")
    names = os.listdir(merged)
    assert len(names) == len(set(names)) == count
    assert (merged / "f000001").exists()
    assert not (merged / "f000000").exists()


def test_a_read_only_stack(new_union: Callable[..., Union]) -> None:
    union = new_union(lowers=2)
    fill(union.layers[1])
    (union.layers[0] / "top").touch()
    merged = union.mount(read_only=True)
    assert (merged / "dir" / "sub" / "three").read_text() == "dir/sub/three"
    for change in (
        lambda: os.mkdir(merged / "x"),
        lambda: os.unlink(merged / "file"),
        lambda: os.open(merged / "file", os.O_WRONLY),
        lambda: os.chmod(merged / "file", 0o600),
        lambda: os.rename(merged / "file", merged / "y"),
        lambda: os.setxattr(merged / "file", "user.x", b"1"),
        lambda: os.truncate(merged / "file", 0),
        lambda: os.utime(merged / "file"),
    ):
        with pytest.raises(OSError, match=r"[Rr]ead-only") as caught:
            change()
        assert caught.value.errno == errno.EROFS


def test_the_unions_own_attributes_are_hidden_and_escaped(union: Union) -> None:
    fill(union.lower)
    merged = union.mount()
    shutil.rmtree(merged / "dir")
    (merged / "dir").mkdir()
    assert os.listxattr(merged / "dir") == []
    os.setxattr(merged / "dir", "trusted.overlay.opaque", b"mine")
    assert os.getxattr(merged / "dir", "trusted.overlay.opaque") == b"mine"
    assert os.listxattr(merged / "dir") == ["trusted.overlay.opaque"]
    assert os.getxattr(union.upper / "dir", "trusted.overlay.overlay.opaque") == b"mine"
    assert os.getxattr(union.upper / "dir", "trusted.overlay.opaque") == b"y"


def test_the_size_of_the_filesystem_is_the_uppers(union: Union) -> None:
    merged = union.mount()
    ours, upper = os.statvfs(merged), os.statvfs(union.upper)
    assert (ours.f_blocks * ours.f_frsize, ours.f_files) == (upper.f_blocks * upper.f_frsize, upper.f_files)
    assert ours.f_namemax == 255
