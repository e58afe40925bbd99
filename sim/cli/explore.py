"""`layerlab explore`: look around in layers, in the terminal; with --ci a check whether too much is wasted.

Decided here: the options and the exit status of the check (1 when a rule fails). What is shown is decided in
`sim.explore`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from sim.explore import Limits, Target, Verdict

__all__ = ["command"]

#: The file of limits that is read when none is named.
_LIMITS_FILE = ".layerlab-ci.toml"


@click.command("explore")
@click.argument("what", metavar="IMAGE|CONTAINER|FILE|STACK")
@click.option("--image", metavar="NAME", help="Which image of FILE, where it holds several.")
@click.option("--store", type=click.Path(path_type=Path), metavar="DIR", help="Look for the image in this store.")
@click.option("--upper", type=click.Path(path_type=Path), metavar="DIR", help="The RW layer of a STACK.")
@click.option("--ci", is_flag=True, help="Only check whether too much is wasted: status 1 if it is.")
@click.option(
    "--limits",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"The limits of --ci, in TOML. By default {_LIMITS_FILE}, where it is there.",
)
@click.option("--lowest-efficiency", metavar="PART", help="Part of all bytes that has to be seen. By default 0.9.")
@click.option("--highest-wasted-bytes", metavar="BYTES", help="As 20MB or 512KiB. By default without limit.")
@click.option("--highest-wasted-percent", metavar="PERCENT", help="Of the layers above the lowest. By default 10.")
@click.option("--negligible-bytes", metavar="BYTES", help="Up to this waste only its bytes count. By default 1MiB.")
def command(
    what: str,
    image: str | None,
    store: Path | None,
    upper: Path | None,
    ci: bool,
    file: Path | None,
    lowest_efficiency: str | None,
    highest_wasted_bytes: str | None,
    highest_wasted_percent: str | None,
    negligible_bytes: str | None,
) -> int:
    """Look around in layers: trees, contents, histories, waste.

    FILE is what docker save, skopeo or layerlab wrote, or a journal; STACK is directories with colons between them,
    the topmost first.

    \b
    layerlab explore web
    layerlab explore image.tar --ci --highest-wasted-bytes 20MB
    layerlab explore app:base
    """
    from sim.engine.places import data_root
    from sim.explore import open_target

    given = (lowest_efficiency, highest_wasted_bytes, highest_wasted_percent, negligible_bytes)
    if not ci and (file is not None or any(given)):
        raise click.UsageError("limits are for --ci.")
    if not ci and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("looking around needs a terminal; --ci and `layerlab figure explorer` do not.")
    limits = _limits(file, *given) if ci else None
    target = open_target(what, root=data_root(), store=store, image=image, upper=upper)
    try:
        return _explore(target) if limits is None else _judge(target, limits)
    finally:
        target.close()


def _explore(target: Target) -> int:
    from sim.explore.app import Explorer

    target.read()
    explorer = Explorer(target)
    explorer.run()
    return explorer.return_code or 0


def _limits(
    file: Path | None, efficiency: str | None, most: str | None, percent: str | None, little: str | None
) -> Limits:
    """Return the limits: the defaults, over them those of the file, over them those of the options."""
    from sim.explore import Limits, LimitsError, read_limits
    from sim.explore.limits import parse_bytes, parse_part

    if file is None and Path(_LIMITS_FILE).is_file():
        file = Path(_LIMITS_FILE)
    limits = Limits() if file is None else read_limits(file)
    try:
        changes: dict[str, Any] = {}
        if efficiency is not None:
            changes["lowest_efficiency"] = parse_part(efficiency, 1)
        if most is not None:
            changes["highest_wasted_bytes"] = parse_bytes(most)
        if percent is not None:
            changes["highest_wasted_percent"] = parse_part(percent, 100)
        if little is not None:
            changes["negligible_bytes"] = parse_bytes(little)
    except LimitsError as error:
        raise click.UsageError(f"{error}.") from error
    return replace(limits, **changes)


def _judge(target: Target, limits: Limits) -> int:
    from sim.cli.words import count_words, size_words
    from sim.explore import judge
    from sim.figures.text import safe

    verdict = judge(target.stack, limits)
    seen = verdict.total - verdict.wasted
    click.echo(
        f"{safe(target.stack.name)}: {size_words(verdict.total)} in {count_words(len(target.stack.layers), 'layer')}"
    )
    click.echo(f"{size_words(seen)} can be seen, {size_words(verdict.wasted)} cannot")
    _worst(verdict)
    for rule in verdict.rules:
        word = "skip" if rule.passed is None else "pass" if rule.passed else "FAIL"
        limit = f" (limit {rule.limit})" if rule.limit else ""
        why = f": {rule.why}" if rule.why else ""
        click.echo(f"{word}  {rule.name} {rule.found}{limit}{why}")
    click.echo("result: pass" if verdict.passed else "result: fail")
    return 0 if verdict.passed else 1


def _worst(verdict: Verdict, limit: int = 10) -> None:
    from sim.cli.words import count_words, size_words
    from sim.figures.text import safe

    for one in verdict.worst[:limit]:
        by = "the RW layer" if one.by == 0 else f"layer {one.by}"
        click.echo(f"  {size_words(one.bytes):>9}  {safe(one.path)} in layer {one.layer}, {one.cause} by {by}")
    if len(verdict.worst) > limit:
        click.echo(f"  and {count_words(len(verdict.worst) - limit, 'file')} more")
