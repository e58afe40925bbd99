"""What a container sees from inside, and how fast it starts, beside podman with runc on the same root filesystem."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusefs import Mount, Stack, mount
from sim.runtime import Container, LogOptions, Process, ProcessSpec, Result, end_zygote, fork_mount

LOOK = """
    cat /proc/self/mountinfo | sed 's/.* - /- /' > /dev/null; cut -d' ' -f5,6 /proc/self/mountinfo; echo ==
    grep -E '^(CapInh|CapAmb|NoNewPrivs|Seccomp|Seccomp_filters)' /proc/self/status; echo ==
    for n in /dev/*; do stat -c '%n %F %a %t:%T' $n; done; echo ==
    id; umask; pwd; cat /proc/1/oom_score_adj
"""


@pytest.fixture(autouse=True)
def _no_zygote() -> Iterator[None]:
    yield
    end_zygote()


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs a statically linked busybox (Debian: busybox-static)")
    root = tmp_path / "rootfs"
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "run"):
        (root / name).mkdir(parents=True)
    root.chmod(0o755)
    shutil.copy2(busybox, root / "bin/busybox")
    for name in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    return root


@pytest.fixture
def podman() -> Iterator[Callable[..., list[str]]]:
    """Return a function that gives the command line of `podman run` with everything of its own in a directory."""
    if os.geteuid() != 0 or not shutil.which("podman") or not shutil.which("runc"):
        pytest.skip("needs root, podman and runc")
    place = tempfile.mkdtemp()  # a short name: podman takes no longer one than 50 characters
    base = ["podman", "--root", f"{place}/root", "--runroot", f"{place}/run", "--runtime", "runc"]
    base += ["--cgroup-manager", "cgroupfs", "--storage-driver", "vfs"]

    def command(root: Path, *args: str) -> list[str]:
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
        return [*base, "run", "--rm", *limits, "--network", "none", "--rootfs", os.fspath(root), *args]

    yield command
    subprocess.run([*base, "rm", "--all", "--force"], capture_output=True)
    for each in ("root/vfs", "root"):
        subprocess.run(["umount", f"{place}/{each}"], capture_output=True)
    shutil.rmtree(place)


def ours(root: Path, *args: str) -> Result:
    return Process(ProcessSpec(args=args, rootfs=root, hostname="box")).run(capture=True, timeout=60)


def test_from_inside(rootfs: Path, podman: Callable[..., list[str]]) -> None:
    done = subprocess.run(podman(rootfs, "sh", "-c", LOOK), capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"podman cannot run here: {done.stderr.strip()[:200]}")
    theirs = [part.strip().splitlines() for part in done.stdout.split("==")]
    mine = [part.strip().splitlines() for part in ours(rootfs, "sh", "-c", LOOK).stdout.decode().split("==")]
    # podman shows some files of its own, the systemd hierarchy, and masks /sys/dev/block; /proc/interrupts is masked
    # by newer engines only. /dev is executable with moby and here, with podman not.
    extra = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv", "/dev"}
    extra |= {"/sys/fs/cgroup/systemd", "/sys/dev/block"}
    places = {line.split()[0]: set(line.split()[1].split(",")) - {"relatime"} for line in theirs[0]}
    found = {line.split()[0]: set(line.split()[1].split(",")) - {"relatime"} for line in mine[0]}
    assert places.keys() - extra <= found.keys()
    assert found.keys() - places.keys() <= {"/proc/interrupts"}
    for place in places.keys() - extra:
        if place != "/sys/fs/cgroup":  # ours is read-only there
            assert ("ro" in places[place]) == ("ro" in found[place]), place
            assert places[place] & {"nosuid", "nodev"} <= found[place] | {"nosuid"}, place
    assert mine[1] == theirs[1]
    assert [line for line in mine[2] if "/dev/core" not in line] == [
        line for line in theirs[2] if "/dev/core" not in line
    ]
    # podman does not list the group itself among the groups, as newer engines do (CVE-2022-36109).
    assert [line.partition(" groups=")[0] for line in mine[3]] == [line.partition(" groups=")[0] for line in theirs[3]]


@contextlib.contextmanager
def mounted_container(place: Path, root: Path, *args: str) -> Iterator[tuple[Mount, Container]]:
    """Do what an engine does for `run --rm`: RW layer, mount with a journal, shim; at the end take all away."""
    for name in ("upper", "work", "merged", "state"):
        (place / name).mkdir(parents=True)
    stack = Stack((root,), place / "upper", place / "work")
    with mount(stack, place / "merged", journal=place / "journal.db", start=fork_mount) as mounted:
        spec = ProcessSpec(args=args, rootfs=mounted.mountpoint, hostname="box")
        container = Container.create(place / "state", spec, log=LogOptions(str(place / "log")))
        container.start()
        yield mounted, container
        assert container.wait(60) in (0, 137)
    shutil.rmtree(place)


def test_starting_takes_at_most_half_as_long(
    rootfs: Path, tmp_path: Path, podman: Callable[..., list[str]], fuse: None
) -> None:
    command = podman(rootfs, "true")
    if subprocess.run(command, capture_output=True, timeout=60).returncode:
        pytest.skip("podman cannot run here")

    def run_ours() -> None:
        with mounted_container(tmp_path / "own", rootfs, "true"):
            pass

    run_ours()
    own: list[float] = []
    other: list[float] = []
    for _ in range(7):  # in turns, so that what else the machine does slows both
        for times, work in ((other, lambda: subprocess.run(command, capture_output=True, check=True)), (own, run_ours)):
            began = time.monotonic()
            work()
            times.append(time.monotonic() - began)
    print(f"median: {statistics.median(own) * 1000:.0f} ms, podman {statistics.median(other) * 1000:.0f} ms")
    assert statistics.median(own) <= statistics.median(other) / 2


def test_idle_containers_are_small(rootfs: Path, tmp_path: Path, fuse: None, root: None) -> None:
    with contextlib.ExitStack() as stack:
        running = [
            stack.enter_context(mounted_container(tmp_path / str(number), rootfs, "sleep", "1000"))
            for number in range(10)
        ]
        time.sleep(1)
        pids = [
            pid for mounted, container in running for pid in (mounted.pid, *children(mounted.pid), container.shim())
        ]
        each = sum(_share(pid) for pid in pids) / len(running) / 1024
        for _, container in running:
            container.kill()
        print(f"mount and shim: {each:.1f} MB a container")
        assert each <= 15


def children(pid: int) -> list[int]:
    """Return the processes that one has started: a mount's journal is written by one of its own."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _share(pid: int) -> int:
    """Return the kilobytes of a process, those that it shares counted in parts."""
    return int(re.findall(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[0])


def test_many_at_once(rootfs: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    ours(rootfs, "true")
    began = time.monotonic()
    for _ in range(5):
        ours(rootfs, "true")
    alone = (time.monotonic() - began) / 5
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(ours(rootfs, "true").code)) for _ in range(20)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0] * 20
    assert time.monotonic() - began < 60 * alone  # and about half as long as one after another
