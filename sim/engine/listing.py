"""Lists of containers: which are in one, narrowed down by filters, limits and states.

Decided here and only here: the filters of `ps`, and what is refused of them. Functions only; any thread.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from sim.engine.container import Container
from sim.engine.errors import BadParameterError, NotFoundError
from sim.engine.filters import Filters
from sim.engine.portspecs import split_port
from sim.images import NotFoundError as NoImageError
from sim.images import ReferenceError as NoReferenceError

if TYPE_CHECKING:
    from sim.engine.containers import Containers

__all__ = ["FILTERS", "listed"]

FILTERS = (
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "isolation", "label", "name", "network",
    "publish", "since", "status", "volume",
)  # fmt: skip
_STATES = ("created", "dead", "exited", "paused", "removing", "restarting", "running")
_HEALTH = ("healthy", "none", "starting", "unhealthy")

_Test = Callable[[Container], bool]


def listed(owner: Containers, filters: Filters, *, everything: bool = False, limit: int = 0) -> list[Container]:
    """Return containers, the newest first.

    Parameters
    ----------
    everything
        Those that do not run, too.
    limit
        At most so many, of whatever state; 0 for no limit.

    Raises
    ------
    BadParameterError
        A filter makes no sense.
    """
    for key in filters.values:
        if key not in FILTERS:
            raise BadParameterError(f"invalid filter '{key}'")
    containers = sorted(owner.all(), key=lambda each: each.record.created, reverse=True)
    tests = list(_tests(owner, filters))
    # A filter that asks for a state, or for a neighbour, means those that do not run as well.
    everything = everything or limit > 0 or any(key in filters for key in ("status", "exited"))
    found = []
    for container in containers:
        if not everything and not container.state.running:
            continue
        if all(test(container) for test in tests):
            found.append(container)
            if limit > 0 and len(found) == limit:
                break
    return found


def _tests(owner: Containers, filters: Filters) -> list[_Test]:
    found: list[_Test] = [lambda each: filters.matches_labels(each.record.labels)]
    for state in filters["status"]:
        if state not in _STATES:
            raise BadParameterError(f"invalid filter 'status={state}'")
    for health in filters["health"]:
        if health not in _HEALTH:
            raise BadParameterError(f"unrecognised filter value for health: {health}")
    if "status" in filters:
        found.append(lambda each: each.state.status in filters["status"])
    if "health" in filters:
        found.append(lambda each: (each.state.health.status if each.state.health else "none") in filters["health"])
    if "id" in filters:
        found.append(lambda each: any(each.id.startswith(value) for value in filters["id"]))
    if "name" in filters:
        patterns = [_pattern(value) for value in filters["name"]]
        found.append(lambda each: any(one.search(each.name) or one.search(f"/{each.name}") for one in patterns))
    if "exited" in filters:
        codes = {_number(value) for value in filters["exited"]}
        found.append(lambda each: bool(each.state.started) and not each.state.running and each.state.exit_code in codes)
    for key in ("before", "since"):
        if key in filters:
            found.append(_neighbour(owner, key, filters[key][0]))
    if "ancestor" in filters:
        images = _descendants(owner, filters["ancestor"])
        found.append(lambda each: each.record.image in images or each.record.config.image in filters["ancestor"])
    if "volume" in filters:
        found.append(
            lambda each: any(
                value in (point.name, point.destination) or (point.type == "bind" and value == point.source)
                for value in filters["volume"]
                for point in each.record.mounts
            )
        )
    if "network" in filters:
        found.append(lambda each: any(_on_network(owner, each, value) for value in filters["network"]))
    for key, ports in (("publish", _published), ("expose", _exposed)):
        if key in filters:
            wanted = {port for value in filters[key] for port in _ports(value)}
            found.append(partial(_has_port, ports, wanted))
    if filters.truth("is-task"):
        found.append(lambda each: False)
    return found


def _pattern(value: str) -> re.Pattern[str]:
    try:
        return re.compile(value)
    except re.error:
        return re.compile(re.escape(value))


def _number(value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise BadParameterError(f'strconv.Atoi: parsing "{value}": invalid syntax') from None


def _neighbour(owner: Containers, key: str, name: str) -> _Test:
    try:
        moment = owner.get(name).record.created
    except NotFoundError:
        raise NotFoundError(f"no such container {name}") from None
    if key == "before":
        return lambda each: each.record.created < moment
    return lambda each: each.record.created > moment


def _descendants(owner: Containers, names: tuple[str, ...]) -> set[str]:
    """Return the IDs of images and of all that were built on them."""
    store = owner.engine.store
    found: set[str] = set()
    for name in names:
        try:
            found.add(store.resolve(name))
        except (NoImageError, NoReferenceError):
            continue
    if found:
        images = store.images(intermediate=True)
        stacks = {image.id: image.diff_ids for image in images}
        wanted = [stacks[one] for one in found if one in stacks]
        found |= {
            each for each, layers in stacks.items() if any(layers[: len(stack)] == stack for stack in wanted if stack)
        }
    return found


def _has_port(
    ports: Callable[[Container], set[tuple[int, str]]], wanted: set[tuple[int, str]], each: Container
) -> bool:
    return bool(wanted & ports(each))


def _on_network(owner: Containers, container: Container, value: str) -> bool:
    if value in container.record.networks:
        return True
    return any(value and each.get("NetworkID", "").startswith(value) for each in container.record.attached.values())


def _ports(value: str) -> list[tuple[int, str]]:
    span, _, protocol = value.partition("/")
    first, _, last = span.partition("-")
    begin, kind = split_port(f"{first}/{protocol or 'tcp'}")
    end, _ = split_port(last or first)
    return [(number, kind) for number in range(begin, end + 1)]


def _published(container: Container) -> set[tuple[int, str]]:
    bound = container.record.ports or container.record.host_config.port_bindings or {}
    return {split_port(name) for name in bound} | {
        (int(each.host_port), split_port(name)[1])
        for name, bindings in bound.items()
        for each in bindings
        if each.host_port.isdigit()
    }


def _exposed(container: Container) -> set[tuple[int, str]]:
    return {split_port(name) for name in {*(container.record.config.exposed_ports or {}), *container.record.ports}}
