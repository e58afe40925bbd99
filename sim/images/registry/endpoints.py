"""Endpoints: at which addresses a registry is looked for, and how far each is trusted.

Decided here and only here: mirrors before the origin (for Docker's own registry, as in Docker), which registries may be
spoken to without verified TLS, and from which directories CAs and client certificates come. Frozen values, any thread.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from sim.images.errors import SettingsError
from sim.images.reference import DEFAULT_DOMAIN
from sim.images.registry.credentials import Credentials, DockerConfig

__all__ = ["Endpoint", "Registries"]

_HUB = "registry-1.docker.io"
_LOOPBACK = ("127.0.0.0/8", "::1/128")
_CERTIFICATES = (Path("/etc/docker/certs.d"), Path("/etc/containers/certs.d"))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a registry.

    Attributes
    ----------
    base
        URL without a slash at its end; requests go to `base/v2/…`.
    host
        Host and port, whose certificates and credentials are used.
    verify
        Whether its certificate is checked.
    mirror
        Whether it stands for another registry.
    """

    base: str
    host: str
    verify: bool = True
    mirror: bool = False


@dataclass(frozen=True, slots=True)
class Registries:
    """How to speak to registries.

    Attributes
    ----------
    mirrors
        URLs of mirrors of Docker's registry, tried in this order.
    insecure
        Hosts, with ports if need be, and networks (CIDR) that may be spoken to without verified TLS, in the end without
        TLS. The loopback networks always are among them, but hosts with certificates of their own never.
    certificates
        Directories with a directory for each `host:port`, in it CAs (`*.crt`) and client certificates (`*.cert` with
        `*.key`).
    credentials
        Who to be at the registry itself, though not at its mirrors; looked up in `config` where None.
    config
        Path of Docker's config.json; the user's where None.
    attempts
        How often a request is tried.
    backoff
        Seconds before the second try; twice as long before each further one.
    timeout
        Seconds without a byte after which a connection counts as dead.
    """

    mirrors: tuple[str, ...] = ()
    insecure: tuple[str, ...] = ()
    certificates: tuple[Path, ...] = _CERTIFICATES
    credentials: Credentials | None = field(default=None, repr=False)
    config: Path | None = None
    attempts: int = 5
    backoff: float = 0.5
    timeout: float = 30

    def endpoints(self, domain: str, *, push: bool = False) -> list[Endpoint]:
        """Return where to look for a registry, in order; a push goes to the origin alone."""
        found: list[Endpoint] = []
        if domain == DEFAULT_DOMAIN and not push:
            for mirror in self.mirrors:
                found += self._of_url(check_mirror(mirror))
        host = _HUB if domain == DEFAULT_DOMAIN else domain
        return found + self._of_host(host, "", mirror=False)

    def _of_url(self, url: str) -> list[Endpoint]:
        parts = urlsplit(url)
        path = parts.path.rstrip("/")
        if parts.scheme == "http":
            return [Endpoint(f"http://{parts.netloc}{path}", parts.netloc, False, True)]
        return self._of_host(parts.netloc, path, mirror=True)

    def _of_host(self, host: str, path: str, *, mirror: bool) -> list[Endpoint]:
        # Who has put certificates there for it wants them checked, on the loopback too.
        if not self.is_insecure(host) or self._folder(host) is not None:
            return [Endpoint(f"https://{host}{path}", host, True, mirror)]
        return [
            Endpoint(f"https://{host}{path}", host, False, mirror),
            Endpoint(f"http://{host}{path}", host, False, mirror),
        ]

    @staticmethod
    def is_loopback(host: str) -> bool:
        """Tell whether a host is this machine, which no proxy is asked for."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        return Registries(insecure=()).is_insecure(name)

    def is_insecure(self, host: str) -> bool:
        """Tell whether a host may be spoken to without verified TLS. Names are not resolved, but for localhost."""
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        bare = name.strip("[]")
        if host in self.insecure or name in self.insecure:
            return True
        try:
            address = ipaddress.ip_address("127.0.0.1" if bare == "localhost" else bare)
        except ValueError:
            return False
        for network in (*_LOOPBACK, *self.insecure):
            try:
                if address in ipaddress.ip_network(network):
                    return True
            except ValueError:
                continue
        return False

    def _folder(self, host: str) -> Path | None:
        for directory in self.certificates:
            if (directory / host).is_dir():
                return directory / host
        return None

    def tls(self, endpoint: Endpoint) -> ssl.SSLContext:
        """Return the TLS settings for an endpoint.

        Raises
        ------
        SettingsError
            A certificate in its directory cannot be read.
        """
        if endpoint.verify:
            context = ssl.create_default_context()
        else:  # nothing to verify with need be loaded, which takes most of the time of a pull that finds nothing new
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        folder = self._folder(endpoint.host)
        if folder is not None:
            try:
                for path in sorted(folder.glob("*.crt")):
                    context.load_verify_locations(path)
                for path in sorted(folder.glob("*.cert")):
                    context.load_cert_chain(path, path.with_suffix(".key"))
            except (OSError, ssl.SSLError) as error:
                raise SettingsError(f"{path}: the certificate cannot be used ({error})") from None
        return context

    def credentials_for(self, domain: str, *, mirror: bool = False) -> Credentials | None:
        """Return who to be at a registry, None for nobody; a mirror never sees what was given for the origin."""
        if self.credentials is not None and not mirror:
            return self.credentials
        return DockerConfig(self.config).find(domain)


def check_mirror(url: str) -> str:
    """Return a mirror's URL if it is one.

    Raises
    ------
    SettingsError
        It is not `http(s)://host[:port][/path]`.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment or parts.username:
        raise SettingsError(f"invalid mirror: {url!r} must be of the form https://host[:port]")
    return url


def check_insecure(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of insecure registries if they are some.

    Raises
    ------
    SettingsError
        One is neither a host nor a network.
    """
    for name in names:
        if "://" in name or not name or name.startswith("-"):
            raise SettingsError(f"insecure registry {name!r} is not valid: write host, host:port or a network")
    return tuple(names)
