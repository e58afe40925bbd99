"""The commands `mount` and `umount` on plain directories, and what bad input gets."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import User

pytestmark = pytest.mark.usefixtures("fuse")

COMMAND = [sys.executable, "-P", "-m", "sim.cli"]


def layerlab(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd, stdin=subprocess.DEVNULL
    )


def refused(done: subprocess.CompletedProcess[str], *named: object) -> None:
    """Check that a command ended as bad input has to: one line that names the thing, status 1."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    for name in named:
        assert str(name) in done.stderr


def tree(place: Path) -> list[tuple[str, int, bytes]]:
    """Return everything in a directory, to be compared."""
    found = []
    for path in sorted(place.rglob("*")):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found.append((str(path.relative_to(place)), status.st_mode, content))
    return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory with the layers a (below) and b, an upper, a work directory and a mountpoint."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "u", "w", "m"):
        (tmp_path / name).mkdir()
    (tmp_path / "a/both").write_text("a")
    (tmp_path / "a/one").write_text("a")
    (tmp_path / "b/both").write_text("b")
    return tmp_path


@pytest.fixture
def unchanged(home: Path) -> Iterator[None]:
    """Check that a test changed nothing in the directories, and mounted nothing."""
    before = tree(home)
    yield
    assert tree(home) == before


FORMS = {
    "options": ["--lower", "a", "--lower", "b", "--upper", "u", "--work", "w"],
    "mount(8)": ["-o", "lowerdir=b:a,upperdir=u,workdir=w"],
    "several -o": ["-o", "lowerdir=b:a", "-o", "upperdir=u", "-o", "workdir=w"],
    "mixed": ["-o", "lowerdir=b:a", "--upper", "u", "--work", "w"],
}


@pytest.mark.parametrize("driver", ["fuse-python", "auto"])
@pytest.mark.parametrize("form", FORMS)
def test_mount_change_and_unmount(home: Path, form: str, driver: str) -> None:
    done = layerlab("mount", *FORMS[form], "--driver", driver, "--journal", "j.db", "m")
    assert done.returncode == 0, done.stderr
    try:
        assert done.stderr == ""
        numbers = [line.split() for line in done.stdout.splitlines() if "layer " in line]
        assert numbers == [["layer", "0", "RW", "u"], ["layer", "1", "RO", "b"], ["layer", "2", "RO", "a"]]
        assert (home / "m/both").read_text() == "b"
        (home / "m/one").write_text("mine")
        (home / "m/both").unlink()
    finally:
        assert layerlab("umount", "m").returncode == 0
    assert tree(home / "m") == []
    assert (home / "u/one").read_text() == "mine"
    assert (home / "a/one").read_text() == "a"
    shown = layerlab("journal", "--changes", "j.db").stdout
    assert "/one" in shown
    assert "whiteout hides it in layer 1" in shown


def test_read_only_stack(home: Path) -> None:
    assert layerlab("mount", "-q", "--lower", "a", "m").stdout == ""
    try:
        with pytest.raises(OSError, match="Read-only") as refusal:
            (home / "m/new").write_text("")
        assert refusal.value.errno == errno.EROFS
    finally:
        layerlab("umount", "m")
    assert tree(home / "a") == [("both", 0o100644, b"a"), ("one", 0o100644, b"a")]


def test_recording_levels(home: Path) -> None:
    for level, kinds in (("metadata", {"open"}), ("none", set())):
        layerlab("mount", "--lower", "a", "--journal", f"{level}.db", "--record", level, "m")
        try:
            (home / "m/one").read_text()
        finally:
            layerlab("umount", "m")
        lines = layerlab("journal", "--json", "--kind", "read", "--kind", "open", f"{level}.db").stdout
        assert {kind for kind in ("read", "open") if f'"kind": "{kind}"' in lines} == kinds


def test_a_directory_whose_name_has_blanks_commas_and_colons(home: Path) -> None:
    strange = home / "a, b: c"
    strange.mkdir()
    (strange / "file").write_text("strange")
    (home / "my mount").mkdir()
    for arguments in (["--lower", strange], ["-o", r"lowerdir=a\, b\: c"]):
        done = layerlab("mount", *arguments, "my mount")
        assert done.returncode == 0, done.stderr
        assert "umount 'my mount'`" in done.stdout
        try:
            assert (home / "my mount/file").read_text() == "strange"
        finally:
            assert layerlab("umount", "my mount").returncode == 0


