from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sim.runtime import (
    Container,
    ContainerError,
    ControlGroup,
    InvalidSpecError,
    Layout,
    Limits,
    NotRunningError,
    Throttle,
    UnsupportedError,
    check_limits,
    sweep,
)
from tests.patience import until

MIB = 1 << 20

HYBRID = """\
30 29 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 29 0:27 /docker/abc /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
32 29 0:28 / /sys/fs/cgroup/pids rw,relatime shared:9 - cgroup cgroup rw,pids
33 29 0:29 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
34 29 0:30 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
"""


def test_each_controller_is_looked_for_by_itself() -> None:
    layout = Layout.read(HYBRID, "3:cpu,cpuacct:/a/b\n4:memory:/docker/abc/x\n5:pids:/\n0::/\n")
    root = Path("/sys/fs/cgroup")
    assert layout.legacy == {
        "cpu": root / "cpu,cpuacct/a/b",
        "cpuacct": root / "cpu,cpuacct/a/b",
        "memory": root / "memory/x",
        "pids": root / "pids",
    }
    assert not layout.is_unified
    assert layout.available() == {"cpu", "cpuacct", "memory", "pids"}


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (Limits(memory=4 * MIB), "Minimum memory limit allowed is 6MB"),
        (Limits(memory_swap=8 * MIB), "You should always set the Memory limit when using Memoryswap limit"),
        (Limits(memory=9 * MIB, memory_swap=8 * MIB), "Minimum memoryswap limit should be larger than memory limit"),
        (Limits(memory=9 * MIB, memory_reservation=10 * MIB), "less than memory reservation"),
        (Limits(nano_cpus=3_000_000_000), r"Range of CPUs is from 0.01 to 2.00, as there are only 2 CPUs available"),
        (Limits(nano_cpus=-1), "Range of CPUs"),
        (Limits(cpu_shares=-1), "shares: invalid argument"),
        (Limits(nano_cpus=10**9, cpu_period=10_000), "Nano CPUs and CPU Period cannot both be set"),
        (Limits(nano_cpus=10**9, cpu_quota=10_000), "Nano CPUs and CPU Quota cannot both be set"),
        (Limits(cpu_period=10), "CPU cfs period can not be less than 1ms"),
        (Limits(cpu_quota=10), "CPU cfs quota can not be less than 1ms"),
        (Limits(cpuset_cpus="abc"), "Invalid value abc for cpuset cpus: invalid format: abc"),
        (Limits(cpuset_cpus="3-1"), "Invalid value 3-1 for cpuset cpus"),
        (Limits(cpuset_cpus="0-9999"), "Requested CPUs are not available - requested 0-9999, available: 0"),
        (Limits(cpuset_mems="77"), "Requested memory nodes are not available - requested 77, available: 0"),
        (Limits(memory_reservation=MIB), "Minimum memory reservation allowed is 6MB"),
        (Limits(memory_swappiness=101), "Invalid value: 101, valid memory swappiness range is 0-100"),
        (Limits(kernel_memory=MIB), "Minimum kernel memory limit allowed is 6MB"),
        (Limits(blkio_weight=5), "Range of blkio weight is from 10 to 1000"),
        (Limits(throttles=(Throttle(Path("/dev/x"), "seek", 1),)), "there is no throttle seek"),
    ],
)
def test_limits_that_no_container_can_have(limits: Limits, text: str) -> None:
    with pytest.raises(InvalidSpecError, match=text):
        check_limits(limits, processors=2)


def test_limits_that_are_warned_of() -> None:
    (deprecated,) = check_limits(Limits(kernel_memory=8 * MIB))
    assert deprecated == "Specifying a kernel memory limit is deprecated and will be removed in a future release."
    (dangerous,) = check_limits(Limits(oom_kill_disable=True))
    assert dangerous.startswith("OOM killer is disabled for the container, but no memory limit is set")
    assert check_limits(Limits(oom_kill_disable=True, memory=64 * MIB)) == []


