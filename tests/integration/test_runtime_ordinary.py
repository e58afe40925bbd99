"""The runtime's own tests, all of them, as an ordinary user: what needs root is skipped there, the rest must pass."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, User


@pytest.mark.timeout(300)
def test_the_runtimes_tests_as_an_ordinary_user(user: User, root: None) -> None:
    code = f"import os, pytest; os.chdir({str(ROOT)!r}); raise SystemExit(pytest.main({_arguments(user.home)!r}))"
    storage = {"HYPOTHESIS_STORAGE_DIRECTORY": str(user.home / "examples"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = user.run([sys.executable, "-c", code], environment=storage, timeout=280)
    if "new user namespace" in done.stdout and "Operation not permitted" in done.stdout:
        pytest.skip("an ordinary user may make no user namespace here")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) > 180, done.stdout[-2000:]


def _arguments(home: Path) -> list[str]:
    place = os.fspath(home / "base")
    return ["tests/sim/runtime", "-q", "-p", "no:cacheprovider", "--timeout", "60", "--basetemp", place]
