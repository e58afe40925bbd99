"""What a build needs of the world around it: a process on a stack of layers, and images that are not there yet.

Decided here and only here: the protocol between builder and engine. `sim.build.local.LocalRunner` is the implementation
that an engine gives its own settings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sim.build.values import BuildOptions
from sim.images import Image, Progress, Reference

__all__ = ["LeftContainer", "RunRequest", "Runner"]


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A process that a RUN wants.

    Attributes
    ----------
    identity
        64 hexadecimal digits: the intermediate container.
    args, env, cwd, user
        As for `ProcessSpec`.
    layers
        The image's, topmost first.
    upper, work
        Directories of the RW layer; empty at first.
    place
        A directory for whatever else it needs; the builder removes it.
    volumes
        Paths at which the image declares volumes: what is written there is no part of the layer.
    files
        More files to be seen by the process, executable: path and content.
    options
        Limits, network and the like.
    """

    identity: str
    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    user: str
    layers: tuple[Path, ...]
    upper: Path
    work: Path
    place: Path
    volumes: tuple[str, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()
    options: BuildOptions = field(default_factory=BuildOptions)


@dataclass(frozen=True, slots=True)
class LeftContainer:
    """An intermediate container that a build leaves, since it failed in it or was asked to.

    Attributes
    ----------
    identity
        64 hexadecimal digits.
    image
        ID of the image that it is of; empty for none.
    settings
        Of that image, with the command of the step.
    started, finished
        When its process ran, in nanoseconds since the epoch; 0 where it had none.
    code
        Exit status of that.
    upper
        Its RW layer, which the builder removes or uses; None where nothing was written.
    """

    identity: str
    image: str
    settings: Mapping[str, Any]
    started: int = 0
    finished: int = 0
    code: int = 0
    upper: Path | None = None


class Runner(Protocol):
    """Runs processes and fetches images for a build; any thread may call."""

    def run(self, request: RunRequest, write: Callable[[int, bytes], object], cancelled: Callable[[], bool]) -> int:
        """Run a process to its end and return its exit status.

        Parameters
        ----------
        write
            Takes what it writes: 1 or 2, and the bytes.
        cancelled
            Asked now and then; once it says so the process is killed, and any status returned.

        Raises
        ------
        ContainerError
            It could not be started.
        """
        ...

    def leave(self, container: LeftContainer) -> None:
        """Keep an intermediate container, where there are containers beside those of builds."""
        ...

    def pull(self, reference: Reference, options: BuildOptions, tell: Callable[[Progress], object]) -> Image:
        """Fetch an image.

        Raises
        ------
        ImagesError
            It cannot be.
        """
        ...
