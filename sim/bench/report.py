"""A result as figures and as one page of HTML.

Decided here and only here: which figures a result gives, what their titles say, and what the page holds. The page loads
nothing from anywhere: pictures are in it. How a figure looks is decided in `sim.figures`. One thread, as matplotlib.
"""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sim.bench.model import Fit, fits
from sim.bench.noise import Verdict
from sim.bench.result import Case, Result, Series
from sim.bench.tables import (
    MARKS,
    Table,
    case_text,
    missing_lines,
    ratio_text,
    samples_text,
    seconds_text,
    size_text,
    table,
)
from sim.bench.workloads import WORKLOADS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sim.figures import Curves, Theme

__all__ = ["by_group", "figures", "model_table", "page", "write"]

#: The driver that others are compared with, if it was measured.
REFERENCE = "overlayfs"


def write(result: Result, directory: Path, *, name: str = "bench", theme: Theme | None = None) -> list[Path]:
    """Write JSON, CSV, figures and the page into a directory, which is made.

    Parameters
    ----------
    result
        The run.
    directory
        Where.
    name
        What the files are called, before their endings.
    theme
        Of the figures.

    Returns
    -------
    list of Path
        What was written.
    """
    from sim.figures import save

    directory.mkdir(parents=True, exist_ok=True)
    written = [directory / f"{name}.json", directory / f"{name}.csv"]
    result.save(written[0])
    _put(written[1], result.to_csv())
    drawn = dict(figures(result, theme=theme))
    for key, figure in drawn.items():
        written.append(directory / f"{name}-{key}.png")
        save(figure, written[-1])
    written.append(directory / f"{name}.html")
    _put(written[-1], page(result, drawn))
    return written


