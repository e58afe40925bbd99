"""`layerlab figure`: draw a figure of a journal or of plain directories.

Decided here: which figures have a name on the command line. What they show is decided in `sim.graph.views`, how they
look in `sim.figures`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from sim.figures import Theme
    from sim.graph import LayerGraph

__all__ = ["command"]

_FIGURES = ("cross-section", "timeline", "sharing")


@click.command("figure")
@click.argument("name", type=click.Choice(_FIGURES), metavar="NAME")
@click.option("--journal", type=click.Path(path_type=Path), metavar="FILE", help="Draw what this journal recorded.")
@click.option(
    "--lower",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Draw a stack of directories: a read-only layer, each on those before it.",
)
@click.option("--upper", type=click.Path(path_type=Path), metavar="DIR", help="The RW layer of such a stack.")
@click.option(
    "--at", type=click.IntRange(min=0), metavar="NUMBER", help="As it was after this operation of the journal."
)
@click.option("--under", default="/", metavar="PATH", help="cross-section: only paths at or below this one.")
@click.option("--dark", is_flag=True, help="For a dark page.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The picture; its ending says the format: png, svg or pdf. By default NAME.png.",
)
def command(
    name: str,
    journal: Path | None,
    lower: tuple[Path, ...],
    upper: Path | None,
    at: int | None,
    under: str,
    dark: bool,
    output: Path | None,
) -> None:
    """Draw the figure NAME: cross-section, timeline or sharing.

    \b
    layerlab figure cross-section --journal journal.db --under /etc
    layerlab figure cross-section --lower base --lower app -o stack.svg
    """
    if (journal is None) == (not lower):
        raise click.UsageError("name what is to be drawn: either --journal FILE or --lower DIR, once or more often.")
    if journal is None and (name == "timeline" or at is not None):
        raise click.UsageError("directories have no past: a timeline and --at need --journal FILE.")
    file = output or Path(f"{name}.png")
    if file.suffix not in (".png", ".svg", ".pdf"):
        raise click.BadParameter(f"{file}: the name has to end in .png, .svg or .pdf.", param_hint="'--output'")
    if not file.absolute().parent.is_dir():
        raise click.ClickException(f"{file.parent}: there is no such directory; make it first")
    from sim import figures
    from sim.graph import LayerGraph, add_directories, add_journal

    graph = LayerGraph()
    if journal is not None:
        add_journal(graph, journal, at=at)
    else:
        add_directories(graph, tuple(reversed(lower)), upper)
    figure = _draw(name, graph, under, figures.DARK if dark else figures.LIGHT)
    aside = file.with_name(f".{file.name}.new")
    try:
        figure.savefig(aside, format=file.suffix[1:])
        os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)
    click.echo(file)


def _draw(name: str, graph: LayerGraph, under: str, theme: Theme) -> Figure:
    from sim import figures
    from sim.graph import cross_section, sharing, timeline

    stack = graph.stack()
    match name:
        case "cross-section":
            return figures.cross_section(cross_section(stack, under=under), theme=theme)
        case "timeline":
            return figures.timeline(timeline(stack), theme=theme)
        case _:
            return figures.sharing(sharing(graph), theme=theme)
