"""Bringing a container's first process to life: namespaces in the right order, from the outside and from the inside.

Decided here and only here: which process makes which namespace and who waits for whom. Three processes with one thread
each take part, all forked and never started afresh:

    shim ──fork──> maker ──fork──> first
                   user namespace   mount, uts, ipc, network, cgroup namespaces; root filesystem; exec
                   pid namespace    (it is process 1 there)
                   ends at once

The shim is a subreaper, so the first process becomes its child when the maker ends. It learns the first process's
number, gives what only the outside can (number mappings, network), says go, and waits until the channel closes by the
exec, or brings an error. All modules are imported before the fork: afterwards the import system is taken apart, so
that nothing of an image is ever run by it (CVE-2019-14271).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from sim.runtime import syscalls
from sim.runtime.become import become
from sim.runtime.channel import Channel, pair
from sim.runtime.errors import ContainerError, UnsupportedError, by_name
from sim.runtime.netlink import configure_inside, loopback_up
from sim.runtime.reaper import run_as_init
from sim.runtime.rootfs import Rootfs
from sim.runtime.spec import ProcessSpec
from sim.runtime.terminal import open_container_terminal

__all__ = ["Launched", "enter_cgroups", "guarded", "launch", "settle_streams"]

_FLAGS = {
    "user": syscalls.CLONE_NEWUSER,
    "pid": syscalls.CLONE_NEWPID,
    "network": syscalls.CLONE_NEWNET,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
    "cgroup": syscalls.CLONE_NEWCGROUP,
}


@dataclass(frozen=True, slots=True)
class Launched:
    """A container's first process: its number seen from outside, and the master end of its terminal, or -1."""

    pid: int
    terminal: int


def launch(
    spec: ProcessSpec,
    seccomp: bytes,
    streams: tuple[int, int, int] | None,
    cgroups: dict[str, str],
    outside: Callable[[str, int, list[int]], None],
) -> Launched:
    """Start a container's first process and return once it has become the command.

    Parameters
    ----------
    spec
        The process and its world.
    seccomp
        Compiled filter; empty for none.
    streams
        Descriptors for its standard input, output and error; None with a terminal.
    cgroups
        The container's control groups, as `Rootfs` takes them; the process is put into them first of all.
    outside
        Called with ("map", pid, []) once a user namespace waits for its mappings, and with ("network", pid, [network,
        users]) once the network namespace is there; the descriptors are those of the namespaces.

    Raises
    ------
    ContainerError
        Of the kind that says why it did not start. Nothing is left running then.
    """
    here, there = pair()
    maker = os.fork()
    if maker == 0:
        here.close()
        guarded(there, lambda: _make(spec, seccomp, streams, cgroups, there))
    there.close()
    first, terminal = 0, -1
    try:
        while True:
            try:
                message, descriptors = here.receive()
            except EOFError:
                if not first:
                    raise ContainerError("the process that makes the namespaces ended without a word") from None
                return Launched(first, terminal)
            if message[0] == "error":
                raise by_name(message[1], message[2])
            if message[0] == "first":
                first = message[1]
                os.waitpid(maker, 0)  # from here on the first process is our child, and dies with us
                enter_cgroups(first, cgroups)
                here.send("go")
            elif message[0] == "terminal":
                terminal = descriptors[0]
            else:
                try:
                    outside(message[0], maker if message[0] == "map" else first, descriptors)
                finally:
                    for each in descriptors:
                        os.close(each)
                here.send("go")
    except BaseException:
        if terminal >= 0:
            os.close(terminal)
        for process in (maker, first):
            if process:
                with contextlib.suppress(OSError):
                    os.kill(process, signal.SIGKILL)
                    os.waitpid(process, 0)
        raise
    finally:
        here.close()
        with contextlib.suppress(ChildProcessError):
            os.waitpid(maker, 0)


def enter_cgroups(pid: int, cgroups: dict[str, str]) -> None:
    """Put a process into control groups; it alone, so that a limit of one process is one process."""
    for path in cgroups.values():
        try:
            with open(f"{path}/cgroup.procs", "w") as file:
                file.write(str(pid))
        except OSError as error:
            raise ContainerError(f"cannot enter the control group {path}: {error.strerror}") from error


def guarded(channel: Channel, work: Callable[[], None]) -> None:
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


