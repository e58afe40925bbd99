"""Everything in one run: the plans one after the other, each with its share of the time, as one result.

Decided here and only here: the shares, and which drivers take part in what. One thread.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sim.bench import plans
from sim.bench.drivers import DRIVERS, choose
from sim.bench.engines import ENGINES
from sim.bench.errors import Unavailable
from sim.bench.harness import Progress, measure
from sim.bench.noise import Noise, Verdict
from sim.bench.plans import Length, Plan
from sim.bench.result import Missing, Result
from sim.bench.session import Driver

__all__ = ["everything", "joined"]

#: Share of the time by plan.
_SHARES: Mapping[str, float] = {"copy-up": 0.2, "metadata": 0.2, "data": 0.18, "jobs": 0.35, "runtime": 0.07}

#: More rounds than this make the file larger, and tell little more. There is no warming up: a round more tells more,
#: and a median does not mind one slow sample.
_ROUNDS = 15

_RECORDING = ("devfuse+record-metadata", "devfuse+record-all")
_METACOPY = ("overlayfs+metacopy", "devfuse+metacopy")


def everything(
    seconds: float, length: Length = Length.USUAL, *, base: Path | None = None, progress: Progress = lambda _: None,
    command: str = "",
) -> Result:  # fmt: skip
    """Measure all there is; return it as one result.

    Parameters
    ----------
    seconds
        About how long it may take. Each plan does one round at least, however long that takes.
    length
        How much.
    base, progress, command
        As in `measure`.
    """
    usual = tuple(driver.name for driver in DRIVERS.values() if not driver.extra)
    todo: Sequence[tuple[str, Callable[..., Plan], tuple[str, ...], Mapping[str, Driver]]] = (
        ("copy-up", plans.copy_up, (*usual, *_METACOPY), DRIVERS),
        ("metadata", plans.metadata, usual, DRIVERS),
        ("data", plans.data, usual, DRIVERS),
        ("jobs", plans.jobs, (*usual, *_RECORDING), DRIVERS),
        ("runtime", plans.runtime, tuple(ENGINES), ENGINES),
    )
    found: list[Result] = []
    left_out: list[Missing] = []
    end = time.monotonic() + seconds
    shares = dict(_SHARES)
    for name, plan, names, known in todo:
        # What one took too long, the others have less; each has a round at least.
        left = max(end - time.monotonic(), 1.0) * shares[name] / sum(shares.values())
        del shares[name]
        made = replace(plan(length, rounds=_ROUNDS, seconds=left), warm_up=False)
        try:
            drivers, missing = choose(names, known)
            told = functools.partial(_tell, progress, name)
            found.append(measure(made, drivers, base=base, progress=told, missing=missing))
        except Unavailable as error:
            left_out.append(Missing(name, str(error)))
            continue
        if not found[-1].finished:
            left_out += [Missing(one, "the run was interrupted before it") for one in shares]
            break
    whole = joined("All that is measured", found, command=command)
    return replace(whole, missing=(*whole.missing, *left_out))


def _tell(progress: Progress, name: str, line: str) -> None:
    progress(f"{name}: {line}")


def joined(title: str, results: Sequence[Result], *, command: str = "") -> Result:
    """Return several results of one machine as one; a case that several have counts in the first."""
    if not results:
        raise Unavailable("nothing was measured")
    series = {(one.case, one.driver): one for result in reversed(results) for one in result.series}
    order = [(one.case, one.driver) for result in results for one in result.series]
    return Result(
        title=title,
        machine=results[0].machine,
        drivers={name: words for result in results for name, words in result.drivers.items()},
        filesystems={name: words for result in results for name, words in result.filesystems.items()},
        series=tuple(series[key] for key in dict.fromkeys(order)),
        missing=tuple(dict.fromkeys(one for result in results for one in result.missing)),
        noise=_noise([result.noise for result in results]),
        rounds=min(result.rounds for result in results),
        seconds=round(sum(result.seconds for result in results), 1),
        finished=all(result.finished for result in results),
        command=command,
    )


def _noise(parts: Sequence[Noise]) -> Noise:
    """Return the noise of several runs: the worst verdict, and means over what was looked at."""
    total = sum(part.probes for part in parts) or 1

    def mean(values: Sequence[float]) -> float:
        return round(sum(value * part.probes for value, part in zip(values, parts, strict=True)) / total, 4)

    order = list(Verdict)
    return Noise(
        probes=total,
        disturbed=mean([part.disturbed for part in parts]),
        median=mean([part.median for part in parts]),
        worst=max(part.worst for part in parts),
        stolen=mean([part.stolen for part in parts]),
        verdict=max((part.verdict for part in parts), key=order.index),
    )
