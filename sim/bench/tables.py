"""Results in words: what a case is called, times with their intervals, and tables of them.

Decided here and only here: how a number is written in a report, and which words say that nothing can be told. Tables
are plain rows of text; the command, the HTML page and the README put lines around them. Functions only; any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sim.bench.result import Case, Result, Series
from sim.bench.stats import Estimate

__all__ = ["Table", "case_text", "markdown", "ratio_text", "samples_text", "seconds_text", "size_text", "table"]

_UNITS = ("B", "KiB", "MiB", "GiB")


def size_text(size: int) -> str:
    """Write a number of bytes.

    >>> size_text(1), size_text(4096), size_text(3 << 20)
    ('1 B', '4 KiB', '3 MiB')
    """
    value, unit = float(size), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if value >= 1000 else f"{value:.3g} {_UNITS[unit]}"


def seconds_text(seconds: float) -> str:
    """Write a time with three digits.

    >>> seconds_text(0.00000234), seconds_text(0.0123), seconds_text(2.0), seconds_text(0.9999)
    ('2.34 µs', '12.3 ms', '2 s', '1 s')
    """
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= scale * 0.9995:
            value = seconds / scale
            return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def case_text(case: Case, *, workload: bool = True) -> str:
    """Say what a case is.

    >>> case_text(Case("append", 4096, depth=8, filesystem="ext4", durability="off"))
    'append, 4 KiB, 8 layers, ext4, durability off'
    >>> case_text(Case("stat", entries=1000, cache="cold"))
    'stat, 1,000 entries, cold'
    """
    words = [case.workload] if workload else []
    if case.size:
        words.append(("sparse " if case.sparse else "") + size_text(case.size))
    if case.entries:
        words.append(f"{case.entries:,} entries")
    if case.depth > 1:
        words.append(f"{case.depth} layers")
    if case.filesystem != "here":
        words.append(case.filesystem)
    if case.durability != "default":
        words.append(f"durability {case.durability}")
    if case.cache != "warm":
        words.append(case.cache)
    return ", ".join(words)


def time_text(series: Series) -> str:
    """Write the time of a series with its interval: the median, and how far its interval goes to either side."""
    time = series.time
    wide = max(time.high - time.value, time.value - time.low) / time.value if time.value else 0.0
    return f"{seconds_text(time.value)} ±{wide:.0%}"


def ratio_text(ratio: Estimate | None, *, doubt: float = 1.0) -> str:
    """Write how many times as long something took; with a question mark where that cannot be told.

    Parameters
    ----------
    ratio
        The ratio with its interval.
    doubt
        How many times another one time may be for the machine's noise alone: only an interval beyond it tells.

    Examples
    --------

    >>> ratio_text(Estimate(2.0, 1.9, 2.2, 7, 0.98))
    '2.00'
    >>> ratio_text(Estimate(1.1, 0.9, 1.2, 7, 0.98))
    '1.10 ≈'
    >>> ratio_text(Estimate(0.0123, 0.011, 0.013, 7, 0.98), doubt=1.9)
    '0.012'
    >>> ratio_text(Estimate(2.0, 1.8, 2.2, 7, 0.98), doubt=1.9)
    '2.00 ?'
    """
    if ratio is None:
        return ""
    told = ratio.sure and (doubt <= 1 or ratio.low > doubt or ratio.high < 1 / doubt)
    mark = " ?" if not told else " ≈" if ratio.low <= 1 <= ratio.high else ""
    value = ratio.value
    return (f"{value:.2g}" if value < 0.1 else f"{value:.2f}" if value < 10 else f"{value:.3g}") + mark


#: What the marks of `ratio_text` mean.
MARKS = "≈ the interval of the ratio has 1 in it: no difference was found; ? too few samples, or no more than noise"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text.

    Attributes
    ----------
    title
        What it is about.
    head
        Names of the columns.
    rows
        The rows, as many words each.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def table(
    result: Result, cases: Iterable[Case] | None = None, *, reference: str = "overlayfs", title: str = ""
) -> Table:
    """Return a table of cases by drivers: the reference's time, and how many times as long each other one took.

    Parameters
    ----------
    result
        The run.
    cases
        Which; all by default.
    reference
        The driver that the others are compared with; where it is missing, the first that is not.
    title
        Of the table.
    """
    chosen = list(dict.fromkeys(series.case for series in result.series)) if cases is None else list(cases)
    wanted = set(chosen)
    there = {series.driver for series in result.series if series.case in wanted}
    drivers = [name for name in result.drivers if name in there]
    if reference not in drivers:
        reference = drivers[0] if drivers else ""
    others = [name for name in drivers if name != reference]
    rows = []
    for case in chosen:
        base = result.find(case, reference)
        cells = [time_text(base) if base else "missing"]
        for name in others:
            series = result.find(case, name)
            ratio = result.ratio(case, name, reference)
            cells.append(ratio_text(ratio, doubt=result.noise.doubt) if ratio else time_text(series) if series else "-")
        rows.append((case_text(case), *cells))
    return Table(title or result.title, ("", reference, *others), tuple(rows))


def markdown(made: Table) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(made.head)} |", "|---|" + "---:|" * (len(made.head) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in made.rows]
    return "\n".join(lines)


def samples_text(result: Result) -> str:
    """Say how many samples the series of a result have."""
    counts = sorted({len(series.seconds) for series in result.series}) or [0]
    few, many = counts[0], counts[-1]
    return f"{many} sample{'' if many == 1 else 's'} each" if few == many else f"{few} to {many} samples each"


def missing_lines(result: Result) -> Sequence[str]:
    """Return what is missing, a line each."""
    return [f"{one.what}: {one.why}" for one in result.missing]
