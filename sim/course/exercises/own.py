"""Lesson 12, write your own: a union filesystem, graded level by level.

Decided here: which levels an exercise wants, and that a check is a run of the grader. One thread.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sim.course.bench import Bench
from sim.course.errors import NotYetError
from sim.course.exercises import Check, Track
from sim.course.own.grader import grade
from sim.course.own.levels import POINTS, skeleton, solution
from sim.course.texts import Text

__all__ = ["TRACK"]


def _prepare(home: Path) -> tuple[str, ...]:
    (home / "union.py").write_text(skeleton("lookup"))
    return ()


def _solve(home: Path) -> None:
    (home / "union.py").write_text(solution("opaque"))


def _levels(*levels: str) -> Check:
    def check(bench: Bench) -> Text:
        program = bench.home / "union.py"
        if not program.is_file():
            raise NotYetError(
                "there is no union.py; `layerlab grade --skeleton lookup > union.py` gives you one to begin with",
                "没有 union.py；用 `layerlab grade --skeleton lookup > union.py` 可以得到一份起始程序",
            )
        words = [sys.executable, str(program.absolute()), "LOWER", "UPPER", "WORK", "MNT"]
        report = grade(words, levels=levels, figures=bench.home / "figures", first=True)
        failed = next((test for test in report.tests if not test.passed), None)
        if failed is not None:
            name = failed.name.removeprefix("test_").replace("_", " ")
            raise NotYetError(
                f"the first test that fails, of level {failed.level}: {name}: {failed.said}",
                f"第一个失败的测试（级别 {failed.level}）：{name}：{failed.said}",
            )
        return Text(f"{report.points:g} of {report.of} points", f"{report.of} 分中得 {report.points:g} 分")

    assert all(level in POINTS for level in levels)
    return check


TRACK = Track(
    12,
    None,
    _prepare,
    _solve,
    {"12.1": _levels("lookup", "readdir"), "12.2": _levels("whiteout", "copyup"), "12.3": _levels("rename", "opaque")},
    costly=True,
)
