"""The skeletons: each is a program, fails its own level, and is the solution of the one before."""

from __future__ import annotations

import ast
import itertools
import sys
from pathlib import Path

import pytest

from sim.course.errors import CourseError
from sim.course.own.grader import count_of, grade
from sim.course.own.levels import LEVELS, POINTS, skeleton, solution


def test_a_solution_is_the_next_skeleton() -> None:
    for one, following in itertools.pairwise(LEVELS):
        assert solution(one) == skeleton(following)
    texts = [skeleton(LEVELS[0]), *(solution(level) for level in LEVELS)]
    assert len(set(texts)) == len(texts)
    for text in texts:
        ast.parse(text)
        assert "# begin" not in text
        assert "# end" not in text
    assert "ENOSYS" not in solution(LEVELS[-1])
    with pytest.raises(CourseError, match="no level 'flying'"):
        skeleton("flying")
    assert sum(POINTS.values()) == 100
    assert all(count_of(level) >= 5 for level in LEVELS)


@pytest.mark.usefixtures("fuse")
@pytest.mark.parametrize("level", LEVELS[::2])  # the others are tried by the next one, and by lesson 12
def test_a_solution_passes_its_level_and_not_yet_the_next(level: str, tmp_path: Path) -> None:
    following = LEVELS[LEVELS.index(level) + 1 :][:1]
    file = tmp_path / "union.py"
    file.write_text(solution(level))
    report = grade([sys.executable, str(file), "LOWER", "UPPER", "WORK", "MNT"], levels=[level, *following])
    assert report.levels[level] == (POINTS[level], POINTS[level]), [test.said for test in report.tests]
    for other in following:  # this solution is its skeleton
        assert report.levels[other][0] <= POINTS[other] / 2


@pytest.mark.usefixtures("fuse")
def test_the_first_skeleton_fails(tmp_path: Path) -> None:
    file = tmp_path / "union.py"
    file.write_text(skeleton(LEVELS[0]))
    report = grade([sys.executable, str(file)], levels=LEVELS[:1])
    assert report.points == 0
    assert "ENOSYS" in report.tests[0].said
