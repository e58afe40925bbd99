"""How a container is shown: its inspection, its line in a list, what is in its words ("Up 3 minutes (healthy)").

Decided here and only here: the shape of both documents, and how spans of time are worded. Pure functions but for the
sizes; any thread.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sim.engine.container import Container
from sim.engine.durations import duration_words
from sim.engine.links import links_of
from sim.engine.model import Config, Health, HostConfig, MountPoint, Record, State
from sim.engine.portspecs import listed_ports, split_port
from sim.runtime.log import rfc3339

if TYPE_CHECKING:
    from sim.engine.containers import Containers

__all__ = ["inspection", "list_entry", "moment_text", "status_text"]

_NEVER = "0001-01-01T00:00:00Z"

#: Fields that are left out where they are empty, as Docker's types say.
_OPTIONAL = {
    "MacAddress", "NetworkDisabled", "StopSignal", "StopTimeout", "Shell", "Healthcheck", "ExposedPorts", "ArgsEscaped",
    "Annotations", "StorageOpt", "Tmpfs", "Sysctls", "Mounts", "Init", "Consistency", "BindOptions", "VolumeOptions",
    "TmpfsOptions", "ReadOnly", "Source", "Subpath", "DriverConfig", "NoCopy", "Labels", "StartInterval", "Interval",
    "Timeout", "StartPeriod", "Retries", "Options", "Propagation", "NonRecursive", "CreateMountpoint",
    "ReadOnlyNonRecursive", "ReadOnlyForceRecursive", "SizeBytes", "Mode",
}  # fmt: skip


def moment_text(nanoseconds: int) -> str:
    """Return a moment as Docker writes it; 0 is the year 1.

    >>> moment_text(0), moment_text(1_500_000_000_120_000_000)
    ('0001-01-01T00:00:00Z', '2017-07-14T02:40:00.12Z')
    """
    if not nanoseconds:
        return _NEVER
    text = rfc3339(nanoseconds)[:-1].rstrip("0").rstrip(".")
    return f"{text}Z"


def status_text(state: State, now: int | None = None) -> str:
    """Return the words for a state in a list of containers."""
    moment = now or time.time_ns()

    def span(since: int) -> str:
        return duration_words(max(0, moment - since) / 1e9)

    if state.running:
        if state.paused:
            return f"Up {span(state.started)} (Paused)"
        if state.restarting:
            return f"Restarting ({state.exit_code}) {span(state.finished)} ago"
        if state.health is not None:
            word = f"health: {state.health.status}" if state.health.status == "starting" else state.health.status
            return f"Up {span(state.started)} ({word})"
        return f"Up {span(state.started)}"
    if state.removing:
        return "Removal In Progress"
    if state.dead:
        return "Dead"
    if not state.started:
        return "Created"
    if not state.finished:
        return ""
    return f"Exited ({state.exit_code}) {span(state.finished)} ago"


def _wire(value: Any) -> Any:
    """Return a document without its optional fields that are empty."""
    if isinstance(value, dict):
        return {key: _wire(each) for key, each in value.items() if each or key not in _OPTIONAL}
    if isinstance(value, list | tuple):
        return [_wire(each) for each in value]
    return value


def config_document(config: Config) -> dict[str, Any]:
    """Return a process's configuration as the API shows it."""
    found = msgspec.to_builtins(config)
    labels, volumes = found.pop("Labels"), found["Volumes"]
    shown: dict[str, Any] = _wire(found)
    check = found["Healthcheck"]
    if check:
        shown["Healthcheck"] = _wire(check)
    return {**shown, "Volumes": volumes, "Labels": labels or {}}


def host_document(host: HostConfig) -> dict[str, Any]:
    """Return what the host gives as the API shows it."""
    found: dict[str, Any] = msgspec.to_builtins(host)
    ports, log = found["PortBindings"], found["LogConfig"]
    if host.privileged:
        found["MaskedPaths"] = found["ReadonlyPaths"] = None
    shown: dict[str, Any] = _wire(found)
    return {**shown, "PortBindings": ports or {}, "LogConfig": log}


def _state_document(state: State) -> dict[str, Any]:
    found: dict[str, Any] = {
        "Status": state.status,
        "Running": state.running,
        "Paused": state.paused,
        "Restarting": state.restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.dead,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": moment_text(state.started),
        "FinishedAt": moment_text(state.finished),
    }
    if state.health is not None:
        found["Health"] = _health_document(state.health)
    return found


def _health_document(health: Health) -> dict[str, Any]:
    return {"Status": health.status, "FailingStreak": health.failing_streak, "Log": list(health.log)}


def mount_document(point: MountPoint) -> dict[str, Any]:
    """Return a mount as the API shows it."""
    found: dict[str, Any] = {"Type": point.type}
    if point.name:
        found["Name"] = point.name
    found |= {"Source": point.source, "Destination": point.destination}
    if point.driver:
        found["Driver"] = point.driver
    return {**found, "Mode": point.mode, "RW": point.rw, "Propagation": point.propagation}


