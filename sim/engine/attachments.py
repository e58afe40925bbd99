"""Containers on networks: what each gets there.

Decided here and only here: which address, hardware address and names a container has on a network, and which of its
networks it reaches the rest of the world through. Any thread may call; one change of networks at a time.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from sim.engine.addresses import next_address, take_address
from sim.engine.endpoints import Attachment, Endpoint, check_wish, endpoint_document
from sim.engine.errors import EngineError, ForbiddenError, NotFoundError
from sim.engine.hostside import HostSide, mtu_of
from sim.runtime import ContainerError, Interface, mac_of, next_interface, plug_in, unplug
from sim.runtime.plug import route_through

if TYPE_CHECKING:
    from sim.engine.engine import Engine
    from sim.engine.networkrules import Network
    from sim.engine.networks import Networks

__all__ = ["Attachments"]

_log = logging.getLogger("layerlab.networks")

#: Seconds that the default network's bridge stays after its last container, and the daemon's label that says otherwise.
_LINGERING, _LABEL = 5.0, "layerlab.linger"


class Attachments:
    """The containers on the networks of one engine."""

    def __init__(self, engine: Engine, networks: Networks) -> None:
        self._networks = networks
        self._engine = engine
        self._host = HostSide(engine.root / "networks", networks)
        self._lock = networks.lock
        self._idle: dict[str, threading.Timer] = {}
        self._closing = False

    def take_down(self, network: Network) -> Network:
        """Take away the host's side of a network that nobody is on; return the network as it is then."""
        return self._host.take_down(network)

    def attach(
        self,
        container: str,
        name_of_network: str,
        wish: Mapping[str, Any],
        *,
        name: str,
        hostname: str,
        servers: Sequence[str] = (),
    ) -> Attachment:
        """Put a container that is about to start on a network.

        Parameters
        ----------
        wish
            As the API's `EndpointSettings`: `IPAMConfig`, `Aliases`, `MacAddress`, ...
        name, hostname
            What the container is called; others on the network find it so.
        servers
            Name servers of its own.

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
            check_wish(network, wish)
            warnings: tuple[str, ...] = ()
            endpoint = Endpoint(secrets.token_hex(32), name, hostname, wish=dict(wish), servers=tuple(servers))
            if network.pools:
                network, warnings = self._host.bring_up(network)
                try:
                    endpoint = self._addressed(network, container, endpoint)
                except EngineError:
                    if not network.endpoints:
                        self._host.take_down(network)
                    raise
            network = msgspec.structs.replace(network, endpoints={**network.endpoints, container: endpoint})
            self._networks.keep(network)
            self._host.names_changed(network)
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
        endpoint = self._addressed6(network, endpoint)
        return msgspec.structs.replace(
            endpoint,
            address=f"{address}/{pool.network.prefixlen}",
            gateway=gateway,
            mac=endpoint.wish.get("MacAddress") or mac_of(address),
            interface=next(f"eth{number}" for number in range(len(taken) + 1) if f"eth{number}" not in taken),
            leads=bool(gateway) and not any(other.leads for other in others),
            leads6=bool(endpoint.gateway6) and not any(other.leads6 for other in others),
            aliases=tuple(endpoint.wish.get("Aliases") or ()),
        )

    def _addressed6(self, network: Network, endpoint: Endpoint) -> Endpoint:
        """Return an endpoint with its address of IPv6 where the network has such."""
        pool = network.pool6
        if pool is None:
            return endpoint
        used = [other.ip6 for other in network.endpoints.values()]
        wanted = (endpoint.wish.get("IPAMConfig") or {}).get("IPv6Address") or ""
        address = take_address(pool, wanted, used) if wanted else next_address(pool, used)
        return msgspec.structs.replace(
            endpoint,
            address6=f"{address}/{pool.network.prefixlen}",
            gateway6="" if network.internal else pool.bridge_address,
        )

    def _attachment(
        self, network: Network, container: str, endpoint: Endpoint, warnings: tuple[str, ...] = ()
    ) -> Attachment:
        settings = endpoint_document(network, container, endpoint)
        if not network.pools:
            return Attachment(None, settings, network.name, warnings=warnings)
        interface = Interface(
            network.bridge,
            endpoint.address,
            endpoint.gateway if endpoint.leads else "",
            endpoint.interface,
            endpoint.mac,
            mtu=mtu_of(network),
            address6=endpoint.address6,
            gateway6=endpoint.gateway6 if endpoint.leads6 else "",
        )
        return Attachment(interface, settings, network.name, self._host.name_server(network), warnings)

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
            self._host.names_changed(network, gone=container)
        elif network.predefined and network.pools and not self._closing:
            self._take_down_later(network)
        else:
            self._take_down(network)

    def _take_down(self, network: Network) -> None:
        try:
            self._host.take_down(network)
        except (ContainerError, OSError) as error:
            _log.warning("network %s: what it had on the host stays: %s", network.name, error)

    def _take_down_later(self, network: Network) -> None:
        """Keep what the default network has on the host for a while: making it takes longer than many a container."""

        def work() -> None:
            with self._lock:
                if self._idle.get(network.id) is not timer or self._closing:
                    return
                del self._idle[network.id]
                now = self._networks.get(network.id)
                if not now.endpoints:
                    self._take_down(now)

        timer = threading.Timer(self._lingering(), work)
        timer.daemon = True
        before = self._idle.pop(network.id, None)
        if before is not None:
            before.cancel()
        self._idle[network.id] = timer
        timer.start()

    def _lingering(self) -> float:
        for label in self._engine.settings.labels:
            name, _, value = label.partition("=")
            if name == _LABEL and value.isdigit():
                return float(value)
        return _LINGERING

    def close(self) -> None:
        """Take away at once what nobody is on."""
        with self._lock:
            self._closing = True
            for identity, timer in self._idle.items():
                timer.cancel()
                network = self._networks.get(identity)
                if not network.endpoints:
                    self._take_down(network)
            self._idle.clear()

    def connect(
        self,
        container: str,
        pid: int,
        name_of_network: str,
        wish: Mapping[str, Any],
        *,
        name: str,
        hostname: str,
        servers: Sequence[str] = (),
    ) -> Attachment:
        """Put a running container on one more network.

        Raises
        ------
        ContainerError
            As `attach`; or the container does not run any more.
        """
        with self._lock:
            found = self.attach(container, name_of_network, wish, name=name, hostname=hostname, servers=servers)
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
            self._lead_elsewhere(container, pid, four=endpoint.leads, six=endpoint.leads6)
        self._networks.tell("disconnect", network, container)

    def _lead_elsewhere(self, container: str, pid: int, *, four: bool, six: bool) -> None:
        """Let the first of a container's networks that can lead to the rest of the world: with IPv4, with IPv6."""
        for network in self._networks.with_container(container):
            endpoint = network.endpoints[container]
            gateway, gateway6 = endpoint.gateway if four else "", endpoint.gateway6 if six else ""
            if gateway or gateway6:
                way = Interface(network.bridge, "", gateway, endpoint.interface, gateway6=gateway6)
                route_through(pid, way)
                endpoint = msgspec.structs.replace(
                    endpoint, leads=endpoint.leads or bool(gateway), leads6=endpoint.leads6 or bool(gateway6)
                )
                endpoints = {**network.endpoints, container: endpoint}
                self._networks.keep(msgspec.structs.replace(network, endpoints=endpoints))
            four, six = four and not gateway, six and not gateway6

    def rename(self, container: str, name: str) -> None:
        """Let a container on networks have another name."""
        with self._lock:
            for network in self._networks.with_container(container):
                endpoint = msgspec.structs.replace(network.endpoints[container], name=name)
                self._networks.keep(
                    msgspec.structs.replace(network, endpoints={**network.endpoints, container: endpoint})
                )
                self._host.names_changed(network)

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
                        self._host.bring_up(network, anew=True)
                    else:
                        self._host.take_down(network)
                except (ContainerError, EngineError, OSError) as error:
                    _log.warning("network %s: %s", network.name, error)
