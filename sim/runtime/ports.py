"""Published ports: listening on the host, and passing on what comes to the container.

Decided here and only here: how a published port works. The sockets are bound before the container starts, so that a
port in use stops it; a process of its own, forked from the shim and ended with it, passes the bytes on. On a bridge the
packet filter does that for whatever comes from elsewhere (`firewall.py`), and this process for the rest. As an ordinary
user the process joins the container's network namespace, which nothing routes to. One thread; an event loop.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import replace

from fusefs.title import set_title
from sim.runtime import syscalls
from sim.runtime.errors import PortError
from sim.runtime.spec import Port

__all__ = ["Listener", "bind_ports", "serve_ports"]

_PIECE = 1 << 16
_ENOUGH = 1 << 18
_DATAGRAM_SECONDS = 90  #: after which a silent sender of datagrams is forgotten, as docker-proxy has it


class Listener:
    """A published port and the socket that is bound to it."""

    def __init__(self, port: Port, bound: socket.socket) -> None:
        self.port = port
        self.socket = bound


def bind_ports(ports: tuple[Port, ...]) -> list[Listener]:
    """Bind all; the ports of the listeners say which was given where any would do.

    Raises
    ------
    PortError
        One is in use or may not be bound; none is bound then. In moby's words.
    """
    found: list[Listener] = []
    try:
        for port in ports:
            found.append(_bind(port))
    except BaseException:
        for each in found:
            each.socket.close()
        raise
    return found


def _bind(port: Port) -> Listener:
    for number in range(port.host_port, max(port.host_port, port.host_last) + 1):
        bound = _socket(port)
        try:
            bound.bind((port.host_ip, number))
            if port.protocol == "tcp":
                bound.listen(128)
        except OSError as error:
            bound.close()
            if error.errno != errno.EADDRINUSE:
                why = "cannot assign requested address" if error.errno == errno.EADDRNOTAVAIL else error.strerror
                text = f"Bind for {port.host_ip}:{number} failed: {(why or '').lower()}"
                raise PortError(text) from error
            continue
        bound.setblocking(False)
        return Listener(replace(port, host_port=bound.getsockname()[1], host_last=0), bound)
    if port.host_last > port.host_port:
        raise PortError("all ports are allocated")
    raise PortError(f"Bind for {port.host_ip}:{port.host_port} failed: port is already allocated")


def _socket(port: Port) -> socket.socket:
    family = socket.AF_INET6 if ":" in port.host_ip else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM)
    if port.protocol == "tcp":
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return bound


def serve_ports(listeners: list[Listener], address: str, namespaces: int, *, address6: str = "") -> int:
    """Fork the process that passes on what comes, and return its number. It ends with the caller.

    Parameters
    ----------
    listeners
        Bound sockets; the caller's are closed.
    address
        The container's.
    address6
        That of IPv6, where it has one: what comes by IPv6 is passed on by it.
    namespaces
        pidfd of the container's first process, whose user and network namespace is to be joined; -1 for none.
    """
    parent = os.getpid()
    child = os.fork()
    if child:
        for listener in listeners:
            listener.socket.close()
        return child
    try:
        syscalls.set_death_signal(signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)
        set_title("layerlab-ports", *(f"{each.port.host_port}/{each.port.protocol}" for each in listeners))
        if namespaces >= 0:
            _join(namespaces)
        keep = {listener.socket.fileno() for listener in listeners}
        for descriptor in range(max(keep)):
            if descriptor not in keep and descriptor > 2:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        syscalls.close_from(max(keep) + 1)
        _Relay(listeners, address, address6 or address).run()
    finally:
        os._exit(1)


def _join(process: int) -> None:
    """Join a container's network namespace; that of its users first where it has its own and ours may not."""
    try:
        syscalls.setns(process, syscalls.CLONE_NEWNET)
    except PermissionError:
        syscalls.setns(process, syscalls.CLONE_NEWUSER | syscalls.CLONE_NEWNET)


