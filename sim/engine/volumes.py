"""Volumes: directories that outlive containers.

Decided here and only here: where a volume is, which names and options it may have, when one with options is mounted,
and what is refused about removing one. A volume is listed once its directory is there; one that a killed daemon left
half made is not listed. Any thread may call.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sim.engine.errors import BadParameterError, ConflictError, EngineError, NotFoundError, NotImplementedHereError
from sim.engine.filters import Filters
from sim.engine.mountpoints import is_mounted, mount_options, unmount

if TYPE_CHECKING:
    from sim.engine.engine import Engine

__all__ = ["Volume", "Volumes", "VolumesPruned"]

_log = logging.getLogger("layerlab.volumes")

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_OPTIONS = ("type", "o", "device", "size")
_FILTERS = ("dangling", "driver", "label", "name")
_PRUNE_FILTERS = ("all", "label", "label!")
#: In the directory of a volume that is being removed.
_MARK = "removing"

#: The label that a volume has which was made without a name.
ANONYMOUS = "com.docker.volume.anonymous"


class Volume(msgspec.Struct, frozen=True):
    """A volume.

    Attributes
    ----------
    created
        RFC 3339, in seconds, as Docker has it.
    options
        Of the driver: what is mounted on it while containers use it.
    """

    name: str
    created: str
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    options: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def anonymous(self) -> bool:
        """Whether nobody gave it a name."""
        return ANONYMOUS in self.labels


class VolumesPruned(msgspec.Struct, frozen=True):
    """What a prune removed: names, and bytes."""

    names: tuple[str, ...]
    reclaimed: int


class Volumes:
    """The volumes of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._place = engine.root / "volumes"
        self._place.mkdir(exist_ok=True, mode=0o701)
        self._lock = threading.RLock()
        self._users: dict[str, set[str]] = {}
        self._volumes: dict[str, Volume] = {}
        for (document,) in engine.database.rows("SELECT document FROM volume ORDER BY name"):
            volume = msgspec.json.decode(document, type=Volume)
            self._volumes[volume.name] = volume
        self._sweep()

    def _sweep(self) -> None:
        """Finish the removals that a killed daemon had decided on, and forget those that it had not.

        A directory alone is no removed volume: that is told by the mark in it. One that has none is left as it is.
        """
        for mark in self._place.glob(f"*/{_MARK}"):
            if mark.parent.name in self._volumes:
                mark.unlink()
            else:
                shutil.rmtree(mark.parent, ignore_errors=True)

    # -- what there is

    def path(self, name: str) -> Path:
        """Return the directory of a volume's content."""
        return self._place / name / "_data"

    def get(self, name: str) -> Volume:
        """Return the volume of a name.

        Raises
        ------
        NotFoundError
            There is none.
        """
        found = self._volumes.get(name)
        if found is None:
            raise NotFoundError(f"get {name}: no such volume")
        return found

    def all(self, filters: Filters | None = None) -> list[Volume]:
        """Return the volumes that filters let through, by name."""
        wanted = filters or Filters()
        for key in wanted.values:
            if key not in _FILTERS:
                raise BadParameterError(f"invalid filter '{key}'")
        unused = wanted.truth("dangling")
        with self._lock:
            volumes = sorted(self._volumes.values(), key=lambda volume: volume.name)
        return [
            volume
            for volume in volumes
            if ("name" not in wanted or any(part in volume.name for part in wanted["name"]))
            and ("driver" not in wanted or "local" in wanted["driver"])
            and wanted.matches_labels(volume.labels)
            and (unused is None or unused is not bool(self.users(volume.name)))
        ]

    def users(self, name: str) -> list[str]:
        """Return the IDs of the containers, running or not, that a volume belongs to."""
        found = set(self._users.get(name, ()))
        return sorted(found.union(self._engine.volume_users(name)))

    # -- making and removing

    def create(
        self,
        name: str = "",
        *,
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Volume:
        """Make a volume, or return the one of this name that is there.

        Parameters
        ----------
        name
            Empty for one that is known by its random name.

        Raises
        ------
        BadParameterError
            It cannot have this name or these options.
        NotFoundError
            There is no such driver.
        """
        tags = dict(labels or {})
        if not name:
            name = secrets.token_hex(32)
            tags[ANONYMOUS] = ""
        if driver not in ("", "local"):
            raise NotFoundError(f'create {name}: error looking up volume plugin {driver}: plugin "{driver}" not found')
        if not _NAME.fullmatch(name):
            short = len(name) == 1 and name.isalnum()
            why = (
                "volume name is too short, names should be at least two alphanumeric characters"
                if short
                else f'"{name}" includes invalid characters for a local volume name, only'
                ' "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path'
            )
            raise BadParameterError(f"create {name}: {why}")
        if len(name) > 255:
            raise BadParameterError(f"create {name[:40]}…: a volume's name has at most 255 characters")
        with self._lock:
            if name in self._volumes:
                return self._volumes[name]
            chosen = dict(options or {})
            _check_options(name, chosen)
            created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            volume = Volume(name, created, tags, chosen)
            (self._place / name).mkdir(mode=0o701, exist_ok=True)
            self.path(name).mkdir(mode=0o755, exist_ok=True)
            with self._engine.database.change() as change:
                change.execute("INSERT OR REPLACE INTO volume VALUES (?, ?)", (name, msgspec.json.encode(volume)))
            self._volumes[name] = volume
        self._tell("create", volume)
        return volume

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume and what is in it.

        Parameters
        ----------
        force
            One that is not there is no error.

        Raises
        ------
        NotFoundError
            There is none of this name.
        ConflictError
            A container has it.
        """
        with self._lock:
            if name not in self._volumes and force:
                return
            volume = self.get(name)
            users = self.users(name)
            if users:
                raise ConflictError(f"remove {name}: volume is in use - [{', '.join(users)}]")
            self._delete(volume)
        self._tell("destroy", volume)

    def _delete(self, volume: Volume) -> None:
        """Remove a volume: forgotten first, so that a daemon that is killed meanwhile does not list half of one."""
        self._unmount(volume)
        with contextlib.suppress(FileNotFoundError):
            (self._place / volume.name / _MARK).touch()
        with self._engine.database.change() as change:
            change.execute("DELETE FROM volume WHERE name = ?", (volume.name,))
        del self._volumes[volume.name]
        try:
            shutil.rmtree(self._place / volume.name)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise EngineError(f"remove {volume.name}: {error.filename}: {error.strerror}") from None

    def prune(self, filters: Filters, *, everything: bool = False) -> VolumesPruned:
        """Remove the volumes that no container has.

        Parameters
        ----------
        everything
            Named ones too, also where the filter `all` does not say so, as before API 1.42.
        """
        for key in filters.values:
            if key not in _PRUNE_FILTERS:
                raise BadParameterError(f"invalid filter '{key}'")
        named = filters.truth("all") or everything
        removed, reclaimed = [], 0
        for volume in self.all():
            if (not named and not volume.anonymous) or not filters.matches_labels(volume.labels):
                continue
            if any(Filters({"label": (label,)}).matches_labels(volume.labels) for label in filters["label!"]):
                continue
            size = self.size(volume)
            try:
                self.remove(volume.name)
            except (ConflictError, NotFoundError):
                continue
            removed.append(volume.name)
            reclaimed += size
        self._engine.events.tell("volume", "prune", "", {"reclaimed": str(reclaimed)})
        return VolumesPruned(tuple(removed), reclaimed)

    def size(self, volume: Volume) -> int:
        """Return the bytes of a volume: of whatever is no directory, each inode once, as for layers."""
        seen: set[tuple[int, int]] = set()
        total = 0
        waiting = [self.path(volume.name)]
        while waiting:
            try:
                with os.scandir(waiting.pop()) as entries:
                    for entry in entries:
                        found = entry.stat(follow_symlinks=False)
                        if entry.is_dir(follow_symlinks=False):
                            waiting.append(Path(entry.path))
                        elif found.st_nlink == 1 or (found.st_dev, found.st_ino) not in seen:
                            seen.add((found.st_dev, found.st_ino))
                            total += found.st_size
            except OSError:
                continue  # it went away meanwhile
        return total

    # -- containers

    def use(self, name: str, container: str) -> Path:
        """Let a container have a volume; return its directory, with what the options say mounted on it.

        A name that is not known is made. To be called when the container is made, and again at each start.

        Raises
        ------
        BadParameterError
            It cannot have this name.
        EngineError
            What its options say cannot be mounted.
        """
        with self._lock:
            volume = self._volumes.get(name) or self.create(name)
            self._mount(volume)
            new = container not in self._users.setdefault(name, set())
            self._users[name].add(container)
        if new:
            self._tell("mount", volume, container)
        return self.path(name)

    def populate(self, name: str, source: Path) -> None:
        """Give a volume that is still empty what an image has in that place: content, owner, mode.

        Raises
        ------
        EngineError
            It cannot be copied.
        """
        target = self.path(name)
        with self._lock:
            if any(target.iterdir()) or not source.is_dir() or source.is_symlink():
                return
            # The machine's own cp keeps all there is: hard links, holes, devices, attributes; it follows no symlink.
            done = subprocess.run(
                ["cp", "-a", "--", f"{source}/.", f"{target}/"], capture_output=True, text=True, check=False
            )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["cp failed"]
            raise EngineError(f"failed to populate volume {name}: {lines[0]}")

    def stopped(self, container: str) -> None:
        """Unmount what only this container, which has stopped, kept mounted."""
        with self._lock:
            for name, users in self._users.items():
                if container in users and len(users) == 1 and name in self._volumes:
                    self._unmount(self._volumes[name])

    def release(self, container: str, remove_anonymous: bool = False) -> None:
        """Let go of what a container had.

        Parameters
        ----------
        remove_anonymous
            Remove those without a name that nobody else has.
        """
        with self._lock:
            mine = [name for name, users in self._users.items() if container in users]
            for name in mine:
                self._users[name].discard(container)
                volume = self._volumes.get(name)
                if volume is None:
                    continue
                self._tell("unmount", volume, container)
                others = [user for user in self.users(name) if user != container]
                if others:
                    continue
                try:
                    self._unmount(volume)
                    if remove_anonymous and volume.anonymous:
                        self._delete(volume)
                        self._tell("destroy", volume)
                except (EngineError, OSError) as error:
                    _log.warning("%s", error)

    def restore(self, users: Iterable[tuple[str, str]]) -> None:
        """Learn again which containers have which volumes: pairs of the volume's name and the container's ID."""
        with self._lock:
            for name, container in users:
                self._users.setdefault(name, set()).add(container)

    # -- what options mount

    def _mount(self, volume: Volume) -> None:
        options = volume.options
        if not options or is_mounted(self.path(volume.name)):
            return
        if os.geteuid() != 0:
            raise NotImplementedHereError(f"volume {volume.name}: only root can mount what its options say")
        mount_options(volume.name, self.path(volume.name), options)

    def _unmount(self, volume: Volume) -> None:
        if volume.options:
            with contextlib.suppress(OSError):
                unmount(self.path(volume.name))

    def _tell(self, action: str, volume: Volume, container: str = "") -> None:
        attributes = {"driver": "local"}
        if container:
            attributes |= {"container": container}
        self._engine.events.tell("volume", action, volume.name, attributes)


def _check_options(name: str, options: Mapping[str, str]) -> None:
    for key in options:
        if key not in _OPTIONS:
            raise BadParameterError(f'create {name}: invalid option: "{key}"')
    if "size" in options:
        raise NotImplementedHereError(f"create {name}: quota size requested but no quota support")
    if ("type" in options or "o" in options) and not options.get("device"):
        raise BadParameterError(f"create {name}: missing device in volume options")
    if options.get("device") and not options.get("type"):
        raise BadParameterError(f"create {name}: missing type in volume options")
