"""Where layers, images and containers come from: journals, plain directories, the image store.

Decided here: how a journal becomes a stack, and which layer of it is which layer of the graph: the one of the same
digest, or in the same directory, so that containers and images share it. Any other has its digest as its key, or else
the real path of its directory.

Functions here belong to the thread of the graph that they fill.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fusefs.errors import JournalError
from fusefs.journal import Journal, JournalLayer
from sim.graph.directory import directory_layer, read_directory, read_file
from sim.graph.entry import Entry, Layer, Role
from sim.graph.errors import SourceError
from sim.graph.graph import Image, LayerGraph
from sim.graph.past import JournalPast
from sim.graph.replay import Replay, first_state
from sim.graph.stack import LayerStack

if TYPE_CHECKING:
    from sim.images import Layer as StoredLayer
    from sim.images import Store

__all__ = ["add_directories", "add_journal", "add_store", "directories_graph", "journal_graph", "store_graph"]

_DIGEST = re.compile(r"sha(256:[0-9a-f]{64}|512:[0-9a-f]{128})")


def add_directories(
    graph: LayerGraph,
    lower: Sequence[Path],
    upper: Path | None = None,
    *,
    name: str = "stack",
    names: Sequence[str] = (),
) -> LayerStack:
    """Add a stack of plain directories in overlay format.

    Parameters
    ----------
    graph
        The graph to add to.
    lower
        Read-only layers, the topmost first.
    upper
        The RW layer, or None.
    name
        What the stack is called.
    names
        What the lower layers are called, the topmost first; else their directories' names.

    Raises
    ------
    SourceError
        One of the directories does not exist.
    """
    layers = [] if upper is None else [directory_layer(upper, role=Role.RW)]
    for index, path in enumerate(lower):
        called = names[index] if index < len(names) else ""
        layers.append(directory_layer(path, name=called, key=called if _DIGEST.fullmatch(called) else ""))
    return graph.add_stack(LayerStack(name, tuple(layers)))


def directories_graph(
    lower: Sequence[Path], upper: Path | None = None, *, name: str = "stack", names: Sequence[str] = ()
) -> LayerGraph:
    """Return the graph of one stack of plain directories; parameters as in `add_directories`."""
    graph = LayerGraph()
    add_directories(graph, lower, upper, name=name, names=names)
    return graph


def add_journal(
    graph: LayerGraph,
    journal: Journal | Path | str,
    *,
    name: str = "mount",
    at: int | None = None,
    image: str | None = None,
) -> LayerStack:
    """Add a container or mount by its journal.

    Parameters
    ----------
    graph
        The graph to add to.
    journal
        The journal or its file; it may still be written to.
    name
        What the container or mount is called.
    at
        Show the moment after this operation; None for now. 0 is the moment before the first.
    image
        Key of the image that it runs; by default one of the graph that has the same layers.

    Raises
    ------
    SourceError
        The journal cannot be read, it has no operation `at`, or it names no layer.
    """
    path = journal.path if isinstance(journal, Journal) else Path(journal)
    try:
        with contextlib.nullcontext(journal) if isinstance(journal, Journal) else Journal(path) as reader:
            count = len(reader)
            if at is not None and not 0 <= at <= count:
                raise SourceError(f"{path}: the journal has no operation {at}; it has {count}")
            described = reader.layers()
            if not described:
                raise SourceError(f"{path}: the journal names no layer; it was not made by a mount")
            places = {layer.place: layer for layer in graph.layers.values() if layer.place is not None}
            lower = {item.number: _lower(graph, places, item) for item in described if item.role != Role.RW}
            rw = next((item for item in described if item.role == Role.RW), None)
            now = _upper_entries(rw)
            initial = first_state(reader.changes(), lower, now) if at is not None else {}
            replay = Replay(lower, initial)
            past = JournalPast(path, lambda: replay.number)
            replay.number = count if at is None else at
            replay.take_past(past, replay.number)
    except JournalError as error:
        raise SourceError(str(error)) from error

    layers = [lower[number] for number in sorted(lower)]
    if rw is not None:
        entries = _stamped(now, replay) if at is None and now is not None else replay.entries
        upper = rw.path
        layers.insert(
            0,
            Layer(
                f"{path.absolute()}#{name}",
                name,
                Role.RW,
                lambda: entries,
                read=lambda entry, limit: read_file(upper, entry, limit),
            ),
        )
    return graph.add_stack(LayerStack(name, tuple(layers), replay, past), image=image)


def journal_graph(journal: Journal | Path | str, *, name: str = "mount", at: int | None = None) -> LayerGraph:
    """Return the graph of one container or mount; parameters as in `add_journal`."""
    graph = LayerGraph()
    add_journal(graph, journal, name=name, at=at)
    return graph


def add_store(graph: LayerGraph, store: Store) -> tuple[Image, ...]:
    """Add all images of an image store. Their layers are read when their entries are first asked for.

    A layer is called by the first image that has a name and has the layer, and by the step of its making, counted from
    the bottom: not by a layer number, since those are counted from the top.

    Parameters
    ----------
    graph
        The graph to add to; stacks whose layers are an image's are joined to it if they are added after.
    store
        An open `sim.images.Store`. It must stay open, and the layers in it, while entries are asked for.
    """
    added = []
    for image in reversed(store.images()):
        tags = [tag.familiar for tag in image.tags]
        steps = [step for step in image.history if not step.empty_layer]
        layers = []
        for index, layer in enumerate(image.layers, 1):
            name = f"{tags[0].removesuffix(':latest')} step {index}" if tags else layer.diff_id
            made = steps[index - 1].created_by if len(steps) == len(image.layers) else ""
            layers.append(graph.layers.get(layer.diff_id) or _stored(layer, name, made))
        added.append(graph.add_image(image.id, tags, list(dict.fromkeys(reversed(layers)))))
    return tuple(added)


def store_graph(store: Store) -> LayerGraph:
    """Return the graph of all images of a store; parameters as in `add_store`."""
    graph = LayerGraph()
    add_store(graph, store)
    return graph


def _stored(layer: StoredLayer, name: str, command: str) -> Layer:
    path = layer.path
    return Layer(
        layer.diff_id,
        name,
        Role.RO,
        lambda: read_directory(path),
        size=layer.size,
        command=command,
        read=lambda entry, limit: read_file(path, entry, limit),
        place=path.resolve(),
    )


def _lower(graph: LayerGraph, places: Mapping[Path, Layer], item: JournalLayer) -> Layer:
    """Return a read-only layer of a journal: the one of the graph if it is there, else the one in its directory."""
    known = graph.layers.get(item.name) or places.get(item.path.resolve())
    if known is not None:
        return known
    digest = item.name if _DIGEST.fullmatch(item.name) else ""
    if item.path.is_dir():
        return directory_layer(item.path, name=item.name, key=digest)
    # The directory is gone: the journal still tells which layer served what, though not what else was in it.
    return Layer(digest or str(item.path), item.name, Role.RO, dict)


def _upper_entries(rw: JournalLayer | None) -> Mapping[str, Entry] | None:
    return read_directory(rw.path) if rw is not None and rw.path.is_dir() else None


def _stamped(now: Mapping[str, Entry], replay: Replay) -> Mapping[str, Entry]:
    """Give what is on disk the times that other moments of the journal have, so that they can be compared."""
    known = replay.entries
    return {
        path: replace(entry, mtime=known[path].mtime) if path in known and path not in replay.missing else entry
        for path, entry in now.items()
    }
