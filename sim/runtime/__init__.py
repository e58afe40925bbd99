"""A process in a world of its own: namespaces, root filesystem, privileges, limits, network, and a shim to mind it.

Small on purpose, and real: what a machine, a kernel or a user cannot do is refused (`UnsupportedError`), never
pretended. It knows nothing of images: a container gets a directory on which its root is mounted, or the layers for one.

    spec = ProcessSpec(args=("/bin/echo", "hello"), rootfs=Path("/mnt/merged"), hostname="box")
    result = Process(spec).run()                       # streams of the caller; result.code is 0
    result = Process(spec).run(capture=True, input=b"", timeout=10)
    result.code, result.stdout, result.stderr, result.seconds

    process = Process(spec)
    process.start(stdin, stdout, stderr)               # descriptors; returns once the command runs
    process.pid; process.signal(signal.SIGTERM); process.wait(timeout=5); process.close()

`start` and `run` raise a `ContainerError` when the command never ran; its `code` is what Docker exits with: 125, for a
command that is not there 127, for one that cannot be executed 126. A process killed by signal n ends with 128 + n. A
process dies with the caller. As an ordinary user the same calls work, in a user namespace made on the way.

What should outlive the caller is a `Container`, which has a small shim process of its own, its state in a directory:

    container = Container.create(directory, spec, log=LogOptions(path="/.../x.log", max_size=10 << 20, max_files=3),
                                 stdin="none" or "open" or "once")
    stream = container.attach(stdin=True)     # a socket; Docker's frames without a terminal, plain bytes with one
    warnings = container.start()              # raises as above
    container.status()                        # Status(phase="running", pid=4711, ...)
    container.wait(timeout); container.kill(signal.SIGHUP); container.stop(timeout=10); container.resize(24, 80)
    container.pause(); container.unpause(); container.update(Limits(pids=9))
    container.stats(); container.interfaces(); processor_time(); container.processes(); container.top("aux")
    container = Container.open(directory)     # later, by any process; also one whose shim was killed
    exec_ = container.execution(replace(spec, args=("ls",), user="www", terminal=True))   # a `Process`: run, start ...
    container.probe(replace(spec, args=("check",)), timeout=5)     # Probe(code=0, output=b"..."); code None: too long

The root of a container is a directory on which somebody has mounted it, with a process that is forked in a few
milliseconds and shares its memory with the others of its kind; it goes on when the caller ends:

    mounted = fusefs.mount(Stack(lowers, upper, work), directory, journal=journal, start=fork_mount)
    mounted.unmount(); fusefs.unmount(directory)       # also what another process has mounted

In a user namespace of its own the container needs a root whose files are its users': `mount` then gets
`presentation=owners_within(spec.uid_map, spec.gid_map)`, and the layers stay as they are.

An engine that starts calls `recover` first: it takes away what crashed shims, mounts and machines have left (mounts,
control groups, rules, interfaces), and says what:

    recover({state_directory: mountpoint_of_its_root, ...}, places=[where_all_roots_are_mounted])

Networks: `create_bridge(Bridge("br0", "172.18.0.0/16", "172.18.0.1"))`, then an `Interface` and `Port`s in the spec
(`PortError` where one cannot be published); `plug_in` and `unplug` while it runs; `start_resolver` and `write_names`
for names between containers, with a `Client` for what is for one of them alone; `write_etc_files` for /etc/hosts and
its kin. What a machine can do is told by `examine`.

The first start of a caller starts a small process that all others are forked from; it ends with the caller, or by
`end_zygote`. Who wants the first container to be as quick as the next calls `start_zygote` beforehand.

Importing this package is cheap: its modules are loaded when their names are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sim.runtime.capabilities import capability_mask, capability_names
    from sim.runtime.cgroups import ControlGroup, Layout, sweep
    from sim.runtime.container import Container, Execution, Status
    from sim.runtime.errors import (
        CommandNotExecutableError,
        CommandNotFoundError,
        ContainerError,
        InvalidSpecError,
        NotRunningError,
        PortError,
        UnknownUserError,
        UnsupportedError,
    )
    from sim.runtime.etcfiles import host_resolv_conf, update_hosts, write_etc_files
    from sim.runtime.limits import check_limits
    from sim.runtime.log import Entry, LogOptions, read_log
    from sim.runtime.mounts import fork_mount, owners_within
    from sim.runtime.network import Bridge, create_bridge, delete_bridge, free_address, free_subnet, mac_of
    from sim.runtime.plug import next_interface, plug_in, unplug
    from sim.runtime.probe import Probe
    from sim.runtime.process import Process, Result
    from sim.runtime.recovery import Recovered, recover
    from sim.runtime.resolver import Client, start_resolver, stop_resolver, write_names
    from sim.runtime.spec import (
        Bind,
        Device,
        Interface,
        Limits,
        Mapping,
        Namespaces,
        Overlay,
        Port,
        ProcessSpec,
        Rlimit,
        Throttle,
        Tmpfs,
    )
    from sim.runtime.stats import Stats, Traffic, Transfer, processor_time
    from sim.runtime.support import Finding, examine
    from sim.runtime.terminal import DetachKeys
    from sim.runtime.users import Identity, resolve_user
    from sim.runtime.zygote import end_zygote, start_zygote

__all__ = [
    "Bind",
    "Bridge",
    "Client",
    "CommandNotExecutableError",
    "CommandNotFoundError",
    "Container",
    "ContainerError",
    "ControlGroup",
    "DetachKeys",
    "Device",
    "Entry",
    "Execution",
    "Finding",
    "Identity",
    "Interface",
    "InvalidSpecError",
    "Layout",
    "Limits",
    "LogOptions",
    "Mapping",
    "Namespaces",
    "NotRunningError",
    "Overlay",
    "Port",
    "PortError",
    "Probe",
    "Process",
    "ProcessSpec",
    "Recovered",
    "Result",
    "Rlimit",
    "Stats",
    "Status",
    "Throttle",
    "Tmpfs",
    "Traffic",
    "Transfer",
    "UnknownUserError",
    "UnsupportedError",
    "capability_mask",
    "capability_names",
    "check_limits",
    "create_bridge",
    "delete_bridge",
    "end_zygote",
    "examine",
    "fork_mount",
    "free_address",
    "free_subnet",
    "host_resolv_conf",
    "mac_of",
    "next_interface",
    "owners_within",
    "plug_in",
    "processor_time",
    "read_log",
    "recover",
    "resolve_user",
    "start_resolver",
    "start_zygote",
    "stop_resolver",
    "sweep",
    "unplug",
    "update_hosts",
    "write_etc_files",
    "write_names",
]

_HOMES = {
    "cgroups": ("ControlGroup", "Layout", "sweep"),
    "limits": ("check_limits",),
    "stats": ("Stats", "Traffic", "Transfer", "processor_time"),
    "etcfiles": ("host_resolv_conf", "update_hosts", "write_etc_files"),
    "network": ("Bridge", "create_bridge", "delete_bridge", "free_address", "free_subnet", "mac_of"),
    "plug": ("next_interface", "plug_in", "unplug"),
    "recovery": ("Recovered", "recover"),
    "resolver": ("Client", "start_resolver", "stop_resolver", "write_names"),
    "support": ("Finding", "examine"),
    "mounts": ("fork_mount", "owners_within"),
    "zygote": ("end_zygote", "start_zygote"),
    "container": ("Container", "Execution", "Status"),
    "log": ("Entry", "LogOptions", "read_log"),
    "terminal": ("DetachKeys",),
    "users": ("Identity", "resolve_user"),
    "capabilities": ("capability_mask", "capability_names"),
    "errors": (
        "CommandNotExecutableError",
        "CommandNotFoundError",
        "ContainerError",
        "InvalidSpecError",
        "NotRunningError",
        "PortError",
        "UnknownUserError",
        "UnsupportedError",
    ),
    "probe": ("Probe",),
    "process": ("Process", "Result"),
    "spec": (
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
    ),
}
_MODULES = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
