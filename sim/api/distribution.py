"""The route that tells what a registry has under a name, without fetching it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.api.exchange import Answer, Request, json_answer
from sim.api.transfers import credentials_of

if TYPE_CHECKING:
    from sim.api.router import Router
    from sim.engine import Engine

__all__ = ["register"]


def register(router: Router, engine: Engine) -> None:
    """Register the route."""

    @router.route("GET", "/distribution/{name}/json")
    def inspect(request: Request) -> Answer:
        found, platforms = engine.transfers.inspect(request.parameters["name"], credentials_of(request))
        return json_answer(
            {
                "Descriptor": {"mediaType": found.media_type, "digest": found.digest, "size": found.size},
                "Platforms": platforms,
            }
        )
