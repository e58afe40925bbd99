"""Bringing a container's first process to life: namespaces in the right order, from the outside and from the inside.

Decided here and only here: which process makes which namespace and who waits for whom. Three processes with one thread
each take part, all forked and never started afresh:

    shim ──fork──> maker ──fork──> first
                   user namespace   mount, uts, ipc, network, cgroup namespaces; root filesystem; exec
                   pid namespace    (it is process 1 there)
                   ends at once

In a user namespace of its own a container may have every capability, and with them could undo what is read-only or
masked. So its user namespace is made inside of another, in which the numbers are those outside, and the mounts are made
from there; when the mount namespace is then copied into the inner one, the kernel locks each mount as it is
(mount_namespaces(7)):

    shim ──fork──> maker ────────────fork──> between ──fork──> first
                   outer user namespace      inner one         uts, ipc, network, cgroup namespaces of the inner one
                   mount namespace           pid namespace     says that they are there
                   ──fork──> furnisher       ends at once
                             in the first's namespaces, with the outer's rights: root filesystem; ends
                   ends                                        a copy of the mount namespace, for the inner one; exec

What only the outside can give (number mappings, network) is asked for in the conversation that `maker.py` holds. All
modules are imported before the fork: afterwards the import system is taken apart, so
that nothing of an image is ever run by it (CVE-2019-14271).
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys

from sim.runtime import syscalls
from sim.runtime.become import become
from sim.runtime.channel import Channel, pair
from sim.runtime.errors import UnsupportedError
from sim.runtime.maker import Doors, Launched, Outside, begin, make, settle_streams
from sim.runtime.netlink import configure_inside, loopback_up
from sim.runtime.reaper import run_as_init
from sim.runtime.rootfs import Rootfs
from sim.runtime.spec import ProcessSpec, number_outside
from sim.runtime.terminal import open_container_terminal

__all__ = ["launch"]

_FLAGS = {
    "user": syscalls.CLONE_NEWUSER,
    "pid": syscalls.CLONE_NEWPID,
    "network": syscalls.CLONE_NEWNET,
    "ipc": syscalls.CLONE_NEWIPC,
    "uts": syscalls.CLONE_NEWUTS,
    "cgroup": syscalls.CLONE_NEWCGROUP,
}


def launch(
    spec: ProcessSpec,
    seccomp: bytes,
    streams: tuple[int, int, int] | None,
    cgroups: dict[str, str],
    outside: Outside,
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
    return make(lambda channel, doors: _make(spec, seccomp, streams, cgroups, channel, doors), cgroups, outside)


def _make(
    spec: ProcessSpec,
    seccomp: bytes,
    streams: tuple[int, int, int] | None,
    cgroups: dict[str, str],
    channel: Channel,
    doors: Doors,
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
        _make_within(spec, seccomp, streams, cgroups, channel, doors, rootfs)
        return
    if mapped:
        _be(0, 0)
    if _fork_first(spec, channel):
        return
    begin(channel, doors)
    _furnish(spec, seccomp, streams, cgroups, channel, rootfs)


def _make_within(
    spec: ProcessSpec,
    seccomp: bytes,
    streams: tuple[int, int, int] | None,
    cgroups: dict[str, str],
    channel: Channel,
    doors: Doors,
    rootfs: Rootfs,
) -> None:
    """Be the maker in the outer user namespace: give the container an inner one, and make its mounts from here."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    root = number_outside(spec.uid_map, 0), number_outside(spec.gid_map, 0)
    here, there = pair()
    between = os.fork()
    if between == 0:
        here.close()
        _be(*root)
        _enter("user", "new")
        _ask(there, "map")
        _be(0, 0)
        if _fork_first(spec, there):
            os._exit(0)
        begin(channel, doors)
        _furnish(spec, seccomp, streams, cgroups, channel, rootfs, there)
    there.close()
    with contextlib.suppress(EOFError):  # who was at the other end has told the shim why, before it ended
        here.receive()
        for kind, maps in (("uid_map", spec.uid_map), ("gid_map", spec.gid_map)):
            with open(f"/proc/{between}/{kind}", "w") as file:  # root's of the machine; next we are another
                file.write("".join(f"{each.inside} {each.outside} {each.count}\n" for each in maps))
        here.send("go")
        _be(*root)
        message, _ = here.receive()
        os.waitpid(between, 0)
        channel.send(("adopted", message[1]))
        _, namespaces = here.receive()
        for each in namespaces:
            syscalls.setns(each)
            os.close(each)
        furnisher = os.fork()
        if furnisher == 0:
            syscalls.set_dumpable(False)
            _import_nothing()
            os.umask(0)
            rootfs.enter()
            rootfs.furnish()
            os._exit(0)
        if os.waitpid(furnisher, 0)[1] == 0:
            here.send("go")


def _fork_first(spec: ProcessSpec, channel: Channel) -> bool:
    """Fork the first process, in its pid namespace, and tell its number; return whether this is not that process."""
    _enter("pid", spec.namespaces.pid)
    first = os.fork()
    if first:
        channel.send(("first", first))
    return bool(first)


def _be(user: int, group: int) -> None:
    """Be somebody of the user namespace that was just entered, in which this process can do all."""
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    with contextlib.suppress(PermissionError):
        os.setgroups([])


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
    furnisher: Channel | None = None,
) -> None:
    """Be the first process: the other namespaces, the root filesystem or another's that makes it, then the command."""
    os.setsid()
    syscalls.set_dumpable(False)  # no process of the container may look at this one, which still has the host's files
    wishes = spec.namespaces
    of_cgroups = "new" if wishes.cgroup == "new" or (wishes.cgroup == "auto" and "" in cgroups) else "host"
    for kind, wish in (("network", wishes.network), ("ipc", wishes.ipc), ("uts", wishes.uts), ("cgroup", of_cgroups)):
        _enter(kind, wish)
    if furnisher is None:
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
    _import_nothing()
    if furnisher is None:
        rootfs.enter()
        rootfs.furnish()
    else:
        own = {"pid": wishes.pid, "net": wishes.network, "ipc": wishes.ipc, "uts": wishes.uts, "cgroup": of_cgroups}
        _ask(furnisher, "furnish", *(name for name, wish in own.items() if wish != "host"))
        syscalls.unshare(syscalls.CLONE_NEWNS)
        rootfs.adopt()
    if spec.terminal:
        streams = open_container_terminal(channel, spec.terminal_size)
        rootfs.mount_console(streams[0])
    assert streams is not None
    settle_streams(streams, channel)
    if spec.init:
        run_as_init(spec, seccomp, channel)
    else:
        become(spec, seccomp, signal.SIGKILL)


def _import_nothing() -> None:
    sys.meta_path.clear()
    sys.path_hooks.clear()


def _set_oom_score(wish: int) -> None:
    if not wish:
        return
    with contextlib.suppress(PermissionError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(wish))