def _make(
    spec: ProcessSpec,
    seccomp: bytes,
    streams: tuple[int, int, int] | None,
    cgroups: dict[str, str],
    channel: Channel,
) -> None:
    """Be the maker: the user and the pid namespace, and the first process in them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _set_oom_score(spec.oom_score_adj)
    mapped = spec.namespaces.user != "host"
    rootfs = Rootfs(spec, mapped=mapped, cgroups=cgroups)
    if mapped and os.geteuid() == 0:
        rootfs.hold()
    if mapped:
        _enter("user", spec.namespaces.user)
        if spec.namespaces.user == "new":
            _ask(channel, "map")
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)
        with contextlib.suppress(PermissionError):
            os.setgroups([])
    _enter("pid", spec.namespaces.pid)
    first = os.fork()
    if first:
        channel.send(("first", first))
        return
    channel.receive()  # the shim is this process's parent from here on
    _furnish(spec, seccomp, streams, cgroups, channel, rootfs)


def _enter(kind: str, wish: str) -> None:
    """Make, keep or join one namespace."""
    if wish == "host":
        return
    try:
        if wish in ("new", "user"):
            syscalls.unshare(_FLAGS[kind])
            return
        descriptor = os.open(wish, os.O_RDONLY | os.O_CLOEXEC)
        syscalls.setns(descriptor, _FLAGS[kind])
        os.close(descriptor)
    except OSError as error:
        what = "make a new" if wish == "new" else f"join {wish} as"
        raise UnsupportedError(
            f"this machine does not let the caller {what} {kind} namespace: {error.strerror}"
        ) from error


def _ask(channel: Channel, what: str, *names: str) -> None:
    """Have something done outside, which gets descriptors of this process's namespaces of these names."""
    namespaces = [os.open(f"/proc/self/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in names]
    channel.send((what,), tuple(namespaces))
    for each in namespaces:
        os.close(each)
    channel.receive()


def _furnish(
    spec: ProcessSpec,
    seccomp: bytes,
    streams: tuple[int, int, int] | None,
    cgroups: dict[str, str],
    channel: Channel,
    rootfs: Rootfs,
) -> None:
    """Be the first process: the other namespaces, the root filesystem, and then the command."""
    os.setsid()
    syscalls.set_dumpable(False)  # no process of the container may look at this one, which still has the host's files
    wishes = spec.namespaces
    for kind, wish in (("network", wishes.network), ("ipc", wishes.ipc), ("uts", wishes.uts)):
        _enter(kind, wish)
    if wishes.cgroup == "new" or (wishes.cgroup == "auto" and "" in cgroups):
        _enter("cgroup", "new")
    syscalls.unshare(syscalls.CLONE_NEWNS)
    _ask(channel, "network", "net", "user")
    if wishes.network in ("new", "user"):
        loopback_up()
        configure_inside(spec.interfaces)
    if wishes.uts == "new":  # or it would be the name of the host that is set
        if spec.hostname:
            socket.sethostname(spec.hostname)
        if spec.domainname:
            syscalls.set_domain_name(spec.domainname)
    syscalls.new_session_keyring()
    os.umask(0)
    sys.meta_path.clear()
    sys.path_hooks.clear()
    rootfs.enter()
    rootfs.furnish()
    if spec.terminal:
        streams = open_container_terminal(channel, spec.terminal_size)
        rootfs.mount_console(streams[0])
    assert streams is not None
    settle_streams(streams, channel)
    if spec.init:
        run_as_init(spec, seccomp, channel)
    else:
        become(spec, seccomp, signal.SIGKILL)


def settle_streams(streams: tuple[int, int, int], channel: Channel) -> None:
    """Make the streams descriptors 0, 1 and 2, the channel 3, and close whatever else is open (CVE-2024-21626)."""
    for number, stream in enumerate([os.dup(each) for each in streams]):
        os.dup2(stream, number)
    if channel.fileno() != 3:
        place = os.dup2(channel.fileno(), 3, inheritable=False)
        channel.socket.detach()
        channel.socket = socket.socket(fileno=place)
    syscalls.close_from(4)


def _set_oom_score(wish: int) -> None:
    if not wish:
        return
    with contextlib.suppress(PermissionError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(wish))
