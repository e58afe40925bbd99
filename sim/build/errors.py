"""The exceptions of the builder.

BuildError          base; its text is Docker's, in one line
├── DockerfileError     the Dockerfile or the request makes no sense: nothing was begun (HTTP 400)
├── CommandFailedError  a RUN ended with another status than 0, which is the build's `code`
└── CancelledError      whoever asked for it has gone
"""

from __future__ import annotations

__all__ = ["BuildError", "CancelledError", "CommandFailedError", "DockerfileError"]


class BuildError(Exception):
    """A build came to nothing.

    Attributes
    ----------
    code
        With what status the command line ends; None where Docker gives none.
    status
        HTTP status for a request to which nothing was answered yet.
    """

    status = 500

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class DockerfileError(BuildError):
    """The Dockerfile or the request makes no sense; nothing was begun."""

    status = 400


class CommandFailedError(BuildError):
    """A RUN ended with another status than 0."""


class CancelledError(BuildError):
    """Whoever asked for the build has gone."""
