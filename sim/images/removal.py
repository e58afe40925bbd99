"""Removing images: what Docker untags, deletes and refuses.

Decided here and only here: the rules of `rmi` and `image prune`, in Docker's order and words. A removal is one change
of the records, then a collection; a process killed between the two leaves garbage that the next collection removes.
Functions only; any thread, any process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from sim.images.collect import Collected
from sim.images.digest import chain_ids
from sim.images.errors import ConflictError, NotFoundError
from sim.images.image import Image
from sim.images.reference import Reference, is_id_prefix
from sim.images.store import Store

__all__ = ["Pruned", "Removed", "Use", "prune", "remove"]


@dataclass(frozen=True, slots=True)
class Use:
    """A container that uses an image."""

    container: str
    image: str
    running: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """One line of what was removed: a name, or an image or layer by its ID; the other field is empty."""

    untagged: str = ""
    deleted: str = ""
    is_layer: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune removed."""

    removed: tuple[Removed, ...]
    collected: Collected


def remove(
    store: Store, name: str, *, uses: Iterable[Use] = (), force: bool = False, prune_parents: bool = True
) -> list[Removed]:
    """Remove a name, and with its last name the image.

    Parameters
    ----------
    name
        A reference, an ID or the beginning of one. An ID removes an image with all its names if they are of one
        repository and at most one of them is a tag; with `force` in any case.
    uses
        The containers that use images, stopped ones too.
    force
        Remove although a stopped container uses it or several repositories name it.
    prune_parents
        Remove parents too that nothing names or needs any more.

    Returns
    -------
    list of Removed
        Untagged for each name, Deleted for the image, then for each stack of layers (by chain ID), the topmost first,
        down to the first that something still depends on.

    Raises
    ------
    NotFoundError, AmbiguousError
        No or no single image has this name.
    ConflictError
        A container or another image needs it; nothing was changed.
    """
    removed = _remove(store, name, tuple(uses), force, prune_parents)
    store.names_changed()
    store.collect()
    return removed


def _remove(store: Store, name: str, uses: tuple[Use, ...], force: bool, prune_parents: bool) -> list[Removed]:
    with store.records.change():
        run = _Removal(store, uses)
        image = store.image(name)
        by_id = is_id_prefix(name) and image.id.removeprefix("sha256:").startswith(name.removeprefix("sha256:"))
        if by_id and not name.startswith("sha256:"):
            reference = Reference.parse(name) if len(name) < 64 else None
            by_id = reference not in image.tags
        finished = quiet = False
        if by_id:
            if _is_single(image):
                run.check(image, force=force, references=False)
                run.untag(image, [*image.tags, *image.digests])
        else:
            finished = run.untag_one(image, Reference.parse(name), force=force)
            quiet = True
        if not finished:
            run.delete(store.image(image.id), force=force, prune_parents=prune_parents, quiet=quiet)
        return run.removed


def _is_single(image: Image) -> bool:
    """Tell whether the names of an image are at most one tag, and all of one repository."""
    repositories = {name.repository for name in (*image.tags, *image.digests)}
    return len(image.tags) <= 1 and len(repositories) <= 1


