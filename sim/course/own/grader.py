"""Grading one mount command: the suite is run on it, and a report comes of it.

Decided here and only here: what a report says and how points are counted: a level's points, in proportion to how many
of its tests pass. The suite runs in a pytest of its own, so that a report can be written whatever a submission does.
One thread.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from sim.course.errors import CourseError
from sim.course.own.levels import LEVELS, POINTS, WORDS
from sim.course.own.plugin import COMMAND, FIGURES, PLACE, RESULTS
from sim.course.own.submission import kill_marked, unmount_below
from sim.course.texts import Language, Text

__all__ = ["Graded", "Report", "count_of", "grade", "text"]

_SUITE = Path(__file__).with_name("suite")

#: Seconds for the whole suite.
TIME = 300.0


@dataclass(frozen=True, slots=True)
class Graded:
    """One test's outcome.

    Attributes
    ----------
    level, name
        Which test.
    passed, seconds
        How it went.
    said
        What was found otherwise than it should be.
    figure
        Name of the picture of the failing stack; "" if there is none.
    """

    level: str
    name: str
    passed: bool
    seconds: float
    said: str = ""
    figure: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What a submission is worth.

    Attributes
    ----------
    command
        What was graded.
    tests
        Each test's outcome, in order.
    levels
        Points by level, of those that were graded.
    points, of
        Together.
    stopped
        Why grading was called off before its end; else "".
    """

    command: str
    tests: tuple[Graded, ...]
    levels: dict[str, tuple[float, int]]
    points: float
    of: int
    stopped: str = ""

    def as_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2)


def grade(
    command: Sequence[str],
    *,
    levels: Sequence[str] = LEVELS,
    junit: Path | None = None,
    figures: Path | None = None,
    time: float = TIME,
    first: bool = False,
) -> Report:
    """Grade a mount command.

    Parameters
    ----------
    command
        Its words; LOWER, UPPER, WORK and MNT in them stand for directories.
    levels
        Which levels; others are not counted.
    junit
        File for pytest's own report.
    figures
        Directory for pictures of failing stacks.
    time
        Seconds for all of it.
    first
        Whether to stop at the first test that fails.

    Raises
    ------
    CourseError
        There is no such level, no command, or the grader itself cannot run.
    """
    for level in levels:
        if level not in LEVELS:
            raise CourseError(f"there is no level {level!r}; there are {', '.join(LEVELS)}")
    if not command:
        raise CourseError("name the command that mounts: layerlab grade -- COMMAND LOWER UPPER WORK MNT")
    with tempfile.TemporaryDirectory(prefix="layerlab-grade-") as place:
        results = Path(place) / "results.json"
        stopped = _run(command, levels, results, junit, figures, time, first)
        found = json.loads(results.read_text()) if results.exists() else []
    if not found and not stopped:
        raise CourseError("no test has run; is pytest installed?")
    tests = tuple(
        Graded(one["level"], one["name"], one["passed"], one["seconds"], one["said"], one["figure"]) for one in found
    )
    return _report(shlex.join(command), tests, levels, stopped)


def _run(
    command: Sequence[str],
    levels: Sequence[str],
    results: Path,
    junit: Path | None,
    figures: Path | None,
    time: float,
    first: bool,
) -> str:
    """Run the suite; return why it was called off, if it was."""
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        COMMAND: shlex.join(command),
        RESULTS: str(results),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "agg",
        FIGURES: str(figures.absolute()) if figures is not None else "",
    }
    environment.pop("PYTEST_ADDOPTS", None)
    words = [sys.executable, "-P", "-m", "pytest", "-p", "sim.course.own.plugin", "-c", str(_SUITE / "pytest.ini")]
    words += ["-q", "--tb=short", "-m", " or ".join(levels), str(_SUITE)]
    if first:
        words.append("-x")
    if junit is not None:
        words.append(f"--junitxml={junit.absolute()}")
    process = subprocess.Popen(
        words,
        env={**environment, "TMPDIR": str(results.parent)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=time)
    except subprocess.TimeoutExpired:
        # The submission first: the suite may wait for an answer of it, and cannot even be killed until then.
        kill_marked(f"{RESULTS}={results}")
        process.communicate()
        for left in Path(environment.get(PLACE) or results.parent).glob("grade-*"):
            unmount_below(left)
        return f"it took more than {time:.0f} seconds; stopped"
    if process.returncode not in (0, 1, 2):
        said = output.decode(errors="replace").strip().splitlines()[-1:]
        raise CourseError(f"the suite could not run: {said[0] if said else process.returncode}")
    if process.returncode == 2:
        return "it was stopped too often; the other tests count as failed"
    return ""


def count_of(level: str) -> int:
    """Return how many tests a level has.

    >>> count_of("lookup")
    10
    """
    (file,) = _SUITE.glob(f"graded_*_{level}.py")
    return sum(line.startswith("def test_") for line in file.read_text().splitlines())


def _report(command: str, tests: tuple[Graded, ...], levels: Sequence[str], stopped: str) -> Report:
    points: dict[str, tuple[float, int]] = {}
    for level in levels:
        mine = [test for test in tests if test.level == level]
        passed = sum(test.passed for test in mine)
        points[level] = (round(POINTS[level] * passed / count_of(level), 1), POINTS[level])
    got = round(sum(value for value, _ in points.values()), 1)
    return Report(command, tests, points, got, sum(of for _, of in points.values()), stopped)


def text(report: Report, language: Language) -> str:
    """Return a report for people."""
    lines = [report.command, ""]
    for level, (points, of) in report.levels.items():
        words = Text(f"{points:g} of {of} points", f"{of} 分中得 {points:g} 分").in_(language)
        lines.append(f"{level:<9} {words:<20} {WORDS[level].in_(language)}")
        for test in report.tests:
            if test.level == level:
                name = test.name.removeprefix("test_").replace("_", " ")
                lines.append(f"  {'✓' if test.passed else '✗'} {name}")
                if test.said:
                    lines.append(f"      {test.said}")
    if report.stopped:
        lines += ["", Text(f"stopped: {report.stopped}", f"已终止：{report.stopped}").in_(language)]
    total = Text(f"{report.points:g} of {report.of} points", f"{report.of} 分中共得 {report.points:g} 分")
    return "\n".join([*lines, "", total.in_(language)])
