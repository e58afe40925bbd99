"""The host's packet filter: what a bridge lets through, and the published ports.

Decided here and only here: every rule of nftables. All rules of a bridge are in one table of its own, and those of a
container's published ports in another, so that each goes as a whole. Other people's rules are left alone but for one
case: where another filter drops all forwarding that it does not know (Docker's does, and many firewalls), two rules
that let the bridge through are put first there, and taken away with the bridge; our own table still guards it. Any
thread may call; rules are those of the caller's network namespace.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass

from sim.runtime.errors import ContainerError, UnsupportedError
from sim.runtime.spec import Port

__all__ = ["Opening", "Parting", "guard", "part", "publish", "tables", "unguard", "unpublish"]

#: What nft says when somebody else has changed rules meanwhile, and how often to try then.
_PASSING, _ATTEMPTS = ("Resource busy", "Interrupted system call", "temporarily unavailable"), 5

_BRIDGES, _PORTS = "layerlab_", "layerlab_ports_"

#: Where others let users put rules of their own, and where rules go otherwise.
_USERS, _FORWARD = "DOCKER-USER", "FORWARD"


@dataclass(frozen=True, slots=True)
class Opening:
    """What one container may reach of another on a bridge whose containers do not reach each other.

    Attributes
    ----------
    source, target
        The two containers' addresses.
    protocol, port
        What of the target.
    """

    source: str
    target: str
    protocol: str
    port: int

    def rules(self) -> tuple[str, str]:
        """Return the rules: for what is sent there, and for what comes back."""
        there = f"ip saddr {self.source} ip daddr {self.target} {self.protocol} dport {self.port} accept;"
        back = f"ip saddr {self.target} ip daddr {self.source} {self.protocol} sport {self.port} accept;"
        return there, back


@dataclass(frozen=True, slots=True)
class Parting:
    """Who on a bridge is kept from the others.

    Attributes
    ----------
    hardware
        The hardware addresses of the containers.
    openings
        What they may reach of each other all the same.
    """

    hardware: tuple[str, ...] = ()
    openings: tuple[Opening, ...] = ()


def _table(bridge: str) -> str:
    return _BRIDGES + "".join(character if character.isalnum() else "_" for character in bridge)


def guard(
    bridge: str, subnet: str, *, internal: bool, masquerade: bool, subnet6: str = "", masquerade6: bool = False
) -> tuple[str, ...]:
    """Write a bridge's table anew: NAT to the outside, and nothing into it but answers and its own; return warnings.

    What may pass is the same for IPv4 and IPv6: no rule for that names an address.
    """
    if internal:
        beyond = f'iifname "{bridge}" oifname != "{bridge}" drop; oifname "{bridge}" drop;'
    else:
        # What other bridges of containers send is dropped; what the host's neighbours send is not routed here anyhow.
        beyond = f'iifname "{bridge}" accept; oifname "{bridge}" ct state established,related accept; '
        beyond += f'oifname "{bridge}" ct status dnat accept; oifname "{bridge}" drop;'
    nat = f'ip saddr {subnet} oifname != "{bridge}" masquerade;' if masquerade and not internal else ""
    if subnet6 and masquerade6 and not internal:
        nat += f' ip6 saddr {subnet6} oifname != "{bridge}" masquerade;'
    rules = f"""
        add table inet {_table(bridge)}
        delete table inet {_table(bridge)}
        table inet {_table(bridge)} {{
            chain forward {{
                type filter hook forward priority filter; policy accept;
                iifname "{bridge}" oifname "{bridge}" accept;
                {beyond}
            }}
            chain postrouting {{ type nat hook postrouting priority srcnat; policy accept; {nat} }}
        }}
    """
    try:
        _nft(rules)
        _let_through(bridge, _families(bool(subnet6)))
    except UnsupportedError as error:
        return (f"{error}: containers of {bridge} reach each other, but nothing beyond",)
    return ()


def part(bridge: str, subnet: str, parting: Parting) -> tuple[str, ...]:
    """Let containers on a bridge reach each other only where there are openings; return warnings.

    What goes from one port of a bridge to another is not routed, so this is a table of the bridge family's. Not every
    kernel knows there which bridge it is, so who is meant is told by the hardware address, without which nobody takes
    it, and what is for all by the subnet; or, since with IPv6 everybody has further addresses, by who sends it. As with
    Docker, addresses are still found out (ARP).
    """
    opened = "\n".join(rule for each in parting.openings for rule in each.rules())
    theirs = f"{{ {', '.join(parting.hardware)} }}"
    single = f"ether daddr {theirs} ether type {{ ip, ip6 }} drop; ether saddr {theirs} ether type ip6 drop;"
    rules = f"""
        add table bridge {_table(bridge)}
        delete table bridge {_table(bridge)}
        table bridge {_table(bridge)} {{
            chain forward {{
                type filter hook forward priority filter; policy accept;
                {opened}
                {single if parting.hardware else ""}
                ip saddr {subnet} ip daddr {{ {subnet}, 224.0.0.0/4, 255.255.255.255 }} drop;
            }}
        }}
    """
    try:
        _nft(rules)
    except (ContainerError, UnsupportedError) as error:
        return (f"{error}: containers of {bridge} reach each other",)
    return ()


def unguard(bridge: str, *, parted: bool = True, ipv6: bool = True) -> None:
    """Remove a bridge's rules; where there are none that is no error.

    Parameters
    ----------
    parted
        Whether `part` was asked for.
    ipv6
        Whether it has a subnet of IPv6.
    """
    for family in ("inet", *(("bridge",) if parted else ())):
        with contextlib.suppress(ContainerError):
            _nft(f"add table {family} {_table(bridge)}\ndelete table {family} {_table(bridge)}\n")
    with contextlib.suppress(ContainerError):
        _shut_out(bridge, _families(ipv6))


def publish(name: str, bridge: str, address: str, ports: Iterable[Port]) -> None:
    """Lead what comes for published ports straight to a container.

    What comes from the bridge itself or by the loopback interface is not led so: the process that has the sockets bound
    passes it on, since answers would go past this host, or be refused for their address.

    Parameters
    ----------
    name
        Of the set of ports, for `unpublish`.
    bridge, address
        The container's.
    ports
        With the numbers that were given.

    Raises
    ------
    ContainerError, UnsupportedError
        There are no such rules here.
    """
    arriving, leaving = [], []
    for port in ports:
        if ":" in port.host_ip or port.host_ip.startswith("127."):
            continue
        to = "fib daddr type local" if port.host_ip in ("", "0.0.0.0") else f"ip daddr {port.host_ip}"
        rule = f"{to} {port.protocol} dport {port.host_port} dnat to {address}:{port.container_port};"
        arriving.append(f'iifname != "{bridge}" {rule}')
        leaving.append(f"ip daddr != 127.0.0.0/8 {rule}")
    if not arriving:
        return
    _nft(f"""
        add table ip {_PORTS}{name}
        delete table ip {_PORTS}{name}
        table ip {_PORTS}{name} {{
            chain prerouting {{ type nat hook prerouting priority dstnat; policy accept; {" ".join(arriving)} }}
            chain output {{ type nat hook output priority -100; policy accept; {" ".join(leaving)} }}
        }}
    """)


def unpublish(name: str) -> None:
    """Remove the rules of a set of ports; where there are none that is no error."""
    with contextlib.suppress(ContainerError):
        _nft(f"add table ip {_PORTS}{name}\ndelete table ip {_PORTS}{name}\n")


def tables() -> tuple[set[str], set[str]]:
    """Return what has rules here: bridges (as far as a table's name can tell), and names of sets of ports."""
    try:
        text = _nft("list tables\n")
    except ContainerError:
        return set(), set()
    names = re.findall(rf"^table \w+ {_BRIDGES}(\w+)$", text, re.MULTILINE)
    rest = _PORTS.removeprefix(_BRIDGES)
    ports = {name.removeprefix(rest) for name in names if name.startswith(rest)}
    return {name for name in names if not name.startswith(rest)}, ports


def _families(ipv6: bool) -> tuple[str, ...]:
    return ("ip", "ip6") if ipv6 else ("ip",)


def _let_through(bridge: str, families: Iterable[str]) -> None:
    """Let the bridge through other filters that drop whatever they do not know."""
    _shut_out(bridge, families)
    for family in families:
        for chain in (_USERS, _FORWARD):
            try:
                text = _nft(f"list chain {family} filter {chain}\n")
            except ContainerError:  # there is none of this name
                continue
            if chain == _USERS or "policy drop" in text:
                rules = (f'{way} "{bridge}" counter accept comment "{_mark(bridge)}"' for way in ("iifname", "oifname"))
                with contextlib.suppress(ContainerError):
                    _nft("".join(f"insert rule {family} filter {chain} {rule}\n" for rule in rules))
                break


def _shut_out(bridge: str, families: Iterable[str]) -> None:
    """Take away what `_let_through` has put into others' filters."""
    for family, chain in itertools.product(families, (_USERS, _FORWARD)):
        try:
            text = _nft(f"list chain {family} filter {chain}\n", "-a")
        except ContainerError:
            continue
        handles = re.findall(rf'comment "{re.escape(_mark(bridge))}" # handle (\d+)$', text, re.MULTILINE)
        with contextlib.suppress(ContainerError):
            if handles:
                _nft("".join(f"delete rule {family} filter {chain} handle {handle}\n" for handle in handles))


def _mark(bridge: str) -> str:
    return f"layerlab {bridge}"


def _nft(script: str, *options: str) -> str:
    """Have a script carried out as a whole; return what it printed."""
    tool = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if tool is None:
        raise UnsupportedError("nft is missing: install it (Debian: nftables)")
    for attempt in range(_ATTEMPTS):
        done = subprocess.run([tool, *options, "-f", "-"], input=script.encode(), capture_output=True, check=False)
        said = done.stderr.decode(errors="replace").strip()
        if not done.returncode:
            break
        if attempt == _ATTEMPTS - 1 or not any(word in said for word in _PASSING):
            raise ContainerError(f"nft refuses the rules: {said.splitlines()[0] if said else done.returncode}")
        time.sleep(0.05)
    return done.stdout.decode(errors="replace")
