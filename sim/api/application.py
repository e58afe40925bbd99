"""All routes of the API together.

Decided here and only here: which collections there are, and in which order their routes are tried. Each collection is
a module of this package with a function `register(router, engine)`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from sim.api.router import Router

if TYPE_CHECKING:
    from sim.engine import Engine

__all__ = ["COLLECTIONS", "application"]

#: Modules of this package, in the order of their routes: names that may have slashes come after fixed ones.
COLLECTIONS = (
    "system",
    "containers",
    "attach",
    "archive",
    "execs",
    "volumes",
    "networks",
    "transfers",
    "images",
    "distribution",
    "build",
    "absent",
)


def application(engine: Engine) -> Router:
    """Return the routes of the API on an engine."""
    router = Router()
    for name in COLLECTIONS:
        import_module(f"sim.api.{name}").register(router, engine)
    return router
