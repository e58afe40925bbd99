"""The images and containers of an engine, read from its data root, whether a daemon runs or not.

Decided here: where in a data root the graph finds what it needs, and that nothing there is changed:

    images/                      a `sim.images.Store`
    containers/ID/config.json    `Id`, `Name` and `Image` among others
    containers/ID/upper          the RW layer
    containers/ID/journal.db     its operations; not there where the driver records none
    init/IMAGE                   the layer of mount places between the image and the RW layer

Functions here belong to the thread of the graph that they fill.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sim.graph.directory import directory_layer
from sim.graph.entry import Role
from sim.graph.errors import NameUnknown, SourceError
from sim.graph.graph import LayerGraph
from sim.graph.sources import add_journal, add_store
from sim.graph.stack import LayerStack

__all__ = ["ContainerPlace", "add_container", "add_engine", "container_places", "engine_graph", "find_container"]


@dataclass(frozen=True, slots=True)
class ContainerPlace:
    """Where a container keeps its layer.

    Attributes
    ----------
    id, name
        Of the container.
    image
        ID of its image; "" if it is not said.
    path
        Its directory.
    """

    id: str
    name: str
    image: str
    path: Path

    @property
    def journal(self) -> Path | None:
        """Its journal, if its driver writes one."""
        file = self.path / "journal.db"
        return file if file.is_file() else None


def container_places(root: Path) -> Iterator[ContainerPlace]:
    """Yield the containers of a data root, by ID; one that is just being made or removed is left out."""
    for file in sorted((root / "containers").glob("*/config.json")):
        try:
            config = json.loads(file.read_bytes())
            name = str(config["Name"]).removeprefix("/")
            yield ContainerPlace(str(config["Id"]), name, str(config.get("Image") or ""), file.parent)
        except (OSError, ValueError, KeyError, TypeError):
            continue


def find_container(root: Path, name: str) -> ContainerPlace | None:
    """Return the container of a name, or of an ID that begins so; None if there is none.

    Raises
    ------
    NameUnknown
        Several IDs begin so.
    """
    places = list(container_places(root))
    for place in places:
        if name in (place.name, place.id):
            return place
    found = [place for place in places if name and place.id.startswith(name)]
    if len(found) > 1:
        names = ", ".join(f"{place.name} ({place.id[:12]})" for place in found[:8])
        raise NameUnknown(f"{name!r} means {len(found)} containers; give more of the ID: {names}")
    return found[0] if found else None


def add_container(graph: LayerGraph, place: ContainerPlace) -> LayerStack:
    """Add a container: by its journal, or by its RW layer on its image's layers where there is none.

    Parameters
    ----------
    graph
        The graph to add to, with the container's image in it if that is still there.
    place
        From `container_places`.

    Raises
    ------
    SourceError
        Neither can be read.
    """
    image = place.image if place.image in graph.images else None
    if place.journal is not None:
        return add_journal(graph, place.journal, name=place.name, image=image)
    if image is None:
        raise SourceError(f"{place.name}: its image {place.image[:19]} is gone, and it has no journal to go by")
    upper = directory_layer(place.path / "upper", role=Role.RW, name=place.name)
    lower = tuple(graph.layers[key] for key in graph.images[image].layers)
    init = place.path.parent.parent / "init" / image.removeprefix("sha256:")
    if init.is_dir():
        lower = (directory_layer(init, name="init"), *lower)
    return graph.add_stack(LayerStack(place.name, (upper, *lower)), image=image)


def add_engine(graph: LayerGraph, root: Path) -> tuple[LayerStack, ...]:
    """Add all images and containers of a data root; containers that cannot be read are left out.

    Raises
    ------
    SourceError
        There is no image store in it.
    """
    from sim.images import Store

    if not (root / "images" / "oci-layout").is_file():
        raise SourceError(f"{root}: this is no data root: it has no image store")
    with Store(root / "images") as store:
        add_store(graph, store)
    added = []
    for place in container_places(root):
        try:
            added.append(add_container(graph, place))
        except SourceError:
            continue
    return tuple(added)


def engine_graph(root: Path) -> LayerGraph:
    """Return the graph of a data root; parameters and errors as in `add_engine`."""
    graph = LayerGraph()
    add_engine(graph, root)
    return graph
