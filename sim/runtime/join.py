"""Bringing one more process into a running container: all its namespaces, its control groups, its confinement.

Decided here and only here: how `exec` enters. Everything of the container is taken hold of first, by one pidfd, so
that a process number that was given anew in the meantime is not entered. The shim itself enters all namespaces, forks
the process there, and stays: a fork less to wait for than where a new container is made. It is not in the container's
pid namespace, which only its children are in, so no process of the container sees it; and neither it nor the process,
until that has become the command, can be looked into (CVE-2016-9962). The process holds no descriptor of the host's but
its streams.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys

from sim.runtime import syscalls
from sim.runtime.become import become
from sim.runtime.channel import Channel
from sim.runtime.errors import NotRunningError
from sim.runtime.maker import Doors, Launched, begin, fork_first, settle_streams
from sim.runtime.spec import ProcessSpec
from sim.runtime.stamp import process_start
from sim.runtime.terminal import open_container_terminal

__all__ = ["join"]

_KINDS = {
    "user": syscalls.CLONE_NEWUSER,
    "mnt": syscalls.CLONE_NEWNS,
    "pid": syscalls.CLONE_NEWPID,
    "net": syscalls.CLONE_NEWNET,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
    "cgroup": syscalls.CLONE_NEWCGROUP,
}


def join(
    spec: ProcessSpec,
    seccomp: bytes,
    streams: tuple[int, int, int] | None,
    target: int,
    start_time: int,
    cgroups: dict[str, str],
) -> Launched:
    """Start a process in a container and return once it has become the command.

    Parameters
    ----------
    spec
        What of it is about the process: command, environment, user, working directory, privileges, terminal.
    target, start_time
        The container's first process, and the time by which it is known from another with that number.
    cgroups
        The container's control groups.

    Raises
    ------
    ContainerError
        Of the kind that says why it did not start.
    """
    try:
        process = os.pidfd_open(target)
        if process_start(target) != start_time:
            raise ProcessLookupError
    except OSError as error:
        raise NotRunningError("the container is not running") from error
    try:
        doors = Doors.open(cgroups)
        _enter(process, target)
    finally:
        os.close(process)
    try:
        return fork_first(lambda channel, doors: _run(spec, seccomp, streams, channel, doors), doors)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        # Its first process has ended meanwhile, and the kernel forks nothing in a pid namespace without one.
        raise NotRunningError("the container is not running") from error


def _enter(process: int, target: int) -> None:
    """Enter a process's namespaces, the pid namespace as the one of children. There is no way back."""
    syscalls.set_dumpable(False)
    sys.meta_path.clear()  # nothing of the image is ever imported
    sys.path_hooks.clear()
    flags = 0
    for name, flag in _KINDS.items():
        with contextlib.suppress(FileNotFoundError):
            if os.stat(f"/proc/{target}/ns/{name}").st_ino != os.stat(f"/proc/self/ns/{name}").st_ino:
                flags |= flag
    try:
        syscalls.setns(process, flags)
    except OSError as error:
        raise NotRunningError(f"cannot join the container's namespaces: {error.strerror}") from error
    if flags & syscalls.CLONE_NEWUSER:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        with contextlib.suppress(PermissionError):
            os.setgroups([])
        syscalls.set_dumpable(False)


def _run(
    spec: ProcessSpec, seccomp: bytes, streams: tuple[int, int, int] | None, channel: Channel, doors: Doors
) -> None:
    begin(channel, doors)
    os.setsid()
    if spec.terminal:
        streams = open_container_terminal(channel, spec.terminal_size)
    assert streams is not None
    settle_streams(streams, channel)
    become(spec, seccomp, signal.SIGKILL)
