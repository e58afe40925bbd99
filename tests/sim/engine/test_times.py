"""Moments and spans as clients write them."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.engine.errors import BadParameterError
from sim.engine.times import duration, moment

SECOND = 10**9


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1.000000001", SECOND + 1),
        ("1970-01-01", 0),
        ("1970-01-01T00:00", 0),
        ("1970-01-01T00:00:01.5", SECOND + SECOND // 2),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1970-01-01T00:00:00.123456789Z", 123456789),
    ],
)
def test_moments(text: str, expected: int) -> None:
    assert moment(text) == expected


@pytest.mark.parametrize("text", ["10m", "1h30m", "1.5h", "2h45m30.5s"])
def test_spans_count_back_from_now(text: str) -> None:
    span = duration(text)
    assert span is not None
    assert abs(time.time_ns() - span - moment(text)) < SECOND


@given(st.text(max_size=30))
def test_whatever_comes_is_a_moment_or_refused(text: str) -> None:
    with contextlib.suppress(BadParameterError):
        assert isinstance(moment(text), int)


@pytest.mark.parametrize("text", ["soon", "", "1d", "1970-13-01", "h", "--1h"])
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(BadParameterError):
        moment(text)
