"""The host's packet filter: what a bridge lets through, and the published ports.

Decided here and only here: every rule of nftables. All rules of a bridge are in one table of its own, and those of a
container's published ports in another, so that each goes as a whole. Other people's rules are left alone but for one
case: where another filter drops all forwarding that it does not know (Docker's does, and many firewalls), two rules
that let the bridge through are put first there, and taken away with the bridge; our own table still guards it. Any
thread may call; rules are those of the caller's network namespace.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
from collections.abc import Iterable

from sim.runtime.errors import ContainerError, UnsupportedError
from sim.runtime.spec import Port

__all__ = ["guard", "publish", "tables", "unguard", "unpublish"]

#: What nft says when somebody else has changed rules meanwhile, and how often to try then.
_PASSING, _ATTEMPTS = ("Resource busy", "Interrupted system call", "temporarily unavailable"), 5

_BRIDGES, _PORTS = "layerlab_", "layerlab_ports_"

#: Where others let users put rules of their own, and where rules go otherwise.
_USERS, _FORWARD = "DOCKER-USER", "FORWARD"


def _table(bridge: str) -> str:
    return _BRIDGES + "".join(character if character.isalnum() else "_" for character in bridge)


def guard(bridge: str, subnet: str, *, internal: bool, masquerade: bool) -> tuple[str, ...]:
    """Write a bridge's table anew: NAT to the outside, and nothing into it but answers and its own; return warnings."""
    if internal:
        beyond = f'iifname "{bridge}" oifname != "{bridge}" drop; oifname "{bridge}" drop;'
    else:
        # What other bridges of containers send is dropped; what the host's neighbours send is not routed here anyhow.
        beyond = f'iifname "{bridge}" accept; oifname "{bridge}" ct state established,related accept; '
        beyond += f'oifname "{bridge}" ct status dnat accept; oifname "{bridge}" drop;'
    nat = f'ip saddr {subnet} oifname != "{bridge}" masquerade;' if masquerade and not internal else ""
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
        _let_through(bridge)
    except UnsupportedError as error:
        return (f"{error}: containers of {bridge} reach each other, but nothing beyond",)
    return ()


def unguard(bridge: str) -> None:
    """Remove a bridge's rules; where there are none that is no error."""
    with contextlib.suppress(ContainerError):
        _nft(f"add table inet {_table(bridge)}\ndelete table inet {_table(bridge)}\n")
    with contextlib.suppress(ContainerError):
        _shut_out(bridge)


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


def _let_through(bridge: str) -> None:
    """Let the bridge through another filter that drops whatever it does not know."""
    _shut_out(bridge)
    for chain in (_USERS, _FORWARD):
        try:
            text = _nft(f"list chain ip filter {chain}\n")
        except ContainerError:  # there is none of this name
            continue
        if chain == _USERS or "policy drop" in text:
            rules = (f'{way} "{bridge}" counter accept comment "{_mark(bridge)}"' for way in ("iifname", "oifname"))
            with contextlib.suppress(ContainerError):
                _nft("".join(f"insert rule ip filter {chain} {rule}\n" for rule in rules))
            return


def _shut_out(bridge: str) -> None:
    """Take away what `_let_through` has put into another's filter."""
    for chain in (_USERS, _FORWARD):
        try:
            text = _nft(f"list chain ip filter {chain}\n", "-a")
        except ContainerError:
            continue
        handles = re.findall(rf'comment "{re.escape(_mark(bridge))}" # handle (\d+)$', text, re.MULTILINE)
        with contextlib.suppress(ContainerError):
            if handles:
                _nft("".join(f"delete rule ip filter {chain} handle {handle}\n" for handle in handles))


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
