"""The routes that hand their connection over to a container: attach.

A protocol adapter only. Trap: the docker command starts a container only after it was answered here, so whoever is
attached is noted before the answer's head is sent, and gets the container's stream when there is one.
"""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import struct
import termios
import time
from typing import TYPE_CHECKING

from sim.api.exchange import Answer, Request, Upgraded
from sim.engine.container import Container, PendingStream
from sim.engine.errors import BadParameterError, ConflictError
from sim.engine.streams import Relay, ShimStream
from sim.runtime import DetachKeys

if TYPE_CHECKING:
    from sim.api.router import Router
    from sim.engine import Engine

__all__ = ["RAW", "detach_keys", "register", "stream_type"]

RAW = "application/vnd.docker.raw-stream"
_MULTIPLEXED = "application/vnd.docker.multiplexed-stream"


def stream_type(request: Request, terminal: bool) -> str:
    """Return the content type of a stream, as clients of each version expect it."""
    return RAW if terminal or request.version < (1, 42) else _MULTIPLEXED


def detach_keys(text: str) -> DetachKeys:
    """Return the keys that detach; those that Docker has by default where none are named."""
    try:
        return DetachKeys(text) if text else DetachKeys()
    except ValueError:
        raise BadParameterError(f"invalid detach keys ({text}) provided") from None


def register(router: Router, engine: Engine) -> None:
    """Register the routes."""
    containers = engine.containers

    @router.route("GET", "/containers/{id}/attach/ws")
    def attach_by_messages(request: Request) -> Answer:
        from sim.api.websocket import Bridge, accepted  # few clients need it

        container = containers.get(request.parameters["id"])
        accept = accepted(request)
        every = request.version < (1, 42)
        handed = attached(request, container, every=every)

        def take(client: socket.socket, rest: bytes) -> None:
            framed = not container.record.config.tty
            bridge = Bridge(client, rest, framed=framed, binary=request.version >= (1, 28))
            try:
                handed.take(bridge.inner, b"")
            finally:
                bridge.close()

        return Upgraded(take, give_up=handed.give_up, accept=accept)

    @router.route("POST", "/containers/{id}/attach")
    def attach(request: Request) -> Answer:
        return attached(request, containers.get(request.parameters["id"]))

    def attached(request: Request, container: Container, *, every: bool = False) -> Upgraded:
        """Attach a client; with all streams, whatever it asks for, where that is said."""
        keys = detach_keys(request.query.get("detachKeys", ""))
        _check(container)
        terminal = container.record.config.tty
        typing = (every or request.flag("stdin")) and container.record.config.open_stdin
        streams = {name: every or request.flag(name) for name in ("stdout", "stderr")}
        replay = request.flag("logs")
        pending: PendingStream | None = None
        if request.flag("stream"):
            pending = containers.starting.wait_for_start(container, stdin=typing, **streams)
        containers.tell(container, "attach")

        def take(client: socket.socket, rest: bytes) -> None:
            if replay:
                _settle(client)
                wanted = [name for name, given in streams.items() if given]
                for piece in containers.logs.wish(container.id, wanted).pieces():
                    client.sendall(piece)
            if pending is None:
                return
            stream = _wait(client, pending)
            if stream is None:
                return
            far = ShimStream(stream, typing=typing)
            try:
                relay = Relay(client, far, rest, keys=keys if terminal and typing else None)
                relay.run()
                if relay.detached:
                    containers.tell(container, "detach")
            finally:
                far.close()

        return Upgraded(take, stream_type(request, terminal), pending.abandon if pending else None)


def _check(container: Container) -> None:
    state = container.state
    if state.paused:
        raise ConflictError(f"Container {container.id} is paused, unpause the container before attach.")
    if state.restarting:
        raise ConflictError(
            f"Container {container.id} is restarting, wait until the container is running before attach."
        )


def _settle(client: socket.socket) -> None:
    """Wait, a moment at most, until the client has taken the answer's head: docker-py loses what comes with it."""
    for _ in range(100):
        waiting = struct.unpack("=i", fcntl.ioctl(client.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        if not waiting:
            return
        time.sleep(0.002)


def _wait(client: socket.socket, pending: PendingStream) -> socket.socket | None:
    """Wait for the container's stream; None when there will be none, or the client is gone."""
    poll = select.poll()
    poll.register(client, 0)  # only that it has gone; what it sends, or that it ends its input, is for the relay
    poll.register(pending.fileno(), select.POLLIN)
    try:
        ready = {descriptor for descriptor, _ in poll.poll()}
    finally:
        stream = pending.take()
    if stream is not None and client.fileno() in ready and pending.fileno() not in ready:
        with contextlib.suppress(OSError):
            stream.close()
        return None
    return stream
