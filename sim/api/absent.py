"""What clients ask of a node that is in no swarm and has no plugins, answered as Docker answers there.

Decided here and only here: the status and the text of each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.api.exchange import Answer, Handler, Request, json_answer
from sim.engine.errors import NOT_A_MANAGER, NotFoundError, NotImplementedHereError, UnavailableError

if TYPE_CHECKING:
    from sim.api.router import Router
    from sim.engine import Engine

__all__ = ["register"]

_SWARM = ("nodes", "services", "tasks", "secrets", "configs")
_NO_SWARM = "this engine runs containers of one machine; it forms no swarm"
_NO_PLUGINS = "this engine takes no plugins"


def register(router: Router, engine: Engine) -> None:
    """Register the routes."""

    def manager_only(request: Request) -> Answer:
        raise UnavailableError(NOT_A_MANAGER)

    def no_swarm(request: Request) -> Answer:
        raise NotImplementedHereError(_NO_SWARM)

    def no_plugins(request: Request) -> Answer:
        raise NotImplementedHereError(_NO_PLUGINS)

    def not_part(request: Request) -> Answer:
        raise UnavailableError("This node is not part of a swarm")

    def plugins(request: Request) -> Answer:
        return json_answer([])

    def plugin(request: Request) -> Answer:
        raise NotFoundError(f'plugin "{request.parameters["name"]}" not found')

    routes: list[tuple[str, str, Handler]] = [
        ("GET", "/swarm", manager_only),
        ("GET", "/swarm/unlockkey", manager_only),
        ("POST", "/swarm/update", manager_only),
        ("POST", "/swarm/unlock", manager_only),
        ("POST", "/swarm/init", no_swarm),
        ("POST", "/swarm/join", no_swarm),
        ("POST", "/swarm/leave", not_part),
        ("GET", "/plugins", plugins),
        ("GET", "/plugins/privileges", no_plugins),
        ("POST", "/plugins/pull", no_plugins),
        ("POST", "/plugins/create", no_plugins),
        ("GET", "/plugins/{name}/json", plugin),
        ("POST", "/plugins/{name}/enable", plugin),
        ("POST", "/plugins/{name}/disable", plugin),
        ("POST", "/plugins/{name}/push", plugin),
        ("POST", "/plugins/{name}/set", plugin),
        ("POST", "/plugins/{name}/upgrade", plugin),
        ("DELETE", "/plugins/{name}", plugin),
    ]
    for what in _SWARM:
        routes += [
            ("GET", f"/{what}", manager_only),
            ("GET", f"/{what}/{{id}}", manager_only),
            ("GET", f"/{what}/{{id}}/logs", manager_only),
            ("POST", f"/{what}/create", manager_only),
            ("POST", f"/{what}/{{id}}/update", manager_only),
            ("DELETE", f"/{what}/{{id}}", manager_only),
        ]
    for method, pattern, handler in routes:
        router.route(method, pattern)(handler)
