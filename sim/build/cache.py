"""The build cache: whether a step was done before, on the same image, by the same command, with the same settings.

Decided here and only here: when it hits, which is when moby's does. Every image that a step made is an entry, found by
its parent; there is nothing else to keep and nothing to clean up. Images named by `--cache-from` serve by their history
instead, also where they were built elsewhere. Once a step of a stage missed, no later one of it hits. A `Cache` belongs
to one build.
"""

from __future__ import annotations

from collections.abc import Sequence

from sim.build.state import State, comparable, created_by
from sim.images import Configuration, Image, Store
from sim.images.documents import RootFs
from sim.images.errors import ImagesError
from sim.images.lease import Lease

__all__ = ["Cache"]


class Cache:
    """The cache as one build sees it.

    Parameters
    ----------
    store
        The image store.
    lease
        What holds the build's content.
    sources
        Images whose history may serve; None for those that were built here alone.
    off
        Whether nothing hits.
    """

    def __init__(self, store: Store, lease: Lease, sources: Sequence[Image] | None, *, off: bool = False) -> None:
        self._store = store
        self._lease = lease
        self._sources = None if sources is None else list(sources)
        self._off = off
        self._busted = False
        self.hits = 0

    def begin_stage(self) -> None:
        """Begin a stage, in which steps may hit again."""
        self._busted = False

    def look(self, state: State, command: Sequence[str]) -> Image | None:
        """Return the image that this step made before; None where it did not."""
        if self._off or self._busted:
            return None
        found = self._local(state, command) if self._sources is None else self._from_sources(state, command)
        if found is None:
            self._busted = True
        else:
            self.hits += 1
        return found

    def _local(self, state: State, command: Sequence[str]) -> Image | None:
        wanted = comparable(state.settings)
        best: Image | None = None
        for identity, done in self._store.steps(state.identity):
            if done != list(command):
                continue
            try:
                image = self._store.image(identity, like=state.image)
            except ImagesError:
                continue  # removed meanwhile
            if comparable(image.settings) == wanted and (best is None or _order(image) > _order(best)):
                best = image
        if best is not None:
            self._lease.add(best.id, best.manifest.digest, *best.diff_ids)
        return best

    def _from_sources(self, state: State, command: Sequence[str]) -> Image | None:
        assert self._sources is not None
        local = self._local(state, command)
        if local is not None and any(self._descends(source, local) for source in self._sources):
            return local
        parent = state.image
        done = len(parent.history) if parent else 0
        for source in self._sources:
            if not _continues(source, parent) or source.history[done].created_by != created_by(command):
                continue
            if done == len(source.history) - 1:
                self._store.record_step(source.id, state.identity, command)
                return self._store.image(source.id)
            restored = self._restore(source, parent, command, state)
            self._sources = [source]  # what follows must be of the same image
            return restored
        return None

    def _descends(self, image: Image, ancestor: Image) -> bool:
        at: str | None = image.id
        while at is not None:
            if at == ancestor.id:
                return True
            try:
                at = self._store.image(at).parent
            except ImagesError:
                return False
        return False

    def _restore(self, source: Image, parent: Image | None, command: Sequence[str], state: State) -> Image:
        """Make the image that a step of another image's history made."""
        done = len(parent.history) if parent else 0
        step = source.history[done]
        layers = list(parent.diff_ids) if parent else []
        if not step.empty_layer:
            layers.append(source.diff_ids[len(layers)])
        configuration = Configuration(
            architecture=source.configuration.architecture,
            os=source.configuration.os,
            variant=source.configuration.variant,
            rootfs=RootFs(diff_ids=layers),
            config=dict(state.settings),
            history=[*(parent.history if parent else ()), step],
            created=step.created,
            author=step.author,
        )
        image = self._store.add_image(configuration, parent=parent.id if parent else None, lease=self._lease)
        self._store.record_step(image.id, state.identity, command)
        return image


def _order(image: Image) -> tuple[int, int]:
    return image.created_ns, image.number


def _continues(image: Image, parent: Image | None) -> bool:
    """Tell whether an image's history begins with all of another one's, and goes on."""
    if not image.history:
        return False
    if parent is None or not (parent.history or parent.diff_ids):
        return True
    count = len(parent.history)
    return (
        count < len(image.history)
        and image.history[:count] == parent.history
        and image.diff_ids[: len(parent.diff_ids)] == parent.diff_ids
    )
