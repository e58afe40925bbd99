"""The shim: one small process for each container, which starts it, minds its streams and says how it ended.

Decided here and only here: what happens to a container when somebody dies. What runs attached to its caller dies with
it. A container lives on without any caller, since its shim is its own; the shim itself dies last, or takes the
container with it (the kernel sends KILL to the first process then). One process, one thread, forked from the zygote.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal

from fusefs.title import set_title
from sim.runtime import syscalls
from sim.runtime.channel import Channel
from sim.runtime.errors import ContainerError
from sim.runtime.maker import Launched
from sim.runtime.minder import Minder
from sim.runtime.plug import PlugRequest, serve_plug
from sim.runtime.reaper import exit_status
from sim.runtime.resolver import ResolverRequest, serve_names
from sim.runtime.world import World

__all__ = ["serve"]


def serve(control: Channel) -> None:
    """Do what comes on a channel from the caller; return when all is over."""
    os.setsid()
    try:
        request, descriptors = control.receive()
    except EOFError:
        return
    if type(request).__name__ == "MountRequest":  # by name: its module is loaded where somebody mounts
        from sim.runtime.mounts import serve_mount

        serve_mount(request, control, descriptors)
    syscalls.set_subreaper()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)  # the machine going down stops containers, not what minds them
    if isinstance(request, ResolverRequest):
        serve_names(request, control)
        return
    if isinstance(request, PlugRequest):
        set_title("layerlab-plug", request.what, str(request.pid))
        serve_plug(request, control)
        return
    set_title("layerlab-shim", request.directory or (f"exec {request.target}" if request.target else "run"))
    streams = (descriptors[0], descriptors[1], descriptors[2]) if descriptors else None
    world = World(request)
    try:
        if request.directory:
            Minder(request.directory, request.log, request.stdin, request.spec.terminal, world).serve(control)
            return
        launched = world.start(streams)
    except ContainerError as error:
        control.tell(("error", type(error).__name__, str(error)))
        return
    except Exception as error:
        control.tell(("error", "ContainerError", f"{type(error).__name__}: {error}"))
        return
    for descriptor in descriptors:
        os.close(descriptor)
    terminal = (launched.terminal,) if launched.terminal >= 0 else ()
    control.tell(("started", launched.pid, world.warnings), terminal)
    for each in terminal:
        os.close(each)
    code = _watch(control, launched, request.lives)
    oom = world.finish()
    control.tell(("exited", code, oom))


def _watch(control: Channel, launched: Launched, lives: bool) -> int:
    """Wait for the process's end while the caller may send signals; return its exit status."""
    process = os.pidfd_open(launched.pid)
    poll = select.poll()
    poll.register(process, select.POLLIN)
    poll.register(control, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        if process in ready:
            break
        try:
            message, _ = control.receive()
        except EOFError:
            poll.unregister(control)
            if not lives:
                signal.pidfd_send_signal(process, signal.SIGKILL)
            continue
        with contextlib.suppress(OSError):
            if message[0] == "group":  # it is the leader of its own, and not reaped yet: the number is still its
                os.killpg(launched.pid, message[1])
            signal.pidfd_send_signal(process, message[1])
    os.close(process)
    return exit_status(launched.pid)
