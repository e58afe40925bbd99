"""The same calls as an ordinary user: no setuid helper, a user namespace of one's own."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sim.runtime import Mapping
from sim.runtime.rootless import subordinate_range
from tests.ordinary import closed_above

ROOT = Path(__file__).resolve().parents[3]
USER = 54321
BECOME = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
HEAD = """
    import os, socket, sys, time
    sys.path.insert(0, ROOT)
    from dataclasses import replace
    from pathlib import Path
    from sim.runtime import *
    rootfs, place = Path(ROOTFS), Path(PLACE)
    def run(*args, **wishes):
        return Process(ProcessSpec(args=args, **{"rootfs": rootfs, **wishes})).run(capture=True, timeout=20)
    def sh(script, **wishes):
        result = run("sh", "-c", script, **wishes)
        assert result.code == 0, (result.code, result.stderr)
        return result.stdout.decode()
"""


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A directory on a real filesystem that an ordinary user can reach; pytest's own is root's alone."""
    with tempfile.TemporaryDirectory(prefix="user-", dir="/var/tmp") as place:
        os.chmod(place, 0o755)
        yield Path(place)


def interpreter() -> str:
    """An interpreter that others may execute: this one may lie in a directory that is root's alone."""
    for path in (sys.executable, "/usr/bin/python3"):
        usable = "import os, sys; sys.exit(sys.version_info < (3, 11) or not os.access(sys.executable, os.R_OK))"
        check = [*BECOME, path, "-c", usable]
        if subprocess.run(check, capture_output=True).returncode == 0:
            return path
    pytest.skip("needs a Python of at least 3.11 that an ordinary user may execute")


