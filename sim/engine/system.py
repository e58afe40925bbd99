"""The engine as a whole: who it is, which version, which driver, and what takes how much room.

Decided here and only here: what is told of the engine itself, and what counts into each line of `system df`. Any thread
may call.
"""

from __future__ import annotations

import functools
import os
import platform
import socket
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs import FusefsError
from fusefs.mount import choose_driver
from sim.engine.machine import backing_filesystem
from sim.images import Image, account

if TYPE_CHECKING:
    from sim.engine.engine import Engine
    from sim.engine.volumes import Volume

__all__ = ["ImageUsage", "System", "VolumeUsage"]


@dataclass(frozen=True, slots=True)
class ImageUsage:
    """One image in `system df`: bytes that it shares with others that are listed, and how many containers use it."""

    image: Image
    shared: int
    containers: int


@dataclass(frozen=True, slots=True)
class VolumeUsage:
    """One volume in `system df`: its bytes, and how many containers have it."""

    volume: Volume
    size: int
    users: int


class System:
    """What `info`, `version` and `system df` tell of one engine."""

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

    @functools.cached_property
    def version(self) -> str:
        """The version of this program."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("layerlab")
        except PackageNotFoundError:
            return "0"

    @functools.cached_property
    def storage_driver(self) -> str:
        """What mounts containers, by its name."""
        wanted = self._engine.settings.storage_driver
        if wanted and wanted != "auto":
            return wanted
        try:
            return choose_driver()
        except FusefsError:
            return "overlayfs"

    def driver_status(self) -> list[tuple[str, str]]:
        """Return what `info` says about the driver."""
        recording = "no: the kernel tells of nothing" if self.storage_driver == "overlayfs" else "every operation"
        return [
            ("Backing Filesystem", backing_filesystem(self._engine.root)),
            ("Supports d_type", "true"),
            ("Layer Format", "overlay, marks as " + ("trusted.overlay" if os.geteuid() == 0 else "user.overlay")),
            ("Journal", recording),
        ]

    @property
    def kernel(self) -> str:
        """The version of the kernel."""
        return os.uname().release

    @property
    def machine(self) -> str:
        """The machine's architecture, in the kernel's word."""
        return platform.machine()

    # -- system df

    def layers_size(self) -> int:
        """Return the bytes of all layers, each once: those of images, of steps of builds, and that containers hold."""
        found = self._engine.store.records.rows(
            "SELECT coalesce(sum(size), 0) FROM layer WHERE diff_id IN"
            " (SELECT diff_id FROM image_layer UNION SELECT diff_id FROM hold)"
        )
        return int(found[0][0])

    def image_usage(self) -> list[ImageUsage]:
        """Return what each image takes, the newest first."""
        images = self._engine.images.all()
        users = Counter(use.image for use in self._engine.image_uses())
        shared = {each.id: each.shared for each in account(images).images}
        return [ImageUsage(image, shared[image.id], users[image.id]) for image in images]

    def volume_usage(self) -> list[VolumeUsage]:
        """Return what each volume takes, by name."""
        volumes = self._engine.volumes
        return [VolumeUsage(volume, volumes.size(volume), len(volumes.users(volume.name))) for volume in volumes.all()]
