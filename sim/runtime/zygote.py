"""The zygote: a small prepared process from which every container's shim is forked.

Decided here and only here: how a process is started without forking the caller, which may have many threads, and
without starting an interpreter, which takes longer than all the rest. The caller starts one zygote and keeps a socket
to it; a byte and a descriptor on that socket make the zygote fork; the fork serves the channel that the descriptor
is. The byte says what the fork is for: before the first one that serves a mount, the zygote loads what that takes.
While nobody asks it forks one ahead, so that who asks next need not wait for that. The zygote ends when the caller
does. One that is killed takes with it what it had not forked yet: that is asked of the next (`ask`). One that is
stopped for longer than `_PATIENCE` is killed by who asks, with the same effect.

It runs from a copy of the interpreter that nothing can write to, so that a container that reaches its own
/proc/self/exe finds that copy, not the host's interpreter (CVE-2019-5736).

`Zygote` may be used by any thread; `main` runs in the zygote, which has one.
"""

from __future__ import annotations

import array
import atexit
import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fusefs.syscalls import release_memory
from fusefs.title import room, set_title
from sim.runtime import syscalls
from sim.runtime.channel import Channel, pair
from sim.runtime.errors import ContainerError

__all__ = ["Zygote", "ask", "end_zygote", "main", "start_zygote", "zygote"]

#: Seconds in which nobody asks, after which one is forked ahead: while many ask, that would only be in their way.
_CALM = 0.005

#: Seconds without an answer, after which who asks looks whether the zygote was stopped.
_PATIENCE = 3.0

#: What a fork may be for, and the byte that says so; the last one only has the zygote get ready for mounts.
_PURPOSES = {"shim": b"f", "mount": b"m", "prepare": b"p"}

_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from sim.runtime.zygote import main; main(int(sys.argv[2]))"
_SEALS = 0x1 | 0x2 | 0x4 | 0x8  # F_SEAL_SEAL, SHRINK, GROW, WRITE


class Zygote:
    """The caller's side: a prepared process and the way to have it fork."""

    def __init__(self) -> None:
        import subprocess  # only the caller needs it; the zygote stays small

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        executable = _sealed_interpreter()
        root = Path(__file__).resolve().parents[2]
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-S", "-c", _BOOT, os.fspath(root), str(theirs.fileno()), room()],
                executable=f"/proc/self/fd/{executable}",
                pass_fds=(theirs.fileno(), executable),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                env=_environment(),
            )
        except OSError as error:
            raise ContainerError(f"cannot start the process that containers are forked from: {error}") from error
        finally:
            os.close(executable)
            theirs.close()
        self._socket = ours
        self._owner = os.getpid()

    @property
    def pid(self) -> int:
        """Number of the zygote's process."""
        return self._process.pid

    @property
    def usable(self) -> bool:
        """Whether it is alive and belongs to this process, not to one that this was forked from.

        A killed one lets go of its end of the socket first, of what is on its way there then, and is a zombie last.
        """
        if self._owner != os.getpid():
            return False
        poll = select.poll()
        try:
            poll.register(self._socket, 0)
        except ValueError:  # another thread has found it dead, and closed it
            return False
        return not poll.poll(0) and self._process.poll() is None

    def fork(self, purpose: str = "shim") -> Channel:
        """Have a new process forked and return the channel to it.

        Parameters
        ----------
        purpose
            "shim", "mount", or "prepare": with the last the zygote gets ready for mounts and forks nothing.

        Raises
        ------
        OSError
            The zygote is gone.
        """
        ours, theirs = pair()
        try:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))
            self._socket.sendmsg([_PURPOSES[purpose]], [rights], socket.MSG_NOSIGNAL)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return ours

    def end_if_stopped(self) -> None:
        """Kill the zygote if a signal has stopped it: nobody may ever let it go on."""
        if self._owner == os.getpid():
            with contextlib.suppress(ChildProcessError):  # it has ended, and another thread has seen that
                if os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOHANG | os.WNOWAIT):
                    self._process.kill()

    def close(self) -> None:
        """End the zygote; what was forked from it goes on."""
        import subprocess

        self._socket.close()
        if self._owner == os.getpid():
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:  # somebody else has the socket too: a child that inherited everything
                self._process.kill()
                self._process.wait()


_lock = threading.Lock()
_current: Zygote | None = None


def zygote() -> Zygote:
    """Return this process's zygote; it is started at the first call, and again should it have died."""
    global _current
    with _lock:
        if _current is None or not _current.usable:
            if _current is None:
                atexit.register(end_zygote)
            else:
                _current.close()
            _current = Zygote()
        return _current


