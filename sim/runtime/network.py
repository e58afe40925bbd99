"""Networks between containers: bridges, addresses, and what the host's packet filter does for them.

Decided here and only here: which subnets and addresses are given out, and how a bridge is made and removed; the rules
that belong to it are decided in `firewall.py`. Any thread may call; bridges and rules are those of the caller's network
namespace.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sim.runtime import firewall, netlink
from sim.runtime.errors import ContainerError, UnsupportedError

__all__ = ["Bridge", "create_bridge", "delete_bridge", "free_address", "free_subnet", "mac_of"]

#: The pools that moby takes subnets from: 31 of 16 bits in 172.17/16 to 192.168/16, then smaller ones.
_POOLS = tuple(
    [ipaddress.ip_network(f"172.{number}.0.0/16") for number in range(17, 32)]
    + list(ipaddress.ip_network("192.168.0.0/16").subnets(new_prefix=20))
)


#: Where the kernel lists addresses of IPv6; it is not there where the kernel has none.
_IPV6 = Path("/proc/net/if_inet6")


@dataclass(frozen=True, slots=True)
class Bridge:
    """A network of containers on this host.

    Attributes
    ----------
    name
        Of the interface, at most 15 characters.
    subnet
        "172.18.0.0/16".
    gateway
        The bridge's own address in it.
    internal
        Whether containers on it reach nothing beyond it.
    masquerade
        Whether what they send beyond it has the host's address.
    mtu
        Bytes of the largest packet; 0 leaves it to the kernel.
    parting
        Which containers are kept from each other; None for none.
    subnet6, gateway6
        Of IPv6, besides; empty for none.
    masquerade6
        Whether what they send beyond it by IPv6 has the host's address.
    """

    name: str
    subnet: str
    gateway: str
    internal: bool = False
    masquerade: bool = True
    mtu: int = 0
    parting: firewall.Parting | None = None
    subnet6: str = ""
    gateway6: str = ""
    masquerade6: bool = False

    @property
    def places(self) -> list[tuple[str, str]]:
        """Its subnets, each with the bridge's own address there."""
        return [(self.subnet, self.gateway), *([(self.subnet6, self.gateway6)] if self.subnet6 else [])]


def free_subnet(used: Iterable[str] = ()) -> str:
    """Return a subnet that overlaps neither those in use nor one that this host has an address in.

    Raises
    ------
    ContainerError
        There is none left, in moby's words.

    """
    taken = [ipaddress.ip_network(each, strict=False) for each in used]
    taken += [ipaddress.ip_interface(address).network for _, address in netlink.addresses()]
    for pool in _POOLS:
        if not any(pool.version == each.version and pool.overlaps(each) for each in taken):
            return str(pool)
    text = "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network"
    raise ContainerError(text)


def free_address(subnet: str, used: Iterable[str]) -> str:
    """Return the first address of a subnet that is not used, without the prefix.

    Raises
    ------
    ContainerError
        The subnet is full.

    Examples
    --------
    >>> free_address("10.0.0.0/30", ["10.0.0.1"])
    '10.0.0.2'
    """
    network = ipaddress.ip_network(subnet)
    taken = {ipaddress.ip_address(each.partition("/")[0]) for each in used}
    for address in network.hosts():
        if address not in taken:
            return str(address)
    raise ContainerError(f"no available IPv4 addresses on this network's address pools: {subnet}")


def mac_of(address: str) -> str:
    """Return the hardware address that Docker gives the container with an IPv4 address.

    Examples
    --------
    >>> mac_of("172.17.0.2")
    '02:42:ac:11:00:02'
    """
    return ":".join(f"{byte:02x}" for byte in b"\x02\x42" + ipaddress.IPv4Address(address).packed)


def create_bridge(bridge: Bridge) -> tuple[str, ...]:
    """Make a bridge with its address and rules, or make sure of one that is there; return warnings.

    Raises
    ------
    ContainerError
        Its address overlaps another's, or the name is no name for an interface.
    UnsupportedError
        The caller may not configure the network, or the kernel has no IPv6.
    """
    if bridge.subnet6 and not _IPV6.exists():
        raise UnsupportedError("this kernel has no IPv6: make the network without it")
    for subnet, gateway in bridge.places:
        if ipaddress.ip_address(gateway) not in ipaddress.ip_network(subnet):
            raise ContainerError(f"no matching subnet for gateway {gateway}")
    here = netlink.find_link(bridge.name)
    for index, address in netlink.addresses():
        theirs = ipaddress.ip_interface(address).network
        if here is not None and index == here.index:
            continue
        if any(theirs.overlaps(ipaddress.ip_network(subnet)) for subnet, _ in bridge.places):
            raise ContainerError("Pool overlaps with other one on this address space")
    try:
        # Its own address: the kernel would take one of a container's, and another when that one goes, and then those
        # that are left would send what is for the gateway to nobody, as long as they remember the old one.
        made = netlink.add_bridge(bridge.name, mac_of(bridge.gateway) if ":" not in bridge.gateway else "")
    except PermissionError as error:
        raise UnsupportedError("only root can make bridges: use the network default, none or host") from error
    except OSError as error:
        raise ContainerError(f"cannot make the bridge {bridge.name}: {error.strerror}") from error
    try:
        if bridge.subnet6:
            netlink.allow_ipv6(bridge.name)
        for subnet, gateway in bridge.places:
            netlink.add_address(bridge.name, f"{gateway}/{ipaddress.ip_network(subnet).prefixlen}")
        netlink.set_link(bridge.name, mtu=bridge.mtu)
        if not bridge.internal:
            _forwarding()
            if bridge.subnet6:
                _forwarding6()
        parted = firewall.part(bridge.name, bridge.subnet, bridge.parting) if bridge.parting is not None else ()
        return parted + firewall.guard(
            bridge.name,
            bridge.subnet,
            internal=bridge.internal,
            masquerade=bridge.masquerade,
            subnet6=bridge.subnet6,
            masquerade6=bridge.masquerade and bridge.masquerade6,
        )
    except BaseException:
        if made:
            delete_bridge(bridge)
        raise


def delete_bridge(bridge: Bridge) -> None:
    """Remove a bridge and its rules; one that is not there is no error."""
    netlink.delete_link(bridge.name)
    firewall.unguard(bridge.name, parted=bridge.parting is not None, ipv6=bool(bridge.subnet6))


def _forwarding() -> None:
    path = Path("/proc/sys/net/ipv4/ip_forward")
    if path.read_text().strip() != "1":
        path.write_text("1")


def _forwarding6() -> None:
    """Let the host pass IPv6 on; interfaces that learn their routes from a router go on doing so, as they would not."""
    place = Path("/proc/sys/net/ipv6/conf")
    if (place / "all/forwarding").read_text().strip() == "1":
        return
    for interface in place.iterdir():
        learns = interface / "accept_ra"
        if learns.read_text().strip() == "1" and interface.name != "all":
            learns.write_text("2")  # one that passes on what is not for it learns only then
    for name in ("default", "all"):
        (place / name / "forwarding").write_text("1")
