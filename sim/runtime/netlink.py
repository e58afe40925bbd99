"""Network interfaces, addresses and routes, by rtnetlink(7) messages made here.

Decided here and only here: every message to the kernel's network configuration. A few dozen lines of it serve better
than a library: this is loaded in the small process that all containers are forked from. Each call opens its own
socket, so any thread may call; it acts on the network namespace of the calling thread.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sim.runtime.errors import ContainerError
from sim.runtime.spec import Interface

__all__ = [
    "Link",
    "add_address",
    "add_bridge",
    "add_default_route",
    "add_default_routes",
    "add_pair",
    "addresses",
    "allow_ipv6",
    "attribute",
    "attributes",
    "configure_inside",
    "delete_link",
    "find_link",
    "links",
    "loopback_up",
    "request",
    "set_link",
]

_NEWLINK, _DELLINK, _GETLINK, _SETLINK, _NEWADDR, _GETADDR, _NEWROUTE = 16, 17, 18, 19, 20, 22, 24
_REQUEST, _ACK, _DUMP, _EXCL, _CREATE = 0x1, 0x4, 0x300, 0x200, 0x400
_ERROR, _DONE = 2, 3
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_NET_NS_FD = 1, 3, 4, 10, 18, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _RTA_OIF, _RTA_GATEWAY = 1, 2, 4, 5
_IFA_F_NODAD = 2
_IFF_UP = 1
_HEADER = struct.Struct("=IHHII")
_LINK_HEADER = struct.Struct("=BxHiII")


@dataclass(frozen=True, slots=True)
class Link:
    """A network interface as the kernel lists it."""

    index: int
    name: str
    up: bool
    master: int
    mac: str


def attribute(kind: int, value: bytes | str | int) -> bytes:
    """Return an attribute of a message."""
    data = (
        value.encode() + b"\0"
        if isinstance(value, str)
        else struct.pack("=I", value)
        if isinstance(value, int)
        else value
    )
    length = 4 + len(data)
    return struct.pack("=HH", length, kind) + data + bytes(-length % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the attributes of a message, or of one that holds others."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            return
        yield kind & 0x3FFF, data[4:length]
        data = data[length + (-length % 4) :]


def request(kind: int, flags: int, body: bytes, protocol: int = 0) -> list[tuple[int, bytes]]:
    """Send one request and return the answers' types and bodies; by default to rtnetlink."""
    answers: list[tuple[int, bytes]] = []
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as connection:
        connection.sendto(_HEADER.pack(_HEADER.size + len(body), kind, flags | _REQUEST | _ACK, 1, 0) + body, (0, 0))
        while True:
            data = connection.recv(1 << 18)
            while data:
                length, answer, _, _, _ = _HEADER.unpack_from(data)
                content = data[_HEADER.size : length]
                if answer == _ERROR:
                    code = -struct.unpack_from("=i", content)[0]
                    if code:
                        raise OSError(code, os.strerror(code))
                    return answers
                if answer == _DONE:
                    return answers
                answers.append((answer, content))
                data = data[length + (-length % 4) :]


def links() -> list[Link]:
    """Return the interfaces of the caller's network namespace."""
    found = []
    for kind, content in request(_GETLINK, _DUMP, _LINK_HEADER.pack(0, 0, 0, 0, 0)):
        if kind != _NEWLINK:
            continue
        _, _, index, flags, _ = _LINK_HEADER.unpack_from(content)
        values = dict(attributes(content[_LINK_HEADER.size :]))
        master = struct.unpack("=I", values[_IFLA_MASTER])[0] if _IFLA_MASTER in values else 0
        name = values.get(_IFLA_IFNAME, b"").rstrip(b"\0").decode()
        mac = ":".join(f"{byte:02x}" for byte in values.get(_IFLA_ADDRESS, b""))
        found.append(Link(index, name, bool(flags & _IFF_UP), master, mac))
    return found


def find_link(name: str) -> Link | None:
    """Return the interface of a name, or None."""
    return next((link for link in links() if link.name == name), None)


def _index(name: str) -> int:
    try:
        return socket.if_nametoindex(name)
    except OSError as error:
        raise ContainerError(f"there is no network interface {name}") from error


def _mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def set_link(name: str, *, up: bool = True, master: str | None = None, mtu: int = 0) -> None:
    """Bring an interface up or down; make it a port of a bridge; set the bytes of its largest packet."""
    body = _LINK_HEADER.pack(0, 0, _index(name), _IFF_UP if up else 0, _IFF_UP)
    body += attribute(_IFLA_MTU, mtu) if mtu else b""
    request(_SETLINK, 0, body + (attribute(_IFLA_MASTER, _index(master)) if master else b""))


