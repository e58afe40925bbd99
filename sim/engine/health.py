"""Health checks: a command in the container, again and again, and what follows from how it ends.

Decided here and only here: the times (30 s between checks, 30 s for one, 3 failures in a row, if neither image nor user
says otherwise), when a container is healthy or not, and how much of the results is kept (5, each of 4,096 bytes). One
thread a container with checks, asleep between them.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sim.engine.container import Container
from sim.engine.errors import EngineError
from sim.engine.execs import ExecRequest, exec_spec
from sim.engine.model import Config, Health, Healthcheck
from sim.runtime import ContainerError
from sim.runtime.log import rfc3339

if TYPE_CHECKING:
    from sim.engine.containers import Containers

__all__ = ["HealthCheck"]

_log = logging.getLogger("layerlab.containers")

_SECOND = 1_000_000_000
_INTERVAL, _TIMEOUT, _START_INTERVAL, _RETRIES = 30 * _SECOND, 30 * _SECOND, 5 * _SECOND, 3
_KEPT, _LONGEST = 5, 4096
_DEFAULT_SHELL = ("/bin/sh", "-c")


def _command(config: Config, check: Healthcheck) -> tuple[str, ...]:
    """Return the command of a check; nothing where there is none.

    >>> _command(Config(), Healthcheck(test=("CMD-SHELL", "true")))
    ('/bin/sh', '-c', 'true')
    """
    test = check.test or ()
    if test[:1] == ("CMD",):
        return test[1:]
    if test[:1] == ("CMD-SHELL",):
        return (*(config.shell or _DEFAULT_SHELL), *test[1:2])
    return ()


class HealthCheck:
    """The checks of one running container."""

    def __init__(self, owner: Containers, container: Container, command: tuple[str, ...], check: Healthcheck) -> None:
        self._owner, self._container, self._command, self._check = owner, container, command, check
        self._stopped = threading.Event()
        self._began = time.monotonic_ns()

    @classmethod
    def of(cls, owner: Containers, container: Container) -> HealthCheck | None:
        """Return the checks that a container wants; None where it wants none."""
        config = container.record.config
        command = _command(config, config.healthcheck) if config.healthcheck else ()
        if not command or config.healthcheck is None:
            return None
        return cls(owner, container, command, config.healthcheck)

    @staticmethod
    def first(config: Config) -> Health | None:
        """Return the health of a container that has just started; None for one without checks."""
        return Health() if config.healthcheck and _command(config, config.healthcheck) else None

    def start(self) -> None:
        """Begin to check."""
        threading.Thread(target=self._run, name="health", daemon=True).start()

    def stop(self) -> None:
        """Check no more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._pause() / _SECOND):
            if self._container.state.paused:
                continue
            began = time.time_ns()
            try:
                code, output = self._probe((self._check.timeout or _TIMEOUT) / _SECOND)
            except (ContainerError, EngineError, OSError) as error:
                code, output = -1, str(error).encode()
            if self._stopped.is_set():
                return
            try:
                self._note(code, output, began)
            except Exception:
                _log.exception("the result of a health check is lost")

    def _probe(self, timeout: float) -> tuple[int, bytes]:
        """Run the command once; return its exit status, -1 where it took too long, and what it wrote."""
        spec = exec_spec(self._container, ExecRequest(cmd=self._command), (0, 0))
        identity, command = secrets.token_hex(32), f"{self._command[0]} {' '.join(self._command[1:])}"
        self._owner.tell(self._container, f"exec_create: {command}", execID=identity)
        self._owner.tell(self._container, f"exec_start: {command}", execID=identity)
        probe = self._container.running_shim().probe(spec, timeout=timeout, limit=_LONGEST + 1)
        code = 137 if probe.code is None else probe.code  # killed, since it took too long
        self._owner.tell(self._container, "exec_die", execID=identity, exitCode=str(code))
        output = probe.output if len(probe.output) <= _LONGEST else probe.output[:_LONGEST] + b"..."
        if probe.code is not None:
            return probe.code, output
        said = f"Health check exceeded timeout ({timeout:g}s)".encode()
        return -1, said + (b": " + output if output else b"")

    def _pause(self) -> int:
        check = self._check
        health = self._container.state.health
        young = time.monotonic_ns() - self._began < check.start_period
        if young and (health is None or health.status == "starting"):
            return min(check.start_interval or _START_INTERVAL, check.interval or _INTERVAL)
        return check.interval or _INTERVAL

    def _note(self, code: int, output: bytes, began: int) -> None:
        """Keep a result, and say when the container is well or not any more."""
        text = output.decode("utf-8", "replace")
        result = {
            "Start": rfc3339(began),
            "End": rfc3339(time.time_ns()),
            "ExitCode": code,
            "Output": text,
        }
        container, check = self._container, self._check
        with container.lock:
            before = container.state.health or Health()
            if self._stopped.is_set() or not container.state.running:
                return
            young = time.monotonic_ns() - self._began < check.start_period
            status, streak = before.status, before.failing_streak
            if code == 0:
                status, streak = "healthy", 0
            elif not (young and status == "starting"):
                streak += 1
                if streak >= (check.retries or _RETRIES):
                    status = "unhealthy"
            log = (*before.log, result)[-_KEPT:]
            container.become(health=replace(before, status=status, failing_streak=streak, log=log))
        if status != before.status:
            container.told()
            self._owner.tell(container, f"health_status: {status}")
