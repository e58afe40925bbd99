"""Making containers: a name, a directory, layers that are held, volumes, and at last the record.

Decided here and only here: in which order a container comes to be, so that one that fails, or whose daemon is killed
meanwhile, leaves nothing: what has no record is taken away. Any thread may call.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sim.engine.container import Container
from sim.engine.creating import (
    asked_config,
    command_of,
    merged_config,
    network_wishes,
    settled_host,
    settled_hostname,
    warnings_for,
)
from sim.engine.errors import BadParameterError, EngineError, NotFoundError
from sim.engine.links import resolved_links
from sim.engine.model import Config, ContainerRequest, HostConfig, MountPoint, Record, State
from sim.engine.mountwishes import mount_points, volume_labels
from sim.engine.names import check_name
from sim.engine.portspecs import port_wishes
from sim.engine.reading import read
from sim.engine.volumes import ANONYMOUS
from sim.images import Image
from sim.runtime.syscalls import open_in

if TYPE_CHECKING:
    from sim.build.runner import LeftContainer
    from sim.engine.containers import Containers

__all__ = ["NEW_VOLUMES", "Created", "Making"]

#: The file that names the volumes that are made with a container.
NEW_VOLUMES = "volumes.new"


@dataclass(frozen=True, slots=True)
class Created:
    """A new container, and what of the wishes is not done."""

    id: str
    warnings: list[str]


class Making:
    """Makes the containers of one engine."""

    def __init__(self, owner: Containers) -> None:
        self._owner = owner
        self._engine = owner.engine

    def create(self, request: ContainerRequest, name: str = "", *, shallow: bool = False) -> Created:
        """Make a container.

        Parameters
        ----------
        request, name
            The wish; without a name it gets one.
        shallow
            As for `mount_points`.

        Raises
        ------
        NotFoundError
            Its image, or a container that it refers to, is not there.
        BadParameterError, ConflictError
            It cannot be as it is wished; its name is taken.
        """
        if request == ContainerRequest():
            raise BadParameterError("Config cannot be empty in order to create a container")
        identity = secrets.token_hex(32)
        if name:
            name = check_name(name)
        image = self._engine.images.get(request.image) if request.image else None
        config = merged_config(asked_config(request), dict(image.settings) if image else {})
        host = settled_host(request.host_config or HostConfig(), config, self._engine.settings)
        port_wishes(config, host)
        config = settled_hostname(config, host, identity)
        networks = network_wishes(request, host)
        mounts = mount_points(config, host, self._mounts_of, shallow=shallow)
        host = replace(host, links=resolved_links(self._owner, host.links, host.network_mode))
        command = command_of(config)
        record = Record(
            id=identity,
            name=name,
            created=time.time_ns(),
            image=image.id if image else "",
            layers=image.diff_ids if image else (),
            driver=self._owner.rootfs.driver,
            path=command[0],
            args=command[1:],
            config=config,
            host_config=host,
            networks=networks,
            mounts=mounts,
        )
        with self._owner.reserved(record) as record, contextlib.ExitStack() as undo:
            undo.callback(self._discard, identity)
            self._make(record, image)
            record = replace(record, mounts=self._volumes(record))
            self._owner.write_config(record)
            container = Container(self._owner, record)
            self._owner.insert(container)
            (self._owner.rootfs.directory(identity) / NEW_VOLUMES).unlink(missing_ok=True)
            undo.pop_all()
        self._owner.tell(container, "create")
        return Created(identity, warnings_for(host))

    def take_over(self, left: LeftContainer) -> None:
        """Make a container of what a build leaves; it ended, or was never started."""
        image = self._engine.images.get(left.image) if left.image else None
        config = replace(read(dict(left.settings), Config, "container.Config"), image=left.image)
        host = settled_host(HostConfig(), config, self._engine.settings)
        path, *args = command_of(config)
        record = Record(
            id=left.identity,
            name="",
            created=left.started or time.time_ns(),
            image=left.image,
            layers=image.diff_ids if image else (),
            driver=self._owner.rootfs.driver,
            path=path,
            args=tuple(args),
            config=settled_hostname(config, host, left.identity),
            host_config=host,
            networks=network_wishes(ContainerRequest(), host),
            state=State(started=left.started, finished=left.finished, exit_code=left.code),
        )
        with self._owner.reserved(record) as record, contextlib.ExitStack() as undo:
            undo.callback(self._discard, left.identity)
            self._make(record, image)
            if left.upper is not None:
                upper = self._owner.rootfs.directory(left.identity) / "upper"
                # As for volumes: hard links, holes, devices, attributes are kept; it follows no symlink.
                done = subprocess.run(
                    ["cp", "-a", "--", f"{left.upper}/.", f"{upper}/"], capture_output=True, check=False
                )
                if done.returncode:
                    raise EngineError(f"cannot copy what it wrote: {done.stderr.decode(errors='replace').strip()}")
            self._owner.write_config(record)
            container = Container(self._owner, record)
            self._owner.insert(container)
            undo.pop_all()
        self._owner.tell(container, "create")

    def _mounts_of(self, name: str) -> tuple[MountPoint, ...]:
        try:
            return self._owner.get(name).record.mounts
        except NotFoundError as error:
            raise BadParameterError(str(error)) from None

    def _make(self, record: Record, image: Image | None) -> None:
        self._owner.rootfs.prepare(record.id)
        if image is not None:
            self._engine.store.hold(record.id, image)
            # Held from here on; but it may have been removed just before.
            self._engine.images.get(image.id)

    def _volumes(self, record: Record) -> tuple[MountPoint, ...]:
        """Let a new container have its volumes; give those a name that have none."""
        found: list[MountPoint] = []
        wishes = volume_labels(record.host_config)
        unnamed = {point.destination for point in record.mounts if point.type == "volume" and not point.name}
        record = replace(record, mounts=self._named(record))
        with contextlib.ExitStack() as stack:
            view: Path | None = None
            for point in record.mounts:
                if point.type != "volume":
                    found.append(point)
                    continue
                wish = wishes.get(point.destination)
                options = wish.volume_options if wish else None
                driver = options.driver_config.options if options and options.driver_config else None
                labels = dict((options.labels if options else None) or {})
                if point.destination in unnamed:
                    labels[ANONYMOUS] = ""
                volume = self._engine.volumes.create(point.name, driver=point.driver, options=driver, labels=labels)
                source = self._engine.volumes.use(volume.name, record.id)
                if point.copies and record.layers and not any(source.iterdir()):
                    view = view or stack.enter_context(self._owner.rootfs.view(record))
                    self._populate(volume.name, view, point.destination)
                found.append(replace(point, name=volume.name, source=os.fspath(source)))
        return tuple(found)

    def _named(self, record: Record) -> tuple[MountPoint, ...]:
        """Name the volumes that have no name; note which are to be made, for a daemon that finds them half made."""
        taken = {volume.name for volume in self._engine.volumes.all()}
        points = tuple(
            replace(point, name=point.name or secrets.token_hex(32)) if point.type == "volume" else point
            for point in record.mounts
        )
        fresh = [point.name for point in points if point.type == "volume" and point.name not in taken]
        if fresh:
            (self._owner.rootfs.directory(record.id) / NEW_VOLUMES).write_text("\n".join(fresh))
        return points

    def _populate(self, volume: str, view: Path, destination: str) -> None:
        """Copy what the image has at a volume's place into it."""
        root = os.open(view, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            there = open_in(root, destination, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            return  # the image has nothing there
        finally:
            os.close(root)
        try:
            # Below the place, not by its descriptor: `cp` in a process of its own would have to inherit that.
            self._engine.volumes.populate(volume, Path(os.readlink(f"/proc/self/fd/{there}")))
        finally:
            os.close(there)

    def _discard(self, identity: str) -> None:
        """Take away what was made of a container that did not come to be."""
        with contextlib.suppress(EngineError, OSError):
            self._engine.volumes.release(identity, True)
        self._engine.store.release(identity)
        with contextlib.suppress(EngineError):
            self._owner.rootfs.remove(identity)
