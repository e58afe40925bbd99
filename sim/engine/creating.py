"""What a new container becomes of what was asked for and of what its image says.

Decided here and only here: how the two are put together, field by field, which defaults there are, and what is a
warning. Functions only; any thread.
"""

from __future__ import annotations

import os
from typing import Any

from msgspec.structs import replace

from sim.engine.addresses import checked_address
from sim.engine.checking import check_config, check_host
from sim.engine.errors import BadParameterError
from sim.engine.model import Config, ContainerRequest, Healthcheck, HostConfig, LogConfig, RestartPolicy
from sim.engine.reading import read
from sim.images.daemonjson import DaemonSettings
from sim.runtime import Layout
from sim.runtime.spec import MASKED_PATHS, READ_ONLY_PATHS

__all__ = ["command_of", "has_user_network", "merged_config", "network_wishes", "settled_host", "warnings_for"]

_CONFIG = Config.__struct_fields__


def asked_config(request: ContainerRequest) -> Config:
    """Return the part of a request that is a process's configuration."""
    return Config(**{name: getattr(request, name) for name in _CONFIG})


def merged_config(asked: Config, image: dict[str, Any]) -> Config:
    """Put an image's configuration below what was asked for.

    Raises
    ------
    BadParameterError
        What comes of it is no process.

    Examples
    --------
    >>> merged = merged_config(Config(env=("A=2",)), {"Cmd": ["sh"], "Env": ["A=1", "B=1"]})
    >>> merged.cmd, merged.env
    (('sh',), ('A=2', 'B=1'))
    """
    base = read(image, Config, "container.Config")
    known = {variable.partition("=")[0] for variable in asked.env or ()}
    inherited = tuple(each for each in base.env or () if each.partition("=")[0] not in known)
    cmd, entrypoint = asked.cmd, asked.entrypoint
    if not entrypoint:
        cmd = cmd or base.cmd
        if entrypoint is None:
            entrypoint = base.entrypoint
    if entrypoint == ("",):  # `--entrypoint ""` takes the image's away
        entrypoint = None
    merged = replace(
        asked,
        user=asked.user or base.user,
        exposed_ports={**(base.exposed_ports or {}), **(asked.exposed_ports or {})} or None,
        env=(*(asked.env or ()), *inherited),
        cmd=cmd or None,
        entrypoint=entrypoint or None,
        working_dir=asked.working_dir or base.working_dir,
        labels={**(base.labels or {}), **(asked.labels or {})},
        volumes={**(base.volumes or {}), **(asked.volumes or {})} or None,
        stop_signal=asked.stop_signal or base.stop_signal,
        stop_timeout=asked.stop_timeout if asked.stop_timeout is not None else base.stop_timeout,
        shell=asked.shell or base.shell,
        on_build=asked.on_build or base.on_build,
        healthcheck=_merged_health(asked.healthcheck, base.healthcheck),
    )
    check_config(merged)
    if not command_of(merged):
        raise BadParameterError("no command specified")
    return merged


def _merged_health(asked: Healthcheck | None, base: Healthcheck | None) -> Healthcheck | None:
    if asked is None or base is None:
        return asked or base
    fields = ("test", "interval", "timeout", "start_period", "start_interval", "retries")
    return Healthcheck(**{name: getattr(asked, name) or getattr(base, name) for name in fields})


def command_of(config: Config) -> tuple[str, ...]:
    """Return the command that a container runs."""
    return (*(config.entrypoint or ()), *(config.cmd or ()))


