"""The routes that carry files: cp both ways, export, commit.

A protocol adapter only: what a path means and where a file may go is decided in `sim.engine.archive`.
"""

from __future__ import annotations

import base64
import contextlib
from typing import TYPE_CHECKING

import msgspec

from sim.api.exchange import Answer, Plain, Request, Streamed, Write, empty, json_answer
from sim.engine.archive import PathStat
from sim.engine.errors import BadParameterError
from sim.engine.model import Config
from sim.engine.reading import read
from sim.engine.showing import moment_text

if TYPE_CHECKING:
    from sim.api.router import Router
    from sim.engine import Engine

__all__ = ["register"]

_TAR = "application/x-tar"


def register(router: Router, engine: Engine) -> None:
    """Register the routes."""
    archive, looking = engine.containers.archive, engine.containers.looking

    @router.route("GET", "/containers/{id}/archive")
    def get(request: Request) -> Answer:
        name, path = request.parameters["id"], request.query.get("path", "")
        if request.method == "HEAD":
            return Plain(b"", headers=_header(archive.stat(name, path)), content_type="")
        stack = contextlib.ExitStack()
        found, source = stack.enter_context(archive.reader(name, path))

        def produce(write: Write) -> None:
            with stack, _Gathering(write) as sink:
                source(sink)

        return Streamed(produce, _TAR, headers=_header(found), give_up=stack.close)

    @router.route("PUT", "/containers/{id}/archive")
    def put(request: Request) -> Answer:
        archive.extract(
            request.parameters["id"],
            request.query.get("path", ""),
            request.chunks,
            keeps_kind=request.flag("noOverwriteDirNonDir"),
            own=request.flag("copyUIDGID"),
        )
        return empty(200)

    @router.route("GET", "/containers/{id}/export")
    def export(request: Request) -> Answer:
        source = looking.exporter(request.parameters["id"])

        def produce(write: Write) -> None:
            with _Gathering(write) as sink:
                source(sink)

        return Streamed(produce, "application/octet-stream", late=True)

    @router.route("POST", "/commit")
    def commit(request: Request) -> Answer:
        body = request.json(object, required=False)
        changes = [line for text in request.queries.get("changes", ()) for line in text.split("\n") if line.strip()]
        name = request.query.get("container", "")
        if not name:
            raise BadParameterError('invalid name or ID supplied: ""')
        image = looking.commit(
            name,
            repository=request.query.get("repo", ""),
            tag=request.query.get("tag", ""),
            message=request.query.get("comment", ""),
            author=request.query.get("author", ""),
            changes=tuple(changes),
            pause=request.flag("pause", True),
            config=read(body, Config, "container.Config") if body else None,
        )
        return json_answer({"Id": image.id}, 201)


def _header(found: PathStat) -> dict[str, str]:
    """Return the header that tells what is at a path."""
    document = {
        "name": found.name,
        "size": found.size,
        "mode": found.mode,
        "mtime": moment_text(found.modified) if found.modified > 0 else "1970-01-01T00:00:00Z",
        "linkTarget": found.target,
    }
    return {"X-Docker-Container-Path-Stat": base64.b64encode(msgspec.json.encode(document)).decode()}


class _Gathering:
    """Collects the headers of small members, so that what is sent is worth sending."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._waiting = bytearray()

    def __enter__(self) -> Write:
        """Return the function that takes what is to be sent."""
        return self._take

    def _take(self, data: bytes | memoryview) -> None:
        self._waiting += data
        if len(self._waiting) >= 1 << 16:
            self._send()

    def _send(self) -> None:
        self._write(bytes(self._waiting))
        self._waiting.clear()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Send the rest."""
        if kind is None and self._waiting:
            self._send()
