"""Figures of a container, read from its control groups.

Decided here and only here: which file tells which figure, and in which unit. Pure functions on files; any thread may
call.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "Stats",
    "Traffic",
    "Transfer",
    "legacy_stats",
    "number",
    "processor_time",
    "table",
    "traffic",
    "unified_stats",
]


@dataclass(frozen=True, slots=True)
class Transfer:
    """What went to or came from a block device.

    Attributes
    ----------
    major, minor
        Of the device.
    operation
        "read", "write", and where the kernel tells them "sync", "async", "discard", "total".
    bytes, count
        How much, in how many operations.
    """

    major: int
    minor: int
    operation: str
    bytes: int = 0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """What an interface has received and sent."""

    received_bytes: int = 0
    received_packets: int = 0
    received_errors: int = 0
    received_dropped: int = 0
    sent_bytes: int = 0
    sent_packets: int = 0
    sent_errors: int = 0
    sent_dropped: int = 0


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures of a container: bytes, nanoseconds of processor time, processes. Limits are 0 where there is none.

    Attributes
    ----------
    memory, memory_limit, memory_peak
        With the page cache in it; tools take `memory_inactive` off.
    memory_failures
        How often the limit was reached; version 1 only.
    memory_details
        The kernel's own table: cache, inactive_file and many more.
    cpu_each
        By processor; version 1 only.
    cpu_periods, throttled_periods, throttled_time
        Periods of a limit of processors, those in which the container had to wait, and for how long.
    transfers
        By device and operation; `read_bytes` and `written_bytes` are their sums.
    """

    memory: int = 0
    memory_limit: int = 0
    memory_inactive: int = 0
    memory_peak: int = 0
    cpu_total: int = 0
    cpu_user: int = 0
    cpu_system: int = 0
    throttled_periods: int = 0
    throttled_time: int = 0
    pids: int = 0
    pids_limit: int = 0
    read_bytes: int = 0
    written_bytes: int = 0
    memory_failures: int = 0
    memory_details: Mapping[str, int] = field(default_factory=dict)
    cpu_each: tuple[int, ...] = ()
    cpu_periods: int = 0
    transfers: tuple[Transfer, ...] = ()


def number(path: Path) -> int:
    """Return the number in a file of a control group; 0 where it is unlimited, or not there."""
    try:
        text = path.read_text().strip()
    except OSError:
        return 0
    value = int(text) if text.isdigit() else 0
    return 0 if value >= 1 << 62 else value  # what the kernel writes for unlimited


def legacy_stats(places: dict[str, Path]) -> Stats:
    """Return the figures in the groups of version 1, by controller."""

    def file(controller: str, name: str) -> Path:
        return places.get(controller, Path("/nonexistent")) / name

    memory = table(file("memory", "memory.stat"))
    used = table(file("cpuacct", "cpuacct.stat"))
    throttled = table(file("cpu", "cpu.stat"))
    transfers = _legacy_transfers(
        file("blkio", "blkio.throttle.io_service_bytes"), file("blkio", "blkio.throttle.io_serviced")
    )
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return Stats(
        memory=number(file("memory", "memory.usage_in_bytes")),
        memory_limit=number(file("memory", "memory.limit_in_bytes")),
        memory_inactive=memory.get("total_inactive_file", 0),
        memory_peak=number(file("memory", "memory.max_usage_in_bytes")),
        cpu_total=number(file("cpuacct", "cpuacct.usage")),
        cpu_user=used.get("user", 0) * tick,
        cpu_system=used.get("system", 0) * tick,
        throttled_periods=throttled.get("nr_throttled", 0),
        throttled_time=throttled.get("throttled_time", 0),
        pids=number(file("pids", "pids.current")),
        pids_limit=number(file("pids", "pids.max")),
        read_bytes=_sum(transfers, "read"),
        written_bytes=_sum(transfers, "write"),
        memory_failures=number(file("memory", "memory.failcnt")),
        memory_details=memory,
        cpu_each=_numbers(file("cpuacct", "cpuacct.usage_percpu")),
        cpu_periods=throttled.get("nr_periods", 0),
        transfers=transfers,
    )


