"""Containers on networks: what each gets there, and when the host's side of a network is there.

Decided here and only here: that a network's bridge, rules and name server are made for the first container on it and
taken away after the last, which address, hardware address and names a container has on it, and which of its networks it
reaches the rest of the world through. Any thread may call; one change of networks at a time.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sim.engine.addresses import automatic_pool, host_routes, next_address, take_address
from sim.engine.errors import BadParameterError, EngineError, ForbiddenError, NotFoundError, NotImplementedHereError
from sim.runtime import (
    Bridge,
    ContainerError,
    Interface,
    create_bridge,
    delete_bridge,
    mac_of,
    next_interface,
    plug_in,
    start_resolver,
    stop_resolver,
    unplug,
    write_names,
)
from sim.runtime.netlink import links
from sim.runtime.plug import route_through

if TYPE_CHECKING:
    from sim.engine.engine import Engine
    from sim.engine.networks import Network, Networks

__all__ = ["Attachment", "Attachments", "Endpoint"]

_log = logging.getLogger("layerlab.networks")

_BRIDGE_NAME = "com.docker.network.bridge.name"
_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"


class Endpoint(msgspec.Struct, frozen=True):
    """One container on one network.

    Attributes
    ----------
    id
        Of the endpoint itself.
    name, hostname
        The container's.
    address
        "172.18.0.2/16"; empty on the networks host and none.
    gateway
        The network's.
    interface
        Inside: "eth0".
    leads
        Whether the container's default route goes this way.
    names
        What the other containers on the network may call it.
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
    wish: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def ip(self) -> str:
        """The address without the prefix."""
        return self.address.partition("/")[0]

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


