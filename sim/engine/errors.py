"""The exceptions of the engine.

Each text is what Docker's daemon says in that place, since clients show it and some read it:

    EngineError
    ├── NotFoundError        no such container, image, volume, network, exec
    ├── BadParameterError    a request that makes no sense
    ├── ConflictError        it makes sense, but not in the state that the thing is in
    ├── NotModifiedError     it is so already
    ├── ForbiddenError       it may not be done
    ├── UnauthorizedError    a registry does not know who asks
    ├── CancelledError       nobody waits for it any more
    ├── NotImplementedHereError   what this engine, or this machine, does not have
    └── UnavailableError     the engine cannot do it now

The HTTP status of each is decided in `sim.api.errors`. Values only, any thread.
"""

from __future__ import annotations

__all__ = [
    "NOT_A_MANAGER",
    "BadParameterError",
    "CancelledError",
    "ConflictError",
    "EngineError",
    "ForbiddenError",
    "NotFoundError",
    "NotImplementedHereError",
    "NotModifiedError",
    "UnauthorizedError",
    "UnavailableError",
]

#: What a node says that is in no swarm.
NOT_A_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and'
    " try again."
)


class EngineError(Exception):
    """Base of everything that the engine refuses or fails to do."""


class NotFoundError(EngineError):
    """Nothing has this name or ID."""


class BadParameterError(EngineError):
    """A request that makes no sense, whatever the state."""


class ConflictError(EngineError):
    """A request that the present state does not allow."""


class NotModifiedError(EngineError):
    """What was asked for is so already."""


class ForbiddenError(EngineError):
    """A request that is never allowed."""


class NotImplementedHereError(EngineError):
    """A request for something that this engine does not have."""


class UnavailableError(EngineError):
    """A request that cannot be met now."""


class UnauthorizedError(EngineError):
    """A registry does not take who asks for who they say they are."""


class CancelledError(EngineError):
    """What was asked for was given up, since nobody waits for it any more."""
