"""The exceptions of the runtime, with the exit status that Docker gives each.

    ContainerError                  base; `code` is 125: the runtime itself failed
    ├── InvalidSpecError            a wish that contradicts itself or cannot be meant; nothing was made
    ├── UnsupportedError            something that this machine cannot do; nothing was pretended
    ├── UnknownUserError            no such user or group in the container's own files
    ├── NotRunningError             the container's process has ended, or never began
    ├── PortError                   a port cannot be published
    ├── CommandNotExecutableError   126: the command is there and cannot be run
    └── CommandNotFoundError        127: the command is not there

The texts after `exec:` are the words of runc and moby, since clients look for them.
"""

from __future__ import annotations

__all__ = [
    "CommandNotExecutableError",
    "CommandNotFoundError",
    "ContainerError",
    "InvalidSpecError",
    "NotRunningError",
    "PortError",
    "UnknownUserError",
    "UnsupportedError",
]


class ContainerError(Exception):
    """Base of what goes wrong with a container. The text names the thing and, where there is one, the mend.

    Attributes
    ----------
    code
        The exit status that `docker run` gives for it.
    """

    code = 125


class InvalidSpecError(ContainerError):
    """A wish that contradicts itself or cannot be meant; nothing was made."""


class UnsupportedError(ContainerError):
    """Something that this machine, kernel or user cannot do."""


class UnknownUserError(ContainerError):
    """A user or group that the container's /etc/passwd or /etc/group does not have."""


class NotRunningError(ContainerError):
    """The container's process has ended, or was never started."""


class PortError(ContainerError):
    """A port cannot be published.

    The text is what moby has after "driver failed programming external connectivity on endpoint NAME (ID): ", which
    the engine puts before it: it knows both.
    """


class CommandNotExecutableError(ContainerError):
    """The command is there and cannot be executed."""

    code = 126


class CommandNotFoundError(ContainerError):
    """The command is not there."""

    code = 127


def by_name(name: str, text: str) -> ContainerError:
    """Return the exception whose class has this name, as a started process reports it."""
    kinds: dict[str, type[ContainerError]] = {
        kind.__name__: kind for kind in (*ContainerError.__subclasses__(), ContainerError)
    }
    found: ContainerError = kinds.get(name, ContainerError)(text)
    return found
