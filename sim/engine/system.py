"""The engine as a whole: who it is, what the machine is like.

Decided here and only here: the version that is told, and what is found out about the machine. Any thread may call.
"""

from __future__ import annotations

import os
import platform
import socket
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.engine.engine import Engine

__all__ = ["System"]


class System:
    """What `info` and `version` tell."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.id = self._identity()
        self.host_name = socket.gethostname()

    def _identity(self) -> str:
        """Return the ID of this data root, made at its first start."""
        path = self._engine.root / "engine-id"
        try:
            if found := path.read_text().strip():
                return found
        except FileNotFoundError:
            pass
        made = str(uuid.uuid4())
        path.write_text(made)
        return made

    @property
    def version(self) -> str:
        """The version of this program."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("layerlab")
        except PackageNotFoundError:
            return "0"

    @property
    def storage_driver(self) -> str:
        """What mounts containers, by the name that people give."""
        return self._engine.settings.storage_driver or "auto"

    @property
    def kernel(self) -> str:
        """The version of the kernel."""
        return os.uname().release

    @property
    def machine(self) -> str:
        """The machine's architecture, in the kernel's word."""
        return platform.machine()
