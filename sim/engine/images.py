"""Images: what clients may ask of the store, and what is told about it.

Decided here and only here: how errors about names are worded, which containers keep an image from being removed, and
which events there are. What an image is and how it is removed is decided in `sim.images`. Any thread may call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sim.engine.errors import BadParameterError, NotFoundError
from sim.engine.filters import Filters
from sim.images import (
    Image,
    ImagesError,
    Pruned,
    Reference,
    Removed,
    Use,
    load,
    prune,
    remove,
    save,
    select,
)
from sim.images import NotFoundError as NoImageError
from sim.images import ReferenceError as NoReferenceError
from sim.images.progress import Listener
from sim.images.selection import matching

if TYPE_CHECKING:
    from sim.engine.engine import Engine

__all__ = ["Images"]

_FILTERS = ("before", "dangling", "label", "label!", "reference", "since", "until")
_PRUNE_FILTERS = ("dangling", "label", "label!", "until")


class Images:
    """The images of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.store

    def get(self, name: str) -> Image:
        """Return the image of a name, an ID, or the beginning of one.

        Raises
        ------
        NotFoundError
            There is none; in Docker's words.
        BadParameterError
            It is neither a reference nor an ID, or several IDs begin so.
        """
        try:
            return self._store.image(name)
        except NoImageError:
            raise NotFoundError(f"No such image: {_shown(name)}") from None
        except NoReferenceError as error:
            raise BadParameterError(_reason(error)) from None

    def all(self, filters: Filters | None = None, *, intermediate: bool = False) -> list[Image]:
        """Return the images that filters let through, the newest first.

        Parameters
        ----------
        intermediate
            Whether the steps of builds are among them.
        """
        wanted = filters or Filters()
        for key in wanted.values:
            if key not in _FILTERS:
                raise BadParameterError(f"invalid filter '{key}'")
        images = self._selected(self._store.images(intermediate=intermediate), wanted, wanted["reference"])
        if "reference" not in wanted:
            return images
        # Of an image that one of its names was asked for by, the others are not shown.
        patterns = wanted["reference"]
        return [
            replace(image, tags=matching(patterns, image.tags), digests=matching(patterns, image.digests))
            for image in images
        ]

    def _selected(self, images: Iterable[Image], wanted: Filters, reference: tuple[str, ...] = ()) -> list[Image]:
        try:
            return select(
                images,
                reference=reference,
                dangling=wanted.truth("dangling"),
                since=self.get(wanted["since"][0]) if "since" in wanted else None,
                before=self.get(wanted["before"][0]) if "before" in wanted else None,
                until=wanted.until(),
                label=wanted["label"],
                without_label=wanted["label!"],
            )
        except ImagesError as error:
            raise BadParameterError(str(error)) from None

    def tag(self, name: str, repository: str, tag: str = "") -> None:
        """Let a name point to an image.

        Raises
        ------
        NotFoundError
            There is no such image.
        BadParameterError
            It is no name.
        """
        image = self.get(name)
        target = reference_of(f"{repository}:{tag}" if tag else repository)
        if target.digest:
            raise BadParameterError("refusing to create a tag with a digest reference")
        self._store.tag(image, target)
        self.tell("tag", image.id, target.familiar)

    def remove(self, name: str, *, force: bool = False, prune_parents: bool = True) -> list[Removed]:
        """Remove a name, and with its last name the image; see `sim.images.remove`."""
        image = self.get(name)
        try:
            removed = remove(self._store, name, uses=self.uses(), force=force, prune_parents=prune_parents)
        except NoImageError:
            raise NotFoundError(f"No such image: {_shown(name)}") from None
        self._tell_removed(removed, {name.familiar: image.id for name in (*image.tags, *image.digests)})
        return removed

    def prune(self, filters: Filters) -> Pruned:
        """Remove images that nothing uses; dangling ones alone unless the filters say otherwise."""
        for key in filters.values:
            if key not in _PRUNE_FILTERS:
                raise BadParameterError(f"invalid filter '{key}'")
        dangling = filters.truth("dangling")
        rest = Filters({key: value for key, value in filters.values.items() if key != "dangling"})
        images = self._store.images(intermediate=True)
        chosen = {image.id for image in self._selected(images, rest)}
        pruned = prune(
            self._store,
            everything=dangling is False,
            uses=self.uses(),
            wanted=lambda image: image.id in chosen,
        )
        names = {name.familiar: image.id for image in images for name in (*image.tags, *image.digests)}
        self._tell_removed(pruned.removed, names)
        self._engine.events.tell("image", "prune", "", {"reclaimed": str(pruned.collected.layer_bytes)})
        return pruned

    def uses(self) -> tuple[Use, ...]:
        """Return which containers use images."""
        return self._engine.image_uses()

    def save(self, names: Iterable[str], write: Callable[[bytes | memoryview], object]) -> None:
        """Write images as one tar; every name is looked up, and its image kept, before the first byte.

        Raises
        ------
        NotFoundError
            A name is of no image or repository.
        """
        wanted = list(names)
        images = [self._saved(name) for name in wanted if not self._is_repository(name)]
        try:
            save(self._store, wanted, write)
        except NoImageError:  # removed since
            for name in wanted:
                if not self._is_repository(name):
                    self._saved(name)
            raise
        for image in images:
            self.tell("save", image.id, image.id)

    def _saved(self, name: str) -> Image:
        try:
            return self.get(name)
        except NotFoundError:
            raise NotFoundError(f"No such image: {name}") from None

    def _is_repository(self, name: str) -> bool:
        try:
            reference = Reference.parse(name, default_tag="")
        except NoReferenceError:
            return False
        return not reference.tag and not reference.digest and bool(self._store.tags(reference))

    def load(self, chunks: Iterable[bytes], tell: Listener) -> list[Image]:
        """Take the images of an archive into the store."""
        images = load(self._store, chunks, tell=tell)
        for image in images:
            self.tell("load", image.id, image.id)
        return images

    def parent(self, image: Image) -> Image | None:
        """Return the image that one was built on here, if it is still there."""
        if image.parent is None:
            return None
        with contextlib.suppress(NoImageError):
            return self._store.image(image.parent)
        return None

    def tell(self, action: str, image: str, name: str, *, actor: str = "") -> None:
        """Tell of something that happened to an image."""
        attributes: dict[str, str] = {}
        with contextlib.suppress(NoImageError, NoReferenceError):  # it was removed
            attributes |= self._store.image(image).labels
        self._engine.events.tell("image", action, actor or image, {**attributes, "name": name})

    def _tell_removed(self, removed: Iterable[Removed], images: Mapping[str, str]) -> None:
        """Tell what went: names, of which images they were is given, and images, but not single layers."""
        for item in removed:
            if item.untagged:
                image = images.get(item.untagged, item.untagged)
                self.tell("untag", image, image)
            elif not item.is_layer:
                self.tell("delete", item.deleted, item.deleted)


def reference_of(text: str, *, default_tag: str = "latest") -> Reference:
    """Return a reference that a client wrote.

    Raises
    ------
    BadParameterError
        It is none; in Docker's words.
    """
    try:
        return Reference.parse(text, default_tag=default_tag)
    except NoReferenceError as error:
        raise BadParameterError(_reason(error)) from None


def _reason(error: Exception) -> str:
    """Return what is wrong with a reference as Docker says it: without the text itself."""
    text = str(error)
    at = text.find("invalid reference format")
    return text[at:] if at >= 0 else text


def _shown(name: str) -> str:
    try:
        return Reference.parse(name).familiar
    except NoReferenceError:
        return name
