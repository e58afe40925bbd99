"""Intervals hold what they say: tried on distributions whose median is known."""

from __future__ import annotations

import random

import pytest

from sim.bench.noise import NoiseMeter, Verdict
from sim.bench.stats import CONFIDENCE, bootstrap, median, middle, paired_ratio
from tests.sim.bench.fakes import Clock, meter


@pytest.mark.parametrize("count", [6, 7, 9, 15, 25])
def test_the_interval_holds_the_true_median_as_often_as_it_says(count: int) -> None:
    draw = random.Random(count)
    true = 0.6931471805599453  # of the exponential distribution
    runs = 2000
    held = 0
    for _ in range(runs):
        found = middle([draw.expovariate(1) for _ in range(count)])
        held += found.low <= true <= found.high
        assert found.confidence >= CONFIDENCE
    assert held / runs > CONFIDENCE - 0.02


def test_few_samples_are_not_sure() -> None:
    assert not middle([1.0]).sure
    assert middle([1.0]).confidence == 0
    assert not middle([1.0, 2.0, 3.0, 4.0]).sure
    assert middle([1.0, 2.0, 3.0, 4.0, 5.0]).sure


def test_many_samples_have_a_narrow_interval() -> None:
    found = middle([float(number) for number in range(101)])
    assert 35 < found.low < found.value == 50 < found.high < 65


def test_only_rounds_that_both_were_in_count() -> None:
    found = paired_ratio({1: 2.0, 2: 9.0, 3: 4.0}, {1: 1.0, 3: 2.0, 4: 1.0})
    assert found is not None
    assert (found.value, found.count) == (2.0, 2)
    assert paired_ratio({1: 1.0}, {2: 1.0}) is None


def test_the_bootstrap_is_the_same_each_time_and_holds_the_median() -> None:
    draw = random.Random(5)
    samples = [draw.gauss(10, 1) for _ in range(40)]
    low, high = bootstrap(samples, median)
    assert (low, high) == bootstrap(samples, median)
    assert 9 < low < median(samples) < high < 11


def test_a_quiet_machine_is_quiet() -> None:
    quiet = meter(Clock())
    for _ in range(50):
        assert not quiet.sample(quiet.probe(), quiet.probe())
    assert quiet.noise().verdict is Verdict.QUIET
    assert quiet.noise().worst == 1.0


@pytest.mark.parametrize(("share", "verdict"), [(0.04, Verdict.QUIET), (0.09, Verdict.UNSTEADY), (0.3, Verdict.NOISY)])
def test_a_machine_that_is_stolen_from_is_not(share: float, verdict: Verdict) -> None:
    ticks = iter([(1000, 10), (2000, 10 + round(1000 * share))])
    noise = NoiseMeter(Clock(), lambda: next(ticks)).noise()
    assert (noise.stolen, noise.verdict) == (share, verdict)


def test_a_real_meter_calibrates_itself() -> None:
    meter = NoiseMeter()
    assert all(meter.probe() >= 1.0 for _ in range(5))