def settled_host(asked: HostConfig, config: Config, settings: DaemonSettings) -> HostConfig:
    """Return what the host gives, defaults filled in.

    Raises
    ------
    BadParameterError
        A wish makes no sense.
    """
    check_host(asked, config)
    log = asked.log_config
    if not log.type:
        log = LogConfig(type=settings.log_driver or "json-file", config={**settings.log_opts, **(log.config or {})})
    elif log.config is None:
        log = replace(log, config={})
    unified = Layout.of_machine().is_unified
    swap = asked.memory_swap or (2 * asked.memory if asked.memory > 0 else 0)
    hidden = () if asked.privileged else MASKED_PATHS
    shown = () if asked.privileged else READ_ONLY_PATHS
    pids = asked.pids_limit
    return replace(
        asked,
        network_mode=asked.network_mode or "default",
        restart_policy=asked.restart_policy if asked.restart_policy.name else RestartPolicy(name="no"),
        log_config=log,
        ipc_mode=asked.ipc_mode or "private",
        cgroupns_mode=asked.cgroupns_mode or ("private" if unified and not asked.privileged else "host"),
        shm_size=asked.shm_size or 64 << 20,
        runtime=asked.runtime or "runc",
        memory_swap=swap,
        memory_swappiness=None if asked.memory_swappiness == -1 else asked.memory_swappiness,
        pids_limit=None if pids is not None and pids <= 0 else pids,
        masked_paths=hidden if asked.masked_paths is None else asked.masked_paths,
        readonly_paths=shown if asked.readonly_paths is None else asked.readonly_paths,
    )


def settled_hostname(config: Config, host: HostConfig, container: str) -> Config:
    """Return the configuration with the host name that the container gets."""
    if config.hostname or host.network_mode.startswith("container:"):
        return config
    return replace(config, hostname=os.uname().nodename if host.network_mode == "host" else container[:12])


def network_wishes(request: ContainerRequest, host: HostConfig) -> dict[str, dict[str, Any]]:
    """Return what is wished of each network that a container shall be on.

    Raises
    ------
    BadParameterError
        The wishes contradict each other, or an address is none.
    """
    mode = host.network_mode
    wished = (request.networking_config.endpoints_config if request.networking_config else None) or {}
    if mode.startswith("container:") or request.network_disabled:
        if mode.startswith("container:") and wished:
            raise BadParameterError("conflicting options: container type network can't be used with links or networks")
        return {}
    name = "bridge" if mode == "default" else mode
    found = {("bridge" if each == "default" else each): dict(wish or {}) for each, wish in wished.items()}
    found = {name: found.pop(name, {}), **found}
    if name in ("host", "none") and len(found) > 1:
        raise BadParameterError(f"conflicting options: the network {name} can't be used with others")
    for wish in found.values():
        for key, version in (("IPv4Address", 4), ("IPv6Address", 6)):
            if address := (wish.get("IPAMConfig") or {}).get(key):
                checked_address(address, version)
    if request.mac_address and not found[name].get("MacAddress"):
        found[name]["MacAddress"] = request.mac_address
    return found


def has_user_network(host: HostConfig) -> bool:
    """Tell whether a container has a network of its own where the default bridge is meant, since only root has bridges.

    As with podman it leads out through slirp4netns, and where that cannot be it has nothing but its loopback; ports are
    published either way.
    """
    return os.geteuid() != 0 and host.network_mode in ("", "default", "bridge")


def warnings_for(host: HostConfig) -> list[str]:
    """Return what of the wishes this machine does not do, in Docker's words."""
    available = Layout.of_machine().available()

    def missing(what: str, then: str) -> str:
        return f"Your kernel does not support {what} capabilities or the cgroup is not mounted. {then}"

    found = []
    if host.memory and "memory" not in available:
        found.append(missing("memory limit", "Limitation discarded."))
    if (host.nano_cpus or host.cpu_quota) and "cpu" not in available:
        found.append(missing("CPU cfs quota", "Quota discarded."))
    if host.cpu_shares and "cpu" not in available:
        found.append(missing("CPU shares", "Shares discarded."))
    if host.cpuset_cpus and "cpuset" not in available:
        found.append(missing("cpuset", "Cpuset discarded."))
    if host.pids_limit and "pids" not in available:
        found.append(missing("pids limit", "PIDs limit discarded."))
    if host.oom_kill_disable:
        found.append("OomKillDisable is not done here: a container that is out of memory is killed.")
    if host.blkio_weight or host.blkio_weight_device or host.blkio_device_read_bps or host.blkio_device_write_bps:
        found.append("Limits of block devices are not set here. Block I/O limits discarded.")
    if host.cpu_realtime_period or host.cpu_realtime_runtime:
        found.append("Realtime scheduling is not set here. CPU realtime limits discarded.")
    return found
