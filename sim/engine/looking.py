"""Looking into a container's filesystem as a whole: its changes, its export, an image made of it.

Decided here and only here: what counts as a change, as Docker's overlay2 driver tells it, and what of a container's
settings goes into an image. Any thread may call; a view is mounted as long as it is needed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from fusefs import marks
from sim.engine.container import Container
from sim.engine.creating import merged_config
from sim.engine.errors import BadParameterError, ConflictError, NotFoundError
from sim.engine.fetching import Fetching, layers
from sim.engine.images import reference_of
from sim.engine.model import Config
from sim.images import Image, ImagesError, Reference, commit, export
from sim.images import NotFoundError as NoImageError
from sim.images.pack import pack_members
from sim.runtime import NotRunningError, UnsupportedError

if TYPE_CHECKING:
    from sim.engine.containers import Containers

__all__ = ["Change", "Looking"]

_log = logging.getLogger("layerlab.looking")

_MODIFIED, _ADDED, _DELETED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Change:
    """One path that a container changed: 0 modified, 1 added, 2 deleted."""

    path: str
    kind: int


class Looking:
    """Looks into the containers of one engine."""

    def __init__(self, owner: Containers) -> None:
        self._owner = owner
        self._engine = owner.engine

    # -- changes

    def changes(self, name: str) -> list[Change]:
        """Return what a container changed, by path."""
        container = self._owner.get(name)
        record = container.record
        lowers, _ = self._owner.rootfs.lowers(record)
        upper = os.fspath(self._owner.rootfs.directory(record.id) / "upper")
        try:
            found = list(_changes(upper, [os.fspath(lower) for lower in lowers]))
        except FileNotFoundError:
            if container.gone or container.state.removing:  # meanwhile
                raise NotFoundError(f"No such container: {name}") from None
            raise
        return sorted(found, key=lambda each: os.fsencode(each.path))

    # -- export

    def exporter(self, name: str) -> Callable[[Callable[[bytes | memoryview], object]], None]:
        """Return a function that writes a container's whole filesystem as a tar."""
        container = self._owner.get(name)
        if container.state.removing or container.state.dead:
            raise ConflictError(f"You cannot export container {container.id} which is being removed")

        def write(sink: Callable[[bytes | memoryview], object]) -> None:
            with layers(self._owner, container) as union:
                if union is not None:
                    pack_members(Fetching(union).whole(), sink)
                else:
                    with self._owner.rootfs.view(container.record) as view:
                        export(view, sink)
            self._owner.tell(container, "export")

        return write

    # -- commit

    def commit(
        self,
        name: str,
        *,
        repository: str = "",
        tag: str = "",
        message: str = "",
        author: str = "",
        changes: tuple[str, ...] = (),
        pause: bool = True,
        config: Config | None = None,
    ) -> Image:
        """Make an image of a container.

        Parameters
        ----------
        pause
            Whether it stands still meanwhile.
        config
            Settings that count more than the container's own.

        Raises
        ------
        BadParameterError
            The name or a change makes no sense.
        NotFoundError
            There is no such container, or its image is gone.
        """
        container = self._owner.get(name)
        record = container.record
        if container.state.removing or container.state.dead:
            raise ConflictError(f"You cannot commit container {container.id} which is being removed")
        tags: tuple[Reference, ...] = ()
        if repository:
            reference = reference_of(f"{repository}:{tag}" if tag else repository)
            if reference.digest:
                raise BadParameterError("cannot commit to digest reference")
            tags = (reference,)
        settings = _settings(record.config)
        if config is not None:
            settings = _settings(merged_config(config, settings))
        try:
            base = self._engine.store.image(record.image)
        except NoImageError:
            raise ConflictError(
                f"the image {record.image} of container {container.id} is gone: it cannot be committed"
            ) from None
        try:
            image = commit(
                self._engine.store,
                base,
                self._owner.rootfs.directory(record.id) / "upper",
                tags=tags,
                settings=settings,
                changes=changes,
                command=" ".join((record.path, *record.args)),
                author=author,
                message=message,
                paused=self._still(container) if pause else None,
            )
        except (ImagesError, OSError):
            if container.state.removing or container.state.dead:  # it went while it was read
                raise ConflictError(f"You cannot commit container {container.id} which is being removed") from None
            raise
        told = {"comment": message, "imageID": image.id, **({"imageRef": tags[0].familiar} if tags else {})}
        self._owner.tell(container, "commit", **told)
        return image

    def _still(self, container: Container) -> AbstractContextManager[object]:
        """Have a container stand still, if it runs."""

        @contextlib.contextmanager
        def still() -> Iterator[None]:
            with container.lock:
                shim = container.shim
                moving = shim is not None and container.state.running and not container.state.paused
                if not moving or container.state.restarting or shim is None:
                    yield
                    return
                try:
                    shim.pause()
                except NotRunningError:
                    yield  # it has just ended
                    return
                except UnsupportedError as error:  # an ordinary user has no control groups
                    _log.warning("container %s goes on while it is committed: %s", container.record.short_id, error)
                    yield
                    return
                try:
                    yield
                finally:
                    with contextlib.suppress(NotRunningError):  # it was killed meanwhile
                        shim.unpause()

        return still()


