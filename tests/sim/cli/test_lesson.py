"""`layerlab lesson`: each sub-command, in both languages, and what bad input gets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sim.course import exercises
from tests.conftest import User


def run(place: Path, *arguments: str, lang: str = "en") -> subprocess.CompletedProcess[str]:
    """Run the command in a directory."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "sim.cli", "lesson", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=place,
        env={**os.environ, "LAYERLAB_LANG": lang, "LC_ALL": "C.UTF-8"},
    )


def test_from_start_to_solution(tmp_path: Path) -> None:
    assert "Union lookup" in run(tmp_path, "list").stdout
    assert "联合查找" in run(tmp_path, "list", lang="zh").stdout
    started = run(tmp_path, "start", "3")
    assert "3.1  Put a layer on top" in started.stdout
    home = tmp_path / "layerlab-lesson-3"
    failed = run(tmp_path, "check", "3")
    assert failed.returncode == 1
    assert failed.stdout.count("✗") == 2
    assert run(home, "check", "3.1", lang="zh").stdout.startswith("✗ 3.1  还没有目录 hotfix")
    exercises.track(3).solve(home)
    passed = run(home, "check", "--json")
    assert passed.returncode == 0
    assert [one["passed"] for one in json.loads(passed.stdout)] == [True, True]
    assert run(tmp_path, "reset", "3").returncode == 0
    assert run(tmp_path, "check", "3").returncode == 1


def test_hints_come_one_after_the_other(tmp_path: Path) -> None:
    run(tmp_path, "start", "3")
    said = [run(tmp_path, "hint", "3.1").stdout[:3] for _ in range(3)]
    assert said == ["1/2", "2/2", "2/2"]
    assert "1/2" in run(tmp_path, "hint", "3.1", "--all", lang="zh").stdout
    assert "hotfix/etc/motd" in run(tmp_path, "solution", "3.1").stdout
    assert "Key points" in run(tmp_path, "read", "3").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["check", "4"], 1, "no lesson was started here"),
        (["check"], 1, "no lesson was started here"),
        (["check", "x"], 2, "neither a lesson"),
        (["hint", "3.9"], 2, "no exercise"),
        (["hint", "3"], 2, "no exercise"),
        (["start", "99"], 1, "there is no lesson 99"),
        (["start", "3", "--dir", "/proc/nothing"], 1, "/proc/nothing"),
        (["reset"], 1, "no lesson was started here"),
    ],
)
def test_bad_input_gets_a_line(arguments: list[str], status: int, said: str, tmp_path: Path) -> None:
    done = run(tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_it_works_for_an_ordinary_user(user: User) -> None:
    for arguments in (["start", "4"], ["check", "4"], ["reset", "4"]):
        done = user.run([sys.executable, "-P", "-m", "sim.cli", "lesson", *arguments])
        assert done.returncode == (1 if arguments[0] == "check" else 0), done.stderr
