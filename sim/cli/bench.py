"""`layerlab bench`: measure what copy-up costs, storage drivers side by side.

Decided here and only here: the options, and what is printed. What is measured is decided in `sim.bench.plans`, how in
`sim.bench.harness`.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sim.bench import Plan, Result
    from sim.bench.session import Driver
    from sim.bench.tables import Table

__all__ = ["command"]


@click.group("bench", context_settings={"max_content_width": 100})
def command() -> None:
    """Measure what copy-up costs, storage drivers side by side.

    All drivers work on the same read-only layers, in rounds and in random order, each with an RW layer of its own;
    what is not installed is left out and named. Ctrl-C ends a run in order and keeps what was measured.

    \b
    layerlab bench copy-up --quick
    layerlab bench copy-up --driver devfuse --driver overlayfs --size 4K --size 1M --size 64M -o results
    layerlab bench compare before.json after.json
    """


class Size(click.ParamType[int]):
    """A number of bytes with a unit: 4K, 16M, 1G."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        text = str(value).upper().removesuffix("IB").removesuffix("B")
        scale = {"K": 10, "M": 20, "G": 30}.get(text[-1:], 0)
        digits = text[:-1] if scale else text
        if not digits.isdigit() or int(digits) < 1:
            self.fail(f"{value!r} is no size; write it as 4096, 4K, 16M or 1G", param, ctx)
        return int(digits) << scale


def _measuring(*more: Callable[[Any], Any]) -> Callable[[Callable[..., None]], click.Command]:
    """Add the options that all measuring commands have."""
    shared = (
        click.option("--quick", "length", flag_value="quick", help="A few small cases: does it work here?"),
        click.option("--full", "length", flag_value="full", help="The whole range: hours, and gigabytes."),
        click.option("--driver", "drivers", multiple=True, metavar="NAME", help="Measure this one; can be repeated."),
        click.option("--only", multiple=True, metavar="WORKLOAD", help="Only this workload; can be repeated."),
        *more,
        click.option("--rounds", type=click.IntRange(1), help="How often each case is measured with each driver."),
        click.option("--minutes", type=click.FloatRange(0.05), help="Begin no round that would end later."),
        click.option(
            "--place", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR",
            help="Measure in a directory made in this one; by default where temporary files go.",
        ),
        click.option(
            "-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
            help="Write JSON, CSV, figures and a page of HTML there.",
        ),
        click.option(
            "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
            help="Write the result there.",
        ),
        click.option("--dark", is_flag=True, help="Figures for a dark page."),
    )  # fmt: skip

    def decorate(function: Callable[..., None]) -> click.Command:
        for option in reversed(shared):
            function = option(function)
        made = command.command(function.__name__.strip("_").replace("_", "-"))(function)
        assert isinstance(made, click.Command)
        return made

    return decorate


_FILESYSTEM = click.option(
    "--filesystem", "filesystems", multiple=True, metavar="NAME",
    help="here, ext4, xfs, xfs-reflink, btrfs or btrfs-reflink: all but `here` in an image made for it.",
)  # fmt: skip
_SIZE = click.option("--size", "sizes", multiple=True, type=Size(), metavar="SIZE", help="Of the files, as 4K or 16M.")
_DEPTH = click.option(
    "--depth", "depths", multiple=True, type=click.IntRange(1, 500), metavar="NUMBER", help="Read-only layers."
)
_DURABILITY = click.option(
    "--durability", "durabilities", multiple=True, type=click.Choice(["default", "on", "off"]),
    help="on: all that was written is on the disk when the clock stops; off: nobody syncs.",
)  # fmt: skip
_ENTRIES = click.option(
    "--entries", multiple=True, type=click.IntRange(1, 1_000_000), metavar="NUMBER", help="Of the directories."
)


@_measuring(_FILESYSTEM, _SIZE, _DEPTH, _DURABILITY)
def copy_up(**options: Any) -> None:
    """First writes: by size, by depth, by filesystem, in nine ways."""
    _measure("copy_up", options)


