"""What is explored: an image, a container, a file, or a stack of directories, found by what was typed.

Decided here: in which order a word is tried. The whole name of a container or image comes first, then what is on disk
by that path, then a stack (directories with colons between them, the topmost first, as overlayfs takes them), then the
ID of a container or image, or the beginning of one. What begins with `.` or `/` is a path only.
A target and its graph belong to one thread.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from sim.graph import (
    Follower,
    LayerGraph,
    LayerStack,
    NameUnknown,
    SourceError,
    add_archive,
    add_container,
    add_directories,
    add_store,
    container_places,
    find_container,
)

__all__ = ["Target", "open_target"]

_SQLITE = b"SQLite format 3\0"


@dataclass(slots=True)
class Target:
    """What is explored.

    Attributes
    ----------
    what
        `image`, `container`, `mount` or `stack`.
    graph
        The graph that it is in.
    stack
        Its layers.
    follower
        Keeps the graph up with the journal; None where there is nothing to follow.
    """

    what: str
    graph: LayerGraph
    stack: LayerStack
    follower: Follower | None = None

    def read(self) -> None:
        """Read all layers now, so that one which cannot be read is told of before anything is shown.

        Raises
        ------
        SourceError
            A layer is damaged, or gone.
        """
        for layer in self.stack.layers:
            len(layer.entries)

    def close(self) -> None:
        """Close what is followed."""
        if self.follower is not None:
            self.follower.close()


def open_target(
    word: str,
    *,
    root: Path | None = None,
    store: Path | None = None,
    image: str | None = None,
    upper: Path | None = None,
) -> Target:
    """Find what a word means and read it.

    Parameters
    ----------
    word
        The name of a container or image; a file (docker-archive, OCI archive, journal), a directory (OCI layout, or one
        layer), or directories with colons between them, the topmost first; or the ID of a container or image. A name
        that a file of this directory has too is the container's or image's; the file is meant by `./NAME`.
    root
        The data root in which containers and images are looked for.
    store
        An image store in which images are looked for instead.
    image
        Which image of a file, where it holds several.
    upper
        The RW layer of a stack of directories.

    Raises
    ------
    GraphError
        There is no such thing, it means several, or it cannot be read.
    """
    if _is_name(word, root, store):
        return _named(word, root, store)
    path = Path(word)
    if word and path.is_file():
        return _file(path, image)
    if word and path.is_dir() and ((path / "index.json").is_file() or (path / "manifest.json").is_file()):
        return _archive(path, image)
    parts = [Path(part) for part in word.split(":")]
    if word and all(os.path.isdir(part) for part in parts):
        graph = LayerGraph()
        name = ":".join(part.resolve().name or "/" for part in parts)
        return Target("stack", graph, add_directories(graph, parts, upper, name=name))
    if ":" in word and word.startswith((".", "/")):
        gone = next(part for part in parts if not os.path.isdir(part))
        raise SourceError(f"{gone}: there is no such directory; a stack is directories with colons between them")
    if word.startswith((".", "/")):
        raise SourceError(f"{word}: there is no such file or directory")
    return _named(word, root, store)


def _is_name(word: str, root: Path | None, store: Path | None) -> bool:
    """Tell whether a container or an image has this very name."""
    if not word or word.startswith((".", "/")):
        return False
    if root is not None and store is None and any(word == place.name for place in container_places(root)):
        return True
    place = store or (root / "images" if root is not None else None)
    if place is None or not (place / "oci-layout").is_file():
        return False
    from sim.images import ImagesError, Reference, Store

    try:
        wanted = Reference.parse(word)
    except ImagesError:
        return False
    with Store(place) as opened:
        return wanted in opened.tags(wanted)


def _file(path: Path, image: str | None) -> Target:
    with path.open("rb") as stream:
        if stream.read(len(_SQLITE)) != _SQLITE:
            return _archive(path, image)
    follower = Follower(path, name=path.stem)
    return Target("mount", follower.graph, follower.stack, follower)


def _archive(path: Path, image: str | None) -> Target:
    graph = LayerGraph()
    images = add_archive(graph, path)
    if not images:
        raise SourceError(f"{path}: there is no image in it")
    if len(images) > 1 and image is None:
        names = ", ".join(sorted(one.name for one in images)[:8])
        raise NameUnknown(f"{path}: there are {len(images)} images in it; say which with --image: {names}")
    return Target("image", graph, graph.stack(image or images[0].key))


def _named(word: str, root: Path | None, store: Path | None) -> Target:
    graph = LayerGraph()
    place = store or (root / "images" if root is not None else None)
    if place is not None and (place / "oci-layout").is_file():
        from sim.images import Store

        with Store(place) as opened:
            add_store(graph, opened)
    elif store is not None:
        raise SourceError(f"{store}: this is no image store")
    found = find_container(root, word) if root is not None and store is None else None
    if found is not None:
        if found.journal is None:
            return Target("container", graph, add_container(graph, found))
        image = found.image if found.image in graph.images else None
        follower = Follower(found.journal, name=found.name, graph=graph, image=image)
        return Target("container", graph, follower.stack, follower)
    try:
        return Target("image", graph, graph.stack(word))
    except NameUnknown:
        if word and any(key.removeprefix("sha256:").startswith(word.removeprefix("sha256:")) for key in graph.images):
            raise
    known = sorted(image.name for image in graph.images.values())
    if root is not None and store is None:
        known = sorted(one.name for one in container_places(root)) + known
    some = ", ".join(known[:8]) + (f" and {len(known) - 8} more" if len(known) > 8 else "")
    raise NameUnknown(
        f"{word!r} is no file, directory, container or image; "
        + (f"known are: {some}" if known else f"there is none in {place or 'any data root'} yet")
    )
