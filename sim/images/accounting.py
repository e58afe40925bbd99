"""Accounting: which bytes belong to which image, exactly.

Decided here and only here: what is counted, and who it is counted for. The unit is the byte, as `stat` tells it, of
whatever is no directory in an unpacked layer: each inode once, each layer once. So the figures can be added: for any
set of images, the unique bytes of each and every shared layer counted once are together the bytes of all their layers
on disk. Blobs, the same layers as they travel, are counted apart. Functions and frozen values; any thread.

Known tools differ: they count N copies of a file as N - 1 wasted although the upper ones are what is seen, and report
as shared what another image shares only by name. Here a layer is shared if more than one image of the set has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sim.images.image import Image, Layer
from sim.images.store import Store

__all__ = ["Accounts", "DiskUsage", "ImageAccount", "LayerAccount", "account", "disk_usage"]


@dataclass(frozen=True, slots=True)
class LayerAccount:
    """One layer: its bytes unpacked, the bytes of its smallest blob, and how many images of the set have it."""

    diff_id: str
    size: int
    compressed: int
    images: int


@dataclass(frozen=True, slots=True)
class ImageAccount:
    """One image: `size` is `shared` and `unique` together."""

    id: str
    size: int
    shared: int
    unique: int


@dataclass(frozen=True, slots=True)
class Accounts:
    """The accounts of a set of images.

    Attributes
    ----------
    images
        In the order given.
    layers
        Each layer once, in the order in which they are met, bottom first.
    """

    images: tuple[ImageAccount, ...]
    layers: tuple[LayerAccount, ...]

    @property
    def shared(self) -> int:
        """Bytes of the layers that more than one image has, each counted once."""
        return sum(layer.size for layer in self.layers if layer.images > 1)

    @property
    def total(self) -> int:
        """Bytes of all the layers, each counted once."""
        return sum(layer.size for layer in self.layers)


def account(images: Sequence[Image]) -> Accounts:
    """Return the accounts of a set of images."""
    layers: dict[str, Layer] = {}
    for image in images:
        for layer in image.layers:
            layers.setdefault(layer.diff_id, layer)
    having = Counter(diff_id for image in images for diff_id in set(image.diff_ids))
    accounts = []
    for image in images:
        sizes = {layer.diff_id: layer.size for layer in image.layers}
        unique = sum(size for diff_id, size in sizes.items() if having[diff_id] == 1)
        accounts.append(ImageAccount(image.id, image.size, image.size - unique, unique))
    return Accounts(
        tuple(accounts),
        tuple(
            LayerAccount(diff_id, layer.size, layer.compressed_size, having[diff_id])
            for diff_id, layer in layers.items()
        ),
    )


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """One line of `system df`.

    Attributes
    ----------
    total, active
        How many there are, and how many of them are in use.
    size
        Bytes on disk.
    reclaimable
        Bytes that would be freed if all that is not in use were removed.
    """

    total: int
    active: int
    size: int
    reclaimable: int


def disk_usage(store: Store, used: Iterable[str] = ()) -> DiskUsage:
    """Return what the images of a store take.

    Parameters
    ----------
    used
        The IDs of the images that containers use.
    """
    taken = set(used)
    images = store.images(intermediate=True)
    shown = [image for image in images if not image.intermediate]
    size = account(images).total
    active = [image for image in shown if image.id in taken]
    kept = account([image for image in images if image.id in taken]).total
    return DiskUsage(len(shown), len(active), size, size - kept)
