"""What is wished for: the values that describe a container's process and its world.

Decided here and only here: which wishes there are, their defaults and which make no sense. A `ProcessSpec` says all
about a process that is to run; everything below it in the runtime only carries it out. All values are frozen, so they
may be shared between threads; they travel to the started process pickled.
"""

from __future__ import annotations

import os
import posixpath
from dataclasses import dataclass, field
from pathlib import Path

from sim.runtime.capabilities import capability_mask
from sim.runtime.errors import InvalidSpecError

__all__ = [
    "DEFAULT_PATH",
    "MASKED_PATHS",
    "READ_ONLY_PATHS",
    "Bind",
    "Device",
    "Interface",
    "Limits",
    "Mapping",
    "Namespaces",
    "Overlay",
    "Port",
    "ProcessSpec",
    "Rlimit",
    "Throttle",
    "Tmpfs",
    "number_outside",
]

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#: Hidden from a container, as moby's `oci/defaults.go` has them: what they show is the host's, or a way to it.
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    *(f"/sys/devices/system/cpu/cpu{number}/thermal_throttle" for number in range(os.cpu_count() or 1)),
)

#: Seen but not written by a container: a write would change the whole machine.
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


_IPC_SYSCTLS = frozenset(
    f"kernel.{name}" for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)


@dataclass(frozen=True, slots=True)
class Bind:
    """A file or directory of the host seen in the container (`-v`).

    Attributes
    ----------
    source
        On the host, absolute; must be there.
    target
        In the container, absolute; made when missing.
    read_only
        Not writable.
    recursive
        Whether what is mounted below it comes along.
    propagation
        Whether what is mounted below it later, on one side, is seen on the other: "rprivate" never; "rslave" what the
        host mounts; "rshared" both ways. Without the "r" this is so for the mount itself, and not for those below it.
    read_only_recursive
        Whether what is mounted below a read-only one is not writable either.
    """

    source: Path
    target: str
    read_only: bool = False
    recursive: bool = True
    propagation: str = "rprivate"
    read_only_recursive: bool = True


