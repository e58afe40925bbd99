"""`Process`: run one process in a world of its own, and learn how it ended.

Decided here and only here: what a caller sees of a running process, and what an ordinary user gets in place of what
only root can have. A `Process` belongs to one thread at a time; different ones may be used by different threads.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
import time
from dataclasses import dataclass, replace
from types import TracebackType

from sim.runtime.channel import Channel
from sim.runtime.errors import ContainerError, InvalidSpecError, NotRunningError, by_name
from sim.runtime.rootless import own_mappings
from sim.runtime.seccomp import compiled_filter
from sim.runtime.spec import ProcessSpec
from sim.runtime.terminal import relay
from sim.runtime.world import Request
from sim.runtime.zygote import ask

__all__ = ["Process", "Result", "as_caller"]


@dataclass(frozen=True, slots=True)
class Result:
    """How a process ended.

    Attributes
    ----------
    code
        Exit status; 128 + n for a process that signal n killed.
    stdout, stderr
        What it wrote, when that was captured; with a terminal all is in `stdout`.
    seconds
        From the wish to the end.
    """

    code: int
    stdout: bytes = b""
    stderr: bytes = b""
    seconds: float = 0.0


def as_caller(spec: ProcessSpec) -> ProcessSpec:
    """Return the spec with what the caller cannot do otherwise: an ordinary user gets a user namespace.

    Raises
    ------
    InvalidSpecError
        For a wish that an ordinary user cannot have at all.
    """
    if spec.namespaces.user == "new" and not (spec.uid_map and spec.gid_map):
        users, groups = own_mappings()
        return replace(spec, uid_map=users, gid_map=groups)
    if os.geteuid() == 0 or spec.namespaces.user != "host":
        return spec
    if spec.interfaces:
        raise InvalidSpecError("an ordinary user cannot plug a container into a bridge: use the network none or host")
    users, groups = own_mappings()
    return replace(spec, namespaces=replace(spec.namespaces, user="new"), uid_map=users, gid_map=groups)


class Process:
    """A process in namespaces of its own, on a root filesystem that is already mounted.

    Attributes
    ----------
    pid
        Its number as the caller sees it; 0 before the start.
    terminal
        Master end of its pseudo-terminal, or -1.
    warnings
        What was wished for and is discarded on this machine.
    out_of_memory
        After the end: whether the memory limit killed a process of it.

    Examples
    --------
    A container with the layers of an image mounted on /mnt/merged::

        spec = ProcessSpec(args=("/bin/echo", "hello"), rootfs=Path("/mnt/merged"), hostname="box")
        Process(spec).run(capture=True).stdout     # b"hello\\n"
    """

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = as_caller(spec)
        self.pid = 0
        self.terminal = -1
        self.warnings: tuple[str, ...] = ()
        self.out_of_memory = False
        self._code: int | None = None
        self._channel: Channel | None = None

    def _request(self) -> Request:
        return Request(self.spec, compiled_filter(self.spec))

    def start(self, stdin: int = 0, stdout: int = 1, stderr: int = 2) -> None:
        """Start it, with the caller's streams or others; return once the command runs.

        It is killed when the caller dies or this object is closed.

        Raises
        ------
        ContainerError
            Of the kind, with the `code`, that Docker has for it. Nothing is left behind then.
        """
        try:
            streams = () if self.spec.terminal else (stdin, stdout, stderr)
            channel, answer, descriptors = ask(self._request(), streams)
        except (OSError, EOFError) as error:
            raise ContainerError("the shim ended before it had started the process") from error
        if answer[0] == "error":
            channel.close()
            raise by_name(answer[1], answer[2])
        self._channel, self.pid, self.warnings = channel, answer[1], tuple(answer[2])
        self.terminal = descriptors[0] if descriptors else -1

    def fileno(self) -> int:
        """Return a descriptor that can be read once it has ended, for `select`; -1 where it was never started."""
        return self._channel.fileno() if self._channel is not None else -1

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send it a signal; with `group` also to those of its children that have not left its process group.

        Raises
        ------
        NotRunningError
            It has ended, or was never started.
        """
        try:
            if self._channel is None or self._code is not None:
                raise OSError
            self._channel.send(("group" if group else "signal", int(number)))
        except OSError as error:
            raise NotRunningError(f"{self.spec.args[0]} is not running") from error

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it ends and return its exit status.

        Parameters
        ----------
        timeout
            Seconds; None waits for ever.

        Raises
        ------
        TimeoutError
            It still runs.
        """
        if self._code is not None:
            return self._code
        if self._channel is None:
            raise NotRunningError(f"{self.spec.args[0]} was never started")
        poll = select.poll()  # not select(), which knows no descriptor above 1023
        poll.register(self._channel, select.POLLIN)
        if not poll.poll(None if timeout is None else timeout * 1000):
            raise TimeoutError(f"{self.spec.args[0]} still runs after {timeout} s")
        try:
            answer, _ = self._channel.receive()
            self._code, self.out_of_memory = int(answer[1]), bool(answer[2])
        except EOFError:
            self._code = 137  # the shim was killed, and the kernel killed the process with it
        return self._code

    def close(self) -> None:
        """Kill it if it still runs, and let go of it."""
        if self._channel is not None:
            if self._code is None:
                with contextlib.suppress(NotRunningError):
                    self.signal(signal.SIGKILL)
                self.wait()
            self._channel.close()
            self._channel = None
        if self.terminal >= 0:
            os.close(self.terminal)
            self.terminal = -1

    def __enter__(self) -> Process:
        """Return itself; leaving closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def run(self, *, capture: bool = False, input: bytes | None = None, timeout: float | None = None) -> Result:
        """Start it, wait for its end and say how that was.

        With a terminal, and neither `capture` nor `input`, the caller's terminal is passed through, in raw mode.

        Parameters
        ----------
        capture
            Whether to collect what it writes; otherwise it writes where the caller does.
        input
            What it reads from its standard input; None: with `capture` nothing, otherwise what the caller reads.
        timeout
            Seconds, after which it is killed.

        Raises
        ------
        ContainerError
            It could not be started.
        TimeoutError
            It was killed since it took too long.
        KeyboardInterrupt
            The caller was interrupted; it was killed.
        """
        began = time.monotonic()
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            streams, collectors = self._streams(stack, capture, input)
            try:
                self.start(*streams)
            finally:
                for stream in set(streams) - {0, 1, 2}:
                    os.close(stream)
            if self.terminal >= 0:
                if not capture and input is None:
                    relay(self.terminal, 0, 1, self._ended)
                collectors = _attend_terminal(self.terminal, capture, input or b"")
            for collector in collectors:
                collector.start()
            code = self.wait(timeout)
            for collector in collectors:
                collector.join()
            texts = [collector.text for collector in collectors if isinstance(collector, _Collector)]
            stdout, stderr, *_ = (*texts, b"", b"")
            return Result(code, stdout, stderr, time.monotonic() - began)

    def _ended(self) -> bool:
        with contextlib.suppress(TimeoutError):
            self.wait(0)
        return self._code is not None

    def _streams(
        self, stack: contextlib.ExitStack, capture: bool, given: bytes | None
    ) -> tuple[tuple[int, int, int], list[threading.Thread]]:
        if self.spec.terminal:
            return (0, 1, 2), []
        workers: list[threading.Thread] = []
        source, sink, errors = 0, 1, 2
        if given is not None:
            source, feed = os.pipe()
            workers.append(_Feeder(feed, given))
        elif capture:
            source = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        if capture:
            out, sink = os.pipe()
            err, errors = os.pipe()
            workers += [_Collector(out), _Collector(err)]
        return (source, sink, errors), workers


class _Collector(threading.Thread):
    """Reads a descriptor to its end."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(daemon=True)
        self.text = b""
        self._descriptor = descriptor

    def run(self) -> None:
        parts = []
        with contextlib.suppress(OSError):  # a terminal whose last process ended gives EIO
            while part := os.read(self._descriptor, 1 << 16):
                parts.append(part)
        os.close(self._descriptor)
        self.text = b"".join(parts)


class _Feeder(threading.Thread):
    """Writes bytes to a descriptor, then closes it."""

    def __init__(self, descriptor: int, data: bytes) -> None:
        super().__init__(daemon=True)
        self._descriptor, self._data = descriptor, data

    def run(self) -> None:
        with contextlib.suppress(OSError), open(self._descriptor, "wb", closefd=True) as file:
            file.write(self._data)


def _attend_terminal(terminal: int, capture: bool, given: bytes) -> list[threading.Thread]:
    workers: list[threading.Thread] = []
    if given:
        workers.append(_Feeder(os.dup(terminal), given))
    if capture:
        workers.append(_Collector(os.dup(terminal)))
    return workers
