"""A request and what is answered: the values that handlers take and return.

Decided here and only here: what a handler sees of a request, how bodies are read and refused, and which kinds of answer
there are. A request belongs to the thread of its connection.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from sim.engine.errors import BadParameterError

__all__ = [
    "LATEST",
    "OLDEST",
    "TAKEN_FOR_OLDEST",
    "Answer",
    "ClientGoneError",
    "Handler",
    "Plain",
    "Request",
    "Streamed",
    "TooLargeError",
    "Upgraded",
    "Write",
    "empty",
    "json_answer",
    "json_lines",
]

#: The API versions that are spoken.
OLDEST, LATEST = (1, 24), (1, 50)

#: A version that is taken for the oldest: skopeo, buildah and podman ask for it, whatever the engine speaks, to read
#: and write images of the engine (`docker-daemon:`).
TAKEN_FOR_OLDEST = (1, 22)

#: Most bytes of a JSON body.
LARGEST_JSON = 8 << 20

Write = Callable[[bytes | memoryview], object]
_T = TypeVar("_T")


class ClientGoneError(Exception):
    """The client went away; nobody is there to be answered."""


class TooLargeError(Exception):
    """A body that is larger than any that makes sense."""


@dataclass(slots=True)
class Request:
    """One request.

    Attributes
    ----------
    method
        "GET", ...
    path
        Decoded, without the version.
    version
        Of the API, as the client speaks it: (1, 41).
    query
        The first value of each name; `queries` has them all.
    headers
        Names in lower case.
    parameters
        What the route's pattern took from the path.
    chunks
        Yields the body's pieces as they come; raises `ClientGoneError`.
    watch
        Call it with a function that is to be called, from another thread, when the client goes away before it is
        answered. It returns a context: the watch ends with it.
    """

    method: str
    path: str
    version: tuple[int, int]
    headers: Mapping[str, str]
    chunks: Iterator[bytes]
    watch: Callable[[Callable[[], object]], contextlib.AbstractContextManager[object]]
    raw_query: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    queries: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read the query."""
        for name, value in parse_qsl(self.raw_query, keep_blank_values=True):
            self.query.setdefault(name, value)
            self.queries.setdefault(name, []).append(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """Return a value of the query that is true or false, as Docker reads it."""
        if name not in self.query:
            return default
        return self.query[name].strip().lower() not in ("", "0", "no", "false", "none")

    def number(self, name: str) -> int | None:
        """Return a number of the query; None where it is not given.

        Raises
        ------
        BadParameterError
            It is no number.
        """
        text = self.query.get(name, "")
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise BadParameterError(f'strconv.Atoi: parsing "{text}": invalid syntax') from None

    def body(self) -> bytes:
        """Read a whole body that holds a document.

        Raises
        ------
        TooLargeError
            It is larger than any document is.
        """
        found = bytearray()
        for chunk in self.chunks:
            found += chunk
            if len(found) > LARGEST_JSON:
                raise TooLargeError("http: request body too large")
        return bytes(found)

    def json(self, kind: type[_T], *, required: bool = True) -> _T | None:
        """Read a JSON body into a type; None for an empty one that is not required.

        Raises
        ------
        BadParameterError
            It is no JSON, or a field is of the wrong type; the text names the field.
        """
        data = self.body().strip()
        if not data:
            if required:
                raise BadParameterError("invalid JSON: got EOF while reading request body")
            return None
        stated = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if stated and stated != "application/json" and not stated.endswith("+json"):
            raise BadParameterError(f"unsupported Content-Type header ({stated}): must be 'application/json'")
        try:
            return msgspec.json.decode(data, type=kind, strict=True)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise BadParameterError(f"invalid JSON: {error}") from None


@dataclass(frozen=True, slots=True)
class Plain:
    """An answer that is there as a whole."""

    body: bytes = b""
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that is written bit by bit.

    Attributes
    ----------
    produce
        Called with the function that writes: each call sends what it is given. That function raises `ClientGoneError`.
        An exception of `produce` cuts the answer off, so that the client sees that it is not whole.
    late
        Whether the head is sent with the first bit only, not at once: an exception before that becomes an answer with
        its own status, as if nothing had been begun.
    give_up
        Called instead of `produce` where it is not needed, or the client has gone before it was answered.
    """

    produce: Callable[[Write], object]
    content_type: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    late: bool = False
    give_up: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A connection that is handed over: attach and exec.

    Attributes
    ----------
    take
        Called, after the answer's head is sent, with the connection and what of the client's input has been read
        already. The connection is closed when it returns.
    content_type
        Of the raw stream.
    give_up
        Called instead of `take` where the client has gone before it was answered.
    accept
        The answer to the key of a WebSocket's handshake; empty for a raw stream.
    """

    take: Callable[[socket.socket, bytes], object]
    content_type: str = "application/vnd.docker.raw-stream"
    give_up: Callable[[], object] | None = None
    accept: str = ""


Answer = Plain | Streamed | Upgraded
Handler = Callable[[Request], Answer]


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Plain:
    """Return a value as an answer in JSON."""
    return Plain(msgspec.json.encode(value) + b"\n", status, headers=headers or {})


def empty(status: int = 204) -> Plain:
    """Return an answer that says nothing but its status."""
    return Plain(b"", status)


def json_lines(write: Write) -> Callable[[Any], None]:
    """Return a function that writes a value as one line of JSON."""

    def line(value: Any) -> None:
        write(msgspec.json.encode(value) + b"\r\n")

    return line
