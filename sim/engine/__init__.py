"""What the commands mean: images, containers, volumes, networks, exec, events, pruning, disk usage.

`Engine` is one daemon's state and the operations on it, for the HTTP API and for tests; it knows nothing of HTTP. Every
error that a client caused is an `EngineError`, or one of the errors of the rooms below.
"""

from __future__ import annotations

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
