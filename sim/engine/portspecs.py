"""Published ports, as clients ask for them.

Decided here and only here: how "80/tcp" and ranges of host ports are read, and how what was published is shown.
Functions only; any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sim.engine.errors import BadParameterError
from sim.engine.model import Config, HostConfig, PortBinding
from sim.runtime import Port

__all__ = ["listed_ports", "port_wishes", "shown_ports", "split_port"]


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
            first = binding.host_port.partition("-")[0] or "0"
            if not first.isdigit() or int(first) > 65535:
                raise BadParameterError(f'invalid port specification: "{binding.host_port}"')
            found.append(Port(number, int(first), binding.host_ip or "0.0.0.0", protocol))
    if host.publish_all_ports:
        for name in config.exposed_ports or {}:
            number, protocol = split_port(name)
            if name not in bound and f"{number}/{protocol}" not in bound and protocol != "sctp":
                found.append(Port(number, 0, "0.0.0.0", protocol))
    return tuple(found)


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
