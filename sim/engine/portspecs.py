"""Published ports, as clients ask for them.

Decided here and only here: how "80/tcp" and ranges of host ports are read, and how what was published is shown.
Functions only; any thread.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from sim.engine.errors import BadParameterError
from sim.engine.model import Config, HostConfig, PortBinding
from sim.runtime import Port

__all__ = ["bound_ports", "listed_ports", "port_wishes", "shown_ports", "split_port"]


def split_port(text: str) -> tuple[int, str]:
    """Read a container's port.

    >>> split_port("80/udp"), split_port("53")
    ((80, 'udp'), (53, 'tcp'))
    """
    number, _, protocol = text.partition("/")
    if not number.isdigit() or not 0 < int(number) <= 65535:
        raise BadParameterError(f'invalid port specification: "{text}"')
    if (protocol or "tcp") not in ("tcp", "udp", "sctp"):
        raise BadParameterError(f"invalid proto: {protocol}")
    return int(number), protocol or "tcp"


def port_wishes(config: Config, host: HostConfig) -> tuple[Port, ...]:
    """Return the ports of the host that a container wants; number 0 is any.

    Raises
    ------
    BadParameterError
        One is no port; in Docker's words.
    """
    found = []
    bound = host.port_bindings or {}
    for name, bindings in bound.items():
        number, protocol = split_port(name)
        if protocol == "sctp":
            raise BadParameterError("ports of the protocol sctp are not published here")
        for binding in bindings or (PortBinding(),):
            first, _, last = binding.host_port.partition("-")
            for part in (first or "0", last or first or "0"):
                if not part.isdigit() or int(part) > 65535:
                    raise BadParameterError(f'invalid port specification: "{binding.host_port}"')
            found.append(Port(number, int(first or 0), binding.host_ip, protocol, host_last=int(last or 0)))
    if host.publish_all_ports:
        for name in config.exposed_ports or {}:
            number, protocol = split_port(name)
            if name not in bound and f"{number}/{protocol}" not in bound and protocol != "sctp":
                found.append(Port(number, 0, "", protocol))
    return tuple(found)


def bound_ports(ports: Iterable[Port]) -> tuple[Port, ...]:
    """Return the ports to be bound: one on every address of the host is two where it has IPv6, of one number.

    Numbers that nobody asked for are taken from those that the kernel gives to programs that ask for any, one after
    another, so that both are free.
    """
    found = []
    both = _has_ipv6()
    for port in ports:
        if port.host_ip:
            found.append(port)
            continue
        plain = replace(port, host_ip="0.0.0.0")
        if not both:
            found.append(plain)
            continue
        number = _free_number(port)
        if number:
            plain = replace(plain, host_port=number, host_last=0)
            found += [plain, replace(plain, host_ip="::")]
        else:  # the refusal is the runtime's to word
            found.append(plain)
    return tuple(found)


def _has_ipv6() -> bool:
    try:
        return bool(Path("/proc/net/if_inet6").read_text())
    except OSError:
        return False


_taken = itertools.count()


def _free_number(port: Port) -> int:
    """Return a port that is free in both families; 0 where none of those that may be is."""
    if port.host_port:
        wanted: Iterable[int] = range(port.host_port, max(port.host_port, port.host_last) + 1)
    else:
        first, last = (int(word) for word in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
        wanted = (first + next(_taken) % (last - first + 1) for _ in range(last - first + 1))
    return next((number for number in wanted if _is_free(number, port.protocol)), 0)


def _is_free(number: int, protocol: str) -> bool:
    kind = socket.SOCK_DGRAM if protocol == "udp" else socket.SOCK_STREAM
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        with socket.socket(family, kind) as trial:
            if family == socket.AF_INET6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if protocol != "udp":
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((address, number))
                if protocol != "udp":
                    trial.listen(1)
            except OSError:
                return False
    return True


def shown_ports(ports: Iterable[Port]) -> dict[str, tuple[PortBinding, ...]]:
    """Return published ports as an inspection shows them."""
    found: dict[str, tuple[PortBinding, ...]] = {}
    for port in ports:
        name = f"{port.container_port}/{port.protocol}"
        found[name] = (*found.get(name, ()), PortBinding(host_ip=port.host_ip, host_port=str(port.host_port)))
    return found


def listed_ports(config: Config, published: Mapping[str, tuple[PortBinding, ...]]) -> list[dict[str, object]]:
    """Return the ports of a running container as a list of containers shows them."""
    found: list[dict[str, object]] = []
    for name in sorted({*(config.exposed_ports or {}), *published}, key=split_port):
        number, protocol = split_port(name)
        for binding in published.get(name, ()):
            found.append(
                {
                    "IP": binding.host_ip,
                    "PrivatePort": number,
                    "PublicPort": int(binding.host_port),
                    "Type": protocol,
                }
            )
        if not published.get(name):
            found.append({"PrivatePort": number, "Type": protocol})
    return found