class Attachments:
    """The containers on the networks of one engine."""

    def __init__(self, engine: Engine, networks: Networks) -> None:
        self._networks = networks
        self._place = engine.root / "networks"
        self._lock = networks.lock

    # -- the host's side

    def bring_up(self, network: Network) -> tuple[Network, tuple[str, ...]]:
        """Have a network's bridge, rules and name server; return the network as it is then, and warnings.

        Raises
        ------
        ContainerError
            It cannot be made here.
        """
        if not network.pools:
            return network, ()
        if not network.bridge:
            network = self._fitting(network)
        bridge = self._bridge(network)
        warnings = create_bridge(bridge)
        network = msgspec.structs.replace(network, bridge=bridge.name)
        self._networks.keep(network)
        if not network.predefined:
            directory = self._directory(network)
            try:
                self._write_names(network)
                start_resolver(directory, bridge.gateway)
            except ContainerError as error:
                warnings += (f"network {network.name}: names are not resolved on it: {error}",)
        for warning in warnings:
            _log.warning("%s", warning)
        return network, warnings

    def _fitting(self, network: Network) -> Network:
        """Return a network that nobody is on with a name for its bridge, and a subnet that is still free here."""
        there = {link.name for link in links()}
        if network.predefined:
            base = network.options[_BRIDGE_NAME].rstrip("0123456789")
            name = next(f"{base}{number}" for number in range(1000) if f"{base}{number}" not in there)
        else:
            name = network.options.get(_BRIDGE_NAME) or f"br-{network.id[:12]}"
            if name in there:
                raise ForbiddenError(f"bridge {name} is there already, and not this network's: give it another name")
        if network.automatic:
            # Since it was chosen another daemon, or the host itself, may have taken it.
            pool = network.pools[0]
            fresh = automatic_pool(self._networks.subnets(without=network.id))
            if not self._still_free(pool.subnet):
                network = msgspec.structs.replace(network, pools=(fresh,))
        options = {**network.options, _BRIDGE_NAME: name} if network.predefined else network.options
        return msgspec.structs.replace(network, bridge=name, options=options)

    def _still_free(self, subnet: str) -> bool:
        mine = ipaddress.ip_network(subnet)
        return not any(mine.overlaps(ipaddress.ip_network(other)) for other in host_routes())

    def _bridge(self, network: Network) -> Bridge:
        pool = network.pools[0]
        masquerade = network.options.get(_MASQUERADE, "true").lower() not in ("false", "0")
        return Bridge(network.bridge, pool.subnet, pool.bridge_address, network.internal, masquerade)

    def take_down(self, network: Network) -> Network:
        """Take away the host's side of a network that nobody is on; return the network as it is then."""
        directory = self._place / network.id
        if directory.exists():
            stop_resolver(directory)
            shutil.rmtree(directory, ignore_errors=True)
        if network.bridge:
            delete_bridge(self._bridge(network))
            network = msgspec.structs.replace(network, bridge="")
            self._networks.keep(network)
        return network

    def _directory(self, network: Network) -> Path:
        directory = self._place / network.id
        directory.mkdir(parents=True, exist_ok=True)
        return directory

    def _write_names(self, network: Network) -> None:
        names: dict[str, list[str]] = {}
        for container, endpoint in network.endpoints.items():
            for name in endpoint.names(container):
                names.setdefault(name.lower(), []).append(endpoint.ip)
        write_names(self._directory(network), names)

    def names_changed(self, network: str) -> None:
        """Let the name server of a network know who is on it now."""
        with self._lock:
            found = self._networks.get(network)
            if found.pools and found.bridge and not found.predefined:
                self._write_names(found)

    # -- containers

    def attach(
        self, container: str, name_of_network: str, wish: Mapping[str, Any], *, name: str, hostname: str
    ) -> Attachment:
        """Put a container that is about to start on a network.

        Parameters
        ----------
        wish
            As the API's `EndpointSettings`: `IPAMConfig`, `Aliases`, `MacAddress`, ...
        name, hostname
            What the container is called; others on the network find it so.

        Raises
        ------
        NotFoundError
            There is no such network.
        BadParameterError, ForbiddenError, EngineError
            It cannot have what it wishes.
        ContainerError
            This machine cannot have such a network.
        """
        with self._lock:
            network = self._networks.get(name_of_network)
            if container in network.endpoints:
                raise ForbiddenError(f"endpoint with name {name or container} already exists in network {network.name}")
            _check(network, wish)
            warnings: tuple[str, ...] = ()
            endpoint = Endpoint(secrets.token_hex(32), name, hostname, wish=dict(wish))
            if network.pools:
                network, warnings = self.bring_up(network)
                try:
                    endpoint = self._addressed(network, container, endpoint)
                except EngineError:
                    if not network.endpoints:
                        self.take_down(network)
                    raise
            network = msgspec.structs.replace(network, endpoints={**network.endpoints, container: endpoint})
            self._networks.keep(network)
            self.names_changed(network.id)
        self._networks.tell("connect", network, container)
        return self._attachment(network, container, endpoint, warnings)

    def _addressed(self, network: Network, container: str, endpoint: Endpoint) -> Endpoint:
        pool = network.pools[0]
        used = [other.ip for other in network.endpoints.values()]
        wanted = (endpoint.wish.get("IPAMConfig") or {}).get("IPv4Address") or ""
        address = take_address(pool, wanted, used) if wanted else next_address(pool, used)
        others = [
            other.endpoints[container] for other in self._networks.with_container(container) if other.id != network.id
        ]
        gateway = "" if network.internal else pool.bridge_address
        taken = {other.interface for other in others}
        return msgspec.structs.replace(
            endpoint,
            address=f"{address}/{pool.network.prefixlen}",
            gateway=gateway,
            mac=endpoint.wish.get("MacAddress") or mac_of(address),
            interface=next(f"eth{number}" for number in range(len(taken) + 1) if f"eth{number}" not in taken),
            leads=bool(gateway) and not any(other.leads for other in others),
            aliases=tuple(endpoint.wish.get("Aliases") or ()),
        )

    def _attachment(
        self, network: Network, container: str, endpoint: Endpoint, warnings: tuple[str, ...] = ()
    ) -> Attachment:
        settings = endpoint_document(network, container, endpoint)
        if not network.pools:
            return Attachment(None, settings, network.name, warnings=warnings)
        gateway = endpoint.gateway if endpoint.leads else ""
        interface = Interface(network.bridge, endpoint.address, gateway, endpoint.interface, endpoint.mac)
        named = not network.predefined and (self._place / network.id / "resolver.json").exists()
        dns = network.pools[0].bridge_address if named else ""
        return Attachment(interface, settings, network.name, dns, warnings)

    def of(self, container: str) -> list[Attachment]:
        """Return what a container has now on each of its networks."""
        with self._lock:
            return [
                self._attachment(network, container, network.endpoints[container])
                for network in self._networks.with_container(container)
            ]

    def detach(self, container: str, name_of_network: str | None = None) -> None:
        """Take a container that has stopped off a network, or off all; one that is on none is no error."""
        with self._lock:
            left = self._networks.with_container(container)
            if name_of_network is not None:
                with contextlib.suppress(NotFoundError):
                    wanted = self._networks.get(name_of_network).id
                    left = [network for network in left if network.id == wanted]
            for network in left:
                self._without(network, container)
        for network in left:
            self._networks.tell("disconnect", network, container)

    def _without(self, network: Network, container: str) -> None:
        rest = {key: value for key, value in network.endpoints.items() if key != container}
        network = msgspec.structs.replace(network, endpoints=rest)
        self._networks.keep(network)
        if rest:
            self.names_changed(network.id)
        else:
            try:
                self.take_down(network)
            except (ContainerError, OSError) as error:
                _log.warning("network %s: what it had on the host stays: %s", network.name, error)

    def connect(
        self, container: str, pid: int, name_of_network: str, wish: Mapping[str, Any], *, name: str, hostname: str
    ) -> Attachment:
        """Put a running container on one more network.

        Raises
        ------
        ContainerError
            As `attach`; or the container does not run any more.
        """
        with self._lock:
            found = self.attach(container, name_of_network, wish, name=name, hostname=hostname)
            if found.interface is None:
                return found
            try:
                interface = replace(found.interface, name=next_interface(pid))
                plug_in(pid, interface)
            except BaseException:
                self.detach(container, name_of_network)
                raise
            network = self._networks.get(name_of_network)
            endpoint = msgspec.structs.replace(network.endpoints[container], interface=interface.name)
            endpoints = {**network.endpoints, container: endpoint}
            self._networks.keep(msgspec.structs.replace(network, endpoints=endpoints))
        return replace(found, interface=interface)

    def disconnect(self, container: str, pid: int, name_of_network: str) -> None:
        """Take a running container off a network; another of its networks then leads to the rest of the world.

        Raises
        ------
        ForbiddenError
            It is not on that network.
        ContainerError
            It does not run any more.
        """
        with self._lock:
            network = self._networks.get(name_of_network)
            endpoint = network.endpoints.get(container)
            if endpoint is None:
                raise ForbiddenError(f"container {container} is not connected to network {network.name}")
            if endpoint.interface:
                unplug(pid, endpoint.interface)
            self._without(network, container)
            if endpoint.leads:
                self._lead_elsewhere(container, pid)
        self._networks.tell("disconnect", network, container)

    def _lead_elsewhere(self, container: str, pid: int) -> None:
        for network in self._networks.with_container(container):
            endpoint = network.endpoints[container]
            if endpoint.gateway:
                route_through(pid, Interface(network.bridge, endpoint.address, endpoint.gateway, endpoint.interface))
                endpoints = {**network.endpoints, container: msgspec.structs.replace(endpoint, leads=True)}
                self._networks.keep(msgspec.structs.replace(network, endpoints=endpoints))
                return

    def rename(self, container: str, name: str) -> None:
        """Let a container on networks have another name."""
        with self._lock:
            for network in self._networks.with_container(container):
                endpoint = msgspec.structs.replace(network.endpoints[container], name=name)
                self._networks.keep(
                    msgspec.structs.replace(network, endpoints={**network.endpoints, container: endpoint})
                )
                self.names_changed(network.id)

    def restore(self, running: Iterable[str]) -> None:
        """Find again what a daemon before this one left: endpoints of containers that run stay, the others go.

        Parameters
        ----------
        running
            The IDs of the containers that still run.
        """
        alive = set(running)
        with self._lock:
            for network in self._networks.all():
                rest = {key: value for key, value in network.endpoints.items() if key in alive}
                if len(rest) != len(network.endpoints):
                    network = msgspec.structs.replace(network, endpoints=rest)
                    self._networks.keep(network)
                try:
                    if rest:
                        self.bring_up(network)
                    else:
                        self.take_down(network)
                except (ContainerError, EngineError, OSError) as error:
                    _log.warning("network %s: %s", network.name, error)


def endpoint_document(network: Network, container: str, endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint as the API's `EndpointSettings`."""
    wish = endpoint.wish
    _, _, prefix = endpoint.address.partition("/")
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
        "IPv6Gateway": "",
        "GlobalIPv6Address": "",
        "GlobalIPv6PrefixLen": 0,
        "DNSNames": endpoint.names(container) if named else None,
    }


def _check(network: Network, wish: Mapping[str, Any]) -> None:
    """Refuse wishes that this network cannot meet, in Docker's words."""
    ipam = wish.get("IPAMConfig") or {}
    if ipam.get("IPv6Address"):
        raise NotImplementedHereError("networks here have IPv4 addresses only: leave out the IPv6 address")
    if ipam.get("IPv4Address"):
        if network.predefined:
            raise BadParameterError("user specified IP address is supported on user defined networks only")
        if network.automatic:
            raise BadParameterError(
                "user specified IP address is supported only when connecting to networks with user configured subnets"
            )
    if wish.get("Aliases") and network.predefined:
        raise BadParameterError("network-scoped aliases are only supported for user-defined networks")
