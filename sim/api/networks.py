"""The routes of networks.

A protocol adapter only: what networks are is decided in `sim.engine.networks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sim.api.exchange import Answer, Plain, Request, empty, json_answer
from sim.engine.addresses import Pool, pool_document
from sim.engine.errors import BadParameterError, NotFoundError
from sim.engine.filters import Filters
from sim.engine.networks import NetworkRequest

if TYPE_CHECKING:
    from sim.api.router import Router
    from sim.engine import Engine
    from sim.engine.networks import Network

__all__ = ["network_document", "register"]


class _Pool(msgspec.Struct, rename={"subnet": "Subnet", "gateway": "Gateway", "ip_range": "IPRange",
                                    "auxiliary": "AuxiliaryAddresses", "older": "AuxAddress"}):  # fmt: skip
    """One subnet that a client wants."""

    subnet: str | None = None
    gateway: str | None = None
    ip_range: str | None = None
    auxiliary: dict[str, str] | None = None
    older: dict[str, str] | None = None


class _Ipam(msgspec.Struct, rename="pascal"):
    """How a client wants addresses given out."""

    driver: str | None = None
    config: list[_Pool] | None = None
    options: dict[str, str] | None = None


class _Create(msgspec.Struct, rename={"name": "Name", "driver": "Driver", "internal": "Internal", "scope": "Scope",
                                      "attachable": "Attachable", "ingress": "Ingress", "ipam": "IPAM",
                                      "ipv4": "EnableIPv4", "ipv6": "EnableIPv6", "options": "Options",
                                      "labels": "Labels", "config_only": "ConfigOnly",
                                      "config_from": "ConfigFrom"}):  # fmt: skip
    """What a client sends to have a network made."""

    name: str = ""
    driver: str | None = None
    scope: str | None = None
    internal: bool | None = None
    attachable: bool | None = None
    ingress: bool | None = None
    config_only: bool | None = None
    config_from: dict[str, Any] | None = None
    ipam: _Ipam | None = None
    ipv4: bool | None = None
    ipv6: bool | None = None
    options: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class _Connect(msgspec.Struct, rename="pascal"):
    """What a client sends to put a container on a network, or take it off."""

    container: str = ""
    endpoint_config: dict[str, Any] | None = None
    force: bool | None = None


def network_document(network: Network, version: tuple[int, int], *, containers: bool = True) -> dict[str, Any]:
    """Return a network as the API shows it.

    Parameters
    ----------
    containers
        Whether to tell who is on it; lists do not.
    """
    document: dict[str, Any] = {
        "Name": network.name,
        "Id": network.id,
        "Created": network.created,
        "Scope": "local",
        "Driver": network.driver,
    }
    if version >= (1, 47):
        document["EnableIPv4"] = True
    document |= {
        "EnableIPv6": network.ipv6,
        "IPAM": {
            "Driver": "default",
            "Options": network.ipam_options,
            "Config": [pool_document(pool) for pool in network.pools] or None,
        },
        "Internal": network.internal,
        "Attachable": network.attachable,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": network.options,
        "Labels": network.labels,
    }
    if containers:
        document["Containers"] = {
            container: {
                "Name": endpoint.name,
                "EndpointID": endpoint.id,
                "MacAddress": endpoint.mac,
                "IPv4Address": endpoint.address,
                "IPv6Address": endpoint.address6,
            }
            for container, endpoint in network.endpoints.items()
        }
    return document


def _wish(said: _Create) -> NetworkRequest:
    ipam = said.ipam or _Ipam()
    pools = tuple(
        Pool(
            pool.subnet or "",
            pool.gateway or "",
            pool.ip_range or "",
            {**(pool.auxiliary or {}), **(pool.older or {})},
        )
        for pool in ipam.config or ()
    )
    if said.ipv4 is False:
        raise BadParameterError("IPv4 cannot be disabled: networks here have IPv4 addresses always")
    return NetworkRequest(
        said.name,
        said.driver or "bridge",
        pools,
        bool(said.internal),
        bool(said.attachable),
        bool(said.ipv6),
        said.options or {},
        ipam.driver or "default",
        ipam.options,
        said.labels or {},
        bool(said.ingress),
        said.scope or "",
        bool(said.config_only) or bool((said.config_from or {}).get("Network")),
    )


def register(router: Router, engine: Engine) -> None:
    """Register the routes."""
    networks = engine.networks

    @router.route("GET", "/networks")
    def list_networks(request: Request) -> Answer:
        found = networks.all(Filters.parse(request.query.get("filters")))
        return json_answer([network_document(each, request.version, containers=False) for each in found])

    @router.route("POST", "/networks/create")
    def create(request: Request) -> Answer:
        said = request.json(_Create)
        assert said is not None
        return json_answer({"Id": networks.create(_wish(said)).id, "Warning": ""}, 201)

    @router.route("POST", "/networks/prune")
    def prune(request: Request) -> Answer:
        removed = networks.prune(Filters.parse(request.query.get("filters")))
        return json_answer({"NetworksDeleted": removed or None})

    @router.route("POST", "/networks/{name}/connect")
    def connect(request: Request) -> Answer:
        said = request.json(_Connect)
        assert said is not None
        engine.connect_network(said.container, request.parameters["name"], said.endpoint_config or {})
        return Plain()

    @router.route("POST", "/networks/{name}/disconnect")
    def disconnect(request: Request) -> Answer:
        said = request.json(_Connect)
        assert said is not None
        engine.disconnect_network(said.container, request.parameters["name"], force=bool(said.force))
        return Plain()

    @router.route("GET", "/networks/{name}")
    def inspect(request: Request) -> Answer:
        scope = request.query.get("scope", "")
        if scope not in ("", "local"):
            raise NotFoundError(f"network {request.parameters['name']} not found")
        return json_answer(network_document(networks.get(request.parameters["name"]), request.version))

    @router.route("DELETE", "/networks/{name}")
    def remove(request: Request) -> Answer:
        networks.remove(request.parameters["name"])
        return empty()
