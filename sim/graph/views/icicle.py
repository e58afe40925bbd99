"""Data of the icicle: the directories of a layer, each as wide as the bytes in it.

Decided here: how deep it goes, and when small things are put together.
"""

from __future__ import annotations

from dataclasses import dataclass

from sim.graph.entry import Layer, join
from sim.graph.stack import layer_title, short_name

__all__ = ["Icicle", "Slab", "icicle"]


@dataclass(frozen=True, slots=True)
class Slab:
    """One directory or file, or several small ones.

    Attributes
    ----------
    path
        Its path; of several, the directory that they are in.
    label
        Its name; of several, how many.
    depth
        0 for the root.
    start, bytes
        Where it begins and how much is in it, in bytes of the layer.
    directory
        Whether it is a directory.
    rest
        Whether it stands for several small ones.
    """

    path: str
    label: str
    depth: int
    start: int
    bytes: int
    directory: bool
    rest: bool = False


@dataclass(frozen=True, slots=True)
class Icicle:
    """A layer's content by size.

    Attributes
    ----------
    name
        Of the layer.
    bytes
        Bytes of file data in it, each name of a hard-linked file once.
    files
        Number of regular files.
    marks
        Number of whiteouts and opaque directories.
    slabs
        From the root down, and from the left.
    """

    name: str
    bytes: int
    files: int
    marks: int
    slabs: tuple[Slab, ...]


def icicle(layer: Layer, *, max_depth: int = 5, smallest: float = 0.012) -> Icicle:
    """Measure a layer's directories.

    Parameters
    ----------
    layer
        Which one.
    max_depth
        How many levels below the root there are.
    smallest
        What is a smaller part of the layer than this is put together with its like.
    """
    sizes: dict[str, int] = {}
    counted: set[int] = set()
    files = marks = 0
    for path, entry in layer.entries.items():
        marks += entry.is_whiteout or entry.opaque
        if entry.is_dir or entry.is_whiteout:
            continue
        files += 1
        if entry.inode in counted:
            continue
        if entry.inode:
            counted.add(entry.inode)
        at = path
        while True:
            sizes[at] = sizes.get(at, 0) + entry.size
            if at == "/":
                break
            at = at.rpartition("/")[0] or "/"
    total = sizes.get("/", 0)
    slabs: list[Slab] = [Slab("/", "/", 0, 0, total, directory=True)]
    pending = [("/", 0, 0)]
    while pending and total:
        directory, depth, start = pending.pop()
        if depth == max_depth:
            continue
        inner = [join(directory, name) for name in layer.children.get(directory, ())]
        inner.sort(key=lambda path: (-sizes.get(path, 0), path))
        small = [path for path in inner if 0 < sizes.get(path, 0) < smallest * total]
        for path in inner:
            size = sizes.get(path, 0)
            if not size or size < smallest * total:
                continue
            entry = layer.entries[path]
            slabs.append(Slab(path, path.rpartition("/")[2], depth + 1, start, size, entry.is_dir))
            if entry.is_dir:
                pending.append((path, depth + 1, start))
            start += size
        if small:
            rest = sum(sizes[path] for path in small)
            slabs.append(Slab(directory, f"{len(small)} more", depth + 1, start, rest, directory=False, rest=True))
    slabs.sort(key=lambda slab: (slab.depth, slab.start))
    return Icicle(short_name(layer_title(layer)), total, files, marks, tuple(slabs))