def _settings(config: Config) -> dict[str, Any]:
    """Return a container's settings as an image keeps them: without what only a container has."""
    found: dict[str, Any] = msgspec.to_builtins(config)
    for name in (
        "Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce",
        "Image", "MacAddress", "NetworkDisabled", "StopTimeout",
    ):  # fmt: skip
        found.pop(name)
    return {name: value for name, value in found.items() if value not in (None, "", [], {}, False)}


def _changes(upper: str, lowers: list[str]) -> Iterator[Change]:
    """Walk the RW layer; for each name in it say whether the layers below have it."""
    told: set[str] = set()
    pending: list[tuple[str, list[str]]] = [("", lowers)]
    while pending:
        path, below = pending.pop()
        marked = marks.read_marks(os.fsencode(upper + path))
        seen = [] if marked.opaque else below
        with os.scandir(f"{upper}{path}") as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            full = f"{path}/{entry.name}"
            found = entry.stat(follow_symlinks=False)
            old = _lookup(below, full)
            if marks.is_whiteout(found):
                if old is not None:
                    yield from _told(Change(full, _DELETED), told)
                continue
            if stat.S_ISDIR(found.st_mode):
                pending.append((full, seen if old is not None and stat.S_ISDIR(old.st_mode) else []))
            hidden = old is None or (marked.opaque and not seen)
            if hidden:
                yield from _told(Change(full, _ADDED), told)
            elif old is not None and not _same_directory(old, found):
                yield from _told(Change(full, _MODIFIED), told)


def _told(change: Change, told: set[str]) -> Iterator[Change]:
    """Yield a change, and before it the directory that it is in, where something came or went."""
    parent = change.path.rpartition("/")[0]
    if change.kind != _MODIFIED and parent and parent not in told:
        told.add(parent)
        yield Change(parent, _MODIFIED)
    if change.path not in told:
        told.add(change.path)
        yield change


def _same_directory(old: os.stat_result, new: os.stat_result) -> bool:
    """Tell whether a directory is only there for what is in it."""
    if not (stat.S_ISDIR(old.st_mode) and stat.S_ISDIR(new.st_mode)):
        return False
    fields = ("st_mode", "st_uid", "st_gid", "st_mtime_ns")
    return all(getattr(old, field) == getattr(new, field) for field in fields)


def _lookup(lowers: list[str], path: str) -> os.stat_result | None:
    """Return what the layers below show at a path; None where there is nothing. No symlink is followed on the way."""
    for lower in lowers:
        try:
            if any(os.path.islink(lower + path[:at]) for at in _steps(path)):
                return None
            found = os.lstat(lower + path)
        except NotADirectoryError:
            return None
        except OSError:
            if _ends_here(lower, path):
                return None
            continue
        return None if marks.is_whiteout(found) else found
    return None


def _steps(path: str) -> Iterator[int]:
    at = path.find("/", 1)
    while at > 0:
        yield at
        at = path.find("/", at + 1)


def _ends_here(lower: str, path: str) -> bool:
    """Tell whether a layer hides a path of the layers below by an opaque or deleted directory above it."""
    for at in _steps(path):
        place = lower + path[:at]
        try:
            found = os.lstat(place)
        except OSError:
            return False
        if marks.is_whiteout(found) or not stat.S_ISDIR(found.st_mode):
            return True
        if marks.read_marks(os.fsencode(place)).opaque:
            return True
    return False
