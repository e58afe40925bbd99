"""What a container sees from inside, beside Docker's engine with runc, on the same root filesystem.

Sections that must be equal line by line are compared so; where the two differ for a reason, the reason is told at the
place that leaves it out.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sim.runtime import Namespaces, Process, ProcessSpec, Rlimit, Tmpfs, end_zygote
from tests.dockerd import ReferenceEngine, busybox_tar, reference_engine

__all__ = ["reference_engine"]

LOOK = r"""
echo "== privileges"; grep -E '^(Cap|NoNewPrivs|Seccomp|Groups|Uid|Gid)' /proc/self/status
echo "== namespaces"; for n in cgroup ipc mnt net pid user uts; do echo "$n $(readlink /proc/self/ns/$n)"; done
echo "== mounts"
sed -E 's/^[0-9]+ [0-9]+ [0-9:]+ (\S+) (\S+) (\S+) .*- (\S+) (\S+) (\S+)$/\2 \4 \3/' /proc/self/mountinfo
echo "== devices"; for n in /dev/*; do stat -c '%n %F %a %u:%g %t:%T %N' $n; done
echo "== environment"; env | grep -v '^_=' | sort
echo "== identity"; id; umask; pwd; cat /proc/self/oom_score_adj /proc/1/comm; hostname
echo "== limits"; cat /proc/self/limits
echo "== writable"
for p in / /etc /tmp /run /dev /dev/shm /dev/mqueue /proc/sys /proc/irq /proc/bus /sys /sys/kernel /sys/fs/cgroup/memory
do
    touch $p/.t 2>/dev/null && { rm $p/.t; echo "$p yes"; } || echo "$p no"
done
for p in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/self/oom_score_adj; do
    (: >>$p) 2>/dev/null && echo "$p yes" || echo "$p no"
done
echo "== masked"
for p in acpi asound kcore keys timer_list scsi sched_debug latency_stats; do
    p=/proc/$p
    [ -d $p ] && echo "$p $(ls -A $p | wc -l)"
    [ -f $p ] || [ -c $p ] && echo "$p $(head -c 9 $p 2>/dev/null | wc -c)"
done
ls -A /sys/firmware | wc -l
echo "== settings"; cd /proc/sys; grep . net/ipv4/ip_unprivileged_port_start net/ipv4/ping_group_range kernel/shmmax
"""

#: Ours is told by its engine to show these files; here there is no engine. Docker shows systemd's tree.
_DOCKERS_MOUNTS = {"/etc/resolv.conf", "/etc/hostname", "/etc/hosts", "/sys/fs/cgroup/systemd"}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "default": ("--network none --hostname box", {"hostname": "box"}),
    "tight": (
        "--network none --hostname box --cap-drop ALL --security-opt no-new-privileges --read-only -u nobody"
        " --group-add staff -w /tmp -e A=1 --ulimit nofile=100:200 --oom-score-adj 300 --tmpfs /run",
        {
            "hostname": "box", "capabilities": 0, "no_new_privileges": True, "read_only": True, "user": "nobody",
            "groups": ("staff",), "cwd": "/tmp", "env": ("A=1",), "rlimits": (Rlimit("nofile", 100, 200),),
            "oom_score_adj": 300, "mounts": (Tmpfs("/run"),),
        },
    ),
    "loose": (
        "--network host --pid host --ipc host --uts host --security-opt seccomp=unconfined --cap-add SYS_ADMIN",
        {
            "namespaces": Namespaces(network="host", pid="host", ipc="host", uts="host"), "seccomp": "unconfined",
            "capabilities": 0xA80425FB | 1 << 21,
        },
    ),
}  # fmt: skip


@pytest.fixture
def rootfs(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "rootfs"
    root.mkdir()
    subprocess.run(["tar", "-C", root, "-x"], input=busybox_tar(), check=True)
    yield root
    end_zygote()
    shutil.rmtree(root)


def sections(text: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith("== "):
            found[line[3:]] = here = []
        else:
            here.append(line)
    return found


def both(engine: ReferenceEngine, rootfs: Path, case: str) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return what Docker's container shows, and ours."""
    options, wishes = CASES[case]
    engine.busybox()
    done = engine.docker("run", "--rm", *options.split(), "busybox:latest", "sh", "-c", LOOK)
    if done.returncode:
        pytest.skip(f"docker cannot run here: {done.stderr.decode().strip()[:200]}")
    spec = ProcessSpec(args=("sh", "-c", LOOK), rootfs=rootfs, **wishes)
    result = Process(spec).run(capture=True, timeout=60)
    assert result.code == 0, result.stderr
    return sections(done.stdout.decode()), sections(result.stdout.decode())


@pytest.mark.parametrize("case", CASES)
def test_from_inside(reference_engine: ReferenceEngine, rootfs: Path, case: str) -> None:
    theirs, ours = both(reference_engine, rootfs, case)
    for section in ("privileges", "limits", "writable", "masked"):
        assert ours[section] == theirs[section], section
    assert _without(ours["devices"], "/dev/core") == _without(theirs["devices"], "/dev/core")  # where there is a kcore
    if case == "loose":  # that engine is in namespaces of its own, whose names and settings are others
        assert ours["identity"][:4] == theirs["identity"][:4]
        return
    for section in ("environment", "identity", "settings"):
        assert ours[section] == theirs[section], section
    # Which namespaces are new: the engine's own are not this machine's, so only ours can be asked by name.
    machine = {name: Path(f"/proc/self/ns/{name}").readlink() for name in ("cgroup", "user")}
    assert {line.split()[0] for line in ours["namespaces"] if Path(line.split()[1]) in machine.values()} == set(machine)
    assert len(theirs["namespaces"]) == len(ours["namespaces"])


@pytest.mark.parametrize("case", ["default", "tight"])
def test_what_is_mounted(reference_engine: ReferenceEngine, rootfs: Path, case: str) -> None:
    theirs, ours = (_mounts(found["mounts"]) for found in both(reference_engine, rootfs, case))
    # Newer engines hide /proc/interrupts too.
    assert ours.keys() ^ (theirs.keys() - _DOCKERS_MOUNTS) <= {"/proc/interrupts"}
    for place in theirs.keys() & ours.keys() - {"/"}:
        kind, flags = theirs[place]
        assert ours[place][0] == kind, place
        # An empty directory over a masked one has no flags with Docker, and the tmpfs for control groups is writable.
        more = (
            {"ro", "nosuid", "noexec", "nodev"} if place in ("/proc/acpi", "/sys/firmware", "/sys/fs/cgroup") else set()
        )
        assert ours[place][1] - more == flags - {"rw"} - more or ours[place][1] - more == flags - more, place
    assert ("ro" in ours["/"][1]) is ("ro" in theirs["/"][1])


def _without(lines: list[str], word: str) -> list[str]:
    return [line for line in lines if word not in line]


def _mounts(lines: list[str]) -> dict[str, tuple[str, set[str]]]:
    found = {}
    for line in lines:
        place, kind, flags = line.split()
        found[place] = kind, set(flags.split(","))
    return found
