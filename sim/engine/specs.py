"""A container's record as the runtime takes it: `ProcessSpec`, log options, files of /etc.

Decided here and only here: which field of Docker's API is which wish of the runtime. Functions only; any thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from sim.engine.checking import parse_size, security_options
from sim.engine.creating import has_user_network
from sim.engine.endpoints import Attachment
from sim.engine.errors import BadParameterError
from sim.engine.model import Config, HostConfig, MountPoint, Record
from sim.engine.mountwishes import parse_tmpfs, subdirectory
from sim.engine.portspecs import bound_ports, port_wishes
from sim.runtime import (
    Bind,
    Device,
    Limits,
    LogOptions,
    Namespaces,
    ProcessSpec,
    Rlimit,
    Throttle,
    Tmpfs,
    capability_mask,
)
from sim.runtime import write_etc_files as write_files
from sim.runtime.spec import DEFAULT_PATH
from sim.runtime.usernet import ADDRESS, NAME_SERVER, user_network_fault

__all__ = [
    "environment",
    "joined_container",
    "limits_of",
    "log_options",
    "mounts_of",
    "process_spec",
    "write_etc_files",
]


def joined_container(mode: str) -> str:
    """Return the container whose namespace is joined (`container:NAME`); "" for none.

    >>> joined_container("container:web"), joined_container("host")
    ('web', '')
    """
    kind, _, name = mode.partition(":")
    return name if kind == "container" else ""


def environment(record: Record, linked: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the variables of a container's process, as Docker orders them.

    Parameters
    ----------
    linked
        Variables that tell of the containers that it is linked to.
    """
    config = record.config
    found = {"PATH": DEFAULT_PATH}
    if config.hostname:
        found["HOSTNAME"] = config.hostname
    if config.tty:
        found["TERM"] = "xterm"
    for variable in (*linked, *(config.env or ())):
        name, given, value = variable.partition("=")
        if given:
            found[name] = value
        else:
            found.pop(name, None)
    return tuple(f"{name}={value}" for name, value in found.items())


def limits_of(host: HostConfig) -> Limits:
    """Return what a container may use."""
    swappiness = host.memory_swappiness
    rates = {
        "read_bps": host.blkio_device_read_bps,
        "write_bps": host.blkio_device_write_bps,
        "read_iops": host.blkio_device_read_iops,
        "write_iops": host.blkio_device_write_iops,
    }
    return Limits(
        memory=host.memory,
        memory_swap=host.memory_swap,
        memory_reservation=host.memory_reservation,
        memory_swappiness=None if swappiness is None or swappiness < 0 else swappiness,
        oom_kill_disable=bool(host.oom_kill_disable),
        nano_cpus=host.nano_cpus,
        cpu_period=host.cpu_period,
        cpu_quota=host.cpu_quota,
        cpu_shares=host.cpu_shares,
        cpuset_cpus=host.cpuset_cpus,
        cpuset_mems=host.cpuset_mems,
        pids=host.pids_limit or 0,
        blkio_weight=host.blkio_weight,
        throttles=tuple(
            Throttle(Path(str(each["Path"])), kind, int(each["Rate"]))
            for kind, all_ in rates.items()
            for each in all_ or ()
        ),
    )


def log_options(record: Record, path: Path) -> LogOptions:
    """Return where a container's output is kept."""
    log = record.host_config.log_config
    if log.type == "none":
        return LogOptions()
    options = log.config or {}
    largest = parse_size(options["max-size"]) if options.get("max-size") not in (None, "-1") else 0
    files = options.get("max-file", "1")
    return LogOptions(os.fspath(path), largest, int(files) if files.isdigit() and int(files) else 1)


def mounts_of(record: Record) -> list[Bind | Tmpfs]:
    """Return what is mounted in a container, beside the files of /etc."""
    found: list[Bind | Tmpfs] = []
    for point in record.mounts:
        if point.type == "tmpfs":
            found.append(parse_tmpfs(point.destination, point.options))
        else:
            propagation = point.propagation or "rprivate"
            wish = (not point.rw, point.recursive, propagation, not point.shallow)
            found.append(Bind(Path(_source(point)), point.destination, *wish))
    for target, options in (record.host_config.tmpfs or {}).items():
        found.append(parse_tmpfs(target, options))
    return found


def _source(point: MountPoint) -> str:
    return subdirectory(point.source, point.subpath) if point.type == "volume" else point.source


