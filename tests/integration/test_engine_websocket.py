"""Attaching by WebSocket, on our daemon and on Docker's engine."""

from __future__ import annotations

import contextlib
import http.client
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import websocket
from docker import DockerClient as Client

from tests.bothengines import asked, client, reference_engine, running
from tests.daemons import Daemon
from tests.dockerd import ReferenceEngine
from tests.patience import until

__all__ = ["asked", "client", "reference_engine", "running"]

pytestmark = pytest.mark.usefixtures("root")

TALK = "echo first; echo wrong >&2; while read line; do echo got $line; done; echo over"


@contextlib.contextmanager
def attached(
    engine: Daemon | ReferenceEngine,
    name: str,
    query: str = "stream=1&stdin=1&stdout=1&stderr=1",
    version: str = "1.41",
) -> Iterator[Any]:
    """Have a WebSocket to a container."""
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(20)
        plain.connect(str(engine.socket))
        found = websocket.create_connection(f"ws://docker/v{version}/containers/{name}/attach/ws?{query}", socket=plain)
        try:
            yield found
        finally:
            found.close()


def received(connection: Any, size: int) -> bytes:
    """Return this many bytes, however many messages they come in."""
    data = b""
    while len(data) < size:
        opcode, part = connection.recv_data()
        assert opcode == websocket.ABNF.OPCODE_BINARY
        data += part
    return data


def test_output_comes_without_headers_and_input_is_typed(asked: Daemon | ReferenceEngine, client: Client) -> None:
    one = client.containers.create("busybox", ["sh", "-c", TALK], stdin_open=True, name="talks")
    with attached(asked, "talks") as connection:
        one.start()
        assert sorted(received(connection, 12).splitlines()) == [b"first", b"wrong"]
        connection.send("words\n")
        assert received(connection, 10) == b"got words\n"
        connection.send_binary(b"more\n")
        assert received(connection, 9) == b"got more\n"
        connection.ping("still there?")
        one.kill()
        assert received_end(connection) in (0, 1000)


def received_end(connection: Any) -> int:
    """Return the code with which the other side says that it is over; 0 for none."""
    while True:
        frame = connection.recv_frame()
        if frame.opcode == websocket.ABNF.OPCODE_CLOSE:
            return int.from_bytes(frame.data[:2])


def test_what_was_said_before_is_repeated(asked: Daemon | ReferenceEngine, client: Client) -> None:
    one = client.containers.run("busybox", ["sh", "-c", TALK], stdin_open=True, name="talks", detach=True)
    until(lambda: len(one.logs().splitlines()) == 2)
    with attached(asked, "talks", "logs=1&stdout=1&stderr=1") as connection:
        assert sorted(received(connection, 12).splitlines()) == [b"first", b"wrong"]
        assert received_end(connection) in (0, 1000)


def test_who_goes_leaves_the_container_running(asked: Daemon | ReferenceEngine, client: Client) -> None:
    one = client.containers.run("busybox", ["sh", "-c", TALK], stdin_open=True, name="talks", detach=True)
    with attached(asked, "talks") as connection:
        connection.send("words\n")
        until(lambda: b"got words" in one.logs())
    with attached(asked, "talks") as connection:
        connection.send("again\n")
        assert received(connection, 10) == b"got again\n"
    one.reload()
    assert one.status == "running"


def test_a_terminal_and_much_of_it(asked: Daemon | ReferenceEngine, client: Client) -> None:
    one = client.containers.run(
        "busybox",
        ["sh", "-c", "stty raw -echo; echo ready; exec cat"],
        stdin_open=True,
        tty=True,
        name="term",
        detach=True,
    )
    until(lambda: b"ready" in one.logs())
    data = bytes(range(65, 91)) * 10_000
    with attached(asked, "term") as connection:
        connection.settimeout(20)
        for at in range(0, len(data), 26_000):
            connection.send_binary(data[at : at + 26_000])
        assert received(connection, len(data)) == data


def test_old_clients_get_text(asked: Daemon | ReferenceEngine, client: Client) -> None:
    one = client.containers.create("busybox", ["sh", "-c", TALK], stdin_open=True, name="talks")
    with attached(asked, "talks", "stream=1", "1.27") as connection:
        one.start()
        opcode, data = connection.recv_data()
        assert opcode == websocket.ABNF.OPCODE_TEXT
        assert data.splitlines()[0] in (b"first", b"wrong")


@pytest.mark.parametrize(("name", "status"), [("absent", 404), ("here", 400)])
def test_what_is_no_handshake_is_refused(
    asked: Daemon | ReferenceEngine, client: Client, name: str, status: int
) -> None:
    client.containers.create("busybox", "true", name="here")
    with socket.socket(socket.AF_UNIX) as plain:
        plain.connect(str(asked.socket))
        connection = http.client.HTTPConnection("docker")
        connection.sock = plain
        connection.request("GET", f"/v1.41/containers/{name}/attach/ws?stream=1")
        answer = connection.getresponse()
        assert (answer.status, b"not websocket protocol" in answer.read()) == (status, status == 400)


def test_a_client_that_breaks_the_rules_is_let_go(running: Daemon) -> None:
    with contextlib.closing(running.client()) as client:
        one = client.containers.run("busybox", ["sleep", "1000"], stdin_open=True, name="term", detach=True)
        with attached(running, "term") as connection:
            connection.sock.sendall(b"\x81\x05hello")  # not masked
            assert received_end(connection) == 1002
        one.reload()
        status = one.status
        one.remove(force=True)
        assert status == "running"
