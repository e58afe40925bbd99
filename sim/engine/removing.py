"""Removing containers.

Decided here and only here: what is refused, what goes with a container, and in which order: the record last but for the
directory, so that a daemon that is killed in the middle leaves one that is marked as being removed, which the next one
removes. Any thread may call.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from fusefs import FusefsError
from sim.engine.container import Container
from sim.engine.errors import BadParameterError, ConflictError, EngineError, NotFoundError
from sim.engine.filters import Filters
from sim.engine.links import without_link
from sim.engine.times import moment
from sim.runtime import ContainerError

if TYPE_CHECKING:
    from sim.engine.containers import Containers

__all__ = ["Pruned", "Removing"]

_log = logging.getLogger("layerlab.containers")

_PRUNE_FILTERS = ("label", "label!", "until")


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune removed: IDs, and the bytes of their RW layers."""

    ids: tuple[str, ...]
    reclaimed: int


class Removing:
    """Removes the containers of one engine."""

    def __init__(self, owner: Containers) -> None:
        self._owner = owner
        self._engine = owner.engine

    def remove(self, name: str, *, force: bool = False, volumes: bool = False, link: bool = False) -> None:
        """Remove a container.

        Parameters
        ----------
        force
            Kill it first if it runs.
        volumes
            Its volumes without a name go too.
        link
            Remove a link only.

        Raises
        ------
        ConflictError
            It runs, or is being removed already.
        """
        if link:
            self._remove_link(name)
            return
        container = self._owner.get(name)
        with container.lock:
            if container.gone:
                raise NotFoundError(f"No such container: {name}")
            state = container.state
            if state.removing:
                raise ConflictError(f"removal of container {name} is already in progress")
            if state.running and not force:
                procedure = "Stop the container before attempting removal or force remove"
                if state.paused:
                    procedure = f"Unpause and then {procedure[0].lower()}{procedure[1:]}"
                raise ConflictError(f"You cannot remove a {state.status} container {container.id}. {procedure}")
            container.become(removing=True)
        try:
            if state.running:
                self._kill(container)
            with container.lock:
                self._remove(container, volumes)
        except BaseException:
            if not container.gone:
                with container.lock, contextlib.suppress(Exception):
                    container.become(removing=False)
                    if not container.state.running:
                        self._owner.rootfs.clear(container.id)  # its end has left that to its removal
            raise

    def _remove_link(self, name: str) -> None:
        """Let a container (`HOLDER/ALIAS`) know another one no more."""
        holder, _, alias = name.strip("/").partition("/")
        container = self._owner.get(holder)
        if not alias:
            raise ConflictError("Conflict, cannot remove the default link name of the container")
        with container.lock:
            left = without_link(self._owner, container.record, alias)
            container.save(host_config=replace(container.record.host_config, links=left))
            if container.state.running:
                self._owner.starting.renew_files(container.record)

    def _kill(self, container: Container) -> None:
        with contextlib.suppress(ConflictError):
            self._owner.ending.kill(container.id, "KILL")
        if not container.wait_stopped(30):
            raise EngineError(f"Could not kill running container {container.id}, cannot remove")

    def remove_ended(self, container: Container, *, resumed: bool = False) -> None:
        """Remove a container of `--rm` whose lock is held; what goes wrong is only noted.

        Parameters
        ----------
        resumed
            Whether a daemon before this one was removing it; otherwise whoever removes it goes on.
        """
        if container.gone or (container.state.removing and not resumed):
            return
        try:
            container.become(removing=True)
            self._remove(container, volumes=container.record.host_config.auto_remove)
        except (ContainerError, EngineError, FusefsError, OSError) as error:
            _log.error("container %s cannot be removed: %s", container.record.short_id, error)
            container.become(removing=False, dead=True)

    def _remove(self, container: Container, volumes: bool) -> None:
        if container.gone:
            return
        self._owner.starting.cancel_restart(container)
        self._owner.starting.give_up_waiting(container)
        self._engine.networks.detach(container.id)
        try:
            self._owner.rootfs.remove(container.id)
        except Exception as error:
            container.told(fault=str(error))  # who waits until it is removed would wait for ever
            raise
        self._engine.store.release(container.id)
        self._owner.forget(container)
        self._engine.volumes.release(container.id, volumes)
        self._engine.execs.forget(container)
        container.told(gone=True)
        self._owner.tell(container, "destroy")

    def prune(self, filters: Filters) -> Pruned:
        """Remove the containers that do not run."""
        for key in filters.values:
            if key not in _PRUNE_FILTERS:
                raise BadParameterError(f"invalid filter '{key}'")
        if len(filters["until"]) > 1:
            raise BadParameterError("more than one until filter specified")
        before = moment(filters["until"][0]) if "until" in filters else None
        removed, reclaimed = [], 0
        for container in reversed(self._owner.all()):
            labels = container.record.labels
            if (
                container.state.running
                or (before is not None and container.record.created >= before)
                or not filters.matches_labels(labels)
                or any(Filters({"label": (label,)}).matches_labels(labels) for label in filters["label!"])
            ):
                continue
            size = self._owner.sizes(container.id)[0]
            try:
                self.remove(container.id)
            except (EngineError, ContainerError):
                continue  # somebody was quicker
            removed.append(container.id)
            reclaimed += size
        self._engine.events.tell("container", "prune", "", {"reclaimed": str(reclaimed)})
        return Pruned(tuple(removed), reclaimed)
