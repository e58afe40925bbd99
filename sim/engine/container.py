"""`Container`: one container in the memory of the daemon, and the one way in which its record changes.

Decided here and only here: that every change of a record is in the database before anybody is told of it, how those who
wait for a change learn of it, and which conditions there are to wait for.

Threads: whoever changes the state of a container holds its `lock` meanwhile, so that of two who want different things
one comes first and the other sees what the first did. The record itself is a frozen value: reading it needs no lock.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from sim.engine.errors import BadParameterError, ConflictError
from sim.engine.links import links_of
from sim.engine.model import Record, State
from sim.runtime import Container as Shim

if TYPE_CHECKING:
    from sim.engine.containers import Containers
    from sim.engine.execs import Exec
    from sim.engine.health import HealthCheck

__all__ = ["CONDITIONS", "Container", "Ended", "PendingStream"]

#: What may be waited for.
CONDITIONS = ("not-running", "next-exit", "removed")


class Ended:
    """How a container ended, for those who waited: exit status and what went wrong."""

    def __init__(self, code: int, error: str = "") -> None:
        self.code, self.error = code, error


class Container:
    """One container.

    Attributes
    ----------
    record
        All that is kept of it; replaced as a whole.
    lock
        Held while its state is changed.
    shim
        While it runs: the runtime's view of it.
    waiting
        Those who are attached before its start: called with a function that opens a stream to it.
    execs
        What runs in it besides, by ID.
    """

    def __init__(self, owner: Containers, record: Record) -> None:
        self._owner = owner
        self.record = record
        self.lock = threading.RLock()
        self.shim: Shim | None = None
        self.waiting: list[PendingStream] = []
        self.execs: dict[str, Exec] = {}
        self.health: HealthCheck | None = None
        self.timer: threading.Timer | None = None
        self.delay = 0.0
        self.gone = False
        self._changed = threading.Condition()
        self._bells: set[int] = set()
        self._exits = 0
        self._faults: list[str] = []

    @property
    def id(self) -> str:
        """Its ID."""
        return self.record.id

    @property
    def name(self) -> str:
        """Its name, without the slash."""
        return self.record.name

    @property
    def state(self) -> State:
        """How it is."""
        return self.record.state

    def link_variables(self) -> list[str]:
        """Return the variables that tell its processes of the containers that it is linked to."""
        return [each for link in links_of(self._owner, self.record) for each in link.variables()]

    def save(self, **changes: Any) -> None:
        """Change its record, on disk first."""
        record = msgspec.structs.replace(self.record, **changes)
        self._owner.keep(record)
        self.record = record

    def become(self, **changes: Any) -> None:
        """Change its state, on disk first."""
        self.save(state=msgspec.structs.replace(self.record.state, **changes))

    def told(self, *, ended: bool = False, gone: bool = False, fault: str = "") -> None:
        """Let those who wait look again; `fault` is why it could not be removed."""
        with self._changed:
            self._exits += ended
            self._faults += [fault] if fault else []
            self.gone = self.gone or gone
            self._changed.notify_all()
            for bell in self._bells:
                os.eventfd_write(bell, 1)

    @contextlib.contextmanager
    def bell(self) -> Iterator[int]:
        """Have a descriptor, for who polls, that becomes readable at each change of the state."""
        made = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        with self._changed:
            self._bells.add(made)
        try:
            yield made
        finally:
            with self._changed:
                self._bells.discard(made)
            os.close(made)

    @property
    def exits(self) -> int:
        """How often it has ended in the life of this daemon."""
        return self._exits

    def running_shim(self) -> Shim:
        """Return the shim of a container that runs.

        Raises
        ------
        ConflictError
            It does not.
        """
        shim = self.shim
        if shim is None or not self.record.state.running or self.record.state.restarting:
            raise ConflictError(f"Container {self.id} is not running")
        return shim

    def wait(self, condition: str = "not-running", cancelled: threading.Event | None = None) -> Ended | None:
        """Wait until it does not run, until its next end, or until it is removed; None when cancelled.

        Raises
        ------
        BadParameterError
            There is no such condition.
        """
        return self.waiter(condition)(cancelled)

    def waiter(self, condition: str = "not-running") -> Callable[[threading.Event | None], Ended | None]:
        """Return a function that waits, as `wait`, for what happens from now on."""
        wanted = condition or "not-running"
        if wanted not in CONDITIONS:
            raise BadParameterError(f'invalid condition: "{condition}"')
        with self._changed:
            exits, faults = self._exits, len(self._faults)

        def over() -> bool:
            if self.gone:
                return True
            if wanted == "removed":
                return len(self._faults) > faults
            # One that is started again by its policy has ended all the same.
            return self._exits > exits or (wanted == "not-running" and not self.record.state.running)

        def wait(cancelled: threading.Event | None = None) -> Ended | None:
            with self._changed:
                self._changed.wait_for(lambda: over() or (cancelled is not None and cancelled.is_set()))
                if not over():
                    return None
            state = self.record.state
            if wanted != "removed":
                return Ended(state.exit_code, state.error)
            return Ended(state.exit_code, "" if self.gone else self._faults[-1])

        return wait

    def stir(self) -> None:
        """Wake those who wait, so that they see that they were cancelled."""
        with self._changed:
            self._changed.notify_all()

    def wait_stopped(self, timeout: float | None) -> bool:
        """Wait until it does not run; tell whether that came to pass within `timeout` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            return self._changed.wait_for(
                lambda: self.gone or not self.record.state.running,
                None if deadline is None else max(0.0, deadline - time.monotonic()),
            )

    def attributes(self, **more: str) -> dict[str, str]:
        """Return what its events tell of it."""
        return {**self.record.labels, "image": self.record.config.image, "name": self.name, **more}


class PendingStream:
    """Somebody who is attached to a container that may not have started yet.

    Its descriptor is readable when the stream is there, or when there will be none.
    """

    def __init__(self, *, stdin: bool, stdout: bool, stderr: bool) -> None:
        self._wish = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._stream: socket.socket | None = None
        self._over = False
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor to poll."""
        return self._bell

    def connect(self, shim: Shim) -> None:
        """Attach to the container, which runs or is about to start."""
        with self._lock:
            if not self._over:
                self._stream = shim.attach(**self._wish)
                self._finish()

    def give_up(self) -> None:
        """Stop waiting."""
        with self._lock:
            if not self._over:
                self._finish()

    def _finish(self) -> None:
        self._over = True
        os.eventfd_write(self._bell, 1)

    def take(self) -> socket.socket | None:
        """Return the stream, which is the caller's then; None when there is none. To be called once, at the end."""
        with self._lock:
            self._over = True
            if self._bell >= 0:
                os.close(self._bell)
                self._bell = -1
            stream, self._stream = self._stream, None
            return stream

    def abandon(self) -> None:
        """Let go of it, whether there is a stream by now or not."""
        stream = self.take()
        if stream is not None:
            stream.close()