def add_bridge(name: str, mac: str = "") -> bool:
    """Make a bridge; false where one of that name is there already."""
    body = _LINK_HEADER.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name)
    if mac:
        body += attribute(_IFLA_ADDRESS, _mac_bytes(mac))
    body += attribute(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, b"bridge"))
    try:
        request(_NEWLINK, _CREATE | _EXCL, body)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise
        return False
    return True


def add_pair(host_name: str, bridge: str, name: str, namespace: int, mac: str = "", mtu: int = 0) -> None:
    """Make a pair of interfaces: one here as a port of a bridge, up; the other in the namespace of a descriptor."""
    size = attribute(_IFLA_MTU, mtu) if mtu else b""
    peer = _LINK_HEADER.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name) + attribute(_IFLA_NET_NS_FD, namespace)
    if mac:
        peer += attribute(_IFLA_ADDRESS, _mac_bytes(mac))
    data = attribute(_IFLA_INFO_DATA, attribute(_VETH_INFO_PEER, peer + size))
    body = _LINK_HEADER.pack(0, 0, 0, _IFF_UP, _IFF_UP) + attribute(_IFLA_IFNAME, host_name) + size
    body += attribute(_IFLA_MASTER, _index(bridge))
    body += attribute(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, b"veth") + data)
    request(_NEWLINK, _CREATE | _EXCL, body)


def delete_link(name: str) -> None:
    """Remove an interface; one that is not there is no error."""
    with contextlib.suppress(ContainerError):
        try:
            request(_DELLINK, 0, _LINK_HEADER.pack(0, 0, _index(name), 0, 0))
        except OSError as error:
            if error.errno != errno.ENODEV:
                raise


def add_address(name: str, address: str) -> None:
    """Give an interface an address: "10.88.0.1/16". One that it has already is no error."""
    interface = ipaddress.ip_interface(address)
    family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    flags = 0 if interface.version == 4 else _IFA_F_NODAD
    body = struct.pack("=BBBBI", family, interface.network.prefixlen, flags, 0, _index(name))
    body += attribute(_IFA_LOCAL, interface.ip.packed) + attribute(_IFA_ADDRESS, interface.ip.packed)
    try:
        request(_NEWADDR, _CREATE | _EXCL, body)
    except OSError as error:
        if error.errno != errno.EEXIST:
            raise


def addresses() -> list[tuple[int, str]]:
    """Return the addresses of the caller's network namespace: number of the interface, and "10.88.0.1/16"."""
    found = []
    for kind, content in request(_GETADDR, _DUMP, struct.pack("=BBBBI", 0, 0, 0, 0, 0)):
        if kind != _NEWADDR:
            continue
        _, prefix, _, _, index = struct.unpack_from("=BBBBI", content)
        values = dict(attributes(content[8:]))
        packed = values.get(_IFA_LOCAL) or values[_IFA_ADDRESS]
        found.append((index, f"{ipaddress.ip_address(packed)}/{prefix}"))
    return found


def add_default_route(gateway: str, name: str) -> None:
    """Send everything that has no nearer route to a gateway."""
    address = ipaddress.ip_address(gateway)
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, 254, 4, 0, 1, 0)  # table main, protocol static, unicast
    body += attribute(_RTA_GATEWAY, address.packed) + attribute(_RTA_OIF, _index(name))
    request(_NEWROUTE, _CREATE | _EXCL, body)


def loopback_up() -> None:
    """Bring the loopback interface up, which a new network namespace has down."""
    set_link("lo")


def configure_inside(interfaces: Iterable[Interface]) -> None:
    """Give the interfaces, which are in the calling process's namespace by now, their addresses and routes."""
    for interface in interfaces:
        add_address(interface.name, interface.address)
        if interface.address6:
            allow_ipv6(interface.name)
            add_address(interface.name, interface.address6)
        set_link(interface.name)
        add_default_routes(interface)


def add_default_routes(interface: Interface) -> None:
    """Send everything that has no nearer route to an interface's gateways."""
    for gateway in (interface.gateway, interface.gateway6):
        if gateway:
            add_default_route(gateway, interface.name)


def allow_ipv6(name: str) -> None:
    """Let an interface have addresses of IPv6, whatever is set for new ones."""
    with contextlib.suppress(OSError):  # what else is amiss is told where it gets one
        Path("/proc/sys/net/ipv6/conf", name, "disable_ipv6").write_text("0")
