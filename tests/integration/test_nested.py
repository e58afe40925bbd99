"""Unions on unions: a mount of each driver is a layer of another."""

from __future__ import annotations

import os

import pytest

from fusefs import LayerError, Options, Stack, UnionFS, mount
from tests.integration.conftest import Union


def test_the_kernels_overlayfs_takes_a_mount_as_its_lower(union: Union) -> None:
    (union.lower / "file").write_text("1")
    (union.lower / "gone").touch()
    merged = union.mount()
    os.unlink(merged / "gone")
    outer = union.place / "outer"
    for name in ("upper", "work", "merged"):
        (outer / name).mkdir(parents=True)
    options = Options(index=False)
    with mount(
        Stack((merged,), outer / "upper", outer / "work"), outer / "merged", driver="overlayfs", options=options
    ):
        with open(outer / "merged" / "file", "a") as file:
            file.write("2")
        assert os.listdir(outer / "merged") == ["file"]
        assert (outer / "merged" / "file").read_text() == "12"
    assert (merged / "file").read_text() == "1"


def test_a_union_takes_a_mount_as_its_lower_but_not_as_its_upper(union: Union) -> None:
    (union.lower / "lower" / "dir").mkdir(parents=True)
    (union.lower / "lower" / "dir" / "old").touch()
    merged = union.mount()
    for name in ("upper", "work"):
        (merged / name).mkdir()
    place = union.place / "outer"
    for name in ("upper", "work"):
        (place / name).mkdir(parents=True)
    with UnionFS([merged / "lower"], place / "upper", place / "work") as fs:
        fs.unlink("/dir/old")
        fs.rmdir("/dir")
        fs.mkdir("/dir")
        assert fs.listdir("/dir") == []
    assert (merged / "lower" / "dir" / "old").exists()
    if union.driver != "overlayfs":  # which lets .wh. names be made
        with pytest.raises(LayerError, match="another union"):
            UnionFS([merged / "lower"], merged / "upper", merged / "work")
        assert [os.listdir(merged / name) for name in ("upper", "work")] == [[], []]
