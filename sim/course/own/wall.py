"""A wall between a submission and its judge: what a submission cannot see it cannot change.

Decided here and only here: what of a sandbox a submission shares with what judges it. Behind the wall are a user, a mount
and a process namespace of its own: it is root there, may mount, and sees neither the judge's processes (so it can stop,
trace or write to none) nor the directories that the judge keeps to itself; what is read-only stays so, for the flags of a
mount are locked in the copy that a less privileged namespace gets (mount_namespaces(7)). What it mounts over anything is
seen by itself alone. The judge reads the layers from its own side. Calls on the mount are made by a process that goes
behind the wall for that one call: it belongs to the judge's namespaces of users and processes by birth, and tells the
judge through a pipe what the kernel answered.

Walls are for a judge that has CAP_SYS_ADMIN in a user namespace of its own, as in `batch`. One thread: a process with more
cannot join a user namespace.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from fusefs.syscalls import mount
from sim.runtime import syscalls

__all__ = ["WALL", "TimeLimitError", "ask", "enclose", "kill_behind", "processes_behind"]

#: Directories, with `:` between them, that are the judge's alone. If it is set, there is a wall.
WALL = "LAYERLAB_GRADE_WALL"

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8


class TimeLimitError(Exception):
    """A call was not answered in time."""


def enclose(hidden: Sequence[str]) -> None:
    """Put this process behind a wall; it is what `subprocess` runs between fork and exec.

    Returns only in the process that is to run the command. Two stay: one on the judge's side, by which namespaces are
    found and whose death ends all, and the first one of the new process namespace, which collects what others leave.
    Their status is that of the command, when nothing is left behind the wall.
    """
    judge = os.getpid(), os.geteuid(), os.getegid()
    syscalls.set_dumpable(False)
    # First in the judge's own user namespace: what is laid over a directory there cannot be taken away behind the wall.
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.make_private("/")
    for place in hidden:
        flags = _MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
        mount(b"none", os.fsencode(place), b"tmpfs", flags, b"size=4k,mode=555")
    syscalls.unshare(syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {judge[1]} 1"), ("gid_map", f"0 {judge[2]} 1")):
        Path(f"/proc/self/{name}").write_text(text)
    first = os.fork()
    if first:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        _end_as(os.waitpid(first, 0)[1])
    syscalls.set_death_signal(signal.SIGKILL)
    command = os.fork()
    if command:
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        _collect(command)
    syscalls.set_dumpable(True)  # as for any program: what is behind the wall may trace itself


def _collect(command: int) -> None:
    """Wait until no process is left; end as the command did."""
    kept = 0
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            break
        if pid == command:
            kept = status
    # The first process of a namespace cannot be killed from inside, not even by itself: it says the signal as a shell does.
    os._exit(os.waitstatus_to_exitcode(kept) if os.WIFEXITED(kept) else 128 + os.WTERMSIG(kept))


def _end_as(status: int) -> None:
    """End with the status that the first process behind the wall told."""
    code = os.waitstatus_to_exitcode(status)
    number = code - 128 if code > 128 else -code
    if number > 0:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
        with contextlib.suppress(OSError):
            os.kill(os.getpid(), number)
    os._exit(max(code, 0))


def processes_behind() -> list[int]:
    """Return the processes in a process namespace below this one: all that is behind a wall, whatever it calls itself."""
    own = _depth("self")
    return [int(name) for name in os.listdir("/proc") if name.isdecimal() and _depth(name) > own]


def _depth(process: str) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{process}/status", "rb") as stream:
        for line in stream:
            if line.startswith(b"NSpid:"):
                return len(line.split()) - 1
    return 0


def kill_behind() -> None:
    """Kill everything that is behind a wall."""
    for _ in range(100):
        found = processes_behind()
        if not found:
            break
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def ask(warden: int, function: Callable[[], Any], seconds: float, watch: Callable[[], None]) -> Any:
    """Make a call behind the wall and return its result.

    Parameters
    ----------
    warden
        The process that `enclose` left on this side.
    function
        What to call; its result has to be one that can be pickled.
    seconds
        How long to wait.
    watch
        Called now and then meanwhile; may raise.

    Raises
    ------
    TimeLimitError
        There was no answer in time.
    OSError
        What the call raised; also where the process for it cannot be made.
    """
    descriptor = os.pidfd_open(warden)
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        hand = os.fork()
        if not hand:
            _answer(descriptor, writer, function)
    except OSError:
        os.close(reader)
        raise
    finally:
        os.close(writer)
        os.close(descriptor)
    try:
        data = _receive(reader, time.monotonic() + seconds, watch)
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(hand, signal.SIGKILL)
        _reap(hand)
    if not data:
        raise ConnectionAbortedError("the call was cut off")
    done, value = pickle.loads(data)  # written by a process of ours: nothing behind the wall has this pipe
    if done:
        return value
    raise value


def _answer(descriptor: int, writer: int, function: Callable[[], Any]) -> None:
    """Go behind the wall, make the call, write what came of it, and end."""
    try:
        syscalls.set_dumpable(False)
        syscalls.setns(descriptor, syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNS)
        syscalls.set_dumpable(False)
        try:
            said = pickle.dumps((True, function()))
        except OSError as error:
            said = pickle.dumps((False, OSError(error.errno, error.strerror)))
        except Exception as error:
            said = pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))
        with open(writer, "wb", closefd=False) as stream:
            stream.write(said)
    finally:
        os._exit(0)


def _receive(reader: int, end: float, watch: Callable[[], None]) -> bytes:
    """Read until the other end is closed."""
    pieces: list[bytes] = []
    wait = select.poll()
    wait.register(reader, select.POLLIN)
    while True:
        if not wait.poll(50):
            watch()
            if time.monotonic() > end:
                raise TimeLimitError
            continue
        piece = os.read(reader, 1 << 20)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def _reap(hand: int) -> None:
    """Wait for a killed process, but not for one that a filesystem holds: that goes when the filesystem does."""
    for _ in range(200):
        if os.waitpid(hand, os.WNOHANG)[0]:
            return
        time.sleep(0.005)
