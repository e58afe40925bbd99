"""Plugging a running container into one more bridge, and unplugging it.

Decided here and only here: how interfaces of a container change after its start. The work is done by a process forked
for it, which joins the container's network namespace and ends. Any thread may call.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from sim.runtime import netlink, syscalls
from sim.runtime.channel import Channel
from sim.runtime.errors import ContainerError, NotRunningError
from sim.runtime.spec import Interface
from sim.runtime.zygote import ask

__all__ = ["PlugRequest", "next_interface", "plug_in", "route_through", "serve_plug", "unplug"]


@dataclass(frozen=True, slots=True)
class PlugRequest:
    """Do something about an interface in the network namespace of a process: "plug", "unplug", "route" or "list"."""

    what: str
    pid: int
    interface: Interface


def plug_in(pid: int, interface: Interface) -> None:
    """Make an interface in the network namespace of a process, a port of a bridge (`network connect`).

    Raises
    ------
    ContainerError
        There is no such bridge, or the container has an interface of that name.
    """
    _ask(PlugRequest("plug", pid, interface))


def unplug(pid: int, name: str) -> None:
    """Remove an interface from the network namespace of a process (`network disconnect`)."""
    _ask(PlugRequest("unplug", pid, Interface("", "", name=name)))


def route_through(pid: int, interface: Interface) -> None:
    """Let what has no nearer route leave the network namespace of a process by an interface and its gateway."""
    _ask(PlugRequest("route", pid, interface))


def next_interface(pid: int) -> str:
    """Return the first name "eth0", "eth1" and so on that is free in the network namespace of a process."""
    names = _ask(PlugRequest("list", pid, Interface("", "")))
    return next(name for number in range(len(names) + 1) if (name := f"eth{number}") not in names)


def _ask(request: PlugRequest) -> list[str]:
    try:
        channel, answer, _ = ask(request)
    except (OSError, EOFError) as error:
        raise ContainerError("the process that was to change the container's network ended") from error
    channel.close()
    if answer[0] == "error":
        raise NotRunningError(answer[2]) if answer[1] == "NotRunningError" else ContainerError(answer[2])
    return list(answer[1])


def serve_plug(request: PlugRequest, control: Channel) -> None:
    """Be the process that does it."""
    try:
        control.tell(("done", _change(request)))
    except ContainerError as error:
        control.tell(("error", type(error).__name__, str(error)))
    except OSError as error:
        text = f"cannot {request.what} {request.interface.name}: {(error.strerror or '').lower()}"
        control.tell(("error", "ContainerError", text))


def _change(request: PlugRequest) -> list[str]:
    interface = request.interface
    try:
        namespace = os.open(f"/proc/{request.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NotRunningError("the container is not running") from error
    host_name = interface.host_name or f"ve{request.pid}x{interface.name[-6:]}"[:15]
    if request.what == "plug":
        netlink.add_pair(host_name, interface.bridge, interface.name, namespace, interface.mac, interface.mtu)
    syscalls.setns(namespace, syscalls.CLONE_NEWNET)
    os.close(namespace)
    if request.what == "plug":
        try:
            netlink.configure_inside((interface,))
        except BaseException:
            with contextlib.suppress(OSError):
                netlink.delete_link(interface.name)
            raise
    elif request.what == "route":
        netlink.add_default_routes(interface)
    elif request.what == "unplug":
        if netlink.find_link(interface.name) is None:
            raise ContainerError(f"the container has no interface {interface.name}")
        netlink.delete_link(interface.name)
    return [link.name for link in netlink.links()]
