"""The command `explore`: the check for continuous integration, and where looking around is refused."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pexpect  # type: ignore[import-untyped]
import pytest

from sim.cli.main import run
from tests.sim.explore.conftest import dirs as dirs


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAYERLAB_ROOT", str(tmp_path / "data"))


@pytest.fixture
def word(dirs: list[Path]) -> str:
    return ":".join(map(str, dirs))


def test_a_small_image_passes(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explore", word, "--ci"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "clean:app:base: 5.4 KiB in 3 layers"
    assert "     1000 B  /var/cache/index in layer 3, deleted by layer 2" in out
    assert out[-4] == "skip  lowest-efficiency 75.8% (limit 90.0%): 1,340 wasted bytes are negligible"
    assert out[-1] == "result: pass"


def test_limits_fail_it(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explore", word, "--ci", "--negligible-bytes", "0"]) == 1
    assert "FAIL  lowest-efficiency 75.8% (limit 90.0%)" in capsys.readouterr().out
    assert run(["explore", word, "--ci", "--highest-wasted-bytes", "1KB"]) == 1
    assert "FAIL  highest-wasted-bytes 1,340 (limit 1,000)" in capsys.readouterr().out


def test_a_file_of_limits_and_options_over_it(word: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".layerlab-ci.toml").write_text("highest-wasted-bytes = 1000\n")
    assert run(["explore", word, "--ci"]) == 1
    assert run(["explore", word, "--ci", "--highest-wasted-bytes", "2KiB"]) == 0
    (tmp_path / "other.toml").write_text("highest-wasted-bytes = false\n")
    assert run(["explore", word, "--ci", "--limits", "other.toml"]) == 0


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--ci", "--lowest-efficiency", "2"], 2, "'2' is no part of the whole"),
        (["--ci", "--limits", "none.toml"], 1, "the limits cannot be read"),
        (["--lowest-efficiency", "0.5"], 2, "limits are for --ci"),
        ([], 2, "needs a terminal"),
    ],
)
def test_bad_input(word: str, words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explore", word, *words]) == status
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_what_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explore", "nothing", "--ci"]) == 1
    assert "'nothing' is no file, directory, container or image" in capsys.readouterr().err


def test_in_a_real_terminal(word: str) -> None:
    child = pexpect.spawn(
        sys.executable, ["-m", "sim.cli", "explore", word], dimensions=(24, 80), encoding="utf-8", timeout=60,
        cwd=str(Path(__file__).parents[3]),
    )  # fmt: skip
    child.expect(re.compile("clean:app:base.*3 layers", re.S))
    child.expect("Search")
    child.send("w")
    child.expect("Sizes and waste")
    child.send("q")
    child.send("q")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
