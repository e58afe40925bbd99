"""What a container is wished to be, in the fields of Docker's API, and what the engine keeps of one.

Decided here and only here: which fields there are, their types and defaults, and how a document of a client becomes
them: names in any case (as Go reads them), null as not given, unknown fields left out, wrong types refused in Docker's
words. Frozen values, any thread.
"""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = [
    "Config",
    "ContainerRequest",
    "Device",
    "Document",
    "Health",
    "Healthcheck",
    "HostConfig",
    "LogConfig",
    "MountPoint",
    "MountWish",
    "NetworkingConfig",
    "PortBinding",
    "Record",
    "RestartPolicy",
    "State",
    "Ulimit",
]


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Base of what travels as a JSON object with Docker's names."""


class Healthcheck(Document, frozen=True, kw_only=True):
    """How to find out whether a container is well; times are nanoseconds, 0 inherits or means the default."""

    test: tuple[str, ...] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Config(Document, frozen=True, kw_only=True):
    """What an image may say as well: the process."""

    hostname: str = ""
    domainname: str = ""
    user: str = ""
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    exposed_ports: dict[str, dict[str, Any]] | None = None
    tty: bool = False
    open_stdin: bool = False
    stdin_once: bool = False
    env: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    healthcheck: Healthcheck | None = None
    args_escaped: bool = False
    image: str = ""
    volumes: dict[str, dict[str, Any]] | None = None
    working_dir: str = ""
    entrypoint: tuple[str, ...] | None = None
    network_disabled: bool = False
    mac_address: str = ""
    on_build: tuple[str, ...] | None = None
    labels: dict[str, str] | None = None
    stop_signal: str = ""
    stop_timeout: int | None = None
    shell: tuple[str, ...] | None = None


class LogConfig(Document, frozen=True, kw_only=True):
    """Where its output is kept."""

    type: str = ""
    config: dict[str, str] | None = None


class PortBinding(Document, frozen=True, kw_only=True):
    """A port of the host."""

    host_ip: str = ""
    host_port: str = ""


class RestartPolicy(Document, frozen=True, kw_only=True):
    """What becomes of a container that ended."""

    name: str = ""
    maximum_retry_count: int = 0


class Ulimit(Document, frozen=True, kw_only=True):
    """A resource limit."""

    name: str = ""
    hard: int = 0
    soft: int = 0


class Device(Document, frozen=True, kw_only=True):
    """A device node of the host."""

    path_on_host: str = ""
    path_in_container: str = ""
    cgroup_permissions: str = ""


class BindOptions(Document, frozen=True, kw_only=True):
    """Of a mount of type bind."""

    propagation: str = ""
    non_recursive: bool = False
    create_mountpoint: bool = False
    read_only_non_recursive: bool = False
    read_only_force_recursive: bool = False


class DriverConfig(Document, frozen=True, kw_only=True):
    """The driver of a volume."""

    name: str = ""
    options: dict[str, str] | None = None


class VolumeOptions(Document, frozen=True, kw_only=True):
    """Of a mount of type volume."""

    no_copy: bool = False
    labels: dict[str, str] | None = None
    driver_config: DriverConfig | None = None
    subpath: str = ""


class TmpfsOptions(Document, frozen=True, kw_only=True):
    """Of a mount of type tmpfs."""

    size_bytes: int = 0
    mode: int = 0


class MountWish(Document, frozen=True, kw_only=True):
    """A mount as `--mount` asks for it."""

    type: str = ""
    source: str = ""
    target: str = ""
    read_only: bool = False
    consistency: str = ""
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class HostConfig(Document, frozen=True, kw_only=True):
    """What only the host can say: limits, mounts, network, privileges."""

    binds: tuple[str, ...] | None = None
    container_id_file: str = msgspec.field(default="", name="ContainerIDFile")
    log_config: LogConfig = LogConfig()
    network_mode: str = ""
    port_bindings: dict[str, tuple[PortBinding, ...]] | None = None
    restart_policy: RestartPolicy = RestartPolicy()
    auto_remove: bool = False
    volume_driver: str = ""
    volumes_from: tuple[str, ...] | None = None
    console_size: tuple[int, int] = (0, 0)
    annotations: dict[str, str] | None = None
    cap_add: tuple[str, ...] | None = None
    cap_drop: tuple[str, ...] | None = None
    cgroupns_mode: str = ""
    dns: tuple[str, ...] | None = None
    dns_options: tuple[str, ...] | None = None
    dns_search: tuple[str, ...] | None = None
    extra_hosts: tuple[str, ...] | None = None
    group_add: tuple[str, ...] | None = None
    ipc_mode: str = ""
    cgroup: str = ""
    links: tuple[str, ...] | None = None
    oom_score_adj: int = 0
    pid_mode: str = ""
    privileged: bool = False
    publish_all_ports: bool = False
    readonly_rootfs: bool = False
    security_opt: tuple[str, ...] | None = None
    storage_opt: dict[str, str] | None = None
    tmpfs: dict[str, str] | None = None
    uts_mode: str = msgspec.field(default="", name="UTSMode")
    userns_mode: str = ""
    shm_size: int = 0
    sysctls: dict[str, str] | None = None
    runtime: str = ""
    isolation: str = ""
    cpu_shares: int = 0
    memory: int = 0
    nano_cpus: int = 0
    cgroup_parent: str = ""
    blkio_weight: int = 0
    blkio_weight_device: tuple[dict[str, Any], ...] | None = None
    blkio_device_read_bps: tuple[dict[str, Any], ...] | None = None
    blkio_device_write_bps: tuple[dict[str, Any], ...] | None = None
    blkio_device_read_iops: tuple[dict[str, Any], ...] | None = msgspec.field(default=None, name="BlkioDeviceReadIOps")
    blkio_device_write_iops: tuple[dict[str, Any], ...] | None = msgspec.field(
        default=None, name="BlkioDeviceWriteIOps"
    )
    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_realtime_period: int = 0
    cpu_realtime_runtime: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    devices: tuple[Device, ...] | None = None
    device_cgroup_rules: tuple[str, ...] | None = None
    device_requests: tuple[dict[str, Any], ...] | None = None
    memory_reservation: int = 0
    memory_swap: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    pids_limit: int | None = None
    ulimits: tuple[Ulimit, ...] | None = None
    cpu_count: int = 0
    cpu_percent: int = 0
    io_maximum_iops: int = msgspec.field(default=0, name="IOMaximumIOps")
    io_maximum_bandwidth: int = msgspec.field(default=0, name="IOMaximumBandwidth")
    mounts: tuple[MountWish, ...] | None = None
    masked_paths: tuple[str, ...] | None = None
    readonly_paths: tuple[str, ...] | None = None
    init: bool | None = None


