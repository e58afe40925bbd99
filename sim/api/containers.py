"""The containers' routes, but for those that carry streams both ways (`attach.py`) and files (`archive.py`).

A protocol adapter only: what each means is decided in `sim.engine`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import msgspec

from sim.api.exchange import Answer, ClientGoneError, Request, Streamed, Write, empty, json_answer
from sim.engine.container import Ended
from sim.engine.errors import BadParameterError, NotFoundError
from sim.engine.filters import Filters
from sim.engine.model import ContainerRequest, HostConfig, RestartPolicy
from sim.engine.reading import read

if TYPE_CHECKING:
    from sim.api.router import Router
    from sim.engine import Engine

__all__ = ["register"]


def register(router: Router, engine: Engine) -> None:
    """Register the routes."""
    _making(router, engine)
    _showing(router, engine)
    _living(router, engine)


def _making(router: Router, engine: Engine) -> None:
    containers = engine.containers

    @router.route("POST", "/containers/create")
    def create(request: Request) -> Answer:
        document = request.json(object)
        wish = read(document, ContainerRequest, "runconfig.ContainerConfigWrapper")
        made = containers.create(wish, request.query.get("name", ""), shallow=request.version < (1, 44))
        return json_answer({"Id": made.id, "Warnings": made.warnings}, 201)

    @router.route("POST", "/containers/prune")
    def prune(request: Request) -> Answer:
        pruned = containers.removing.prune(Filters.parse(request.query.get("filters")))
        return json_answer({"ContainersDeleted": list(pruned.ids) or None, "SpaceReclaimed": pruned.reclaimed})

    @router.route("DELETE", "/containers/{id}")
    def remove(request: Request) -> Answer:
        containers.removing.remove(
            request.parameters["id"], force=request.flag("force"), volumes=request.flag("v"), link=request.flag("link")
        )
        return empty()

    @router.route("DELETE", "/containers/{id}/{alias}")
    def remove_link(request: Request) -> Answer:
        name = f"{request.parameters['id']}/{request.parameters['alias']}"
        if not request.flag("link"):
            raise NotFoundError(f"No such container: {name}")
        containers.removing.remove(name, link=True)
        return empty()

    @router.route("POST", "/containers/{id}/rename")
    def rename(request: Request) -> Answer:
        containers.rename(request.parameters["id"], request.query.get("name", ""))
        return empty()

    @router.route("POST", "/containers/{id}/update")
    def update(request: Request) -> Answer:
        document = request.json(object)
        wish = read(document, HostConfig, "container.UpdateConfig")
        policy = wish.restart_policy if wish.restart_policy != RestartPolicy() else None
        warnings = containers.updating.update(request.parameters["id"], wish, policy)
        return json_answer({"Warnings": warnings or None})


def _showing(router: Router, engine: Engine) -> None:
    containers = engine.containers

    @router.route("GET", "/containers/json")
    def list_them(request: Request) -> Answer:
        filters = Filters.parse(request.query.get("filters"))
        older = {key: (request.query[key],) for key in ("before", "since") if request.query.get(key)}
        filters = Filters({**filters.values, **older})
        found = containers.list(
            filters,
            everything=request.flag("all"),
            limit=request.number("limit") or 0,
            size=request.flag("size"),
        )
        return json_answer(found)

    @router.route("GET", "/containers/{id}/json")
    def inspect(request: Request) -> Answer:
        return json_answer(containers.inspect(request.parameters["id"], size=request.flag("size")))

    @router.route("GET", "/containers/{id}/changes")
    def changes(request: Request) -> Answer:
        found = containers.looking.changes(request.parameters["id"])
        return json_answer([{"Path": each.path, "Kind": each.kind} for each in found] or None)

    @router.route("GET", "/containers/{id}/top")
    def top(request: Request) -> Answer:
        titles, rows = containers.figures.top(request.parameters["id"], request.query.get("ps_args") or "-ef")
        return json_answer({"Titles": titles, "Processes": rows})

    @router.route("GET", "/containers/{id}/stats")
    def stats(request: Request) -> Answer:
        name = request.parameters["id"]
        containers.get(name)
        if not request.flag("stream", True):
            return json_answer(containers.figures.once(name, quick=request.flag("one-shot")))

        def produce(write: Write) -> None:
            gone = threading.Event()
            with request.watch(gone.set):
                for figures in containers.figures.stream(name, gone):
                    write(msgspec.json.encode(figures) + b"\n")

        return Streamed(produce)

    @router.route("GET", "/containers/{id}/logs")
    def logs(request: Request) -> Answer:
        streams = [name for name in ("stdout", "stderr") if request.flag(name)]
        if not streams:
            raise BadParameterError("Bad parameters: you must choose at least one stream")
        wish = containers.logs.wish(
            request.parameters["id"],
            streams,
            follow=request.flag("follow"),
            since=request.query.get("since", ""),
            until=request.query.get("until", ""),
            tail=request.query.get("tail", ""),
            timestamps=request.flag("timestamps"),
            details=request.flag("details"),
        )

        def produce(write: Write) -> None:
            gone = threading.Event()
            with wish.follower(gone) as ring, request.watch(ring):
                for piece in wish.pieces():
                    write(piece)

        kind = "raw" if wish.terminal or request.version < (1, 42) else "multiplexed"
        return Streamed(produce, f"application/vnd.docker.{kind}-stream")


def _living(router: Router, engine: Engine) -> None:
    containers = engine.containers

    @router.route("POST", "/containers/{id}/start")
    def start(request: Request) -> Answer:
        containers.starting.start(request.parameters["id"])
        return empty()

    @router.route("POST", "/containers/{id}/stop")
    def stop(request: Request) -> Answer:
        containers.ending.stop(request.parameters["id"], request.number("t"), request.query.get("signal", ""))
        return empty()

    @router.route("POST", "/containers/{id}/restart")
    def restart(request: Request) -> Answer:
        containers.ending.restart(request.parameters["id"], request.number("t"), request.query.get("signal", ""))
        return empty()

    @router.route("POST", "/containers/{id}/kill")
    def kill(request: Request) -> Answer:
        containers.ending.kill(request.parameters["id"], request.query.get("signal", ""))
        return empty()

    @router.route("POST", "/containers/{id}/pause")
    def pause(request: Request) -> Answer:
        containers.ending.pause(request.parameters["id"])
        return empty()

    @router.route("POST", "/containers/{id}/unpause")
    def unpause(request: Request) -> Answer:
        containers.ending.unpause(request.parameters["id"])
        return empty()

    @router.route("POST", "/containers/{id}/resize")
    def resize(request: Request) -> Answer:
        rows, columns = size_of(request)
        containers.ending.resize(request.parameters["id"], rows, columns)
        return empty(200)

    @router.route("POST", "/containers/{id}/wait")
    def wait(request: Request) -> Answer:
        container = containers.get(request.parameters["id"])
        waiter = container.waiter(request.query.get("condition", ""))

        def produce(write: Write) -> None:
            gone = threading.Event()

            def cancel() -> None:
                gone.set()
                container.stir()

            with request.watch(cancel):
                ended = waiter(gone)
            if ended is None:
                raise ClientGoneError("the client that waited is gone")
            write(msgspec.json.encode(wait_document(ended)) + b"\n")

        return Streamed(produce)


def wait_document(ended: Ended) -> dict[str, Any]:
    """Return how a container ended as the API says it."""
    found: dict[str, Any] = {"StatusCode": ended.code}
    return {"Error": {"Message": ended.error}, **found} if ended.error else found


def size_of(request: Request) -> tuple[int, int]:
    """Return the rows and columns that a request to resize has."""
    found = []
    for name in ("h", "w"):
        number = request.number(name)
        if number is None:
            raise BadParameterError('strconv.Atoi: parsing "": invalid syntax')
        if not 0 <= number < 1 << 16:
            raise BadParameterError(f'strconv.ParseUint: parsing "{number}": value out of range')
        found.append(number)
    return found[0], found[1]
