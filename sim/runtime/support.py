"""What this machine, kernel and user can do for a container, and what they cannot.

Decided here and only here: what is looked at, by trying where trying is harmless, and in which words a lack and its
mend are told. Any thread may call.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sim.runtime.cgroups import Layout
from sim.runtime.errors import ContainerError
from sim.runtime.rootless import own_mappings
from sim.runtime.spec import Overlay, ProcessSpec
from sim.runtime.usernet import user_network_fault

__all__ = ["Finding", "examine"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: its name, whether it can be had, and what follows or mends it."""

    name: str
    available: bool
    text: str


def examine() -> tuple[Finding, ...]:
    """Look at everything; a second at most."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (_kernel, _user, _controllers, _filter, _tools, _attempts)
    return tuple(finding for check in checks for finding in check())


def _kernel() -> Iterator[Finding]:
    major, minor = (int(part) for part in platform.release().split("-")[0].split(".")[:2])
    enough = (major, minor) >= (5, 12)
    text = platform.release() if enough else f"{platform.release()}: containers need Linux 5.12 (mount_setattr)"
    yield Finding("kernel", enough, text)


def _user() -> Iterator[Finding]:
    if os.geteuid() == 0:
        yield Finding("user", True, "root: everything below that is available")
        return
    users, _ = own_mappings()
    wide = len(users) > 1
    mend = "only root inside: install uidmap and give yourself a range in /etc/subuid and /etc/subgid"
    yield Finding("user numbers", wide, f"{users[-1].count} inside" if wide else mend)


def _controllers() -> Iterator[Finding]:
    layout = Layout.of_machine()
    have = layout.available()
    for name in ("memory", "cpu", "pids", "cpuset", "freezer", "devices"):
        place = layout.legacy.get(name, layout.unified)
        writable = name in have and place is not None and os.access(place, os.W_OK)
        kind = "version 2" if layout.is_unified else "version 1"
        text = kind if writable else "not this user's to use: limits are discarded" if name in have else "not here"
        if name == "devices" and name not in have:
            text = "not here: containers of root lose CAP_MKNOD, so that they reach no disk of the host"
        yield Finding(f"control group {name}", writable, text)


def _filter() -> Iterator[Finding]:
    try:
        ctypes.CDLL("libseccomp.so.2")
        yield Finding("seccomp", Path("/proc/sys/kernel/seccomp").is_dir(), "libseccomp")
    except OSError:
        text = "install libseccomp2, or run with --security-opt seccomp=unconfined"
        yield Finding("seccomp", False, text)


def _tools() -> Iterator[Finding]:
    nft = shutil.which("nft", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    root = os.geteuid() == 0
    yield Finding("bridges", root, "rtnetlink" if root else "only root's: the networks are default, none and host")
    if not root:
        fault = user_network_fault()
        yield Finding("way out", not fault, fault.partition(":")[0] or "slirp4netns")
    yield Finding("nft", nft is not None, nft or "install nftables, or containers reach nothing beyond a bridge")


def _attempts() -> Iterator[Finding]:
    from sim.runtime.process import Process  # starts a process, so only when asked

    with tempfile.TemporaryDirectory(prefix="layerlab-") as name:
        root = Path(name)
        for each in ("lower", "upper", "work"):
            (root / each).mkdir()
        for what, rootfs in (
            ("a container", root / "lower"),
            ("overlayfs in a container", Overlay((root / "lower",), root / "upper", root / "work")),
        ):
            try:
                Process(ProcessSpec(args=("/nothing",), rootfs=rootfs)).run(capture=True)
            except ContainerError as error:
                # The command is not there: getting that far means that everything else was.
                works = error.code == 127
                yield Finding(what, works, "tried" if works else str(error))
        shutil.rmtree(root / "work", ignore_errors=True)