@dataclass(frozen=True, slots=True)
class Tmpfs:
    """An empty filesystem in memory (`--tmpfs`).

    Attributes
    ----------
    target
        In the container, absolute; made when missing.
    size
        Bytes at most; 0 for the kernel's default, half of the memory.
    mode
        Permission bits of its root.
    uid, gid
        Owner of its root.
    executable, devices, setuid, read_only
        Whether these are allowed in it; Docker's default is none of them.
    """

    target: str
    size: int = 0
    mode: int = 0o1777
    uid: int = 0
    gid: int = 0
    executable: bool = False
    devices: bool = False
    setuid: bool = False
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the host that a container may use (`--device`); of a directory, all that are in it.

    Attributes
    ----------
    source
        On the host.
    target
        In the container; "" for the same path.
    permissions
        Of r, w and m (mknod), those it has.
    """

    source: str
    target: str = ""
    permissions: str = "rwm"


@dataclass(frozen=True, slots=True)
class Overlay:
    """A root filesystem to be mounted with the kernel's overlayfs, in the container's own mount namespace.

    It is gone with the container, and needs no privilege but a user namespace.

    Attributes
    ----------
    lower
        Layer directories, topmost first.
    upper, work
        Writable layer and its work directory, on one filesystem; None for a read-only stack.
    """

    lower: tuple[Path, ...]
    upper: Path | None = None
    work: Path | None = None


@dataclass(frozen=True, slots=True)
class Mapping:
    """A run of user or group numbers: `inside` and the next `count` - 1 are `outside` and on, on the host."""

    inside: int
    outside: int
    count: int


def number_outside(maps: tuple[Mapping, ...], inside: int) -> int:
    """Return what a user's or group's number in a user namespace is outside.

    Raises
    ------
    InvalidSpecError
        It has none.
    """
    for each in maps:
        if each.inside <= inside < each.inside + each.count:
            return each.outside + inside - each.inside
    raise InvalidSpecError(f"the number {inside} is not one of the container's user namespace")


@dataclass(frozen=True, slots=True)
class Namespaces:
    """For each kind of namespace: "new", "host", or the path of a namespace's file to join.

    `network` "user" is a new one with a way out by slirp4netns, which needs no privilege. `user` "new" needs mappings
    in the `ProcessSpec`. `cgroup` "auto" is new where the machine's controllers are those of cgroup v2 and the host's
    otherwise, as Docker has it.
    """

    network: str = "new"
    pid: str = "new"
    ipc: str = "new"
    uts: str = "new"
    cgroup: str = "auto"
    user: str = "host"


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface of a new network namespace: one end of a pair whose other end is a port of a bridge.

    Attributes
    ----------
    bridge
        Name of the host's bridge; it must be there.
    address
        "10.88.0.2/16"; IPv4 or IPv6; "" for none.
    gateway
        Default route, "" for none.
    name
        Inside: "eth0".
    mac
        "02:42:..."; "" lets the kernel choose.
    host_name
        The host's end, at most 15 characters; "" makes one up.
    mtu
        Bytes of the largest packet; 0 leaves it to the kernel. That of the bridge.
    address6, gateway6
        Of IPv6, besides: "fd00::2/64", and the default route; "" for none.
    """

    bridge: str
    address: str
    gateway: str = ""
    name: str = "eth0"
    mac: str = ""
    host_name: str = ""
    mtu: int = 0
    address6: str = ""
    gateway6: str = ""


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the host that leads to one of the container (`-p`).

    `host_port` 0 takes any that is free; with `host_last` the first from `host_port` to that one which is.
    """

    container_port: int
    host_port: int = 0
    host_ip: str = "0.0.0.0"
    protocol: str = "tcp"
    host_last: int = 0


@dataclass(frozen=True, slots=True)
class Rlimit:
    """A resource limit (`--ulimit`): name as in getrlimit(2) without RLIMIT_, "nofile"; -1 is unlimited."""

    name: str
    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Throttle:
    """A limit for one block device (`--device-read-bps` and its like).

    Attributes
    ----------
    device
        Its path on the host.
    kind
        "read_bps", "write_bps", "read_iops" or "write_iops".
    rate
        Bytes or operations in a second.
    """

    device: Path
    kind: str
    rate: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may use, enforced by control groups. 0 stands for no limit, as Docker has it.

    Attributes
    ----------
    memory
        Bytes.
    memory_swap
        Bytes of memory and swap together; 0 means twice `memory` as with Docker, -1 unlimited swap.
    memory_reservation
        Bytes to which it is pushed back when memory is short.
    memory_swappiness
        0 to 100; None leaves it to the kernel. Version 1 only.
    oom_kill_disable
        Whether a process that wants more memory waits, and none is killed. Version 1 only.
    kernel_memory
        Checked, warned of, and of no effect: kernels have given it up.
    nano_cpus
        Billionths of a processor: 1_500_000_000 is one and a half (`--cpus`).
    cpu_period, cpu_quota
        Microseconds, and how many of them may be used; instead of `nano_cpus`.
    cpu_shares
        Relative weight, 1024 is usual.
    cpuset_cpus, cpuset_mems
        "0-2,5": the processors, and the nodes of memory, that may be used.
    pids
        Processes and threads; 0 and -1 unlimited.
    blkio_weight
        Relative weight for block devices, 10 to 1000.
    throttles
        Rates of single block devices.
    """

    memory: int = 0
    memory_swap: int = 0
    memory_reservation: int = 0
    nano_cpus: int = 0
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    pids: int = 0
    memory_swappiness: int | None = None
    oom_kill_disable: bool = False
    kernel_memory: int = 0
    cpu_period: int = 0
    cpu_quota: int = 0
    cpuset_mems: str = ""
    blkio_weight: int = 0
    throttles: tuple[Throttle, ...] = ()


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process and the world it runs in.

    Attributes
    ----------
    args
        Command and arguments; the command is searched in the container's PATH.
    rootfs
        A directory on which the container's root is already mounted, or an `Overlay` to be mounted for it.
    env
        "NAME=value" words. PATH and HOME are added when missing, TERM with a terminal.
    cwd
        Absolute; made when missing.
    user, groups
        "user[:group]" as `resolve_user` reads it, and more groups.
    hostname, domainname
        Names in the new uts namespace.
    terminal
        Whether the process gets a pseudo-terminal.
    terminal_size
        Its rows and columns at the start; (0, 0) leaves them unset.
    init
        Whether process 1 is a small init that passes signals on and reaps orphans (`--init`).
    mounts
        In any order; a deeper target is mounted later.
    read_only
        Whether the root filesystem is read-only; mounts are not touched by it.
    capabilities
        Bit mask, see `capability_mask`.
    privileged
        All capabilities and devices, nothing masked or read-only, no seccomp.
    no_new_privileges
        Whether set-user-ID programs and file capabilities are of no effect.
    seccomp
        "default", "unconfined", or the JSON text of a profile.
    rlimits
        Limits above the caller's hard limit are cut down to it where the caller may not raise them.
    oom_score_adj
        -1000 to 1000; never set lower than the caller's own without the privilege to.
    namespaces, uid_map, gid_map
        See `Namespaces` and `Mapping`.
    interfaces
        For a new network namespace; without any it has the loopback interface alone.
    ports
        Published on the host; they lead to the first interface's address, or without any to the loopback's.
    limits, cgroup
        See `Limits`; `cgroup` is the name of the container's group, below the caller's own or from "/"; "" for none.
    shm_size
        Bytes of /dev/shm.
    devices
        Devices of the host that the container gets as well; a path alone stands for a `Device` with that source.
    device_rules
        "c 10:* rw": more that it may use, should it make or have a node for it (`--device-cgroup-rule`).
    sysctls
        Name and value, of the container's own namespaces only.
    masked_paths, read_only_paths
        What is hidden, and what is shown but not writable.
    """

    args: tuple[str, ...]
    rootfs: Path | Overlay
    env: tuple[str, ...] = ()
    cwd: str = "/"
    user: str = ""
    groups: tuple[str, ...] = ()
    hostname: str = ""
    domainname: str = ""
    terminal: bool = False
    terminal_size: tuple[int, int] = (0, 0)
    init: bool = False
    mounts: tuple[Bind | Tmpfs, ...] = ()
    read_only: bool = False
    capabilities: int = field(default_factory=capability_mask)
    privileged: bool = False
    no_new_privileges: bool = False
    seccomp: str = "default"
    rlimits: tuple[Rlimit, ...] = ()
    oom_score_adj: int = 0
    namespaces: Namespaces = Namespaces()
    uid_map: tuple[Mapping, ...] = ()
    gid_map: tuple[Mapping, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    ports: tuple[Port, ...] = ()
    limits: Limits = Limits()
    cgroup: str = ""
    shm_size: int = 64 << 20
    devices: tuple[str | Device, ...] = ()
    device_rules: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    masked_paths: tuple[str, ...] = MASKED_PATHS
    read_only_paths: tuple[str, ...] = READ_ONLY_PATHS

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not self.args or not self.args[0]:
            raise InvalidSpecError("no command specified")
        for text in (*self.args, *self.env, self.cwd, self.hostname):
            if "\0" in text:
                raise InvalidSpecError(f"{text!r} holds a null byte, which no argument, variable or path can")
        for each in self.env:
            if each.partition("=")[0] == "":
                raise InvalidSpecError(f"invalid environment variable: {each}")
        for path in (self.cwd, *(mount.target for mount in self.mounts)):
            if not path.startswith("/"):
                raise InvalidSpecError(f"invalid mount or working directory {path!r}: it must be absolute")
        targets = [posixpath.normpath(mount.target) for mount in self.mounts]
        for target in targets:
            if target == "/":
                raise InvalidSpecError("invalid mount: destination can't be '/'")
            if targets.count(target) > 1:
                raise InvalidSpecError(f"Duplicate mount point: {target}")
        for mount in self.mounts:
            if isinstance(mount, Bind) and mount.propagation.removeprefix("r") not in ("private", "slave", "shared"):
                raise InvalidSpecError(f"invalid propagation of a mount: {mount.propagation}")
        for device in self.devices:
            if isinstance(device, Device) and not (device.permissions and set(device.permissions) <= set("rwm")):
                raise InvalidSpecError(f"bad mode specified: {device.permissions}")
        if len(self.hostname) > 64:
            raise InvalidSpecError(f"hostname {self.hostname!r} is longer than 64 characters")
        if (self.hostname or self.domainname) and self.namespaces.uts == "host":
            raise InvalidSpecError("conflicting options: hostname and the UTS mode")
        for name, _ in self.sysctls:
            self._check_sysctl(name)
        if not -1000 <= self.oom_score_adj <= 1000:
            raise InvalidSpecError(f"Invalid value {self.oom_score_adj}, range for oom score adj is [-1000, 1000]")
        if self.interfaces and self.namespaces.network != "new":
            raise InvalidSpecError("interfaces can only be made in a new network namespace")
        for port in self.ports:
            if not (0 <= port.host_port <= 65535 and 0 < port.container_port <= 65535):
                raise InvalidSpecError(f"invalid published port: {port.host_port}:{port.container_port}")
            if port.host_last and not port.host_port <= port.host_last <= 65535:
                raise InvalidSpecError(f"invalid range of published ports: {port.host_port}-{port.host_last}")
            if port.protocol not in ("tcp", "udp"):
                raise InvalidSpecError(f"invalid protocol of a published port: {port.protocol}")
        if self.namespaces.user == "new" and not (self.uid_map and self.gid_map):
            raise InvalidSpecError("a new user namespace needs mappings of user and group numbers")

    def _check_sysctl(self, name: str) -> None:
        """Refuse what is not the container's own: it would be set for the whole machine, as runc's validator says."""
        name = name.replace("/", ".")
        wishes = self.namespaces
        if name.startswith("net."):
            kind = wishes.network
        elif name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
            kind = wishes.ipc
        elif name == "kernel.domainname":
            kind = wishes.uts
        else:
            raise InvalidSpecError(f'sysctl "{name}" is not in a separate kernel namespace')
        if kind == "host":
            raise InvalidSpecError(f'sysctl "{name}" is not allowed in the host\'s namespace')
