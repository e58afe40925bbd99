"""Exec: one more process in a running container.

Decided here and only here: what such a process inherits from the container, how long its record stays (until the
container ends, or five minutes after its own end), and with what status it is said to have ended where it never began.
Any thread may call.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sim.engine.checking import check_config
from sim.engine.container import Container
from sim.engine.errors import BadParameterError, ConflictError, NotFoundError
from sim.engine.model import Config, Document
from sim.engine.specs import environment, process_spec
from sim.engine.streams import Far, Pipes, Terminal
from sim.runtime import ContainerError, Execution, ProcessSpec, capability_mask
from sim.runtime.terminal import resize

if TYPE_CHECKING:
    from sim.engine.engine import Engine

__all__ = ["Exec", "ExecRequest", "Execs"]

_KEPT = 300.0  #: seconds that the record of an ended one stays


class ExecRequest(Document, frozen=True, kw_only=True):
    """What is to run."""

    user: str = ""
    privileged: bool = False
    tty: bool = False
    console_size: tuple[int, int] | None = None
    attach_stdin: bool = False
    attach_stderr: bool = False
    attach_stdout: bool = False
    detach: bool = False
    detach_keys: str = ""
    env: tuple[str, ...] | None = None
    working_dir: str = ""
    cmd: tuple[str, ...] | None = None


class Exec:
    """One process in a container.

    Attributes
    ----------
    code
        Exit status, or None while there is none.
    """

    def __init__(self, container: Container, wish: ExecRequest) -> None:
        self.id = secrets.token_hex(32)
        self.container, self.wish = container, wish
        self.code: int | None = None
        self.running = False
        self.started = False
        self.pid = 0
        self.ended_at = 0.0
        self.lock = threading.Lock()
        self.process: Execution | None = None
        self.size = (0, 0)
        self._over = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._done = threading.Event()

    @property
    def over(self) -> int:
        """A descriptor that is readable once it has ended."""
        return self._over

    @property
    def command(self) -> str:
        """What runs, as events say it."""
        command, *arguments = self.wish.cmd or ("",)
        return f"{command} {' '.join(arguments)}"

    def finish(self, code: int) -> None:
        """Note its end."""
        self.code, self.running, self.ended_at = code, False, time.monotonic()
        self._done.set()
        os.eventfd_write(self._over, 1)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for its end; tell whether it came."""
        return self._done.wait(timeout)

    def container_ended(self) -> None:
        """Let it not be taken for running whose container has ended: the kernel killed it."""
        if self.started and not self._done.wait(1):
            self.finish(137)

    def close(self) -> None:
        """Let go of its descriptor."""
        with self.lock:
            if self._over >= 0:
                os.close(self._over)
                self._over = -1


