"""A program is read once, however often it is executed, also where each read is recorded."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fusefs
from fusefs import Journal, Kind, Level, Stack
from tests.patience import until

pytestmark = pytest.mark.usefixtures("fuse")


@pytest.fixture
def view(tmp_path: Path, tool: Callable[[str], str]) -> Iterator[Path]:
    for name in ("base", "upper", "work", "view"):
        (tmp_path / name).mkdir()
    shutil.copy(tool("busybox"), tmp_path / "base/busybox")
    stack = Stack((tmp_path / "base",), tmp_path / "upper", tmp_path / "work")
    with fusefs.mount(stack, tmp_path / "view", driver="devfuse", journal=tmp_path / "journal.db", level=Level.ALL):
        yield tmp_path / "view"


def run(view: Path, *words: str) -> str:
    return subprocess.run([view / "busybox", *words], capture_output=True, text=True, timeout=60, check=True).stdout


def kinds(view: Path, kind: Kind) -> list[int]:
    """Return the sizes of what has been recorded of the program; what was last done to the view is there by then."""
    marker = f"/marker-{len(os.listdir(view))}"
    (view / marker[1:]).touch()

    def told() -> list[tuple[Kind, str, int]]:
        with Journal(view.parent / "journal.db") as journal:
            return [(each.kind, each.path, each.size) for each in journal.operations()]

    until(lambda: any(path == marker for _, path, _ in told()))
    return [size for one, path, size in told() if one is kind and path == "/busybox"]


def test_a_program_is_read_when_it_is_first_executed(view: Path) -> None:
    assert run(view, "echo", "1") == "1\n"
    first = kinds(view, Kind.READ)
    assert sum(first) > 100_000
    opened = len(kinds(view, Kind.OPEN))
    with open(view / "busybox", "rb") as held:  # so that the kernel does not forget it meanwhile
        for number in range(3):
            assert run(view, "echo", str(number)) == f"{number}\n"
        assert len(kinds(view, Kind.OPEN)) >= opened + 4
        assert kinds(view, Kind.READ) == first
        assert len(held.read(5000)) == 5000
        assert len(kinds(view, Kind.READ)) > len(first)


def test_a_program_that_was_changed_is_executed_as_it_is_now(view: Path) -> None:
    assert run(view, "echo", "1") == "1\n"
    other = b"#!/bin/sh\necho another\n"
    with open(view / "busybox", "r+b") as file:
        file.write(other)
        file.truncate(len(other))
    assert run(view, "echo", "1") == "another\n"
    assert (view.parent / "base/busybox").stat().st_size > 100_000
