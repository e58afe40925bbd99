"""Networks between containers: bridges, addresses, and what the host's packet filter does for them.

Decided here and only here: which subnets and addresses are given out, and the firewall rules of a bridge. All rules of
a bridge are in one nftables table of its own, so that it goes with the bridge and nobody else's rules are touched. Any
thread may call; bridges and rules are those of the caller's network namespace.
"""

from __future__ import annotations

import contextlib
import ipaddress
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sim.runtime import netlink
from sim.runtime.errors import ContainerError, UnsupportedError

__all__ = ["Bridge", "create_bridge", "delete_bridge", "free_address", "free_subnet", "mac_of"]

#: The pools that moby takes subnets from: 31 of 16 bits in 172.17/16 to 192.168/16, then smaller ones.
_POOLS = tuple(
    [ipaddress.ip_network(f"172.{number}.0.0/16") for number in range(17, 32)]
    + list(ipaddress.ip_network("192.168.0.0/16").subnets(new_prefix=20))
)


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
    """

    name: str
    subnet: str
    gateway: str
    internal: bool = False
    masquerade: bool = True


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
        The caller may not configure the network.
    """
    network = ipaddress.ip_network(bridge.subnet)
    if ipaddress.ip_address(bridge.gateway) not in network:
        raise ContainerError(f"no matching subnet for gateway {bridge.gateway}")
    here = netlink.find_link(bridge.name)
    for index, address in netlink.addresses():
        if (here is None or index != here.index) and ipaddress.ip_interface(address).network.overlaps(network):
            raise ContainerError("Pool overlaps with other one on this address space")
    try:
        made = netlink.add_bridge(bridge.name)
    except PermissionError as error:
        raise UnsupportedError("only root can make bridges: use the network none or host") from error
    except OSError as error:
        raise ContainerError(f"cannot make the bridge {bridge.name}: {error.strerror}") from error
    try:
        netlink.add_address(bridge.name, f"{bridge.gateway}/{network.prefixlen}")
        netlink.set_link(bridge.name)
        return _write_rules(bridge)
    except BaseException:
        if made:
            delete_bridge(bridge)
        raise


def delete_bridge(bridge: Bridge) -> None:
    """Remove a bridge and its rules; one that is not there is no error."""
    netlink.delete_link(bridge.name)
    with contextlib.suppress(ContainerError):
        _nft(f"add table inet {_table(bridge)}\ndelete table inet {_table(bridge)}\n")


def _table(bridge: Bridge) -> str:
    return "layerlab_" + "".join(character if character.isalnum() else "_" for character in bridge.name)


def _write_rules(bridge: Bridge) -> tuple[str, ...]:
    """Write the bridge's table anew: NAT to the outside, and nothing into it but answers and its own."""
    if bridge.internal:
        beyond = f'iifname "{bridge.name}" oifname != "{bridge.name}" drop; oifname "{bridge.name}" drop;'
        nat = ""
    else:
        _forwarding()
        # What other bridges of containers send is dropped; what the host's neighbours send is not routed here anyhow.
        beyond = f'iifname "{bridge.name}" accept; oifname "{bridge.name}" ct state established,related accept; '
        beyond += f'oifname "{bridge.name}" drop;'
        nat = f'ip saddr {bridge.subnet} oifname != "{bridge.name}" masquerade;' if bridge.masquerade else ""
    table = _table(bridge)
    rules = f"""
        add table inet {table}
        delete table inet {table}
        table inet {table} {{
            chain forward {{
                type filter hook forward priority filter; policy accept;
                iifname "{bridge.name}" oifname "{bridge.name}" accept;
                {beyond}
            }}
            chain postrouting {{ type nat hook postrouting priority srcnat; policy accept; {nat} }}
        }}
    """
    try:
        _nft(rules)
    except UnsupportedError as error:
        return (f"{error}: containers of {bridge.name} reach each other, but nothing beyond",)
    return ()


def _forwarding() -> None:
    path = Path("/proc/sys/net/ipv4/ip_forward")
    if path.read_text().strip() != "1":
        path.write_text("1")


def _nft(script: str) -> None:
    tool = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if tool is None:
        raise UnsupportedError("nft is missing: install it (Debian: nftables)")
    done = subprocess.run([tool, "-f", "-"], input=script.encode(), capture_output=True)
    if done.returncode:
        text = done.stderr.decode(errors="replace").strip().splitlines()
        raise ContainerError(f"nft refuses the rules of a bridge: {text[0] if text else done.returncode}")
