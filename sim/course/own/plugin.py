"""What pytest needs to grade: the fixture `pair`, and a record of each test's outcome.

Decided here: how a test's pair is made and ended, and what is written about it. Loaded by `grader` with `-p`; the
command, and where to write, come by the environment. One thread.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from sim.course.own.levels import LEVELS
from sim.course.own.pair import Pair
from sim.course.own.submission import ForksError, StoppedError

__all__ = ["COMMAND", "FIGURES", "PLACE", "RESULTS"]

COMMAND = "LAYERLAB_GRADE_COMMAND"
RESULTS = "LAYERLAB_GRADE_RESULTS"
FIGURES = "LAYERLAB_GRADE_FIGURES"

#: Where stacks are laid out; the directory for temporary files if it is not set.
PLACE = "LAYERLAB_GRADE_PLACE"

#: A submission that was stopped so often without a test between is not tried any more.
_IN_A_ROW = 3

_results: list[dict[str, Any]] = []


@pytest.fixture
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Return a submission and the reference; afterwards compare what they left."""
    home = Path(tempfile.mkdtemp(prefix="grade-", dir=os.environ.get(PLACE) or None))
    aside = Path(tempfile.mkdtemp(prefix="grade-"))
    made = Pair(shlex.split(os.environ[COMMAND]), home, aside)
    request.node.stash[_PAIR] = made
    try:
        yield made
        if request.node.stash.get(_WENT_WELL, False):
            made.finish()
    finally:
        made.close()
        _draw(request, made)
        for directory in (home, aside):
            shutil.rmtree(directory, ignore_errors=True)


_PAIR = pytest.StashKey[Pair]()
_WENT_WELL = pytest.StashKey[bool]()


def _draw(request: pytest.FixtureRequest, made: Pair) -> None:
    """Draw the stack of a test that failed."""
    place = os.environ.get(FIGURES)
    if not place or (request.node.stash.get(_WENT_WELL, False) and not os.environ.get("LAYERLAB_GRADE_ALL")):
        return
    file = Path(place) / f"{request.node.name}.png"
    try:
        made.draw(file)
    except Exception:  # a stack in any state must not hide what the test found
        file.unlink(missing_ok=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep what came of a test: a failure while it is ended counts as one."""
    report = yield
    if call.when == "call":
        item.stash[_WENT_WELL] = report.passed
    if call.when == "call" or not report.passed:
        level = next(name for name in LEVELS if item.get_closest_marker(name))
        said = "" if report.passed else _said(call)
        name = item.name
        _results[:] = [one for one in _results if one["name"] != name or not one["passed"]]
        if not any(one["name"] == name for one in _results):
            _results.append(
                {
                    "level": level,
                    "name": name,
                    "passed": report.passed,
                    "seconds": round(call.duration, 3),
                    "said": said,
                    "stopped": bool(call.excinfo and call.excinfo.errisinstance(StoppedError)),
                    "figure": f"{name}.png" if said and os.environ.get(FIGURES) else "",
                }
            )
            _write()
        if len(_results) >= _IN_A_ROW and all(one["stopped"] for one in _results[-_IN_A_ROW:]):
            item.session.shouldstop = "stopped three times in a row"
        if call.excinfo and call.excinfo.errisinstance(ForksError):
            item.session.shouldstop = "forks"
    return report


def _said(call: pytest.CallInfo[None]) -> str:
    """Return why a test failed, in one line."""
    assert call.excinfo is not None
    text = str(call.excinfo.value) or call.excinfo.typename
    return " ".join(text.split("\nassert")[0].split())


def _write() -> None:
    file = Path(os.environ[RESULTS])
    aside = file.with_suffix(".new")
    aside.write_text(json.dumps(_results))
    os.replace(aside, file)
