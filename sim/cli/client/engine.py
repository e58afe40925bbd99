"""The requests.

Decided here and only here: how a request is put, which version of the API is spoken, and how an error becomes a
`DaemonError`. An `Engine` keeps one connection for plain requests; streams have connections of their own. One thread;
what another thread or a signal handler asks, it asks by `apart()`.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

from sim.cli.client.errors import CannotConnectError, DaemonError
from sim.cli.client.hijack import Hijacked
from sim.cli.client.hosts import Host

__all__ = ["NEWEST", "Engine", "Stream"]

#: The newest version of the API that is spoken here.
NEWEST = "1.50"

Body = bytes | Iterable[bytes] | None


class _Connection(http.client.HTTPConnection):
    """A connection to any kind of host."""

    def __init__(self, host: Host) -> None:
        super().__init__(host.name or "localhost", host.port or None)
        self._engine_host = host
        self.way: socket.socket | None = None

    def connect(self) -> None:
        """Connect."""
        self.sock = self.way = self._engine_host.open()


class Stream:
    """An answer that is read as it comes. A context manager, which closes it."""

    def __init__(self, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
        self._connection = connection
        self.answer = answer

    def __enter__(self) -> Self:
        """Return the same."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Close the connection, whatever is still to come."""
        self.answer.close()
        self._connection.close()

    def header(self, name: str) -> str:
        """Return a header; empty where there is none."""
        return self.answer.getheader(name) or ""

    def chunks(self, size: int = 1 << 18) -> Iterator[bytes]:
        """Yield what comes, as it comes."""
        left = self.answer.length  # http.client does not tell where less came than was promised
        try:
            while data := self.answer.read1(size):
                left = None if left is None else left - len(data)
                yield data
        except http.client.IncompleteRead as error:
            raise CannotConnectError("unexpected EOF") from error
        if left:
            raise CannotConnectError("unexpected EOF")

    def read(self) -> bytes:
        """Return all of it."""
        return b"".join(self.chunks())

    def objects(self) -> Iterator[dict[str, Any]]:
        """Yield JSON objects as they come, one behind the other with or without line ends between."""
        decoder = json.JSONDecoder()
        waiting = b""
        for data in self.chunks():
            waiting += data
            if b"}" not in data:
                continue
            text, waiting = _whole(waiting)
            while text := text.lstrip():
                try:
                    found, end = decoder.raw_decode(text)
                except ValueError:
                    break
                text = text[end:]
                yield found
            waiting = text.encode("utf-8", "surrogateescape") + waiting


