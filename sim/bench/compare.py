"""Two results against each other: what became faster, what slower, what cannot be told.

Decided here and only here: when a difference counts. The runs were made at different times, so nothing pairs their
samples: the ratio is that of the medians, its interval is found by bootstrap over both. It counts when the interval is
clear of 1 by more than `SMALL`, and on a noisy machine by more than the noise alone makes. Functions only; any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sim.bench.errors import ResultError
from sim.bench.noise import Verdict
from sim.bench.result import Result, Series
from sim.bench.stats import bootstrap, geometric_mean, median
from sim.bench.tables import Table, case_text, seconds_text

__all__ = ["SMALL", "Change", "Comparison", "Tendency", "compare", "comparison_table"]

#: A difference smaller than this share is of no interest: other things move it as much (memory layout, the disk).
SMALL = 0.03


class Tendency(StrEnum):
    """What a change is."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "no difference found"
    UNKNOWN = "cannot be told"


@dataclass(frozen=True, slots=True)
class Change:
    """One driver in one case, before and after.

    Attributes
    ----------
    what
        In words.
    before, after
        Median times, seconds.
    ratio, low, high
        After by before, and its interval.
    tendency
        What follows.
    """

    what: str
    before: float
    after: float
    ratio: float
    low: float
    high: float
    tendency: Tendency


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two results.

    Attributes
    ----------
    changes
        What both have.
    mean
        Geometric mean of all ratios.
    only_before, only_after
        What only one of them has, in words.
    warnings
        Why it may say nothing: other machine, other kernel, noise.
    """

    changes: tuple[Change, ...]
    mean: float
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    warnings: tuple[str, ...]


def compare(before: Result, after: Result) -> Comparison:
    """Compare two results.

    Raises
    ------
    ResultError
        They have nothing in common.
    """
    old = {(one.case, one.driver): one for one in before.series}
    new = {(one.case, one.driver): one for one in after.series}
    both = [key for key in old if key in new]
    if not both:
        raise ResultError("the two results have no case and driver in common; measure the same again")
    doubt = max(before.noise.doubt, after.noise.doubt)
    changes = [_change(old[key], new[key], doubt=doubt) for key in both]
    warnings = [
        f"{name}: {before.machine.get(name, 'unknown')} before, {after.machine.get(name, 'unknown')} after"
        for name in ("processor", "processors", "memory", "kernel", "user", "governor", "Python")
        if before.machine.get(name) != after.machine.get(name)
    ]
    for when, result in (("before", before), ("after", after)):
        if result.noise.verdict is not Verdict.QUIET:
            warnings.append(f"{when}: {result.noise.words}")
        if not result.finished:
            warnings.append(f"{when}: the run was interrupted")
    for name in before.filesystems.keys() & after.filesystems.keys():
        if before.filesystems[name] != after.filesystems[name]:
            warnings.append(f"{name}: {before.filesystems[name]} before, {after.filesystems[name]} after")
    return Comparison(
        tuple(changes),
        geometric_mean([change.ratio for change in changes]),
        tuple(_words(old[key]) for key in old if key not in new),
        tuple(_words(new[key]) for key in new if key not in old),
        tuple(warnings),
    )


def _words(series: Series) -> str:
    return f"{case_text(series.case)}: {series.driver}"


def _change(old: Series, new: Series, *, doubt: float) -> Change:
    before, after = median(old.seconds), median(new.seconds)
    # Drawn together: an index below the number of old samples is one of them.
    pool: Sequence[tuple[int, float]] = [*((0, one) for one in old.seconds), *((1, one) for one in new.seconds)]

    def ratio(drawn: Sequence[tuple[int, float]]) -> float:
        first = [one for side, one in drawn if side == 0]
        second = [one for side, one in drawn if side == 1]
        return median(second) / median(first) if first and second and median(first) else after / before

    low, high = bootstrap(pool, ratio)
    few = min(len(old.seconds), len(new.seconds)) < 5
    if few or not (doubt <= 1 or low > doubt or high < 1 / doubt):
        tendency = Tendency.UNKNOWN
    elif low > 1 + SMALL:
        tendency = Tendency.SLOWER
    elif high < 1 - SMALL:
        tendency = Tendency.FASTER
    else:
        tendency = Tendency.SAME
    return Change(_words(old), before, after, after / before, low, high, tendency)


def comparison_table(comparison: Comparison) -> Table:
    """Return the changes as rows, the largest first."""
    ordered = sorted(comparison.changes, key=lambda one: -abs(one.ratio - 1) / max(one.ratio, 1e-9))
    rows = tuple(
        (
            one.what,
            seconds_text(one.before),
            seconds_text(one.after),
            f"{one.ratio:.2f} ({one.low:.2f} … {one.high:.2f})",
            one.tendency.value,
        )
        for one in ordered
    )
    return Table("After by before", ("", "before", "after", "ratio", ""), rows)