@pytest.fixture
def ordinary(rootfs: Path, tmp_path: Path) -> Any:
    """Return a function that runs code as an ordinary user and returns what it printed."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("needs root and setpriv to become an ordinary user")
    if Path("/proc/sys/user/max_user_namespaces").read_text().strip() == "0":
        pytest.skip("this machine allows no user namespaces")
    python = interpreter()
    place = tmp_path / "place"
    place.mkdir()
    subprocess.run(["chown", "-R", "-h", f"{USER}:{USER}", rootfs, place], check=True)

    def run(code: str, *before: str) -> str:
        names = f"ROOT, ROOTFS, PLACE = {str(ROOT)!r}, {str(rootfs)!r}, {str(place)!r}\n"
        script = names + textwrap.dedent(HEAD) + textwrap.dedent(code)
        become, interpreter = [*BECOME], python
        if closed_above(ROOT) is not None:  # a checkout in a directory of root's alone
            reach = map(str, (ROOT, sys.prefix, sys.base_prefix))
            become = [sys.executable, str(ROOT / "tests/ordinary.py"), str(USER), str(USER), *reach, "--"]
            interpreter = sys.executable
        command = [*before, *become, interpreter, "-I", "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_root_inside_is_the_user_outside(ordinary: Any, rootfs: Path) -> None:
    text = ordinary("""
        look = "id -u; cat /proc/self/uid_map; grep -E 'CapEff|Seccomp:' /proc/self/status"
        print(sh(look + "; touch /made; hostname; echo $$", hostname="box"))
    """)
    words = text.split()
    assert words[:4] == ["0", "0", str(USER), "1"]
    assert words[4:8] == ["CapEff:", "00000000a80425fb", "Seccomp:", "2"]
    assert words[8:] == ["box", "1"]
    assert (rootfs / "made").stat().st_uid == USER


def test_a_number_that_is_not_mapped_is_refused(ordinary: Any) -> None:
    text = ordinary("""
        try:
            run("true", user="www")
        except ContainerError as error:
            print(error)
    """)
    assert "user 33:33 has no number in this container's user namespace" in text


def test_layers_are_mounted_inside(ordinary: Any, tmp_path: Path) -> None:
    text = ordinary("""
        for name in ("up", "work"):
            (place / name).mkdir()
        stack = Overlay((rootfs,), place / "up", place / "work")
        print(sh("rm /etc/passwd; echo new > /etc/new; ls /etc", rootfs=stack))
        print(sorted(os.listdir(place / "up/etc")), (rootfs / "etc/passwd").exists())
    """)
    assert text.split() == ["group", "new", "['new',", "'passwd']", "True"]
    assert not (tmp_path / "place/up/etc/passwd").is_file()


def test_what_only_root_can_is_refused_or_said(ordinary: Any) -> None:
    text = ordinary("""
        try:
            run("true", interfaces=(Interface("br0", "10.0.0.2/24"),))
        except InvalidSpecError as error:
            print(error)
        process = Process(ProcessSpec(args=("true",), rootfs=rootfs, limits=Limits(pids=5)))
        process.start(); process.wait(10)
        print(process.warnings)
    """)
    assert "an ordinary user cannot plug a container into a bridge" in text
    assert "limits are discarded: the caller may not make control groups" in text


def test_the_hosts_network_and_a_published_port(ordinary: Any) -> None:
    text = ordinary("""
        print(sh("readlink /proc/self/ns/net; ls /sys/class/net", namespaces=Namespaces(network="host")))
        (place / "c").mkdir()
        spec = ProcessSpec(args=("nc", "-ll", "-p", "80", "-e", "echo", "hello"), rootfs=rootfs,
                           ports=(Port(80, 0, "127.0.0.1"),))
        container = Container.create(place / "c", spec); container.start()
        for _ in range(100):
            try:
                with socket.create_connection(("127.0.0.1", container.status().ports[0].host_port)) as connection:
                    data = connection.recv(100)
            except ConnectionError:
                data = b""
            if data:
                break
            time.sleep(0.05)
        print(data, container.stop(timeout=0))
    """)
    assert os.readlink("/proc/self/ns/net") in text
    assert text.split()[-2:] == ["b'hello\\n'", "137"]


def test_a_container_with_a_shim_and_exec(ordinary: Any) -> None:
    text = ordinary("""
        (place / "c").mkdir()
        spec = ProcessSpec(args=("sleep", "100"), rootfs=rootfs, hostname="box")
        container = Container.create(place / "c", spec); container.start()
        result = container.execution(replace(spec, args=("sh", "-c", "hostname; id -u; echo $$"))).run(capture=True)
        terminal = container.execution(replace(spec, args=("tty",), terminal=True)).run(capture=True)
        print(result.stdout, terminal.stdout, len(container.processes()), container.stop(timeout=0))
    """)
    assert text.startswith("b'box\\n0\\n")
    assert text.split()[-3:] == ["b'/dev/pts/0\\r\\n'", "1", "137"]


def test_bind_mounts_read_only(ordinary: Any) -> None:
    text = ordinary("""
        (place / "data").mkdir()
        (place / "data/x").write_text("text")
        mounts = (Bind(place / "data", "/d", read_only=True), Tmpfs("/t"))
        result = run("sh", "-c", "cat /d/x; touch /d/y", mounts=mounts)
        print(result.stdout, b"Read-only" in result.stderr)
    """)
    assert text.split() == ["b'text'", "True"]


def test_a_whole_range_with_newuidmap(ordinary: Any, tmp_path: Path, rootfs: Path) -> None:
    if not shutil.which("newuidmap"):
        pytest.skip("needs newuidmap (Debian: uidmap)")
    (tmp_path / "passwd").write_text(f"root:x:0:0::/root:/bin/sh\nordinary:x:{USER}:{USER}::/:/bin/sh\n")
    (tmp_path / "subid").write_text("ordinary:700000:65536\n")
    places = (("passwd", "passwd"), ("subid", "subuid"), ("subid", "subgid"))
    binds = " && ".join(f"mount --bind {tmp_path / name} /etc/{target}" for name, target in places)
    Path("/etc/subuid").touch()
    Path("/etc/subgid").touch()
    before = ("unshare", "-m", "sh", "-c", f'{binds} && exec "$@"', "sh")
    text = ordinary('print(sh("id -u; id -g; touch /tmp/made", user="www"))', *before)
    assert text.split() == ["33", "33"]
    assert (rootfs / "tmp/made").stat().st_uid == 700032


def test_ranges(tmp_path: Path) -> None:
    file = tmp_path / "subuid"
    file.write_text("# comment\nada:100000:10\n1000:200000:65536\nada:broken:5\nbob:5:5\n")
    assert subordinate_range(file, "ada", 1000) == (200000, 65536)
    assert subordinate_range(file, "bob", 1) == (5, 5)
    assert subordinate_range(file, "eve", 2) is None
    assert subordinate_range(tmp_path / "none", "ada", 1) is None


@pytest.mark.usefixtures("needs_root")
def test_root_can_have_one_too(box: Any) -> None:
    """`--userns`: root inside is nobody of the host's."""
    from sim.runtime import Namespaces

    shared = {"uid_map": (Mapping(0, 800000, 65536),), "gid_map": (Mapping(0, 800000, 65536),)}
    subprocess.run(["chown", "-R", "-h", "800000:800000", box.rootfs], check=True)
    text = box.sh("id -u; cat /proc/self/uid_map; touch /made", namespaces=Namespaces(user="new"), **shared)
    assert text.split() == ["0", "0", "800000", "65536"]
    assert (box.rootfs / "made").stat().st_uid == 800000
    assert box.run("ls", "/proc/1/root", namespaces=Namespaces(user="new"), **shared).code == 0


