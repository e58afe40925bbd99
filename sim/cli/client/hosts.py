"""Which engine a command is for.

Decided here and only here: in which order a host is looked for (`-H`, `--context`, `LAYERLAB_HOST`, `DOCKER_HOST`,
`DOCKER_CONTEXT`, the context in use, the embedded daemon's socket), how it is written, and which certificates are used
for it. Frozen values; any thread.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any, NamedTuple

from sim.cli.failure import Failure
from sim.engine.places import default_host

__all__ = ["Host", "Tls", "choose"]


class Tls(NamedTuple):
    """How an engine is checked, and how we show who we are.

    Attributes
    ----------
    verify
        Whether its certificate must be good.
    authority, certificate, key
        Files; empty for none.
    """

    verify: bool
    authority: str
    certificate: str
    key: str


class Host(NamedTuple):
    """An engine's address.

    Attributes
    ----------
    url
        As errors name it: `unix:///run/x.sock`, `tcp://127.0.0.1:2376`.
    path
        Of a unix socket; empty for TCP.
    name, port
        Of TCP.
    base
        What comes before the path of each request.
    tls
        None for plain TCP.
    words
        Of the program that leads to it, for `ssh://`.
    named
        Whether somebody named it; else it is the embedded daemon's.
    """

    url: str
    path: str = ""
    name: str = ""
    port: int = 0
    base: str = ""
    tls: Tls | None = None
    named: bool = True
    words: tuple[str, ...] = ()

    def open(self, timeout: float | None = None) -> socket.socket:
        """Connect to it.

        Raises
        ------
        OSError
            It does not answer.
        """
        if self.words:
            from sim.cli.client.far import Tunnel

            return Tunnel.open(self.words)
        if self.path:
            plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                plain.settimeout(timeout)
                plain.connect(self.path)
            except BaseException:
                plain.close()
                raise
        else:
            plain = socket.create_connection((self.name, self.port), timeout)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.tls is None:
            return plain
        return _encrypted(plain, self.tls, self.name)


def _encrypted(plain: socket.socket, tls: Tls, name: str) -> socket.socket:
    import ssl

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if tls.verify:
            context.load_verify_locations(cafile=tls.authority) if tls.authority else context.load_default_certs()
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls.certificate and tls.key:
            context.load_cert_chain(tls.certificate, tls.key)
        return context.wrap_socket(plain, server_hostname=name)
    except BaseException:
        plain.close()
        raise


def choose(settings: Mapping[str, Any]) -> Host:
    """Return the host for a command.

    Parameters
    ----------
    settings
        The options before the command: `host`, `context_name`, `tls`, `tlsverify`, `tlscacert`, `tlscert`, `tlskey`,
        `config`.

    Raises
    ------
    Failure
        It is named twice, or cannot be read.
    """
    hosts = settings.get("host") or ()
    if len(hosts) > 1:
        raise Failure("Failed to initialize: unable to resolve docker endpoint: Specify only one -H")
    from sim.cli.client.contexts import DEFAULT, Contexts, chosen

    context = chosen(settings)
    if context != DEFAULT:
        try:
            return Contexts(settings).host(context)
        except Failure as error:
            raise Failure(f"Failed to initialize: unable to resolve docker endpoint: {error.text}") from None
    named = hosts[0] if hosts else os.environ.get("LAYERLAB_HOST") or os.environ.get("DOCKER_HOST") or ""
    return parse(named or default_host(), _tls(settings), named=bool(named))


def parse(text: str, tls: Tls | None = None, *, named: bool = True) -> Host:
    """Return the host that a text names.

    Raises
    ------
    Failure
        It names none.

    Examples
    --------
    >>> parse("unix:///run/x.sock").path, parse("tcp://10.0.0.1").port, parse("localhost:5000").url
    ('/run/x.sock', 2375, 'tcp://localhost:5000')
    """
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        scheme, rest = "tcp", text.strip()
    if scheme == "unix":
        path = rest or "/var/run/docker.sock"
        return Host(f"unix://{path}", path=path, named=named)
    if scheme == "ssh":
        from sim.cli.client.far import words_for

        return Host(text.strip(), words=words_for(text.strip()), named=named)
    if scheme not in ("tcp", "http", "https"):
        raise Failure(f"unable to parse docker host `{text}`")
    place, slash, base = rest.partition("/")
    name, colon, port = place.rpartition(":") if not place.endswith("]") else (place, "", "")
    if not colon:
        name, port = place, ""
    if port and not port.isdigit():
        raise Failure(f"invalid argument {text!r} for '-H, --host' flag: invalid bind address format")
    number = int(port) if port else 2376 if tls else 2375
    shown = f"tcp://{name or '127.0.0.1'}:{number}" + (f"/{base}" if base else "")
    address = (name or "127.0.0.1").strip("[]")
    return Host(shown, name=address, port=number, base=f"{slash}{base}".rstrip("/"), tls=tls, named=named)


def _tls(settings: Mapping[str, Any]) -> Tls | None:
    verify = bool(settings.get("tlsverify") or os.environ.get("DOCKER_TLS_VERIFY"))
    if not (verify or settings.get("tls") or os.environ.get("DOCKER_TLS")):
        return None
    folder = os.environ.get("DOCKER_CERT_PATH") or settings.get("config") or os.path.expanduser("~/.docker")

    def file(option: str, name: str) -> str:
        chosen = settings.get(option)
        if chosen:
            return str(chosen)
        usual = os.path.join(folder, name)
        return usual if os.path.exists(usual) else ""

    return Tls(verify, file("tlscacert", "ca.pem"), file("tlscert", "cert.pem"), file("tlskey", "key.pem"))
