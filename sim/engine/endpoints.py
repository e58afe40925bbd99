"""What a container is on one network, as values: its endpoint, and what it gets from it.

Decided here and only here: what a container is called on a network, which wishes a network cannot meet, and the fields
of an endpoint in the API. Frozen values and functions; any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from sim.engine.errors import BadParameterError
from sim.runtime import Interface

if TYPE_CHECKING:
    from sim.engine.networkrules import Network

__all__ = ["Attachment", "Endpoint", "check_wish", "endpoint_document"]


class Endpoint(msgspec.Struct, frozen=True):
    """One container on one network.

    Attributes
    ----------
    id
        Of the endpoint itself.
    name, hostname
        The container's.
    address, address6
        "172.18.0.2/16" and "fd00::2/64"; empty on the networks host and none, and where there is no IPv6.
    gateway, gateway6
        The network's.
    interface
        Inside: "eth0".
    leads, leads6
        Whether the container's default route goes this way.
    aliases
        What the other containers on the network may call it besides.
    servers
        Name servers that the container asks for what nobody on its networks is called.
    """

    id: str
    name: str = ""
    hostname: str = ""
    address: str = ""
    gateway: str = ""
    mac: str = ""
    interface: str = ""
    leads: bool = False
    aliases: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()
    wish: dict[str, Any] = msgspec.field(default_factory=dict)
    address6: str = ""
    gateway6: str = ""
    leads6: bool = False

    @property
    def ip(self) -> str:
        """The address of IPv4 without the prefix."""
        return self.address.partition("/")[0]

    @property
    def ip6(self) -> str:
        """The address of IPv6 without the prefix; empty where it has none."""
        return self.address6.partition("/")[0]

    def names(self, container: str) -> list[str]:
        """Return what it is called on a user-defined network: name, aliases, short ID, host name."""
        found = [self.name, *self.aliases, container[:12], self.hostname]
        return list(dict.fromkeys(name for name in found if name))


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a container gets on a network.

    Attributes
    ----------
    interface
        For `ProcessSpec.interfaces`; None on the networks host and none.
    settings
        For `NetworkSettings.Networks` of its inspection.
    name
        Of the network.
    dns
        The name server that knows the network's names; empty where there is none: then it asks the host's.
    warnings
        What does not work on this machine.
    """

    interface: Interface | None
    settings: dict[str, Any]
    name: str
    dns: str = ""
    warnings: tuple[str, ...] = ()


def endpoint_document(network: Network, container: str, endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint as the API's `EndpointSettings`."""
    wish = endpoint.wish
    prefix, prefix6 = (address.partition("/")[2] for address in (endpoint.address, endpoint.address6))
    named = bool(network.pools) and not network.predefined
    return {
        "IPAMConfig": wish.get("IPAMConfig") or None,
        "Links": wish.get("Links") or None,
        "Aliases": list(endpoint.aliases) or None,
        "MacAddress": endpoint.mac,
        "DriverOpts": wish.get("DriverOpts") or None,
        "GwPriority": wish.get("GwPriority") or 0,
        "NetworkID": network.id,
        "EndpointID": endpoint.id,
        "Gateway": endpoint.gateway,
        "IPAddress": endpoint.ip,
        "IPPrefixLen": int(prefix or 0),
        "IPv6Gateway": endpoint.gateway6,
        "GlobalIPv6Address": endpoint.ip6,
        "GlobalIPv6PrefixLen": int(prefix6 or 0),
        "DNSNames": endpoint.names(container) if named else None,
    }


def check_wish(network: Network, wish: Mapping[str, Any]) -> None:
    """Refuse wishes that this network cannot meet, in Docker's words."""
    ipam = wish.get("IPAMConfig") or {}
    for key, version in (("IPv4Address", 4), ("IPv6Address", 6)):
        if not ipam.get(key):
            continue
        if network.predefined:
            raise BadParameterError("user specified IP address is supported on user defined networks only")
        if not any(pool.version == version and not (version == 4 and network.automatic) for pool in network.pools):
            raise BadParameterError(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
            )
    if wish.get("Aliases") and network.predefined:
        raise BadParameterError("network-scoped aliases are only supported for user-defined networks")