class Execs:
    """The execs of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._execs: dict[str, Exec] = {}

    def create(self, name: str, wish: ExecRequest) -> Exec:
        """Make an exec that is not started yet.

        Raises
        ------
        ConflictError
            The container does not run, or is paused.
        BadParameterError
            There is no command, or it makes no sense.
        """
        container = self._engine.containers.get(name)
        if not wish.cmd:
            raise BadParameterError("No exec command specified")
        check_config(Config(env=wish.env))
        self._check(container, name)
        made = Exec(container, wish)
        with self._lock:
            self._prune()
            self._execs[made.id] = made
            container.execs[made.id] = made
        self._tell(made, f"exec_create: {made.command}")
        return made

    def _check(self, container: Container, name: str) -> None:
        """Refuse what cannot be done in a container now, which is called as whoever asks calls it."""
        if container.state.restarting:
            raise ConflictError(f"Container {container.id} is restarting, wait until the container is running")
        if container.state.paused:
            raise ConflictError(f"Container {name} is paused, unpause the container before exec")
        container.running_shim()

    def _prune(self) -> None:
        now = time.monotonic()
        for each in [one for one in self._execs.values() if one.code is not None and now - one.ended_at > _KEPT]:
            self._drop(each)

    def _drop(self, made: Exec) -> None:
        self._execs.pop(made.id, None)
        made.container.execs.pop(made.id, None)
        made.close()

    def forget(self, container: Container) -> None:
        """Forget the execs of a container that is removed."""
        with self._lock:
            for made in list(container.execs.values()):
                self._drop(made)

    def get(self, identity: str) -> Exec:
        """Return an exec.

        Raises
        ------
        NotFoundError
            There is none of this ID.
        """
        with self._lock:
            found = self._execs.get(identity)
            if found is None:
                matching = [
                    made for key, made in self._execs.items() if len(identity) >= 12 and key.startswith(identity)
                ]
                found = matching[0] if len(matching) == 1 else None
        if found is None:
            raise NotFoundError(f"No such exec instance: {identity}")
        return found

    def claim(self, identity: str) -> Exec:
        """Return an exec that is to be started now; nobody else may start it then.

        Raises
        ------
        ConflictError
            It was started already, or its container does not run.
        """
        made = self.get(identity)
        with made.lock:
            if made.started:
                state = "has already run" if made.code is not None else "is already running"
                raise ConflictError(f"Error: Exec command {made.id} {state}")
            self._check(made.container, made.container.id)
            made.started = True
        return made

    def start(self, made: Exec, size: tuple[int, int] = (0, 0), *, detached: bool = False) -> Far:
        """Start a claimed exec and return its streams; with `detached` it has none.

        Raises
        ------
        ContainerError
            It does not run; its `code` is the exit status then.
        """
        wish = made.wish
        self._tell(made, f"exec_start: {made.command}")
        try:
            far = self._start(made, size if any(size) else wish.console_size or (0, 0), detached)
        except ContainerError as error:
            made.finish(error.code if error.code in (126, 127) else 126)
            self._tell(made, "exec_die", exitCode=str(made.code))
            raise type(error)(
                f"OCI runtime exec failed: exec failed: unable to start container process: {error}: unknown"
            ) from error
        except BaseException:
            made.finish(126)
            raise
        threading.Thread(target=self._wait, args=(made,), name="exec", daemon=True).start()
        return far

    def _start(self, made: Exec, size: tuple[int, int], detached: bool) -> Far:
        wish, shim = made.wish, made.container.running_shim()
        spec = exec_spec(made.container, wish, size)
        process = shim.execution(spec, lives=True)
        if wish.tty:
            process.start()
            made.process, made.pid, made.running = process, process.pid, True
            if any(made.size):
                self.resize(made, *made.size)
            master, process.terminal = process.terminal, os.dup(process.terminal)
            return Terminal(master, typing=wish.attach_stdin)
        theirs, ours = [], []
        for wanted, reading in ((wish.attach_stdin, True), (wish.attach_stdout, False), (wish.attach_stderr, False)):
            if wanted and not detached:
                ends = os.pipe()
                theirs.append(ends[0] if reading else ends[1])
                ours.append(ends[1] if reading else ends[0])
            else:
                theirs.append(os.open("/dev/null", (os.O_RDONLY if reading else os.O_WRONLY) | os.O_CLOEXEC))
                ours.append(-1)
        try:
            process.start(*theirs)
        except BaseException:
            for each in ours:
                if each >= 0:
                    os.close(each)
            raise
        finally:
            for each in theirs:
                os.close(each)
        made.process, made.pid, made.running = process, process.pid, True
        return Pipes(*ours)

    def _wait(self, made: Exec) -> None:
        assert made.process is not None
        code = made.process.wait()
        if made.code is None:
            made.finish(code)
        made.process.close()
        self._tell(made, "exec_die", exitCode=str(code))

    def _tell(self, made: Exec, action: str, **attributes: str) -> None:
        self._engine.containers.tell(made.container, action, execID=made.id, **attributes)

    def resize(self, made: Exec, rows: int, columns: int) -> None:
        """Set the size of its terminal."""
        made.size = (rows, columns)
        process = made.process
        if process is not None and process.terminal >= 0:
            with contextlib.suppress(OSError):
                resize(process.terminal, rows, columns)

    def inspect(self, made: Exec) -> dict[str, Any]:
        """Return an exec as the API shows it."""
        wish = made.wish
        command = wish.cmd or ("",)
        return {
            "ID": made.id,
            "Running": made.running,
            "ExitCode": made.code,
            "ProcessConfig": {
                "tty": wish.tty,
                "entrypoint": command[0],
                "arguments": list(command[1:]),
                "privileged": wish.privileged,
                **({"user": wish.user} if wish.user else {}),
            },
            "OpenStdin": wish.attach_stdin,
            "OpenStderr": wish.attach_stderr,
            "OpenStdout": wish.attach_stdout,
            "CanRemove": False,
            "ContainerID": made.container.id,
            "DetachKeys": "",
            "Pid": made.pid,
        }


def exec_spec(container: Container, wish: ExecRequest, size: tuple[int, int]) -> ProcessSpec:
    """Return the process of an exec: the container's own world, with another command."""
    from pathlib import Path

    from msgspec.structs import replace as changed

    record = changed(container.record, mounts=(), path=(wish.cmd or ("",))[0], args=(wish.cmd or ("",))[1:])
    record = changed(record, host_config=changed(record.host_config, tmpfs=None))
    spec = process_spec(record, Path("/"), (), ())
    config = changed(record.config, tty=wish.tty, env=(*(record.config.env or ()), *(wish.env or ())))
    mask = capability_mask(privileged=True) if wish.privileged else spec.capabilities
    return replace(
        spec,
        env=environment(changed(record, config=config), container.link_variables()),
        cwd=wish.working_dir or record.config.working_dir or "/",
        user=wish.user or record.config.user,
        terminal=wish.tty,
        terminal_size=size,
        privileged=wish.privileged or spec.privileged,
        capabilities=mask,
    )
