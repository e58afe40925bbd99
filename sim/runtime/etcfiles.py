"""The three files of /etc that are a container's own, whatever its image has: hosts, hostname, resolv.conf.

Decided here and only here: what is in them, as moby writes them. They lie beside the container's state and are bound
over the image's. Any thread may call; `update_hosts` writes in place, since a bind holds the file, not its name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from pathlib import Path

from sim.runtime.spec import Bind

__all__ = ["host_resolv_conf", "update_hosts", "write_etc_files"]

_LOCAL = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"""


def _hosts(entries: Iterable[tuple[str, str]]) -> str:
    return _LOCAL + "".join(f"{address}\t{names}\n" for address, names in entries)


def update_hosts(path: Path, entries: Iterable[tuple[str, str]]) -> None:
    """Write a hosts file: addresses and the names that each has, after the local ones."""
    text = _hosts(entries)
    with path.open("r+" if path.exists() else "w") as file:
        file.write(text)
        file.truncate()


def host_resolv_conf(text: str, *, own_network: bool = True) -> str:
    """Return the host's resolv.conf as a container can use it.

    A name server on the host's loopback cannot be reached from another network: where none is left, public ones are
    put in their place, as moby does.

    Examples
    --------
    >>> host_resolv_conf("nameserver 127.0.0.53\\nnameserver 10.1.1.1\\nsearch lan\\n")
    'nameserver 10.1.1.1\\nsearch lan\\n'
    """
    if not own_network:
        return text
    lines = [line for line in text.splitlines() if not _local_server(line)]
    if not any(line.split()[:1] == ["nameserver"] for line in lines):
        lines += ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]
    return "".join(f"{line}\n" for line in lines)


def _local_server(line: str) -> bool:
    words = line.split()
    if len(words) < 2 or words[0] != "nameserver":
        return False
    try:
        return ipaddress.ip_address(words[1].partition("%")[0]).is_loopback
    except ValueError:
        return False


def write_etc_files(
    directory: Path,
    hostname: str,
    *,
    hosts: Iterable[tuple[str, str]] = (),
    dns: Iterable[str] = (),
    search: Iterable[str] = (),
    options: Iterable[str] = (),
    own_network: bool = True,
    over: Mapping[str, Path] | None = None,
) -> tuple[Bind, ...]:
    """Write the three files and return the binds that show them in the container.

    Parameters
    ----------
    directory
        Of the container, where the files are kept.
    hostname
        "" leaves /etc/hostname to the image.
    hosts
        Address and names, for /etc/hosts.
    dns, search, options
        For /etc/resolv.conf; without any of `dns` the host's servers are used.
    own_network
        Whether the container's network is not the host's.
    over
        Targets that the user binds: the user's file is shown there, not ours.
    """
    try:
        given = Path("/etc/resolv.conf").read_text()
    except OSError:
        given = ""
    servers = list(dns)
    if servers:
        given = "".join(f"nameserver {server}\n" for server in servers) + "".join(
            f"{line}\n" for line in given.splitlines() if line.split()[:1] in (["search"], ["options"])
        )
    else:
        given = host_resolv_conf(given, own_network=own_network)
    for word, values in (("search", list(search)), ("options", list(options))):
        if values:
            given = "".join(f"{line}\n" for line in given.splitlines() if line.split()[:1] != [word])
            given += f"{word} {' '.join(values)}\n"
    texts = {"hosts": _hosts(hosts), "resolv.conf": given}
    if hostname:
        texts["hostname"] = f"{hostname}\n"
    binds = []
    for name, text in texts.items():
        path = directory / name
        path.write_text(text)
        path.chmod(0o644)
        if f"/etc/{name}" not in (over or {}):
            binds.append(Bind(path, f"/etc/{name}"))
    return tuple(binds)
