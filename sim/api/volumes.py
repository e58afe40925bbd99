"""The routes of volumes.

A protocol adapter only: what volumes are is decided in `sim.engine.volumes`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sim.api.exchange import Answer, Request, empty, json_answer
from sim.engine.filters import Filters

if TYPE_CHECKING:
    from sim.api.router import Router
    from sim.engine import Engine
    from sim.engine.volumes import Volume

__all__ = ["register", "volume_document"]


class _Create(msgspec.Struct, rename="pascal"):
    """What a client sends to have a volume made."""

    name: str | None = None
    driver: str | None = None
    driver_opts: dict[str, str] | None = None
    labels: dict[str, str] | None = None
    cluster_volume_spec: dict[str, Any] | None = None


def volume_document(engine: Engine, volume: Volume) -> dict[str, Any]:
    """Return a volume as the API shows it."""
    return {
        "CreatedAt": volume.created,
        "Driver": "local",
        "Labels": volume.labels or None,
        "Mountpoint": str(engine.volumes.path(volume.name)),
        "Name": volume.name,
        "Options": volume.options or None,
        "Scope": "local",
    }


def register(router: Router, engine: Engine) -> None:
    """Register the routes."""
    volumes = engine.volumes

    @router.route("GET", "/volumes")
    def list_volumes(request: Request) -> Answer:
        found = volumes.all(Filters.parse(request.query.get("filters")))
        return json_answer({"Volumes": [volume_document(engine, each) for each in found], "Warnings": None})

    @router.route("POST", "/volumes/create")
    def create(request: Request) -> Answer:
        said = request.json(_Create)
        assert said is not None
        volume = volumes.create(
            said.name or "", driver=said.driver or "local", options=said.driver_opts, labels=said.labels
        )
        return json_answer(volume_document(engine, volume), 201)

    @router.route("POST", "/volumes/prune")
    def prune(request: Request) -> Answer:
        filters = Filters.parse(request.query.get("filters"))
        pruned = volumes.prune(filters, everything=request.version < (1, 42))
        return json_answer({"VolumesDeleted": list(pruned.names) or None, "SpaceReclaimed": pruned.reclaimed})

    @router.route("GET", "/volumes/{name}")
    def inspect(request: Request) -> Answer:
        return json_answer(volume_document(engine, volumes.get(request.parameters["name"])))

    @router.route("DELETE", "/volumes/{name}")
    def remove(request: Request) -> Answer:
        volumes.remove(request.parameters["name"], force=request.flag("force"))
        return empty()