def ask(request: object, descriptors: tuple[int, ...] = (), purpose: str = "shim") -> tuple[Channel, Any, list[int]]:
    """Have a process forked and tell it what to do; return the channel to it, and its first answer with descriptors.

    Parameters
    ----------
    request, descriptors
        What it gets.
    purpose
        As in `Zygote.fork`.

    Raises
    ------
    OSError, EOFError
        It ended before it had answered.
    """
    asked = zygote()
    try:
        return _ask(asked, request, descriptors, purpose)
    except (OSError, EOFError):
        if asked.usable:
            raise
        return _ask(zygote(), request, descriptors, purpose)


def _ask(asked: Zygote, request: object, descriptors: tuple[int, ...], purpose: str) -> tuple[Channel, Any, list[int]]:
    channel = asked.fork(purpose)
    try:
        channel.send(request, descriptors)
        answer = select.poll()
        answer.register(channel, select.POLLIN)
        while not answer.poll(_PATIENCE * 1000):
            asked.end_if_stopped()
        return channel, *channel.receive()
    except BaseException:
        channel.close()
        raise


def start_zygote(*, mounts: bool = True) -> None:
    """Start this process's zygote before it is needed; with `mounts` also ready to serve them. Does not wait for it."""
    if mounts:
        zygote().fork("prepare").close()
    else:
        zygote()


def end_zygote() -> None:
    """End this process's zygote, if there is one; containers go on, and the next one that starts gets a new zygote."""
    global _current
    with _lock:
        if _current is not None:
            _current.close()
        _current = None


def _environment() -> dict[str, str]:
    """Return the caller's environment without what would make the interpreter another one."""
    found = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return found | {"PYTHONHASHSEED": "0"}  # so that the order of a listing is the same on every mount


def _sealed_interpreter() -> int:
    """Return a descriptor of the interpreter that can be executed, and through which it cannot be written."""
    path = os.path.realpath(sys.executable)
    try:
        tree = syscalls.clone_tree(path)
    except OSError:
        if not os.access(path, os.W_OK):  # it is another user's file: no process of ours could write to it anyhow
            return os.open(path, os.O_PATH | os.O_CLOEXEC)
        return _copy_interpreter(path)
    syscalls.tree_attributes(tree, syscalls.MOUNT_RDONLY, private=True)
    return tree


def _copy_interpreter(path: str) -> int:
    copy = os.memfd_create("layerlab", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(path, "rb") as source:
        while os.sendfile(copy, source.fileno(), None, 1 << 24):
            pass
    os.fchmod(copy, 0o500)
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, _SEALS)
    return copy


def main(number: int) -> None:
    """Be the zygote: fork for each byte that comes, until the caller is gone."""
    from sim.runtime.shim import serve

    connection = socket.socket(fileno=number)
    syscalls.close_from(number + 1)
    for each in range(3, number):
        with contextlib.suppress(OSError):
            os.close(each)
    os.dup2(1, 2)  # what the caller's error stream is must not be held open by a container that outlives it
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a shim ended
    set_title("layerlab-zygote")  # a fork shows it too until it has its own: nothing of the host's paths
    gc.disable()
    _settle()
    ready = False
    ahead: socket.socket | None = None
    while True:
        if ahead is None and not select.select([connection], [], [], _CALM)[0]:
            ahead = _fork(connection, serve)
        data, extra, _, _ = connection.recvmsg(1, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
        if not data:
            return
        descriptor = array.array("i", extra[0][2])[0]
        if data != _PURPOSES["shim"] and not ready:
            _get_ready_for_mounts()
            ready = True
            ahead = None  # which ends then: it has not what was just loaded
        if data != _PURPOSES["prepare"]:
            try:
                _hand_over(ahead or _fork(connection, serve), descriptor)
            except OSError:  # somebody has killed it
                _hand_over(_fork(connection, serve), descriptor)
            ahead = None
        os.close(descriptor)


def _fork(connection: socket.socket, serve: Callable[[Channel], None]) -> socket.socket:
    """Fork a process that waits for a channel to serve; return the socket on which it gets that."""
    ours, theirs = socket.socketpair()
    if os.fork():
        theirs.close()
        return ours
    try:
        connection.close()
        ours.close()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        set_title("layerlab-ahead")
        data, descriptors, _, _ = socket.recv_fds(theirs, 1, 1, socket.MSG_CMSG_CLOEXEC)
        theirs.close()
        if data:
            serve(Channel(socket.socket(fileno=descriptors[0])))
    finally:
        os._exit(0)


def _hand_over(waiting: socket.socket, channel: int) -> None:
    """Give a forked process what it waits for."""
    with waiting:
        socket.send_fds(waiting, [b"c"], [channel], socket.MSG_NOSIGNAL)


def _get_ready_for_mounts() -> None:
    import sim.runtime.mounts  # noqa: F401
    from fusefs.serve import preload

    preload()
    _settle()


def _settle() -> None:
    """Let later collections leave what is loaded alone, so that they do not copy the pages that all forks share."""
    gc.collect()
    gc.freeze()
    release_memory()
