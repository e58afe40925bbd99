"""What the commands mean: images, containers, volumes, networks, exec, events, pruning, disk usage.

`Engine` is one daemon's state and the operations on it, for the HTTP API and for tests; it knows nothing of HTTP. Every
error that a client caused is an `EngineError`, or one of the errors of the rooms below.

Importing this package is cheap: the command line asks `sim.engine.places` at each start.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.engine.engine import Engine
    from sim.engine.errors import (
        BadParameterError,
        ConflictError,
        EngineError,
        ForbiddenError,
        NotFoundError,
        NotModifiedError,
        UnavailableError,
    )

__all__ = [
    "BadParameterError",
    "ConflictError",
    "Engine",
    "EngineError",
    "ForbiddenError",
    "NotFoundError",
    "NotModifiedError",
    "UnavailableError",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{'engine' if name == 'Engine' else 'errors'}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