class _Removal:
    def __init__(self, store: Store, uses: tuple[Use, ...]) -> None:
        self._store = store
        self._uses = uses
        self.removed: list[Removed] = []

    def check(self, image: Image, *, force: bool, references: bool = True) -> None:
        """Refuse what may not be removed, in the order and the words of Docker."""

        def refuse(why: str, hard: bool) -> ConflictError:
            forced = "cannot be forced" if hard else "must be forced"
            return ConflictError(f"conflict: unable to delete {image.short_id} ({forced}) - {why}")

        if self._store.records.rows("SELECT 1 FROM image WHERE parent = ?", image.id):
            raise refuse("image has dependent child images", True)
        used = [use for use in self._uses if use.image == image.id]
        for use in used:
            if use.running:
                raise refuse(f"image is being used by running container {use.container[:12]}", True)
        if force:
            return
        if references and (image.tags or image.digests):
            raise refuse("image is referenced in multiple repositories", False)
        if used:
            raise refuse(f"image is being used by stopped container {used[0].container[:12]}", False)

    def untag(self, image: Image, names: Iterable[Reference]) -> None:
        """Take names away."""
        with self._store.records.change() as change:
            for name in names:
                if name.digest:
                    change.execute(
                        "DELETE FROM repository_digest WHERE repository = ? AND digest = ?",
                        (name.repository, name.digest),
                    )
                else:
                    change.execute("DELETE FROM tag WHERE repository = ? AND tag = ?", (name.repository, name.tag))
                self.removed.append(Removed(untagged=name.familiar))

    def untag_one(self, image: Image, name: Reference, *, force: bool) -> bool:
        """Take one name away, and what only it kept; tell whether the image has others left."""
        name = name.with_digest(name.digest) if name.digest else name
        used = [use for use in self._uses if use.image == image.id]
        if used and not force and _is_single(image):
            raise ConflictError(
                f'conflict: unable to remove repository reference "{name.familiar}" (must force) - container'
                f" {used[0].container[:12]} is using its referenced image {image.short_id}"
            )
        names = [name]
        if not name.digest and not any(other.repository == name.repository for other in image.tags if other != name):
            names += [other for other in image.digests if other.repository == name.repository]
        self.untag(image, names)
        return len(names) < len(image.tags) + len(image.digests)

    def delete(self, image: Image, *, force: bool, prune_parents: bool, quiet: bool) -> None:
        """Delete an image, and then its parents as far as nothing needs them.

        After its last name was taken away (`quiet`), an image that something needs just stays.
        """
        try:
            self.check(image, force=force)
        except ConflictError:
            if quiet and (not image.dangling or any(use.image == image.id for use in self._uses)):
                return
            raise
        while True:
            self.untag(image, [*image.tags, *image.digests])
            with self._store.records.change() as change:
                for table in ("image_layer", "image_blob"):
                    change.execute(f"DELETE FROM {table} WHERE image = ?", (image.id,))
                change.execute("DELETE FROM image WHERE id = ?", (image.id,))
            self.removed.append(Removed(deleted=image.id))
            others = self._chains()
            for chain in reversed(image.chain_ids):
                if chain in others:
                    break
                self.removed.append(Removed(deleted=chain, is_layer=True))
            if not prune_parents or image.parent is None:
                return
            try:
                image = self._store.image(image.parent)
                self.check(image, force=False)
            except (ConflictError, NotFoundError):
                return

    def _chains(self) -> set[str]:
        """Return the chain IDs of all images that are left and all stacks that containers hold."""
        stacks: dict[str, list[str]] = {}
        for owner, diff_id in self._store.records.rows(
            "SELECT image, diff_id FROM (SELECT image, diff_id, position FROM image_layer"
            " UNION ALL SELECT 'hold:' || owner, diff_id, position FROM hold) ORDER BY image, position"
        ):
            stacks.setdefault(owner, []).append(diff_id)
        return {chain for stack in {tuple(stack) for stack in stacks.values()} for chain in chain_ids(stack)}


def prune(
    store: Store,
    *,
    everything: bool = False,
    uses: Iterable[Use] = (),
    wanted: Callable[[Image], bool] = lambda image: True,
) -> Pruned:
    """Remove images that nothing uses; those that a build, a pull or the like is at work with stay.

    Parameters
    ----------
    everything
        All that no container uses; without it only dangling ones.
    uses
        The containers that use images, stopped ones too.
    wanted
        Which images may go, for filters such as labels and age.
    """
    taken = tuple(uses)
    removed: list[Removed] = []
    in_use = {use.image for use in taken} | store.leased()  # what a build under way has made is not in the way of it
    for image in store.images():
        if image.id in in_use or not wanted(image) or (image.tags and not everything):
            continue
        names = [name.familiar for name in (*image.tags, *image.digests)] or [image.id]
        for name in names:
            try:
                removed += _remove(store, name, taken, False, True)
            except (ConflictError, NotFoundError):
                continue
    store.names_changed()
    return Pruned(tuple(removed), store.collect())


def describe(removed: Iterable[Removed]) -> str:
    """Return the lines that people are shown.

    >>> print(describe([Removed(untagged="a:1"), Removed(deleted="sha256:12")]))
    Untagged: a:1
    Deleted: sha256:12
    """
    return "\n".join(f"Untagged: {item.untagged}" if item.untagged else f"Deleted: {item.deleted}" for item in removed)
