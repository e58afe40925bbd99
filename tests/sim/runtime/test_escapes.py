"""Known ways out of containers, each tried for real: none leads anywhere."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sim.runtime import Bind, Container, ContainerError, InvalidSpecError, Namespaces, Process
from sim.runtime.zygote import _copy_interpreter, _sealed_interpreter, zygote


def test_the_interpreter_cannot_be_overwritten(
    box: Any, needs_root: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVE-2019-5736: a container reaches the program that started it through /proc/PID/exe, and writes to it."""
    box.run("true")
    # While it runs a write fails anyhow (ETXTBSY); the attacker keeps the file and waits. But this one is read-only.
    program = os.open(f"/proc/{zygote().pid}/exe", os.O_RDONLY)
    assert os.fstatvfs(program).f_flag & os.ST_RDONLY
    os.close(program)
    copy = shutil.copy2(box.rootfs / "bin/busybox", tmp_path / "program")
    monkeypatch.setattr(sys, "executable", os.fspath(copy))
    for seal in (_sealed_interpreter, lambda: _copy_interpreter(os.fspath(copy))):
        program = seal()
        with pytest.raises(OSError, match=r"Read-only file system|Operation not permitted"):
            os.write(os.open(f"/proc/self/fd/{program}", os.O_WRONLY), b"overwritten")
        os.close(program)


def test_no_descriptor_of_the_host_is_open(box: Any, tmp_path: Path) -> None:
    """CVE-2024-21626: a descriptor of a host directory that was left open is a way out."""
    leak = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(leak, True)
    try:
        result = box.run("sh", "-c", "for n in /proc/self/fd/*; do echo ${n##*/}=$(readlink $n); done; ls /proc/1/fd")
    finally:
        os.close(leak)
    links = [line.partition("=") for line in result.stdout.decode().split() if "=" in line]
    assert {name for name, _, text in links if text and not text.startswith("/proc")} <= {"0", "1", "2", "10"}
    assert not [text for _, _, text in links if str(tmp_path.parent) in text]


@pytest.mark.parametrize("number", range(3, 16))
def test_a_working_directory_by_descriptor_leads_nowhere(box: Any, number: int) -> None:
    """CVE-2024-21626: WORKDIR /proc/self/fd/N."""
    try:
        text = box.sh("pwd -P; ls /", cwd=f"/proc/self/fd/{number}")
    except ContainerError:
        return
    assert "rootfs" not in text
    assert not Path("/", text.splitlines()[0].lstrip("/")).is_relative_to(box.rootfs)


def test_exec_leaves_no_descriptor_either(box: Any, tmp_path: Path) -> None:
    container = Container.create(tmp_path, box.spec("sleep", "100"))
    container.start()
    try:
        result = container.execution(box.spec("ls", "-l", "/proc/self/fd")).run(capture=True)
        numbers = [line.split()[-3] for line in result.stdout.decode().splitlines() if "->" in line]
        assert set(numbers) <= {"0", "1", "2", "3"}  # 3 is the directory that ls reads
    finally:
        container.stop(timeout=0)


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
def test_the_kernels_filesystems_follow_no_link(box: Any, name: str) -> None:
    """CVE-2019-19921: an image whose /proc is a link puts the kernel's files where it wants them."""
    (box.rootfs / name).rmdir()
    (box.rootfs / "elsewhere").mkdir()
    (box.rootfs / name).symlink_to("elsewhere")
    with pytest.raises(InvalidSpecError, match=f"cannot mount on /{name}: the image leads it through a symlink"):
        box.run("true")


