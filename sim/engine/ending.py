"""The end of a container: how it comes about, what is noted of it, and whether it is started again.

Decided here and only here: what stop, kill, restart, pause do and refuse; in which order an end is told; the rules of
restart policies and their growing pauses (100 ms, doubled each time up to a minute, from the beginning again after ten
seconds of life). Any thread may call.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

from sim.engine.checking import signal_number
from sim.engine.container import Container
from sim.engine.errors import ConflictError, EngineError, NotModifiedError
from sim.engine.showing import left_networks
from sim.runtime import Container as Shim
from sim.runtime import ContainerError, NotRunningError

if TYPE_CHECKING:
    from sim.engine.containers import Containers

__all__ = ["Ending"]

_log = logging.getLogger("layerlab.containers")

_SECOND = 1_000_000_000
_PATIENCE = 10  #: seconds between the signal and KILL, if nobody says otherwise
_SHUTDOWN_PATIENCE = 15


class Ending:
    """Ends the containers of one engine, and notes their ends."""

    def __init__(self, owner: Containers) -> None:
        self._owner = owner
        self._engine = owner.engine

    # -- what follows an end

    def ended(self, container: Container, shim: Shim) -> None:
        """Note that a container has ended; called when its shim said so."""
        if self._owner.closing and not container.state.running:
            return
        with contextlib.suppress(ContainerError):
            shim.wait(30)  # a killed shim's process is just being killed by the kernel
        with container.lock:
            if container.shim is shim:
                self.note(container, shim)

    def note(self, container: Container, shim: Shim) -> None:
        """Note the end of a container whose lock is held, and do what its policy says."""
        record = container.record
        status = shim.status()
        code = 137 if status.code is None else status.code
        finished = status.finished or status.started
        again = self._is_started_again(container, code, finished - status.started)
        container.shim = None
        if container.health is not None:
            container.health.stop()
            container.health = None
        # Before anybody is told: who waits for the end may remove the network or the volume next.
        self._let_go(container, self._engine.networks.detach, self._engine.volumes.stopped)
        container.save(
            restart_count=record.restart_count + again,
            state=replace(
                container.state,
                running=again,
                restarting=again,
                paused=False,
                starting=False,
                pid=0,
                exit_code=code,
                oom_killed=status.out_of_memory,
                finished=finished,
                error="",
                health=container.state.health and replace(container.state.health, status="unhealthy"),
            ),
            attached=left_networks(record.attached),
            ports={},
        )
        for execution in list(container.execs.values()):
            execution.container_ended()
        container.told(ended=True)
        if status.out_of_memory:
            self._owner.tell(container, "oom")
        seconds = max(0, finished - status.started) // _SECOND
        self._owner.tell(container, "die", execDuration=str(seconds), exitCode=str(code))
        goes = record.host_config.auto_remove and not again and not self._owner.closing
        # The view of one that goes is left to its removal, which waits for nobody: a process of the host's that has a
        # copy of all mounts keeps it served.
        if not goes and not container.state.removing:
            self._let_go(container, self._owner.rootfs.unmount)
        if again:
            self.schedule(container)
        elif goes:
            self._owner.removing.remove_ended(container)

    def _let_go(self, container: Container, *steps: Callable[[str], object]) -> None:
        """Take away what a container had while it ran, as far as that can be done."""
        for what in steps:
            try:
                what(container.id)
            except (ContainerError, EngineError, OSError) as error:
                _log.warning("container %s: %s", container.record.short_id, error)

    # -- restart policies

    def _is_started_again(self, container: Container, code: int, lived: int) -> bool:
        """Tell whether a container that ended is started again by its policy."""
        record = container.record
        policy = record.host_config.restart_policy
        if self._owner.closing or record.manually_stopped or container.state.removing:
            return False
        if lived >= 10 * _SECOND:
            container.delay = 0.0
        if policy.name == "on-failure":
            limit = policy.maximum_retry_count
            return code != 0 and (not limit or record.restart_count < limit)
        return policy.name in ("always", "unless-stopped")

    def schedule(self, container: Container) -> None:
        """Start a container again after a pause."""
        container.delay = min(container.delay * 2 or 0.1, 60.0)
        timer = threading.Timer(container.delay, self._start_again, (container,))
        timer.daemon = True
        container.timer = timer
        timer.start()

    def _start_again(self, container: Container) -> None:
        with container.lock:
            if container.timer is None or not container.state.restarting or self._owner.closing:
                return
            container.timer = None
            try:
                self._owner.starting.run(container)
            except (ContainerError, EngineError, OSError) as error:
                _log.warning("container %s was not started again: %s", container.record.short_id, error)
                container.told(ended=True)

    # -- bringing it about

    def stop(self, name: str, patience: int | None = None, wanted: str = "") -> None:
        """Stop a container: its signal, then KILL.

        Parameters
        ----------
        patience
            Seconds in between; None for its own, negative for ever.
        wanted
            A signal other than its own.

        Raises
        ------
        NotModifiedError
            It does not run.
        """
        container = self._owner.get(name)
        if not container.state.running:
            raise NotModifiedError("")
        self._stop(container, patience, wanted)
        self._owner.tell(container, "stop")

    def _stop(self, container: Container, patience: int | None, wanted: str = "", *, manually: bool = True) -> None:
        config = container.record.config
        number = signal_number(wanted or config.stop_signal or "SIGTERM")
        if patience is None:
            patience = config.stop_timeout if config.stop_timeout is not None else _PATIENCE
        if manually:
            with container.lock:
                container.save(manually_stopped=True)
                if self._was_restarting(container):
                    return
        shim = container.shim
        if shim is None:
            container.wait_stopped(_PATIENCE)
            return
        self._signal(container, shim, number)
        if container.state.paused:
            with contextlib.suppress(ContainerError, OSError):
                shim.unpause()
        if container.wait_stopped(patience if patience >= 0 else None):
            with container.lock:  # its end is told before its stop, and what follows the end is done
                return
        self._signal(container, shim, signal.SIGKILL)
        if not container.wait_stopped(30):
            raise EngineError(
                f"cannot stop container: {container.id}: tried to kill container, but did not receive an exit event"
            )
        with container.lock:
            pass

    def _was_restarting(self, container: Container) -> bool:
        """End the waiting of a container for its next start; tell whether it was that."""
        if not container.state.restarting:
            return False
        self._owner.starting.cancel_restart(container)
        container.become(running=False, restarting=False)
        container.told(ended=True)
        return True

    def _signal(self, container: Container, shim: Shim, number: int) -> bool:
        try:
            shim.kill(number)
        except ContainerError:
            return False  # it has just ended
        except OSError:
            pass  # a paused one has died of it, and its control groups with it, while they were looked at
        self._owner.tell(container, "kill", signal=str(int(number)))
        return True

    def kill(self, name: str, wanted: str = "") -> None:
        """Send a container a signal; after KILL it has ended.

        Raises
        ------
        ConflictError
            It does not run.
        """
        number = signal_number(wanted or "KILL")
        container = self._owner.get(name)
        with container.lock:
            state = container.state
            if state.restarting:
                container.save(manually_stopped=True)
            if not state.running or (not state.restarting and container.shim is None):
                raise ConflictError(f"Cannot kill container: {name}: Container {container.id} is not running")
            if self._was_restarting(container):
                return
            shim = container.shim
            own = container.record.config.stop_signal or "SIGTERM"
            if number in (signal.SIGKILL, signal_number(own)):
                container.save(manually_stopped=True)
        assert shim is not None
        if not self._signal(container, shim, number) and number != signal.SIGKILL:
            raise ConflictError(f"Cannot kill container: {name}: Container {container.id} is not running")
        if number == signal.SIGKILL:
            container.wait_stopped(30)

    def restart(self, name: str, patience: int | None = None, wanted: str = "") -> None:
        """Stop a container if it runs, and start it."""
        container = self._owner.get(name)
        if container.state.running:
            self._stop(container, patience, wanted)
            self._owner.tell(container, "stop")
        with container.lock, contextlib.suppress(NotModifiedError):
            self._owner.starting.check(container)
            container.delay = 0.0
            container.save(manually_stopped=False)
            self._owner.starting.run(container)
        self._owner.tell(container, "restart")

    def pause(self, name: str) -> None:
        """Stop all processes of a container until it is unpaused."""
        container = self._owner.get(name)
        with container.lock:
            state = container.state
            if state.restarting:
                raise ConflictError(f"Container {container.id} is restarting, wait until the container is running")
            if state.paused:
                raise ConflictError(f"Container {container.id} is already paused")
            shim = container.running_shim()
            try:
                shim.pause()
            except NotRunningError:
                raise ConflictError(f"Container {container.id} is not running") from None
            container.become(paused=True)
        self._owner.tell(container, "pause")

    def unpause(self, name: str) -> None:
        """Let the processes of a paused container go on."""
        container = self._owner.get(name)
        with container.lock:
            if not container.state.paused:
                raise EngineError(f"Container {container.id} is not paused")
            container.running_shim().unpause()
            container.become(paused=False)
        self._owner.tell(container, "unpause")

    def resize(self, name: str, rows: int, columns: int) -> None:
        """Set the size of a container's terminal."""
        container = self._owner.get(name)
        try:
            container.running_shim().resize(rows, columns)
        except NotRunningError:
            raise ConflictError(f"Container {container.id} is not running") from None
        self._owner.tell(container, "resize", height=str(rows), width=str(columns))

    def stop_at_shutdown(self, container: Container) -> None:
        """Stop a container since the daemon ends; its policy may start it again with the next one."""
        try:
            with container.lock:
                if self._was_restarting(container):
                    return
            timeout = container.record.config.stop_timeout
            self._stop(container, min(_SHUTDOWN_PATIENCE, _PATIENCE if timeout is None else timeout), manually=False)
            with container.lock:  # what follows the end is done then
                pass
        except Exception:
            _log.exception("container %s was not stopped", container.record.short_id)
