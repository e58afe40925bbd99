"""`layerlab container prune` and its kin: remove what nothing uses, after a question.

Decided here and only here: the questions, and the order in which `system prune` goes about it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.cli.client import Engine
from sim.cli.commands.shared import confirmed, filter_query, read_config, say
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, filters, switch
from sim.cli.show.human import size

__all__ = ["builder", "containers", "images", "networks", "system", "volumes"]

_FORCE = switch("-f, --force", "Do not ask")
_FILTER = filters("--filter", "Only what fits, such as until=24h or label=KEY; may be repeated")
_SURE = "Are you sure you want to continue?"


def _filters(call: Call, *words: str) -> dict[str, dict[str, bool]] | None:
    """Return the filters of the command line and of the user's config file."""
    always = read_config(call.settings).get("pruneFilters") or ()
    given = {word.partition("=")[0] for word in call.many("filter")}
    kept = [word for word in always if str(word).partition("=")[0].rstrip("!") not in given]
    return filter_query([*words, *kept, *call.many("filter")])


def _go(call: Call, warning: str, between: str = "\n") -> bool:
    return call.on("force") or confirmed(f"WARNING! {warning}{between}{_SURE}")


def _reclaimed(space: int) -> None:
    say(f"Total reclaimed space: {size(space)}")


def _listed(heading: str, lines: list[str]) -> str:
    return heading + "\n" + "".join(f"{line}\n" for line in lines) if lines else ""


def prune_containers(engine: Engine, filters: Any) -> tuple[str, int]:
    """Remove containers that do not run; return what to say and the bytes."""
    answer = engine.post("/containers/prune", filters=filters)
    return _listed("Deleted Containers:", answer.get("ContainersDeleted") or []), answer.get("SpaceReclaimed") or 0


def prune_networks(engine: Engine, filters: Any) -> tuple[str, int]:
    """Remove networks that no container is in."""
    answer = engine.post("/networks/prune", filters=filters)
    return _listed("Deleted Networks:", answer.get("NetworksDeleted") or []), 0


def prune_volumes(engine: Engine, filters: Any) -> tuple[str, int]:
    """Remove volumes that no container has."""
    answer = engine.post("/volumes/prune", filters=filters)
    return _listed("Deleted Volumes:", answer.get("VolumesDeleted") or []), answer.get("SpaceReclaimed") or 0


def prune_images(engine: Engine, filters: Any) -> tuple[str, int]:
    """Remove images that no container has."""
    answer = engine.post("/images/prune", filters=filters)
    lines = [
        f"untagged: {item['Untagged']}" if item.get("Untagged") else f"deleted: {item['Deleted']}"
        for item in answer.get("ImagesDeleted") or ()
    ]
    return _listed("Deleted Images:", lines), answer.get("SpaceReclaimed") or 0


def prune_cache(engine: Engine, filters: Any, every: bool) -> tuple[str, int]:
    """Remove what builds keep."""
    answer = engine.post("/build/prune", filters=filters or "", all=every)
    return _listed("Deleted build cache objects:", answer.get("CachesDeleted") or []), answer.get("SpaceReclaimed") or 0


def _show(done: tuple[str, int]) -> None:
    if done[0]:
        say(done[0])
    _reclaimed(done[1])


@docker(
    "[OPTIONS]",
    "Remove all stopped containers",
    _FILTER,
    _FORCE,
    name="prune",
    examples=("layerlab container prune -f --filter until=24h",),
)
def containers(call: Call) -> None:
    """Remove containers."""
    if _go(call, "This will remove all stopped containers."):
        _show(prune_containers(call.engine, _filters(call)))


@docker(
    "[OPTIONS]",
    "Remove unused images",
    switch("-a, --all", "All that no container has, not just those without a name"),
    _FILTER,
    _FORCE,
    name="prune",
    examples=("layerlab image prune", "layerlab image prune -a --filter until=240h"),
)
def images(call: Call) -> None:
    """Remove images."""
    every = call.on("all")
    warning = "This will remove all dangling images."
    if every:
        warning = "This will remove all images without at least one container associated to them."
    if _go(call, warning):
        _show(prune_images(call.engine, _filters(call, f"dangling={'false' if every else 'true'}")))