def left_networks(networks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what is shown of the networks of a container that has ended: which they are, and no addresses."""
    kept = ("Aliases", "IPAMConfig", "Links", "DriverOpts", "NetworkID")
    return {
        name: {**_NO_ENDPOINT, **{key: settings.get(key) for key in kept if settings.get(key)}}
        for name, settings in networks.items()
    }


def _settings(container: Container) -> dict[str, Any]:
    """Return `NetworkSettings`: of the container itself, and of the default bridge also at its top."""
    record = container.record
    networks = record.attached or {
        name: {**_NO_ENDPOINT, **{key: wish[key] for key in _WISHED if wish.get(key)}}
        for name, wish in record.networks.items()
    }
    running = record.state.running
    sandbox = hashlib.sha256(f"{record.id}{record.state.started}".encode()).hexdigest() if running else ""
    bridge = networks.get("bridge", {})
    ports: dict[str, Any] = {}
    if running:
        exposed = {*(record.config.exposed_ports or {}), *record.ports}
        ports = {
            name: msgspec.to_builtins(record.ports[name]) if record.ports.get(name) else None
            for name in sorted(exposed, key=split_port)
        }
    return {
        "Bridge": "",
        "SandboxID": sandbox,
        "SandboxKey": f"/proc/{record.state.pid}/ns/net" if record.state.pid else "",
        "Ports": ports,
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **{key: bridge.get(key, _NO_ENDPOINT[key]) for key in _TOP},
        "Networks": networks,
    }


_NO_ENDPOINT: dict[str, Any] = {
    "IPAMConfig": None,
    "Links": None,
    "Aliases": None,
    "MacAddress": "",
    "DriverOpts": None,
    "GwPriority": 0,
    "NetworkID": "",
    "EndpointID": "",
    "Gateway": "",
    "IPAddress": "",
    "IPPrefixLen": 0,
    "IPv6Gateway": "",
    "GlobalIPv6Address": "",
    "GlobalIPv6PrefixLen": 0,
    "DNSNames": None,
}
#: What is shown of a network that a container has not been on yet.
_WISHED = ("Aliases", "DriverOpts", "GwPriority", "IPAMConfig", "Links", "MacAddress")
_TOP = (
    "EndpointID", "Gateway", "GlobalIPv6Address", "GlobalIPv6PrefixLen", "IPAddress", "IPPrefixLen", "IPv6Gateway",
    "MacAddress",
)  # fmt: skip


def inspection(owner: Containers, container: Container, *, size: bool = False) -> dict[str, Any]:
    """Return all that is known of a container."""
    record = container.record
    place = owner.rootfs.directory(record.id)
    own = _own_files(record.host_config.network_mode, place)
    found: dict[str, Any] = {
        "Id": record.id,
        "Created": moment_text(record.created),
        "Path": record.path,
        "Args": list(record.args),
        "State": _state_document(record.state),
        "Image": record.image,
        "ResolvConfPath": own["resolv.conf"],
        "HostnamePath": own["hostname"],
        "HostsPath": own["hosts"],
        "LogPath": "" if record.host_config.log_config.type == "none" else str(owner.starting.log_path(record.id)),
        "Name": f"/{record.name}",
        "RestartCount": record.restart_count,
        "Driver": record.driver,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": "",
        "ExecIDs": [each.id for each in list(container.execs.values()) if each.running] or None,
        "HostConfig": host_document(record.host_config) | _links(owner, record),
        "GraphDriver": {"Data": _graph(owner, container, place), "Name": record.driver},
    }
    if size:
        found["SizeRw"], found["SizeRootFs"] = owner.sizes(record.id)
    return {
        **found,
        "Mounts": [mount_document(point) for point in record.mounts],
        "Config": config_document(record.config),
        "NetworkSettings": _settings(container),
    }


def _links(owner: Containers, record: Record) -> dict[str, Any]:
    """Return links as they are called, where they are kept by ID."""
    links = links_of(owner, record)
    if not links and record.host_config.network_mode not in ("default", "bridge"):
        return {}
    return {"Links": sorted(f"/{link.container.name}:{link.name}" for link in links) or None}


def _own_files(mode: str, place: Path) -> dict[str, str]:
    return {name: str(place / name) if (place / name).exists() else "" for name in ("hosts", "hostname", "resolv.conf")}


def _graph(owner: Containers, container: Container, place: Path) -> dict[str, str]:
    lowers, _ = owner.rootfs.lowers(container.record)
    return {
        "LowerDir": ":".join(map(str, lowers)),
        "MergedDir": str(place / "merged"),
        "UpperDir": str(place / "upper"),
        "WorkDir": str(place / "work"),
        "Journal": str(place / "journal.db"),
    }


def list_entry(
    container: Container, image: str, sizes: tuple[int, int] | None = None, linked: Sequence[str] = ()
) -> dict[str, Any]:
    """Return a container as a list shows it.

    Parameters
    ----------
    image
        What its image is called.
    sizes
        Bytes of its RW layer, and of all its layers.
    linked
        What containers that are linked to it call it.
    """
    record = container.record
    settings = record.attached or dict.fromkeys(record.networks, _NO_ENDPOINT)
    found: dict[str, Any] = {
        "Id": record.id,
        "Names": [f"/{record.name}", *linked],
        "Image": image,
        "ImageID": record.image,
        "Command": " ".join(_quoted(word) for word in (record.path, *record.args)),
        "Created": record.created // 1_000_000_000,
        "Ports": listed_ports(record.config, record.ports) if record.state.running else [],
    }
    if sizes is not None:
        found |= {"SizeRw": sizes[0]} if sizes[0] else {}
        found["SizeRootFs"] = sizes[1]
    return {
        **found,
        "Labels": record.labels,
        "State": record.state.status,
        "Status": status_text(record.state),
        "HostConfig": {"NetworkMode": record.host_config.network_mode},
        "NetworkSettings": {"Networks": settings},
        "Mounts": [{**mount_document(point), **_hidden(point)} for point in record.mounts],
    }


def _hidden(point: MountPoint) -> dict[str, str]:
    """Where a volume lies is no part of a list."""
    return {"Source": ""} if point.type == "volume" else {}


def _quoted(word: str) -> str:
    return f"'{word}'" if any(letter.isspace() for letter in word) else word
