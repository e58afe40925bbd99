"""What a network is, as a value, and which requests for one are refused.

Decided here and only here: the fields of a network, which are always there, what of a request cannot be met, in
Docker's words, and what filters mean for networks. Frozen values and functions; any thread.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from sim.engine.addresses import Pool
from sim.engine.endpoints import Endpoint
from sim.engine.errors import (
    NOT_A_MANAGER,
    BadParameterError,
    ForbiddenError,
    NotFoundError,
    NotImplementedHereError,
    UnavailableError,
)
from sim.engine.filters import Filters

__all__ = ["BRIDGE_NAME", "ICC", "MTU", "PREDEFINED", "Network", "NetworkRequest", "check_request", "matches"]

#: Name -> driver of those that are always there.
PREDEFINED = {"bridge": "bridge", "host": "host", "none": "null"}

#: The option that names the interface.
BRIDGE_NAME = "com.docker.network.bridge.name"

#: The option that says how large packets may be.
MTU = "com.docker.network.driver.mtu"

#: The option that says whether containers on a network reach each other.
ICC = "com.docker.network.bridge.enable_icc"
_TRUE, _FALSE = ("1", "t", "T", "TRUE", "true", "True"), ("0", "f", "F", "FALSE", "false", "False")


class Network(msgspec.Struct, frozen=True):
    """A network.

    Attributes
    ----------
    pools
        Its subnets: one of IPv4, and after it perhaps one of IPv6; none for the drivers host and null.
    automatic
        Whether the subnet of IPv4 was chosen for it, so that another may be chosen as long as nobody is on it.
    ipv6
        Whether containers on it have an address of IPv6 too. Without, a subnet of IPv6 says nothing, as with Docker.
    bridge
        The interface, while it is there.
    endpoints
        Who is on it, by the ID of the container.
    """

    id: str
    name: str
    driver: str
    created: str
    pools: tuple[Pool, ...] = ()
    automatic: bool = False
    internal: bool = False
    attachable: bool = False
    options: dict[str, str] = msgspec.field(default_factory=dict)
    ipam_options: dict[str, str] | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    bridge: str = ""
    endpoints: dict[str, Endpoint] = msgspec.field(default_factory=dict)
    ipv6: bool = False

    @property
    def pool6(self) -> Pool | None:
        """The subnet of IPv6 that containers on it have addresses of."""
        return next((pool for pool in self.pools if pool.version == 6), None) if self.ipv6 else None

    @property
    def parted(self) -> bool:
        """Whether containers on it do not reach each other."""
        return self.options.get(ICC, "true") in _FALSE

    @property
    def predefined(self) -> bool:
        """Whether it is one of those that are always there."""
        return self.name in PREDEFINED


class NetworkRequest(msgspec.Struct, frozen=True):
    """What a client wants of a new network."""

    name: str
    driver: str = "bridge"
    pools: tuple[Pool, ...] = ()
    internal: bool = False
    attachable: bool = False
    ipv6: bool = False
    options: dict[str, str] = msgspec.field(default_factory=dict)
    ipam_driver: str = "default"
    ipam_options: dict[str, str] | None = None
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    ingress: bool = False
    scope: str = ""
    config_only: bool = False


def matches(network: Network, wanted: Filters) -> bool:
    """Tell whether filters let a network through; `dangling` is not among them."""
    checks: dict[str, Callable[[str], bool]] = {
        "driver": lambda value: value == network.driver,
        "name": lambda value: value in network.name,
        "id": lambda value: network.id.startswith(value),
        "scope": lambda value: value == "local",
        "type": lambda value: (value == "builtin") is network.predefined,
    }
    return wanted.matches_labels(network.labels) and all(
        any(check(value) for value in wanted[key]) for key, check in checks.items() if key in wanted
    )


def check_request(wish: NetworkRequest) -> None:
    """Refuse what cannot be made, in Docker's words."""
    if not wish.name.strip():
        raise BadParameterError("invalid network name: name is empty")
    if wish.name in PREDEFINED or wish.name == "default":
        raise ForbiddenError(f"operation is not permitted on predefined {wish.name} network ")
    if wish.driver in ("host", "null"):
        raise ForbiddenError(f'only one instance of "{wish.driver}" network is allowed')
    if wish.driver != "bridge":
        raise NotFoundError(
            f'could not find plugin {wish.driver} in v1 plugin registry: plugin "{wish.driver}" not found'
        )
    if wish.ipam_driver not in ("", "default"):
        raise NotFoundError(
            f'could not find plugin {wish.ipam_driver} in v1 plugin registry: plugin "{wish.ipam_driver}" not found'
        )
    if wish.ingress or wish.scope == "swarm":
        raise UnavailableError(NOT_A_MANAGER)
    if wish.config_only:
        raise NotImplementedHereError("networks that hold a configuration only are not made here")
    if (mtu := wish.options.get(MTU)) is not None and not mtu.isdecimal():
        raise BadParameterError(f'failed to parse {MTU} value: {mtu} (strconv.Atoi: parsing "{mtu}": invalid syntax)')
    if (word := wish.options.get(ICC, "true")) not in _TRUE + _FALSE:
        raise BadParameterError(
            f'failed to parse {ICC} value: {word} (strconv.ParseBool: parsing "{word}": invalid syntax)'
        )
    bridge = wish.options.get(BRIDGE_NAME, "")
    if len(bridge) > 15 or "/" in bridge or bridge.strip() != bridge:
        raise BadParameterError(f"invalid bridge name {bridge!r}: an interface's name has at most 15 characters")
