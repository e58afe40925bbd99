"""What this machine can do: one probe a capability.

Decided here and only here: which capabilities of the machine matter, how each is found out, why it matters and what to
install or do where it is missing. Nothing is changed by asking: a probe reads, or tries in a child process that ends.

Values only; one thread, since probes fork.
"""

from __future__ import annotations

import ctypes
import glob
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

__all__ = ["Finding", "State", "abilities", "examine"]


class State(StrEnum):
    """Whether the machine has something."""

    YES = "yes"
    PARTLY = "partly"  #: it is there, with less than there could be
    NO = "no"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one probe found.

    Attributes
    ----------
    key
        Short name for programs, as in the output of `layerlab doctor --json`.
    name
        Name for people.
    state
        Whether the machine has it.
    found
        What was found, in a few words.
    why
        Why it matters.
    mend
        What to install or do; empty where nothing is missing.
    """

    key: str
    name: str
    state: State
    found: str
    why: str
    mend: str = ""


def _finding(key: str, name: str, good: bool, found: str, why: str, mend: str = "") -> Finding:
    return Finding(key, name, State.YES if good else State.NO, found, why, "" if good else mend)


def _kernel() -> Finding:
    linux = sys.platform == "linux"
    return _finding(
        *("linux", "Linux", linux, f"{platform.system()} {platform.release()}"),
        "mounts, namespaces and cgroups are the Linux kernel's; elsewhere only the simulator in Python works",
        "run it on Linux, or in a virtual machine with Linux",
    )


def _root() -> Finding:
    return _finding(
        *("root", "root", os.geteuid() == 0, f"user {os.geteuid()}"),
        "lets other users into a mount, keeps owners and device nodes in layers, and limits containers; not needed"
        " where user namespaces can be made",
        "run the command with sudo",
    )


def _dev_fuse() -> Finding:
    mend = "as root: modprobe fuse; in a container, start that with --device /dev/fuse --cap-add SYS_ADMIN"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
        state = "can be opened"
    except PermissionError as error:
        state = error.strerror or "permission denied"
        mend = "run the command with sudo, or let everybody open it, as root: chmod 666 /dev/fuse"
    except OSError as error:
        state = error.strerror or "cannot be opened"
    return _finding(
        *("dev_fuse", "/dev/fuse", state == "can be opened", state),
        "the kernel sends every operation on a mount through it to the union filesystem",
        mend,
    )


def _fusermount() -> Finding:
    found = shutil.which("fusermount3") or shutil.which("fusermount")
    if found and not os.stat(found).st_mode & 0o4000:
        return Finding(
            *("fusermount", "fusermount", State.PARTLY, f"{found}, not setuid root"),
            "mounts and unmounts for ordinary users",
            f"as root: chmod u+s {found}",
        )
    return _finding(
        *("fusermount", "fusermount", bool(found), found or "not found"),
        "mounts and unmounts for ordinary users",
        "apt-get install fuse3",
    )


def _fuse_python() -> Finding:
    there = find_spec("fuse") is not None
    return _finding(
        *("fuse_python", "fuse-python", there, "installed" if there else "not installed"),
        "the portable storage driver; without it `import sim` and the simulator still work",
        "apt-get install libfuse-dev pkg-config gcc python3-dev, then pip install fuse-python",
    )


def _release() -> tuple[int, int]:
    major, minor, *_ = (*platform.release().split("."), "0", "0")
    digits = "".join(filter(str.isdigit, minor)) or "0"
    return (int(major), int(digits)) if major.isdecimal() else (0, 0)


def _passthrough() -> Finding:
    new = _release() >= (6, 9)
    root = os.geteuid() == 0
    found = f"kernel {platform.release()}" + ("" if root or not new else ", but not root")
    return _finding(
        *("passthrough", "FUSE passthrough", new and root, found),
        "the kernel then reads and writes file data by itself, as fast as without FUSE (Linux 6.9, as root)",
        "run the command with sudo" if new else "use a kernel of 6.9 or newer (Debian 13, or backports)",
    )


def _driver() -> Finding:
    from fusefs import MountError
    from fusefs.mount import choose_driver

    try:
        chosen = choose_driver()
    except MountError as error:
        return _finding(
            *("driver", "driver", False, f"none: {error}"),
            "what carries the kernel's requests to the union; UnionFS in Python works without",
            "see the lines above",
        )
    faster = chosen == "devfuse"
    return Finding(
        "driver",
        "driver",
        State.YES if faster else State.PARTLY,
        f"{chosen}, taken by --driver auto",
        "devfuse speaks the kernel's protocol itself: nanoseconds, all of rename, passthrough; fuse-python is portable",
        "" if faster else "devfuse needs Linux 5.4 or newer",
    )


def _overlayfs() -> Finding:
    known = "\toverlay\n" in _read("/proc/filesystems")
    module = bool(glob.glob(f"/lib/modules/{platform.release()}/kernel/fs/overlayfs/overlay.ko*"))
    return _finding(
        *("overlayfs", "overlayfs", known or module),
        "in the kernel" if known else "as a module" if module else "not in this kernel",
        "the kernel's own union: the reference that results and timings are compared with",
        "use a kernel with CONFIG_OVERLAY_FS, as distributions have it",
    )


#: Flags of unshare(2).
_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000


def _try_user_namespace() -> str:
    """Make a user namespace and in it a mount namespace, in a child; return what failed, or nothing."""
    user = os.geteuid()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        step, number = "", 0
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            for flag, what in ((_NEW_USER, "a user namespace"), (_NEW_MOUNTS, "mounts in a user namespace")):
                step = what
                if libc.unshare(flag) != 0:
                    number = ctypes.get_errno()
                    break
                if flag == _NEW_USER:
                    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        except OSError as error:
            number = error.errno or 1
        finally:
            os.write(writer, f"{step} refused: {os.strerror(number)}".encode() if number else b"")
            os._exit(0)
    os.close(writer)
    with open(reader, "rb") as answer:
        text = answer.read().decode()
    os.waitpid(child, 0)
    return text


def _user_namespaces() -> Finding:
    failed = _try_user_namespace() if sys.platform == "linux" else "not on this system"
    if _read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").strip() == "1":
        mend = "as root: sysctl kernel.apparmor_restrict_unprivileged_userns=0"
    elif _read("/proc/sys/kernel/unprivileged_userns_clone").strip() == "0":
        mend = "as root: sysctl kernel.unprivileged_userns_clone=1"
    else:
        mend = "as root: sysctl user.max_user_namespaces=10000; in a container, allow it in its seccomp profile"
    return _finding(
        *("user_namespaces", "user namespaces", not failed, failed or "can be made"),
        "containers whose root is nobody outside, and containers without root",
        mend,
    )


def _newuidmap() -> Finding:
    import pwd

    program = shutil.which("newuidmap")
    if program is None:
        return Finding(
            *("newuidmap", "newuidmap", State.NO, "not found"),
            "gives an ordinary user's container more than one user ID",
            "apt-get install uidmap",
        )
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        name = str(os.geteuid())
    owners = {line.split(":")[0] for line in _read("/etc/subuid").splitlines()}
    ranged = os.geteuid() == 0 or bool(owners & {name, str(os.geteuid())})
    return Finding(
        *("newuidmap", "newuidmap", State.YES if ranged else State.PARTLY),
        program if ranged else f"{program}, but no range for {name} in /etc/subuid",
        "gives an ordinary user's container more than one user ID",
        "" if ranged else f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}",
    )


def _namespaces() -> Finding:
    wanted = ("mnt", "pid", "uts", "ipc", "net", "cgroup")
    missing = [name for name in wanted if not os.path.exists(f"/proc/self/ns/{name}")]
    return _finding(
        *("namespaces", "namespaces", not missing),
        f"without {', '.join(missing)}" if missing else ", ".join(wanted),
        "what a container sees of mounts, processes, names and networks is its own",
        "use a kernel with all namespaces, as distributions have it",
    )


def _networks() -> Finding:
    from sim.runtime.usernet import user_network_fault

    why = "leads containers out of the machine, to each other, and ports to them"
    if os.geteuid() == 0:
        nft = shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin:/bin")
        found = "bridges, with nftables" if nft else "no nft: containers reach nothing beyond their bridge"
        return _finding("networks", "networks", nft is not None, found, why, "apt-get install nftables")
    fault = user_network_fault().partition(": ")[0]
    return Finding(
        *("networks", "networks", State.PARTLY, f"ports, no bridges; {fault or 'a way out by slirp4netns or pasta'}"),
        why,
        "as root: apt-get install slirp4netns; chmod 666 /dev/net/tun" if fault else "works; as root there are bridges",
    )


def _cgroups() -> Finding:
    why = "limits and accounts for a container's memory, processor time and processes"
    mounts = [line.split(" - ") for line in _read("/proc/self/mountinfo").splitlines()]
    places = {(right.split()[0], left.split()[4]) for left, right in mounts if right.startswith("cgroup")}
    if ("cgroup2", "/sys/fs/cgroup") in places:
        controllers = _read("/sys/fs/cgroup/cgroup.controllers").split()
        found = f"version 2: {', '.join(controllers) or 'no controllers'}"
        lacking = {"memory", "cpu", "pids"} - set(controllers)
        return Finding(
            *("cgroups", "cgroups", State.PARTLY if lacking else State.YES, found, why),
            f"boot with the controllers {', '.join(sorted(lacking))}" if lacking else "",
        )
    first = sorted(place.rpartition("/")[2] for kind, place in places if kind == "cgroup")
    if first:
        return Finding(
            *("cgroups", "cgroups", State.PARTLY, f"version 1: {', '.join(first)}", why),
            "works; boot with systemd.unified_cgroup_hierarchy=1 for version 2",
        )
    return Finding("cgroups", "cgroups", State.NO, "not mounted", why, "mount -t cgroup2 none /sys/fs/cgroup")


def _seccomp() -> Finding:
    actions = _read("/proc/sys/kernel/seccomp/actions_avail").split()
    return _finding(
        *("seccomp", "seccomp", "errno" in actions, "filters" if actions else "not in this kernel"),
        "keeps a container's processes from the system calls that they have no need of",
        "use a kernel with CONFIG_SECCOMP_FILTER, as distributions have it",
    )


def _busybox() -> Finding:
    program = shutil.which("busybox")
    static = program is not None and _is_static(program)
    return _finding(
        *("busybox", "static busybox", static),
        program or "not found" if static or program is None else f"{program}, but it needs shared libraries",
        "the programs of the demo's base image: one file without libraries",
        "apt-get install busybox-static",
    )


def _is_static(program: str) -> bool:
    """Whether a program names no interpreter (ld.so) in its program headers."""
    try:
        done = subprocess.run(["ldd", program], capture_output=True, check=False, env={"LC_ALL": "C"})
    except OSError:
        return True  # no ldd: then no shared libraries can be expected either
    return done.returncode != 0


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


_PROBES: tuple[Callable[[], Finding], ...] = (
    _kernel,
    _root,
    _dev_fuse,
    _fusermount,
    _fuse_python,
    _passthrough,
    _driver,
    _overlayfs,
    _namespaces,
    _user_namespaces,
    _newuidmap,
    _networks,
    _cgroups,
    _seccomp,
    _busybox,
)


def examine() -> list[Finding]:
    """Ask every probe."""
    return [probe() for probe in _PROBES]


def abilities(findings: list[Finding]) -> list[tuple[str, list[str]]]:
    """Return what can be done here, each with the names of what is missing for it (nothing: it can be done).

    >>> has = [Finding("linux", "Linux", State.YES, "", ""), Finding("root", "root", State.NO, "", "", "sudo")]
    >>> abilities(has)[0]
    ('simulate stacks in Python', [])
    """
    state = {finding.key: finding for finding in findings}

    def lacking(*keys: str) -> list[str]:
        return [state[key].name for key in keys if key in state and state[key].state is State.NO]

    mount = lacking("linux", "dev_fuse", "fuse_python")
    if lacking("root"):
        mount += lacking("fusermount")
    run = mount + lacking("namespaces")
    if lacking("root"):
        run += lacking("user_namespaces")
    return [
        ("simulate stacks in Python", []),
        ("mount stacks with FUSE", mount),
        ("run containers", run),
        ("run the demo", run + lacking("busybox")),
        ("compare with the kernel's overlayfs", lacking("linux", "root", "overlayfs")),
    ]
