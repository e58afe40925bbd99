"""An engine of which nothing is there but its answers: for what the command line prints, and for what it asks.

The answers are in `answers.json`, recorded of a Docker engine and shortened: `METHOD path` -> status and JSON. A number
below zero as `Created` is so many seconds ago. A list that is answered to what streams goes out as one object a line.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import socketserver
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["FakeEngine", "fake_engine"]

ANSWERS = json.loads((Path(__file__).parent / "answers.json").read_bytes())

#: What is answered as a stream of objects.
_STREAMS = ("/images/create", "/push", "/images/load", "/build", "/events")


@dataclass
class FakeEngine:
    """An engine that answers.

    Attributes
    ----------
    path
        Its socket.
    requests
        What it was asked: method, path without version, query, body.
    """

    path: Path
    version: str = "1.50"
    requests: list[tuple[str, str, list[tuple[str, str]], Any]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(ANSWERS))

    @property
    def url(self) -> str:
        """Its address."""
        return f"unix://{self.path}"


def _aged(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: int(time.time()) + item if key == "Created" and isinstance(item, int) and item < 0 else _aged(item)
            for key, item in value.items()
        }
    return [_aged(item) for item in value] if isinstance(value, list) else value


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: FakeEngine

    def log_message(self, format: str, *args: object) -> None:
        pass

    def address_string(self) -> str:
        return "unix"

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self) -> None:
        split = urlsplit(self.path)
        path = unquote(split.path)
        if path.startswith("/v1."):
            path = "/" + path.split("/", 2)[2]
        body = self._body()
        if path == "/_ping":
            self._send(200, b"" if self.command == "HEAD" else b"OK")
            return
        known: Any = body.decode("latin-1")
        with contextlib.suppress(ValueError):
            known = json.loads(body)
        self.engine.requests.append((self.command, path, sorted(parse_qsl(split.query, True)), known))
        found = self.engine.answers.get(f"{self.command} {path}")
        if found is None:
            self._refuse(path)
            return
        status, value = found
        if isinstance(value, list) and path.endswith(_STREAMS):
            self._send(status, "".join(f"{json.dumps(item)}\r\n" for item in value).encode())
        else:
            self._send(status, b"" if status == 204 else json.dumps(_aged(value)).encode())

    def _refuse(self, path: str) -> None:
        for start, text in self.engine.answers["ERRORS"].items():
            if path.startswith(start):
                name = path[len(start) :].removesuffix("/json")
                for end in ("/stop", "/start", "/kill", "/wait", "/archive", "/exec"):
                    name = name.removesuffix(end)
                self._send(404, json.dumps({"message": text.format(name)}).encode())
                return
        self._send(404, b'{"message": "page not found"}')

    def _send(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Api-Version", self.engine.version)
        self.send_header("Ostype", "linux")
        self.send_header("Content-Type", "application/json")
        if status != 204:
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _answer  # noqa: N815 - http.server's names


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a client may go away at any moment, `run -d` does."""


@contextlib.contextmanager
def fake_engine(folder: Path) -> Iterator[FakeEngine]:
    """Start one with its socket in a directory; it ends with the block."""
    engine = FakeEngine(folder / "fake.sock")
    handler = type("Handler", (_Handler,), {"engine": engine})
    with _Server(os.fspath(engine.path), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield engine
        finally:
            server.shutdown()
            thread.join()
