"""`Image` and `Layer`: what the store answers with.

Decided here and only here: what counts as an image's size (the sum of its layers' sizes, each different layer once, as
it lies on disk) and how its fields are read. Frozen values, any thread; they tell of the moment they were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.images.digest import chain_ids, short
from sim.images.documents import Configuration, Descriptor, History, Platform, nanoseconds
from sim.images.reference import Reference

__all__ = ["Image", "Layer"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, unpacked.

    Attributes
    ----------
    diff_id
        Digest of its tar, not compressed.
    size
        Bytes of everything in it but directories, each inode once, as `stat` tells them.
    entries
        How many names it has, marks included.
    path
        The directory, in the kernel's overlay format. Never to be changed.
    blobs
        The forms of its tar in the store, compressed or not.
    opaque
        Whether its root hides every layer below.
    """

    diff_id: str
    size: int
    entries: int
    path: Path
    blobs: tuple[Descriptor, ...] = ()
    opaque: bool = False

    @property
    def compressed_size(self) -> int:
        """Bytes of the smallest form of its tar in the store; 0 where there is none."""
        return min((blob.size for blob in self.blobs), default=0)


@dataclass(frozen=True, slots=True)
class Image:
    """An image in the store.

    Attributes
    ----------
    id
        Digest of its configuration.
    manifest
        What stands for it in a registry or an archive.
    layers
        Bottom first.
    tags
        The names that point to it, sorted.
    digests
        The names by which registries know it, sorted.
    parent
        ID of the image that it was built on here; None where it came from elsewhere.
    number
        Counts up with each image that comes into the store.
    intermediate
        Whether it is a step of a build only: it has no name and another image was built on it.
    """

    id: str
    configuration: Configuration
    manifest: Descriptor
    layers: tuple[Layer, ...]
    tags: tuple[Reference, ...] = ()
    digests: tuple[Reference, ...] = ()
    parent: str | None = None
    number: int = 0
    intermediate: bool = False

    @property
    def short_id(self) -> str:
        """The twelve digits that people are shown."""
        return short(self.id)

    @property
    def size(self) -> int:
        """Bytes of its layers, each different layer once."""
        return sum({layer.diff_id: layer.size for layer in self.layers}.values())

    @property
    def created(self) -> str:
        """When it was made, as its configuration says (RFC 3339); empty where it does not."""
        return self.configuration.created or ""

    @property
    def created_ns(self) -> int:
        """When it was made, in nanoseconds since the epoch; 0 where its configuration does not say."""
        return nanoseconds(self.created)

    @property
    def dangling(self) -> bool:
        """Whether nothing names it and no image was built on it."""
        return not self.tags and not self.digests and not self.intermediate

    @property
    def settings(self) -> dict[str, Any]:
        """How to run it, by the names of Docker's API: `Env`, `Cmd`, `Labels`…"""
        return self.configuration.config or {}

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return dict(self.settings.get("Labels") or {})

    @property
    def environment(self) -> tuple[str, ...]:
        """Its variables as NAME=VALUE."""
        return tuple(self.settings.get("Env") or ())

    @property
    def history(self) -> tuple[History, ...]:
        """The steps of its making, oldest first."""
        return tuple(self.configuration.history or ())

    @property
    def platform(self) -> Platform:
        """The machine it is for."""
        return Platform(self.configuration.architecture, self.configuration.os, self.configuration.variant)

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The digests of its uncompressed layers, bottom first."""
        return self.configuration.diff_ids

    @property
    def chain_ids(self) -> tuple[str, ...]:
        """What each of its layers together with those below it is called, bottom first."""
        return chain_ids(self.diff_ids)

    @property
    def name(self) -> str:
        """How to call it in a message: its first tag, or its short ID."""
        return self.tags[0].familiar if self.tags else self.short_id
