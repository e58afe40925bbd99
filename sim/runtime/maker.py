"""Bringing forth a container's process: who forks it, and what is said until it has become the command.

Decided here and only here: what shim, maker and first process say to each other, and in which order. The namespaces of
a new container are made by a process for that alone, the maker, which forks the first process and ends (`make`). The
shim is a subreaper, so the first process becomes its child then. A shim that is in the namespaces itself, as for an
exec, forks without one (`fork_first`). It learns the process's number, says go, has done outside what the process asks
for, and waits until the channel closes by the exec, or brings an error.

The process enters its control groups by itself, through files that were opened outside. For a process that moves
itself as a single thread the kernel does not stop all forks of the machine, which takes it up to tens of milliseconds
(kernel 5.2, `cgroup_procs_write_start`). Only in the unified hierarchy there is no such way, and the shim does it.

    maker to shim           ("map",) before the first process is there; ("first", its number), with which the maker
                            ends, or ("adopted", its number) where who forked it was another and has ended
    first process to shim   ("network",) and the like, each answered by a go; ("terminal",) with the descriptor
    either to shim          ("error", the name of an exception, its text), and nothing is left running
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType

from sim.runtime import syscalls
from sim.runtime.channel import Channel, pair
from sim.runtime.errors import ContainerError, by_name

__all__ = ["Doors", "Launched", "Outside", "Work", "begin", "fork_first", "make", "settle_streams"]

#: Does outside what the first process asks for: gets the word, the number of who asks, and descriptors.
Outside = Callable[[str, int, list[int]], None]


@dataclass(frozen=True, slots=True)
class Launched:
    """A container's process: its number seen from outside, and the master end of its terminal, or -1."""

    pid: int
    terminal: int


@dataclass(slots=True)
class Doors:
    """Files that lead into control groups, opened before any namespace hides them.

    Attributes
    ----------
    own
        Through these a process enters by itself.
    unified
        Through this one another puts it into the unified hierarchy; -1 for none.
    """

    own: list[int] = field(default_factory=list)
    unified: int = -1

    @classmethod
    def open(cls, cgroups: dict[str, str]) -> Doors:
        """Open those of a container's control groups, as `Rootfs` takes them."""
        doors = cls()
        try:
            for name, path in cgroups.items():
                if name:
                    doors.own.append(os.open(f"{path}/tasks", os.O_WRONLY | os.O_CLOEXEC))
                else:
                    doors.unified = os.open(f"{path}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            doors.close()
            raise ContainerError(f"cannot enter the control group {path}: {error.strerror}") from error
        return doors

    def enter(self) -> None:
        """Go in: the calling process alone, so that a limit of one process is one process."""
        for each in self.own:
            try:
                os.write(each, b"0")
            except OSError as error:
                raise ContainerError(f"cannot enter a control group: {error.strerror}") from error
        self.close()

    def put(self, pid: int) -> None:
        """Put another process where it cannot go by itself."""
        if self.unified >= 0:
            try:
                os.write(self.unified, b"%d" % pid)
            except OSError as error:
                raise ContainerError(f"cannot enter the unified control group: {error.strerror}") from error

    def close(self) -> None:
        """Let go of them."""
        for each in (*self.own, self.unified):
            if each >= 0:
                os.close(each)
        self.own, self.unified = [], -1


#: What the maker does, or a process that the shim forks, with its end of the channel and what `begin` takes.
Work = Callable[[Channel, Doors], None]


def make(work: Work, cgroups: dict[str, str], outside: Outside) -> Launched:
    """Fork the maker, and return once the first process has become the command.

    Parameters
    ----------
    work
        What the maker does; it sends the messages above. The first process calls `begin` first of all, and returns from
        it by the exec only.
    cgroups
        The control groups that the first process is put into before it goes on.
    outside
        Does what is asked for.

    Raises
    ------
    ContainerError
        Of the kind that says why it did not start. Nothing is left running then.
    """
    doors = Doors.open(cgroups)
    try:
        maker, channel = _forked(work, doors)
        return _attend(channel, doors, maker, 0, outside)
    finally:
        doors.close()


def fork_first(work: Work, doors: Doors) -> Launched:
    """Fork the process from the calling one, whose namespaces are those it shall have; return as `make` does.

    `work` is what it does: `begin`, and then the way to the exec.
    """
    try:
        first, channel = _forked(work, doors)
        return _attend(channel, doors, 0, first, None)
    finally:
        doors.close()


def _forked(work: Work, doors: Doors) -> tuple[int, Channel]:
    here, there = pair()
    process = os.fork()
    if process == 0:
        here.close()
        _guarded(there, lambda: work(there, doors))
    there.close()
    return process, here


def _attend(channel: Channel, doors: Doors, maker: int, first: int, outside: Outside | None) -> Launched:
    """Be the shim's side of the conversation with a maker, or with the first process where that is there already."""
    terminal = -1
    try:
        if first:
            doors.put(first)
            channel.tell("go")
        while True:
            try:
                message, descriptors = channel.receive()
            except EOFError:
                if not first:
                    raise ContainerError("the process that makes the namespaces ended without a word") from None
                return Launched(first, terminal)
            if message[0] == "error":
                raise by_name(message[1], message[2])
            if message[0] in ("first", "adopted"):
                first = message[1]
                doors.put(first)
                if message[0] == "first":
                    os.waitpid(maker, 0)
                    maker = 0
                channel.send("go")  # from here on the first process is our child, and dies with us
            elif message[0] == "terminal":
                terminal = descriptors[0]
            else:
                try:
                    if outside is not None:
                        outside(message[0], first or maker, descriptors)
                finally:
                    for each in descriptors:
                        os.close(each)
                channel.send("go")
    except BaseException:
        if terminal >= 0:
            os.close(terminal)
        _end({maker, first} - {0})
        raise
    finally:
        channel.close()
        if maker:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(maker, 0)


def _end(processes: set[int]) -> None:
    """Kill children and wait for them, and for orphans on the way: a pid namespace ends with the last one in it."""
    for each in processes:
        with contextlib.suppress(OSError):
            os.kill(each, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while processes:
            processes.discard(os.waitpid(-1, 0)[0])


def begin(channel: Channel, doors: Doors) -> None:
    """In the first process: wait until the shim is its parent, and go into the control groups."""
    channel.receive()
    doors.enter()


def _guarded(channel: Channel, work: Callable[[], None]) -> None:
    """Do the work of a forked child; whatever goes wrong is told to the parent, and the child ends here."""
    try:
        work()
        os._exit(0)
    except ContainerError as error:
        report = ("error", type(error).__name__, str(error))
    except BaseException as error:
        report = ("error", "ContainerError", f"{error} (at {_place(error.__traceback__)})")
    with contextlib.suppress(OSError):
        channel.send(report)
    os._exit(125)


def _place(trace: TracebackType | None) -> str:
    """Name the innermost step; the traceback module is of no use here, since it would look for sources."""
    place = "an unknown place"
    while trace is not None:
        place = f"{trace.tb_frame.f_globals['__name__']}.{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def settle_streams(streams: tuple[int, int, int], channel: Channel) -> None:
    """Make the streams descriptors 0, 1 and 2, the channel 3, and close whatever else is open (CVE-2024-21626)."""
    for number, stream in enumerate([os.dup(each) for each in streams]):
        os.dup2(stream, number)
    if channel.fileno() != 3:
        place = os.dup2(channel.fileno(), 3, inheritable=False)
        channel.socket.detach()
        channel.socket = socket.socket(fileno=place)
    syscalls.close_from(4)
