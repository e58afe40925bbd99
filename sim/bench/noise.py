"""How quiet the machine is: two fixed pieces of work, timed again and again between what is measured.

Decided here and only here: when a sample counts as disturbed, and when a run says that the machine was too noisy to
tell. One piece of work is a loop of arithmetic, which is slowed by whoever takes the processor; the other is a loop of
system calls, which is also slowed by whoever keeps the kernel busy. Their best times on this machine are what quiet
means here. One thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

__all__ = ["DISTURBED", "Noise", "NoiseMeter", "Verdict"]

#: A sample is disturbed if the work before or after it took more than so many times as long as on a quiet machine.
DISTURBED = 1.5

#: Shares of disturbed samples above which a run is unsteady, and above which it cannot tell.
_UNSTEADY, _NOISY = 0.05, 0.25

#: About how long each piece of work takes, in seconds.
_LENGTH = 0.0002

#: How often each is done; the best counts. The first one after something else finds the processor's caches cold.
_TIMES = 3


class Verdict(StrEnum):
    """How far a run can be trusted."""

    QUIET = "quiet"  #: next to nothing else happened
    UNSTEADY = "unsteady"  #: something did: small differences may come from it
    NOISY = "too noisy to tell"  #: so much that only differences larger than the noise say anything


@dataclass(frozen=True, slots=True)
class Noise:
    """What was seen of the machine's other work during a run.

    Attributes
    ----------
    probes
        How often it was looked at.
    disturbed
        Share of samples that were disturbed.
    median, worst
        How many times as long the fixed work took as at best: in the middle, and at the ninety-fifth of a hundred.
    stolen
        Share of the processors' time that the hypervisor gave to others.
    verdict
        What follows.
    """

    probes: int
    disturbed: float
    median: float
    worst: float
    stolen: float
    verdict: Verdict

    @property
    def doubt(self) -> float:
        """How many times another one time may be for the noise alone; 1 where there is next to none."""
        return max(self.worst, 1.0) if self.verdict is Verdict.NOISY else 1.0

    @property
    def words(self) -> str:
        """In a sentence."""
        seen = f"{self.disturbed:.0%} of the samples were disturbed by other work"
        stolen = f", {self.stolen:.0%} of the processor was stolen" if self.stolen >= 0.01 else ""
        if self.verdict is Verdict.NOISY:
            seen += f", up to {self.doubt:.2g} times as long, and smaller differences are not told"
        return f"the machine was {self.verdict.value}: {seen}{stolen}"


class NoiseMeter:
    """Times the fixed work. Calibrates itself when it is made, which takes some milliseconds.

    Parameters
    ----------
    clock
        Nanoseconds, for tests.
    processors
        Returns the ticks of all processors since boot and those that were stolen, for tests. By default as
        `/proc/stat` says.
    """

    def __init__(
        self,
        clock: Callable[[], int] = time.perf_counter_ns,
        processors: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._clock = clock
        self._processors = processors or _processor_time
        self._turns = self._calibrate(_spin)
        self._calls = self._calibrate(_call)
        self._best = [min(self._time(work, count) for _ in range(15)) or 1 for work, count in self._work()]
        self._seen: list[float] = []
        self._samples = 0
        self._disturbed = 0
        self._start = self._processors()

    def _work(self) -> tuple[tuple[Callable[[int], None], int], ...]:
        return (_spin, self._turns), (_call, self._calls)

    def _calibrate(self, work: Callable[[int], None]) -> int:
        """Return how many turns take about `_LENGTH`."""
        best = min(self._time(work, 500) for _ in range(15)) or 1
        return max(int(500 * _LENGTH * 1e9 / best), 50)

    def _time(self, work: Callable[[int], None], count: int) -> int:
        before = self._clock()
        work(count)
        return self._clock() - before

    def probe(self) -> float:
        """Do the fixed work once; return how many times as long as at best it took, the worse of the two."""
        worst = 0.0
        for number, (work, count) in enumerate(self._work()):
            taken = min(self._time(work, count) for _ in range(_TIMES))
            self._best[number] = min(self._best[number], max(taken, 1))
            worst = max(worst, taken / self._best[number])
        self._seen.append(worst)
        return worst

    def sample(self, before: float, after: float) -> bool:
        """Take note of a sample between two probes; tell whether it was disturbed."""
        self._samples += 1
        disturbed = max(before, after) > DISTURBED
        self._disturbed += disturbed
        return disturbed

    def noise(self) -> Noise:
        """Return what was seen until now."""
        seen = sorted(self._seen) or [1.0]
        share = self._disturbed / self._samples if self._samples else 0.0
        end = self._processors()
        total = max(end[0] - self._start[0], 1)
        stolen = (end[1] - self._start[1]) / total
        noisy = share > _NOISY or stolen > _NOISY
        verdict = Verdict.NOISY if noisy else Verdict.UNSTEADY if max(share, stolen) > _UNSTEADY else Verdict.QUIET
        return Noise(
            probes=len(self._seen),
            disturbed=round(share, 4),
            median=round(seen[len(seen) // 2], 3),
            worst=round(seen[int(len(seen) * 0.95)], 3),
            stolen=round(stolen, 4),
            verdict=verdict,
        )


def _spin(turns: int) -> None:
    value = 1
    for _ in range(turns):
        value = value * 5 & 0xFFFF


def _call(times: int) -> None:
    for _ in range(times):
        os.getppid()


def _processor_time() -> tuple[int, int]:
    """Return the ticks of all processors since boot, and those that were stolen."""
    try:
        words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0, 0
    ticks = [int(word) for word in words[:8]]
    return sum(ticks), ticks[7] if len(ticks) > 7 else 0
