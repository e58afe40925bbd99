"""The engine: one daemon's state and what can be done with it.

Decided here and only here: where each part lies below the data root, in which order parts open and close, and that one
data root has one engine at a time.

    DATA_ROOT/
        images/             the image store (`sim.images.Store`)
        engine.db           containers, volumes, networks (`EngineDatabase`)
        containers/ID/      one container: config.json, upper, work, merged, journal.db, its shim's state, its log
        volumes/NAME/_data  one volume
        tmp/                what is under way; emptied at start

Any thread may call.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim.engine.builds import Builds
from sim.engine.containers import Containers
from sim.engine.database import EngineDatabase
from sim.engine.errors import UnavailableError
from sim.engine.events import Events
from sim.engine.execs import Execs
from sim.engine.images import Images
from sim.engine.networks import Networks
from sim.engine.system import System
from sim.engine.transfers import Transfers
from sim.engine.volumes import Volumes
from sim.images import Store, Use
from sim.images.daemonjson import DaemonSettings

__all__ = ["Engine"]


class Engine:
    """All that one data root holds.

    Parameters
    ----------
    root
        The data root; made where it is missing.
    settings
        See `DaemonSettings`.

    Raises
    ------
    UnavailableError
        Another engine has this data root, or it cannot be used.
    """

    def __init__(self, root: Path, settings: DaemonSettings | None = None) -> None:
        self.root = Path(os.path.abspath(root))
        self.settings = settings or DaemonSettings()
        self._closing = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            self._lock_root(undo)
            self.events = Events()
            self.exposed: tuple[str, ...] = ()  # addresses without encryption, which `info` warns of
            undo.callback(self.events.close)
            self.store = undo.enter_context(Store(self.root / "images"))
            self.database = EngineDatabase(self.root / "engine.db")
            undo.callback(self.database.close)
            self.system = System(self)
            self.images = Images(self)
            self.transfers = Transfers(self)
            self.volumes = Volumes(self)
            self.networks = Networks(self)
            self.containers = Containers(self)
            self.execs = Execs(self)
            self.builds = Builds(self)
            undo.callback(self.builds.close)
            self._closing = undo.pop_all()

    def _lock_root(self, undo: contextlib.ExitStack) -> None:
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o711)
            lock = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise UnavailableError(f"{self.root}: cannot be the data root: {error.strerror}") from None
        undo.callback(os.close, lock)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 20, 0).decode(errors="replace").strip()
            raise UnavailableError(
                f"{self.root}: another daemon (process {owner or 'unknown'}) has this data root;"
                " stop it, or name another one with --data-root"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)

    def start(self) -> None:
        """Find again what a daemon before this one has left: running containers, their networks and mounts."""
        self.builds.collect()
        self.containers.restore()

    def shut_down(self) -> None:
        """Let containers go on or stop them, as the settings say, and end what clients listen to."""
        self.containers.shutdown(self.settings.live_restore)
        self.networks.close()
        self.events.close()

    def image_uses(self) -> tuple[Use, ...]:
        """Return which containers use images, stopped ones too."""
        return tuple(self.containers.uses())

    def volume_users(self, name: str) -> tuple[str, ...]:
        """Return the containers, stopped ones too, that have a volume."""
        return tuple(self.containers.names_using_volume(name))

    def container_states(self) -> Mapping[str, int]:
        """Return how many containers are in each state."""
        return Counter(each.state.status for each in self.containers.all())

    def connect_network(self, container: str, network: str, wish: Mapping[str, Any]) -> None:
        """Put a container, running or not, on one more network."""
        self.containers.joining.connect(container, self.networks.get(network).name, wish)

    def disconnect_network(self, container: str, network: str, *, force: bool = False) -> None:
        """Take a container, running or not, off a network."""
        self.containers.joining.disconnect(container, self.networks.get(network).name, force=force)

    def tell_reload(self) -> None:
        """Say that the settings were read again."""
        self.events.tell("daemon", "reload", self.system.id, {"name": self.system.host_name})

    def close(self) -> None:
        """Let go of everything. Containers go on; what they become is the caller's to decide before."""
        self._closing.close()

    def __enter__(self) -> Engine:
        """Enter a block at whose end it is closed."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()