class _Stream:
    """One direction of a connection: what was read and not yet written."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.waiting = bytearray()
        self.ended = False
        self.closed = False


class _Relay:
    """The event loop of the process that passes on."""

    def __init__(self, listeners: list[Listener], address: str, address6: str) -> None:
        self._address, self._address6 = address, address6
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._senders: dict[tuple[int, tuple[object, ...]], tuple[socket.socket, float]] = {}
        for listener in listeners:
            take = self._datagram if listener.port.protocol == "udp" else self._accept
            self._watch(listener.socket, select.POLLIN, lambda event, one=listener, take=take: take(one))  # type: ignore[misc]

    def _target(self, listener: Listener) -> tuple[socket.AddressFamily, tuple[str, int]]:
        """Return where what comes to a port is passed on to."""
        address = self._address6 if ":" in listener.port.host_ip else self._address
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return family, (address, listener.port.container_port)

    def _watch(self, each: socket.socket, events: int, handler: Callable[[int], None]) -> None:
        self._handlers[each.fileno()] = handler
        self._poll.register(each, events)

    def _forget(self, each: socket.socket) -> None:
        if self._handlers.pop(each.fileno(), None):
            self._poll.unregister(each)

    def run(self) -> None:
        while True:
            for descriptor, event in self._poll.poll(10_000):
                handler = self._handlers.get(descriptor)
                if handler is not None:
                    with contextlib.suppress(OSError):
                        handler(event)
            oldest = time.monotonic() - _DATAGRAM_SECONDS
            for key, (each, used) in list(self._senders.items()):
                if used < oldest:
                    self._forget(each)
                    each.close()
                    del self._senders[key]

    def _accept(self, listener: Listener) -> None:
        client, _ = listener.socket.accept()
        client.setblocking(False)
        family, target = self._target(listener)
        server = socket.socket(family, socket.SOCK_STREAM)
        server.setblocking(False)
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server.connect_ex(target)
        streams = _Stream(client, server), _Stream(server, client)
        self._watch(server, select.POLLOUT, lambda event: self._connected(server, client, streams))

    def _connected(self, server: socket.socket, client: socket.socket, streams: tuple[_Stream, _Stream]) -> None:
        if server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._end(streams)
            return
        for each in (server, client):
            self._watch(each, select.POLLIN, lambda event, one=each: self._move(one, event, streams))  # type: ignore[misc]

    def _move(self, one: socket.socket, event: int, streams: tuple[_Stream, _Stream]) -> None:
        try:
            for stream in streams:
                if (
                    stream.source is one
                    and not stream.ended
                    and len(stream.waiting) < _ENOUGH
                    and event & ~select.POLLOUT
                ):
                    data = stream.source.recv(_PIECE)
                    stream.waiting += data
                    stream.ended = not data
                with contextlib.suppress(BlockingIOError):
                    while stream.waiting:
                        del stream.waiting[: stream.sink.send(stream.waiting)]
                if stream.ended and not stream.waiting and not stream.closed:
                    stream.closed = True
                    with contextlib.suppress(OSError):
                        stream.sink.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self._end(streams)
            return
        if all(stream.closed for stream in streams):
            self._end(streams)
            return
        for each in (streams[0].source, streams[1].source):
            reading = any(s.source is each and not s.ended and len(s.waiting) < _ENOUGH for s in streams)
            writing = any(s.sink is each and s.waiting for s in streams)
            events = (select.POLLIN if reading else 0) | (select.POLLOUT if writing else 0)
            if events:
                self._watch(each, events, lambda event, one=each: self._move(one, event, streams))  # type: ignore[misc]
            else:
                self._forget(each)  # or the other side's end would wake this loop without a pause

    def _end(self, streams: tuple[_Stream, _Stream]) -> None:
        for each in (streams[0].source, streams[0].sink):
            self._forget(each)
            each.close()

    def _datagram(self, listener: Listener) -> None:
        data, sender = listener.socket.recvfrom(_PIECE)
        key = listener.socket.fileno(), sender
        known = self._senders.get(key)
        if known is None:
            family, target = self._target(listener)
            own = socket.socket(family, socket.SOCK_DGRAM)
            own.connect(target)
            own.setblocking(False)
            self._watch(own, select.POLLIN, lambda event: self._answer(listener, own, key))
        else:
            own = known[0]
        self._senders[key] = own, time.monotonic()
        own.send(data)

    def _answer(self, listener: Listener, own: socket.socket, key: tuple[int, tuple[object, ...]]) -> None:
        listener.socket.sendto(own.recv(_PIECE), key[1])
        self._senders[key] = own, time.monotonic()
