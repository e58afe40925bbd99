"""The kernel's memory of connections, as far as it outlives a published port.

Decided here and only here: which of its entries are forgotten. A flow of datagrams has no end: as long as a sender goes
on, the kernel leads what it sends to where the first one went, and that may be a container that is gone. Messages of
ctnetlink, by the means of `netlink.py`. Any thread may call; it acts on the caller's network namespace.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterable

from sim.runtime import netlink
from sim.runtime.spec import Port

__all__ = ["forget_datagrams"]

_NETFILTER = 12  #: number of the netlink protocol
_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2
_DUMP = 0x300
_HEADER = struct.pack(">BBH", socket.AF_INET, 0, 0)
_ORIGINAL, _REPLY = 1, 2
_IP, _PROTOCOL = 1, 2
_SOURCE_PORT, _DESTINATION_PORT, _NUMBER = 2, 3, 1
_NESTED = 0x8000


def forget_datagrams(address: str, ports: Iterable[Port]) -> int:
    """Forget who sends datagrams to published ports of a container; return of how many senders.

    Parameters
    ----------
    address
        The container's.
    ports
        Those of other protocols are left out.
    """
    wanted = {(port.host_port, port.container_port) for port in ports if port.protocol == "udp"}
    packed = socket.inet_aton(address) if wanted and ":" not in address else b""
    forgotten = 0
    if not packed:
        return 0
    with contextlib.suppress(OSError):  # a kernel that remembers nothing
        for _, content in netlink.request(_GET, _DUMP, _HEADER, _NETFILTER):
            entry = dict(netlink.attributes(content[len(_HEADER) :]))
            original, reply = (_tuple(entry.get(way, b"")) for way in (_ORIGINAL, _REPLY))
            if original is None or reply is None or (original[1], reply[0]) not in wanted or reply[2] != packed:
                continue
            body = netlink.attribute(_ORIGINAL | _NESTED, entry[_ORIGINAL])
            with contextlib.suppress(OSError):
                netlink.request(_DELETE, 0, _HEADER + body, _NETFILTER)
                forgotten += 1
    return forgotten


def _tuple(data: bytes) -> tuple[int, int, bytes] | None:
    """Return source port, destination port and source address of one way of a flow of datagrams; else None."""
    parts = dict(netlink.attributes(data))
    protocol = dict(netlink.attributes(parts.get(_PROTOCOL, b"")))
    if protocol.get(_NUMBER, b"\0")[:1] != bytes([socket.IPPROTO_UDP]):
        return None
    if _SOURCE_PORT not in protocol or _DESTINATION_PORT not in protocol:
        return None
    (source,) = struct.unpack(">H", protocol[_SOURCE_PORT][:2])
    (destination,) = struct.unpack(">H", protocol[_DESTINATION_PORT][:2])
    return source, destination, dict(netlink.attributes(parts.get(_IP, b""))).get(1, b"")
