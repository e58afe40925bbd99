"""`Container`: a process with a shim of its own, which outlives the caller and is found again by the next one.

Decided here and only here: how a caller speaks with a container's shim, and what is true of one whose shim is gone.
Every call opens its own connection, so any thread, and several processes, may use a container at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sim.runtime import errors
from sim.runtime.cgroups import ControlGroup
from sim.runtime.channel import Channel
from sim.runtime.errors import ContainerError, NotRunningError
from sim.runtime.log import LogOptions
from sim.runtime.minder import SOCKET, STATE, write_state
from sim.runtime.probe import Probe, run_probe
from sim.runtime.process import Process, as_caller
from sim.runtime.seccomp import compiled_filter
from sim.runtime.spec import Limits, Port, ProcessSpec
from sim.runtime.stamp import boot, process_start
from sim.runtime.stats import Stats, Traffic, traffic
from sim.runtime.top import listed
from sim.runtime.world import Request
from sim.runtime.zygote import ask

__all__ = ["Container", "Execution", "Status"]

_LOST = 137  #: the exit status of a container whose shim was killed: the kernel killed the container with it


@dataclass(frozen=True, slots=True)
class Status:
    """How a container is.

    Attributes
    ----------
    phase
        "created", "running", "paused" or "exited".
    pid
        Of its first process, as the caller sees it; 0 when there is none.
    code
        Exit status, or None while there is none.
    out_of_memory
        Whether its memory limit killed a process of it.
    error
        Why it did not start.
    started, finished
        Nanoseconds since the epoch; 0 for not yet.
    lost_log
        Bytes of the log that the disk did not take.
    ports
        As they are published, with the numbers that were given.
    """

    phase: str
    pid: int = 0
    code: int | None = None
    out_of_memory: bool = False
    error: str = ""
    started: int = 0
    finished: int = 0
    lost_log: int = 0
    ports: tuple[Port, ...] = ()


class Container:
    """A container known by the directory in which its shim keeps its state.

    Examples
    --------
    As an engine uses it::

        container = Container.create(directory, spec, log=LogOptions(path="/.../x-json.log"), stdin="open")
        stream = container.attach(stdin=True)           # a socket: Docker's frames out, bytes in
        warnings = container.start()
        code = container.wait()
        container = Container.open(directory)           # by another process, any time later
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def create(
        cls, directory: Path, spec: ProcessSpec, *, log: LogOptions | None = None, stdin: str = "none"
    ) -> Container:
        """Make the shim of a container that is not started yet. It may be attached to and waited for already.

        Parameters
        ----------
        directory
            Must be there, and be this container's alone.
        spec
            The process and its world.
        log
            Where its output is kept; None keeps nothing.
        stdin
            "none"; "open"; "once" closes it when the first that was attached to it lets go.

        Raises
        ------
        ContainerError
            There is no shim then.
        """
        directory = directory.resolve()
        spec = as_caller(spec)
        request = Request(spec, compiled_filter(spec), os.fspath(directory), log or LogOptions(), stdin)
        try:
            channel, answer, _ = ask(request)
        except (OSError, EOFError) as error:
            raise ContainerError(f"the shim ended before it had made its socket in {directory}") from error
        channel.close()
        if answer[0] == "error":
            raise errors.by_name(answer[1], answer[2])
        return cls(directory)

    @classmethod
    def open(cls, directory: Path) -> Container:
        """Return the container that was made in a directory, whoever made it.

        Raises
        ------
        ContainerError
            None was.
        """
        if not (directory / STATE).exists():
            raise ContainerError(f"there is no container in {directory}")
        return cls(directory.resolve())

    def _connect(self) -> Channel:
        place = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(f"/proc/self/fd/{place}/{SOCKET}")
        except OSError as error:
            connection.close()
            raise NotRunningError(f"the container in {self.directory} has no shim: it is not running") from error
        finally:
            os.close(place)
        return Channel(connection, named=True)

    def _ask(self, **message: object) -> dict[str, Any]:
        channel = self._connect()
        try:
            channel.send(message)
            answer, _ = channel.receive()
        except (OSError, EOFError) as error:
            raise NotRunningError(f"the shim of the container in {self.directory} ended meanwhile") from error
        finally:
            channel.close()
        if "error" in answer:
            raise errors.by_name(answer["error"], answer["text"])
        found: dict[str, Any] = answer
        return found

    def start(self) -> tuple[str, ...]:
        """Start it; return warnings about what this machine cannot hold to.

        Raises
        ------
        ContainerError
            Of the kind, with the `code`, that Docker has for it. The shim is gone then.
        """
        return tuple(self._ask(do="start")["warnings"])

    def abandon(self) -> None:
        """End the shim of a container that was never started."""
        with contextlib.suppress(NotRunningError):
            self._ask(do="abandon")

    def attach(self, *, stdin: bool = False, stdout: bool = True, stderr: bool = True) -> socket.socket:
        """Return a socket on which the container's output comes from now on, and takes its input.

        Without a terminal the output is in Docker's frames: a byte for the stream (1 or 2), three of zero, the length
        in four (big endian), the data. Shutting the socket down for writing ends the input when it was made with
        stdin "once". At the container's end the socket is closed.
        """
        channel = self._connect()
        try:
            channel.send({"do": "attach", "stdin": stdin, "stdout": stdout, "stderr": stderr})
            channel.receive()
        except (OSError, EOFError) as error:
            channel.close()
            raise NotRunningError(f"the container in {self.directory} is not running") from error
        return channel.socket

    def status(self) -> Status:
        """Return how it is. A container whose shim and process are gone without a word has ended."""
        state = self._state()
        pid, code = int(state.get("pid", 0)), state.get("code")
        started = int(state.get("started", 0))
        if code is None and not self._lives("shim", state) and not self._lives("pid", state):
            if not started:
                return Status("created")
            # The shim was killed, or the machine went down. What it would have taken away is still there.
            self.clean()
            return Status("exited", code=_LOST, error="the shim ended before the container", started=started)
        if code is not None:
            return Status(
                "exited",
                code=int(code),
                out_of_memory=bool(state.get("oom_killed")),
                error=str(state.get("error", "")),
                started=started,
                finished=int(state.get("finished", 0)),
                lost_log=int(state.get("lost", 0)),
            )
        phase = "paused" if started and self._frozen() else "running" if pid else "created"
        ports = tuple(Port(inside, number, ip, protocol) for ip, number, inside, protocol in state.get("ports", ()))
        return Status(phase, pid, started=started, ports=ports)

    def _state(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = json.loads((self.directory / STATE).read_text())
        except FileNotFoundError as error:
            raise NotRunningError(f"there is no container in {self.directory}") from error
        return found

    @staticmethod
    def _lives(which: str, state: Mapping[str, Any]) -> bool:
        pid = int(state.get(which, 0))
        return pid > 0 and process_start(pid) == state.get(f"{which}_start") and state.get("boot") == boot()

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends; return its exit status. A container that is not started yet is waited for as well.

        Raises
        ------
        TimeoutError
            It still runs after `timeout` seconds.
        """
        try:
            channel = self._connect()
        except NotRunningError:
            return self._final()
        try:
            channel.socket.settimeout(timeout)
            channel.send({"do": "wait"})
            answer, _ = channel.receive()
            return int(answer["code"] if answer["code"] is not None else 0)
        except TimeoutError as error:
            raise TimeoutError(f"the container in {self.directory} still runs after {timeout} s") from error
        except (OSError, EOFError):
            return self._final()
        finally:
            channel.close()

    def notice(self) -> socket.socket:
        """Return a socket that becomes readable when it ends, or its shim does; at once where that is so already.

        For who waits for many, with one thread.
        """
        try:
            channel = self._connect()
            channel.tell({"do": "wait"})
        except NotRunningError:
            ours, theirs = socket.socketpair()
            theirs.close()
            return ours
        return channel.socket

    def _final(self) -> int:
        deadline = time.monotonic() + 5
        while True:
            status = self.status()
            if status.code is not None:
                return status.code
            if time.monotonic() > deadline:
                raise NotRunningError(f"the container in {self.directory} was never started")
            time.sleep(0.005)  # the shim is just ending

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send its first process a signal; a paused container gets it when it goes on, KILL at once.

        Raises
        ------
        NotRunningError
            It has ended.
        """
        self._ask(do="signal", number=int(number))
        if number == signal.SIGKILL and self._frozen():
            self.unpause()

    def stop(self, number: int = signal.SIGTERM, timeout: float = 10) -> int:
        """Send it a signal, and after `timeout` seconds KILL; return its exit status."""
        with contextlib.suppress(NotRunningError):
            self.kill(number)
            if self._frozen():
                self.unpause()
            if timeout > 0:
                with contextlib.suppress(TimeoutError):
                    return self.wait(timeout)
            self.kill(signal.SIGKILL)
        return self.wait(30)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of its terminal, in characters."""
        self._ask(do="resize", rows=rows, columns=columns)

    def shim(self) -> int:
        """Return the number of its shim's process; 0 when that is gone."""
        state = self._state()
        return int(state["shim"]) if self._lives("shim", state) else 0

    def code(self) -> int | None:
        """Return the exit status that its state tells; None while there is none. Changes nothing, unlike `status`."""
        code = self._state().get("code")
        return None if code is None else int(code)

    def group(self) -> ControlGroup | None:
        """Return its control groups; None where it has none."""
        state = self._state()
        directories = state.get("cgroups") or {}
        return ControlGroup.at(str(state.get("cgroup", "")), directories) if directories else None

    def _group(self, what: str) -> ControlGroup:
        group = self.group()
        if group is None:
            raise errors.UnsupportedError(f"a container without control groups cannot {what}")
        return group

    def _frozen(self) -> bool:
        group = self.group()
        return group is not None and group.frozen()

    def pause(self) -> None:
        """Stop all its processes until `unpause`."""
        self._group("be paused").freeze(True)

    def unpause(self) -> None:
        """Let its processes go on."""
        self._group("be paused").freeze(False)

    def stats(self) -> Stats:
        """Return its figures; all zero where it has no control groups."""
        group = self.group()
        return group.stats() if group is not None else Stats()

    def interfaces(self) -> dict[str, Traffic]:
        """Return what each of its interfaces but the loopback has received and sent; nothing where it does not run."""
        with contextlib.suppress(OSError):
            return traffic(Path(f"/proc/{self.status().pid}/net/dev").read_text())
        return {}

    def traffic(self) -> dict[str, tuple[int, int]]:
        """Return the bytes received and sent by each interface but the loopback."""
        return {name: (each.received_bytes, each.sent_bytes) for name, each in self.interfaces().items()}

    def update(self, limits: Limits) -> tuple[str, ...]:
        """Set other limits while it runs; return warnings."""
        return tuple(self._group("have limits").apply(limits))

    def processes(self) -> list[int]:
        """Return the numbers of its processes, as the caller sees them (`top`)."""
        group = self.group()
        if group is not None:
            return group.pids()
        pid = int(self._state().get("pid", 0))
        return _family(pid) if pid and self._lives("pid", self._state()) else []

    def top(self, arguments: str = "-ef") -> tuple[list[str], list[list[str]]]:
        """Return titles and rows of what ps(1) says about its processes; see `top.listed`."""
        return listed(self.processes(), arguments)

    def execution(self, spec: ProcessSpec, *, lives: bool = False) -> Execution:
        """Return a process that is to run in this container (`exec`).

        Parameters
        ----------
        spec
            The container's own spec with another command, user, directory, environment, terminal, privileges.
        lives
            Whether it goes on when the caller dies.

        Raises
        ------
        NotRunningError
            The container does not run.
        """
        state = self._state()
        if state.get("code") is not None or not self._lives("pid", state):
            raise NotRunningError("the container is not running")
        if self._frozen():
            raise ContainerError("the container is paused, unpause the container before exec")
        return Execution(spec, int(state["pid"]), int(state["pid_start"]), dict(state.get("cgroups") or {}), lives)

    def probe(self, spec: ProcessSpec, *, timeout: float = 30, limit: int = 4096) -> Probe:
        """Run a command in this container for a while at most, and say how that went (health checks).

        Parameters
        ----------
        spec
            As for `execution`.
        timeout
            Seconds after which it is killed, with those of its children that are in its process group.
        limit
            Bytes of its output that are kept.

        Raises
        ------
        ContainerError
            It could not be started.
        """
        return run_probe(self.execution(spec), timeout, limit)

    def clean(self) -> None:
        """Take away what a killed shim left: control groups, rules, the socket; and say in its state that it ended."""
        state = self._state()
        if self._lives("shim", state):
            return
        if state.get("published"):
            from sim.runtime import firewall

            firewall.unpublish(str(state["published"]))
        group = self.group()
        if group is not None:
            group.kill()
            group.remove()
        with contextlib.suppress(FileNotFoundError):
            (self.directory / SOCKET).unlink()
        if state.get("code") is None and state.get("started"):
            ended = {"code": _LOST, "error": "the shim ended before the container", "finished": time.time_ns()}
            with contextlib.suppress(OSError):  # of a full disk: whoever asks next is told the same
                write_state(os.fspath(self.directory), state | ended)


class Execution(Process):
    """A process in a running container. `start`, `wait`, `signal` and `run` are those of `Process`."""

    def __init__(self, spec: ProcessSpec, target: int, start: int, cgroups: dict[str, str], lives: bool) -> None:
        super().__init__(replace(spec, init=False))
        self._target, self._target_start, self._cgroups, self._detached = target, start, cgroups, lives

    def _request(self) -> Request:
        return Request(
            self.spec,
            compiled_filter(self.spec),
            target=self._target,
            target_start=self._target_start,
            cgroups=self._cgroups,
            lives=self._detached,
        )


def _family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for each in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found
