"""Where the daemon listens: unix sockets and TCP, with or without TLS.

Decided here and only here: how an address is written (`unix:///run/x.sock`, `tcp://host:port`), who may reach a unix
socket (root and one group), and that TLS on TCP asks clients for a certificate. For the main thread.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from sim.engine.errors import UnavailableError

__all__ = ["Listener", "TlsFiles", "listener_for"]

#: Groups that may use the socket of root's daemon, the first that there is.
GROUPS = ("layerlab", "docker")

_BACKLOG = 256


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Certificate, key and, to verify clients by, the certificate of who signed theirs: PEM files."""

    certificate: Path
    key: Path
    clients: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return what wraps accepted connections.

        Raises
        ------
        UnavailableError
            A file cannot be used; the text names it.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        for path in (self.certificate, self.key, self.clients):
            if path is not None and not os.access(path, os.R_OK):
                raise UnavailableError(
                    f"{path}: cannot be read; name the files for TLS with --tlscert, --tlskey and --tlscacert"
                )
        try:
            context.load_cert_chain(self.certificate, self.key)
            if self.clients is not None:
                context.load_verify_locations(self.clients)
                context.verify_mode = ssl.CERT_REQUIRED
        except ssl.SSLError as error:
            raise UnavailableError(f"{self.certificate}, {self.key}: cannot be used for TLS: {error.reason}") from None
        return context


@dataclass(slots=True)
class Listener:
    """A socket that is listened on.

    Attributes
    ----------
    name
        Its address.
    tls
        What connections are wrapped in, if anything.
    path
        The unix socket's file, removed at the end.
    """

    name: str
    socket: socket.socket
    tls: ssl.SSLContext | None = None
    path: Path | None = None

    def close(self) -> None:
        """Listen no more."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        if self.path is not None:
            with contextlib.suppress(FileNotFoundError):
                self.path.unlink()


def listener_for(address: str, *, tls: TlsFiles | None = None, group: str | None = None) -> Listener:
    """Listen on an address.

    Parameters
    ----------
    address
        `unix:///path`, or `tcp://host:port`; port 0 takes any.
    tls
        For TCP.
    group
        Whose members may use a unix socket; None for the usual one.

    Raises
    ------
    UnavailableError
        It cannot be listened on; the text names the address and the reason.
    """
    kind, _, rest = address.partition("://")
    if kind == "unix" and rest.startswith("/"):
        return _unix(Path(rest), group)
    if kind == "tcp":
        return _tcp(address, rest, tls)
    raise UnavailableError(f"{address}: cannot be listened on; write unix:///path or tcp://host:port")


def _unix(path: Path, group: str | None) -> Listener:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        if path.is_socket():
            _remove_dead(path)
        mask = os.umask(0o177)
        try:
            listening.bind(os.fspath(path))
        finally:
            os.umask(mask)
        owner = _group(group)
        if owner is not None:
            os.chown(path, -1, owner)
        os.chmod(path, 0o660)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        reason = "its path is too long for a socket" if "too long" in str(error) else error.strerror or str(error)
        raise UnavailableError(f"unix://{path}: cannot be listened on: {reason}") from None
    return Listener(f"unix://{path}", listening, path=path)


def _remove_dead(path: Path) -> None:
    """Remove a socket that nobody listens on any more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
        else:
            raise OSError(errno.EADDRINUSE, "another daemon listens there")


def _group(name: str | None) -> int | None:
    if name is None and os.geteuid() != 0:
        return None
    for candidate in GROUPS if name is None else (name,):
        with contextlib.suppress(KeyError):
            return grp.getgrnam(candidate).gr_gid
        if name is not None:
            if name.isdigit():
                return int(name)
            raise UnavailableError(f"there is no group {name!r} that the socket could be given to")
    return None


def _tcp(address: str, rest: str, tls: TlsFiles | None) -> Listener:
    host, _, port = rest.rstrip("/").rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise UnavailableError(f"{address}: cannot be listened on: name a port, as in tcp://127.0.0.1:2375")
    host = host.strip("[]") or "127.0.0.1"
    try:
        family = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, int(port)), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UnavailableError(f"{address}: cannot be listened on: {error.strerror or error}") from None
    bound = listening.getsockname()
    return Listener(f"tcp://{host}:{bound[1]}", listening, tls.context() if tls else None)
