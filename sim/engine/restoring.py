"""What a daemon before this one left: containers that still run, that ended meanwhile, or that were half made.

Decided here and only here: what becomes of each. One that runs is taken over as it is. Of one that ended its end is
noted, and its policy heeded. A start that nobody was told of did not take place, a removal is carried on with, and a
directory without a record is none of a container's. For the thread that starts the daemon.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from sim.engine.container import Container
from sim.engine.errors import EngineError
from sim.engine.making import NEW_VOLUMES
from sim.runtime import Container as Shim
from sim.runtime import ContainerError, recover, start_zygote

if TYPE_CHECKING:
    from sim.engine.containers import Containers

__all__ = ["Restoring"]

_log = logging.getLogger("layerlab.containers")


class Restoring:
    """Finds the containers of one engine again."""

    def __init__(self, owner: Containers) -> None:
        self._owner = owner
        self._engine = owner.engine

    def restore(self) -> None:
        """Find again what a daemon before this one left, clean up after it, and start what is to be started."""
        start_zygote()  # the first start is as quick as the next then
        self._recover()
        self._owner.rootfs.empty_trash()
        known = {container.id for container in self._owner.all()}
        for place in (self._engine.root / "containers").iterdir():
            if place.name not in known:
                self._sweep(place)
        self._engine.volumes.restore(
            (point.name, container.id)
            for container in self._owner.all()
            for point in container.record.mounts
            if point.type == "volume"
        )
        for container in self._owner.all():
            try:
                self._adopt(container)
            except Exception:
                _log.exception("container %s cannot be taken over", container.record.short_id)
        self._engine.networks.restore(each.id for each in self._owner.all() if each.state.running)
        images = {image.id for image in self._engine.store.images(intermediate=True)}
        self._owner.rootfs.forget_images(images | {each.record.image for each in self._owner.all()})
        for container in self._owner.all():
            self._go_on(container)

    def _recover(self) -> None:
        """Take away what crashed shims, mounts and machines left, before anything is built on it."""
        rootfs = self._owner.rootfs
        ids = [container.id for container in self._owner.all()]
        found = recover(
            {rootfs.directory(each): rootfs.merged(each) for each in ids}, [self._engine.root / "containers"]
        )
        for directory in found.containers:
            _log.warning("container %s: its shim ended before it", directory.name[:12])
        for mountpoint in found.broken:
            _log.warning("%s: nobody serves what is mounted here; stop its container", mountpoint)

    def _sweep(self, place: Path) -> None:
        """Take away what a killed daemon had half made, or half removed."""
        with contextlib.suppress(ContainerError, OSError):
            shim = Shim.open(place)
            with contextlib.suppress(ContainerError):
                shim.kill()
                shim.wait(10)
            shim.abandon()
            shim.clean()
        with contextlib.suppress(OSError):
            for name in (place / NEW_VOLUMES).read_text().split():
                with contextlib.suppress(EngineError):
                    self._engine.volumes.remove(name, force=True)
        self._engine.store.release(place.name)
        with contextlib.suppress(EngineError):
            self._owner.rootfs.remove(place.name)
        if place.is_dir() and not any(place.iterdir()):
            shutil.rmtree(place, ignore_errors=True)

    def _adopt(self, container: Container) -> None:
        """Take over a container from a daemon before this one, as it is now."""
        record, state = container.record, container.state
        if not (state.running or state.starting):
            self._owner.rootfs.clear(record.id)
            return
        directory = self._owner.rootfs.directory(record.id)
        try:
            shim = Shim.open(directory)
        except ContainerError:
            shim = None
        if state.starting and shim is not None:
            # Nobody was told that it started, so it did not.
            with contextlib.suppress(ContainerError):
                shim.kill()
                shim.wait(10)
            shim.abandon()
            shim.clean()
        if state.starting or state.restarting or shim is None:
            container.become(starting=False, running=False, paused=False, pid=0)
            self._owner.rootfs.clear(record.id)
            return
        status = shim.status()
        if status.code is None and status.phase in ("running", "paused"):
            self._owner.rootfs.adopt(record.id)
            container.shim = shim
            # A removal that had not come further than to say so did not take place.
            container.become(paused=status.phase == "paused", pid=status.pid, removing=False)
            self._owner.starting.follow(container, shim)
            return
        container.shim = shim
        self._owner.rootfs.adopt(record.id)
        self._owner.ending.note(container, shim)

    def _go_on(self, container: Container) -> None:
        """At the start of the daemon: start what its policy wants to run, remove what was to be removed."""
        record, state = container.record, container.state
        if state.running:
            if state.restarting and container.timer is None:
                self._owner.ending.schedule(container)
            return
        if state.removing or state.dead or (record.host_config.auto_remove and state.started):
            with container.lock:
                self._owner.removing.remove_ended(container, resumed=True)
            return
        policy = record.host_config.restart_policy.name
        wanted = policy == "always" or (policy == "unless-stopped" and not record.manually_stopped)
        wanted = wanted or (policy == "on-failure" and state.exit_code != 0 and not record.manually_stopped)
        if wanted and state.started:
            with container.lock:
                try:
                    self._owner.starting.run(container)
                except (ContainerError, EngineError, OSError) as error:
                    _log.warning("container %s was not started again: %s", record.short_id, error)
