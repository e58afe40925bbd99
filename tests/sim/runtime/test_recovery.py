"""What one call finds and takes away after a crash, and what it leaves alone."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from fusefs import Mount, Stack, mount, unmount
from fusefs.mount import find_mount, find_mounts
from sim.runtime import Bridge, Container, ContainerError, Interface, Port, Recovered, fork_mount, netlink, recover
from sim.runtime.network import create_bridge, delete_bridge
from sim.runtime.stamp import process_start
from tests.patience import until

pytestmark = pytest.mark.usefixtures("fuse", "needs_root")


@dataclass(frozen=True)
class Whole:
    """A container with its mount."""

    directory: Path
    mounted: Mount
    container: Container

    @property
    def groups(self) -> list[Path]:
        group = self.container.group()
        return list(group.places.values()) if group else []


@pytest.fixture
def begin(box: Any, tmp_path: Path) -> Iterator[Callable[..., Whole]]:
    made: list[Whole] = []

    def start(**wishes: Any) -> Whole:
        base = tmp_path / "roots" / str(len(made))
        for name in ("upper", "work", "merged", "state"):
            (base / name).mkdir(parents=True)
        stack = Stack((box.rootfs,), base / "upper", base / "work")
        mounted = mount(stack, base / "merged", driver="devfuse", start=fork_mount)
        name = f"lltest/recovery-{os.getpid()}-{len(made)}"
        spec = box.spec("sleep", "1000", rootfs=mounted.mountpoint, cgroup=name, **wishes)
        made.append(Whole(base / "state", mounted, Container.create(base / "state", spec)))
        made[-1].container.start()
        return made[-1]

    yield start
    for each in made:
        if each.container.shim():
            each.container.stop(timeout=0)
        each.container.clean()
        if find_mount(each.mounted.mountpoint):
            unmount(each.mounted.mountpoint, lazy=True)


def killed(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    ended(pid)


def ended(pid: int) -> None:
    until(lambda: not process_start(pid))


def asleep(pid: int) -> None:
    """Wait until the container's process needs nothing of its program's file any more."""
    until(lambda: "nanosleep" in Path(f"/proc/{pid}/wchan").read_text())


def recovered(base: Path, *containers: Whole) -> Recovered:
    """Recover, and leave out of the answer what others at work on this machine may have left."""
    wholes = {each.directory: each.mounted.mountpoint for each in containers}
    return replace(recover(wholes, [base / "roots"], prefix="lltest"), rules=(), interfaces=())


def test_nothing_is_left_where_everybody_was_killed(begin: Any, tmp_path: Path) -> None:
    one, other = begin(), begin()
    for each in (one, other):
        pid = each.container.status().pid
        killed(each.container.shim())
        killed(each.mounted.pid)
        ended(pid)
    assert len(find_mounts(tmp_path / "roots")) == 2
    found = recovered(tmp_path, one, other)
    assert set(found.containers) == {one.directory, other.directory}
    assert set(found.mounts) == {one.mounted.mountpoint, other.mounted.mountpoint}
    assert find_mounts(tmp_path / "roots") == []
    assert not any(place.exists() for each in (one, other) for place in each.groups)
    assert one.container.status().code == 137
    assert recovered(tmp_path, one, other) == Recovered()


def test_what_runs_is_left_alone(begin: Any, tmp_path: Path) -> None:
    runs, dead = begin(), begin()
    killed(dead.container.shim())
    found = recovered(tmp_path, runs, dead)
    assert found.containers == (dead.directory,)
    assert found.mounts == (dead.mounted.mountpoint,)
    assert runs.container.status().phase == "running"
    assert (runs.mounted.mountpoint / "etc/passwd").exists()
    assert all(place.exists() for place in runs.groups)


def test_a_container_that_nobody_knows_any_more(begin: Any, tmp_path: Path) -> None:
    """As of an engine that was killed before it had written down what it made."""
    unknown = begin()
    unknown.container.stop(timeout=0)
    assert recovered(tmp_path).mounts == (unknown.mounted.mountpoint,)


def test_a_mount_that_died_under_a_container_is_told(begin: Any, tmp_path: Path) -> None:
    one = begin()
    asleep(one.container.status().pid)
    killed(one.mounted.pid)
    found = recovered(tmp_path, one)
    assert found == Recovered(broken=(one.mounted.mountpoint,))
    assert one.container.status().phase == "running"
    one.container.stop(timeout=0)
    assert recovered(tmp_path, one).mounts == (one.mounted.mountpoint,)


def test_a_mount_in_use_goes_as_well(begin: Any, tmp_path: Path) -> None:
    one = begin()
    one.container.stop(timeout=0)
    with open(one.mounted.mountpoint / "etc/passwd") as file:
        assert recovered(tmp_path, one).mounts == (one.mounted.mountpoint,)
        assert file.read()


def test_after_another_start_of_the_machine_numbers_mean_nothing(begin: Any, box: Any) -> None:
    one = begin()
    pid = one.container.status().pid
    file = one.directory / "state.json"
    state = json.loads(file.read_text())
    file.write_text(json.dumps(state | {"boot": "another", "cgroups": {}, "cgroup": ""}))
    assert one.container.status().code == 137
    with pytest.raises(ContainerError, match="the container is not running"):
        one.container.execution(box.spec("true"))
    assert Path(f"/proc/{pid}").exists()  # it is somebody else's now
    killed(state["shim"])
    file.write_text(json.dumps(state))


def test_control_groups_rules_and_interfaces(begin: Any, tmp_path: Path) -> None:
    if not shutil.which("nft"):
        pytest.skip("needs nft (Debian: nftables)")
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    bridge = Bridge("lltest7", "10.215.7.0/24", "10.215.7.1")
    create_bridge(bridge)
    try:
        interface = Interface("lltest7", "10.215.7.2/24", "10.215.7.1")
        one = begin(interfaces=(interface,), ports=(Port(80),))
        name = f"ports_{one.container.shim()}"
        pid = one.container.status().pid
        namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)  # which keeps the interfaces
        killed(one.container.shim())
        state = json.loads((one.directory / "state.json").read_text())
        groups = one.groups
        one.container.clean()
        ended(pid)
        subprocess.run(["nft", "add", "table", "ip", f"layerlab_{name}"], check=True)  # as if it had not been cleaned
        groups[0].mkdir(parents=True)
        os.utime(groups[0], (0, 0))  # one that was just made may be another engine's, and is left
        young = groups[0].with_name(f"{groups[0].name}-young")
        young.mkdir()
        (one.directory / "state.json").write_text(json.dumps(state | {"code": 137, "cgroups": {}, "published": ""}))
        netlink.delete_link("lltest7")
        found = recover({one.directory: one.mounted.mountpoint}, [tmp_path / "roots"], prefix="lltest")
        assert f"ve{pid}x0" in found.interfaces
        assert {"lltest7", name.removeprefix("ports_")} <= set(found.rules)
        assert found.groups == (f"lltest/{groups[0].name}",)
        assert not groups[0].exists()
        young.rmdir()
        with contextlib.suppress(OSError):
            young.parent.rmdir()
        os.close(namespace)
    finally:
        delete_bridge(bridge)
        Path("/proc/sys/net/ipv4/ip_forward").write_text(forwarding)
