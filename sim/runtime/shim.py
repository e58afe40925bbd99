"""The shim: one small process for each container, which starts it, waits for it and says how it ended.

Decided here and only here: what happens to a container when somebody dies. A container that is attached dies with its
caller. The shim itself dies last, or takes the container with it (the kernel sends KILL to the first process then).
One process, one thread, forked from the zygote.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from dataclasses import dataclass

from sim.runtime import netlink, syscalls
from sim.runtime.channel import Channel
from sim.runtime.errors import ContainerError
from sim.runtime.launch import Launched, launch
from sim.runtime.rootless import write_mappings
from sim.runtime.spec import ProcessSpec

__all__ = ["Request", "serve"]


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asks of a shim, with the descriptors of the container's streams beside it.

    Attributes
    ----------
    spec
        The process.
    seccomp
        Compiled filter, empty for none.
    """

    spec: ProcessSpec
    seccomp: bytes


def serve(control: Channel) -> None:
    """Do what comes on a channel from the caller; return when all is over."""
    os.setsid()
    syscalls.set_subreaper()
    syscalls.set_name("layerlab-shim")
    try:
        request, descriptors = control.receive()
    except EOFError:
        return
    try:
        launched = _start(request, descriptors)
    except ContainerError as error:
        _tell(control, ("error", type(error).__name__, str(error)))
        return
    except Exception as error:
        _tell(control, ("error", "ContainerError", f"{type(error).__name__}: {error}"))
        return
    for descriptor in descriptors:
        os.close(descriptor)
    terminal = (launched.terminal,) if launched.terminal >= 0 else ()
    _tell(control, ("started", launched.pid), terminal)
    code = _watch(control, launched)
    _tell(control, ("exited", code))


def _tell(control: Channel, message: tuple[object, ...], descriptors: tuple[int, ...] = ()) -> None:
    with contextlib.suppress(OSError):
        control.send(message, descriptors)


def _start(request: Request, descriptors: list[int]) -> Launched:
    spec = request.spec
    streams = None if spec.terminal else (descriptors[0], descriptors[1], descriptors[2])

    def outside(what: str, pid: int) -> None:
        if what == "map":
            write_mappings(pid, spec.uid_map, spec.gid_map)
        elif what == "network" and spec.interfaces:
            namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
            for number, interface in enumerate(spec.interfaces):
                host_name = interface.host_name or f"ve{pid}x{number}"
                netlink.add_pair(host_name, interface.bridge, interface.name, namespace, interface.mac)
            os.close(namespace)

    return launch(spec, request.seccomp, streams, {}, outside)


def _watch(control: Channel, launched: Launched) -> int:
    """Wait for the container's end while the caller may send signals; return its exit status."""
    process = os.pidfd_open(launched.pid)
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.register(control, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if process in ready:
            break
        if control.fileno() in ready:
            try:
                message, _ = control.receive()
            except EOFError:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                poll.unregister(control)
                continue
            if message[0] == "signal":
                with contextlib.suppress(OSError):
                    signal.pidfd_send_signal(process, message[1])
    os.close(process)
    _, status = os.waitpid(launched.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