def write_etc_files(
    record: Record, directory: Path, attachments: Sequence[Attachment], hosts: Iterable[tuple[str, str]]
) -> tuple[Bind, ...]:
    """Write hosts, hostname and resolv.conf of a container that joins no other's network; return their binds.

    Parameters
    ----------
    hosts
        Addresses and names to add.
    """
    config, host = record.config, record.host_config
    full = f"{config.hostname}.{config.domainname}" if config.domainname else ""
    names = f"{full} {config.hostname}" if full else config.hostname
    own = [
        (address.partition("/")[0], names)
        for each in attachments
        if each.interface is not None
        for address in (each.interface.address, each.interface.address6)
        if address
    ]
    servers = list(dict.fromkeys(each.dns for each in attachments if each.dns))
    options = list(host.dns_options or ())
    if servers and not any(option.startswith("ndots") for option in options):
        options.append("ndots:0")
    if has_user_network(host):
        leads_out = not user_network_fault()
        own = [(ADDRESS if leads_out else "127.0.1.1", names)]
        servers = [NAME_SERVER] if leads_out and not host.dns else []
    targets = {point.destination: Path(point.source) for point in record.mounts}
    is_host = host.network_mode == "host"
    binds = write_files(
        directory,
        config.hostname,
        hosts=[*hosts, *own],
        dns=servers or host.dns or (),
        search=host.dns_search or (),
        options=options,
        own_network=not is_host,
        over=targets,
    )
    if is_host and not host.extra_hosts:
        (directory / "hosts").write_bytes(Path("/etc/hosts").read_bytes())
    return binds


def _namespaces(host: HostConfig, network: str, pid: str, ipc: str) -> Namespaces:
    def kind(mode: str, joined: str) -> str:
        return joined or ("host" if mode == "host" else "new")

    return Namespaces(
        network=network,
        pid=kind(host.pid_mode, pid),
        ipc=kind(host.ipc_mode, ipc),
        uts="host" if host.uts_mode == "host" else "new",
        cgroup={"private": "new", "host": "host"}.get(host.cgroupns_mode, "auto"),
    )


def process_spec(
    record: Record,
    rootfs: Path,
    attachments: Sequence[Attachment],
    binds: Iterable[Bind],
    *,
    network: str = "new",
    pid: str = "",
    ipc: str = "",
    linked: Iterable[str] = (),
) -> ProcessSpec:
    """Return what the runtime is asked for.

    Parameters
    ----------
    rootfs
        Where its view is mounted.
    binds
        The files of /etc.
    network, pid, ipc
        Namespaces: "new", "host", or the file of one to join; "" as the record says.
    linked
        As for `environment`.

    Raises
    ------
    BadParameterError, InvalidSpecError
        It cannot be.
    """
    config, host = record.config, record.host_config
    security = security_options(host)
    namespaces = _namespaces(host, network, pid, ipc)
    plugged = namespaces.network == "new" and any(each.interface for each in attachments)
    publishes = plugged or has_user_network(host)
    return ProcessSpec(
        args=(record.path, *record.args),
        rootfs=rootfs,
        env=environment(record, linked),
        cwd=config.working_dir or "/",
        user=config.user,
        groups=host.group_add or (),
        hostname=config.hostname if namespaces.uts == "new" else "",
        domainname=config.domainname if namespaces.uts == "new" else "",
        terminal=config.tty,
        terminal_size=host.console_size,
        init=bool(host.init),
        mounts=(*mounts_of(record), *binds),
        read_only=host.readonly_rootfs,
        capabilities=capability_mask(host.cap_add or (), host.cap_drop or (), privileged=host.privileged),
        privileged=host.privileged,
        no_new_privileges=security.get("no-new-privileges") == "true",
        seccomp=security.get("seccomp", "default"),
        rlimits=tuple(_rlimit(each.name, each.soft, each.hard) for each in host.ulimits or ()),
        oom_score_adj=host.oom_score_adj,
        namespaces=namespaces,
        interfaces=tuple(each.interface for each in attachments if each.interface is not None),
        ports=bound_ports(port_wishes(config, host)) if publishes else (),
        limits=limits_of(host),
        cgroup=f"{host.cgroup_parent.strip('/') or 'layerlab'}/{record.id}",
        shm_size=host.shm_size,
        devices=tuple(
            Device(each.path_on_host, each.path_in_container, each.cgroup_permissions or "rwm")
            for each in host.devices or ()
        ),
        device_rules=host.device_cgroup_rules or (),
        sysctls=tuple((host.sysctls or {}).items()),
        masked_paths=host.masked_paths or (),
        read_only_paths=host.readonly_paths or (),
    )


def _rlimit(name: str, soft: int, hard: int) -> Rlimit:
    if soft > hard >= 0:
        raise BadParameterError(f"ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")
    return Rlimit(name, soft, hard)


def stop_signal(config: Config) -> str:
    """Return the signal that stops a container in order."""
    return config.stop_signal or "SIGTERM"
