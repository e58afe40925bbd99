"""The routes of exec.

A protocol adapter only. Trap: what goes wrong at the start of an attached exec is told in its stream, after the
connection was handed over; the docker command then asks for the exit status.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

from sim.api.attach import detach_keys, stream_type
from sim.api.containers import size_of
from sim.api.exchange import Answer, Plain, Request, Upgraded, empty, json_answer
from sim.engine.errors import EngineError
from sim.engine.execs import Exec, ExecRequest
from sim.engine.model import Document
from sim.engine.reading import read
from sim.engine.streams import Far, Relay, frame
from sim.runtime import ContainerError

if TYPE_CHECKING:
    from sim.api.router import Router
    from sim.engine import Engine

__all__ = ["register"]

#: Seconds that the end of a process is waited for when its output is over, so that its exit status is there.
_PATIENCE = 2.0


class _Start(Document, frozen=True, kw_only=True):
    """The body of a start."""

    detach: bool = False
    tty: bool = False
    console_size: tuple[int, int] | None = None


def register(router: Router, engine: Engine) -> None:
    """Register the routes."""
    execs = engine.execs

    @router.route("POST", "/containers/{id}/exec")
    def create(request: Request) -> Answer:
        wish = read(request.json(object), ExecRequest, "container.ExecOptions")
        detach_keys(wish.detach_keys)
        return json_answer({"Id": execs.create(request.parameters["id"], wish).id}, 201)

    @router.route("POST", "/exec/{id}/start")
    def start(request: Request) -> Answer:
        body = request.json(object, required=False)
        wish = read(body or {}, _Start, "container.ExecStartOptions")
        made = execs.claim(request.parameters["id"])
        size = wish.console_size or (0, 0)
        if wish.detach:
            far = execs.start(made, size, detached=True)
            _drain(far, made)
            return Plain(b"", 200)

        def take(client: socket.socket, rest: bytes) -> None:
            _run(engine, made, client, rest, wish)

        return Upgraded(take, stream_type(request, wish.tty))

    @router.route("POST", "/exec/{id}/resize")
    def resize(request: Request) -> Answer:
        rows, columns = size_of(request)
        execs.resize(execs.get(request.parameters["id"]), rows, columns)
        return empty(200)

    @router.route("GET", "/exec/{id}/json")
    def inspect(request: Request) -> Answer:
        return json_answer(execs.inspect(execs.get(request.parameters["id"])))


def _run(engine: Engine, made: Exec, client: socket.socket, rest: bytes, wish: _Start) -> None:
    """Run an exec on a connection that was handed over.

    Trap: whether its output is framed is what the start says, not whether it has a terminal: docker-py starts those
    with a terminal without saying so again, and takes the frames apart.
    """
    try:
        far = engine.execs.start(made, wish.console_size or (0, 0))
    except (ContainerError, EngineError, OSError) as error:
        text = f"{error}\r\n".encode()
        with contextlib.suppress(OSError):
            client.sendall(text if wish.tty else frame(1, text))
        return
    keys = detach_keys(made.wish.detach_keys) if made.wish.tty and made.wish.attach_stdin else None
    far.outputs = {each: 0 if wish.tty else stream or 1 for each, stream in far.outputs.items()}
    relay = Relay(client, far, rest, keys=keys, over=(made.over,))
    try:
        if relay.run(before_end=lambda: made.wait(_PATIENCE)):
            return
        if relay.detached:
            engine.containers.tell(made.container, "exec_detach", execID=made.id)
        relay.drain()
    finally:
        far.close()


def _drain(far: Far, made: Exec) -> None:
    """Read what a process writes into a terminal that nobody looks at."""
    if not far.outputs:
        return

    def drain() -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            Relay(ours, far, over=(made.over,)).drain()
        far.close()

    threading.Thread(target=drain, name="exec", daemon=True).start()