@_measuring(_FILESYSTEM, _DEPTH, _ENTRIES)
def metadata(**options: Any) -> None:
    """Names and status: stat, readdir, create, unlink, rename; cold and warm."""
    _measure("metadata", options)


@_measuring(_FILESYSTEM)
def data(**options: Any) -> None:
    """File data: sequential and random, read, written, mapped; with fio where it is installed."""
    _measure("data", options)


@_measuring(_FILESYSTEM)
def jobs(**options: Any) -> None:
    """Whole jobs: find, tar, cp, git, compileall, a C build, a package."""
    _measure("jobs", options)


@_measuring(_FILESYSTEM)
def recording(**options: Any) -> None:
    """What recording costs: off, metadata, all."""
    names = ("devfuse", "devfuse+record-metadata", "devfuse+record-all", "fuse-python", "fuse-python+record-metadata",
             "fuse-python+record-all", "in-process", "in-process+record-metadata", "in-process+record-all")  # fmt: skip
    _measure("recording", {**options, "drivers": options["drivers"] or names}, reference="devfuse")


@_measuring()
def runtime(**options: Any) -> None:
    """Containers: start, exec, build; beside podman and docker where they are installed."""
    _measure("runtime", options, engines=True, reference="layerlab-devfuse")


@command.command("all")
@click.option(
    "--minutes", type=click.FloatRange(0.1), default=12.0, show_default=True, help="About how long it may take."
)
@click.option("--quick", "length", flag_value="quick", help="Small cases only.")
@click.option("--place", type=click.Path(path_type=Path, file_okay=False, exists=True), metavar="DIR", help="Where.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="As for the others."
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="The result."
)
@click.option("--dark", is_flag=True, help="Figures for a dark page.")
def everything(
    minutes: float, length: str | None, place: Path | None, output: Path | None, json_file: Path | None, dark: bool
) -> None:
    """Everything, in a given time, as one result."""
    from sim.bench import Length
    from sim.bench.suite import everything as measure_all

    _check_outputs(json_file)
    words = ["layerlab", "bench", "all", "--minutes", f"{minutes:g}", *([f"--{length}"] if length else [])]
    result = measure_all(
        minutes * 60, Length(length or "usual"), base=place, progress=_progress, command=shlex.join(words)
    )
    _finish(result, output, json_file, dark)


def _measure(name: str, options: Mapping[str, Any], *, engines: bool = False, reference: str = "overlayfs") -> None:
    """Plan, choose drivers, measure, and show what came of it."""
    from sim.bench import DRIVERS, ENGINES, Length, choose, measure, plans

    _check_outputs(options["json_file"])
    limits = {"rounds": options["rounds"] or 0, "seconds": (options["minutes"] or 0) * 60}
    chosen = {
        key: options[key] for key in ("filesystems", "sizes", "depths", "durabilities", "entries") if options.get(key)
    }
    made: Plan = getattr(plans, name)(Length(options["length"] or "usual"), **chosen, **limits)
    made = made.only(options["only"])
    known: Mapping[str, Driver] = ENGINES if engines else DRIVERS
    drivers, missing = choose(options["drivers"], known)
    result = measure(
        made, drivers, base=options["place"], progress=_progress, missing=missing, command=_typed(name, options)
    )
    _finish(result, options["output"], options["json_file"], options["dark"], reference)


def _typed(name: str, options: Mapping[str, Any]) -> str:
    """Return what would make the result again."""
    words = ["layerlab", "bench", name.replace("_", "-")]
    if options["length"]:
        words.append(f"--{options['length']}")
    for key, flag in _FLAGS.items():
        value = options.get(key)
        for one in value if isinstance(value, tuple) else (value,) if value else ():
            words += [flag, str(one)]
    return shlex.join(words)


_FLAGS = {
    "drivers": "--driver", "only": "--only", "filesystems": "--filesystem", "sizes": "--size", "depths": "--depth",
    "durabilities": "--durability", "entries": "--entries", "rounds": "--rounds", "minutes": "--minutes",
}  # fmt: skip