class TestLegacy:
    """Version 1 on a tree of plain files."""

    @pytest.fixture
    def group(self, tmp_path: Path) -> ControlGroup:
        names = {
            "memory": "limit_in_bytes memsw.limit_in_bytes swappiness oom_control soft_limit_in_bytes",
            "cpu": "cfs_period_us cfs_quota_us shares",
            "blkio": "bfq.weight throttle.read_bps_device throttle.write_iops_device",
        }
        for controller, files in names.items():
            place = tmp_path / controller / "layerlab/c1"
            place.mkdir(parents=True)
            for name in files.split():
                (place / f"{controller}.{name}").touch()
        return ControlGroup("layerlab/c1", Layout({name: tmp_path / name for name in names}, None))

    def test_each_limit_has_its_file(self, group: ControlGroup, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sim.runtime.limits._numbers", lambda device: "8:0")
        disk = Path("/dev/sda")
        throttles = (Throttle(disk, "read_bps", 1000), Throttle(disk, "write_iops", 7))
        limits = Limits(
            memory=64 * MIB,
            memory_swappiness=0,
            oom_kill_disable=True,
            cpu_period=50_000,
            cpu_quota=25_000,
            blkio_weight=300,
            throttles=throttles,
        )
        assert group.apply(limits) == []
        written = {
            path.name: path.read_text()
            for place in group.places.values()
            for path in place.iterdir()
            if path.read_text()
        }
        assert written == {
            "memory.limit_in_bytes": str(64 * MIB),
            "memory.memsw.limit_in_bytes": str(128 * MIB),
            "memory.swappiness": "0",
            "memory.oom_control": "1",
            "cpu.cfs_period_us": "50000",
            "cpu.cfs_quota_us": "25000",
            "blkio.bfq.weight": "300",
            "blkio.throttle.read_bps_device": "8:0 1000",
            "blkio.throttle.write_iops_device": "8:0 7",
        }

    def test_what_is_missing_is_said_in_dockers_words(self, group: ControlGroup, tmp_path: Path) -> None:
        for place in group.places.values():
            for path in place.iterdir():
                path.unlink()
        limits = Limits(
            memory=64 * MIB, memory_swappiness=5, oom_kill_disable=True, blkio_weight=10, cpu_shares=5, pids=9,
            cpuset_cpus="0", cpu_quota=5000,
        )  # fmt: skip
        assert group.apply(limits) == [
            "Your kernel does not support memory limit capabilities or the cgroup is not mounted."
            " Limitation discarded.",
            "Your kernel does not support swap limit capabilities or the cgroup is not mounted."
            " Memory limited without swap.",
            "Your kernel does not support memory swappiness capabilities or the cgroup is not mounted."
            " Memory swappiness discarded.",
            "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
            "Your kernel does not support CPU cfs quota or the cgroup is not mounted. Quota discarded.",
            "Your kernel does not support CPU shares or the cgroup is not mounted. Shares discarded.",
            "Your kernel does not support cpuset or the cgroup is not mounted. Cpuset discarded.",
            "Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.",
            "Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.",
        ]

    def test_devices_that_cannot_be_throttled(self, group: ControlGroup) -> None:
        with pytest.raises(InvalidSpecError, match="stat /dev/nope: no such file or directory"):
            group.apply(Limits(throttles=(Throttle(Path("/dev/nope"), "read_bps", 1),)))
        with pytest.raises(InvalidSpecError, match="/dev/null is no block device"):
            group.apply(Limits(throttles=(Throttle(Path("/dev/null"), "read_bps", 1),)))


class TestUnified:
    """Version 2 on a tree of plain files: which file gets which text. The kernel's own tree makes the files itself."""

    @pytest.fixture
    def layout(self, tmp_path: Path) -> Layout:
        (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory hugetlb pids\n")
        (tmp_path / "cgroup.subtree_control").touch()
        return Layout.read(f"29 1 0:9 / {tmp_path} rw - cgroup2 cgroup2 rw\n", "0::/user.slice\n")

    @pytest.fixture
    def group(self, layout: Layout) -> ControlGroup:
        group = ControlGroup("layerlab/c1", layout)
        place = group.places[""]
        place.mkdir(parents=True)
        files = "memory.max memory.swap.max memory.low cpu.max cpu.weight cpuset.cpus cpuset.mems pids.max io.weight"
        for name in (*files.split(), "cgroup.freeze"):
            (place / name).touch()
        return group

    def text(self, group: ControlGroup, name: str) -> str:
        return (group.places[""] / name).read_text()

    def test_limits(self, group: ControlGroup) -> None:
        limits = Limits(
            memory=64 * MIB,
            memory_swap=96 * MIB,
            memory_reservation=32 * MIB,
            nano_cpus=1_500_000_000,
            cpu_shares=1024,
            cpuset_cpus="0-1",
            pids=100,
        )
        assert group.create(limits) == []
        assert self.text(group, "memory.max") == str(64 * MIB)
        assert self.text(group, "memory.swap.max") == str(32 * MIB)
        assert self.text(group, "memory.low") == str(32 * MIB)
        assert self.text(group, "cpu.max") == "150000 100000"
        assert self.text(group, "cpu.weight") == "39"  # what systemd and runc make of 1024 shares
        assert self.text(group, "cpuset.cpus") == "0-1"
        assert self.text(group, "pids.max") == "100"

    def test_the_other_limits(self, group: ControlGroup) -> None:
        limits = Limits(
            cpu_quota=25_000, cpuset_mems="0", blkio_weight=1000, memory_swappiness=5, oom_kill_disable=True
        )
        warnings = group.apply(limits)
        assert self.text(group, "cpu.max") == "25000 100000"
        assert self.text(group, "cpuset.mems") == "0"
        assert self.text(group, "io.weight") == "default 10000"
        assert any("memory swappiness" in warning for warning in warnings)
        assert any("OomKillDisable" in warning for warning in warnings)
        group.apply(Limits(cpu_period=50_000, cpu_quota=-1))
        assert self.text(group, "cpu.max") == "max 50000"

    def test_swap_is_as_docker_counts_it(self, group: ControlGroup) -> None:
        group.apply(Limits(memory=64 * MIB))
        assert self.text(group, "memory.swap.max") == str(64 * MIB)
        group.apply(Limits(memory=64 * MIB, memory_swap=-1, pids=-1))
        assert self.text(group, "memory.swap.max") == "max"
        assert self.text(group, "pids.max") == "max"

    @pytest.mark.parametrize(("shares", "weight"), [(2, "1"), (262144, "10000"), (999999, "10000"), (1, "1")])
    def test_the_ends_of_the_weights(self, group: ControlGroup, shares: int, weight: str) -> None:
        group.apply(Limits(cpu_shares=shares))
        assert self.text(group, "cpu.weight") == weight

    def test_parents_pass_the_controllers_on(self, layout: Layout, group: ControlGroup, tmp_path: Path) -> None:
        (tmp_path / "layerlab/cgroup.subtree_control").touch()
        group.create()
        # A plain file keeps the last word alone; the kernel's would add them up.
        assert (tmp_path / "cgroup.subtree_control").read_text() == "+pids"
        assert (tmp_path / "layerlab/cgroup.subtree_control").read_text() == "+pids"

    def test_a_controller_that_is_missing_is_said(self, group: ControlGroup) -> None:
        for name in ("memory.max", "memory.swap.max"):
            (group.places[""] / name).unlink()
        warnings = group.apply(Limits(memory=64 * MIB))
        assert any("does not support memory limit" in warning for warning in warnings)
        assert len(warnings) == 2

    def test_figures(self, group: ControlGroup) -> None:
        texts = {
            "memory.current": "4096\n",
            "memory.max": "max\n",
            "memory.peak": "8192\n",
            "memory.stat": "anon 100\ninactive_file 1024\n",
            "cpu.stat": "usage_usec 2500\nuser_usec 1500\nsystem_usec 1000\nnr_throttled 3\nthrottled_usec 7\n",
            "pids.current": "3\n",
            "pids.max": "100\n",
            "io.stat": "8:0 rbytes=10 wbytes=20 rios=1 wios=2\n8:16 rbytes=1 wbytes=2\n",
            "memory.events": "low 0\noom 1\noom_kill 1\n",
        }
        for name, text in texts.items():
            (group.places[""] / name).write_text(text)
        stats = group.stats()
        assert (stats.memory, stats.memory_limit, stats.memory_inactive, stats.memory_peak) == (4096, 0, 1024, 8192)
        assert (stats.cpu_total, stats.cpu_user, stats.cpu_system) == (2_500_000, 1_500_000, 1_000_000)
        assert (stats.pids, stats.pids_limit, stats.read_bytes, stats.written_bytes) == (3, 100, 11, 22)
        assert group.out_of_memory()

    def test_freezing(self, group: ControlGroup) -> None:
        (group.places[""] / "cgroup.events").write_text("populated 1\nfrozen 1\n")
        group.freeze()
        assert self.text(group, "cgroup.freeze") == "1"
        assert group.frozen()

    def test_what_has_just_ended_is_not_a_machine_without_a_freezer(self, group: ControlGroup) -> None:
        (group.places[""] / "cgroup.freeze").unlink()
        with pytest.raises(UnsupportedError, match="no freezer"):
            group.freeze()
        shutil.rmtree(group.places[""])
        with pytest.raises(NotRunningError, match="is not running"):
            group.freeze()


@pytest.fixture
def start(box: Any, tmp_path: Path, needs_root: None) -> Iterator[Any]:
    containers: list[Container] = []

    def begin(*args: str, **wishes: Any) -> Container:
        place = tmp_path / f"c{len(containers)}"
        place.mkdir()
        name = f"layerlab/lltest-{os.getpid()}-{len(containers)}"
        container = Container.create(place, box.spec(*args, cgroup=name, **wishes))
        containers.append(container)
        container.start()
        return container

    yield begin
    for container in containers:
        container.stop(timeout=0)


def needs(*controllers: str) -> None:
    missing = set(controllers) - Layout.of_machine().available()
    if missing:
        pytest.skip(f"this machine has no control groups for {', '.join(sorted(missing))}")


def test_a_memory_hog_is_killed(start: Any) -> None:
    needs("memory")
    script = "x=0123456789; while :; do x=$x$x; done"
    container = start("sh", "-c", script, limits=Limits(memory=32 * MIB))
    assert container.wait(30) == 137
    assert container.status().out_of_memory
    quiet = start("true", limits=Limits(memory=32 * MIB))
    quiet.wait(10)
    assert not quiet.status().out_of_memory


def test_a_fork_bomb_is_held(start: Any) -> None:
    needs("pids")
    container = start("sh", "-c", "bomb() { bomb | bomb & }; bomb; sleep 100", limits=Limits(pids=20))
    time.sleep(0.3)
    stats = container.stats()
    assert stats.pids <= 20 == stats.pids_limit
    assert len(container.processes()) <= 20
    assert container.stop(timeout=0) == 137


def test_the_smallest_limits_are_enough_to_start(start: Any, box: Any) -> None:
    needs("memory", "pids")
    container = start("sleep", "100", limits=Limits(memory=6 * MIB, pids=1))
    assert container.stats().pids == 1
    # One more is put there, which is no fork; what that one forks is refused.
    result = container.execution(box.spec("sh", "-c", "sleep 1 & wait")).run(capture=True, timeout=20)
    assert b"can't fork" in result.stderr


def test_a_processor_limit_throttles(start: Any) -> None:
    needs("cpu", "cpuacct")
    container = start("sh", "-c", "while :; do :; done", limits=Limits(nano_cpus=100_000_000))
    until(lambda: container.stats().throttled_periods > 1)
    began, before = time.monotonic(), container.stats().cpu_total
    time.sleep(1)
    used = (container.stats().cpu_total - before) / 1e9
    assert used / (time.monotonic() - began) < 0.2


def test_a_paused_container_stands_still(start: Any) -> None:
    needs("freezer")
    container = start("sh", "-c", "while :; do :; done")
    container.pause()
    assert container.status().phase == "paused"
    before = container.stats().cpu_total
    time.sleep(0.2)
    assert container.stats().cpu_total == before
    with pytest.raises(ContainerError, match="is paused"):
        container.execution(container_spec(container))
    container.unpause()
    assert container.status().phase == "running"
    container.pause()
    assert container.stop(timeout=0.5) == 137  # a shell that is process 1 has no handler for TERM


def container_spec(container: Container) -> Any:
    from sim.runtime import ProcessSpec

    return ProcessSpec(args=("true",), rootfs=container.directory)


def test_limits_change_while_it_runs(start: Any) -> None:
    needs("memory", "pids")
    container = start("sleep", "100", limits=Limits(memory=32 * MIB, pids=10))
    for memory, pids in ((128 * MIB, 50), (16 * MIB, 5)):
        container.update(Limits(memory=memory, pids=pids))
        stats = container.stats()
        assert (stats.memory_limit, stats.pids_limit) == (memory, pids)


def test_devices_are_held(start: Any, box: Any) -> None:
    needs("devices")
    place = Path(Layout.of_machine().legacy["devices"], "layerlab", f"lltest-{os.getpid()}-0")
    start("sleep", "100")
    rules = place.joinpath("devices.list").read_text().splitlines()
    assert "c 1:3 rwm" in rules
    assert "a *:* rwm" not in rules
    assert "b *:* m" in rules


def test_a_process_in_the_hosts_pid_namespace_leaves_nothing(start: Any) -> None:
    from sim.runtime import Namespaces

    needs("pids")
    container = start("sh", "-c", "(setsid sleep 4711 &); sleep 0.1", namespaces=Namespaces(pid="host"))
    container.wait(10)
    assert container.processes() == []


def test_what_a_dead_container_had_does_not_hold(start: Any) -> None:
    needs("pids", "memory")
    old = ControlGroup(f"layerlab/lltest-{os.getpid()}-0")
    old.create(Limits(memory=32 * MIB, pids=3))
    container = start("sleep", "100")  # gets the same name
    assert (container.stats().memory_limit, container.stats().pids_limit) == (0, 0)


def test_what_a_crash_left_is_swept_away(start: Any) -> None:
    layout = Layout.of_machine()
    for place in layout.legacy.values():
        (place / "lltest-swept" / "old").mkdir(parents=True)
    group = ControlGroup("lltest-swept/used", layout)
    group.create()
    with subprocess.Popen(["sleep", "100"]) as process:
        for place in group.places.values():
            (place / "cgroup.procs").write_text(str(process.pid))
        assert sweep("lltest-swept") == ["lltest-swept/old"]
        assert group.pids() == [process.pid]
        process.kill()
    group.remove()
    assert not group.exists()


def test_a_limit_out_of_range_leaves_nothing(start: Any) -> None:
    needs("cpuset")
    with pytest.raises(InvalidSpecError, match="Requested CPUs are not available - requested 5000"):
        start("true", limits=Limits(cpuset_cpus="5000"))
