"""Without the cache, changes that somebody makes in a read-only layer are followed; with it they need not be."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs import Options, UnionFS


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("lower/dir/sub", "base/dir", "upper", "work"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("lower/file", "lower/dir/one", "base/dir/below", "base/file"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.fixture
def fs(place: Path) -> Iterator[UnionFS]:
    options = Options(cache=False)
    with UnionFS([place / "lower", place / "base"], place / "upper", place / "work", options=options) as fs:
        assert [fs.listdir(path) for path in ("/", "/dir", "/dir/sub")] == [
            ["dir", "file"],
            ["below", "one", "sub"],
            [],
        ]
        assert fs.read_bytes("/file") == b"lower/file"
        yield fs


def test_a_file_is_changed_replaced_and_removed(fs: UnionFS, place: Path) -> None:
    (place / "lower" / "file").write_text("longer than it was")
    assert (fs.read_bytes("/file"), fs.stat("/file").st_size) == (b"longer than it was", 18)
    (place / "lower" / "new").write_text("new")
    os.rename(place / "lower" / "new", place / "lower" / "file")
    assert fs.read_bytes("/file") == b"new"
    os.unlink(place / "lower" / "file")
    assert fs.read_bytes("/file") == b"base/file"
    os.unlink(place / "base" / "file")
    assert not fs.exists("/file")
    (place / "base" / "file").mkdir()
    assert fs.listdir("/file") == []


def test_names_and_directories_come_and_go(fs: UnionFS, place: Path) -> None:
    (place / "lower" / "dir" / "more").touch()
    assert fs.listdir("/dir") == ["below", "more", "one", "sub"]
    shutil.rmtree(place / "lower" / "dir")
    assert fs.listdir("/dir") == ["below"]
    assert not fs.exists("/dir/one")
    (place / "base" / "dir" / "deep").mkdir()
    fs.write_bytes("/dir/deep/new", b"1")
    shutil.rmtree(place / "base" / "dir")
    assert fs.listdir("/dir/deep") == ["new"]
    assert fs.listdir("/dir") == ["deep"]


def test_what_was_copied_up_stays(fs: UnionFS, place: Path) -> None:
    fs.append_bytes("/file", b" mine")
    os.unlink(place / "lower" / "file")
    assert fs.read_bytes("/file") == b"lower/file mine"
    fs.unlink("/dir/one")
    (place / "lower" / "dir" / "one").write_text("again")
    assert not fs.exists("/dir/one")
