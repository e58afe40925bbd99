"""`layerlab figure`: draw a figure of a journal or of plain directories.

Decided here: which figures have a name on the command line. What they show is decided in `sim.graph.views`, how they
look in `sim.figures`.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sim.images import Store

__all__ = ["command"]

#: What a journal's mount is called in figures.
_THE_MOUNT = "mount"

#: Figures that need operations.
_OF_A_JOURNAL = ("timeline", "copy-up", "latency", "heat")


@click.command(
    "figure",
    epilog="The figures: cross-section, lookup, images, icicle, timeline, copy-up, sharing, "
    "waterfall, savings, latency, changes, heat.",
)
@click.argument("name", metavar="NAME")
@click.option("--journal", type=click.Path(path_type=Path), metavar="FILE", help="Draw what this journal recorded.")
@click.option("--store", type=click.Path(path_type=Path), metavar="DIR", help="Draw the images of this store.")
@click.option("--stack", metavar="IMAGE", help="Which image of the store, where there are several.")
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
@click.option("--path", default="", metavar="PATH", help="The path it is about; others show what is at or below it.")
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
    store: Path | None,
    stack: str | None,
    lower: tuple[Path, ...],
    upper: Path | None,
    at: int | None,
    path: str,
    dark: bool,
    output: Path | None,
) -> None:
    """Draw the figure NAME.

    \b
    layerlab figure cross-section --journal journal.db --path /etc
    layerlab figure cross-section --lower base --lower app -o stack.svg
    layerlab figure sharing --store layerlab-demo/store
    """
    from sim.figures import FIGURES

    if name not in FIGURES:
        raise click.BadParameter(f"{name!r} is no figure; there are {', '.join(FIGURES)}.", param_hint="'NAME'")
    if (journal is None and store is None) == (not lower):
        raise click.UsageError("name what is to be drawn: --journal FILE, --store DIR, or --lower DIR.")
    if journal is None and (name in _OF_A_JOURNAL or at is not None):
        raise click.UsageError(f"only a journal has a past: {name if at is None else '--at'} needs --journal FILE.")
    if FIGURES[name].needs_path and not path:
        raise click.UsageError(f"the figure {name} is about one path: name it with --path PATH.")
    file = output or Path(f"{name}.png")
    if file.suffix not in (".png", ".svg", ".pdf"):
        raise click.BadParameter(f"{file}: the name has to end in .png, .svg or .pdf.", param_hint="'--output'")
    if not file.absolute().parent.is_dir():
        raise click.ClickException(f"{file.parent}: there is no such directory; make it first")
    from sim.figures import DARK, LIGHT, draw, save
    from sim.graph import LayerGraph, add_directories, add_journal, add_store

    graph = LayerGraph()
    with contextlib.ExitStack() as opened:
        if store is not None:
            add_store(graph, opened.enter_context(_open(store)))
        if journal is not None:
            add_journal(graph, journal, name=_THE_MOUNT, at=at)
        elif lower:
            add_directories(graph, tuple(reversed(lower)), upper)
        figure = draw(name, graph, stack or (_THE_MOUNT if journal else None), path=path, theme=DARK if dark else LIGHT)
    aside = file.with_name(f".{file.name}.new")
    try:
        save(figure, aside, form=file.suffix[1:])
        os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)
    click.echo(file)


def _open(place: Path) -> Store:
    """Open a store that is there; opening it otherwise would make one."""
    from sim.images import Store

    if not (place / "oci-layout").is_file():
        raise click.ClickException(f"{place}: this is no image store; name one, such as layerlab-demo/store")
    return Store(place)