def test_a_target_that_is_a_link_stays_inside(box: Any, tmp_path: Path) -> None:
    """CVE-2021-30465: a link in the image where something is to be mounted leads to a place on the host."""
    secret = tmp_path / "secret"
    secret.mkdir()
    source = tmp_path / "source"
    source.mkdir()
    (source / "mark").touch()
    (box.rootfs / "link").symlink_to(secret)
    (box.rootfs / "up").symlink_to("../../../../../../../../../../../../" + str(secret)[1:])
    for target in ("/link", "/up"):
        with pytest.raises(ContainerError):
            box.run("true", mounts=(Bind(source, target),))
    assert not list(secret.iterdir())
    (box.rootfs / "inside").symlink_to("/srv")
    assert box.sh("ls /srv", mounts=(Bind(source, "/inside"),)) == "mark\n"


def test_a_target_through_a_magic_link_is_refused(box: Any, tmp_path: Path) -> None:
    (box.rootfs / "magic").symlink_to("/proc/self/root/tmp")
    with pytest.raises(InvalidSpecError, match="leads it through a symlink"):
        box.run("true", mounts=(Bind(tmp_path, "/magic"),))


def test_the_null_device_cannot_be_swapped(box: Any, tmp_path: Path) -> None:
    """CVE-2025-31133: what masks is not the null device but a link that the container made."""
    false = tmp_path / "dev"
    false.mkdir()
    (false / "null").symlink_to("/proc/sys/kernel/core_pattern")
    for name in ("pts", "shm", "mqueue"):
        (false / name).mkdir()
    with pytest.raises(ContainerError, match=r"not the null device|symlink"):
        box.run("true", mounts=(Bind(false, "/dev"),))


def test_what_is_written_in_proc_is_proc(box: Any, tmp_path: Path) -> None:
    """CVE-2025-52881: a write meant for procfs goes to a file that was mounted over it."""
    (tmp_path / "fake/net/ipv4").mkdir(parents=True)
    (tmp_path / "fake/net/ipv4/ip_forward").write_text("0")
    with pytest.raises(ContainerError, match=r"cannot be mounted because it is inside /proc"):
        box.run("true", mounts=(Bind(tmp_path / "fake", "/proc/sys"),), sysctls=(("net.ipv4.ip_forward", "1"),))
    assert (tmp_path / "fake/net/ipv4/ip_forward").read_text() == "0"


@pytest.mark.parametrize("target", ["/proc", "/proc/self", "/proc/sys/kernel", "/link"])
def test_nothing_is_mounted_over_proc(box: Any, tmp_path: Path, target: str) -> None:
    (box.rootfs / "link").symlink_to("proc/sys")
    with pytest.raises(InvalidSpecError, match="cannot be mounted because it is inside /proc"):
        box.run("true", mounts=(Bind(tmp_path, target),))


