"""`layerlab stats`: what running containers use, as it changes.

Decided here and only here: how the engine's counters become percentages and sizes. A thread for each container reads;
the main thread shows.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sim.cli.client import DaemonError, Engine
from sim.cli.commands.shared import config_format
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, formats, switch
from sim.cli.show.human import binary_size, size
from sim.cli.show.quoting import short_id
from sim.cli.show.rows import Listing, render

__all__ = ["numbers", "stats"]

_LISTING = Listing(
    "*formatter.statsContext",
    {
        "Container": "CONTAINER",
        "Name": "NAME",
        "ID": "CONTAINER ID",
        "CPUPerc": "CPU %",
        "MemUsage": "MEM USAGE / LIMIT",
        "MemPerc": "MEM %",
        "NetIO": "NET I/O",
        "BlockIO": "BLOCK I/O",
        "PIDs": "PIDS",
    },
    ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"),
)

_EVERY = 0.5


def numbers(item: Mapping[str, Any]) -> dict[str, float]:
    """Return what is computed of the engine's counters.

    >>> numbers({
    ...     "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
    ...     "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
    ...     "memory_stats": {"usage": 600, "limit": 1000, "stats": {"inactive_file": 100}},
    ... })["cpu"]
    40.0
    """
    cpu, before = item.get("cpu_stats") or {}, item.get("precpu_stats") or {}
    used = (cpu.get("cpu_usage") or {}).get("total_usage", 0) - (before.get("cpu_usage") or {}).get("total_usage", 0)
    passed = cpu.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    count = cpu.get("online_cpus") or len((cpu.get("cpu_usage") or {}).get("percpu_usage") or ()) or 1
    memory = item.get("memory_stats") or {}
    usage, limit = memory.get("usage", 0), memory.get("limit", 0)
    details = memory.get("stats") or {}
    for name in ("total_inactive_file", "inactive_file"):  # the names of the first and the second cgroup hierarchy
        if name in details:
            usage -= details[name] if details[name] < usage else 0
            break
    read = written = 0
    for entry in (item.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ():
        letter = str(entry.get("op", ""))[:1].lower()
        read += entry["value"] if letter == "r" else 0
        written += entry["value"] if letter == "w" else 0
    networks = (item.get("networks") or {}).values()
    return {
        "cpu": used / passed * count * 100 if used > 0 and passed > 0 else 0.0,
        "memory": usage,
        "limit": limit,
        "memory_percent": usage / limit * 100 if limit else 0.0,
        "received": sum(one.get("rx_bytes", 0) for one in networks),
        "sent": sum(one.get("tx_bytes", 0) for one in networks),
        "read": read,
        "written": written,
        "pids": (item.get("pids_stats") or {}).get("current", 0),
    }


@dataclass
class _Watched:
    """A container that is watched; `item` is what was heard of it last."""

    asked: str
    item: Mapping[str, Any] | None = None
    error: Failure | None = None
    heard: threading.Event = field(default_factory=threading.Event)

    def row(self, trunc: bool) -> dict[str, object]:
        """Return its fields."""
        found = numbers(self.item or {})
        identity = str((self.item or {}).get("id") or "")
        shown: dict[str, object] = {
            "Container": self.asked,
            "Name": str((self.item or {}).get("name") or "--").removeprefix("/"),
            "ID": short_id(identity) if trunc else identity,
        }
        if self.item is None:
            return {**shown, **dict.fromkeys(("CPUPerc", "MemPerc", "PIDs"), "--")} | dict.fromkeys(
                ("MemUsage", "NetIO", "BlockIO"), "-- / --"
            )
        return {
            **shown,
            "CPUPerc": f"{found['cpu']:.2f}%",
            "MemUsage": f"{binary_size(found['memory'])} / {binary_size(found['limit'])}",
            "MemPerc": f"{found['memory_percent']:.2f}%",
            "NetIO": f"{size(found['received'], 3)} / {size(found['sent'], 3)}",
            "BlockIO": f"{size(found['read'], 3)} / {size(found['written'], 3)}",
            "PIDs": str(int(found["pids"])),
        }

    def watch(self, engine: Engine, stream: bool) -> None:
        """Hear what the engine tells, until it ends."""
        try:
            with engine.stream("GET", f"/containers/{self.asked}/stats", stream=stream or "0") as answer:
                for item in answer.objects():
                    self.item = item
                    self.heard.set()
        except (Failure, OSError) as error:
            self.error = error if isinstance(error, Failure) else Failure(str(error))
        finally:
            self.heard.set()


@docker(
    "[OPTIONS] [CONTAINER...]",
    "Display a live stream of container(s) resource usage statistics",
    switch("-a, --all", "Also containers that do not run"),
    formats(),
    switch("--no-stream", "Show the first values and end"),
    switch("--no-trunc", "Show IDs in full"),
    most=None,
    aliases=("container stats", "stats"),
    examples=("layerlab stats", "layerlab stats --no-stream --format 'table {{.Name}}\\t{{.MemUsage}}'"),
    completes="running",
)
def stats(call: Call) -> None:
    """Show what containers use."""
    engine, follow = call.engine, not call.on("no-stream")
    form = config_format(call, "statsFormat")
    watched: dict[str, _Watched] = {}

    def add(name: str) -> None:
        if name not in watched:
            watched[name] = _Watched(name)
            threading.Thread(target=watched[name].watch, args=(engine.apart(), follow), daemon=True).start()

    def find() -> None:
        wanted = [item["Id"][:12] for item in engine.get("/containers/json", all=call.on("all"))]
        for name in wanted:
            add(name)
        for name in [name for name in watched if name not in wanted]:
            del watched[name]

    for name in call.arguments:
        add(name)
    if not call.arguments:
        find()
    for one in list(watched.values()):
        one.heard.wait(10)
    problems = [one.error for one in watched.values() if one.error is not None]
    if call.arguments and problems:
        raise Failure("\n".join(error.text for error in problems))
    trunc = not call.on("no-trunc")
    terminal = os.isatty(1)
    if follow and terminal:
        sys.stdout.write("\x1b[2J")
    while True:
        text = render(_LISTING, form, [one.row(trunc) for one in watched.values()])
        if follow and terminal:
            # The cursor goes home; what was below and behind is taken away line by line, so that nothing flickers.
            text = "\x1b[H" + text.replace("\n", "\x1b[K\n") + "\x1b[J"
        sys.stdout.write(text)
        sys.stdout.flush()
        if not follow or (call.arguments and all(one.error or _ended(one) for one in watched.values())):
            return
        time.sleep(_EVERY)
        if not call.arguments:
            try:
                find()
            except DaemonError:
                continue


def _ended(one: _Watched) -> bool:
    """Tell whether the engine knows the container no longer."""
    return isinstance(one.error, DaemonError) and one.error.code == 404
