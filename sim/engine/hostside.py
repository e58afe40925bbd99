"""The host's side of a network: its bridge, its rules, its name server.

Decided here and only here: that they are made for the first container on it and taken away after the last (that of the
default network some seconds later, since one container often follows another), what the bridge is called and which
subnet it gets if nobody asked for one, and which names each container is told. Called with the lock of the networks
held.
"""

from __future__ import annotations

import ipaddress
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sim.engine.addresses import automatic_pool, host_routes
from sim.engine.endpoints import Endpoint
from sim.engine.errors import ForbiddenError
from sim.engine.networkrules import BRIDGE_NAME, MTU
from sim.engine.portspecs import split_port
from sim.runtime import (
    Bridge,
    ContainerError,
    create_bridge,
    delete_bridge,
    start_resolver,
    stop_resolver,
    write_names,
)
from sim.runtime.firewall import Opening, Parting, part
from sim.runtime.netlink import find_link, links
from sim.runtime.resolver import Client

if TYPE_CHECKING:
    from sim.engine.networkrules import Network
    from sim.engine.networks import Networks

__all__ = ["HostSide", "mtu_of"]

_log = logging.getLogger("layerlab.networks")

_MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"


class HostSide:
    """What the networks of one engine have on the host.

    Parameters
    ----------
    place
        Where what name servers know is kept.
    """

    def __init__(self, place: Path, networks: Networks) -> None:
        self._place = place
        self._networks = networks

    def bring_up(self, network: Network, *, anew: bool = False) -> tuple[Network, tuple[str, ...]]:
        """Have a network's bridge, rules and name server; return the network as it is then, and warnings.

        Parameters
        ----------
        anew
            Write the rules also of a bridge that is there: somebody else may have made it.

        Raises
        ------
        ContainerError
            It cannot be made here.
        """
        if not network.pools:
            return network, ()
        if not network.bridge:
            network = self._fitting(network)
        elif not anew and network.predefined and find_link(network.bridge) is not None:
            return network, ()
        self._networks.keep(network)  # before it is made: what a killed daemon leaves has a name then
        bridge = self._bridge(network)
        try:
            warnings = create_bridge(bridge)
        except BaseException:
            if not network.endpoints:
                self._networks.keep(msgspec.structs.replace(network, bridge=""))
            raise
        if not network.predefined:
            directory = self._directory(network)
            try:
                self._write_names(network)
                start_resolver(directory, bridge.gateway, forward=not network.internal)
            except ContainerError as error:
                warnings += (f"network {network.name}: names are not resolved on it: {error}",)
        for warning in warnings:
            _log.warning("%s", warning)
        return network, warnings

    def _fitting(self, network: Network) -> Network:
        """Return a network that nobody is on with a name for its bridge, and a subnet that is still free here."""
        there = {link.name for link in links()}
        if network.predefined:
            base = network.options[BRIDGE_NAME].rstrip("0123456789")
            name = next(f"{base}{number}" for number in range(1000) if f"{base}{number}" not in there)
        else:
            name = network.options.get(BRIDGE_NAME) or f"br-{network.id[:12]}"
            if name in there:
                raise ForbiddenError(f"bridge {name} is there already, and not this network's: give it another name")
        if network.automatic:
            # Since it was chosen another daemon, or the host itself, may have taken it.
            pool = network.pools[0]
            fresh = automatic_pool(self._networks.subnets(without=network.id))
            if not self._still_free(pool.subnet):
                network = msgspec.structs.replace(network, pools=(fresh, *network.pools[1:]))
        options = {**network.options, BRIDGE_NAME: name} if network.predefined else network.options
        return msgspec.structs.replace(network, bridge=name, options=options)

    def _still_free(self, subnet: str) -> bool:
        mine = ipaddress.ip_network(subnet)
        return not any(mine.overlaps(ipaddress.ip_network(other)) for other in host_routes())

    def _bridge(self, network: Network) -> Bridge:
        pool, pool6 = network.pools[0], network.pool6
        masquerade = network.options.get(_MASQUERADE, "true").lower() not in ("false", "0")
        return Bridge(
            network.bridge,
            pool.subnet,
            pool.bridge_address,
            network.internal,
            masquerade,
            mtu_of(network),
            self._parting(network) if network.parted else None,
            *((pool6.subnet, pool6.bridge_address, self._networks.masquerades6) if pool6 is not None else ()),
        )

    def _parting(self, network: Network) -> Parting:
        """Return who is on a network, and what they may reach: what those offer that they are linked to."""
        openings: dict[Opening, None] = {}
        there = network.endpoints
        for container, endpoint in there.items():
            offered = self._networks.offered(container) if network.predefined else {}
            for other, ports in offered.items():
                if other in there:
                    for number, protocol in map(split_port, ports):
                        openings[Opening(endpoint.ip, there[other].ip, protocol, number)] = None
        return Parting(tuple(sorted({endpoint.mac for endpoint in there.values()})), tuple(openings))

    def _part(self, network: Network) -> None:
        """Let a network's rules know who is on it now, where they keep one container from another."""
        if network.parted and network.bridge:
            for warning in part(network.bridge, network.pools[0].subnet, self._parting(network)):
                _log.warning("%s", warning)

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
        """Tell the name server of a network what it needs to know."""
        clients = {
            endpoint.ip: Client(self._names_for(container, network, endpoint), endpoint.servers)
            for container, endpoint in network.endpoints.items()
        }
        write_names(self._directory(network), _names_on(network), clients=clients)

    def _names_for(self, container: str, network: Network, endpoint: Endpoint) -> dict[str, list[str]]:
        """Return what one container knows besides: who is on its other networks, and whom it is linked to."""
        found: dict[str, list[str]] = {}
        for other in self._networks.with_container(container):
            if other.id != network.id and _has_names(other):
                for name, addresses in _names_on(other).items():
                    found.setdefault(name, []).extend(addresses)
        known = _names_on(network)
        for link in endpoint.wish.get("Links") or ():
            name, _, alias = str(link).partition(":")
            linked = known.get(name.strip("/").lower())
            if linked:
                found[(alias or name).lower()] = linked
        return found

    def names_changed(self, network: Network, gone: str = "") -> None:
        """Let rules and name servers know who is on a network now: its own, and those of networks with its containers.

        Parameters
        ----------
        gone
            A container that is not on it any more.
        """
        self._part(network)
        containers = [*network.endpoints, *([gone] if gone else [])]
        shared = {other.id: other for container in containers for other in self._networks.with_container(container)}
        for each in {**shared, network.id: network}.values():
            if each.bridge and _has_names(each):
                self._write_names(each)

    def name_server(self, network: Network) -> str:
        """Return the address of a network's name server; empty where it has none."""
        if not _has_names(network) or not (self._place / network.id / "resolver.json").exists():
            return ""
        return network.pools[0].bridge_address


def mtu_of(network: Network) -> int:
    """Return how large packets on a network may be; 0 leaves it to the kernel."""
    return int(network.options.get(MTU) or 0)


def _has_names(network: Network) -> bool:
    """Tell whether containers on a network find each other by name: on those that somebody made, as with Docker."""
    return bool(network.pools) and not network.predefined


def _names_on(network: Network) -> dict[str, list[str]]:
    """Return who is on a network: names in lower case, and addresses."""
    names: dict[str, list[str]] = {}
    for container, endpoint in network.endpoints.items():
        for name in endpoint.names(container):
            names.setdefault(name.lower(), []).extend(address for address in (endpoint.ip, endpoint.ip6) if address)
    return names
