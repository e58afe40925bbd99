"""What containers share with the host and with each other where that is wished: devices, mounts, namespaces."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sim.runtime import Bind, Container, ContainerError, Device, InvalidSpecError, Layout, Namespaces
from tests.patience import until

pytestmark = pytest.mark.usefixtures("needs_root")


@pytest.fixture
def start(box: Any, tmp_path: Path) -> Iterator[Callable[..., Container]]:
    containers: list[Container] = []

    def begin(*args: str, **wishes: Any) -> Container:
        place = tmp_path / f"c{len(containers)}"
        place.mkdir()
        containers.append(Container.create(place, box.spec(*args, **wishes)))
        containers[-1].start()
        return containers[-1]

    yield begin
    for container in containers:
        container.stop(timeout=0)


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host whose mounts others may hear of."""
    place = tmp_path / "shared"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    subprocess.run(["mount", "--make-shared", place], check=True)
    (place / "inner").mkdir()
    yield place
    for each in (place / "inner", place):
        subprocess.run(["umount", each], capture_output=True, check=False)


def group_of_devices() -> None:
    if "devices" not in Layout.of_machine().available():
        pytest.skip("this machine holds devices by no control group of version 1")


class TestDevices:
    def test_a_node_of_its_own(self, box: Any, tmp_path: Path) -> None:
        node = tmp_path / "node"
        os.mknod(node, stat.S_IFCHR | 0o640, os.makedev(1, 3))
        os.chown(node, 7, 8)
        wish = Device(str(node), "/dev/mine")
        text = box.sh("stat -c '%n %a %u:%g %t:%T' /dev/mine; chmod 666 /dev/mine; echo x > /dev/mine", devices=(wish,))
        assert text.split() == ["/dev/mine", "640", "7:8", "1:3"]
        assert node.stat().st_mode & 0o777 == 0o640  # the host's own is as it was

    def test_what_may_be_done_with_it(self, box: Any, tmp_path: Path) -> None:
        group_of_devices()
        node = tmp_path / "node"
        os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(10, 200))  # no device that every container may use
        for permissions, does in (("r", "0 1"), ("w", "1 0"), ("rwm", "0 0")):
            script = (
                "dd if=/dev/tun count=0 2>/dev/null; echo $?; dd of=/dev/tun count=0 </dev/null 2>/dev/null; echo $?"
            )
            found = box.sh(script, devices=(Device(str(node), "/dev/tun", permissions),))
            # Where the kernel has no such device the open fails later, with another error: only the ban counts.
            if Path("/dev/net/tun").exists():
                assert found.split() == does.split(), permissions

    def test_a_rule_lets_use_a_node_that_was_made(self, box: Any) -> None:
        group_of_devices()
        number = os.stat("/dev/fuse").st_rdev if Path("/dev/fuse").exists() else 0
        if not number:
            pytest.skip("needs /dev/fuse, which whoever may use it can open")
        script = (
            f"mknod /tmp/fuse c {os.major(number)} {os.minor(number)}; (: < /tmp/fuse) && echo opened; rm /tmp/fuse"
        )
        assert box.sh(script) == ""
        rule = f"c {os.major(number)}:* rw"
        assert box.sh(script, device_rules=(rule,)) == "opened\n"
        assert box.sh(script, device_rules=(f"a {os.major(number)}:{os.minor(number)} r",)) == "opened\n"

    def test_a_directory_of_devices(self, box: Any, tmp_path: Path) -> None:
        (tmp_path / "bus/usb").mkdir(parents=True)
        for path, minor in (("bus/one", 3), ("bus/usb/two", 5)):
            os.mknod(tmp_path / path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        (tmp_path / "bus/text").write_text("no device\n")
        text = box.sh("cd /dev/bus; find . -type c | sort", devices=(Device(str(tmp_path / "bus"), "/dev/bus"),))
        assert text.split() == ["./one", "./usb/two"]

    def test_outside_of_dev(self, box: Any) -> None:
        assert (
            box.sh("echo x > /srv/sink; ls -l /srv/sink | cut -c1", devices=(Device("/dev/null", "/srv/sink"),))
            == "c\n"
        )
        assert box.sh("ls -l /srv/sink | cut -c1", devices=(Device("/dev/null", "/srv/sink"),)) == "c\n"

    @pytest.mark.parametrize(
        ("wish", "text"),
        [
            (Device("/dev/nope"), 'adding custom device "/dev/nope": no such file or directory'),
            (Device("/etc/passwd"), 'adding custom device "/etc/passwd": not a device node'),
            (Device("/etc"), 'adding custom device "/etc": no devices found'),
        ],
    )
    def test_what_is_no_device(self, box: Any, wish: Device, text: str) -> None:
        with pytest.raises(ContainerError, match=text):
            box.run("true", devices=(wish,))

    def test_words_without_a_meaning(self, box: Any) -> None:
        with pytest.raises(InvalidSpecError, match="bad mode specified: zz"):
            box.spec("true", devices=(Device("/dev/null", permissions="zz"),))
        with pytest.raises(InvalidSpecError, match="invalid device cgroup rule format: 'foo'"):
            box.run("true", device_rules=("foo",))


class TestPropagation:
    def test_by_default_nothing_comes_later(self, start: Any, box: Any, shared: Path) -> None:
        container = start("sleep", "100", mounts=(Bind(shared, "/srv"),))
        subprocess.run(["mount", "-t", "tmpfs", "none", shared / "inner"], check=True)
        (shared / "inner/new").touch()
        assert container.execution(box.spec("ls", "/srv/inner")).run(capture=True).stdout == b""

    @pytest.mark.parametrize("kind", ["rslave", "slave", "rshared"])
    def test_what_the_host_mounts_is_seen(self, start: Any, box: Any, shared: Path, kind: str) -> None:
        container = start("sleep", "100", mounts=(Bind(shared, "/srv", propagation=kind),))
        subprocess.run(["mount", "-t", "tmpfs", "none", shared / "inner"], check=True)
        (shared / "inner/new").touch()
        assert container.execution(box.spec("ls", "/srv/inner")).run(capture=True).stdout == b"new\n"

    @pytest.mark.parametrize(("kind", "seen"), [("rshared", True), ("rslave", False)])
    def test_what_a_container_mounts(self, start: Any, shared: Path, kind: str, seen: bool) -> None:
        script = "mount -t tmpfs none /srv/inner && touch /srv/inner/mine && touch /srv/done && sleep 100"
        start("sh", "-c", script, privileged=True, mounts=(Bind(shared, "/srv", propagation=kind),))
        until((shared / "done").exists)
        assert (shared / "inner/mine").exists() is seen

    def test_without_what_is_mounted_below(self, box: Any, shared: Path) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "none", shared / "inner"], check=True)
        (shared / "inner/deep").touch()
        assert box.sh("ls /srv/inner", mounts=(Bind(shared, "/srv"),)) == "deep\n"
        assert box.sh("ls /srv/inner", mounts=(Bind(shared, "/srv", recursive=False),)) == ""

    def test_what_is_mounted_below_is_read_only_too(self, box: Any, shared: Path) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "none", shared / "inner"], check=True)
        done = box.run("touch", "/srv/inner/x", mounts=(Bind(shared, "/srv", read_only=True, propagation="rslave"),))
        assert b"Read-only file system" in done.stderr

    def test_what_is_mounted_below_stays_writable_where_that_is_asked(self, box: Any, shared: Path) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "none", shared / "inner"], check=True)
        bind = Bind(shared, "/srv", read_only=True, read_only_recursive=False)
        assert box.sh("touch /srv/inner/x; touch /srv/y 2>&1 || true", mounts=(bind,)).endswith("system\n")
        assert (shared / "inner/x").exists()
        assert not (shared / "y").exists()

    def test_what_cannot_propagate_is_refused(self, box: Any, shared: Path) -> None:
        subprocess.run(["mount", "--make-private", shared], check=True)
        for kind, what in (("shared", "a shared"), ("rslave", "a shared or slave")):
            with pytest.raises(
                ContainerError, match=f"path {shared}/inner is mounted on {shared} but it is not {what} m"
            ):
                box.run("true", mounts=(Bind(shared / "inner", "/srv", propagation=kind),))
        with pytest.raises(InvalidSpecError, match="invalid propagation of a mount: sideways"):
            box.spec("true", mounts=(Bind(shared, "/srv", propagation="sideways"),))


