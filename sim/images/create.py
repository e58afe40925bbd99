"""Making images: from nothing but a busybox, from a root filesystem, or one layer on top of another image.

Decided here and only here: how a new image's configuration follows from its parent's.
Given the same input and time, the digests are the same on each run. Functions only; any thread.
"""

from __future__ import annotations

import copy
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sim.images.base import FIXED_TIME, base_entries
from sim.images.digest import CHUNK
from sim.images.documents import Configuration, History, RootFs, check_layer_count, now
from sim.images.entry import Entry
from sim.images.errors import ImagesError, NotFoundError
from sim.images.image import Image, Layer
from sim.images.lease import Lease
from sim.images.reference import Reference
from sim.images.store import Store

__all__ = [
    "architecture",
    "base_image",
    "image_from_layers",
    "image_from_rootfs",
    "image_on",
    "layers_configuration",
]

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le"}


def architecture() -> str:
    """Return this machine's architecture by the name that images use.

    >>> architecture() != ""
    True
    """
    machine = platform.machine()
    return _MACHINES.get(machine, machine)


def base_image(store: Store, name: str | Reference = "layerlab/base", *, busybox: Path | None = None) -> Image:
    """Make the base image, or return it if it is there already: the same ID on each run with the same busybox.

    Raises
    ------
    NotFoundError
        There is no static busybox.
    """
    with store.lease() as lease:
        layer = store.add_entries(base_entries(busybox), lease)
        return image_from_layers(
            store,
            [layer],
            tags=[name],
            settings={"Cmd": ["/bin/sh"], "Env": [_PATH]},
            created=FIXED_TIME,
            created_by="layerlab: a root filesystem around a static busybox",
            lease=lease,
        )


def image_from_rootfs(
    store: Store,
    source: Path | Iterable[bytes],
    *,
    tags: Sequence[str | Reference] = (),
    settings: Mapping[str, Any] | None = None,
    created: str | None = None,
    message: str = "",
    created_by: str = "",
    modified: int | None = None,
    machine: str | None = None,
) -> Image:
    """Make an image of one layer from a whole root filesystem.

    Parameters
    ----------
    source
        A directory, a tar (compressed or not), or a tar's bytes as they come.
    settings
        How to run it, by the names of Docker's API.
    created
        When it was made (RFC 3339); now where it is None.
    message
        What its history says about it.
    modified
        With a directory: a time in nanoseconds that nothing in it is later than.
    machine
        The architecture that it is for; this machine's where None.

    Raises
    ------
    ContentError
        The tar is damaged or not safe.
    NotFoundError
        There is no such directory or file.
    """
    with store.lease() as lease:
        if isinstance(source, Path) and source.is_dir():
            layer = store.add_directory(source, modified=modified, lease=lease)
        else:
            layer = store.add_tar(_file_chunks(source) if isinstance(source, Path) else source, lease)
        return image_from_layers(
            store,
            [layer],
            tags=tags,
            settings=settings or {},
            created=created or now(),
            created_by=created_by,
            comment=message,
            lease=lease,
            machine=machine,
        )


def _file_chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb", buffering=0) as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except FileNotFoundError:
        raise NotFoundError(f"{path}: there is no such file or directory") from None
    except OSError as error:
        raise ImagesError(f"{path}: {os.strerror(error.errno or 0)}") from None


def image_from_layers(
    store: Store,
    layers: Sequence[Layer],
    *,
    tags: Sequence[str | Reference] = (),
    settings: Mapping[str, Any] | None = None,
    created: str = FIXED_TIME,
    created_by: str = "",
    comment: str = "",
    author: str = "",
    lease: Lease | None = None,
    machine: str | None = None,
) -> Image:
    """Make an image of layers that are in the store, bottom first, without a parent."""
    steps = [History(created=created, created_by=created_by, comment=comment, author=author) for _ in layers]
    configuration = Configuration(
        architecture=machine or architecture(),
        os="linux",
        rootfs=RootFs(diff_ids=[layer.diff_id for layer in layers]),
        config=dict(settings or {}),
        history=steps,
        created=created,
        author=author,
    )
    return store.add_image(configuration, tags=tags, lease=lease)


def layers_configuration(
    base: Configuration,
    layers: Sequence[Layer],
    *,
    created: str,
    created_by: str = "",
    comment: str = "",
    author: str = "",
    settings: Mapping[str, Any] | None = None,
) -> Configuration:
    """Return the configuration of an image on top of another.

    Parameters
    ----------
    base
        The other image's.
    layers
        What comes on top, lowest first; none for a step that changes settings only.
    settings
        What replaces the other image's settings; None keeps them.

    Raises
    ------
    TooManyLayersError
        There would be more than 127 layers.
    """
    diff_ids = [*base.diff_ids, *(layer.diff_id for layer in layers)]
    check_layer_count(len(diff_ids), "image")
    step = History(created=created, created_by=created_by, comment=comment, author=author, empty_layer=not layers)
    steps = [step] * max(len(layers), 1)
    return msgspec.structs.replace(
        base,
        rootfs=msgspec.structs.replace(base.rootfs, diff_ids=diff_ids),
        config=copy.deepcopy(dict(settings) if settings is not None else base.config or {}),
        history=[*(base.history or ()), *steps],
        created=created,
        author=author or base.author,
    )


def image_on(
    store: Store,
    base: Image | str,
    content: Path | Iterable[Entry] | None,
    *,
    tags: Sequence[str | Reference] = (),
    settings: Mapping[str, Any] | None = None,
    created: str | None = None,
    created_by: str = "",
    comment: str = "",
    author: str = "",
    modified: int | None = None,
    lease: Lease | None = None,
) -> Image:
    """Make an image: another one and one layer on top of it.

    Parameters
    ----------
    base
        The other image.
    content
        A directory in overlay format, or plain entries (see `file`, `whiteout`, …); None for a change of settings only.
    settings
        What replaces the other image's settings; None keeps them.
    created
        When (RFC 3339); now where it is None. A fixed time gives the same ID on each run.
    modified
        With a directory: a time in nanoseconds that nothing in it is later than.

    Raises
    ------
    NotFoundError
        The base is not in the store.
    TooManyLayersError
        It has 127 layers already.
    LayerTarError
        The directory holds what no layer can.
    """
    with store.lease() as own:
        lease = lease or own
        below = base if isinstance(base, Image) else store.image(base)
        lease.add(*below.diff_ids)
        layers: list[Layer] = []
        if content is not None:
            check_layer_count(len(below.layers) + 1, below.name)
            if isinstance(content, Path):
                layers.append(store.add_directory(content, modified=modified, lease=lease))
            else:
                layers.append(store.add_entries(content, lease))
        configuration = layers_configuration(
            below.configuration,
            layers,
            created=created or now(),
            created_by=created_by,
            comment=comment,
            author=author,
            settings=settings,
        )
        return store.add_image(configuration, tags=tags, parent=below.id, lease=lease)
