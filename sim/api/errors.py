"""Which HTTP status an error has.

Decided here and only here, by the table below; the most particular class counts. What is not in it is a defect of the
program: its traceback goes to the log, and the client gets status 500 with its text.
"""

from __future__ import annotations

import logging
import os

import msgspec

from sim.api.exchange import Plain

__all__ = ["answer_to", "message_of", "status_of"]

#: Class -> status. Rooms whose modules may not be loaded are named, so that nothing is imported for its errors alone.
_STATUS: dict[tuple[str, str], int] = {
    ("sim.engine.errors", "NotFoundError"): 404,
    ("sim.engine.errors", "BadParameterError"): 400,
    ("sim.engine.errors", "ConflictError"): 409,
    ("sim.engine.errors", "NotModifiedError"): 304,
    ("sim.engine.errors", "ForbiddenError"): 403,
    ("sim.engine.errors", "UnauthorizedError"): 401,
    ("sim.engine.errors", "NotImplementedHereError"): 501,
    ("sim.engine.errors", "UnavailableError"): 503,
    ("sim.engine.errors", "EngineError"): 500,
    ("sim.api.exchange", "TooLargeError"): 413,
    ("sim.images.errors", "ReferenceError"): 400,
    ("sim.images.errors", "NotFoundError"): 404,
    ("sim.images.errors", "AmbiguousError"): 400,
    ("sim.images.errors", "ConflictError"): 409,
    ("sim.images.errors", "AuthenticationError"): 500,
    ("sim.images.errors", "SettingsError"): 400,
    ("sim.images.errors", "ImagesError"): 500,
    ("sim.runtime.errors", "InvalidSpecError"): 400,
    ("sim.runtime.errors", "UnknownUserError"): 400,
    ("sim.runtime.errors", "CommandNotFoundError"): 400,
    ("sim.runtime.errors", "CommandNotExecutableError"): 400,
    ("sim.runtime.errors", "NotRunningError"): 409,
    ("sim.runtime.errors", "UnsupportedError"): 501,
    ("sim.runtime.errors", "ContainerError"): 500,
    ("sim.build.errors", "DockerfileError"): 400,
    ("sim.build.errors", "BuildError"): 500,
    ("fusefs.errors", "FusefsError"): 500,
}

_log = logging.getLogger("layerlab.api")


def status_of(error: BaseException) -> int | None:
    """Return the status of an error; None for a defect of the program."""
    for kind in type(error).__mro__:
        status = _STATUS.get((kind.__module__, kind.__name__))
        if status is not None:
            return status
    return 500 if isinstance(error, OSError) else None


def message_of(error: BaseException) -> str:
    """Return the text that a client is shown."""
    if isinstance(error, OSError) and error.strerror:
        place = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes | os.PathLike) else ""
        return f"{place}: {error.strerror.lower()}" if place else error.strerror.lower()
    return str(error) or type(error).__name__


def answer_to(error: BaseException) -> Plain:
    """Return the answer that an error becomes."""
    status = status_of(error)
    if status is None:
        _log.error("a request failed for a defect of the program", exc_info=error)
        status = 500
    if status == 304:
        return Plain(b"", 304)
    return Plain(msgspec.json.encode({"message": message_of(error)}) + b"\n", status)