def with_tun(tmp_path: Path, mode: int, without: str = "") -> tuple[str, ...]:
    """Return a command that runs another where /dev/net/tun has a mode of the test's choice, and a tool is missing."""
    if not Path("/dev/net/tun").exists():
        pytest.skip("needs /dev/net/tun")
    node = tmp_path / "tun"
    os.mknod(node, stat.S_IFCHR, Path("/dev/net/tun").stat().st_rdev)
    node.chmod(mode)
    mounts = f"mount --bind {node} /dev/net/tun"
    if hidden := shutil.which(without):
        mounts += f" && mount --bind /dev/null {hidden}"
    return ("unshare", "-m", "sh", "-c", f'{mounts} && exec "$@"', "sh")


TOOLS = pytest.mark.parametrize(("tool_name", "other"), [("slirp4netns", "pasta"), ("pasta", "slirp4netns")])


@TOOLS
def test_a_way_out(ordinary: Any, tmp_path: Path, tool: Callable[[str], str], tool_name: str, other: str) -> None:
    tool(tool_name)
    code = """
        print(sh("ip -o addr show tap0; ip route", namespaces=Namespaces(network="user")))
    """
    text = ordinary(code, *with_tun(tmp_path, 0o666, other))
    assert "10.0.2.100/24" in text
    assert "default via 10.0.2.2 dev tap0" in text
    assert text.count("inet") == 2, "one address, and one that is link-local"


def test_the_gateway_answers(ordinary: Any, tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("slirp4netns")  # pasta answers no pings that are for itself
    code = """
        print(sh("ping -c 1 -W 5 10.0.2.2", namespaces=Namespaces(network="user")))
    """
    assert "1 packets received" in ordinary(code, *with_tun(tmp_path, 0o666))


@TOOLS
def test_nothing_is_left_of_a_way_out_when_the_shim_is_killed(
    ordinary: Any, tmp_path: Path, tool: Callable[[str], str], tool_name: str, other: str
) -> None:
    tool(tool_name)
    code = """
        import signal
        def all_of_it():
            found = []
            for each in os.listdir("/proc"):
                try:
                    words = open(f"/proc/{each}/cmdline", "rb").read().split(bytes(1))
                except OSError:
                    continue
                if {b"tap0", b"--ns-ifname=tap0"} & set(words) or words[0] == b"layerlab-watch":
                    found.append(os.path.basename(words[0]).decode())
            return sorted(found)
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            wish = ProcessSpec(args=("sleep", "60"), rootfs=rootfs, namespaces=Namespaces(network="user"))
            process = Process(wish)
            process.start()
            os.write(tell, b"1")
            signal.pause()
        os.close(tell)
        os.read(ready, 1)
        print(all_of_it())
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        end = time.monotonic() + 20
        while all_of_it() and time.monotonic() < end:
            time.sleep(0.05)
        print(all_of_it())
    """
    text = ordinary(code, *with_tun(tmp_path, 0o666, other))
    started = {"slirp4netns": "['slirp4netns']", "pasta": "['layerlab-watch', 'pasta']"}
    assert text.split("\n")[:2] == [started[tool_name], "[]"]


def test_slirp4netns_without_the_device(ordinary: Any, tmp_path: Path) -> None:
    code = """
        try:
            run("true", namespaces=Namespaces(network="user"))
        except UnsupportedError as error:
            print(error)
    """
    text = ordinary(code, *with_tun(tmp_path, 0o600))
    assert "/dev/net/tun cannot be opened (permission denied)" in text
    assert "use the network none or host" in text