@pytest.mark.usefixtures("overlayfs")
def test_the_kernel_as_the_driver(home: Path) -> None:
    done = layerlab("mount", "--driver", "overlayfs", *FORMS["options"], "m")
    assert done.returncode == 0, done.stderr
    try:
        assert os.path.ismount("m")
        assert (home / "m/both").read_text() == "b"
    finally:
        assert layerlab("umount", "m").returncode == 0


# Bad input


@pytest.mark.usefixtures("unchanged")
def test_a_missing_lower_directory(home: Path) -> None:
    refused(layerlab("mount", "--lower", "a", "--lower", "nosuch", "m"), home / "nosuch")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("name", ["lower", "upper", "work"])
def test_a_layer_that_is_no_directory(home: Path, name: str) -> None:
    words = {"lower": "a", "upper": "u", "work": "w"} | {name: "a/one"}
    done = layerlab("mount", *[word for key, value in words.items() for word in (f"--{key}", value)], "m")
    refused(done, home / "a/one")


@pytest.mark.usefixtures("unchanged")
def test_a_missing_upper_or_work_directory(home: Path) -> None:
    refused(layerlab("mount", "--lower", "a", "--upper", "nosuch", "--work", "w", "m"), home / "nosuch")
    refused(layerlab("mount", "--lower", "a", "--upper", "u", "--work", "nosuch", "m"), home / "nosuch")


@pytest.mark.usefixtures("unchanged")
def test_an_upper_without_a_work_directory(home: Path) -> None:
    refused(layerlab("mount", "--lower", "a", "--upper", "u", "m"), "work")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("work", ["u", "u/w", "."])
def test_a_work_directory_inside_the_upper_or_around_it(home: Path, work: str) -> None:
    if work == "u/w":
        (home / work).mkdir()
    refused(layerlab("mount", "--lower", "a", "--upper", "u", "--work", work, "m"), "work")
    if work == "u/w":
        (home / work).rmdir()


@pytest.fixture
def another_filesystem(root: None, home: Path) -> Iterator[Path]:
    """Return a directory on a filesystem of its own, in memory."""
    place = home / "other"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)
        place.rmdir()


def test_a_work_directory_on_another_filesystem(home: Path, another_filesystem: Path) -> None:
    done = layerlab("mount", "--lower", "a", "--upper", "u", "--work", another_filesystem, "m")
    refused(done, another_filesystem, home / "u", "same filesystem")
    assert os.listdir(another_filesystem) == []


@pytest.fixture
def without_attributes(root: None, home: Path) -> Iterator[Path]:
    """Return a directory on a filesystem that has no extended attributes."""
    place = home / "plain"
    place.mkdir()
    subprocess.run(["mount", "-t", "ramfs", "none", place], check=True)
    try:
        with pytest.raises(OSError, match="not supported"):
            os.setxattr(place, "trusted.overlay.opaque", b"y")
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.usefixtures("unchanged")
def test_a_mountpoint_that_is_not_there_or_no_directory(home: Path) -> None:
    refused(layerlab("mount", "--lower", "a", "nosuch"), home / "nosuch")
    refused(layerlab("mount", "--lower", "a", "b/both"), home / "b/both")


@pytest.mark.usefixtures("unchanged")
def test_a_mountpoint_that_is_not_empty(home: Path) -> None:
    refused(layerlab("mount", "--lower", "a", "b"), home / "b", "not empty")


def test_a_mountpoint_that_is_busy(home: Path) -> None:
    assert layerlab("mount", "--lower", "a", "m").returncode == 0
    try:
        refused(layerlab("mount", "--lower", "b", "m"), home / "m", "unmount it first")
        assert (home / "m/one").read_text() == "a"
    finally:
        assert layerlab("umount", "m").returncode == 0


def test_an_upper_that_another_mount_uses(home: Path) -> None:
    (home / "m2").mkdir()
    (home / "w2").mkdir()
    assert layerlab("mount", *FORMS["options"], "m").returncode == 0
    try:
        refused(layerlab("mount", "--lower", "a", "--upper", "u", "--work", "w2", "m2"), home / "u")
        refused(layerlab("mount", "--lower", "a", "--upper", "w2", "--work", "w", "m2"), home / "w")
    finally:
        assert layerlab("umount", "m").returncode == 0