def test_but_what_shows_limits_is(box: Any, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 5 kB\n")
    assert box.sh("cat /proc/meminfo", mounts=(Bind(tmp_path / "meminfo", "/proc/meminfo"),)) == "MemTotal: 5 kB\n"


@pytest.mark.parametrize(
    ("name", "wishes"),
    [
        ("vm.overcommit_memory", {}),
        ("kernel.core_pattern", {}),
        ("kernel/core_pattern", {}),
        ("fs.file-max", {"privileged": True}),
        ("net.ipv4.ip_forward", {"namespaces": Namespaces(network="host")}),
        ("kernel.msgmax", {"namespaces": Namespaces(ipc="host")}),
    ],
)
def test_settings_of_the_whole_machine_are_refused(box: Any, name: str, wishes: dict[str, Any]) -> None:
    with pytest.raises(InvalidSpecError, match=r"separate kernel namespace|in the host's namespace"):
        box.spec("true", sysctls=((name, "1"),), **wishes)


def test_the_hosts_name_is_safe(box: Any) -> None:
    before = socket.gethostname()
    with pytest.raises(InvalidSpecError, match="conflicting options: hostname and the UTS mode"):
        box.spec("true", hostname="box", namespaces=Namespaces(uts="host"))
    assert box.sh("hostname; cat /proc/sys/kernel/domainname", hostname="box", domainname="lan").split() == [
        "box",
        "lan",
    ]
    assert socket.gethostname() == before


def test_the_callers_keys_are_left_behind(box: Any) -> None:
    """Without a filter a container could read the keys of the session that the runtime was started in."""

    def keyring() -> str:
        look = "sed -n 's/ .*//p' /proc/keys | sort | tr '\\n' ' '"
        found: str = box.sh(look, seccomp="unconfined", masked_paths=())
        return found

    if not Path("/proc/keys").exists():
        pytest.skip("this kernel keeps no keys")
    assert keyring() != keyring()


def test_namespaces_are_shared_only_when_asked(box: Any, tmp_path: Path) -> None:
    container = Container.create(tmp_path, box.spec("sleep", "100", hostname="first"))
    container.start()
    try:
        pid = container.status().pid
        shared = {kind: f"/proc/{pid}/ns/{name}" for kind, name in (("pid", "pid"), ("ipc", "ipc"), ("uts", "uts"))}
        look = "hostname; readlink /proc/self/ns/ipc; ps | grep -c 'sleep 100'"
        if os.geteuid() != 0:
            shared["user"] = f"/proc/{pid}/ns/user"
        text = box.sh(look, namespaces=Namespaces(**shared)).split()
        assert text[:2] == ["first", os.readlink(f"/proc/{pid}/ns/ipc")]
        assert int(text[2]) >= 2
        assert box.sh(look).split()[1] != text[1]
    finally:
        container.stop(timeout=0)


def test_no_library_of_the_image_is_loaded_by_the_runtime(box: Any) -> None:
    """CVE-2019-14271: the runtime, inside already, loads code from the image."""
    for place in ("usr/lib/python3.11", "lib/python3", "encodings"):
        (box.rootfs / place).mkdir(parents=True)
        for name in ("pwd.py", "idna.py", "linecache.py", "traceback.py", "stringprep.py"):
            (box.rootfs / place / name).write_text("open('/loaded', 'w')")
    box.run("true", user="root", hostname="box")
    with pytest.raises(ContainerError):
        box.run("/etc/passwd")
    assert not (box.rootfs / "loaded").exists()


def test_a_joining_process_cannot_be_looked_into(box: Any, tmp_path: Path) -> None:
    """CVE-2016-9962: while it joins, its descriptors and its program are the host's."""
    script = """
        while :; do
            for p in /proc/[0-9]*; do
                case $p in /proc/1|/proc/self|/proc/$$) continue;; esac
                e=$(readlink $p/exe) && case $e in /bin/busybox|'') ;; *) echo "$e" >> /found;; esac
            done
        done
    """
    container = Container.create(tmp_path, box.spec("sh", "-c", script))
    container.start()
    try:
        for _ in range(25):
            container.execution(box.spec("true")).run(capture=True)
    finally:
        container.stop(timeout=0)
    assert not (box.rootfs / "found").exists(), (box.rootfs / "found").read_text()


def test_host_processes_are_out_of_reach(box: Any) -> None:
    with Process(box.spec("sleep", "100")) as other:
        other.start()
        assert box.run("kill", "-9", str(other.pid)).code != 0
        assert box.run("kill", "-9", str(os.getpid())).code != 0
        other.signal(signal.SIGKILL)
        other.wait(5)


def test_a_fork_bomb_of_orphans_ends_with_the_container(box: Any) -> None:
    command = f"sleep {4_000_000 + os.getpid()}"  # which nobody else runs
    script = f"for n in 1 2 3 4 5; do (setsid {command} &) ; done; sleep 0.1; exit 0"
    assert box.run("sh", "-c", script).code == 0
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert command not in running


def test_the_host_can_still_write_to_its_root(box: Any) -> None:
    """Nothing that a container mounts, and no read-only mark, gets out of its namespace."""
    spec = replace(box.spec("true"), read_only=True)
    Process(spec).run(capture=True)
    (box.rootfs / "still").write_text("writable")
    assert str(box.rootfs) not in Path("/proc/self/mountinfo").read_text()
