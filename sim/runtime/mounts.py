"""Mounts whose serving process is forked from the zygote, and so costs a few milliseconds and shares its memory.

Decided here and only here: how a mount of `fusefs` gets a process from the runtime. `fusefs` knows nothing of it: it is
told what to start its process by. Any thread may call `fork_mount`; `serve_mount` runs in the forked process, which has
one thread until the driver starts its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusefs.mount import start_interpreter
from fusefs.serve import NAME, Request
from fusefs.title import set_title
from sim.runtime.channel import Channel
from sim.runtime.errors import ContainerError
from sim.runtime.spec import Mapping
from sim.runtime.zygote import ask

if TYPE_CHECKING:
    from fusefs.mapping import Presentation

__all__ = ["MountRequest", "fork_mount", "owners_within", "serve_mount"]


@dataclass(frozen=True, slots=True)
class MountRequest:
    """What a forked process is asked to serve; the descriptors for its answer and its messages come beside it."""

    request: Request


def fork_mount(request: Request, answer: int, log: int) -> int:
    """Fork a process that serves a mount and return its number; a `fusefs.mount.Starter`.

    The process lives on when the caller ends. The driver `fuse-python` needs packages that the prepared process does
    not have, and gets an interpreter of its own.

    Raises
    ------
    ContainerError
        There is no process to fork from.

    Examples
    --------
    As an engine mounts the layers of a container::

        mounted = fusefs.mount(Stack(lowers, upper, work), mountpoint, journal=journal, start=fork_mount)
        mounted.unmount()
    """
    if request.driver != "devfuse":
        return start_interpreter(request, answer, log)
    try:
        channel, said, _ = ask(MountRequest(request), (answer, log), "mount")
    except (OSError, EOFError) as error:
        raise ContainerError("the process that was to serve the mount ended before it began") from error
    channel.close()
    return int(said[1])


def owners_within(uid_map: Iterable[Mapping], gid_map: Iterable[Mapping]) -> Presentation:
    """Return how a mount shows its files to a container in a user namespace: as owned by who has that number inside.

    The layers stay as they are: root's files in an image are those of the container's root, and what that makes is
    root's in the RW layer. Without it a container whose root is somebody of /etc/subuid would find itself among files
    of nobody's.

    Examples
    --------
    >>> shown = owners_within([Mapping(0, 100000, 65536)], [Mapping(0, 100000, 65536)])
    >>> shown.users.shown(33), shown.users.stored(100033), shown.users.shown(70000)
    (100033, 33, 65534)
    """
    from fusefs.mapping import Ids, Presentation, Range, overflow_id

    users, groups = (
        Ids(tuple(Range(each.inside, each.outside, each.count) for each in maps), overflow=overflow_id(kind))
        for kind, maps in (("uid", uid_map), ("gid", gid_map))
    )
    return Presentation(users, groups)


def serve_mount(asked: MountRequest, control: Channel, descriptors: list[int]) -> None:
    """Serve a mount in this process and end it."""
    from fusefs.serve import serve_forked

    status = 1
    try:
        set_title(NAME, asked.request.mountpoint)
        control.tell(("serving", os.getpid()))
        control.close()
        status = serve_forked(asked.request, descriptors[0], descriptors[1])
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)
