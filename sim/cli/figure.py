"""`layerlab figure`: draw a figure of an image, a container, a store, an archive, a journal or plain directories.

Decided here: which figures have a name on the command line. What they show is decided in `sim.graph.views`, how they
look in `sim.figures`.
"""

from __future__ import annotations

import contextlib
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sim.graph import LayerGraph
    from sim.images import Store

__all__ = ["command"]

#: What a journal's mount is called in figures.
_THE_MOUNT = "mount"

#: Figures that need operations.
_OF_A_JOURNAL = ("timeline", "copy-up", "latency", "heat", "stepper")

#: Pages to look around in, for a browser: not pictures.
_PAGES = ("stepper", "explorer")


@click.command(
    "figure",
    epilog="The figures: cross-section, lookup, images, icicle, timeline, copy-up, sharing, "
    "waterfall, savings, latency, changes, heat. Pages for a browser: stepper (operation by operation) "
    "and explorer (layer by layer).",
)
@click.argument("name", metavar="NAME")
@click.argument("what", required=False, metavar="[IMAGE|CONTAINER]")
@click.option("--journal", type=click.Path(path_type=Path), metavar="FILE", help="Draw what this journal recorded.")
@click.option("--store", type=click.Path(path_type=Path), metavar="DIR", help="Draw the images of this store.")
@click.option(
    "--archive",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Draw the images of what docker save or skopeo wrote.",
)
@click.option("--stack", metavar="IMAGE", help="Which image of the store or archive, where there are several.")
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
    help="The picture; its ending says the format: png, svg or pdf. By default NAME.png, for a page NAME.html.",
)
def command(
    name: str,
    what: str | None,
    journal: Path | None,
    store: Path | None,
    archive: Path | None,
    stack: str | None,
    lower: tuple[Path, ...],
    upper: Path | None,
    at: int | None,
    path: str,
    dark: bool,
    output: Path | None,
) -> None:
    """Draw the figure NAME of the engine's images and containers, of a journal, a store, an archive, or directories.

    \b
    layerlab figure sharing
    layerlab figure timeline my-container
    layerlab figure cross-section --journal journal.db --path /etc
    layerlab figure cross-section --lower base --lower app -o stack.svg
    layerlab figure sharing --store layerlab-demo/store
    layerlab figure explorer --archive image.tar
    """
    from sim.figures import FIGURES

    if name not in FIGURES and name not in _PAGES:
        known = ", ".join([*FIGURES, *_PAGES])
        raise click.BadParameter(f"{name!r} is no figure; there are {known}.", param_hint="'NAME'")
    given = [source for source in (journal, store, archive, *lower) if source is not None]
    live = not given and upper is None and _data_root() is not None
    if what is not None and given:
        raise click.UsageError(f"what is to be drawn is named twice, by {what} and by an option: keep one.")
    if not live and (journal is None and store is None and archive is None) == (not lower):
        raise click.UsageError("name what is to be drawn: --journal FILE, --store DIR, --archive FILE, or --lower DIR.")
    if journal is None and live and what is not None and (name in _OF_A_JOURNAL or at is not None):
        journal = _journal_of(what)
    if journal is None and (name in _OF_A_JOURNAL or at is not None):
        raise click.UsageError(f"only a journal has a past: {name if at is None else '--at'} needs --journal FILE.")
    if name in FIGURES and FIGURES[name].needs_path and not path:
        raise click.UsageError(f"the figure {name} is about one path: name it with --path PATH.")
    endings = (".html",) if name in _PAGES else (".png", ".svg", ".pdf")
    file = output or Path(f"{name}{endings[0]}")
    if file.suffix not in endings:
        wanted = " or ".join(", ".join(endings).rsplit(", ", 1))
        raise click.BadParameter(f"{file}: the name has to end in {wanted}.", param_hint="'--output'")
    if not file.absolute().parent.is_dir():
        raise click.ClickException(f"{file.parent}: there is no such directory; make it first")
    from sim.graph import LayerGraph, add_archive, add_directories, add_journal, add_store

    graph = LayerGraph()
    with contextlib.ExitStack() as opened:
        if store is not None:
            add_store(graph, opened.enter_context(_open(store)))
        if archive is not None:
            add_archive(graph, archive)
        if journal is not None:
            add_journal(graph, journal, name=_THE_MOUNT, at=at)
        elif lower:
            add_directories(graph, tuple(reversed(lower)), upper)
        elif live:
            _add_live(graph, what)
        chosen = stack or (_THE_MOUNT if journal else what)
        if name in _PAGES:
            _write(file, _page(name, graph, chosen))
        else:
            _write(file, _picture(name, graph, chosen, path, file.suffix[1:], dark=dark))
    click.echo(file)


def _data_root() -> Path | None:
    """Return the engine's data root, if it has images."""
    from sim.engine.places import data_root

    root = data_root()
    return root if (root / "images" / "oci-layout").is_file() else None


def _journal_of(container: str) -> Path:
    """Return the journal of one of the engine's containers."""
    from sim.graph import find_container

    root = _data_root()
    place = find_container(root, container) if root is not None else None
    if place is None:
        raise click.ClickException(f"{container}: there is no such container; `layerlab ps -a` lists them")
    if place.journal is None:
        raise click.ClickException(f"{container}: its operations are not recorded, so it has no past to be drawn")
    return place.journal


def _add_live(graph: LayerGraph, what: str | None) -> None:
    """Add the engine's images, and its containers: all, or the one that is drawn."""
    from sim.graph import add_container, add_engine, add_store, find_container
    from sim.images import Store

    root = _data_root()
    assert root is not None
    place = find_container(root, what) if what is not None else None
    if what is None:
        add_engine(graph, root)
        return
    with Store(root / "images") as store:
        add_store(graph, store)
    if place is not None:
        add_container(graph, place)


def _page(name: str, graph: LayerGraph, stack: str | None) -> bytes:
    from sim import figures
    from sim import graph as views

    found = graph.stack(stack)
    page = figures.stepper(views.steps(found)) if name == "stepper" else figures.explorer(views.exploration(found))
    return page.encode()


def _picture(name: str, graph: LayerGraph, stack: str | None, path: str, form: str, *, dark: bool) -> bytes:
    from sim.figures import DARK, LIGHT, draw, save

    stream = io.BytesIO()
    save(draw(name, graph, stack, path=path, theme=DARK if dark else LIGHT), stream, form=form)
    return stream.getvalue()


def _write(file: Path, content: bytes) -> None:
    """Write a file whole, or not at all."""
    aside = file.with_name(f".{file.name}.new")
    try:
        aside.write_bytes(content)
        os.replace(aside, file)
    finally:
        aside.unlink(missing_ok=True)


def _open(place: Path) -> Store:
    """Open a store that is there; opening it otherwise would make one."""
    from sim.images import Store

    if not (place / "oci-layout").is_file():
        raise click.ClickException(f"{place}: this is no image store; name one, such as layerlab-demo/store")
    return Store(place)