def unified_stats(place: Path) -> Stats:
    """Return the figures in a group of version 2."""
    cpu, memory = table(place / "cpu.stat"), table(place / "memory.stat")
    transfers = _unified_transfers(place / "io.stat")
    return Stats(
        memory=number(place / "memory.current"),
        memory_limit=number(place / "memory.max"),
        memory_inactive=memory.get("inactive_file", 0),
        memory_peak=number(place / "memory.peak"),
        cpu_total=cpu.get("usage_usec", 0) * 1000,
        cpu_user=cpu.get("user_usec", 0) * 1000,
        cpu_system=cpu.get("system_usec", 0) * 1000,
        throttled_periods=cpu.get("nr_throttled", 0),
        throttled_time=cpu.get("throttled_usec", 0) * 1000,
        pids=number(place / "pids.current"),
        pids_limit=number(place / "pids.max"),
        read_bytes=_sum(transfers, "read"),
        written_bytes=_sum(transfers, "write"),
        memory_failures=table(place / "memory.events").get("max", 0),
        memory_details=memory,
        cpu_periods=cpu.get("nr_periods", 0),
        transfers=transfers,
    )


def table(path: Path) -> dict[str, int]:
    """Return the names and numbers in a file of a control group."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}


def _numbers(path: Path) -> tuple[int, ...]:
    with contextlib.suppress(OSError):
        return tuple(int(word) for word in path.read_text().split())
    return ()


def _sum(transfers: Iterable[Transfer], operation: str) -> int:
    return sum(each.bytes for each in transfers if each.operation == operation)


def _legacy_transfers(sizes: Path, counts: Path) -> tuple[Transfer, ...]:
    """Read lines "8:0 Read 4096", of bytes and of operations."""
    found: dict[tuple[str, str], list[int]] = {}
    for place, path in enumerate((sizes, counts)):
        with contextlib.suppress(OSError):
            for line in path.read_text().splitlines():
                words = line.split()
                if len(words) == 3 and words[2].isdigit():
                    found.setdefault((words[0], words[1].lower()), [0, 0])[place] = int(words[2])
    return tuple(_transfer(device, operation, *values) for (device, operation), values in found.items())


def _unified_transfers(path: Path) -> tuple[Transfer, ...]:
    """Read lines "8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0"."""
    found = []
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            device, *words = line.split()
            values = {name: int(value) for name, _, value in (word.partition("=") for word in words) if value.isdigit()}
            for letter, operation in (("r", "read"), ("w", "write"), ("d", "discard")):
                if f"{letter}bytes" in values:
                    size, count = values[f"{letter}bytes"], values.get(f"{letter}ios", 0)
                    found.append(_transfer(device, operation, size, count))
    return tuple(found)


def _transfer(device: str, operation: str, size: int, count: int) -> Transfer:
    major, _, minor = device.partition(":")
    return Transfer(int(major), int(minor), operation, size, count)


def processor_time(text: str | None = None) -> tuple[int, int]:
    """Return the nanoseconds that all processors of the machine have spent, idle too, and how many there are of them.

    What a container has used of them between two looks is its share.

    Parameters
    ----------
    text
        Of /proc/stat; None reads it.

    Examples
    --------
    >>> processor_time("cpu  1 2 3 4 0 0 0 0 0 0\\ncpu0 1 2 3 4 0 0 0 0 0 0\\n")
    (100000000, 1)
    """
    lines = (Path("/proc/stat").read_text() if text is None else text).splitlines()
    tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    total = sum(int(word) for word in lines[0].split()[1:8]) * tick
    return total, sum(1 for line in lines if line.startswith("cpu") and line[3:4].isdigit())


def traffic(text: str) -> dict[str, Traffic]:
    """Read the text of a /proc/PID/net/dev: by interface, without the loopback."""
    found = {}
    for line in text.splitlines()[2:]:
        name, _, figures = line.partition(":")
        words = [int(word) for word in figures.split()]
        if name.strip() != "lo":
            found[name.strip()] = Traffic(*words[:4], *words[8:12])
    return found
