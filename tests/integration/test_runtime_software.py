"""Real programs in containers on mounted stacks: a shell on a terminal, a compiler, a web server, a database."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusefs import Journal, Level, Stack, mount
from sim.runtime import (
    Bind,
    Bridge,
    Container,
    Interface,
    LogOptions,
    Port,
    Process,
    ProcessSpec,
    Tmpfs,
    create_bridge,
    delete_bridge,
    end_zygote,
    read_log,
    write_etc_files,
)
from tests.patience import PATIENCE

pexpect = pytest.importorskip("pexpect")


@pytest.fixture(autouse=True)
def _no_zygote() -> Iterator[None]:
    yield
    end_zygote()


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """A read-only layer: directories, links into /usr, which is bound from this machine, and two files of /etc."""
    if not Path("/bin").is_symlink() or shutil.which("python3", path="/usr/bin") is None:
        pytest.skip("needs a merged /usr with a python3 in it")
    root = tmp_path / "layer"
    for name in ("proc", "sys", "dev", "tmp", "etc", "usr", "root", "srv", "run", "var"):
        (root / name).mkdir(parents=True)
    for each in (tmp_path, root):
        each.chmod(0o755)
    (root / "tmp").chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path(f"/{name}").is_symlink():
            (root / name).symlink_to(os.readlink(f"/{name}"))
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\npostgres:x:999:999::/var:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\npostgres:x:999:\n")
    return root


@pytest.fixture
def merged(layer: Path, tmp_path: Path, root: None, fuse: None) -> Iterator[Path]:
    """The layer and a writable one, mounted with the default driver, every operation recorded."""
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()
    stack = Stack((layer,), tmp_path / "upper", tmp_path / "work")
    mounted = mount(stack, tmp_path / "merged", journal=tmp_path / "journal.db", level=Level.ALL)
    yield tmp_path / "merged"
    mounted.unmount()


def spec_of(merged: Path, *args: str, **wishes: object) -> ProcessSpec:
    mounts = (Bind(Path("/usr"), "/usr", read_only=True), *wishes.pop("mounts", ()))  # type: ignore[misc]
    return ProcessSpec(args=args, rootfs=merged, mounts=mounts, **wishes)  # type: ignore[arg-type]


def sh(merged: Path, script: str, **wishes: object) -> str:
    result = Process(spec_of(merged, "sh", "-c", script, **wishes)).run(capture=True, timeout=60)
    assert result.code == 0, result.stderr.decode()
    return result.stdout.decode()


def test_what_a_container_does_is_recorded(merged: Path, tmp_path: Path) -> None:
    assert sh(merged, "echo more >> /etc/passwd; rm /etc/group; tail -n 1 /etc/passwd") == "more\n"
    assert sorted(os.listdir(tmp_path / "upper/etc")) == ["group", "passwd"]
    assert (tmp_path / "layer/etc/group").exists()
    deadline = time.monotonic() + PATIENCE
    while True:
        with Journal(tmp_path / "journal.db") as journal:
            effects = {(op.path, str(effect.kind)) for op in journal.operations() for effect in op.effects}
        if {("/etc/passwd", "copied up"), ("/etc/group", "whiteout")} <= effects:
            return
        assert time.monotonic() < deadline, effects
        time.sleep(0.1)


def test_a_shell_session_on_a_terminal(merged: Path) -> None:
    code = f"""
        import sys
        from pathlib import Path
        from sim.runtime import Bind, Process, ProcessSpec
        spec = ProcessSpec(args=("bash", "--norc", "-i"), rootfs=Path({os.fspath(merged)!r}), terminal=True,
                           hostname="box", env=("PS1=ready> ",), mounts=(Bind(Path("/usr"), "/usr", read_only=True),))
        sys.exit(Process(spec).run().code)
    """
    child = pexpect.spawn(sys.executable, ["-c", textwrap.dedent(code)], dimensions=(30, 91), timeout=PATIENCE)
    try:
        child.expect_exact("ready> ")
        child.sendline("stty size; hostname")
        child.expect_exact("30 91")
        child.expect_exact("box")
        child.expect_exact("ready> ")
        child.setwinsize(44, 111)
        child.sendline("until stty size | grep '44 111'; do sleep 0.05; done")
        child.expect("44 111\r")
        # Of a process of its own: what comes while the shell makes one is lost.
        child.sendline("sh -c 'echo begin\"\"s; exec sleep 1000'")
        child.expect("begins\r")
        child.sendintr()  # goes to the container's foreground process, not to ours
        child.expect_exact("ready> ")
        child.sendline("echo code $?")
        child.expect_exact("code 130")
        child.sendline("sleep 1000 &")
        child.sendline("jobs")
        child.expect("Running +sleep 1000")
        child.sendline("exit 7")
        child.expect(pexpect.EOF)
        child.wait()
        assert child.exitstatus == 7
    finally:
        child.close(force=True)


def test_the_terminal_is_given_back_as_it_was(merged: Path) -> None:
    code = f"""
        import sys, termios
        from pathlib import Path
        from sim.runtime import Bind, Process, ProcessSpec
        before = termios.tcgetattr(0)
        mounts = (Bind(Path("/usr"), "/usr", read_only=True),)
        Process(ProcessSpec(args=("true",), rootfs=Path({os.fspath(merged)!r}), terminal=True, mounts=mounts)).run()
        print("same" if termios.tcgetattr(0) == before else "changed")
    """
    assert b"same" in pexpect.run(shlex.join([sys.executable, "-c", textwrap.dedent(code)]), timeout=30)


def test_a_compiler(merged: Path) -> None:
    if shutil.which("gcc", path="/usr/bin") is None:
        pytest.skip("needs gcc")
    (merged / "srv/hello.c").write_text('#include <stdio.h>\nint main(void) { puts("compiled"); return 3; }\n')
    assert sh(merged, "cd /srv && gcc -O2 -o hello hello.c && { ./hello; echo $?; }") == "compiled\n3\n"


def test_a_web_server_over_the_bridge(merged: Path, tmp_path: Path) -> None:
    (merged / "srv/index.html").write_text("<p>served from a layer</p>")
    bridge = Bridge("lltest5", "10.214.9.0/24", "10.214.9.1")
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    create_bridge(bridge)
    place = tmp_path / "container"
    place.mkdir()
    try:
        spec = spec_of(
            merged,
            *("python3", "-m", "http.server", "-d", "/srv", "80"),
            hostname="web",
            mounts=write_etc_files(place, "web", hosts=[("10.214.9.2", "web")], dns=["10.214.9.1"]),
            interfaces=(Interface(bridge.name, "10.214.9.2/24", bridge.gateway),),
            ports=(Port(80, 0, "127.0.0.1"),),
        )
        container = Container.create(place, spec, log=LogOptions(os.fspath(place / "log.json")))
        container.start()
        try:
            number = container.status().ports[0].host_port
            for address in ("10.214.9.2", f"127.0.0.1:{number}"):
                assert fetch(f"http://{address}/") == b"<p>served from a layer</p>"
            result = container.execution(spec_of(merged, "cat", "/etc/hosts", "/etc/resolv.conf")).run(capture=True)
            assert b"10.214.9.2\tweb" in result.stdout
            assert b"nameserver 10.214.9.1" in result.stdout
        finally:
            assert container.stop(timeout=1) == 137  # python as process 1 has no handler for TERM
        assert any("GET / HTTP/1.1" in entry.text for entry in read_log(place / "log.json"))
    finally:
        delete_bridge(bridge)
        Path("/proc/sys/net/ipv4/ip_forward").write_text(forwarding)


def fetch(address: str) -> bytes:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                body: bytes = answer.read()
                return body
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_a_database_passes_its_benchmark(merged: Path, tool: Callable[[str], str]) -> None:
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not places or not (places[-1] / "initdb").exists():
        pytest.skip("needs PostgreSQL; install postgresql")
    programs = places[-1]
    script = f"""
        set -e
        export PATH={programs}:$PATH PGHOST=/tmp
        initdb -D /var/data -A trust -N > /tmp/log 2>&1
        options="-c listen_addresses= -c unix_socket_directories=/tmp -c fsync=off"
        pg_ctl -D /var/data -o "$options" -w -l /tmp/log start > /dev/null
        pgbench -i -q postgres > /dev/null 2>&1
        pgbench -c 4 -t 50 postgres | grep 'actually processed'
        pg_ctl -D /var/data -m fast stop > /dev/null
    """
    os.chown(merged / "var", 999, 999)
    text = sh(merged, script, user="postgres", init=True)
    assert "200/200" in text


def test_a_package_is_installed(merged: Path, tmp_path: Path) -> None:
    """A package that is made here is unpacked and configured by dpkg, on a root that has dpkg's own state."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("needs dpkg")
    control = tmp_path / "package/DEBIAN"
    control.mkdir(parents=True)
    (control / "control").write_text(
        "Package: tiny\nVersion: 1\nArchitecture: all\nMaintainer: me <m@e>\nDescription: x\n"
    )
    (control / "postinst").write_text("#!/bin/sh\necho configured > /srv/configured\n")
    (control / "postinst").chmod(0o755)
    (tmp_path / "package/srv").mkdir()
    (tmp_path / "package/srv/tiny").write_text("installed")
    subprocess.run(["dpkg-deb", "-b", tmp_path / "package", tmp_path / "tiny.deb"], check=True, capture_output=True)
    mounts = (Bind(tmp_path / "tiny.deb", "/tiny.deb", read_only=True), Tmpfs("/run/lock"))
    script = """
        mkdir -p /var/lib/dpkg/info /var/lib/dpkg/updates /var/log
        touch /var/lib/dpkg/status /var/lib/dpkg/available
        dpkg -i /tiny.deb >&2 && cat /srv/tiny /srv/configured && dpkg -s tiny | grep Status
        dpkg -r tiny >&2; ls /srv
    """
    words = sh(merged, script, mounts=mounts).split()
    assert words == ["installedconfigured", "Status:", "install", "ok", "installed", "configured"]
    with contextlib.suppress(FileNotFoundError):
        (tmp_path / "upper/tiny.deb").unlink()
