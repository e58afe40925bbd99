"""Links between containers on the default network (`--link`), which has no names of its own.

Decided here and only here: what a container is told of those that it is linked to (variables, names), and what the link
itself is called. A record keeps a link by the other's ID, so that it outlives its name; one to a container that is gone
is no link any more. On networks that somebody made links are names that the network's server knows: see `hostside.py`.
Functions only; any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sim.engine.errors import BadParameterError, ConflictError, NotFoundError
from sim.engine.portspecs import split_port

if TYPE_CHECKING:
    from sim.engine.container import Container
    from sim.engine.containers import Containers
    from sim.engine.model import Record

__all__ = ["Link", "link_names", "links_of", "renew_hosts", "resolved_links", "without_link"]

_DEFAULT = ("", "default", "bridge")
#: Variables that say nothing about what a container offers.
_PRIVATE = ("HOME", "PATH")


@dataclass(frozen=True, slots=True)
class Link:
    """One container as another knows it.

    Attributes
    ----------
    container
        The one that is linked to.
    holder, alias
        The name of the container that has the link, and what it calls the other.
    """

    container: Container
    holder: str
    alias: str

    @property
    def name(self) -> str:
        """What the link is called: a further name of the container it leads to."""
        return f"/{self.holder}/{self.alias}"

    @property
    def address(self) -> str:
        """Of the container; empty where it has none."""
        attached = self.container.record.attached
        return str((attached.get("bridge") or {}).get("IPAddress") or "")

    @property
    def host_names(self) -> str:
        """What it is called in /etc/hosts."""
        found = (self.alias, self.container.record.config.hostname, self.container.name)
        return " ".join(dict.fromkeys(name for name in found if name))

    def variables(self) -> Iterator[str]:
        """Yield the variables that tell a process where the other is and what it offers."""
        prefix, address = self.alias.upper().replace("-", "_"), self.address
        config = self.container.record.config
        ports = sorted({*(config.exposed_ports or {}), *self.container.record.ports}, key=split_port)
        for number, each in enumerate(ports):
            port, _, protocol = each.partition("/")
            protocol = protocol or "tcp"
            url = f"{protocol}://{address}:{port}"
            if not number:
                yield f"{prefix}_PORT={url}"
            this = f"{prefix}_PORT_{port}_{protocol.upper()}"
            yield from (f"{this}={url}", f"{this}_ADDR={address}", f"{this}_PORT={port}", f"{this}_PROTO={protocol}")
        yield f"{prefix}_NAME={self.name}"
        for variable in config.env or ():
            if variable.partition("=")[0] not in _PRIVATE:
                yield f"{prefix}_ENV_{variable}"


def resolved_links(owner: Containers, links: tuple[str, ...] | None, mode: str) -> tuple[str, ...] | None:
    """Return the links of a new container as its record keeps them.

    Raises
    ------
    BadParameterError
        A container is not there.
    """
    found = []
    for link in links or ():
        name, _, alias = link.partition(":")
        try:
            other = owner.get(name)
        except NotFoundError as error:
            raise BadParameterError(f"could not get container for {name}: {error}") from None
        found.append(f"{other.id}:{alias or name}" if mode in _DEFAULT else link)
    return tuple(found) if found else links


def links_of(owner: Containers, record: Record, *, running: bool = False) -> list[Link]:
    """Return the links of a container on the default network.

    Parameters
    ----------
    running
        Whether those that it is linked to must run.

    Raises
    ------
    ConflictError
        One does not.
    """
    found: list[Link] = []
    if record.host_config.network_mode not in _DEFAULT:
        return found
    for link in record.host_config.links or ():
        name, _, alias = link.partition(":")
        try:
            other = owner.get(name)
        except NotFoundError:
            continue
        if running and not other.state.running:
            raise ConflictError(f"Cannot link to a non running container: /{other.name} AS /{record.name}/{alias}")
        found.append(Link(other, record.name, alias.rpartition("/")[2] or other.name))
    return found


def renew_hosts(path: Path, links: Iterable[Link]) -> None:
    """Give the lines of a file of hosts that tell of links the addresses of now; all others stay as they are.

    One that was written while the other container did not run has no such line yet, and gets it. The file is written in
    its place, since it is mounted.
    """
    addresses = {link.host_names: link.address for link in links if link.address}
    before = path.read_text(errors="surrogateescape")
    lines = []
    for line in before.split("\n"):
        _, tab, names = line.partition("\t")
        lines.append(f"{addresses.pop(names)}\t{names}" if tab and names in addresses else line)
    after = "\n".join(lines) + "".join(f"{address}\t{names}\n" for names, address in addresses.items())
    if after != before:
        with open(path, "r+", errors="surrogateescape") as file:
            file.write(after)
            file.truncate()


def link_names(owner: Containers) -> dict[str, list[str]]:
    """Return for the ID of each container that others are linked to what they call it."""
    found: dict[str, list[str]] = {}
    for each in owner.all():
        if each.record.host_config.links:
            for link in links_of(owner, each.record):
                found.setdefault(link.container.id, []).append(link.name)
    return found


def without_link(owner: Containers, record: Record, alias: str) -> tuple[str, ...] | None:
    """Return the links that a container has left without one.

    Raises
    ------
    NotFoundError
        It has none of that name.
    """
    links = links_of(owner, record)
    left = tuple(f"{link.container.id}:{link.alias}" for link in links if link.alias != alias)
    if len(left) == len(links):
        raise NotFoundError(f"No such container: {record.name}/{alias}")
    return left or None
