"""After a crash: what dead shims, mounts and machines have left, found and taken away by one call.

Decided here and only here: what counts as left behind. A container whose shim lives is never touched, whoever started
it; so an engine may call this at each start, and beside another engine. Any thread may call.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fusefs.errors import MountError
from fusefs.mount import find_mounts, unmount
from sim.runtime import firewall, netlink
from sim.runtime.cgroups import sweep
from sim.runtime.container import Container
from sim.runtime.errors import ContainerError
from sim.runtime.stamp import process_start

__all__ = ["Recovered", "recover"]

_YOUNG = 30  #: seconds for which an empty control group may be one that another engine is about to use


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was found and taken away.

    Attributes
    ----------
    containers
        State directories of those whose shim was gone without a word: they are "exited" now, with 137.
    mounts
        Where something was mounted for a container that does not run, or served by nobody.
    broken
        Mounts that nobody serves any more under a container that runs; they are left, for it to be stopped.
    groups
        Control groups without a process.
    rules, interfaces
        Of the packet filter and of the network, of containers and bridges that are gone.
    """

    containers: tuple[Path, ...] = ()
    mounts: tuple[Path, ...] = ()
    broken: tuple[Path, ...] = ()
    groups: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()


def recover(
    containers: Mapping[Path, Path | None], places: Iterable[Path] = (), *, prefix: str = "layerlab"
) -> Recovered:
    """Take away what the dead have left; to be called when an engine starts.

    Parameters
    ----------
    containers
        State directory of each container that there is, and where its root is mounted, if it is.
    places
        Directories below which nothing is mounted but for these containers.
    prefix
        Of the names of control groups.
    """
    lost: list[Path] = []
    used: set[Path] = set()
    for directory, mountpoint in containers.items():
        try:
            lives = _settle(Container.open(directory), lost)
        except ContainerError:
            lives = False
        if lives and mountpoint is not None:
            # Of the directory above it: the root itself may be of a mount that answers no more.
            used.add(mountpoint.parent.resolve() / mountpoint.name)
    mounts, broken = [], []
    for each in [found for place in places for found in find_mounts(place)]:
        if each.mountpoint in used:
            if not each.served:
                broken.append(each.mountpoint)
            continue
        with contextlib.suppress(MountError):
            try:
                unmount(each.mountpoint)
            except MountError:
                unmount(each.mountpoint, lazy=True)
            mounts.append(each.mountpoint)
    return Recovered(
        tuple(lost),
        tuple(mounts),
        tuple(broken),
        tuple(sweep(prefix, age=_YOUNG)),
        tuple(_rules()),
        tuple(_interfaces()),
    )


def _settle(container: Container, lost: list[Path]) -> bool:
    """Return whether a container runs or waits for its start; one that just died without a word is cleaned up after."""
    if container.shim():
        return container.status().phase != "exited"
    before = container.code()
    container.clean()
    if before is None and container.code() is not None:
        lost.append(container.directory)
    return False


def _rules() -> list[str]:
    """Remove rules of bridges that are not there, and of shims that are not."""
    bridges, ports = firewall.tables()
    here = {re.sub(r"\W", "_", link.name) for link in netlink.links()} if bridges else set()
    removed = []
    for name in sorted(bridges - here):
        firewall.unguard(name)
        removed.append(name)
    for name in sorted(ports):
        if not _is_shim(name):
            firewall.unpublish(name)
            removed.append(name)
    return removed


def _is_shim(pid: str) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "layerlab-shim"
    return False


def _interfaces() -> list[str]:
    """Remove host ends of interfaces whose container is gone, while something else holds the other end."""
    removed = []
    for link in netlink.links():
        made = re.fullmatch(r"ve(\d+)x\w+", link.name)
        if made and not process_start(int(made[1])):
            with contextlib.suppress(OSError):
                netlink.delete_link(link.name)
                removed.append(link.name)
    return removed
