"""A directory's descriptor is never used without holding the directory, which would close it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import fusefs

SOURCES = sorted(Path(fusefs.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_descriptor_of_a_directory_that_nobody_holds(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr == "fd" and isinstance(node.value, ast.Call):
            called = node.value.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            assert "irectory" not in name, f"{path.name}:{node.lineno}: give the directory a name while it is used"
