"""The README's tables are what the command makes of the result file that is in the repository."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.bench.errors import ResultError
from sim.bench.readme import BEGIN, END, section
from sim.bench.result import Result
from tests.sim.bench.results import NOISY, whole

ROOT = Path(__file__).resolve().parents[3]
RESULT = ROOT / "tests/benchmarks/results/reference.json"


def test_the_readme_says_what_the_result_says() -> None:
    text = (ROOT / "README.md").read_text()
    if BEGIN not in text or not RESULT.exists():
        pytest.skip("the README has no results yet")
    shown = text.partition(BEGIN)[2].partition(END)[0].strip()
    made = section(Result.load(RESULT)).strip()
    assert shown == made, f"`layerlab bench table {RESULT.relative_to(ROOT)}` prints what belongs between the marks"


def test_the_result_in_the_repository_is_whole_and_small() -> None:
    if not RESULT.exists():
        pytest.skip("there is no result yet")
    found = Result.load(RESULT)
    assert found.finished
    assert RESULT.stat().st_size < 1 << 20
    assert "root" in found.machine["user"]


def test_a_section_names_the_machine_and_the_command() -> None:
    text = section(whole())
    assert (
        "Measured on 2 of 2 processors (Abacus), 1 GiB, Linux 7.0, files on ext4; 9 samples each; the machine was quiet"
        in text
    )
    assert "`layerlab bench copy-up --json FILE` makes it again" in text
    heads = [line for line in text.splitlines() if line.startswith("|  |")]
    assert len(heads) == 4  # copy-up, metadata, data, jobs
    assert all("fuse-overlayfs-best" in head and "in-process" not in head for head in heads)
    assert "| append, 64 KiB, ext4 |" in text
    assert all(line.count("|") == heads[0].count("|") for line in text.splitlines() if line.startswith("|"))


def test_a_noisy_result_says_so() -> None:
    assert "the machine was too noisy to tell" in section(whole(noise=NOISY))


def test_nothing_measured(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(ResultError):
        Result.load(tmp_path / "x.json")
