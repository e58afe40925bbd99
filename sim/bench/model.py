"""The cost model: a first write costs something fixed, and something for each byte that is copied.

Decided here and only here: how the two numbers are found in what was measured, and how far they are trusted. Times span
five orders of magnitude, so the relative error is what is made small: weighted least squares with weights 1/t², and
neither number below nothing. The knee is the size at which both parts are equal: below it a smaller file is hardly
cheaper, above it time is proportional to size. Functions only; any thread.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from sim.bench.result import Case, Result, Series
from sim.bench.stats import CONFIDENCE, median

__all__ = ["Fit", "fit", "fit_points", "fits"]

Point = tuple[int, float]

#: How often samples are drawn again for an interval.
_TIMES = 400


@dataclass(frozen=True, slots=True)
class Fit:
    """The cost of a first write by a driver.

    Attributes
    ----------
    driver
        Whose.
    case
        Where: a case whose size does not count.
    fixed
        Seconds that do not depend on the size.
    bandwidth
        Bytes a second; infinite where the size does not matter, as with reflink.
    fixed_range, bandwidth_range
        Their intervals, by bootstrap over all samples.
    error
        The relative error in the middle, between the model and the medians that it was fitted to.
    worst
        The largest of these errors, and the size at which it is.
    held_out
        The relative error in the middle at each size, of a model that was fitted without that size.
    sizes
        The sizes that it stands on.
    """

    driver: str
    case: Case
    fixed: float
    bandwidth: float
    fixed_range: tuple[float, float]
    bandwidth_range: tuple[float, float]
    error: float
    worst: tuple[float, int]
    held_out: float
    sizes: tuple[int, ...]

    def seconds(self, size: int) -> float:
        """Return what a first write to a file of this size costs.

        >>> Fit("x", Case("append"), 1e-3, 1e9, (0, 0), (0, 0), 0, (0, 0), 0, ()).seconds(1_000_000)
        0.002
        """
        return self.fixed + size / self.bandwidth

    @property
    def knee(self) -> float | None:
        """The size at which half of the time is copying; None where there is none."""
        return self.fixed * self.bandwidth if self.fixed > 0 and self.bandwidth != float("inf") else None


def fit_points(points: Sequence[Point]) -> tuple[float, float]:
    """Return the fixed seconds and the seconds a byte that fit best.

    Parameters
    ----------
    points
        Sizes in bytes and times in seconds, of two sizes at least.

    Examples
    --------
    >>> fixed, each = fit_points([(0, 0.001), (1_000, 0.002), (9_000, 0.010)])
    >>> round(fixed, 9), round(each, 9)
    (0.001, 1e-06)
    >>> fit_points([(1, 0.5), (1 << 30, 0.4)])[1]
    0.0
    """
    # Sums of 1/t², x/t², x²/t², 1/t, x/t: the normal equations of minimising the sum of ((a + b x - t) / t)².
    one = sum(1 / (t * t) for _, t in points)
    x = sum(s / (t * t) for s, t in points)
    xx = sum(s * s / (t * t) for s, t in points)
    y = sum(1 / t for _, t in points)
    xy = sum(s / t for s, t in points)
    determinant = one * xx - x * x
    fixed = (xx * y - x * xy) / determinant if determinant > 0 else y / one
    each = (one * xy - x * y) / determinant if determinant > 0 else 0.0
    if each < 0:
        return y / one, 0.0
    if fixed < 0:
        return 0.0, xy / xx
    return fixed, each


def fit(series: Sequence[Series]) -> Fit | None:
    """Fit the model to the series of one driver at several sizes; None where there are fewer than three sizes."""
    chosen = sorted((one for one in series if one.seconds), key=lambda one: one.case.size)
    medians = [(one.case.size, one.time.value) for one in chosen]
    if len({size for size, _ in medians}) < 3:
        return None
    fixed, each = fit_points(medians)
    fixed_range, each_range = _ranges(chosen)
    errors = [(abs(fixed + size * each - seconds) / seconds, size) for size, seconds in medians]
    out = []
    for index, (size, seconds) in enumerate(medians):
        rest = fit_points(medians[:index] + medians[index + 1 :])
        out.append(abs(rest[0] + size * rest[1] - seconds) / seconds)
    first = chosen[0]
    return Fit(
        driver=first.driver,
        case=Case(
            first.case.workload, sparse=first.case.sparse, depth=first.case.depth, filesystem=first.case.filesystem,
            durability=first.case.durability, cache=first.case.cache,
        ),
        fixed=fixed,
        bandwidth=_inverse(each),
        fixed_range=fixed_range,
        bandwidth_range=(_inverse(each_range[1]), _inverse(each_range[0])),
        error=median([error for error, _ in errors]),
        worst=max(errors),
        held_out=median(out),
        sizes=tuple(size for size, _ in medians),
    )  # fmt: skip


def _ranges(series: Sequence[Series]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the intervals of both numbers: the samples of each size are drawn again, and their medians fitted."""
    draw = random.Random(1)
    found = []
    for _ in range(_TIMES):
        points = [(one.case.size, median(draw.choices(one.seconds, k=len(one.seconds)))) for one in series]
        found.append(fit_points(points))
    low, high = int(_TIMES * (1 - CONFIDENCE) / 2), int(_TIMES * (1 + CONFIDENCE) / 2)
    fixed, each = sorted(one for one, _ in found), sorted(one for _, one in found)
    return (fixed[low], fixed[high]), (each[low], each[high])


def _inverse(each: float) -> float:
    return 1 / each if each > 0 else float("inf")


def fits(result: Result, workload: str = "append") -> list[Fit]:
    """Fit the model to each driver on each filesystem at each durability, where there are sizes enough."""
    groups: dict[tuple[str, Case], list[Series]] = {}
    for series in result.of(workload):
        case = series.case
        key = Case(
            case.workload, sparse=case.sparse, depth=case.depth, filesystem=case.filesystem,
            durability=case.durability, cache=case.cache,
        )  # fmt: skip
        groups.setdefault((series.driver, key), []).append(series)
    return [found for group in groups.values() if (found := fit(group)) is not None]
