"""Figures of a container, read from its control groups.

Decided here and only here: which file of either version tells which figure, and in which unit. Pure functions on
files; any thread may call.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Stats", "legacy_stats", "number", "table", "unified_stats"]


@dataclass(frozen=True, slots=True)
class Stats:
    """Figures of a container: bytes, nanoseconds of processor time, processes. Limits are 0 where there is none."""

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
    read, written = _transferred(file("blkio", "blkio.throttle.io_service_bytes"))
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
        read_bytes=read,
        written_bytes=written,
    )


def unified_stats(place: Path) -> Stats:
    """Return the figures in a group of version 2."""
    cpu, memory = table(place / "cpu.stat"), table(place / "memory.stat")
    read, written = _transferred(place / "io.stat")
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
        read_bytes=read,
        written_bytes=written,
    )


def table(path: Path) -> dict[str, int]:
    """Return the names and numbers in a file of a control group."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {line[0]: int(line[1]) for line in lines if len(line) == 2 and line[1].isdigit()}


def _transferred(path: Path) -> tuple[int, int]:
    """Add up the bytes read and written, as either version lists them by device."""
    read = written = 0
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            words = line.split()
            for word in words[1:]:
                name, _, value = word.partition("=")
                read += int(value) if name == "rbytes" else 0
                written += int(value) if name == "wbytes" else 0
            if len(words) == 3 and words[2].isdigit():
                read += int(words[2]) if words[1] == "Read" else 0
                written += int(words[2]) if words[1] == "Write" else 0
    return read, written
