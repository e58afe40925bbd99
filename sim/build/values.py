"""What a build is asked for, what it tells and what comes of it: frozen values, any thread.

Decided here and only here: the fields of `POST /build`, by names of our own, and the kinds of messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sim.images.progress import Progress
from sim.runtime.spec import Limits, Rlimit

__all__ = ["BuildMessage", "BuildOptions", "BuildResult", "MessageKind", "Output"]


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What `POST /build` carries.

    Attributes
    ----------
    dockerfile
        Path of the Dockerfile in the context.
    tags
        Names for the image.
    buildargs
        Values for ARG; None stands for "named, and not set".
    labels
        Labels on the last stage.
    nocache
        Whether every step is done anew.
    cachefrom
        Images whose history may serve as cache; only builds that descend from one of them do then.
    rm, forcerm
        Whether intermediate containers are removed, after success or always.
    quiet
        Whether nothing but the image's ID is told, unless the build fails.
    squash
        Whether the layers of the build become one.
    target
        Name or number of the stage to stop at; empty for the last.
    pull
        Whether base images are fetched although they are there.
    platform
        For which platform (`linux/amd64`); empty for this machine's.
    limits
        What a RUN may use.
    network
        The network of a RUN: "default", "none", "host" or one that the runner knows.
    extra_hosts
        More lines of /etc/hosts, `name:address`.
    shm_size
        Bytes of /dev/shm; 0 for the runner's own.
    ulimits
        Resource limits of a RUN.
    cgroup_parent
        Control group that a RUN's is made in.
    security
        Words of `--security-opt`.
    remote
        Where the context is to be fetched from: URL of a tar or of a Dockerfile, or of a git repository.
    credentials
        By registry; for the runner.
    epoch
        Seconds since 1970 that nothing in the image is later than (SOURCE_DATE_EPOCH); None takes it from the build
        argument or the environment variable of that name.
    """

    dockerfile: str = "Dockerfile"
    tags: tuple[str, ...] = ()
    buildargs: Mapping[str, str | None] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    nocache: bool = False
    cachefrom: tuple[str, ...] = ()
    rm: bool = True
    forcerm: bool = False
    quiet: bool = False
    squash: bool = False
    target: str = ""
    pull: bool = False
    platform: str = ""
    limits: Limits = field(default_factory=Limits)
    network: str = "default"
    extra_hosts: tuple[str, ...] = ()
    shm_size: int = 0
    ulimits: tuple[Rlimit, ...] = ()
    cgroup_parent: str = ""
    security: tuple[str, ...] = ()
    remote: str = ""
    credentials: Mapping[str, object] = field(default_factory=dict)
    epoch: int | None = None


class MessageKind(StrEnum):
    """What a message is, by the names of the fields of Docker's JSON lines."""

    STREAM = "stream"
    STATUS = "status"
    AUX = "aux"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class BuildMessage:
    """One thing that a build tells.

    Attributes
    ----------
    text
        Of a `STREAM`, the text as it is printed; of an `AUX`, the image's ID; of an `ERROR`, why.
    code
        Of an `ERROR`: the command's exit status, or None.
    progress
        Of a `STATUS`: how a pull or a download goes.
    """

    kind: MessageKind
    text: str = ""
    code: int | None = None
    progress: Progress | None = None


Output = Callable[[BuildMessage], object]


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What came of a build.

    Attributes
    ----------
    image
        ID of the image.
    base
        ID of the image that the last stage was built on; empty for `scratch`.
    tags
        The names that it was given, in full.
    steps, cached
        How many steps were done, and how many of them came from the cache.
    seconds
        How long it took.
    """

    image: str
    base: str = ""
    tags: tuple[str, ...] = ()
    steps: int = 0
    cached: int = 0
    seconds: float = 0.0
