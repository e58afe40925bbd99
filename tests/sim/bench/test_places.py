"""Filesystem images are made and gone, whatever happens; what cannot be made is named with the mend."""

from __future__ import annotations

import glob
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.bench import places
from sim.bench.errors import Unavailable
from sim.bench.places import FILESYSTEMS, clear, filesystem, home, mounts_below
from tests.conftest import User


def loops() -> set[str]:
    """Return the loop devices that have a file."""
    return set(glob.glob("/sys/block/loop*/loop/backing_file"))


def backing() -> set[str]:
    """Return the files of loop devices that runs of benchmarks made."""
    found = set()
    for path in loops():
        try:
            found.add(Path(path).read_text())
        except OSError:
            continue
    return {name for name in found if "layerlab-bench" in name}


@pytest.mark.parametrize("name", FILESYSTEMS)
@pytest.mark.usefixtures("root")
def test_each_filesystem_is_made_and_gone(name: str, tmp_path: Path) -> None:
    with home(tmp_path) as place:
        try:
            with filesystem(name, place, 64 << 20) as made:
                assert made.words.startswith(FILESYSTEMS[name].kind)
                assert made.image
                (made.root / "file").write_bytes(b"x" * (40 << 20))
                assert mounts_below(place) == [made.root]
        except Unavailable as error:
            pytest.skip(str(error))
        assert mounts_below(place) == []
        assert os.listdir(place) == []
    assert os.listdir(tmp_path) == []
    assert not {name for name in backing() if str(tmp_path) in name}


@pytest.mark.parametrize(
    ("name", "cloned"),
    [("ext4", False), ("xfs", False), ("xfs-reflink", True), ("btrfs", False), ("btrfs-reflink", True)],
)
@pytest.mark.usefixtures("root")
def test_reflink_is_what_the_name_says(name: str, cloned: bool, tmp_path: Path) -> None:
    """Out of the read-only layers into a directory beside them, as a copy-up does."""
    from fusefs import syscalls

    with home(tmp_path) as place:
        try:
            entered = filesystem(name, place, 64 << 20)
            made = entered.__enter__()
        except Unavailable as error:
            pytest.skip(str(error))
        lower, upper = made.root / "lower", made.root / "upper"
        lower.mkdir()
        upper.mkdir()
        if made.no_cow:
            places.refuse_clones(lower)
        (lower / "file").write_bytes(os.urandom(1 << 20))
        with open(lower / "file", "rb") as source, open(upper / "file", "wb") as target:
            assert syscalls.clone_file(source.fileno(), target.fileno()) is cloned
        entered.__exit__(None, None, None)


@pytest.mark.usefixtures("root")
def test_an_image_goes_away_also_after_a_failure_inside(tmp_path: Path) -> None:
    def fail() -> None:
        with home(tmp_path) as place, filesystem("ext4", place, 1 << 20) as made:
            os.chdir(made.root)  # in use, too
            raise RuntimeError

    before = os.getcwd()
    try:
        with pytest.raises(RuntimeError):
            fail()
    finally:
        os.chdir(before)
    assert os.listdir(tmp_path) == []
    assert mounts_below(tmp_path) == []


@pytest.mark.usefixtures("root")
def test_what_a_killed_run_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from sim.bench.places import filesystem, home\n"
        "with home(Path(sys.argv[1])) as place, filesystem('ext4', place, 1 << 20):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False, capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert len(mounts_below(tmp_path)) == 1
    with home(tmp_path) as place:
        assert os.listdir(tmp_path) == [place.name]
    assert mounts_below(tmp_path) == []


def test_what_there_is_not_is_named() -> None:
    with pytest.raises(Unavailable, match=r"zfs: there is no such filesystem; there are here, ext4, xfs"):
        filesystem("zfs", Path("/tmp"), 1).__enter__()


@pytest.mark.usefixtures("root")
def test_a_tool_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    with pytest.raises(Unavailable, match=r"xfs: mkfs.xfs is not installed; apt-get install xfsprogs"):
        filesystem("xfs", tmp_path, 1).__enter__()


@pytest.mark.usefixtures("root")
def test_no_room_for_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "room", lambda path: 1 << 20)
    with pytest.raises(Unavailable, match=r"has no room for an image of \d+ MiB; use --place DIR"):
        filesystem("ext4", tmp_path, 1 << 20).__enter__()
    assert os.listdir(tmp_path) == []


def test_an_ordinary_user_is_told(user: User) -> None:
    said = user.python(
        "from pathlib import Path\n"
        "from sim.bench import places, choose\n"
        "try:\n"
        "    places.filesystem('ext4', Path('.'), 1).__enter__()\n"
        "except places.Unavailable as error:\n"
        "    print(error)\n"
        "found, missing = choose()\n"
        "print([one.name for one in found])\n"
        "print({one.what: one.why for one in missing}['overlayfs'])\n"
    )
    lines = said.splitlines()
    assert lines[0] == "ext4: an image can be mounted by root only; run the command with sudo"
    assert "'plain'" in lines[1]
    assert "'in-process'" in lines[1]
    assert lines[2].startswith("the kernel's overlayfs is mounted by root only")


def test_clear_removes_what_is_no_mount(tmp_path: Path) -> None:
    place = tmp_path / "a"
    (place / "b").mkdir(parents=True)
    (place / "b/file").touch()
    clear(place)
    assert not place.exists()
    clear(place)