@pytest.mark.usefixtures("unchanged")
def test_a_driver_that_is_not_there(home: Path) -> None:
    refused(layerlab("mount", "--lower", "a", "--driver", "nosuch", "m"), "nosuch", "fuse-python")


@pytest.mark.usefixtures("unchanged")
def test_a_journal_that_cannot_be_made(home: Path) -> None:
    refused(layerlab("mount", "--lower", "a", "--journal", "nosuch/j.db", "m"), "nosuch/j.db")
    refused(layerlab("mount", "--lower", "a", "--journal", "a/one", "m"), "a/one")


@pytest.mark.usefixtures("unchanged")
def test_unmounting_what_is_not_mounted(home: Path) -> None:
    refused(layerlab("umount", "m"), "m: nothing is mounted")
    refused(layerlab("umount", "nosuch"), "nosuch")


def test_unmounting_what_is_in_use(home: Path) -> None:
    assert layerlab("mount", "--lower", "a", "m").returncode == 0
    try:
        with (home / "m/one").open():
            refused(layerlab("umount", "m"), home / "m", "in use", str(os.getpid()))
        assert (home / "m/one").read_text() == "a"
    finally:
        assert layerlab("umount", "m").returncode == 0


@pytest.mark.usefixtures("root")
def test_no_permission(user: User) -> None:
    for name in ("a", "m", "closed", "closed/inside"):
        (user.home / name).mkdir()
    (user.home / "closed").chmod(0o700)
    shutil.chown(user.home / "m", user.uid, user.gid)
    command = [*COMMAND, "mount"]
    refused(user.run([*command, "--lower", user.home / "closed/inside", user.home / "m"]), user.home / "closed/inside")
    refused(user.run([*command, "--lower", user.home / "a", user.home / "closed/inside"]), user.home / "closed/inside")
    assert not os.path.ismount(user.home / "m")


@pytest.mark.usefixtures("root")
def test_an_upper_that_may_not_be_written(user: User) -> None:
    for name in ("a", "u", "w", "m"):
        (user.home / name).mkdir()
    shutil.chown(user.home / "m", user.uid, user.gid)
    words = ["--lower", "a", "--upper", "u", "--work", "w", "m"]
    done = user.run([*COMMAND, "mount", *words])
    refused(done, "permission")
    assert os.listdir(user.home / "w") == []


@pytest.mark.usefixtures("root")
def test_no_fuse(home: Path, tool: Callable[[str], str]) -> None:
    # In a mount namespace of its own, /dev has no fuse.
    hidden = 'mount -t tmpfs none /dev && exec "$@"'
    done = subprocess.run(
        [tool("unshare"), "--mount", "sh", "-c", hidden, "sh", *COMMAND, "mount", "--lower", "a", "m"],
        capture_output=True,
        text=True,
        check=False,
    )
    refused(done, "/dev/fuse", "modprobe")


@pytest.mark.usefixtures("root")
def test_no_fuse_python(home: Path, tool: Callable[[str], str]) -> None:
    # In a mount namespace of its own, the module is one that is not there.
    spec = find_spec("fuse")
    if spec is None or spec.origin is None:
        pytest.skip("needs fuse-python; pip install fuse-python")
    (home / "fuse.py").write_text("raise ModuleNotFoundError(\"No module named 'fuse'\", name='fuse')")
    hidden = 'mount --bind fuse.py "$1" && shift && exec "$@"'
    done = subprocess.run(
        [
            tool("unshare"),
            "--mount",
            "sh",
            "-c",
            hidden,
            "sh",
            spec.origin,
            *COMMAND,
            "mount",
            "--driver",
            "fuse-python",
            "--lower",
            "a",
            "m",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    refused(done, "fuse-python", "install")


def test_an_upper_on_a_filesystem_without_attributes(home: Path, without_attributes: Path) -> None:
    for name in ("u", "w"):
        (without_attributes / name).mkdir()
    words = ["--lower", "a", "--upper", without_attributes / "u", "--work", without_attributes / "w"]
    done = layerlab("mount", *words, "m")
    if done.returncode == 0:
        # The marks of OCI need no attributes: then it has to work.
        try:
            (home / "m/both").unlink()
            assert sorted(os.listdir("m")) == ["one"]
        finally:
            assert layerlab("umount", "m").returncode == 0
    else:
        refused(done, without_attributes / "u")
