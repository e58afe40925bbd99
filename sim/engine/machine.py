"""The machine that the engine runs on, as `info` tells it.

Decided here and only here: where each fact is read, and which lacks are warned of, in Docker's words. Functions only;
any thread. A fact that cannot be read is empty, never an error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sim.runtime.cgroups import Layout

__all__ = ["Controllers", "backing_filesystem", "controllers", "memory_total", "operating_system", "processors",
           "system_time", "warnings"]  # fmt: skip

_FILESYSTEMS = {"ext4": "extfs", "ext3": "extfs", "ext2": "extfs"}


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def operating_system() -> tuple[str, str]:
    """Return the name and the version of the system: ("Debian GNU/Linux 12 (bookworm)", "12")."""
    text = _read("/etc/os-release") or _read("/usr/lib/os-release")
    fields = dict(line.partition("=")[::2] for line in text.splitlines() if "=" in line)
    name = fields.get("PRETTY_NAME", "Linux").strip("\"'")
    return name, fields.get("VERSION_ID", "").strip("\"'")


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def memory_total() -> int:
    """Return the bytes of memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def system_time() -> str:
    """Return what time it is (RFC 3339, nanoseconds)."""
    now = time.time_ns()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09d}Z"


def backing_filesystem(path: Path) -> str:
    """Return the kind of filesystem that a directory is on, in the words of Docker's drivers."""
    best, kind = "", "unknown"
    whole = os.path.realpath(path)
    for line in _read("/proc/self/mountinfo").splitlines():
        words = line.split(" ")
        place = words[4]
        if (whole == place or whole.startswith(place.rstrip("/") + "/")) and len(place) >= len(best):
            best, kind = place, words[words.index("-") + 1]
    return _FILESYSTEMS.get(kind, kind)


@dataclass(frozen=True, slots=True)
class Controllers:
    """What limits containers can have here."""

    version: int
    memory: bool
    swap: bool
    oom_kill_disable: bool
    cpu_quota: bool
    cpu_shares: bool
    cpuset: bool
    pids: bool
    forwarding: bool


def controllers() -> Controllers:
    """Look at the control groups, and at the kernel's settings."""
    layout = Layout.of_machine()
    root = os.geteuid() == 0
    have = layout.available() if root else frozenset[str]()
    memory = layout.legacy.get("memory")
    cpu = layout.legacy.get("cpu")
    unified = layout.is_unified
    return Controllers(
        2 if unified else 1,
        "memory" in have,
        "memory" in have and (unified or (memory is not None and (memory / "memory.memsw.limit_in_bytes").exists())),
        memory is not None and "memory" in have and (memory / "memory.oom_control").exists(),
        "cpu" in have and (unified or (cpu is not None and (cpu / "cpu.cfs_quota_us").exists())),
        "cpu" in have,
        "cpuset" in have,
        "pids" in have,
        _read("/proc/sys/net/ipv4/ip_forward") == "1",
    )


def warnings(found: Controllers) -> Iterator[str]:
    """Yield what does not work here."""
    lacks = {
        "No memory limit support": found.memory,
        "No swap limit support": found.swap or not found.memory,
        "No cpu cfs quota support": found.cpu_quota,
        "No cpu cfs period support": found.cpu_quota,
        "No cpu shares support": found.cpu_shares,
        "No cpuset support": found.cpuset,
        "No pids limit support": found.pids,
        # It is turned on with the first network that needs it.
        "IPv4 forwarding is disabled": found.forwarding or os.access("/proc/sys/net/ipv4/ip_forward", os.W_OK),
    }
    yield from (f"WARNING: {text}" for text, works in lacks.items() if not works)
