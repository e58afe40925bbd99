"""Minding a container: its socket, its streams and log, those who are attached or wait, and its state on disk.

Decided here and only here: what a shim does between a container's creation and its end, and what it leaves. The state
is one small file, replaced as a whole; the socket is there as long as the shim is. Slow readers slow the container
down, as with Docker, and lose nothing. One thread: an event loop around poll(2).
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sim.runtime.channel import Channel
from sim.runtime.errors import ContainerError
from sim.runtime.log import LogOptions, LogWriter
from sim.runtime.reaper import exit_status
from sim.runtime.stamp import boot, process_start
from sim.runtime.terminal import resize
from sim.runtime.world import World

__all__ = ["COMPLAINTS", "SOCKET", "STATE", "Minder", "write_state"]

SOCKET, STATE, COMPLAINTS = "shim.sock", "state.json", "shim.err"
_RESERVE = "state.reserve"
_RESERVED = 1 << 14
_ENOUGH = 1 << 20  #: bytes that wait for somebody slow, until the container has to wait too
_PIECE = 1 << 15
_READ, _WRITE = select.POLLIN | select.POLLHUP | select.POLLERR, select.POLLOUT
_STDOUT, _STDERR = 1, 2
_NAMES = {_STDOUT: "stdout", _STDERR: "stderr"}


def write_state(directory: str, state: dict[str, object]) -> None:
    """Replace a container's state file as a whole.

    Where the disk is full, what the shim has reserved is used up; so a container's end can always be told.

    Raises
    ------
    OSError
        Not even that is there.
    """
    place, reserve = f"{directory}/{STATE}", f"{directory}/{_RESERVE}"
    data = json.dumps(state).encode()
    aside = f"{place}.new"
    try:
        with open(aside, "wb") as file:
            file.write(data)
    except OSError as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        aside = reserve
        try:
            with open(aside, "r+b") as file:
                file.write(data)
                file.truncate()
        except FileNotFoundError:
            raise error from None
    os.rename(aside, place)


def _reserve(directory: str) -> None:
    """Set aside what the last state will take."""
    with open(f"{directory}/{_RESERVE}", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, _RESERVED)


class _Viewer:
    """Somebody who is attached: a socket, and what it has not taken yet."""

    def __init__(self, connection: socket.socket, streams: set[int], typing: bool) -> None:
        self.connection = connection
        self.streams = streams
        self.typing = typing
        self.paused = False
        self.waiting = bytearray()


class Minder:
    """The event loop of one container's shim.

    Parameters
    ----------
    directory
        Where the socket and the state file are.
    log, stdin, terminal
        As in the request.
    world
        Starts the container and takes away what was made for it.
    """

    def __init__(self, directory: str, log: LogOptions, stdin: str, terminal: bool, world: World) -> None:
        self.directory = directory
        self.world = world
        self._stdin_wish, self._has_terminal = stdin, terminal
        self._log = LogWriter(log)
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._sources: dict[int, int] = {}  # descriptor the container writes to -> stream
        self._viewers: list[_Viewer] = []
        self._waiters: list[Channel] = []
        self._stdin = -1
        self._typed = bytearray()
        self._terminal = -1
        self._size = (0, 0)
        self._pid = 0
        self._process = -1
        self._over = False
        self._state: dict[str, object] = {}

    def serve(self, control: Channel) -> None:
        """Mind the container until its end; `control` hears that the socket is there."""
        try:
            listener = self._listen()
        except OSError as error:
            control.tell(("error", "ContainerError", f"cannot make a socket in {self.directory}: {error.strerror}"))
            return
        shim = os.getpid()
        self._state = {"shim": shim, "shim_start": process_start(shim), "boot": boot(), "pid": 0, "code": None}
        try:
            write_state(self.directory, self._state)
            _reserve(self.directory)
        except OSError as error:
            listener.close()
            self._remove(SOCKET, STATE, _RESERVE)
            control.tell(("error", "ContainerError", self._unwritten(error)))
            return
        control.tell(("created", shim))
        control.close()
        self._watch(listener.fileno(), _READ, lambda event: self._accept(listener))
        while not self._over:
            self._turn(None)
        self._end(listener)

    def _unwritten(self, error: OSError) -> str:
        return f"cannot write the container's state in {self.directory}: {(error.strerror or '').lower()}"

    def _remove(self, *names: str) -> None:
        for name in names:
            with contextlib.suppress(OSError):
                os.unlink(f"{self.directory}/{name}")

    def _listen(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        # By way of a descriptor, since the name of a socket may have only 108 bytes.
        place = os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.directory}/{SOCKET}")
        mask = os.umask(0o177)
        listener.bind(f"/proc/self/fd/{place}/{SOCKET}")
        os.umask(mask)
        os.close(place)
        listener.listen(64)
        return listener

    # The loop

    def _watch(self, descriptor: int, events: int, handler: Callable[[int], None]) -> None:
        self._handlers[descriptor] = handler
        self._poll.register(descriptor, events)

    def _forget(self, descriptor: int) -> None:
        if self._handlers.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def _turn(self, timeout: int | None) -> bool:
        ready = self._poll.poll(timeout)
        for descriptor, event in ready:
            handler = self._handlers.get(descriptor)
            if handler is not None:
                try:
                    handler(event)
                except Exception as error:  # a flaw of ours must not cost the container: the shim's end would kill it
                    self._forget(descriptor)
                    self._complain(descriptor, error)
        return bool(ready)

    def _complain(self, descriptor: int, error: Exception) -> None:
        with contextlib.suppress(OSError), open(f"{self.directory}/{COMPLAINTS}", "a", encoding="utf-8") as file:
            file.write(f"{time.time():.3f} descriptor {descriptor}: {type(error).__name__}: {error}\n")

    # Commands

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.settimeout(5)
        channel = Channel(connection, named=True)
        try:
            message, _ = channel.receive()
            answer = self._obey(message, channel)
        except (OSError, EOFError, ValueError, KeyError, TypeError):
            channel.close()
            return
        except ContainerError as error:
            answer = {"error": type(error).__name__, "text": str(error)}
        if answer is not None:
            channel.tell(answer)
            channel.close()

    def _obey(self, message: dict[str, Any], channel: Channel) -> dict[str, object] | None:
        """Do what is asked; None where the connection stays open."""
        kind = message["do"]
        if kind == "start":
            return self._start()
        if kind == "signal":
            if self._process < 0:
                raise ContainerError("the container is not started")
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, int(message["number"]))
            return {}
        if kind == "resize":
            self._size = int(message["rows"]), int(message["columns"])
            self._apply_size()
            return {}
        if kind == "wait":
            self._waiters.append(channel)
            # A waiter who goes away is noticed, or each would cost a descriptor until the end.
            self._watch(channel.fileno(), _READ, lambda event: self._drop_waiter(channel))
            return None
        if kind == "attach":
            channel.send({})
            self._attach(channel, message)
            return None
        if kind == "abandon":  # a container that was never started
            if not self._pid:
                self._over = True
            return {}
        raise ContainerError(f"the shim does not know how to {kind}")

    def _drop_waiter(self, channel: Channel) -> None:
        self._forget(channel.fileno())
        if channel in self._waiters:
            self._waiters.remove(channel)
        channel.close()

    def _start(self) -> dict[str, object]:
        if self._pid:
            raise ContainerError("the container is started already")
        streams = None
        ours: list[int] = []
        if not self._has_terminal:
            if self._stdin_wish == "none":
                source = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            else:
                source, self._stdin = os.pipe()
            (out, sink), (err, errors) = os.pipe(), os.pipe()
            streams, ours = (source, sink, errors), [out, err]
        try:
            launched = self.world.start(streams, self._size)
        except ContainerError as error:
            for each in ours:
                os.close(each)
            self._fail(error)
            raise
        finally:
            for each in streams or ():
                os.close(each)
        self._pid, self._terminal = launched.pid, launched.terminal
        self._state |= {
            "pid": launched.pid,
            "pid_start": process_start(launched.pid),
            "started": time.time_ns(),
            "cgroups": self.world.group.directories if self.world.group else {},
            "cgroup": self.world.group.name if self.world.group else "",
            "published": self.world.published,
            "ports": [[port.host_ip, port.host_port, port.container_port, port.protocol] for port in self.world.ports],
        }
        try:
            write_state(self.directory, self._state)
            _reserve(self.directory)
        except OSError as error:  # one that nobody would find again must not run
            os.kill(launched.pid, signal.SIGKILL)
            exit_status(launched.pid)
            self.world.finish()
            trouble = ContainerError(self._unwritten(error))
            self._fail(trouble)
            raise trouble from error
        self._process = os.pidfd_open(launched.pid)
        self._watch(self._process, select.POLLIN, lambda event: self._ended())
        if self._has_terminal:
            self._stdin = os.dup(self._terminal) if self._stdin_wish != "none" else -1
            ours = [self._terminal]
            self._apply_size()
        for stream, descriptor in zip((_STDOUT, _STDERR), ours, strict=False):
            os.set_blocking(descriptor, False)
            self._sources[descriptor] = stream
            self._watch(descriptor, _READ, partial(self._readable, descriptor))
        if self._stdin >= 0:
            os.set_blocking(self._stdin, False)
            self._feed()
        return {"pid": launched.pid, "warnings": self.world.warnings}

    def _fail(self, error: ContainerError) -> None:
        """Note why it did not start; then all is over."""
        self._state |= {"code": error.code, "error": str(error), "finished": time.time_ns()}
        with contextlib.suppress(OSError):
            write_state(self.directory, self._state)
        self._over = True

    def _apply_size(self) -> None:
        if self._terminal >= 0 and any(self._size):
            with contextlib.suppress(OSError):
                resize(self._terminal, *self._size)

    # From the container

    def _readable(self, source: int, event: int) -> None:
        self._output(source)

    def _listen_again(self) -> None:
        for each in self._sources:
            if each not in self._handlers:
                self._watch(each, _READ, partial(self._readable, each))

    def _output(self, source: int) -> bool:
        """Take a piece of what the container wrote; false at its end."""
        try:
            data = os.read(source, _PIECE)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno != errno.EIO:  # what a terminal says whose last process is gone
                raise
            data = b""
        stream = self._sources[source]
        if not data:
            self._forget(source)
            del self._sources[source]
            if source != self._terminal:
                os.close(source)
            return False
        self._log.write(_NAMES[stream], data)
        frame = data if self._has_terminal else struct.pack(">BxxxI", stream, len(data)) + data
        for viewer in list(self._viewers):
            if stream in viewer.streams:
                viewer.waiting += frame
                self._show(viewer)
        if any(len(viewer.waiting) > _ENOUGH for viewer in self._viewers):
            for each in self._sources:
                self._forget(each)
        return True

    def _show(self, viewer: _Viewer) -> None:
        """Send a viewer what it takes without waiting."""
        try:
            while viewer.waiting:
                del viewer.waiting[: viewer.connection.send(viewer.waiting)]
        except BlockingIOError:
            pass
        except OSError:
            self._let_go(viewer)
            return
        events = (_READ if viewer.typing and not viewer.paused else select.POLLHUP) | (_WRITE if viewer.waiting else 0)
        self._watch(viewer.connection.fileno(), events, lambda event: self._viewer_event(viewer, event))
        if self._sources and all(len(each.waiting) <= _ENOUGH for each in self._viewers):
            self._listen_again()

    # To the container

    def _attach(self, channel: Channel, message: dict[str, Any]) -> None:
        streams = {number for number, name in _NAMES.items() if message.get(name, True)}
        viewer = _Viewer(channel.socket, streams, bool(message.get("stdin")) and self._stdin_wish != "none")
        channel.socket.setblocking(False)
        self._viewers.append(viewer)
        self._show(viewer)

    def _viewer_event(self, viewer: _Viewer, event: int) -> None:
        if viewer.typing and not viewer.paused and event & (select.POLLIN | select.POLLHUP):
            self._type(viewer)
        elif event & (select.POLLHUP | select.POLLERR):
            self._let_go(viewer)
            return
        if viewer in self._viewers:
            self._show(viewer)

    def _type(self, viewer: _Viewer) -> None:
        if len(self._typed) > _ENOUGH:
            viewer.paused = True  # until the container has read some
            return
        try:
            data = viewer.connection.recv(_PIECE)
        except BlockingIOError:
            return
        except OSError:
            self._let_go(viewer)
            return
        if data:
            self._typed += data
        else:
            viewer.typing = False
            if self._stdin_wish == "once":
                self._stdin_wish = "closing"
        self._feed()

    def _feed(self) -> None:
        """Pass on what was typed, as far as the container takes it."""
        if self._stdin < 0:
            return
        try:
            while self._typed:
                del self._typed[: os.write(self._stdin, self._typed[:_PIECE])]
        except BlockingIOError:
            self._forget(self._stdin)
            self._watch(self._stdin, _WRITE, lambda event: self._feed())
            return
        except OSError:  # nobody reads any more
            self._typed.clear()
            self._stdin_wish = "closing"
        self._forget(self._stdin)
        for viewer in [each for each in self._viewers if each.paused]:
            viewer.paused = False
            self._show(viewer)
        if self._stdin_wish == "closing":
            if self._has_terminal:
                with contextlib.suppress(OSError):
                    os.write(self._stdin, b"\x04")
            os.close(self._stdin)
            self._stdin = -1

    def _let_go(self, viewer: _Viewer) -> None:
        self._forget(viewer.connection.fileno())
        viewer.connection.close()
        if viewer in self._viewers:
            self._viewers.remove(viewer)
        if viewer.typing and self._stdin_wish == "once":
            self._stdin_wish = "closing"
            self._feed()
        self._listen_again()

    # The end

    def _ended(self) -> None:
        self._over = True

    def _end(self, listener: socket.socket) -> None:
        if self._process >= 0:
            code = exit_status(self._pid)
            deadline = time.monotonic() + 1  # a process outside of the pid namespace may hold the pipes open for ever
            for source in list(self._sources):
                while self._output(source) and time.monotonic() < deadline:
                    pass
            self._log.close()
            oom = self.world.finish()
            self._state |= {"code": code, "oom_killed": oom, "finished": time.time_ns(), "lost": self._log.lost}
            with contextlib.suppress(OSError):
                write_state(self.directory, self._state)
        listener.close()
        self._remove(SOCKET, _RESERVE)
        for waiter in self._waiters:
            waiter.tell({"code": self._state["code"]})
            waiter.close()
        for viewer in self._viewers:
            self._forget(viewer.connection.fileno())
            with contextlib.suppress(OSError):
                viewer.connection.settimeout(10)
                viewer.connection.sendall(viewer.waiting)
            viewer.connection.close()
