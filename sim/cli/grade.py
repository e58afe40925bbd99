"""`layerlab grade`: a union filesystem that somebody wrote, graded.

Decided here: the words on the command line, and where reports go. What is graded is decided in `sim.course.own`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sim.course.own.grader import Report
    from sim.course.texts import Language

__all__ = ["command"]

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("grade")
@click.argument("words", nargs=-1, metavar="-- COMMAND LOWER UPPER WORK MNT")
@click.option("--level", "levels", multiple=True, metavar="LEVEL", help="Grade this level only; may be repeated.")
@click.option(
    "--json", "json_file", type=_FILE, metavar="FILE", help="Write the report as JSON; - for standard output."
)
@click.option("--junit", type=_FILE, metavar="FILE", help="Write pytest's report in JUnit's form.")
@click.option(
    "--figures", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Draw each failing stack here."
)
@click.option("--skeleton", metavar="LEVEL", help="Print the program in which this level is to be written, and end.")
@click.option("--solution", metavar="LEVEL", help="Print the program in which this level is written, and end.")
@click.option(
    "--batch",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIR",
    help="Grade each submission in this directory, in a sandbox; SUBMISSION in the command is where it is.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("grades"),
    metavar="DIR",
    help="Reports of --batch.",
)
@click.option("--build", default="", metavar="COMMAND", help="--batch: build a submission first, in its directory.")
@click.option(
    "--memory", type=click.IntRange(min=64), default=512, metavar="MIB", help="--batch: memory of a submission."
)
@click.option("--pids", type=click.IntRange(min=16), default=128, help="--batch: processes of a submission.")
@click.option(
    "--disk", type=click.IntRange(min=8), default=64, metavar="MIB", help="--batch: disk space of a submission."
)
@click.option(
    "--time", "seconds", type=click.IntRange(min=5), default=300, metavar="SECONDS", help="For all of a submission."
)
@click.option("--lang", type=click.Choice(["en", "zh"]), help="English or Chinese; by default as the environment says.")
def command(
    words: tuple[str, ...],
    levels: tuple[str, ...],
    json_file: Path | None,
    junit: Path | None,
    figures: Path | None,
    skeleton: str | None,
    solution: str | None,
    batch: Path | None,
    out: Path,
    build: str,
    memory: int,
    pids: int,
    disk: int,
    seconds: int,
    lang: str | None,
) -> int:
    """Grade a union filesystem: any command that mounts one, in any language.

    LOWER, UPPER, WORK and MNT in the command stand for directories; LOWER is several with `:` between them, the topmost
    first. Without any of these words the four are appended. Ends with 0 for all points, with 1 for less.

    \b
    layerlab grade --skeleton lookup > union.py
    layerlab grade --level lookup -- python3 union.py LOWER UPPER WORK MNT
    layerlab grade -- fuse-overlayfs -o lowerdir=LOWER,upperdir=UPPER,workdir=WORK MNT
    layerlab grade --batch submissions -- python3 SUBMISSION/union.py LOWER UPPER WORK MNT
    """
    from sim.course.own import grader
    from sim.course.own import levels as known
    from sim.course.texts import Language

    if skeleton or solution:
        click.echo(known.skeleton(skeleton) if skeleton else known.solution(solution or ""), nl=False)
        return 0
    if not words:
        raise click.UsageError("name the command that mounts, behind two dashes: -- COMMAND LOWER UPPER WORK MNT")
    language = Language(lang) if lang else Language.of()
    chosen = levels or known.LEVELS
    if batch is not None:
        return _batch(batch, words, chosen, out, build, (memory, pids, disk, seconds), language)
    report = grader.grade(words, levels=chosen, junit=junit, figures=figures, time=seconds)
    if json_file is not None and str(json_file) == "-":
        click.echo(report.as_json())
    else:
        if json_file is not None:
            json_file.write_text(report.as_json())
        click.echo(grader.text(report, language))
    return 0 if report.points == report.of else 1


def _batch(
    directory: Path,
    words: tuple[str, ...],
    levels: tuple[str, ...],
    out: Path,
    build: str,
    bounds: tuple[int, int, int, int],
    language: Language,
) -> int:
    from sim.course.own import batch

    memory, pids, disk, seconds = bounds
    limits = batch.Bounds(memory << 20, pids, disk << 20, seconds)
    reports: dict[str, Report] = {}
    for name, report in batch.grade_all(
        directory, words, out, levels=levels, build=build, bounds=limits, language=language
    ):
        reports[name] = report
        stopped = f"  {report.stopped}" if report.stopped else ""
        click.echo(f"{name:<24} {report.points:6.1f} of {report.of}{stopped}")
    click.echo(batch.write_table(out, reports))
    return 0
