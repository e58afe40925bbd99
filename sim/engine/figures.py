"""Figures of running containers: their processes, and what they use of the machine.

Decided here and only here: how `ps` is asked and its answer narrowed down to a container, and the shape of what `stats`
tells. Any thread may call.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.engine.container import Container
from sim.engine.errors import BadParameterError, ConflictError, EngineError
from sim.engine.showing import moment_text
from sim.runtime import Container as Shim
from sim.runtime import ContainerError, Stats
from sim.runtime.stats import table

if TYPE_CHECKING:
    from sim.engine.containers import Containers

__all__ = ["Figures"]


class Figures:
    """Tells of the running containers of one engine."""

    def __init__(self, owner: Containers) -> None:
        self._owner = owner

    # -- processes

    def top(self, name: str, options: str) -> tuple[list[str], list[list[str]]]:
        """Return titles and rows of a container's processes.

        Raises
        ------
        ConflictError
            It does not run.
        """
        container = self._owner.get(name)
        state = container.state
        if state.restarting:
            raise ConflictError(f"Container {container.id} is restarting, wait until the container is running")
        pids = set(container.running_shim().processes())
        words = options.split()
        if any(not all(letter.isprintable() for letter in word) for word in words):
            raise BadParameterError("invalid ps_args")
        program = shutil.which("ps")
        if program is None:
            raise EngineError("ps is missing on the host: install it (Debian: procps)")
        numbers = ",".join(map(str, sorted(pids))) or "0"
        found = _ps(program, [*words, "-q", numbers])
        if found is None:
            found = _ps(program, words)
        if found is None:
            raise EngineError(f"error running ps: it does not take the options {options!r}")
        titles, rows = _parsed(found, pids)
        self._owner.tell(container, "top")
        return titles, rows

    # -- stats

    def once(self, name: str, *, quick: bool = False) -> dict[str, Any]:
        """Return a container's figures once; unless `quick` over a second, so that rates can be told."""
        container = self._owner.get(name)
        if quick or container.shim is None or not container.state.running:
            return self._figures(container, None)
        before = self._figures(container, None)
        time.sleep(1)
        return self._figures(container, before)

    def stream(self, name: str, gone: threading.Event) -> Iterator[dict[str, Any]]:
        """Yield a container's figures every second, until it is removed or nobody listens."""
        container = self._owner.get(name)
        before: dict[str, Any] | None = None
        while not container.gone:
            now = self._figures(container, before)
            yield now
            before = now
            if gone.wait(1):
                return

    def _figures(self, container: Container, before: dict[str, Any] | None) -> dict[str, Any]:
        shim = container.shim
        found: dict[str, Any] = {"name": f"/{container.name}", "id": container.id}
        stats, traffic = Stats(), {}
        alive = shim is not None and container.state.running and not container.state.restarting
        if shim is not None and alive:
            with contextlib.suppress(ContainerError, OSError):
                stats, traffic = shim.stats(), shim.traffic()
        now = moment_text(time.time_ns()) if alive else "0001-01-01T00:00:00Z"
        cpu = _cpu(stats) if alive else _cpu(Stats(), dead=True)
        found |= {
            "read": now,
            "preread": before["read"] if before else "0001-01-01T00:00:00Z",
            "pids_stats": _some({"current": stats.pids, "limit": stats.pids_limit}),
            "blkio_stats": _blkio(stats, alive=alive),
            "num_procs": 0,
            "storage_stats": {},
            "cpu_stats": cpu,
            "precpu_stats": before["cpu_stats"] if before else _cpu(Stats(), dead=True),
            "memory_stats": _memory(stats, shim) if alive else {},
        }
        if traffic:
            found["networks"] = {name: _network(counts) for name, counts in traffic.items()}
        return found


def _ps(program: str, words: list[str]) -> str | None:
    done = subprocess.run([program, *words], capture_output=True, text=True, errors="replace", check=False, timeout=20)
    return done.stdout if done.returncode == 0 and done.stdout else None


def _parsed(text: str, pids: set[int]) -> tuple[list[str], list[list[str]]]:
    """Cut what ps says into columns, the last of which takes all that is left, and keep the container's rows."""
    lines = text.splitlines()
    titles = lines[0].split()
    if "PID" not in titles:
        raise EngineError("Couldn't find PID field in ps output")
    at = titles.index("PID")
    rows = []
    for line in lines[1:]:
        words = line.split(None, len(titles) - 1)
        if len(words) > at and words[at].isdigit() and int(words[at]) in pids:
            rows.append([word.strip() for word in words])
    return titles, rows


def _cpu(stats: Stats, *, dead: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {
        "cpu_usage": {
            "total_usage": stats.cpu_total,
            "usage_in_kernelmode": stats.cpu_system,
            "usage_in_usermode": stats.cpu_user,
        },
        "throttling_data": {
            "periods": 0,
            "throttled_periods": stats.throttled_periods,
            "throttled_time": stats.throttled_time,
        },
    }
    return found if dead else {**found, "system_cpu_usage": _system_time(), "online_cpus": os.cpu_count() or 1}


def _system_time() -> int:
    """Return the time that all processors have spent, in nanoseconds."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]
    return sum(map(int, words[:8])) * (1_000_000_000 // os.sysconf("SC_CLK_TCK"))


def _some(figures: dict[str, int]) -> dict[str, int]:
    """Return the figures that are not 0, as Docker leaves those out."""
    return {name: value for name, value in figures.items() if value}


def _memory(stats: Stats, shim: Shim | None) -> dict[str, Any]:
    limit = stats.memory_limit or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = shim.group() if shim is not None else None
    places = group.places if group is not None else {}
    details = table(places.get("memory", places.get("", Path("/nonexistent"))) / "memory.stat")
    return {"usage": stats.memory, **_some({"max_usage": stats.memory_peak}), "stats": details, "limit": limit}


def _blkio(stats: Stats, *, alive: bool) -> dict[str, Any]:
    names = (
        "io_service_bytes_recursive", "io_serviced_recursive", "io_queue_recursive", "io_service_time_recursive",
        "io_wait_time_recursive", "io_merged_recursive", "io_time_recursive", "sectors_recursive",
    )  # fmt: skip
    found: dict[str, Any] = dict.fromkeys(names)
    if alive:
        found = {name: [] for name in names}
        moved = {"read": stats.read_bytes, "write": stats.written_bytes}
        found["io_service_bytes_recursive"] = [
            {"major": 0, "minor": 0, "op": name, "value": value} for name, value in moved.items() if any(moved.values())
        ]
    return found


def _network(counts: tuple[int, int]) -> dict[str, int]:
    return {
        "rx_bytes": counts[0], "rx_packets": 0, "rx_errors": 0, "rx_dropped": 0,
        "tx_bytes": counts[1], "tx_packets": 0, "tx_errors": 0, "tx_dropped": 0,
    }  # fmt: skip
