"""A way to the outside for a container of an ordinary user: slirp4netns, or pasta where that is not installed.

Decided here and only here: which tool is used and with what it is started. Either is a whole network stack in a process
of the user's, which reads and writes the container's interface `tap0`, and answers as gateway and as name server; it
ends with the shim. The addresses inside are the same with both. Used by the shim.
"""

from __future__ import annotations

import os
import select
import shutil
import signal

from fusefs.title import set_title
from sim.runtime import syscalls
from sim.runtime.errors import UnsupportedError

__all__ = ["ADDRESS", "NAME_SERVER", "start_user_network", "user_network_fault"]

#: What the container has; the gateway is 10.0.2.2.
ADDRESS = "10.0.2.100"
NAME_SERVER = "10.0.2.3"

_TOOLS = ("slirp4netns", "pasta")
_INSTEAD = "use the network none or host"
_PATIENCE = 10_000  #: milliseconds


def user_network_fault() -> str:
    """Return why a container of an ordinary user can have no way to the outside here; "" where it can."""
    tool = _tool()
    if tool is None:
        return f"there is neither slirp4netns nor pasta: install one, or {_INSTEAD}"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        text = f"/dev/net/tun cannot be opened ({(error.strerror or '').lower()}), which {tool} needs"
        return f"{text}: {_INSTEAD}"
    return ""


def _tool() -> str | None:
    return next((tool for tool in _TOOLS if shutil.which(tool) is not None), None)


def start_user_network(network: int, users: int) -> list[int]:
    """Start the tool on a network namespace and wait until the interface is there; return its processes.

    Parameters
    ----------
    network, users
        Descriptors of the network namespace, and of the user namespace that it belongs to.

    Raises
    ------
    UnsupportedError
        No tool is installed, or it cannot work here.
    """
    if fault := user_network_fault():
        raise UnsupportedError(fault)
    tool = _tool() or _TOOLS[0]
    ready, tell = os.pipe()
    alive, hold = os.pipe()  # `hold` stays open: the tool ends when this process does
    child = os.fork()
    if child == 0:
        _become(tool, network, users, tell, alive)
    os.close(tell)
    poll = select.poll()
    poll.register(ready, select.POLLIN)
    works = bool(poll.poll(_PATIENCE)) and bool(os.read(ready, 1))
    os.close(ready)
    if not works:
        os.close(hold)
        os.close(alive)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise UnsupportedError(f"{tool} cannot make the container's interface: {_INSTEAD}")
    helpers = [child] if tool == "slirp4netns" else [child, _watch(child, alive, hold)]
    os.close(alive)
    return helpers


def _become(tool: str, network: int, users: int, tell: int, alive: int) -> None:
    """Be the tool: it writes to `tell` when ready, and ends, if it can, when `alive` has no other end any more."""
    try:
        syscalls.set_death_signal(signal.SIGKILL)
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # pasta takes one that is ignored for a failure to ignore it
        for each in (tell, alive, users, network):
            os.set_inheritable(each, True)
        for each in (1, 2):
            os.dup2(os.open("/dev/null", os.O_WRONLY), each)
        of_users, of_network = f"/proc/self/fd/{users}", f"/proc/self/fd/{network}"
        if tool == "slirp4netns":
            words = [
                "--configure",
                "--mtu=65520",
                "--disable-host-loopback",
                f"--ready-fd={tell}",
                f"--exit-fd={alive}",
            ]
            words += [f"--userns-path={of_users}", "--netns-type=path", of_network, "tap0"]
        else:
            words = ["--foreground", "--quiet", "--config-net", "--ipv4-only", "--no-map-gw", "--ns-ifname=tap0"]
            words += [f"--address={ADDRESS}", "--netmask=24", "--gateway=10.0.2.2", f"--dns-forward={NAME_SERVER}"]
            words += [word for kind in ("tcp-ports", "udp-ports", "tcp-ns", "udp-ns") for word in (f"--{kind}", "none")]
            words += [f"--pid=/proc/self/fd/{tell}", "--no-netns-quit", f"--userns={of_users}", f"--netns={of_network}"]
        os.execv(shutil.which(tool) or tool, [tool, *words])
    finally:
        os._exit(1)


def _watch(child: int, alive: int, hold: int) -> int:
    """Return a process that kills another one when this one ends: pasta, in its own user namespace, heeds no signal."""
    process = os.pidfd_open(child)
    watcher = os.fork()
    if watcher == 0:
        try:
            os.close(hold)
            set_title("layerlab-watch", str(child))
            poll = select.poll()
            for each in (process, alive):
                poll.register(each, select.POLLIN)
            poll.poll()
            signal.pidfd_send_signal(process, signal.SIGKILL)
        finally:
            os._exit(0)
    os.close(process)
    return watcher
