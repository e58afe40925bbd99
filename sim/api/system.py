"""The system's routes: ping, version, info, disk usage, events.

A protocol adapter only: what is told is decided in `sim.engine.system`, `sim.engine.machine` and `sim.engine.events`.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from sim.api.exchange import LATEST, OLDEST, Answer, Plain, Request, Streamed, Write, json_answer
from sim.api.imageshapes import list_entry
from sim.api.volumes import volume_document
from sim.engine.errors import BadParameterError
from sim.engine.events import FILTERS, Event
from sim.engine.filters import Filters
from sim.engine.machine import (
    Controllers,
    controllers,
    memory_total,
    operating_system,
    processors,
    system_time,
    warnings,
)
from sim.engine.times import moment
from sim.images import architecture

if TYPE_CHECKING:
    from sim.api.router import Router
    from sim.engine import Engine

__all__ = ["register"]

_KINDS = ("container", "image", "volume", "build-cache")
_NO_CACHE = {"Cache-Control": "no-cache, no-store, must-revalidate", "Pragma": "no-cache"}


def register(router: Router, engine: Engine) -> None:
    """Register the routes."""

    @router.route("GET", "/_ping")
    def ping(request: Request) -> Answer:
        headers = {"Builder-Version": "1", "Swarm": "inactive", **_NO_CACHE}
        return Plain(b"OK", content_type="text/plain; charset=utf-8", headers=headers)

    @router.route("GET", "/version")
    def version(request: Request) -> Answer:
        return json_answer(_version(engine))

    @router.route("GET", "/info")
    def info(request: Request) -> Answer:
        return json_answer(_info(engine, request.version))

    @router.route("GET", "/system/df")
    def usage(request: Request) -> Answer:
        kinds = request.queries.get("type", [])
        for kind in kinds:
            if kind not in _KINDS:
                raise BadParameterError(f"unknown object type: {kind}")
        return json_answer(_usage(engine, request.version, kinds or list(_KINDS)))

    @router.route("GET", "/events")
    def events(request: Request) -> Answer:
        return _events(engine, request)


def _version(engine: Engine) -> dict[str, Any]:
    details = {
        "ApiVersion": ".".join(map(str, LATEST)),
        "Arch": architecture(),
        "KernelVersion": engine.system.kernel,
        "MinAPIVersion": ".".join(map(str, OLDEST)),
        "Os": "linux",
    }
    python = platform.python_version()
    more = {"BuildTime": "", "GitCommit": "", "GoVersion": f"none, Python {python}", "Experimental": "false"}
    return {
        "Platform": {"Name": "layerlab"},
        "Components": [{"Name": "Engine", "Version": engine.system.version, "Details": {**details, **more}}],
        "Version": engine.system.version,
        **details,
        "GitCommit": "",
        "GoVersion": f"none, Python {python}",
        "BuildTime": "",
    }


def _info(engine: Engine, version: tuple[int, int]) -> dict[str, Any]:
    system, settings = engine.system, engine.settings
    found = controllers()
    name, release = operating_system()
    uses = engine.image_uses()
    states = engine.container_states()
    document: dict[str, Any] = {
        "ID": system.id,
        "Containers": len(uses),
        "ContainersRunning": states.get("running", 0),
        "ContainersPaused": states.get("paused", 0),
        "ContainersStopped": len(uses) - states.get("running", 0) - states.get("paused", 0),
        "Images": engine.store.count(),
        "Driver": system.storage_driver,
        "DriverStatus": system.driver_status(),
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": None,
            "Log": ["json-file", "local", "none"],
        },
        **_limits(found, version),
        "Debug": settings.debug or settings.log_level == "debug",
        "NFd": len(os.listdir("/proc/self/fd")),
        "NGoroutines": threading.active_count(),
        "SystemTime": system_time(),
        "LoggingDriver": settings.log_driver or "json-file",
        "CgroupDriver": "cgroupfs" if os.geteuid() == 0 else "none",
        "CgroupVersion": str(found.version),
        "NEventsListener": engine.events.listeners,
        "KernelVersion": system.kernel,
        "OperatingSystem": name,
        "OSVersion": release,
        "OSType": "linux",
        "Architecture": system.machine,
        "IndexServerAddress": "https://index.docker.io/v1/",
        "RegistryConfig": _registries(engine, version),
        "NCPU": processors(),
        "MemTotal": memory_total(),
        "GenericResources": None,
        "DockerRootDir": str(engine.root),
        "HttpProxy": os.environ.get("HTTP_PROXY", ""),
        "HttpsProxy": os.environ.get("HTTPS_PROXY", ""),
        "NoProxy": os.environ.get("NO_PROXY", ""),
        "Name": system.host_name,
        "Labels": list(settings.labels),
        "ExperimentalBuild": False,
        "ServerVersion": system.version,
        "Runtimes": {"layerlab": {"path": sys.executable}},
        "DefaultRuntime": "layerlab",
        "Swarm": {
            "NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive", "ControlAvailable": False, "Error": "",
            "RemoteManagers": None,
        },
        "LiveRestoreEnabled": settings.live_restore,
        "Isolation": "",
        "InitBinary": "docker-init",
        "ContainerdCommit": {"ID": "", "Expected": ""},
        "RuncCommit": {"ID": "", "Expected": ""},
        "InitCommit": {"ID": "", "Expected": ""},
        "SecurityOptions": _security(),
        "Warnings": [*warnings(found), *_exposed(engine)] or None,
    }  # fmt: skip
    return document


def _limits(found: Controllers, version: tuple[int, int]) -> dict[str, bool]:
    limits = {
        "MemoryLimit": found.memory,
        "SwapLimit": found.swap,
        "CpuCfsPeriod": found.cpu_quota,
        "CpuCfsQuota": found.cpu_quota,
        "CPUShares": found.cpu_shares,
        "CPUSet": found.cpuset,
        "PidsLimit": found.pids,
        "IPv4Forwarding": found.forwarding,
        "OomKillDisable": found.oom_kill_disable,
    }
    if version < (1, 42):
        limits |= {"KernelMemory": False, "KernelMemoryTCP": False}
    if version < (1, 50):
        limits |= {"BridgeNfIptables": True, "BridgeNfIp6tables": True}
    return limits


def _registries(engine: Engine, version: tuple[int, int]) -> dict[str, Any]:
    mirrors = [mirror.rstrip("/") + "/" for mirror in engine.settings.registry_mirrors]
    insecure = engine.settings.insecure_registries
    networks = [name for name in insecure if "/" in name]
    configs: dict[str, Any] = {"docker.io": {"Name": "docker.io", "Mirrors": mirrors, "Secure": True, "Official": True}}
    for name in insecure:
        if "/" not in name:
            configs[name] = {"Name": name, "Mirrors": [], "Secure": False, "Official": False}
    document: dict[str, Any] = {
        "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8", *networks],
        "IndexConfigs": configs,
        "Mirrors": mirrors,
    }
    if version < (1, 47):
        document |= {"AllowNondistributableArtifactsCIDRs": [], "AllowNondistributableArtifactsHostnames": []}
    return document


def _security() -> list[str]:
    found = []
    if os.path.isdir("/proc/sys/kernel/seccomp"):
        found.append("name=seccomp,profile=builtin")
    if os.geteuid() != 0:
        found.append("name=rootless")
    return found


def _exposed(engine: Engine) -> list[str]:
    return [
        f"[DEPRECATION NOTICE]: API is accessible on {address} without encryption.\n"
        "         Access to the remote API is equivalent to root access on the host."
        for address in engine.exposed
    ]


def _usage(engine: Engine, version: tuple[int, int], kinds: list[str]) -> dict[str, Any]:
    system = engine.system
    document: dict[str, Any] = {"LayersSize": 0, "Images": None, "Containers": None, "Volumes": None}
    if "image" in kinds:
        document["LayersSize"] = system.layers_size()
        document["Images"] = [
            list_entry(each.image, version, shared=each.shared, containers=each.containers)
            for each in system.image_usage()
        ]
    if "container" in kinds:
        document["Containers"] = engine.containers.list(Filters(), everything=True, size=True)
    if "volume" in kinds:
        document["Volumes"] = [
            {**volume_document(engine, each.volume), "UsageData": {"RefCount": each.users, "Size": each.size}}
            for each in system.volume_usage()
        ]
    document["BuildCache"] = [] if "build-cache" in kinds else None
    if version < (1, 42):
        document["BuilderSize"] = 0
    return document


def event_document(event: Event) -> Mapping[str, Any]:
    """Return an event as the API shows it; some fields of old are told of containers and images only."""
    document: dict[str, Any] = {}
    if event.type in ("container", "image"):
        document = {"status": event.action, "id": event.actor}
        if event.attributes.get("image"):
            document["from"] = event.attributes["image"]
    return {
        **document,
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": event.actor, "Attributes": event.attributes},
        "scope": "local",
        "time": event.time // 10**9,
        "timeNano": event.time,
    }


def _events(engine: Engine, request: Request) -> Answer:
    filters = Filters.parse(request.query.get("filters"), FILTERS)
    since = moment(request.query["since"]) if request.query.get("since") else None
    until = moment(request.query["until"]) if request.query.get("until") else None
    if since is not None and until is not None and since > until:
        raise BadParameterError(
            f"`since` time ({request.query['since']}) cannot be after `until` time ({request.query['until']})"
        )

    def produce(write: Write) -> None:
        def line(event: Event) -> None:
            write(msgspec.json.encode(event_document(event)) + b"\n")

        if until is not None and until <= time.time_ns():
            for event in engine.events.past(filters, since or 0, until) if since is not None else ():
                line(event)
            return
        listener = engine.events.listen(filters, since)
        try:
            with request.watch(listener.close):
                while not listener.closed:
                    left = None if until is None else (until - time.time_ns()) / 1e9
                    if left is not None and left <= 0:
                        return
                    heard = listener.get(left)
                    if heard is not None:
                        line(heard)
        finally:
            listener.close()

    return Streamed(produce)
