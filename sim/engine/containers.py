"""The containers of one engine: which there are, what they are called, and what makes and removes them.

Decided here and only here: how a name leads to a container, that a container exists from the moment its record is in
the database, and no longer than that. What is done with a container is in modules of its own:

    making.py      a new one                    starting.py    its start: mount, network, shim
    ending.py      its end, stop, kill          removing.py    its removal, prune
    updating.py    other limits                 looking.py     changes, export, commit
    figures.py     top, stats                   logs.py        its output
    execs.py       more processes in it         archive.py     files in and out
    restoring.py   what a daemon before left

Any thread may call. Locks: a container's before the collection's, never the other way round.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from sim.engine.archive import Archive
from sim.engine.container import Container
from sim.engine.ending import Ending
from sim.engine.errors import BadParameterError, ConflictError, NotFoundError
from sim.engine.figures import Figures
from sim.engine.filters import Filters
from sim.engine.joining import Joining
from sim.engine.links import link_names
from sim.engine.listing import listed
from sim.engine.logs import Logs
from sim.engine.looking import Looking
from sim.engine.making import Created, Making
from sim.engine.model import ContainerRequest, Record
from sim.engine.names import check_name, generate_name
from sim.engine.removing import Removing
from sim.engine.restoring import Restoring
from sim.engine.rootfs import Rootfs
from sim.engine.showing import inspection, list_entry
from sim.engine.sizes import tree_size
from sim.engine.starting import Starting
from sim.engine.updating import Updating
from sim.engine.watching import Watching
from sim.images import ImagesError, Use
from sim.images import NotFoundError as NoLayerError

if TYPE_CHECKING:
    from sim.engine.engine import Engine

__all__ = ["Containers"]

_log = logging.getLogger("layerlab.containers")


class Containers:
    """The containers of one engine."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.rootfs = Rootfs(engine)
        self.watching = Watching()
        self.closing = False
        self._lock = threading.RLock()
        self._containers: dict[str, Container] = {}
        self._names: dict[str, str] = {}
        for number, document in engine.database.rows("SELECT number, document FROM container ORDER BY number"):
            record = replace(msgspec.json.decode(document, type=Record), number=number)
            self._containers[record.id] = Container(self, record)
            self._names[record.name] = record.id
        self.making = Making(self)
        self.joining = Joining(self)
        self.starting = Starting(self)
        self.ending = Ending(self)
        self.removing = Removing(self)
        self.updating = Updating(self)
        self.looking = Looking(self)
        self.figures = Figures(self)
        self.logs = Logs(self)
        self.archive = Archive(self)

    # -- what there is

    def all(self) -> list[Container]:
        """Return the containers in the order in which they were made."""
        with self._lock:
            return list(self._containers.values())

    def get(self, name: str) -> Container:
        """Return the container of an ID, a name, or the beginning of an ID.

        Raises
        ------
        NotFoundError
            There is none, or several IDs begin so.
        """
        if not name:
            raise BadParameterError('invalid name or ID supplied: ""')
        with self._lock:
            found = self._containers.get(name) or self._containers.get(self._names.get(name.removeprefix("/"), ""))
            if found is not None:
                return found
            matching = [container for key, container in self._containers.items() if key.startswith(name)]
        if len(matching) > 1:
            raise NotFoundError(f"Multiple IDs found with provided prefix: {name}")
        if not matching:
            raise NotFoundError(f"No such container: {name}")
        return matching[0]

    def uses(self) -> list[Use]:
        """Return which containers use which images."""
        return [Use(each.id, each.record.image, each.state.running) for each in self.all()]

    def names_using_volume(self, name: str) -> list[str]:
        """Return the IDs of the containers that have a volume."""
        return [
            each.id
            for each in self.all()
            if any(point.type == "volume" and point.name == name for point in each.record.mounts)
        ]

    def keep(self, record: Record) -> None:
        """Put a container's record into the database."""
        with self.engine.database.change() as change:
            change.execute(
                "UPDATE container SET name = ?, document = ? WHERE id = ?",
                (record.name, msgspec.json.encode(record), record.id),
            )

    def tell(self, container: Container, action: str, **attributes: str) -> None:
        """Tell of something that happened to a container."""
        self.engine.events.tell("container", action, container.id, container.attributes(**attributes))

    def create(self, request: ContainerRequest, name: str = "", *, shallow: bool = False) -> Created:
        """Make a container; see `Making.create`."""
        return self.making.create(request, name, shallow=shallow)

    def insert(self, container: Container) -> None:
        """Put a new container into the database: from here on it exists."""
        record = container.record
        with self._lock:
            with self.engine.database.change() as change:
                change.execute(
                    "INSERT INTO container (id, name, image, document) VALUES (?, ?, ?, ?)",
                    (record.id, record.name, record.image, msgspec.json.encode(record)),
                )
            self._containers[record.id] = container

    def write_config(self, record: Record) -> None:
        """Write what others read of a container without asking the daemon."""
        path = self.rootfs.directory(record.id) / "config.json"
        document = {
            "Id": record.id,
            "Name": f"/{record.name}",
            "Image": record.image,
            "Created": record.created,
            "Driver": record.driver,
            "Path": record.path,
            "Args": list(record.args),
            "Layers": list(record.layers),
        }
        aside = path.with_name("config.json.new")
        aside.write_text(json.dumps(document))
        aside.rename(path)

    # -- names

    @contextlib.contextmanager
    def reserved(self, record: Record) -> Iterator[Record]:
        """Have a container's name taken while it is made; give it one where it has none."""
        with self._lock:
            name = record.name or generate_name(self._names.__contains__)
            self._take_name(name, record.id)
        try:
            yield replace(record, name=name)
        except BaseException:
            with self._lock:
                if self._names.get(name) == record.id:
                    del self._names[name]
            raise

    def _take_name(self, name: str, identity: str) -> None:
        holder = self._names.get(name)
        if holder is not None:
            raise ConflictError(
                f'Conflict. The container name "/{name}" is already in use by container "{holder}".'
                " You have to remove (or rename) that container to be able to reuse that name."
            )
        self._names[name] = identity

    def rename(self, name: str, wanted: str) -> None:
        """Give a container another name.

        Raises
        ------
        BadParameterError, ConflictError
            It cannot have that name.
        """
        if not name or not wanted:
            raise BadParameterError("Neither old nor new names may be empty")
        container = self.get(name)
        fresh = wanted.removeprefix("/")
        with container.lock:
            old = container.name
            if old == fresh:
                raise BadParameterError("Renaming a container with the same name as its current name")
            try:
                check_name(wanted)
                with self._lock:
                    self._take_name(fresh, container.id)
            except BadParameterError:
                raise BadParameterError(
                    f"Error when allocating new name: Invalid container name (/{fresh}),"
                    " only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
                ) from None
            except ConflictError as error:
                raise ConflictError(f"Error when allocating new name: {error}") from None
            try:
                container.save(name=fresh)
            except BaseException:
                with self._lock:
                    del self._names[fresh]
                raise
            with self._lock:
                del self._names[old]
            self.write_config(container.record)
            if container.state.running:
                self.engine.networks.rename(container.id, fresh)
        self.tell(container, "rename", oldName=f"/{old}")

    def forget(self, container: Container) -> None:
        """Take a container out of the database and out of memory; its name is free then."""
        with self._lock:
            with self.engine.database.change() as change:
                change.execute("DELETE FROM container WHERE id = ?", (container.id,))
            self._containers.pop(container.id, None)
            if self._names.get(container.name) == container.id:
                del self._names[container.name]

    # -- start and end of the daemon

    def restore(self) -> None:
        """Find again what a daemon before this one left; see `Restoring.restore`."""
        Restoring(self).restore()

    def shutdown(self, live_restore: bool) -> None:
        """Let the containers go on, or stop them, each with its own patience; nothing is started any more."""
        self.closing = True
        for container in self.all():
            self.starting.cancel_restart(container)
            if container.health is not None:
                container.health.stop()
        if not live_restore:
            threads = [
                threading.Thread(target=self.ending.stop_at_shutdown, args=(container,), daemon=True)
                for container in self.all()
                if container.state.running
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for container in self.all():
                with container.lock:
                    pass  # what follows its end is done
        self.watching.close()

    # -- how they are shown

    def inspect(self, name: str, *, size: bool = False) -> dict[str, Any]:
        """Return all that is known of a container, as the API shows it."""
        return inspection(self, self.get(name), size=size)

    def list(self, filters: Filters, *, everything: bool = False, limit: int = 0, size: bool = False) -> list[Any]:
        """Return containers as the API lists them, the newest first; parameters as in `listed`."""
        containers = listed(self, filters, everything=everything, limit=limit)
        names = self._image_names({container.record.image for container in containers})
        linked = link_names(self)
        entries = []
        for container in containers:
            # One that is being removed meanwhile is listed no more: its layers go before its name does.
            with contextlib.suppress(NotFoundError, FileNotFoundError, NoLayerError):
                sizes = self.sizes(container.id) if size else None
                image = self._image_name(container.record, names)
                entries.append(list_entry(container, image, sizes, linked.get(container.id, ())))
        return entries

    def _image_names(self, images: set[str]) -> dict[str, str | None]:
        """Return for each name of an image the ID that it has now."""
        found: dict[str, str | None] = {}
        for container in self.all():
            name = container.record.config.image
            if container.record.image in images and name not in found:
                try:
                    found[name] = self.engine.store.resolve(name)
                except ImagesError:
                    found[name] = None
        return found

    @staticmethod
    def _image_name(record: Record, names: dict[str, str | None]) -> str:
        """Return what a container's image is called: as it was asked for, or by its ID if that is another now."""
        name = record.config.image
        return name if names.get(name) == record.image else record.image

    def sizes(self, name: str) -> tuple[int, int]:
        """Return the bytes of a container's RW layer, and of all its layers."""
        record = self.get(name).record
        mine = tree_size(self.rootfs.directory(record.id) / "upper")
        layers = {diff_id: self.engine.store.layer(diff_id).size for diff_id in record.layers}
        return mine, mine + sum(layers.values())
