"""`layerlab predict`: on a terminal, and in one call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from sim.course.predict import Form, make
from tests.conftest import User


def run(place: Path, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command with its state in `place`."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "sim.cli", "predict", *arguments],
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        cwd=place,
        env={**os.environ, "XDG_STATE_HOME": str(place), "LC_ALL": "C.UTF-8"},
    )


def test_it_asks_until_it_is_told_to_end(tmp_path: Path) -> None:
    right = "abcd"[make(Form.STATE, 1, 4).right]
    done = run(tmp_path, "--form", "state", "--seed", "4", typed=f"perhaps\n{right}\nnothing at all\nq\n")
    assert done.returncode == 0, done.stderr
    assert "state-1-4" in done.stdout
    assert "state-1-5" in done.stdout
    assert "1 of 1 right" in done.stdout
    assert "1 of 1" in run(tmp_path, "--score").stdout


def test_one_answer_gives_a_status(tmp_path: Path) -> None:
    problem = make(Form.OPERATION, 2, 3)
    right = problem.choices[problem.right].text
    good = run(tmp_path, "--form", "operation", "--level", "2", "--seed", "3", "--answer", right, "--figure", "a.png")
    assert (good.returncode, good.stdout.splitlines()[0]) == (0, "right")
    assert (tmp_path / "a.png").stat().st_size > 1000
    bad = run(tmp_path, "--form", "operation", "--level", "2", "--seed", "3", "--answer", "touch /x", "--lang", "zh")
    assert bad.returncode == 1
    assert "不对" in bad.stdout
    unclear = run(tmp_path, "--form", "operation", "--seed", "3", "--answer", "hm")
    assert unclear.returncode == 2


def test_json_has_all_but_the_answer(tmp_path: Path) -> None:
    asked = json.loads(run(tmp_path, "--form", "bytes", "--seed", "3", "--json").stdout)
    assert len(asked["choices"]) == 4
    assert "answer" not in asked
    told = json.loads(run(tmp_path, "--form", "bytes", "--seed", "3", "--json", "--answer", "a").stdout)
    assert told["answer"] in asked["choices"]


def test_it_works_for_an_ordinary_user(user: User) -> None:
    done = user.run([sys.executable, "-P", "-m", "sim.cli", "predict", "--seed", "4", "--level", "3", "--answer", "a"])
    assert done.returncode in (0, 1), done.stderr
    assert (user.home / ".local/state/layerlab/predict.json").exists()
