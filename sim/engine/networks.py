"""Networks: which there are, and who is on them.

Decided here and only here: how networks are kept and found, and when one may be removed. What a network is is decided
in `sim.engine.networkrules`, what a container gets on one in `sim.engine.attachments`. Any thread may call.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from sim.engine.addresses import Pool, automatic_pool, checked_pools
from sim.engine.attachments import Attachments
from sim.engine.endpoints import Attachment
from sim.engine.errors import BadParameterError, ConflictError, EngineError, ForbiddenError, NotFoundError
from sim.engine.filters import Filters
from sim.engine.links import links_of
from sim.engine.networkrules import BRIDGE_NAME, ICC, PREDEFINED, Network, NetworkRequest, check_request, matches
from sim.images.documents import nanoseconds, now

if TYPE_CHECKING:
    from sim.engine.engine import Engine

__all__ = ["Network", "NetworkRequest", "Networks"]

_FILTERS = ("dangling", "driver", "id", "label", "name", "scope", "type")
_PRUNE_FILTERS = ("label", "label!", "until")


class Networks:
    """The networks of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.RLock()
        self._networks: dict[str, Network] = {}
        for (document,) in engine.database.rows("SELECT document FROM network"):
            network = msgspec.json.decode(document, type=Network)
            self._networks[network.id] = network
        for name, driver in PREDEFINED.items():
            if not any(network.name == name for network in self._networks.values()):
                self.keep(self._predefined(name, driver))
        default = next(network for network in self._networks.values() if network.name == "bridge")
        options = {**default.options, ICC: str(engine.settings.icc).lower()}
        if options != default.options:
            self.keep(msgspec.structs.replace(default, options=options))
        self._attachments = Attachments(engine, self)

    def _predefined(self, name: str, driver: str) -> Network:
        pools: tuple[Pool, ...] = ()
        options: dict[str, str] = {}
        if driver == "bridge":
            pools = (automatic_pool(self.subnets()),)
            options = {
                "com.docker.network.bridge.default_bridge": "true",
                ICC: "true",
                "com.docker.network.bridge.enable_ip_masquerade": "true",
                "com.docker.network.bridge.host_binding_ipv4": "0.0.0.0",
                BRIDGE_NAME: "layerlab0",
                "com.docker.network.driver.mtu": "1500",
            }
        return Network(secrets.token_hex(32), name, driver, now(), pools, bool(pools), options=options)

    # -- what there is

    @property
    def masquerades6(self) -> bool:
        """Whether what containers send beyond their networks by IPv6 has the host's address."""
        return self._engine.settings.ip6tables

    @property
    def lock(self) -> threading.RLock:
        """Held while what is known about networks is changed."""
        return self._lock

    def keep(self, network: Network) -> None:
        """Remember a network as it is now."""
        with self._lock:
            with self._engine.database.change() as change:
                change.execute(
                    "INSERT OR REPLACE INTO network VALUES (?, ?, ?)",
                    (network.id, network.name, msgspec.json.encode(network)),
                )
            self._networks[network.id] = network

    def subnets(self, without: str = "") -> list[str]:
        """Return the subnets of all networks but one."""
        with self._lock:
            return [
                pool.subnet for network in self._networks.values() if network.id != without for pool in network.pools
            ]

    def get(self, name: str) -> Network:
        """Return the network of a name, an ID, or the beginning of one.

        Raises
        ------
        NotFoundError
            There is none.
        BadParameterError
            Several IDs begin so.
        """
        with self._lock:
            if name in self._networks:
                return self._networks[name]
            for network in self._networks.values():
                if network.name == name:
                    return network
            found = [network for network in self._networks.values() if name and network.id.startswith(name)]
        if len(found) > 1:
            raise BadParameterError(f"network {name} is ambiguous ({len(found)} matches found based on ID prefix)")
        if not found:
            raise NotFoundError(f"network {name} not found")
        return found[0]

    def all(self, filters: Filters | None = None) -> list[Network]:
        """Return the networks that filters let through, by name.

        Raises
        ------
        BadParameterError
            A value of a filter makes no sense.
        """
        wanted = filters or Filters()
        for key in wanted.values:
            if key not in _FILTERS:
                raise BadParameterError(f"invalid filter '{key}'")
        for kind in wanted["type"]:
            if kind not in ("custom", "builtin"):
                raise BadParameterError(f"invalid filter: 'type'='{kind}'")
        for scope in wanted["scope"]:
            if scope not in ("local", "swarm", "global"):
                raise BadParameterError(f"invalid filter: 'scope'='{scope}'")
        unused = wanted.truth("dangling")
        with self._lock:
            networks = sorted(self._networks.values(), key=lambda network: network.name)
        return [
            network
            for network in networks
            if matches(network, wanted)
            and (unused is None or unused is not (network.predefined or bool(network.endpoints)))
        ]

    def with_container(self, container: str) -> list[Network]:
        """Return the networks that a container is on, by name."""
        return [network for network in self.all() if container in network.endpoints]

    # -- making and removing

    def create(self, wish: NetworkRequest) -> Network:
        """Make a network.

        Raises
        ------
        ConflictError
            There is one of this name.
        ForbiddenError, BadParameterError, NotFoundError, NotImplementedHereError
            It cannot be made so.
        """
        check_request(wish)
        with self._lock:
            if any(network.name == wish.name for network in self._networks.values()):
                raise ConflictError(f"network with name {wish.name} already exists")
            used = self.subnets()
            asked = [pool for pool in wish.pools if pool != Pool()]
            pools = checked_pools(asked, used, ipv6=wish.ipv6)
            network = Network(
                secrets.token_hex(32),
                wish.name,
                wish.driver,
                now(),
                tuple(pools),
                not any(pool.version == 4 for pool in asked),
                wish.internal,
                wish.attachable,
                dict(wish.options),
                wish.ipam_options,
                dict(wish.labels),
                ipv6=wish.ipv6,
            )
            self.keep(network)
        self.tell("create", network)
        return network

    def remove(self, name: str) -> None:
        """Remove a network.

        Raises
        ------
        NotFoundError
            There is none of this name.
        ForbiddenError
            It is one that is always there, or somebody is on it.
        """
        with self._lock:
            network = self.get(name)
            if network.predefined:
                raise ForbiddenError(f"{network.name} is a pre-defined network and cannot be removed")
            if network.endpoints:
                raise ForbiddenError(
                    f"error while removing network: network {network.name} id {network.id} has active endpoints"
                )
            self._attachments.take_down(network)
            with self._engine.database.change() as change:
                change.execute("DELETE FROM network WHERE id = ?", (network.id,))
            del self._networks[network.id]
        self.tell("destroy", network)

    def prune(self, filters: Filters) -> list[str]:
        """Remove the networks that no container uses; return their names."""
        for key in filters.values:
            if key not in _PRUNE_FILTERS:
                raise BadParameterError(f"invalid filter '{key}'")
        before = filters.until()
        removed = []
        for network in self.all():
            if (
                network.predefined
                or network.endpoints
                or not filters.matches_labels(network.labels)
                or any(Filters({"label": (label,)}).matches_labels(network.labels) for label in filters["label!"])
                or (before is not None and nanoseconds(network.created) >= before)
            ):
                continue
            try:
                self.remove(network.id)
            except EngineError:
                continue  # somebody was quicker
            removed.append(network.name)
        self._engine.events.tell("network", "prune", "", {"reclaimed": "0"})
        return removed

    def tell(self, action: str, network: Network, container: str = "") -> None:
        """Tell of something that happened to a network."""
        attributes = {"name": network.name, "type": network.driver}
        if container:
            attributes = {"container": container, **attributes}
        self._engine.events.tell("network", action, network.id, attributes)

    # -- containers on them

    def attach(
        self,
        container: str,
        network: str,
        wish: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        hostname: str = "",
        servers: Sequence[str] = (),
    ) -> Attachment:
        """Put a container that is about to start on a network; see `Attachments.attach`."""
        return self._attachments.attach(container, network, wish or {}, name=name, hostname=hostname, servers=servers)

    def offered(self, container: str) -> dict[str, list[str]]:
        """Return whom a container on the default network is linked to, by ID, and which ports each of them offers."""
        try:
            links = links_of(self._engine.containers, self._engine.containers.get(container).record)
        except NotFoundError:
            return {}  # it is just going
        return {
            link.container.id: [
                *(link.container.record.config.exposed_ports or {}),
                *link.container.record.ports,
            ]
            for link in links
        }

    def attachments(self, container: str) -> list[Attachment]:
        """Return what a container has now on each of its networks."""
        return self._attachments.of(container)

    def detach(self, container: str, network: str | None = None) -> None:
        """Take a container that has stopped off a network, or off all; see `Attachments.detach`."""
        self._attachments.detach(container, network)

    def connect(
        self,
        container: str,
        pid: int,
        network: str,
        wish: Mapping[str, Any] | None = None,
        *,
        name: str = "",
        hostname: str = "",
        servers: Sequence[str] = (),
    ) -> Attachment:
        """Put a running container on one more network; see `Attachments.connect`."""
        return self._attachments.connect(
            container, pid, network, wish or {}, name=name, hostname=hostname, servers=servers
        )

    def disconnect(self, container: str, pid: int, network: str) -> None:
        """Take a running container off a network; see `Attachments.disconnect`."""
        self._attachments.disconnect(container, pid, network)

    def rename(self, container: str, name: str) -> None:
        """Let a container on networks have another name."""
        self._attachments.rename(container, name)

    def close(self) -> None:
        """Take away from the host at once what nobody is on."""
        self._attachments.close()

    def restore(self, running: Iterable[str]) -> None:
        """Find again what a daemon before this one left; see `Attachments.restore`."""
        self._attachments.restore(running)
