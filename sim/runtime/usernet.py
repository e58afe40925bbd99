"""A way to the outside for a container of an ordinary user: slirp4netns or pasta.

Decided here and only here: which tool is used and with what it is started. Either is a whole network stack in a process
of the user's, which reads and writes the container's interface; it ends with the shim. Used by the shim.
"""

from __future__ import annotations

import os
import select
import shutil
import signal

from sim.runtime import syscalls
from sim.runtime.errors import UnsupportedError

__all__ = ["ADDRESS", "start_user_network", "user_network_fault"]

#: What slirp4netns gives the container; the gateway is 10.0.2.2 and a name server 10.0.2.3.
ADDRESS = "10.0.2.100"
_PATIENCE = 10_000  #: milliseconds


def user_network_fault() -> str:
    """Return why a container of an ordinary user can have no way to the outside here; "" where it can."""
    if shutil.which("slirp4netns") is None:
        return "there is no slirp4netns: install it, or use the network none or host"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        text = f"/dev/net/tun cannot be opened ({(error.strerror or '').lower()}), which slirp4netns needs"
        return f"{text}: use the network none or host"
    return ""


def start_user_network(network: int, users: int) -> int:
    """Start the tool on a network namespace and wait until the interface is there; return its process.

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
    tool = shutil.which("slirp4netns") or "slirp4netns"
    ready, tell = os.pipe()
    alive, hold = os.pipe()
    words = [tool, "--configure", "--mtu=65520", "--disable-host-loopback", f"--ready-fd={tell}", f"--exit-fd={alive}"]
    words += [f"--userns-path=/proc/self/fd/{users}", "--netns-type=path", f"/proc/self/fd/{network}", "tap0"]
    child = os.fork()
    if child == 0:
        try:
            syscalls.set_death_signal(signal.SIGKILL)
            for each in (tell, alive, users, network):
                os.set_inheritable(each, True)
            for each in (1, 2):
                os.dup2(os.open("/dev/null", os.O_WRONLY), each)
            os.execv(tool, words)
        finally:
            os._exit(1)
    os.close(tell)
    os.close(alive)
    poll = select.poll()
    poll.register(ready, select.POLLIN)
    works = bool(poll.poll(_PATIENCE)) and os.read(ready, 1) == b"1"
    os.close(ready)
    if not works:
        os.close(hold)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise UnsupportedError("slirp4netns cannot make the container's interface: use the network none or host")
    # `hold` stays open: the tool ends when this process does.
    return child
