"""What can go wrong between the command and an engine.

Failure
├── DaemonError          the engine refused; has its status code and its message
└── CannotConnectError   there is no engine, or it may not be spoken to
"""

from __future__ import annotations

from sim.cli.failure import Failure

__all__ = ["CannotConnectError", "DaemonError"]


class DaemonError(Failure):
    """The engine refused.

    Parameters
    ----------
    code
        The HTTP status.
    message
        What the engine said.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"Error response from daemon: {message}")
        self.code = code
        self.message = message


class CannotConnectError(Failure):
    """There is no engine, or it may not be spoken to."""