def _put(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.new")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


# Figures


def figures(result: Result, *, theme: Theme | None = None) -> Iterator[tuple[str, Figure]]:
    """Yield the figures that a result gives, each with a short name."""
    from sim.figures import LIGHT, bars, curves

    colors = theme or LIGHT
    for key, data in _by_size(result):
        yield key, curves(data, theme=colors)
    for key, data in _by_depth(result):
        yield key, curves(data, theme=colors)
    for key, data in _by_space(result):
        yield key, curves(data, theme=colors)
    for group, words in _GROUPS.items():
        chosen = _bars(result, group)
        if chosen:
            yield f"drivers-{group}", bars(_bars_data(result, chosen, words), theme=colors)


_GROUPS = {
    "copy-up": "First writes, driver by driver",
    "metadata": "Names and status, driver by driver",
    "data": "File data, driver by driver",
    "jobs": "Whole jobs, driver by driver",
    "runtime": "Containers, engine by engine",
}


def _note(result: Result) -> str:
    """Return where and how it was measured, for below a title."""
    quiet = "" if result.noise.verdict is Verdict.QUIET else f"; the machine was {result.noise.verdict.value}"
    machine = f"{result.machine.get('processor', '?')}, {result.machine.get('kernel', '?')}"
    return f"Medians and their 95 % intervals, {samples_text(result)}; {machine}{quiet}."


def _groups(result: Result, axis: str) -> dict[Case, list[Series]]:
    """Return the series that differ in one field of their case only, where there are two values of it at least."""
    groups: dict[Case, list[Series]] = {}
    for series in result.series:
        blank = replace(series.case, size=0) if axis == "size" else replace(series.case, depth=0)
        groups.setdefault(blank, []).append(series)
    return {case: group for case, group in groups.items() if len({getattr(one.case, axis) for one in group}) > 1}


def _by_driver(group: Sequence[Series]) -> dict[str, list[Series]]:
    found: dict[str, list[Series]] = {}
    for series in group:
        found.setdefault(series.driver, []).append(series)
    return found


def _by_size(result: Result) -> Iterator[tuple[str, Curves]]:
    from sim.figures import Curve, Curves, Dot

    models = {(one.driver, one.case): one for one in fits(result)}
    for case, group in _groups(result, "size").items():
        if _group(case) != "copy-up" or len({one.case.size for one in group}) < 3:
            continue
        curves, shown = [], []
        for driver, series in _by_driver(group).items():
            times = [(one.case.size, one.time) for one in sorted(series, key=lambda one: one.case.size)]
            model = models.get((driver, case))
            # The ring of the reference's knee and of our own is enough: ten rings say nothing.
            marked = model if model and driver in (REFERENCE, "devfuse", "in-process") else None
            shown += [marked] if marked else []
            dots = tuple(Dot(size, time.value, time.low, time.high) for size, time in times)
            curves.append(Curve(driver, dots, marked.knee if marked else None))
        words = case_text(case)
        copied = not shown or any(_bends(model) for model in shown)
        title = f"First write ({words}): " + ("a fixed cost, then the bytes" if copied else "the size hardly matters")
        yield f"size-{_slug(case)}", Curves(title, _note(result), tuple(curves), note=_knee_note(shown))


def _bends(model: Fit) -> bool:
    """Tell whether copying ever took half of the time: the knee is among the sizes that were measured."""
    return model.knee is not None and model.knee <= max(model.sizes)


def _knee_note(models: Sequence[Fit]) -> str:
    """Explain the knee, by the numbers of the drivers that it is marked for."""
    lines = []
    for model in models:
        if model.knee is None or not _bends(model):
            lines.append(f"{model.driver}: {seconds_text(model.fixed)} at any size: nothing is copied byte by byte")
        else:
            lines.append(
                f"{model.driver}: {seconds_text(model.fixed)} fixed + {size_text(int(model.bandwidth))}/s; "
                f"knee at {size_text(int(model.knee))}"
            )
    if any(_bends(model) for model in models):
        lines.append("At the knee (ring) half of the time is fixed, half is copying.")
    return "\n".join(lines)


def _by_depth(result: Result) -> Iterator[tuple[str, Curves]]:
    from sim.figures import Curve, Curves, Dot

    for case, group in _groups(result, "depth").items():
        curves = []
        for driver, series in _by_driver(group).items():
            ordered = sorted(series, key=lambda one: one.case.depth)
            dots = tuple(Dot(one.case.depth, one.time.value, one.time.low, one.time.high) for one in ordered)
            curves.append(Curve(driver, dots))
        title = f"What more layers cost: {case_text(replace(case, depth=1))}"
        yield (
            f"depth-{_slug(case)}",
            Curves(title, _note(result), tuple(curves), x="read-only layers", x_unit="count"),
        )


def _by_space(result: Result) -> Iterator[tuple[str, Curves]]:
    """Yield what a first write of one byte takes on the disk: filesystems beside each other, by one driver."""
    from sim.figures import Curve, Curves, Dot

    for case, group in _groups(result, "size").items():
        seen = [one for one in group if one.space > 0]
        if case.workload != "append" or len({one.case.size for one in seen}) < 3:
            continue
        curves = []
        for driver, series in _by_driver(seen).items():
            ordered = sorted(series, key=lambda one: one.case.size)
            dots = tuple(Dot(one.case.size, one.space, one.space, one.space) for one in ordered)
            curves.append(Curve(driver, dots))
        yield (
            f"amplification-{_slug(case)}",
            Curves(
                f"Amplification: what one written byte takes on the disk ({case_text(case)})",
                _note(result),
                tuple(curves),
                y="space taken on the disk",
                y_unit="bytes",
                diagonal="the whole file",
            ),
        )


def _slug(case: Case) -> str:
    return case_text(case).replace(", ", "-").replace(" ", "-").replace(",", "")


def _bars(result: Result, group: str) -> list[Case]:
    """Return the cases of a group that bars are drawn for: not those that curves show already, at most twelve."""
    cases = [case for case in dict.fromkeys(one.case for one in result.series) if _group(case) == group]
    if group == "copy-up":  # one size and depth of each way of writing
        byways: dict[tuple[str, str], list[Case]] = {}
        for case in cases:
            if not case.sparse and case.depth == 1:
                byways.setdefault((case.workload, case.filesystem), []).append(case)
        cases = [sorted(some)[len(some) // 2] for some in byways.values()]
    elif group == "metadata":
        shallow = min((case.depth for case in cases), default=1)
        cases = [case for case in cases if case.depth == shallow]
    return cases[:14]


def by_group(result: Result) -> dict[str, list[Case]]:
    """Return the cases of a result by the group of their workloads."""
    found: dict[str, list[Case]] = {}
    for case in dict.fromkeys(series.case for series in result.series):
        found.setdefault(_group(case), []).append(case)
    return found


def _group(case: Case) -> str:
    return WORKLOADS[case.workload].group if case.workload in WORKLOADS else ""


def _bars_data(result: Result, cases: Sequence[Case], title: str):  # type: ignore[no-untyped-def]
    from sim.figures import Bar, Bars

    groups = []
    for case in cases:
        found = sorted((one for one in result.series if one.case == case), key=lambda one: one.time.value)
        group = []
        for series in found:
            ratio = None if series.driver == REFERENCE else result.ratio(case, series.driver, REFERENCE)
            note = f"\u00d7 {ratio_text(ratio, doubt=result.noise.doubt)}" if ratio else ""
            time = series.time
            group.append(Bar(series.driver, time.value, time.low, time.high, note, series.driver == REFERENCE))
        groups.append((case_text(case), tuple(group)))
    there = any(bar.reference for _, group in groups for bar in group)
    told = f" \u00d7: times {REFERENCE}, in the same rounds." if there else ""
    return Bars(title, _note(result) + told, tuple(groups))


# The page


_STYLE = """
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1a1a1a; background: #fff; margin: 2rem auto;
       max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } thead th { border-bottom: 2px solid #5c5c5c; }
.scroll { overflow-x: auto; } img { max-width: 100%; height: auto; display: block; margin: 1rem 0; }
.quiet { border-left: 5px solid #009e73; } .unsteady { border-left: 5px solid #e69f00; }
.noisy { border-left: 5px solid #b23c00; } .verdict { padding: .4rem .8rem; background: #f1f4f7; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; font-size: 13px; }
dt { font-weight: 600; } dd { margin: 0; } code { background: #f1f4f7; padding: 0 .3em; }
""".strip()


def page(result: Result, drawn: Mapping[str, Figure] | None = None) -> str:
    """Return a page of HTML that holds all of a result.

    Parameters
    ----------
    result
        The run.
    drawn
        Its figures, from `figures`; drawn anew by default.
    """
    parts = dict(figures(result)) if drawn is None else dict(drawn)
    verdict = {Verdict.QUIET: "quiet", Verdict.UNSTEADY: "unsteady", Verdict.NOISY: "noisy"}[result.noise.verdict]
    state = "" if result.finished else " The run was interrupted: what it had until then is here."
    body = [
        f"<h1>{html.escape(result.title)}</h1>",
        f'<p class="verdict {verdict}">{html.escape(_sentence(result))}{state}</p>',
    ]
    body += [_picture(name, figure) for name, figure in parts.items()]
    body.append("<h2>Times, and ratios to the first driver</h2>")
    body.append(f"<p>{html.escape(_legend(result))}</p>")
    for group, cases in by_group(result).items():
        body.append(f"<h3>{html.escape(_GROUPS.get(group, group))}</h3>")
        body.append(_table(table(result, cases)))
    models = fits(result)
    if models:
        body.append("<h2>The cost model: fixed + bytes / bandwidth</h2>")
        body.append(_table(model_table(models)))
    questions = {one.case.workload for one in result.series}
    body.append(
        "<h2>What each workload asks</h2>" + _pairs({k: w.question for k, w in WORKLOADS.items() if k in questions})
    )
    body.append("<h2>Drivers</h2>" + _pairs(result.drivers))
    body.append("<h2>Filesystems</h2>" + _pairs(result.filesystems))
    body.append("<h2>Machine</h2>" + _pairs(result.machine))
    if result.missing:
        items = "".join(f"<li>{html.escape(line)}</li>" for line in missing_lines(result))
        body.append(f"<h2>Missing</h2><ul>{items}</ul>")
    if result.command:
        body.append(f"<p>Made by <code>{html.escape(result.command)}</code></p>")
    head = f'<meta charset="utf-8"><title>{html.escape(result.title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"


def _sentence(result: Result) -> str:
    return f"{samples_text(result)}, taken in {result.seconds:.0f} s; {result.noise.words}."


def _legend(result: Result) -> str:
    return (
        "The first column of numbers is a time: the median, and how far its 95 % interval goes from it. The others are"
        f" how many times as long another driver took in the same rounds. {MARKS}. Not said otherwise: warm caches, one"
        " read-only layer, durability as each driver has it by default."
    )


def _picture(name: str, figure: Figure) -> str:
    from sim.figures import save

    stream = io.BytesIO()
    save(figure, stream, form="png")
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img alt="{html.escape(name)}" src="data:image/png;base64,{data}">'


def _table(made: Table) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in made.head)
    rows = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in made.rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _pairs(pairs: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in pairs.items()) + "</dl>"


def model_table(models: Sequence[Fit]) -> Table:
    """Return the fits as rows, with their errors."""
    rows = []
    for one in models:
        infinite = one.bandwidth == float("inf")
        rows.append(
            (
                f"{one.driver}, {case_text(one.case, workload=False) or one.case.filesystem}",
                f"{seconds_text(one.fixed)} ({seconds_text(one.fixed_range[0])} … {seconds_text(one.fixed_range[1])})",
                "size does not matter" if infinite else f"{size_text(int(one.bandwidth))}/s",
                "none" if one.knee is None else size_text(int(one.knee)),
                f"{one.error:.0%}",
                f"{one.worst[0]:.0%} at {size_text(one.worst[1])}",
                f"{one.held_out:.0%}",
            )
        )
    head = ("driver", "fixed", "bandwidth", "knee", "error", "worst error", "error where held out")
    return Table("The cost model", head, tuple(rows))
