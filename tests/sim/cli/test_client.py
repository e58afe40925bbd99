"""The client: which engine is meant, which API is spoken, what becomes of answers that go wrong."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sim.cli.client import CannotConnectError, DaemonError, Engine, Host
from sim.cli.client.hijack import frames
from sim.cli.client.hosts import choose, parse
from sim.cli.failure import Failure
from tests.sim.cli.fake import FakeEngine, fake_engine


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("LAYERLAB_HOST", "DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_TLS", "DOCKER_API_VERSION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEngine]:
    with fake_engine(tmp_path) as engine:
        yield engine


@pytest.fixture
def client(fake: FakeEngine) -> Iterator[Engine]:
    engine = Engine(parse(fake.url))
    yield engine
    engine.close()


def test_who_names_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERLAB_ROOT", "/some/where")
    embedded = choose({})
    assert (embedded.url, embedded.named) == ("unix:///some/where/run/layerlab.sock", False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///docker.sock")
    assert choose({}).path == "/docker.sock"
    monkeypatch.setenv("LAYERLAB_HOST", "tcp://host:1234")
    assert (choose({}).name, choose({}).port, choose({}).named) == ("host", 1234, True)
    assert choose({"host": ("unix:///flag.sock",)}).path == "/flag.sock"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("tcp://1.2.3.4:5", "tcp://1.2.3.4:5"),
        ("1.2.3.4", "tcp://1.2.3.4:2375"),
        ("tcp://[::1]:5", "tcp://[::1]:5"),
        ("unix://", "unix:///var/run/docker.sock"),
        ("http://h:1/below", "tcp://h:1/below"),
    ],
)
def test_hosts(text: str, url: str) -> None:
    assert parse(text).url == url


@pytest.mark.parametrize("text", ["sshx://x", "npipe://x", "tcp://h:port"])
def test_hosts_that_cannot_be(text: str) -> None:
    with pytest.raises(Failure):
        parse(text)


def test_tls_is_chosen_by_option_and_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert choose({"host": ("tcp://h",)}).tls is None
    (tmp_path / "ca.pem").touch()
    for settings in ({"tlsverify": True}, {"tls": True}):
        host = choose({"host": ("tcp://h",), **settings})
        assert host.port == 2376
        assert host.tls is not None
        assert host.tls.verify is settings.get("tlsverify", False)
        assert host.tls.authority == str(tmp_path / "ca.pem")
        assert host.tls.certificate == ""
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    tls = choose({"host": ("tcp://h",), "tlscert": "mine.pem"}).tls
    assert tls is not None
    assert tls.certificate == "mine.pem"


@pytest.mark.parametrize(("theirs", "spoken"), [("1.41", "1.41"), ("1.50", "1.50"), ("1.99", "1.50"), ("1.9", "1.9")])
def test_the_lower_version_is_spoken(fake: FakeEngine, client: Engine, theirs: str, spoken: str) -> None:
    fake.version = theirs
    client.get("/networks")
    assert client.version == spoken
    assert client.at_least("1.24") is (theirs != "1.9")


def test_a_version_can_be_forced(client: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_API_VERSION", "1.30")
    client.ping()
    assert client.version == "1.30"


def test_queries_and_bodies(fake: FakeEngine, client: Engine) -> None:
    client.get("/networks", all=True, size=False, limit=None, names=["a", "b/c"], filters={"b": {"x": True}, "a": {}})
    assert fake.requests[-1][2] == [
        ("all", "1"),
        ("filters", '{"a":{},"b":{"x":true}}'),
        ("names", "a"),
        ("names", "b/c"),
    ]
    assert client.post("/containers/create", {"Image": "é"})["Id"] == "f" * 64
    assert fake.requests[-1][3] == {"Image": "é"}
    stream = client.stream("POST", "/images/load", iter([b"ab", b"c"]))
    with stream:
        assert list(stream.objects()) == [{"stream": "Loaded image: x:1\n"}]
    assert fake.requests[-1][3] == "abc"


def test_refusals(client: Engine) -> None:
    with pytest.raises(DaemonError) as refused:
        client.get("/containers/nosuch/json")
    assert (refused.value.code, refused.value.text) == (404, "Error response from daemon: No such container: nosuch")


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(CannotConnectError, match=r"Cannot connect to the Docker daemon at unix://.*/nosuch"):
        Engine(parse(f"unix://{tmp_path}/nosuch")).ping()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(CannotConnectError, match=f"tcp://127.0.0.1:{port}"):
        Engine(parse(f"tcp://127.0.0.1:{port}")).ping()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every socket")
def test_a_socket_that_may_not_be_used(fake: FakeEngine) -> None:
    fake.path.chmod(0)
    with pytest.raises(CannotConnectError, match="permission denied while trying to connect"):
        Engine(parse(fake.url)).ping()


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[[bytes], Host]]:
    """Return a function that makes a host which answers a ping, and then everything with the same bytes."""
    opened: list[socket.socket] = []

    def talk(connection: socket.socket, answer: bytes) -> None:
        with connection, connection.makefile("rb") as reader:
            while line := reader.readline():
                while reader.readline() not in (b"\r\n", b""):
                    pass
                if b"_ping" in line:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 0\r\n\r\n")
                else:
                    connection.sendall(answer)
                    break

    def serve(server: socket.socket, answer: bytes) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection, answer), daemon=True).start()

    def make(answer: bytes) -> Host:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(tmp_path / "s"))
        server.listen()
        opened.append(server)
        threading.Thread(target=serve, args=(server, answer), daemon=True).start()
        return parse(f"unix://{tmp_path}/s")

    yield make
    for server in opened:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
            "request returned 500 Internal Server Error",
        ),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 5\r\n\r\nplain", "Error response from daemon: plain"),
        (b'HTTP/1.1 400 Bad\r\nContent-Length: 18\r\n\r\n{"message": "why"}', "Error response from daemon: why"),
        (b"nonsense\r\n\r\n", "error during connect"),
    ],
    ids=["empty", "no JSON", "JSON", "no HTTP"],
)
def test_answers_that_are_none(answering: Callable[[bytes], Host], answer: bytes, text: str) -> None:
    engine = Engine(answering(answer))
    with pytest.raises(Failure, match=text):
        engine.get("/info")
    engine.close()


def test_objects_come_in_any_pieces(answering: Callable[[bytes], Host]) -> None:
    wanted = [{"a": "é€😀"}, {"b": "}{"}, {"c": [1, {"d": 2}]}]
    data = b"\r\n".join(json.dumps(item, ensure_ascii=False).encode() for item in wanted)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in data) + b"0\r\n\r\n"
    engine = Engine(answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks))
    with engine.stream("GET", "/events") as stream:
        assert list(stream.objects()) == wanted
    engine.close()


def test_a_stream_that_breaks_off_is_an_error(answering: Callable[[bytes], Host]) -> None:
    engine = Engine(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"))
    with engine.stream("GET", "/containers/x/export") as stream, pytest.raises(Failure, match="unexpected EOF"):
        stream.read()
    engine.close()


def test_what_came_behind_the_head_is_not_lost(answering: Callable[[bytes], Host]) -> None:
    head = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    engine = Engine(answering(head + b"\1\0\0\0\0\0\0\3abc\2\0\0\0\0\0\0\1d"))
    found: list[tuple[int, bytes]] = []
    with engine.hijack("/containers/x/attach", stream=True) as connection:
        frames(connection.chunks(), lambda stream, data: found.append((stream, data)))
    engine.close()
    assert found == [(1, b"abc"), (2, b"d")]