def _check_outputs(json_file: Path | None) -> None:
    """Complain before minutes are spent, not after."""
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise click.ClickException(f"{json_file.parent}: there is no such directory; make it first")


def _progress(line: str) -> None:
    click.echo(line, err=True)


def _finish(
    result: Result, output: Path | None, json_file: Path | None, dark: bool, reference: str = "overlayfs"
) -> None:
    """Show and write a result; a run that was interrupted ends as an interrupted command does."""
    from sim.bench import report
    from sim.figures import DARK, LIGHT

    _show(result, reference)
    if json_file is not None:
        result.save(json_file)
        click.echo(json_file)
    if output is not None:
        for path in report.write(result, output, theme=DARK if dark else LIGHT):
            click.echo(path)
    if not result.finished:
        click.echo("layerlab: interrupted; what was measured until then is above", err=True)
        sys.exit(130)


def _show(result: Result, reference: str) -> None:
    from sim.bench.report import by_group
    from sim.bench.tables import MARKS, missing_lines, samples_text, table

    for cases in by_group(result).values():
        _print(table(result, cases, reference=reference))
        click.echo()
    click.echo(f"The first column is a time with its 95 % interval, the others how many times as long. {MARKS}.")
    for line in missing_lines(result):
        click.echo(f"missing: {line}")
    click.echo(f"{samples_text(result)}, taken in {result.seconds:.0f} s; {result.noise.words}")


def _print(made: Table) -> None:
    """Print rows aligned; a terminal that is too narrow gets them in full, not cut."""
    import unicodedata

    rows = [made.head, *made.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(made.head))]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        click.echo(unicodedata.normalize("NFC", "  ".join(cells)).rstrip())


@command.command("list")
def list_() -> None:
    """Name all workloads and drivers, and what is missing here."""
    from sim.bench import DRIVERS, ENGINES, FILESYSTEMS, WORKLOADS

    group = ""
    for work in WORKLOADS.values():
        if work.group != group:
            group = work.group
            click.echo(f"\n{group}" if group != "copy-up" else group)
        lacking = work.lacks()
        click.echo(f"  {work.name:18}{work.question}" + (f"  (missing: {lacking})" if lacking else ""))
    for title, known in (("drivers", DRIVERS), ("engines", ENGINES)):
        click.echo(f"\n{title}")
        for driver in known.values():
            lacking = driver.lacks()
            extra = ", when named" if driver.extra else ""
            click.echo(f"  {driver.name:30}{driver.words}{extra}" + (f"  (missing: {lacking})" if lacking else ""))
    click.echo(f"\nfilesystems\n  here, {', '.join(FILESYSTEMS)}")


_RESULT = click.Path(path_type=Path, dir_okay=False)


@command.command("compare")
@click.argument("before", type=_RESULT)
@click.argument("after", type=_RESULT)
def compare(before: Path, after: Path) -> None:
    """Compare two results: what became faster, what slower, what cannot be told."""
    from sim.bench import Result
    from sim.bench.compare import compare as compared
    from sim.bench.compare import comparison_table

    found = compared(Result.load(before), Result.load(after))
    _print(comparison_table(found))
    click.echo(f"\ngeometric mean of the ratios: {found.mean:.3f}")
    for words, names in (("only before", found.only_before), ("only after", found.only_after)):
        for name in names:
            click.echo(f"{words}: {name}")
    for warning in found.warnings:
        click.echo(f"mind: {warning}")


@command.command("report")
@click.argument("file", type=_RESULT)
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), required=True, metavar="DIR")
@click.option("--dark", is_flag=True, help="Figures for a dark page.")
def report_(file: Path, output: Path, dark: bool) -> None:
    """Draw the figures and the page of a result again."""
    from sim.bench import Result, report
    from sim.figures import DARK, LIGHT

    for path in report.write(Result.load(file), output, name=file.stem, theme=DARK if dark else LIGHT):
        click.echo(path)


@command.command("table")
@click.argument("file", type=_RESULT)
def table_(file: Path) -> None:
    """Print a result as the Markdown table of the README."""
    from sim.bench import Result
    from sim.bench.readme import section

    click.echo(section(Result.load(file)), nl=False)


