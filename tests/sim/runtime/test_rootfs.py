"""What a container sees: mounts, devices, masked paths, binds, volumes in memory, read-only roots."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from sim.runtime import Bind, ContainerError, InvalidSpecError, Overlay, Tmpfs


def mounts(text: str) -> dict[str, tuple[str, set[str]]]:
    """Return kind and options by mount point; the last one counts, since it is on top."""
    found = {}
    for line in text.splitlines():
        _, place, kind, options = line.split()[:4]
        found[place] = kind, set(options.split(","))
    return found


def test_the_kernels_filesystems(box: Any) -> None:
    found = mounts(box.sh("cat /proc/mounts"))
    quiet = {"nosuid", "nodev", "noexec"}
    assert found["/proc"][0] == "proc"
    assert found["/proc"][1] >= quiet | {"rw"}
    assert found["/sys"][0] == "sysfs"
    assert found["/sys"][1] >= quiet | {"ro"}
    assert found["/dev"] >= ("tmpfs", set())
    assert {"nosuid", "size=65536k", "mode=755"} <= found["/dev"][1]
    assert found["/dev/pts"][0] == "devpts"
    assert {"ptmxmode=666", "mode=620"} <= found["/dev/pts"][1]
    assert found["/dev/shm"][1] >= quiet | {"rw"}
    assert found["/dev/mqueue"][0] == "mqueue"
    for path in ("/proc/sys", "/proc/bus", "/proc/irq", "/proc/fs"):
        assert "ro" in found[path][1]


def test_nothing_of_the_host_is_mounted(box: Any) -> None:
    text = box.sh("cut -d' ' -f5 /proc/self/mountinfo")
    known = ("/proc", "/sys", "/dev")
    assert all(line == "/" or line.startswith(known) for line in text.split())


def test_masked_paths_say_nothing(box: Any) -> None:
    text = box.sh("cat /proc/keys /proc/timer_list /proc/interrupts 2>/dev/null | wc -c; ls /sys/firmware | wc -l")
    assert text.split() == ["0", "0"]
    assert box.run("sh", "-c", "echo b > /proc/sysrq-trigger").code != 0
    assert box.run("sh", "-c", "echo 1 > /proc/sys/vm/drop_caches").code != 0


def test_the_devices_work(box: Any) -> None:
    script = """
        head -c 5 /dev/zero | wc -c; head -c 5 /dev/urandom | wc -c; echo x > /dev/null; cat /dev/null | wc -c
        echo x > /dev/full 2>/dev/null || echo full; echo shared > /dev/shm/x; cat /dev/shm/x
        echo through | cat /dev/stdin; ls -ld /dev/shm | cut -c1-10
    """
    assert box.sh(script).split() == ["5", "5", "0", "full", "shared", "through", "drwxrwxrwt"]


def test_shared_memory_is_as_large_as_asked(box: Any) -> None:
    assert "1024" in box.sh("df -k /dev/shm", shm_size=1 << 20)


@pytest.mark.usefixtures("needs_root")
def test_the_hosts_disks_cannot_be_reached_by_a_node_of_ones_own(box: Any) -> None:
    own = os.stat("/").st_dev
    script = f"mknod /tmp/disk b {os.major(own)} {os.minor(own)} && head -c 1 /tmp/disk"
    result = box.run("sh", "-c", script)
    assert result.code != 0
    assert b"not permitted" in result.stderr


def test_binds(box: Any, tmp_path: Path) -> None:
    (tmp_path / "data/sub").mkdir(parents=True)
    (tmp_path / "data/file").write_text("here")
    (tmp_path / "single").write_text("one")
    binds = (Bind(tmp_path / "data", "/mnt/deep/data"), Bind(tmp_path / "single", "/etc/single", read_only=True))
    script = "cat /mnt/deep/data/file /etc/single; echo new > /mnt/deep/data/new; echo x > /etc/single || echo ro"
    text = box.sh(script, mounts=binds)
    assert text == "hereonero\n"
    assert (tmp_path / "data/new").read_text() == "new\n"
    assert (tmp_path / "single").read_text() == "one"


@pytest.mark.usefixtures("needs_root")
def test_a_read_only_bind_is_so_all_the_way_down(box: Any, tmp_path: Path) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    below = tmp_path / "data/below"
    below.mkdir(parents=True)
    assert libc.mount(b"none", os.fsencode(below), b"tmpfs", 0, None) == 0
    try:
        binds = (Bind(tmp_path / "data", "/data", read_only=True),)
        assert box.run("touch", "/data/x", mounts=binds).code == 1
        assert box.run("touch", "/data/below/x", mounts=binds).code == 1
        assert box.run("touch", "/data/below/x", mounts=(Bind(tmp_path / "data", "/data"),)).code == 0
    finally:
        libc.umount2(os.fsencode(below), 2)


def test_a_bind_below_a_bind(box: Any, tmp_path: Path) -> None:
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    binds = (Bind(tmp_path / "inner", "/v/in"), Bind(tmp_path / "outer", "/v"))
    assert box.sh("ls /v /v/in", mounts=binds).split() == ["/v:", "in", "outer", "/v/in:", "inner"]


def test_memory_filesystems(box: Any) -> None:
    found = mounts(box.sh("cat /proc/mounts", mounts=(Tmpfs("/run/t", size=1 << 20, mode=0o700),)))
    assert found["/run/t"][1] >= {"rw", "nosuid", "nodev", "noexec", "size=1024k", "mode=700"}
    assert (
        box.run("dd", "if=/dev/zero", "of=/run/t/x", "bs=1M", "count=2", mounts=(Tmpfs("/run/t", size=1 << 20),)).code
        == 1
    )


def test_a_read_only_root(box: Any) -> None:
    wishes: dict[str, Any] = {"read_only": True, "mounts": (Tmpfs("/tmp"),)}
    assert box.run("touch", "/x", **wishes).code == 1
    assert box.run("sh", "-c", "touch /tmp/x /dev/shm/x && echo > /dev/null", **wishes).code == 0


def test_what_is_written_stays_in_the_rootfs(box: Any) -> None:
    box.sh("echo text > /etc/new; mkdir /dir")
    assert (box.rootfs / "etc/new").read_text() == "text\n"


def test_layers_are_mounted_inside(box: Any, tmp_path: Path) -> None:
    (tmp_path / "up").mkdir()
    (tmp_path / "work").mkdir()
    top = tmp_path / "a layer: with, signs"
    (top / "etc").mkdir(parents=True)
    (top / "etc/top").write_text("from the top")
    stack = Overlay((top, box.rootfs), tmp_path / "up", tmp_path / "work")
    try:
        assert box.sh("cat /etc/top; echo new > /etc/new; rm /etc/passwd", rootfs=stack) == "from the top"
        assert (tmp_path / "up/etc/new").read_text() == "new\n"
        assert (box.rootfs / "etc/passwd").exists()
        assert box.run("touch", "/x", rootfs=Overlay((top, box.rootfs))).code == 1
    finally:
        shutil.rmtree(tmp_path / "work", ignore_errors=True)


@pytest.mark.parametrize(
    ("target", "text"),
    [("relative", "must be absolute"), ("/", "destination can't be '/'"), ("/a/../b/", "Duplicate mount point: /b")],
)
def test_targets_that_cannot_be(box: Any, tmp_path: Path, target: str, text: str) -> None:
    with pytest.raises(InvalidSpecError, match=text):
        box.spec("true", mounts=(Bind(tmp_path, target), Bind(tmp_path, "/b")))


def test_sources_that_are_not_there(box: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpecError, match="bind source path does not exist"):
        box.run("true", mounts=(Bind(tmp_path / "nothing", "/x"),))
    with pytest.raises(InvalidSpecError, match="must be absolute"):
        box.run("true", mounts=(Bind(Path("relative"), "/x"),))
    with pytest.raises(InvalidSpecError, match="it is a file in the container"):
        box.run("true", mounts=(Bind(tmp_path, "/etc/passwd"),))
    with pytest.raises(ContainerError, match=r"cannot use .* as root filesystem"):
        box.run("true", rootfs=tmp_path / "nothing")


@pytest.mark.usefixtures("needs_root")
def test_sysctls_of_its_own(box: Any) -> None:
    before = Path("/proc/sys/kernel/msgmax").read_text()
    wishes = (("net.ipv4.ip_forward", "1"), ("kernel.msgmax", "4242"))
    text = box.sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", sysctls=wishes)
    assert text.split() == ["1", "4242"]
    assert Path("/proc/sys/kernel/msgmax").read_text() == before
    with pytest.raises(ContainerError, match=r"cannot set sysctl net\.no\.such"):
        box.run("true", sysctls=(("net.no.such", "1"),))
