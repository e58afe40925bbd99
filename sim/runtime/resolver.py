"""Name resolution between the containers of a network: a small DNS server on the bridge's own address.

Decided here and only here: what a container's name resolves to. The names are in a file that the engine replaces as
containers come and go; the server is a process of its own, so that names resolve while no engine runs. Who is on more
than one network is known by its address here, and is told the names of the others too. What the server does not know it
asks the servers that the asker wishes (`--dns`), else the host's own. Wire format: RFC 1035. One thread; an event loop.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fusefs.title import set_title
from sim.runtime.channel import Channel
from sim.runtime.errors import ContainerError
from sim.runtime.stamp import boot, process_start
from sim.runtime.zygote import ask

__all__ = ["Client", "ResolverRequest", "answer", "serve_names", "start_resolver", "stop_resolver", "write_names"]

_A, _PTR, _AAAA = 1, 12, 28
_SECONDS = 600  #: how long an answer may be kept, as with Docker's own server
_NAMES, _STATE = "names.json", "resolver.json"
_PATIENCE = 5.0  #: seconds for the host's servers to answer
_MOST = 512  #: questions that wait for an answer from elsewhere, at most


@dataclass(frozen=True, slots=True)
class ResolverRequest:
    """Serve the names of a directory on an address, port 53."""

    directory: str
    address: str
    forward: bool = True


@dataclass(frozen=True, slots=True)
class Client:
    """What is for one container alone.

    Attributes
    ----------
    names
        That it knows besides those of the network: of its other networks, and what it calls others (`--link`).
    servers
        Asked for what nobody here knows; without any, the host's.
    """

    names: Mapping[str, list[str]] = field(default_factory=dict)
    servers: tuple[str, ...] = ()


def write_names(
    directory: Path, names: Mapping[str, list[str]], *, clients: Mapping[str, Client] | None = None
) -> None:
    """Replace the names of a network: each with the addresses of the containers that have it.

    Parameters
    ----------
    directory
        Of the network's server.
    names
        Of containers, their aliases and the beginnings of their IDs.
    clients
        What is for single containers, by their address on this network.
    """
    plain = {
        "names": _lower(names),
        "clients": {
            address: {"names": _lower(client.names), "servers": list(client.servers)}
            for address, client in (clients or {}).items()
        },
    }
    aside = directory / f"{_NAMES}.new"
    aside.write_text(json.dumps(plain))
    aside.rename(directory / _NAMES)


def _lower(names: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {name.lower(): list(addresses) for name, addresses in names.items()}


def start_resolver(directory: Path, address: str, *, forward: bool = True) -> None:
    """Start the server of a network, unless it runs already.

    Parameters
    ----------
    directory
        Where the names are (`write_names`), and where the server says that it runs.
    address
        The bridge's own.
    forward
        Whether to ask others for what nobody here knows; not on an internal network, or it would be a way out.

    Raises
    ------
    ContainerError
        The address's port 53 is taken or not allowed.
    """
    if _running(directory):
        return
    try:
        channel, reply, _ = ask(ResolverRequest(os.fspath(directory.resolve()), address, forward))
    except (OSError, EOFError) as error:
        raise ContainerError("the name server ended before it had begun") from error
    channel.close()
    if reply[0] == "error":
        raise ContainerError(reply[1])


def stop_resolver(directory: Path) -> None:
    """End the server of a network."""
    pid = _running(directory)
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    with contextlib.suppress(FileNotFoundError):
        (directory / _STATE).unlink()


def _running(directory: Path) -> int:
    try:
        state = json.loads((directory / _STATE).read_text())
    except (OSError, ValueError):
        return 0
    pid = int(state["pid"])
    return pid if process_start(pid) == state["start"] and state.get("boot") == boot() else 0


def _read_name(packet: bytes, offset: int) -> tuple[str, int]:
    """Read the name of a question, which is never compressed; return it in lower case, and where it ends."""
    labels: list[str] = []
    while True:
        length = packet[offset]
        offset += 1
        if length == 0:
            return ".".join(labels).lower(), offset
        if length > 63:
            raise ValueError("a compressed name in a question")
        labels.append(packet[offset : offset + length].decode("ascii", "replace"))
        offset += length


def _encode_name(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".") if label) + b"\0"


def answer(packet: bytes, names: Mapping[str, list[str]]) -> bytes | None:
    """Return the answer to a packet with one question; None where only others can know.

    A name that is known has no address of a family that none of its containers has: that is answered, empty, or the
    asker would be told by a server elsewhere that there is no such name at all.
    """
    number, flags, questions = struct.unpack_from(">HHH", packet)
    if flags & 0x8000 or questions != 1:
        return None
    name, offset = _read_name(packet, 12)
    kind, _ = struct.unpack_from(">HH", packet, offset)
    question = packet[12 : offset + 4]
    records = _records(name, kind, names)
    if records is None:
        return None
    header = struct.pack(">HHHHHH", number, 0x8080 | flags & 0x0100, 1, len(records), 0, 0)
    body = b"".join(struct.pack(">HHHIH", 0xC00C, kind, 1, _SECONDS, len(data)) + data for data in records)
    return header + question + body


def _records(name: str, kind: int, names: Mapping[str, list[str]]) -> list[bytes] | None:
    if kind == _PTR and name.endswith(".arpa"):
        address = _reversed_address(name)
        owner = next((each for each, addresses in names.items() if address in addresses), None)
        return [_encode_name(owner)] if owner else None
    if name not in names:
        return None
    version = {_A: 4, _AAAA: 6}.get(kind)
    found = [ipaddress.ip_address(each) for each in names[name]]
    return [each.packed for each in found if each.version == version]


def _reversed_address(name: str) -> str:
    """Return the address that a name stands for by which its owner is looked up; empty for none (RFC 1035, RFC 3596).

    >>> _reversed_address("2.0.18.172.in-addr.arpa")
    '172.18.0.2'
    """
    digits = "".join(reversed(name.removesuffix(".ip6.arpa").split(".")))
    if name.endswith(".ip6.arpa") and len(digits) == 32:
        with contextlib.suppress(ValueError):
            return str(ipaddress.IPv6Address(bytes.fromhex(digits)))
    elif name.endswith(".in-addr.arpa"):
        return ".".join(reversed(name.removesuffix(".in-addr.arpa").split(".")))
    return ""


def serve_names(request: ResolverRequest, control: Channel) -> None:
    """Be the server; `control` hears that it serves, or why not."""
    set_title("layerlab-names", request.directory)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        server = _Server(request)
    except OSError as error:
        control.tell(("error", f"cannot serve names on {request.address}: {(error.strerror or '').lower()}"))
        return
    state = {"pid": os.getpid(), "start": process_start(os.getpid()), "boot": boot()}
    Path(request.directory, _STATE).write_text(json.dumps(state))
    control.tell(("serving",))
    control.close()
    server.run()


class _Server:
    def __init__(self, request: ResolverRequest) -> None:
        self._directory = request.directory
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((request.address, 53))
        self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((request.address, 53))
        self._listener.listen(16)
        self._forward = request.forward
        self._names: dict[str, list[str]] = {}
        self._clients: dict[str, dict[str, Any]] = {}
        self._stamp: tuple[int, int] = (0, 0)
        self._asked: dict[socket.socket, tuple[Any, float]] = {}

    def _known(self, asker: str) -> Mapping[str, list[str]]:
        """Return the names that a container knows, by its address."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            state = os.stat(f"{self._directory}/{_NAMES}")
            stamp = state.st_mtime_ns, state.st_ino
            if stamp != self._stamp:
                plain = json.loads(Path(self._directory, _NAMES).read_text())
                self._names, self._clients, self._stamp = plain["names"], plain["clients"], stamp
        client = self._clients.get(asker)
        return {**self._names, **client["names"]} if client else self._names

    def _upstream(self, asker: str) -> str | None:
        """Return the server to ask for what nobody here knows; None where nobody is to be asked."""
        if not self._forward:
            return None
        servers = self._clients.get(asker, {}).get("servers")
        return str(servers[0]) if servers else _host_server()

    def run(self) -> None:
        while os.path.isdir(self._directory):
            ready, _, _ = select.select([self._socket, self._listener, *self._asked], [], [], 5)
            for each in ready:
                with contextlib.suppress(OSError, ValueError, IndexError, struct.error):
                    if each is self._socket:
                        self._take()
                    elif each is self._listener:
                        self._take_stream()
                    else:
                        sender, _ = self._asked.pop(each)
                        with each:
                            self._socket.sendto(each.recv(65535), sender)
            now = time.monotonic()
            for each in [one for one, (_, since) in self._asked.items() if now - since > _PATIENCE]:
                each.close()
                del self._asked[each]

    def _take(self) -> None:
        packet, sender = self._socket.recvfrom(65535)
        reply = answer(packet, self._known(sender[0]))
        if reply is not None:
            self._socket.sendto(reply, sender)
            return
        upstream = self._upstream(sender[0])
        if upstream is None or len(self._asked) >= _MOST:
            self._socket.sendto(packet[:2] + b"\x80\x82" + packet[4:], sender)  # SERVFAIL
            return
        onward = socket.socket(socket.AF_INET6 if ":" in upstream else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            onward.connect((upstream, 53))
            onward.send(packet)
        except OSError:
            onward.close()
            self._socket.sendto(packet[:2] + b"\x80\x82" + packet[4:], sender)
            return
        self._asked[onward] = sender, time.monotonic()

    def _take_stream(self) -> None:
        """Answer one question over TCP, which is asked when an answer was too long."""
        connection, (asker, _) = self._listener.accept()
        with connection:
            connection.settimeout(2)
            (length,) = struct.unpack(">H", connection.recv(2))
            packet = connection.recv(length, socket.MSG_WAITALL)
            reply = answer(packet, self._known(asker))
            upstream = self._upstream(asker)
            if reply is None and upstream is not None:
                with socket.create_connection((upstream, 53), timeout=2) as onward:
                    onward.sendall(struct.pack(">H", length) + packet)
                    (size,) = struct.unpack(">H", onward.recv(2, socket.MSG_WAITALL))
                    reply = onward.recv(size, socket.MSG_WAITALL)
            if reply is not None:
                connection.sendall(struct.pack(">H", len(reply)) + reply)


def _host_server() -> str | None:
    """Return the host's first name server."""
    with contextlib.suppress(OSError):
        for line in Path("/etc/resolv.conf").read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                return words[1]
    return None