class NetworkingConfig(Document, frozen=True, kw_only=True):
    """The networks and what is wished of each (`EndpointSettings`)."""

    endpoints_config: dict[str, dict[str, Any]] | None = None


class ContainerRequest(Config, frozen=True, kw_only=True):
    """The body of a request for a new container."""

    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None


class MountPoint(Document, frozen=True, kw_only=True):
    """What is mounted in a container: as the API lists it, and what only the engine needs.

    Attributes
    ----------
    copies
        Whether an empty volume gets what the image has there.
    makes
        Whether a missing directory of the host is made.
    options
        Of a tmpfs, as mount(8) takes them.
    subpath
        The part of a volume that is mounted.
    recursive
        Whether what is mounted below a directory of the host comes along.
    shallow
        Whether that stays writable where the directory is read-only.
    """

    type: str
    name: str = ""
    source: str = ""
    destination: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = msgspec.field(default=True, name="RW")
    propagation: str = ""
    copies: bool = False
    makes: bool = False
    options: str = ""
    subpath: str = ""
    recursive: bool = True
    shallow: bool = False


class Health(Document, frozen=True, kw_only=True):
    """How well a container is: "starting", "healthy" or "unhealthy", and the latest results."""

    status: str = "starting"
    failing_streak: int = 0
    log: tuple[dict[str, Any], ...] = ()


class State(Document, frozen=True, kw_only=True):
    """How a container is; times are nanoseconds since the epoch, 0 for never.

    Attributes
    ----------
    starting
        Whether a start is under way: a daemon that finds it so was killed in the middle of one.
    """

    running: bool = False
    paused: bool = False
    restarting: bool = False
    oom_killed: bool = False
    dead: bool = False
    removing: bool = False
    starting: bool = False
    pid: int = 0
    exit_code: int = 0
    error: str = ""
    started: int = 0
    finished: int = 0
    health: Health | None = None

    @property
    def status(self) -> str:
        """The one word for it."""
        if self.running:
            return "paused" if self.paused else "restarting" if self.restarting else "running"
        if self.removing:
            return "removing"
        if self.dead:
            return "dead"
        return "exited" if self.started else "created"


class Record(Document, frozen=True, kw_only=True):
    """All that is kept of a container.

    Attributes
    ----------
    image
        ID of its image.
    layers
        Diff IDs of its image's layers, bottom first: the image may go by force, its layers are held.
    path, args
        The command.
    networks
        What is wished of each network, by its name.
    attached
        What it has on each while it runs, as `NetworkSettings.Networks` shows it.
    ports
        Published: "80/tcp" -> bindings with the numbers that were given.
    manually_stopped
        Whether somebody stopped it: then not every restart policy starts it again.
    """

    id: str
    name: str
    created: int
    image: str
    layers: tuple[str, ...] = ()
    driver: str = ""
    path: str = ""
    args: tuple[str, ...] = ()
    config: Config = Config()
    host_config: HostConfig = HostConfig()
    networks: dict[str, dict[str, Any]] = {}
    attached: dict[str, dict[str, Any]] = {}
    ports: dict[str, tuple[PortBinding, ...]] = {}
    mounts: tuple[MountPoint, ...] = ()
    state: State = State()
    restart_count: int = 0
    manually_stopped: bool = False
    number: int = 0

    @property
    def short_id(self) -> str:
        """The twelve digits that people are shown."""
        return self.id[:12]

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return self.config.labels or {}
