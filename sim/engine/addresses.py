"""Subnets and addresses: what a network asks for, and what it gets.

Decided here and only here: what of an IPAM configuration is refused, which subnet a network gets that names none (the
first of Docker's pools that overlaps neither another network nor what the host reaches; one of IPv6 has to be named),
and which address comes next.
Functions and frozen values; any thread.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from sim.engine.errors import BadParameterError, EngineError, ForbiddenError, NotFoundError
from sim.runtime.errors import ContainerError
from sim.runtime.network import free_subnet

__all__ = ["Pool", "automatic_pool", "checked_address", "checked_pools", "host_routes", "next_address", "take_address"]


class Pool(msgspec.Struct, frozen=True, rename={"ip_range": "IPRange", "auxiliary": "AuxiliaryAddresses"}):
    """One subnet of a network, as Docker's API has it.

    Attributes
    ----------
    subnet
        "172.18.0.0/16".
    gateway
        The bridge's own address; empty where none was asked for: then it is the first of the subnet.
    ip_range
        The part of the subnet that addresses are given out from.
    auxiliary
        Addresses in it that somebody else has, by name.
    """

    subnet: str = msgspec.field(default="", name="Subnet")
    gateway: str = msgspec.field(default="", name="Gateway")
    ip_range: str = ""
    auxiliary: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """The subnet as a value."""
        return ipaddress.ip_network(self.subnet, strict=False)

    @property
    def version(self) -> int:
        """4 or 6; 4 where no subnet is named."""
        return 6 if ":" in self.subnet else 4

    @property
    def bridge_address(self) -> str:
        """The gateway, or where none was named the first address of the subnet."""
        if self.gateway:
            return _plain(self.gateway)
        taken = {_plain(address) for address in self.auxiliary.values()}
        part = ipaddress.ip_network(self.ip_range, strict=False) if self.ip_range else self.network
        for place in (part, self.network):
            for address in place.hosts():
                if str(address) not in taken and address in self.network:
                    return str(address)
        raise _full(self)


def _plain(address: str) -> str:
    """Return an address as all others are written: IPv6 has many ways to write one."""
    return str(ipaddress.ip_address(address))


def _full(pool: Pool) -> EngineError:
    return EngineError(f"no available IPv{pool.version} addresses on this network's address pools: {pool.subnet}")


def host_routes() -> list[str]:
    """Return the IPv4 networks that this host has routes to, but for the default."""
    found = []
    try:
        lines = Path("/proc/net/route").read_text().splitlines()[1:]
    except OSError:
        return []
    for line in lines:
        words = line.split()
        address, mask = (socket.inet_ntoa(struct.pack("=I", int(word, 16))) for word in (words[1], words[7]))
        if mask != "0.0.0.0":
            found.append(str(ipaddress.IPv4Network(f"{address}/{mask}", strict=False)))
    return found


def automatic_pool(used: Iterable[str]) -> Pool:
    """Return the pool of a network that asks for none.

    Parameters
    ----------
    used
        The subnets of the other networks.

    Raises
    ------
    EngineError
        All of Docker's pools are taken.
    """
    try:
        subnet = free_subnet([*used, *host_routes()])
    except ContainerError as error:
        raise EngineError(str(error)) from None
    return Pool(subnet, str(next(ipaddress.IPv4Network(subnet).hosts())))


def checked_pools(wanted: Iterable[Pool], used: Iterable[str], *, ipv6: bool = False) -> list[Pool]:
    """Return the pools of a network as it asks for them: one of IPv4, and after it one of IPv6 where one was asked for.

    Parameters
    ----------
    used
        The subnets of the other networks.
    ipv6
        Whether it must have one of IPv6.

    Raises
    ------
    BadParameterError
        One is none, or an address is not in its subnet.
    ForbiddenError
        One overlaps another network's, or there is more than one of a kind.
    NotFoundError
        One of IPv6 is to be chosen: there are none to choose from.
    """
    pools = sorted(wanted, key=lambda pool: pool.version)
    versions = [pool.version for pool in pools]
    if len(versions) > len(set(versions)):
        raise ForbiddenError("bridge driver doesn't support multiple subnets")
    taken = list(used)
    found = [_checked(pool, taken) for pool in pools]
    if ipv6 and 6 not in versions:
        raise NotFoundError(
            "could not find an available, non-overlapping IPv6 address pool among the defaults to assign to the network"
        )
    return found if 4 in versions else [automatic_pool(taken), *found]


def _checked(pool: Pool, used: list[str]) -> Pool:
    if not pool.subnet:
        if pool.gateway or pool.ip_range or pool.auxiliary:
            raise BadParameterError("user specified configuration requires a subnet")
        return automatic_pool(used)
    if "/" not in pool.subnet:
        raise BadParameterError(f"invalid subnet {pool.subnet}: invalid CIDR block notation")
    try:
        network = ipaddress.ip_network(pool.subnet, strict=False)
    except ValueError:
        raise BadParameterError(f"invalid subnet {pool.subnet}: invalid CIDR address: {pool.subnet}") from None
    if network.is_multicast or (network.version == 6 and network.is_link_local):
        raise BadParameterError(f"invalid subnet {pool.subnet}: no addresses of it are a network's own")
    if network.prefixlen > network.max_prefixlen - 2:
        raise BadParameterError(f"invalid subnet {pool.subnet}: it has no room for a container beside its gateway")
    _check_addresses(pool, network)
    if any(network.overlaps(ipaddress.ip_network(other)) for other in used):
        raise ForbiddenError("Pool overlaps with other one on this address space")
    return msgspec.structs.replace(pool, subnet=str(network))


def _check_addresses(pool: Pool, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    for what, text in (("gateway", pool.gateway), *(("auxiliary", value) for value in pool.auxiliary.values())):
        if not text:
            continue
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise BadParameterError(f"invalid {what} address {text} in Ipam configuration") from None
        if address not in network:
            wording = f"no matching subnet for gateway {text}"
            raise BadParameterError(wording if what == "gateway" else f"no matching subnet for aux-address {text}")
    if pool.ip_range:
        try:
            part = ipaddress.ip_network(pool.ip_range, strict=False)
        except ValueError:
            raise BadParameterError(
                f"invalid ip-range {pool.ip_range}: invalid CIDR address: {pool.ip_range}"
            ) from None
        if part.version != network.version or not network.supernet_of(part):  # type: ignore[arg-type]
            raise BadParameterError(f"no matching subnet for range {pool.ip_range}")


def _reserved(pool: Pool) -> set[str]:
    return {pool.bridge_address, *map(_plain, pool.auxiliary.values())}


def _ends(pool: Pool) -> tuple[object, ...]:
    """Return the addresses of a subnet that are no container's: of the subnet itself, and with IPv4 of all in it."""
    network = pool.network
    return (network.network_address, network.broadcast_address) if network.version == 4 else (network.network_address,)


