"""Whiteouts share an inode, as those of the kernel's overlayfs do, and each can still go on its own."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fusefs import Format, Options, UnionFS

NAMES = ("one", "two", "three")


@pytest.mark.usefixtures("root")
def test_whiteouts_share_an_inode(tmp_path: Path) -> None:
    lower, upper, work = (tmp_path / name for name in ("lower", "upper", "work"))
    for path in (lower, upper, work):
        path.mkdir()
    for name in NAMES:
        (lower / name).touch()
    (lower / "dir").mkdir()
    with UnionFS([lower], upper, work) as fs:
        for name in NAMES:
            fs.unlink(f"/{name}")
        fs.rmdir("/dir")
        marks = [os.lstat(upper / name) for name in (*NAMES, "dir")]
        assert all(stat.S_ISCHR(mark.st_mode) and mark.st_rdev == 0 for mark in marks)
        assert len({mark.st_ino for mark in marks}) == 1
        fs.write_bytes("/one", b"back")
        fs.mkdir("/dir")
        assert sorted(fs.listdir("/")) == ["dir", "one"]
    assert os.lstat(upper / "two").st_nlink == 2
    assert os.listdir(work / "work") == []


def test_a_directory_made_over_a_whiteout_is_removed_only_when_it_is_empty(tmp_path: Path) -> None:
    lower, upper, work = (tmp_path / name for name in ("lower", "upper", "work"))
    for path in (lower / "dir", upper, work):
        path.mkdir(parents=True)
    marks = None if os.geteuid() == 0 else Format.USER
    with UnionFS([lower], upper, work, options=Options(marks=marks)) as fs:
        fs.mkdir("/alone")
        fs.write_bytes("/alone/kept", b"kept")
        fs.rmdir("/dir")
        fs.mkdir("/dir")
        fs.write_bytes("/dir/kept", b"kept")
        for name in ("/alone", "/dir"):
            with pytest.raises(OSError, match="not empty"):
                fs.rmdir(name)
            assert fs.read_bytes(f"{name}/kept") == b"kept"
            fs.rename(f"{name}/kept", f"{name}/moved")
            fs.unlink(f"{name}/moved")
            fs.rmdir(name)
        assert fs.listdir("/") == []
