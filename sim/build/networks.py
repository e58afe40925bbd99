"""The network of a RUN.

Decided here and only here: what a runner asks for, and the two ways to have it without an engine: the machine's network
or none, and a bridge. An engine gives a function of its own, with the networks that it knows. Any thread may call.
"""

from __future__ import annotations

import contextlib
import ipaddress
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from sim.build.errors import BuildError
from sim.runtime.network import Bridge, create_bridge, free_address, mac_of
from sim.runtime.spec import Interface

__all__ = ["BridgeNetworks", "Network", "Networks", "plain_networks"]


@dataclass(frozen=True, slots=True)
class Network:
    """What network a RUN gets.

    Attributes
    ----------
    namespace
        As in `Namespaces.network`.
    interfaces
        For a new namespace.
    hosts
        Address and name, for /etc/hosts.
    dns, search
        For /etc/resolv.conf; without any of `dns` the host's servers are used.
    """

    namespace: str = "new"
    interfaces: tuple[Interface, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()
    dns: tuple[str, ...] = ()
    search: tuple[str, ...] = ()


#: Called with a network's name and a container's ID; takes away at the block's end what it made.
Networks = Callable[[str, str], AbstractContextManager[Network]]


@contextlib.contextmanager
def plain_networks(name: str, identity: str) -> Iterator[Network]:
    """Give the host's network, or none but the loopback.

    Raises
    ------
    BuildError
        Another one is wanted.
    """
    if name in ("", "default", "bridge", "none"):
        yield Network()
    elif name == "host":
        yield Network("host")
    else:
        raise BuildError(f"network {name} not found")


class BridgeNetworks:
    """Gives each RUN an address on a bridge, which is made where it is missing and stays.

    Parameters
    ----------
    bridge
        The bridge.
    used
        Returns the addresses on it that others have.
    """

    def __init__(self, bridge: Bridge, used: Callable[[], Iterable[str]] = tuple) -> None:
        self._bridge = bridge
        self._used = used
        self._lock = threading.Lock()
        self._own: set[str] = set()

    @contextlib.contextmanager
    def __call__(self, name: str, identity: str) -> Iterator[Network]:
        """Give a network; see `Networks`."""
        if name not in ("", "default", "bridge"):
            with plain_networks(name, identity) as plain:
                yield plain
            return
        bridge = self._bridge
        with self._lock:
            create_bridge(bridge)
            address = free_address(bridge.subnet, [bridge.gateway, *self._used(), *self._own])
            self._own.add(address)
        try:
            prefix = ipaddress.ip_network(bridge.subnet).prefixlen
            interface = Interface(bridge.name, f"{address}/{prefix}", bridge.gateway, mac=mac_of(address))
            yield Network(interfaces=(interface,), hosts=((address, identity[:12]),))
        finally:
            with self._lock:
                self._own.discard(address)
