"""The system's routes: ping, version, info, disk usage, events.

A protocol adapter only: what is told is decided in `sim.engine.system`.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

from sim.api.exchange import LATEST, OLDEST, Answer, Plain, Request, json_answer
from sim.images import architecture

if TYPE_CHECKING:
    from sim.api.router import Router
    from sim.engine import Engine

__all__ = ["register"]


def register(router: Router, engine: Engine) -> None:
    """Register the routes."""
    system = engine.system

    @router.route("GET", "/_ping")
    def ping(request: Request) -> Answer:
        headers = {
            "Builder-Version": "1",
            "Cache-Control": "no-cache, no-store, must-revalidate",
            "Pragma": "no-cache",
            "Swarm": "inactive",
        }
        return Plain(b"OK", content_type="text/plain; charset=utf-8", headers=headers)

    @router.route("GET", "/version")
    def version(request: Request) -> Answer:
        details = {
            "ApiVersion": ".".join(map(str, LATEST)),
            "Arch": architecture(),
            "KernelVersion": system.kernel,
            "MinAPIVersion": ".".join(map(str, OLDEST)),
            "Os": "linux",
        }
        return json_answer(
            {
                "Platform": {"Name": "layerlab"},
                "Components": [
                    {"Name": "Engine", "Version": system.version, "Details": {**details, "Experimental": "false"}},
                    {"Name": "python", "Version": platform.python_version(), "Details": {}},
                ],
                "Version": system.version,
                **details,
                "GitCommit": "",
                "GoVersion": "",
                "BuildTime": "",
            }
        )