class TestNamespaces:
    def test_memory_of_another_container(self, start: Any, box: Any) -> None:
        container = start("sh", "-c", "echo hello > /dev/shm/word; sleep 100")
        pid = container.status().pid
        joined = Namespaces(ipc=f"/proc/{pid}/ns/ipc")
        wait = "while ! [ -e /dev/shm/word ]; do sleep 0.1; done; cat /dev/shm/word; readlink /proc/self/ns/ipc"
        word, namespace = box.sh(wait, namespaces=joined).split()
        assert word == "hello"
        assert namespace == os.readlink(f"/proc/{pid}/ns/ipc")
        assert box.run("ls", "/dev/shm").stdout == b""

    def test_memory_of_the_host(self, box: Any) -> None:
        place = Path(f"/dev/shm/lltest-{os.getpid()}")
        place.touch()
        try:
            found = box.sh("ls /dev/shm; readlink /proc/self/ns/ipc", namespaces=Namespaces(ipc="host")).split()
        finally:
            place.unlink()
        assert place.name in found
        assert found[-1] == os.readlink("/proc/self/ns/ipc")

    def test_processes_of_another_container(self, start: Any, box: Any) -> None:
        container = start("sleep", "4711")
        joined = Namespaces(pid=f"/proc/{container.status().pid}/ns/pid")
        text = box.sh("cat /proc/1/cmdline | tr '\\0' ' '; echo $$", namespaces=joined)
        assert text.startswith("sleep 4711")
        assert container.status().phase == "running"

    def test_processes_of_the_host(self, box: Any) -> None:
        found = box.sh(
            "readlink /proc/self/ns/pid; readlink /proc/self/ns/uts; hostname",
            namespaces=Namespaces(pid="host", uts="host"),
        )
        assert found.split() == [
            os.readlink("/proc/self/ns/pid"),
            os.readlink("/proc/self/ns/uts"),
            os.uname().nodename,
        ]

    def test_control_groups_of_its_own(self, box: Any) -> None:
        private = box.sh("cat /proc/self/cgroup; readlink /proc/self/ns/cgroup", namespaces=Namespaces(cgroup="new"))
        assert "lltest" not in private
        assert private.split()[-1] != os.readlink("/proc/self/ns/cgroup")
        shared = box.sh("readlink /proc/self/ns/cgroup", namespaces=Namespaces(cgroup="host"))
        assert shared.strip() == os.readlink("/proc/self/ns/cgroup")
