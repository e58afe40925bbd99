"""What samples say: medians, their intervals, and ratios of what was measured side by side.

Decided here and only here: the statistics of every report. Times on a shared machine have long tails, so nothing here
assumes a distribution: the middle is the median, its interval comes from order statistics (Conover, "Practical
nonparametric statistics", 3.2). Two drivers are compared by the ratios of samples of the same round, taken within
moments of each other, so that a machine that slows down slows both. Functions only; any thread.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

__all__ = ["CONFIDENCE", "Estimate", "bootstrap", "geometric_mean", "median", "middle", "paired_ratio"]

#: The confidence that intervals have at least, where there are samples enough for it.
CONFIDENCE = 0.95

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval.

    Attributes
    ----------
    value
        The median.
    low, high
        The interval.
    count
        Samples that it stands on.
    confidence
        How surely the interval holds the true median: with few samples less than `CONFIDENCE`.
    """

    value: float
    low: float
    high: float
    count: int
    confidence: float

    @property
    def sure(self) -> bool:
        """Whether there were samples enough."""
        return self.confidence >= CONFIDENCE - 0.02  # five samples give 0.9375, and are taken as enough


def median(samples: Sequence[float]) -> float:
    """Return the median.

    >>> median([3.0, 1.0, 2.0]), median([4.0, 1.0, 2.0, 3.0])
    (2.0, 2.5)
    """
    ordered = sorted(samples)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def middle(samples: Sequence[float]) -> Estimate:
    """Return the median and the narrowest interval of order statistics that has the confidence.

    Parameters
    ----------
    samples
        At least one.

    Examples
    --------
    >>> middle([5.0, 1.0, 4.0, 2.0, 3.0, 6.0, 7.0, 8.0])
    Estimate(value=4.5, low=1.0, high=8.0, count=8, confidence=0.9921875)
    >>> middle([5.0, 1.0, 4.0, 2.0, 3.0]).confidence
    0.9375
    """
    ordered = sorted(samples)
    count = len(ordered)
    rank, confidence = _rank(count)
    return Estimate(median(ordered), ordered[rank], ordered[count - 1 - rank], count, confidence)


def _rank(count: int) -> tuple[int, float]:
    """Return how many samples at each end lie outside of the interval, and its confidence.

    The true median lies below the sample of rank r (from 0) with the probability that at most r of `count` fair coins
    show heads.
    """
    rank, confidence = 0, max(1 - 2 * 0.5**count, 0.0)
    below = 0.5**count
    for more in range(1, (count - 1) // 2 + 1):
        below += math.comb(count, more) * 0.5**count
        if 1 - 2 * below < CONFIDENCE:
            break
        rank, confidence = more, 1 - 2 * below
    return rank, confidence


def paired_ratio(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Estimate | None:
    """Return how many times as long the first takes as the second; None without a round that both were in.

    Parameters
    ----------
    ours, theirs
        Times by round.

    Examples
    --------
    >>> slow_machine_later = {1: 2.0, 2: 2.2, 3: 8.0, 4: 8.4, 5: 8.1, 6: 8.0}
    >>> paired_ratio(slow_machine_later, {n: t / 2 for n, t in slow_machine_later.items()}).value
    2.0
    """
    rounds = sorted(ours.keys() & theirs.keys())
    ratios = [ours[one] / theirs[one] for one in rounds if theirs[one] > 0]
    return middle(ratios) if ratios else None


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean, the only mean of ratios that does not depend on which is divided by which.

    >>> round(geometric_mean([2.0, 0.5]), 6)
    1.0
    """
    return math.exp(sum(math.log(value) for value in values) / len(values))


def bootstrap(
    samples: Sequence[T], measure: Callable[[Sequence[T]], float], *, times: int = 400, seed: int = 1
) -> tuple[float, float]:
    """Return the interval of a measure of samples, by drawing them again with replacement (Efron's percentiles).

    Parameters
    ----------
    samples
        At least one.
    measure
        What is computed from samples.
    times
        How often they are drawn.
    seed
        The same seed gives the same interval.

    Examples
    --------
    >>> bootstrap([1.0] * 5, median)
    (1.0, 1.0)
    """
    draw = random.Random(seed)
    found = sorted(measure(draw.choices(samples, k=len(samples))) for _ in range(times))
    edge = (1 - CONFIDENCE) / 2
    return found[int(edge * times)], found[min(int((1 - edge) * times), times - 1)]
