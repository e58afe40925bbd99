"""`--squash`: the layers of a build become one.

Decided here and only here: how several layers are made one (the difference of two trees, as a new RW layer on the
base), and what history says of it, which is what moby says. Functions; any thread.
"""

from __future__ import annotations

import os
import stat

import msgspec

from fusefs import UnionFS
from sim.build.copying import Copy, replaced
from sim.build.job import Job
from sim.build.paths import remove_tree, status_of, walk
from sim.build.source import Source
from sim.images import History, Image
from sim.images.documents import RootFs, now, rfc3339

__all__ = ["squash"]


def squash(job: Job, image: Image, base: Image | None) -> Image:
    """Return an image with the same tree, whose layers are those of the base and one.

    Parameters
    ----------
    base
        What the last stage was built on; None for nothing.
    """
    below = list(base.diff_ids) if base else []
    made = len(image.diff_ids) - len(below)
    layers = below
    if made > 0:
        with job.directories() as (_, upper, work):
            with UnionFS(job.layers(image)) as whole, UnionFS(job.layers(base), upper, work) as tree:
                _differences(whole, tree, _count(job, image, base))
            layer = job.keep(upper)
        layers = [*below, layer.diff_id] if layer else below
    created = now() if job.epoch is None else rfc3339(job.epoch)
    history = list(base.history) if base else []
    history += [msgspec.structs.replace(step, empty_layer=True) for step in image.history[len(history) :]]
    text = f"merge {image.id} to {base.id}" if base else f"create new from {image.id}"
    if len(layers) > len(below):
        history.append(History(created=created, comment=text))
    else:
        history.append(History(created=created, comment=text, empty_layer=True))
    configuration = msgspec.structs.replace(
        image.configuration, rootfs=RootFs(diff_ids=layers), history=history, created=created
    )
    return job.store.add_image(configuration, parent=base.id if base else None, lease=job.lease)


def _count(job: Job, image: Image, base: Image | None) -> int:
    """Return how many directories of the image's stack lie above the base's."""
    known = set(job.layers(base))
    return sum(path not in known for path in job.layers(image))


def _differences(whole: UnionFS, tree: UnionFS, made: int) -> None:
    """Change a tree, which is the base's, into another one; what the layers above the base brought is copied."""
    source = Source(whole)
    gone = [path for path, _ in walk(tree, "/") if status_of(whole, path) is None]
    for path in gone:
        remove_tree(tree, path)
    times: list[tuple[bytes, int]] = []
    run = replaced(tree, source, Copy("/", owner=None))
    for path, status in walk(whole, "/"):
        raw = os.fsencode(path)
        layer = whole.layer(raw)
        if layer is None or layer > made:
            continue  # the base's own
        there = status_of(tree, path)
        if there is not None and not (stat.S_ISDIR(there.st_mode) and stat.S_ISDIR(status.st_mode)):
            remove_tree(tree, path)
        run(path, status)
        if stat.S_ISDIR(status.st_mode):
            times.append((raw, status.st_mtime_ns))
    for raw, time in times:
        tree.utimens(raw, (time, time))