def next_address(pool: Pool, used: Iterable[str]) -> str:
    """Return the first address that nobody has, without the prefix.

    Raises
    ------
    EngineError
        They are all taken.

    Examples
    --------
    >>> next_address(Pool("10.0.0.0/29", "10.0.0.1", "10.0.0.4/30"), ["10.0.0.4"])
    '10.0.0.5'
    """
    taken = {*used, *_reserved(pool)}
    part = ipaddress.ip_network(pool.ip_range, strict=False) if pool.ip_range else pool.network
    ends = _ends(pool)
    for address in part:
        if address not in ends and str(address) not in taken:
            return str(address)
    raise _full(pool)


def checked_address(text: str, version: int) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Return an address of a kind that somebody asks for.

    Raises
    ------
    BadParameterError
        It is none.
    """
    try:
        return ipaddress.IPv4Address(text) if version == 4 else ipaddress.IPv6Address(text)
    except ValueError:
        raise BadParameterError(f"invalid IPv{version} address: {text}") from None


def take_address(pool: Pool, wanted: str, used: Iterable[str]) -> str:
    """Return an address that somebody asks for, if it can be had.

    Raises
    ------
    BadParameterError
        It is no address of the subnet.
    ForbiddenError
        It is taken.
    """
    address = checked_address(wanted, pool.version)
    if address not in pool.network:
        raise BadParameterError(f"Invalid address {wanted}: It does not belong to any of this network's subnets")
    if str(address) in {*used, *_reserved(pool)} or address in _ends(pool):
        raise ForbiddenError("Address already in use")
    return str(address)


def pool_document(pool: Pool, *, shown_gateway: bool = True) -> Mapping[str, object]:
    """Return a pool as the API shows it: what is empty is left out."""
    found: dict[str, object] = {"Subnet": pool.subnet}
    if pool.ip_range:
        found["IPRange"] = pool.ip_range
    if pool.gateway and shown_gateway:
        found["Gateway"] = pool.gateway
    if pool.auxiliary:
        found["AuxiliaryAddresses"] = dict(pool.auxiliary)
    return found
