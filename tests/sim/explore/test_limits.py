"""The check for continuous integration: the rules, fairness to small images, where limits come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.explore import Limits, LimitsError, judge, read_limits
from sim.graph import Entry, EntryType, Layer, LayerStack, Role
from tests.sim.graph.test_measures import stacks

MIB = 1 << 20


def stack(*layers: dict[str, int]) -> LayerStack:
    """Make a stack from sizes by path, the lowest layer first; -1 is a whiteout."""
    made = []
    for number, files in enumerate(layers):
        table = {"/": Entry("/", EntryType.DIRECTORY)}
        for path, size in files.items():
            kind = EntryType.WHITEOUT if size < 0 else EntryType.FILE
            table[path] = Entry(path, kind, max(size, 0))
        made.append(Layer(str(number), str(number), Role.RO, lambda table=table: table))  # type: ignore[misc]
    return LayerStack("image", tuple(reversed(made)))


def came_out(found: LayerStack, limits: Limits) -> dict[str, bool | None]:
    return {rule.name: rule.passed for rule in judge(found, limits).rules}


def test_an_image_without_waste_passes() -> None:
    verdict = judge(stack({"/a": 5 * MIB}, {"/b": 9}), Limits())
    assert verdict.passed
    assert (verdict.total, verdict.wasted) == (5 * MIB + 9, 0)


def test_what_a_later_layer_deletes_is_wasted() -> None:
    big = stack({"/a": 5 * MIB}, {"/cache": 50 * MIB}, {"/cache": -1})
    assert came_out(big, Limits()) == {
        "lowest-efficiency": False,
        "highest-wasted-bytes": None,
        "highest-wasted-percent": False,
    }
    assert came_out(big, Limits(0.05, 60 * MIB, 100)) == {
        "lowest-efficiency": True,
        "highest-wasted-bytes": True,
        "highest-wasted-percent": True,
    }
    assert came_out(big, Limits(None, 50 * MIB - 1, None))["highest-wasted-bytes"] is False


def test_a_small_image_is_not_failed_for_a_small_file() -> None:
    small = stack({"/busybox": 900_000, "/passwd": 1000}, {"/passwd": 1100}, {"/passwd": 1200})
    verdict = judge(small, Limits())
    assert verdict.passed
    assert "2,100 wasted bytes are negligible" in [rule.why for rule in verdict.rules]
    # The same proportions in a large image are a matter of megabytes, and fail.
    assert not judge(small, replace(Limits(), negligible_bytes=0)).passed
    assert judge(small, replace(Limits(), highest_wasted_bytes=2099)).passed is False


def test_what_lies_in_the_lowest_layer_is_not_the_fault_of_those_above() -> None:
    found = stack({"/a": 10 * MIB, "/doc": 5 * MIB}, {"/doc": -1, "/app": 100})
    rules = {rule.name: rule for rule in judge(found, Limits()).rules}
    assert rules["lowest-efficiency"].passed is False
    assert (rules["highest-wasted-percent"].passed, rules["highest-wasted-percent"].found) == (None, "0.0 %")


@given(stacks, st.integers(0, 50))
def test_a_verdict_adds_up(found: LayerStack, little: int) -> None:
    verdict = judge(found, Limits(1.0, 0, 0.0, little))
    assert verdict.wasted == sum(one.bytes for one in verdict.worst)
    assert verdict.passed == (verdict.wasted == 0)


def test_limits_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    file.write_text('lowest-efficiency = "95%"\nhighest-wasted-bytes = "20MB"\nhighest-wasted-percent = false\n')
    assert read_limits(file) == Limits(0.95, 20_000_000, None, MIB)
    file.write_text("negligible-bytes = 0\n")
    assert read_limits(file, Limits(0.5)) == Limits(0.5, negligible_bytes=0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lowest = 1", "there is no limit 'lowest'"),
        ("lowest-efficiency = 2", "from 0 to 1"),
        ("lowest-efficiency = true", "has to be a number or a text"),
        ("highest-wasted-bytes = 'much'", "is no number of bytes"),
        ("negligible-bytes = false", "has to be a number"),
        ("[", "cannot be read"),
    ],
)
def test_limits_that_make_no_sense(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(text)
    with pytest.raises(LimitsError, match=said):
        read_limits(file)
    with pytest.raises(LimitsError, match="cannot be read"):
        read_limits(tmp_path / "none.toml")