@docker(
    "[OPTIONS]",
    "Remove unused local volumes",
    switch("-a, --all", "Also those that have a name"),
    _FILTER,
    _FORCE,
    name="prune",
    examples=("layerlab volume prune --filter label!=keep",),
)
def volumes(call: Call) -> None:
    """Remove volumes."""
    words = []
    named = call.on("all") or not call.engine.at_least("1.42")
    kind = "" if named else "anonymous "
    if call.on("all"):
        if not call.engine.at_least("1.42"):
            raise Failure(
                f'"--all" requires API version 1.42, but the Docker daemon API version is {call.engine.version}', 125
            )
        if any(word.startswith("all=") for word in call.many("filter")):
            raise Failure("conflicting options: cannot specify both --all and --filter all=1")
        words = ["all=true"]
    if _go(call, f"This will remove {kind or 'all '}local volumes not used by at least one container."):
        _show(prune_volumes(call.engine, _filters(call, *words)))


@docker(
    "[OPTIONS]",
    "Remove all unused networks",
    _FILTER,
    _FORCE,
    name="prune",
    examples=("layerlab network prune -f",),
)
def networks(call: Call) -> None:
    """Remove networks."""
    if _go(call, "This will remove all custom networks not used by at least one container."):
        said, _ = prune_networks(call.engine, _filters(call))
        if said:
            say(said)


@docker(
    "[OPTIONS]",
    "Remove build cache",
    switch("-a, --all", "All of it"),
    _FILTER,
    _FORCE,
    name="prune",
    examples=("layerlab builder prune -f",),
)
def builder(call: Call) -> None:
    """Remove what builds keep."""
    which = "all build cache." if call.on("all") else "all dangling build cache."
    if _go(call, f"This will remove {which}", " "):
        _show(prune_cache(call.engine, _filters(call), call.on("all")))


@docker(
    "[OPTIONS]",
    "Remove unused data",
    switch("-a, --all", "All images that no container has, not just those without a name"),
    _FILTER,
    _FORCE,
    switch("--volumes", "Also volumes without a name"),
    name="prune",
    examples=("layerlab system prune -f", "layerlab system prune -a --volumes"),
)
def system(call: Call) -> None:
    """Remove all that nothing uses."""
    every, with_volumes = call.on("all"), call.on("volumes")
    if with_volumes and any(word.startswith("until=") for word in call.many("filter")):
        raise Failure('ERROR: The "until" filter is not supported with "--volumes"')
    lines = ["all stopped containers", "all networks not used by at least one container"]
    if with_volumes:
        lines.append("all anonymous volumes not used by at least one container")
    lines.append("all images without at least one container associated to them" if every else "all dangling images")
    lines.append("all build cache" if every else "unused build cache")
    warning = "This will remove:\n" + "".join(f"  - {line}\n" for line in lines)
    if call.many("filter"):
        warning += "\n  Items to be pruned will be filtered with:\n"
        warning += "".join(f"  - {word}\n" for word in sorted(call.many("filter")))
    if not _go(call, warning):
        return
    engine, filters = call.engine, _filters(call)
    images_too = _filters(call, f"dangling={'false' if every else 'true'}")
    steps: list[Callable[[], tuple[str, int]]] = [
        lambda: prune_containers(engine, filters),
        lambda: prune_networks(engine, filters),
    ]
    if with_volumes:
        steps.append(lambda: prune_volumes(engine, filters))
    steps.append(lambda: prune_images(engine, images_too))
    steps.append(lambda: prune_cache(engine, filters, every))
    space = 0
    for step in steps:
        said, freed = step()
        space += freed
        if said:
            say(said)
    _reclaimed(space)
