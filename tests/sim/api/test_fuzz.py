"""Requests that make no sense, over all routes: each gets an answer, none finds a defect, the server goes on."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sim.api.application import application
from sim.api.listeners import listener_for
from sim.api.router import Router
from sim.api.server import Server
from sim.engine import Engine
from sim.images import file, image_from_layers
from sim.runtime import end_zygote

EXAMPLES = int(os.environ.get("LAYERLAB_EXAMPLES", "0")) or 400


@dataclass
class Served:
    """A server in this process."""

    path: Path
    router: Router
    engine: Engine

    def ask(self, data: bytes, *, whole: bool = True) -> tuple[int, bytes]:
        """Send bytes; return the status and what of the body came at once."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.path))
            connection.sendall(data)
            answer = b""
            while b"\r\n\r\n" not in answer:
                part = connection.recv(1 << 16)
                if not part:
                    break
                answer += part
            head, _, body = answer.partition(b"\r\n\r\n")
            found = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
            assert found, answer[:200]
            length = re.search(rb"(?i)content-length: (\d+)", head)
            while whole and length and len(body) < int(length[1]) and not data.startswith(b"HEAD"):
                part = connection.recv(1 << 16)
                assert part, (answer, body)
                body += part
            return int(found[1]), body


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Return a server with an image, a volume, a network and a container whose command is not there."""
    with tempfile.TemporaryDirectory(prefix="f-") as place, Engine(Path(place) / "root") as engine:
        layer = engine.store.add_entries([file("/etc/motd", "hello")])
        image_from_layers(engine.store, [layer], tags=["img:1"], settings={"Cmd": ["/nothing"]})
        engine.volumes.create("vol1")
        engine.start()
        router = application(engine)
        server = Server(router)
        path = Path(place) / "s.sock"
        server.listen(listener_for(f"unix://{path}"))
        one = Served(path, router, engine)
        body = json.dumps({"Image": "img:1"}).encode()
        assert one.ask(request("POST", "/containers/create?name=con1", body))[0] == 201
        yield one
        engine.shut_down()
        server.close()
        end_zygote()


@pytest.fixture
def defects() -> Iterator[list[str]]:
    """Return what is logged as a defect of the program."""
    found: list[str] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info:
                found.append(f"{record.getMessage()}: {logging.Formatter().formatException(record.exc_info)}")

    handler = Handler(logging.ERROR)
    logger = logging.getLogger("layerlab")
    logger.addHandler(handler)
    yield found
    logger.removeHandler(handler)


def request(
    method: str, target: str, body: bytes = b"", content_type: str = "application/json", chunked: bool = False
) -> bytes:
    """Return the bytes of a request."""
    head = f"{method} {target} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: {content_type}\r\n"
    if chunked:
        return (
            f"{head}Transfer-Encoding: chunked\r\n\r\n{len(body):x}\r\n".encode()
            + body
            + (b"\r\n0\r\n\r\n" if body else b"\r\n")
        )
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


NAMES = st.sampled_from(["img:1", "con1", "vol1", "bridge", "none", "sha256:", "a/b/c", "..", "%00", "x" * 300, "json"])
TEXTS = st.one_of(NAMES, st.text(max_size=20))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        *("Name", "Image", "Cmd", "Env", "HostConfig", "NetworkingConfig", "Labels", "Driver", "DriverOpts", "IPAM"),
        *("Container", "EndpointConfig", "Tty", "Detach", "User", "ExposedPorts", "Volumes", "Healthcheck", "Memory"),
        *("username", "password", "serveraddress", "RestartPolicy", "Binds", "Mounts", "PortBindings", "Options"),
        *(
            "EnableIPv6",
            "Internal",
            "Config",
            "Subnet",
            "IPRange",
            "Gateway",
            "DetachKeys",
            "WorkingDir",
            "StopTimeout",
        ),
    ]
)
DOCUMENTS = st.one_of(
    JSON,
    st.dictionaries(FIELDS, st.one_of(JSON, st.dictionaries(FIELDS, JSON, max_size=3)), max_size=4),
)
BODIES = st.one_of(
    st.just(b""),
    DOCUMENTS.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=40),
    st.sampled_from([b"{", b"null", b"[" * 5000, b'{"a":' * 2000, b"\xff\xfe", b'{"Name": "a", "Name": 5}', b"{} {}"]),
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *("all", "filters", "limit", "size", "since", "until", "before", "force", "v", "link", "signal", "t"),
                *(
                    "names",
                    "repo",
                    "tag",
                    "comment",
                    "changes",
                    "term",
                    "name",
                    "condition",
                    "h",
                    "w",
                    "stream",
                    "logs",
                ),
                *("stdout", "stderr", "stdin", "tail", "timestamps", "path", "noOverwriteDirNonDir", "buildargs", "q"),
                *("labels", "ulimits", "cachefrom", "memory", "cpuquota", "target", "dockerfile", "platform", "type"),
                *(
                    "quiet",
                    "noprune",
                    "fromSrc",
                    "shared-size",
                    "digests",
                    "ps_args",
                    "pause",
                    "container",
                    "detachKeys",
                ),
            ]
        ),
        st.one_of(
            TEXTS,
            st.integers().map(str),
            st.sampled_from(
                ["1", "0", "true", '{"label":["a=b"]}', '{"a":1}', "[", "{}", '{"until":["x"]}', "-", "1e9"]
            ),
            JSON.map(json.dumps),
        ),
    ),
    max_size=4,
)

#: What would reach beyond this process, or is there to change it for good.
LEFT_OUT = re.compile(r"POST /images/create|POST /auth|GET /images/search|/distribution/|/push$")


def targets(router: Router) -> list[tuple[str, str]]:
    """Return the method and the pattern of every route, parameters in braces."""
    found = []
    for method, pattern, _ in router._routes:
        text = re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", pattern.pattern).replace("\\", "")
        if not LEFT_OUT.search(f"{method} {text}"):
            found.append((method, text))
    return found


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_every_route_answers_whatever_comes(served: Served, defects: list[str], data: st.DataObject) -> None:
    method, pattern = data.draw(st.sampled_from(targets(served.router)))
    path = re.sub(r"\{\w+\}", lambda _: quote(data.draw(TEXTS) or "x", safe="/:%"), pattern)
    version = data.draw(st.sampled_from(["", "/v1.24", "/v1.41", "/v1.50"]))
    query = urlencode(data.draw(QUERIES))
    body = data.draw(BODIES)
    kind = data.draw(st.sampled_from(["application/json", "application/x-tar", "text/plain", ""]))
    target = f"{version}{path}" + (f"?{query}" if query else "")
    status, answer = served.ask(request(method, target, body, kind, data.draw(st.booleans())))
    assert defects == [], (method, target, body)
    if status >= 400:
        assert isinstance(json.loads(answer)["message"], str), (method, target, answer)


def test_every_route_is_reached_with_an_ordinary_name(served: Served, defects: list[str]) -> None:
    for method, pattern in targets(served.router):
        for name in ("con1", "img:1", "nobody"):
            target = re.sub(r"\{\w+\}", name, pattern)
            if method == "DELETE" or "prune" in target:
                target += "?filters=%7B%22label%22%3A%5B%22none%22%5D%7D"
            status, answer = served.ask(request(method, f"/v1.41{target}"))
            assert defects == [], (method, target)
            assert 100 <= status < 600
            assert status < 400 or json.loads(answer)["message"], (method, target)
            if method == "DELETE" and served.ask(request("GET", "/containers/con1/json"))[0] == 404:
                body = json.dumps({"Image": "img:1"}).encode()
                served.ask(request("POST", "/containers/create?name=con1", body))
    status, _ = served.ask(request("GET", "/_ping"))
    assert status == 200


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(min_size=1, max_size=200))
def test_what_is_no_http_is_refused(served: Served, defects: list[str], noise: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(served.path))
        connection.sendall(noise)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    assert answer == b"" or answer.startswith(b"HTTP/1.1 "), answer
    assert defects == []
    assert served.ask(request("GET", "/_ping"))[0] == 200


def test_a_body_that_is_too_large_is_refused(served: Served) -> None:
    body = b'{"Name": "' + b"x" * (9 << 20) + b'"}'
    status, answer = served.ask(request("POST", "/volumes/create", body))
    assert (status, json.loads(answer)["message"]) == (413, "http: request body too large")
    assert served.ask(request("GET", "/_ping"))[0] == 200


def test_a_connection_that_says_nothing_holds_nobody_up(served: Served) -> None:
    held = []
    for _ in range(50):
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(served.path))
        connection.sendall(b"POST /volumes/create HTTP/1.1\r\nHost: d\r\nContent-Length: 100\r\n\r\n{")
        held.append(connection)
    assert served.ask(request("GET", "/_ping"))[0] == 200
    for connection in held:
        connection.close()
