"""The small init of `--init`: process 1 that starts the command, passes signals on to it and reaps orphans.

Decided here and only here: what process 1 does beside waiting. It is the prepared process itself, which has then the
command's privileges and no more; it is one thread.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys

from fusefs.title import forget_environment, set_title
from sim.runtime import syscalls
from sim.runtime.become import become
from sim.runtime.channel import Channel
from sim.runtime.errors import ContainerError
from sim.runtime.spec import ProcessSpec

__all__ = ["exit_status", "run_as_init"]

_KEPT = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}


def run_as_init(spec: ProcessSpec, seccomp: bytes, channel: Channel) -> None:
    """Start the command as a child; end with its exit status, 128 + n where signal n killed it. Never returns."""
    set_title("/sbin/docker-init", "--", *spec.args)  # what the container sees as process 1 with Docker
    forget_environment()
    syscalls.set_death_signal(signal.SIGKILL)
    passed = {number for number in signal.valid_signals() if number not in _KEPT}
    signal.pthread_sigmask(signal.SIG_BLOCK, passed | {signal.SIGCHLD})
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        if spec.terminal:
            with contextlib.suppress(OSError):
                signal.signal(signal.SIGTTOU, signal.SIG_IGN)
                os.tcsetpgrp(0, os.getpgid(0))
                signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        try:
            become(spec, seccomp)
        except ContainerError as error:
            channel.send(("error", type(error).__name__, str(error)))
        except BaseException as error:
            channel.send(("error", "ContainerError", str(error)))
        os._exit(125)
    channel.close()
    _drop_everything(spec)
    while True:
        information = signal.sigwaitinfo(passed | {signal.SIGCHLD})
        if information.si_signo != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, information.si_signo)
            continue
        status = _reap(child)
        if status is not None:
            code = os.waitstatus_to_exitcode(status)
            sys.stdout = sys.stderr = None
            os._exit(code if code >= 0 else 128 - code)


def _reap(child: int) -> int | None:
    """Reap whatever has ended; return the status of `child` if that is among it."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == child:
            found = status


def _drop_everything(spec: ProcessSpec) -> None:
    """Keep the capability to signal the child, whoever it runs as, and nothing else."""
    kill = 1 << 5 if spec.capabilities >> 5 & 1 or spec.privileged else 0
    _, permitted, _ = syscalls.capabilities()
    syscalls.set_capabilities(kill & permitted, kill & permitted, 0)


def exit_status(pid: int) -> int:
    """Reap a process, and orphans on the way; return its exit status, 128 + n where signal n killed it."""
    _, status = os.waitpid(pid, 0)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
