"""The demo's images: a base and two images that share it, in an image store.

Decided here: what is in them. Their digests are the same on each run, for the same base.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.graph import Layer, LayerGraph
    from sim.images import Entry, Image, Store

__all__ = ["Images", "add_images", "images"]


@dataclass(frozen=True, slots=True)
class Images:
    """The images of the demo.

    Attributes
    ----------
    store
        Where they are.
    base, web, tools
        The base, and the two that share it.
    names
        What people call the layers, by digest.
    """

    store: Store
    base: Image
    web: Image
    tools: Image
    names: dict[str, str]


def _web() -> list[Entry]:
    from sim.images import directory, file

    return [
        directory("etc"),
        file("etc/motd", "Welcome to the web image. The base has another greeting; this one hides it.\n"),
        directory("srv"),
        directory("srv/www"),
        file("srv/www/index.html", "<!doctype html>\n<title>web</title>\n<h1>Served from the web image's layer</h1>\n"),
        file("srv/www/style.css", "h1 { color: #0072b2 }\n" * 200),
    ]


def _tools() -> list[Entry]:
    from sim.images import directory, file

    return [
        directory("etc"),
        file("etc/motd", "Welcome to the tools image.\n"),
        directory("usr"),
        directory("usr/local"),
        directory("usr/local/bin"),
        file("usr/local/bin/count", '#!/bin/sh\nfind "${1:-/}" -xdev -type f | wc -l\n', 0o755),
        directory("usr/local/share"),
        file("usr/local/share/words", "amber birch cedar delta ember flint\n" * 4000),
    ]


@contextmanager
def images(place: Path, rootfs: Path | None) -> Iterator[Images]:
    """Build the images, as far as they are not in the store yet.

    Parameters
    ----------
    place
        The store's directory.
    rootfs
        A directory or a tar with a root filesystem to be the base; None for the base around busybox.

    Raises
    ------
    sim.images.ImagesError
        They cannot be built; the text says why.
    """
    from sim.images import FIXED_TIME, Store, base_image, image_from_rootfs, image_on

    with Store(place) as store:
        if rootfs is None:
            base = base_image(store, "layerlab/base")
        else:
            base = image_from_rootfs(store, rootfs, tags=["layerlab/rootfs"], created=FIXED_TIME)
        web = image_on(store, base, _web(), tags=["layerlab/web"], created=FIXED_TIME)
        tools = image_on(store, base, _tools(), tags=["layerlab/tools"], created=FIXED_TIME)
        names = dict.fromkeys(base.diff_ids, "base")
        names |= {web.diff_ids[-1]: "web", tools.diff_ids[-1]: "tools"}
        yield Images(store, base, web, tools, names)


def add_images(graph: LayerGraph, found: Images) -> None:
    """Add the two images and their layers to a graph."""
    for image in (found.web, found.tools):
        layers = [_layer(found, diff_id) for diff_id in reversed(image.diff_ids)]
        graph.add_image(image.id, [tag.familiar for tag in image.tags], layers)


def _layer(found: Images, diff_id: str) -> Layer:
    from sim.graph.directory import directory_layer

    return directory_layer(found.store.layer_path(diff_id), name=found.names[diff_id], key=diff_id)
