"""A result survives its file, and what is no result is refused with a reason."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from sim.bench.compare import Tendency, compare, comparison_table
from sim.bench.errors import ResultError
from sim.bench.result import Case, Result
from sim.bench.tables import markdown, table
from tests.sim.bench.results import NOISY, result, series, whole


def test_it_is_the_same_after_its_file(tmp_path: Path) -> None:
    before = whole()
    before.save(tmp_path / "x.json")
    assert Result.load(tmp_path / "x.json") == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_the_file_is_fit_for_a_repository(tmp_path: Path) -> None:
    """Lists of numbers are lines, so that a change is seen where it is; the whole is still JSON."""
    whole().save(tmp_path / "x.json")
    lines = (tmp_path / "x.json").read_text().splitlines()
    assert json.loads((tmp_path / "x.json").read_text())["schema"] == 1
    assert any(line.strip().startswith('"seconds": [') and line.rstrip(",").endswith("]") for line in lines)
    assert len(lines) < 30 * len(whole().series)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no result of `layerlab bench`"),
        (b"{}", "missing required field"),
        (b"[1, 2]", "no result of `layerlab bench`"),
        (b"\xff\xfe", "no result of `layerlab bench`"),
        (b'{"title": 1}', "no result of `layerlab bench`"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ResultError, match=words):
        Result.load(tmp_path / "x.json")


def test_a_result_of_another_version_is_refused(tmp_path: Path) -> None:
    whole().save(tmp_path / "x.json")
    text = (tmp_path / "x.json").read_text().replace('"schema": 1', '"schema": 99')
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ResultError, match="schema 99, not 1"):
        Result.load(tmp_path / "x.json")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ResultError, match="No such file"):
        Result.load(tmp_path / "x.json")


def test_csv_has_every_sample() -> None:
    made = whole(("overlayfs", "devfuse"))
    rows = list(csv.DictReader(io.StringIO(made.to_csv())))
    assert len(rows) == sum(len(one.seconds) for one in made.series)
    first = made.series[0]
    assert rows[0]["workload"] == first.case.workload
    assert float(rows[0]["seconds"]) == pytest.approx(first.seconds[0], rel=1e-6)


def test_a_table_has_the_references_time_and_the_others_ratios() -> None:
    case = Case("append", 4096)
    made = table(result([series(case, "overlayfs", 1e-3), series(case, "devfuse", 2e-3)]))
    assert made.head == ("", "overlayfs", "devfuse")
    ((name, time, ratio),) = made.rows
    assert name == "append, 4 KiB"
    assert time.startswith("1.0")
    assert time.endswith("%")
    assert 1.9 < float(ratio) < 2.1
    assert markdown(made).splitlines()[1] == "|---|---:|---:|"


def test_a_table_without_the_reference_takes_another() -> None:
    case = Case("append", 4096)
    made = table(result([series(case, "in-process", 1e-3)]))
    assert made.head == ("", "in-process")


def test_a_noisy_machine_puts_a_question_mark_behind_what_the_noise_alone_may_make() -> None:
    case = Case("append", 4096)
    times = [("overlayfs", 1e-3), ("devfuse", 2e-3), ("fuse-python", 4e-3), ("plain", 1e-4)]
    made = table(result([series(case, name, time) for name, time in times], noise=NOISY))
    assert NOISY.doubt == 3.0
    assert [cell.endswith(" ?") for cell in made.rows[0][2:]] == [True, False, False]
    quiet = table(result([series(case, name, time) for name, time in times]))
    assert not any(cell.endswith("?") for cell in quiet.rows[0])


# Two results


def test_compare_finds_what_changed_and_only_that() -> None:
    before = whole(("overlayfs", "devfuse"))
    after = whole(("overlayfs", "devfuse"), scale=lambda name: 1.3 if name == "devfuse" else 1.0)
    found = compare(before, after)
    slower = {change.what for change in found.changes if change.tendency is Tendency.SLOWER}
    assert slower
    assert all(what.endswith("devfuse") for what in slower)
    assert not [change for change in found.changes if change.tendency is Tendency.FASTER]
    assert 1.0 < found.mean < 1.3
    assert found.warnings == ()
    back = compare(after, before)
    assert {change.what for change in back.changes if change.tendency is Tendency.FASTER} == slower
    assert comparison_table(back).rows[0][4] == "faster"


def test_compare_tells_of_other_machines_and_noise() -> None:
    one = [series(Case("stat", entries=10), "overlayfs", 1e-6)]
    other = result(one, noise=NOISY, machine={"processor": "Slide rule", "kernel": "Linux 7.1"}, finished=False)
    found = compare(result(one), other)
    assert [change.tendency for change in found.changes] == [Tendency.UNKNOWN]
    much = compare(result(one), result([series(Case("stat", entries=10), "overlayfs", 5e-6)], noise=NOISY))
    assert [change.tendency for change in much.changes] == [Tendency.SLOWER]
    words = "\n".join(found.warnings)
    assert "processor: Abacus before, Slide rule after" in words
    assert "too noisy to tell" in words
    assert "interrupted" in words


def test_compare_names_what_only_one_has() -> None:
    stat, find = Case("stat", entries=10), Case("find", entries=10)
    before = result([series(stat, "overlayfs", 1e-6), series(find, "overlayfs", 1e-3)])
    after = result([series(stat, "overlayfs", 1e-6), series(stat, "devfuse", 1e-6)])
    found = compare(before, after)
    assert found.only_before == ("find, 10 entries: overlayfs",)
    assert found.only_after == ("stat, 10 entries: devfuse",)
    with pytest.raises(ResultError, match="no case and driver in common"):
        compare(result([series(stat, "a", 1e-6)]), result([series(stat, "b", 1e-6)]))


def test_a_table_of_other_drivers_is_about_them() -> None:
    """Engines are in a result beside storage drivers, and are compared with each other."""
    stat, start = Case("stat", entries=10), Case("container-start")
    made = result([series(stat, "overlayfs", 1e-6), series(start, "podman", 1.0), series(start, "docker", 2.0)])
    assert table(made, [start]).head == ("", "podman", "docker")
    assert table(made, [start]).rows[0][1].startswith("1.0")