def _whole(data: bytes) -> tuple[str, bytes]:
    """Split off what may be the beginning of a character that has not come in full."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            break
        if byte >= 0xC0:
            whole = back >= (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4)
            if not whole:
                return data[:-back].decode("utf-8", "surrogateescape"), data[-back:]
            break
    return data.decode("utf-8", "surrogateescape"), b""


class Engine:
    """An engine.

    Parameters
    ----------
    host
        Where it is.

    Attributes
    ----------
    version
        The version of the API that is spoken with it; known once it was first asked for anything.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self.version = ""
        self._connection: http.client.HTTPConnection | None = None
        self._others: list[Engine] = []

    def apart(self) -> Engine:
        """Return another client of the same engine, for a thread or a signal handler; it is closed with this one."""
        other = Engine(self.host)
        other.version = self.version
        self._others.append(other)
        return other

    def close(self) -> None:
        """Close the connection that is kept."""
        for engine in (self, *self._others):
            if engine._connection is not None:
                engine._connection.close()
                engine._connection = None

    # -- what is asked

    def ping(self) -> None:
        """Ask which version of the API it speaks, and agree on one."""
        answer = self._ask("HEAD", "/_ping", None, {}, "")
        answer.read()
        self._agree(answer)

    def _agree(self, answer: http.client.HTTPResponse) -> None:
        theirs = answer.getheader("Api-Version") or "1.24"
        self.version = os.environ.get("DOCKER_API_VERSION") or min(theirs, NEWEST, key=_parts)

    def at_least(self, version: str) -> bool:
        """Tell whether the API that is spoken is this one or newer."""
        self._ready()
        return _parts(self.version) >= _parts(version)

    def _ready(self) -> None:
        if not self.version:
            self.ping()

    def get(self, path: str, /, **query: object) -> Any:
        """GET, and return the JSON."""
        return self.request("GET", path, query)

    def post(self, path: str, body: object = None, /, **query: object) -> Any:
        """POST a JSON body or none, and return the JSON."""
        return self.request("POST", path, query, body)

    def delete(self, path: str, /, **query: object) -> Any:
        """DELETE, and return the JSON."""
        return self.request("DELETE", path, query)

    def request(self, method: str, path: str, query: Mapping[str, object], body: object = None) -> Any:
        """Send a request and return the JSON of the answer; None where it has no body."""
        self._ready()
        headers = {}
        data: bytes | None = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        answer = self._ask(method, path + _query(query), data, headers, self.version)
        text = answer.read()
        self._check(answer, text, path)
        return json.loads(text) if text.strip() else None

    def raw(self, path: str, /, **query: object) -> bytes:
        """GET, and return the answer as it came."""
        self._ready()
        answer = self._ask("GET", path + _query(query), None, {}, self.version)
        data = answer.read()
        self._check(answer, data, path)
        return data

    def head(self, path: str, /, **query: object) -> Mapping[str, str]:
        """HEAD, and return the headers."""
        self._ready()
        answer = self._ask("HEAD", path + _query(query), None, {}, self.version)
        answer.read()
        self._check(answer, b"", path)
        return dict(answer.headers)

    def stream(
        self,
        method: str,
        path: str,
        body: Body = None,
        headers: Mapping[str, str] | None = None,
        /,
        **query: object,
    ) -> Stream:
        """Send a request and return the answer to be read as it comes; the body may be an iterator of chunks."""
        self._ready()
        connection = _Connection(self.host)
        try:
            answer = self._exchange(connection, method, path + _query(query), body, headers or {}, self.version)
            if answer.status >= 400:
                self._check(answer, answer.read(), path)
        except BaseException:
            connection.close()
            raise
        return Stream(connection, answer)

    def hijack(self, path: str, body: object = None, /, **query: object) -> Hijacked:
        """Turn a request's connection into a plain two-way one."""
        self._ready()
        connection = _Connection(self.host)
        headers = {"Connection": "Upgrade", "Upgrade": "tcp", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else b""
        try:
            answer = self._exchange(connection, "POST", path + _query(query), data, headers, self.version)
            if answer.status not in (101, 200):
                self._check(answer, answer.read(), path)
            assert isinstance(connection.sock, socket.socket) or answer.fp is not None
            return Hijacked(connection, answer)
        except BaseException:
            connection.close()
            raise

    # -- how

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], version: str
    ) -> http.client.HTTPResponse:
        """Send a plain request over the connection that is kept; once more where it was closed meanwhile."""
        kept = self._connection is not None
        connection = self._connection or _Connection(self.host)
        self._connection = connection
        try:
            return self._exchange(connection, method, path, body, headers, version)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            connection.close()
            self._connection = None
            if not kept:
                raise
            return self._ask(method, path, body, headers, version)

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: Body,
        headers: Mapping[str, str],
        version: str,
    ) -> http.client.HTTPResponse:
        target = self.host.base + (f"/v{version}{path}" if version else path)
        sent = {"User-Agent": "layerlab-cli", **headers}
        try:
            if connection.sock is None:
                connection.connect()
        except OSError as error:
            raise cannot_connect(self.host, error, method, target) from error
        try:
            if body is None or isinstance(body, bytes):
                connection.request(method, target, body=body, headers=sent)
            else:
                sent["Transfer-Encoding"] = "chunked"
                connection.request(method, target, body=body, headers=sent, encode_chunked=True)
        except (BrokenPipeError, ConnectionResetError):
            if self.host.words:
                raise _far_failure(connection, method, target) from None
            # The engine may have answered before it had all: what it said is more useful.
            if body is None or isinstance(body, bytes):
                raise
        try:
            return connection.getresponse()
        except ConnectionResetError:  # RemoteDisconnected is one
            if self.host.words:
                raise _far_failure(connection, method, target) from None
            raise
        except http.client.HTTPException as error:
            what = str(error) or "malformed HTTP response"
            raise CannotConnectError(f'error during connect: {method.title()} "{self.host.url}": {what}') from error

    def _check(self, answer: http.client.HTTPResponse, text: bytes, path: str) -> None:
        if answer.status < 400:
            return
        message = ""
        try:
            found = json.loads(text)
            message = str(found.get("message", "")) if isinstance(found, dict) else ""
        except ValueError:
            message = text.decode("utf-8", "replace").strip()
        if not message:
            route = f"{self.host.base}/v{self.version}{path}"
            message = (
                f"request returned {answer.status} {answer.reason} for API route and version {route}, "
                "check if the server supports the requested API version"
            )
        raise DaemonError(answer.status, message)


def _far_failure(connection: http.client.HTTPConnection, method: str, target: str) -> CannotConnectError:
    """Return what is said where the way to another machine's engine has ended before an answer."""
    from sim.cli.client.far import Tunnel

    connection.close()
    way = connection.way if isinstance(connection, _Connection) else None
    said = (way.failure() if isinstance(way, Tunnel) else "") or "unexpected EOF"
    return CannotConnectError(f'error during connect: {method.title()} "http://docker.example.com{target}": {said}')


def cannot_connect(host: Host, error: OSError, method: str, target: str) -> CannotConnectError:
    """Return what is said where no connection comes about."""
    if isinstance(error, PermissionError) and host.path:
        request = f'{method.title()} "http://{quote(host.path, safe="")}{target}"'
        return CannotConnectError(
            f"permission denied while trying to connect to the Docker daemon socket at {host.url}: "
            f"{request}: dial unix {host.path}: connect: permission denied"
        )
    if isinstance(error, socket.gaierror):
        return CannotConnectError(
            f'error during connect: {method.title()} "http://{host.name}:{host.port}{target}": dial tcp: '
            f"lookup {host.name}: no such host"
        )
    if host.tls is not None and not isinstance(error, ConnectionRefusedError):
        return CannotConnectError(
            f'error during connect: {method.title()} "https://{host.name}:{host.port}{target}": tls: {error.args[-1]}'
        )
    if host.words:
        return CannotConnectError(
            f'error during connect: {method.title()} "http://docker.example.com{target}": exec: "{host.words[0]}": '
            "executable file not found in $PATH"
        )
    return CannotConnectError(f"Cannot connect to the Docker daemon at {host.url}. Is the docker daemon running?")


def _query(query: Mapping[str, object]) -> str:
    """Return a query; switches that are on are 1, those that are off and what is None are left away."""
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        if value is None or value is False:
            continue
        if isinstance(value, list | tuple):
            pairs.extend((name, str(item)) for item in value)
        elif isinstance(value, dict):
            pairs.append((name, json.dumps(value, sort_keys=True, separators=(",", ":"))))
        else:
            pairs.append((name, "1" if value is True else str(value)))
    return f"?{urlencode(pairs)}" if pairs else ""


def _parts(version: str) -> tuple[int, ...]:
    """Return a version to be compared."""
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))
