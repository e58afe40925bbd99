"""The routes of images but for those that bring them in and out: list, inspect, history, tag, remove, prune.

A protocol adapter only: what images are is decided in `sim.images`, what clients may ask in `sim.engine.images`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sim.api.exchange import Answer, Plain, Request, empty, json_answer
from sim.api.imageshapes import history_document, image_document, list_entry, removal_document
from sim.engine.errors import BadParameterError
from sim.engine.filters import Filters
from sim.images import account

if TYPE_CHECKING:
    from sim.api.router import Router
    from sim.engine import Engine

__all__ = ["register"]


def register(router: Router, engine: Engine) -> None:
    """Register the routes."""
    images = engine.images

    @router.route("GET", "/images/json")
    def list_images(request: Request) -> Answer:
        filters = Filters.parse(request.query.get("filters"))
        if request.version < (1, 41) and request.query.get("filter"):
            filters = Filters({**filters.values, "reference": (*filters["reference"], request.query["filter"])})
        found = images.all(filters, intermediate=request.flag("all"))
        shared = {}
        if request.flag("shared-size"):
            every = engine.store.images(intermediate=True)
            shared = {each.id: each.shared for each in account(every).images}
        return json_answer([list_entry(image, request.version, shared=shared.get(image.id, -1)) for image in found])

    @router.route("GET", "/images/{name}/json")
    def inspect(request: Request) -> Answer:
        return json_answer(image_document(engine, images.get(request.parameters["name"]), request.version))

    @router.route("GET", "/images/{name}/history")
    def history(request: Request) -> Answer:
        return json_answer(history_document(engine, images.get(request.parameters["name"])))

    @router.route("POST", "/images/{name}/tag")
    def tag(request: Request) -> Answer:
        repository = request.query.get("repo", "")
        if not repository:
            raise BadParameterError("repository name must have at least one component")
        images.tag(request.parameters["name"], repository, request.query.get("tag", ""))
        return Plain(b"", 201)

    @router.route("POST", "/images/prune")
    def prune(request: Request) -> Answer:
        pruned = images.prune(Filters.parse(request.query.get("filters")))
        removed = removal_document(pruned.removed)
        return json_answer({"ImagesDeleted": removed or None, "SpaceReclaimed": pruned.collected.layer_bytes})

    @router.route("DELETE", "/images/{name}")
    def remove(request: Request) -> Answer:
        name = request.parameters["name"]
        if not name.strip():
            raise BadParameterError("image name cannot be blank")
        removed = images.remove(name, force=request.flag("force"), prune_parents=not request.flag("noprune"))
        return json_answer(removal_document(removed)) if removed else empty(200)
