"""Commit, import and export: a container's filesystem becomes an image, a tar becomes one, and a view becomes a tar.

Decided here and only here: how the metadata of the three follow from a container or from the options. Functions only;
any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from sim.images.changes import apply_changes
from sim.images.create import image_from_rootfs, layers_configuration
from sim.images.digest import of_bytes
from sim.images.documents import check_layer_count, now
from sim.images.image import Image
from sim.images.pack import pack
from sim.images.reference import Reference
from sim.images.store import Store

__all__ = ["EMPTY_LAYER", "commit", "export", "import_tar"]

#: Diff ID of a layer that changes nothing: the end mark of a tar alone.
EMPTY_LAYER = of_bytes(bytes(1024))


def commit(
    store: Store,
    base: Image | str,
    upper: Path,
    *,
    tags: Sequence[str | Reference] = (),
    settings: Mapping[str, Any] | None = None,
    changes: Iterable[str] = (),
    command: str = "",
    author: str = "",
    message: str = "",
    created: str | None = None,
    paused: AbstractContextManager[object] | None = None,
    skip: frozenset[bytes] = frozenset(),
) -> Image:
    """Make an image of a container: its image's layers and its RW layer on top, now read-only.

    Parameters
    ----------
    base
        The container's image.
    upper
        Its RW layer, in overlay format; read while `paused` is entered, and not changed.
    settings
        The container's own settings (`Env`, `Cmd`, …); those of its image where None.
    changes
        Instructions that change the settings, see `apply_changes`.
    command
        What the container ran, for the history.
    created
        When (RFC 3339); now where None.
    paused
        Entered while the layer is read: what pauses the container.
    skip
        Paths that are no part of the image, such as the mount points that the runtime made.

    Raises
    ------
    NotFoundError
        The base is not in the store.
    TooManyLayersError
        It has 127 layers already.
    LayerTarError
        The RW layer holds what no layer can.
    """
    with store.lease() as lease:
        below = base if isinstance(base, Image) else store.image(base)
        lease.add(*below.diff_ids)
        final = apply_changes(below.settings if settings is None else settings, changes)
        check_layer_count(len(below.layers) + 1, below.name)
        with paused or nullcontext():
            layer = store.add_directory(upper, lease=lease, skip=skip)
        configuration = layers_configuration(
            below.configuration,
            [] if layer.diff_id == EMPTY_LAYER else [layer],
            created=created or now(),
            created_by=command,
            comment=message,
            author=author,
            settings=final,
        )
        return store.add_image(configuration, tags=tags, parent=below.id, lease=lease)


def import_tar(
    store: Store,
    source: Path | Iterable[bytes],
    *,
    tags: Sequence[str | Reference] = (),
    changes: Iterable[str] = (),
    message: str = "",
    created: str | None = None,
    architecture: str | None = None,
) -> Image:
    """Make an image of one layer from the tar of a root filesystem.

    Parameters
    ----------
    source
        A tar file, compressed or not, or its bytes as they come.
    changes
        Instructions that make its settings, see `apply_changes`.
    message
        What its history says.
    architecture
        What it is for, by the name that images use; this machine's where None.

    Raises
    ------
    ContentError
        The tar is damaged or not safe.
    """
    settings = apply_changes({}, changes)
    shown = message or f"Imported from {source if isinstance(source, Path) else '-'}"
    return image_from_rootfs(
        store, source, tags=tags, settings=settings, message=shown, created=created, machine=architecture
    )


def export(view: Path, write: Callable[[bytes | memoryview], object], *, skip: frozenset[bytes] = frozenset()) -> None:
    """Write a merged view as one flat tar.

    Parameters
    ----------
    view
        The mounted root of a container.
    write
        Takes the tar's bytes.
    skip
        Paths that are left out.
    """
    pack(view, write, as_layer=False, skip=skip)
