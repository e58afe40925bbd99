"""What is made outside of a container for it: control groups, network; and taken away after it.

Decided here and only here: the request that a shim gets, and what its container costs the host. Used by the shim, which
has one thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import dataclass, field, replace

from sim.runtime import netlink
from sim.runtime.cgroups import ControlGroup, Layout
from sim.runtime.devices import device_rules
from sim.runtime.errors import ContainerError, UnsupportedError
from sim.runtime.join import join
from sim.runtime.launch import launch
from sim.runtime.log import LogOptions
from sim.runtime.maker import Launched
from sim.runtime.ports import Listener, bind_ports, serve_ports
from sim.runtime.rootless import write_mappings
from sim.runtime.spec import Mapping, Port, ProcessSpec
from sim.runtime.usernet import ADDRESS, start_user_network

__all__ = ["Request", "World"]

_MKNOD = 1 << 27


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks of a shim, with the descriptors of the process's streams beside it.

    Attributes
    ----------
    spec
        The process.
    seccomp
        Compiled filter, empty for none.
    directory
        Where a container's shim keeps its state and its socket; "" for a process that dies with its caller.
    log
        Of a container.
    stdin
        Of a container: "none", "open", or "once", which closes it when the first that was attached lets go.
    target, target_start, cgroups
        For a process in a running container: its first process, and its control groups.
    lives
        Whether a process in a running container goes on when the caller dies.
    """

    spec: ProcessSpec
    seccomp: bytes
    directory: str = ""
    log: LogOptions = field(default_factory=LogOptions)
    stdin: str = "none"
    target: int = 0
    target_start: int = 0
    cgroups: dict[str, str] = field(default_factory=dict)
    lives: bool = False


class World:
    """What is made outside of a container for it, and taken away after it: control groups and network."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.warnings: list[str] = []
        self.group: ControlGroup | None = None
        self.ports: tuple[Port, ...] = ()
        self.published = ""
        self._address = ""
        self._listeners: list[Listener] = []
        self._helpers: list[int] = []

    def start(self, streams: tuple[int, int, int] | None, size: tuple[int, int] = (0, 0)) -> Launched:
        """Start the process; nothing of it is left where that fails."""
        request = self.request
        if request.target:
            spec, target, start = request.spec, request.target, request.target_start
            return join(spec, request.seccomp, streams, target, start, request.cgroups)
        spec = self._limited(request.spec)
        if any(size):
            spec = replace(spec, terminal_size=size)
        directories = self.group.directories if self.group else {}
        try:
            if spec.ports and spec.namespaces.network in ("new", "user"):
                self._listeners = bind_ports(spec.ports)
                self.ports = tuple(listener.port for listener in self._listeners)
            launched = launch(spec, request.seccomp, streams, directories, self._outside)
            if self._listeners:
                self._publish(spec, launched.pid)
            return launched
        except BaseException:
            self.finish()
            raise

    def _limited(self, spec: ProcessSpec) -> ProcessSpec:
        """Make the control groups; where nothing can hold it from the host's devices, it may make no nodes."""
        name = spec.cgroup or f"layerlab/shim-{os.getpid()}"
        asked = spec.limits != type(spec.limits)()
        try:
            group = ControlGroup(name, Layout.of_machine())
            if group.places:
                self.warnings += group.create(spec.limits, None if spec.privileged else device_rules(spec))
                self.group = group
        except UnsupportedError as error:
            if asked:
                self.warnings.append(f"limits are discarded: {error}")
        if self.group is None and asked and not self.warnings:
            self.warnings.append("limits are discarded: this machine has no control groups")
        held = self.group is not None and self.group.holds_devices
        if held or spec.privileged or spec.namespaces.user != "host" or not spec.capabilities & _MKNOD:
            return spec
        self.warnings.append("no control group holds devices here: the container may not make device nodes")
        return replace(spec, capabilities=spec.capabilities & ~_MKNOD)

    def _publish(self, spec: ProcessSpec, pid: int) -> None:
        address, address6 = "127.0.0.1" if spec.namespaces.network == "new" else ADDRESS, ""
        if spec.interfaces:
            address, address6 = (
                each.partition("/")[0] for each in (spec.interfaces[0].address, spec.interfaces[0].address6)
            )
        first = os.pidfd_open(pid)
        try:
            joined = -1 if spec.interfaces else first
            self._helpers.append(serve_ports(self._listeners, address, joined, address6=address6))
        finally:
            os.close(first)
            self._listeners = []
        if spec.interfaces:
            from sim.runtime import firewall  # most containers publish nothing

            try:
                firewall.publish(str(os.getpid()), spec.interfaces[0].bridge, address, self.ports)
                self.published, self._address = str(os.getpid()), address
            except ContainerError:  # without such rules the process that was just forked passes everything on
                firewall.unpublish(str(os.getpid()))

    def _outside(self, what: str, pid: int, namespaces: list[int]) -> None:
        spec = self.request.spec
        if what == "map":
            users, groups = (
                tuple(Mapping(each.outside, each.outside, each.count) for each in maps)
                for maps in (spec.uid_map, spec.gid_map)
            )
            write_mappings(pid, users, groups)
        elif what == "network" and spec.namespaces.network == "user":
            self._helpers += start_user_network(*namespaces)
        elif what == "network" and spec.interfaces:
            try:
                for number, interface in enumerate(spec.interfaces):
                    host_name = interface.host_name or f"ve{pid}x{number}"
                    netlink.add_pair(
                        host_name, interface.bridge, interface.name, namespaces[0], interface.mac, interface.mtu
                    )
            except OSError as error:
                raise ContainerError(f"cannot plug the container into {interface.bridge}: {error.strerror}") from error

    def finish(self) -> bool:
        """Take all away; return whether the container ran out of memory."""
        for listener in self._listeners:
            listener.socket.close()
        for helper in self._helpers:
            with contextlib.suppress(OSError):
                os.kill(helper, signal.SIGKILL)
                os.waitpid(helper, 0)
        self._helpers = []
        if self.published:
            from sim.runtime import conntrack, firewall

            firewall.unpublish(self.published)
            conntrack.forget_datagrams(self._address, self.ports)
        if self.group is None:
            return False
        oom = self.group.out_of_memory()
        self.group.kill()  # in a pid namespace of its own everything is dead by now; in the host's it is not
        self.group.remove()
        return oom