@command.command("model")
@click.argument("file", type=_RESULT)
@click.option("--trace", type=_RESULT, metavar="JOURNAL", help="Predict what the operations of this journal cost.")
@click.option(
    "--driver", metavar="NAME", help="Whose first writes are the machine's; by default overlayfs, or the first."
)
@click.option("--filesystem", default="", metavar="NAME", help="On which filesystem of the result.")
@click.option(
    "--on", "others", multiple=True, type=_RESULT, metavar="FILE", help="Predict for the machine of this result too."
)
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE",
    help="Change the machine: fixed, operation (seconds), bandwidth, write (bytes a second), block, chunk (bytes).",
)  # fmt: skip
def model(
    file: Path, trace: Path | None, driver: str | None, filesystem: str, others: Sequence[Path], settings: Sequence[str]
) -> None:
    """Fit the cost model (fixed + bytes / bandwidth), and predict what a trace costs.

    \b
    layerlab bench model result.json
    layerlab bench model result.json --trace journal.db --set bandwidth=200M
    """
    from sim.bench import Result
    from sim.bench.model import fits
    from sim.bench.report import model_table

    result = Result.load(file)
    found = fits(result)
    if not found:
        raise click.ClickException(
            f"{file}: it has no first writes at three sizes; measure with `layerlab bench copy-up`"
        )
    _print(model_table(found))
    click.echo(
        "\nerror: between the model and the medians that it was fitted to, in the middle; held out: at a size that"
    )
    click.echo("was left out when it was fitted. The knee is where copying begins to cost more than all else.")
    if trace is not None:
        _predict(result, trace, driver, filesystem, others, settings)


def _predict(
    result: Result, trace: Path, driver: str | None, filesystem: str, others: Sequence[Path], settings: Sequence[str]
) -> None:
    from fusefs import Journal
    from sim.bench import Result
    from sim.bench.model import fits
    from sim.bench.tables import seconds_text
    from sim.bench.trace import check, parameters, predict, predictions

    there = list(dict.fromkeys(one.driver for one in fits(result)))
    chosen = driver or ("overlayfs" if "overlayfs" in there else there[0])
    own = parameters(result, chosen, filesystem)
    machines = [own, *(parameters(Result.load(path), chosen, filesystem, name=path.stem) for path in others)]
    if settings:
        machines.append(_changed(own, settings))
    with Journal(trace) as journal:
        operations = list(journal.operations())
    for machine in machines:
        speeds = f"{machine.bandwidth / 2**20:,.0f} MiB/s copying, {machine.write / 2**20:,.0f} MiB/s writing"
        times = f"{seconds_text(machine.fixed)} fixed, {seconds_text(machine.operation)} an operation"
        click.echo(f"\n{machine.name}, {chosen}: {times}, {speeds}")
        _print(predictions(predict(operations, machine)))
    found = check(operations, own)
    if found is None:
        click.echo("\nNothing was copied up in this trace, so there is nothing to check the model by.")
        return
    click.echo(
        f"\nChecked by the {found.count} operations of the trace that copied data: {seconds_text(found.measured)} by"
        f" the journal, {seconds_text(found.predicted)} by the model; error in the middle {found.error:.0%}"
    )


def _changed(machine: Any, settings: Sequence[str]) -> Any:
    """Return a machine with other numbers."""
    from dataclasses import replace

    changes: dict[str, float] = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        scale = {"K": 2.0**10, "M": 2.0**20, "G": 2.0**30}.get(text[-1:].upper(), 1.0)
        try:
            value = float(text[:-1] if scale != 1.0 else text) * scale
        except ValueError:
            value = -1.0
        if name not in ("fixed", "operation", "bandwidth", "write", "block", "chunk") or value <= 0:
            raise click.UsageError(f"--set {setting}: write it as fixed=0.001, bandwidth=200M or chunk=64K")
        changes[name] = int(value) if name in ("block", "chunk") else value
    return replace(machine, name=f"{machine.name} with {', '.join(settings)}", **changes)
