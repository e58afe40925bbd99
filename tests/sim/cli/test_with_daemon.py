"""The command with our own daemon: beside the docker command, in a terminal, and what it tells of layers that live."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect  # type: ignore[import-untyped]
import pytest

from tests.daemons import Daemon, new_daemon
from tests.patience import PATIENCE
from tests.shared import daemon, empty
from tests.sim.images.registries import authority

__all__ = ["daemon", "empty", "new_daemon"]

pytestmark = pytest.mark.usefixtures("root")

COMMAND = [sys.executable, "-P", "-m", "sim.cli"]


def environment(daemon: Daemon) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if name not in ("DOCKER_HOST", "LAYERLAB_HOST")}
    return {**plain, "DOCKER_CONFIG": str(daemon.place / "client"), "LAYERLAB_ROOT": str(daemon.root)}


def layerlab(daemon: Daemon, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*COMMAND, "-H", daemon.address, *words],
        input=stdin,
        capture_output=True,
        check=False,
        env=environment(daemon),
        timeout=60,
    )


def said(daemon: Daemon, *words: str) -> str:
    done = layerlab(daemon, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


def spawn(daemon: Daemon, *words: str) -> Any:
    child = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], "-H", daemon.address, *words],
        encoding="utf-8",
        timeout=PATIENCE,
        dimensions=(33, 99),
        env=environment(daemon),
    )
    child.delaybeforesend = 0.05
    return child


#: `NAME` is a container's name, another one for each of the two.
SESSION = """\
images
run --rm busybox echo hello
run --rm busybox sh -c 'echo out; echo err >&2; exit 7'
run --rm busybox nosuch
run --rm busybox /etc
run --rm -i busybox cat
run -d --name NAME -e A=1 -l x=y -v NAME-data:/data busybox sleep 60
run --name NAME busybox true
ps
ps -a --format '{{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Mounts}}'
exec NAME sh -c 'echo $A; pwd; exit 3'
exec -i NAME cat
exec -w /tmp -e B=2 -u 5 NAME sh -c 'pwd; id -u; echo $B'
exec NAME nosuch
inspect -f '{{.Name}} {{.State.Status}} {{.Config.Env}} {{json .Config.Labels}}' NAME
inspect -f '{{range .Mounts}}{{.Destination}}{{end}}' NAME
exec NAME sh -c 'echo new > /etc/motd; rm /bin/vi'
diff NAME
cp NAME:/etc/motd -
cp NAME:/nosuch -
top NAME -o pid,args
pause NAME
unpause NAME
rename NAME NAME-2
logs NAME-2
commit -m message NAME-2 NAME:1
history --format '{{.Comment}}' NAME:1
tag NAME:1 NAME:2
rmi NAME:1
kill NAME-2
wait NAME-2
start NAME-2
stop -t 0 NAME-2
rm NAME-2
rm NAME-2
rmi NAME:2
volume ls --filter name=NAME
volume rm NAME-data
network create NAME-net
network ls --filter name=NAME
network rm NAME-net
inspect NAME
"""

_ID = re.compile(r"\b(sha256:)?[0-9a-f]{64}\b|\b[0-9a-f]{12}\b|\b\d+ +sleep")


def plain(done: subprocess.CompletedProcess[bytes], name: str) -> tuple[str, str, int]:
    def text(data: bytes) -> str:
        found = data.decode("utf-8", "replace").replace("layerlab", "docker").replace(name, "NAME")
        return re.sub(r" +", " ", _ID.sub("ID", re.sub(r"\d+ seconds?|Less than a second", "SECONDS", found)))

    out = text(done.stdout) if b"\0" not in done.stdout else "(archive)"
    return out, text(done.stderr), done.returncode


def test_a_session_beside_the_docker_command(daemon: Daemon) -> None:
    daemon.busybox()
    for line in SESSION.splitlines():
        theirs_words, ours_words = (shlex.split(line.replace("NAME", name)) for name in ("first", "other"))
        theirs = plain(daemon.docker(*theirs_words, stdin=b"given\n"), "first")
        ours = plain(layerlab(daemon, *ours_words, stdin=b"given\n"), "other")
        if line == "ps" or line.startswith("ps -a"):  # each sees also the other's
            assert theirs[2] == ours[2] == 0
            continue
        assert ours == theirs, line


def test_a_terminal(daemon: Daemon) -> None:
    daemon.busybox()
    child = spawn(daemon, "run", "-it", "--rm", "--name", "shell", "busybox", "sh")
    child.expect("# ")
    child.sendline("stty size; tty")
    child.expect("33 99")
    child.expect("/dev/pts/0")
    child.setwinsize(40, 100)
    for _ in range(50):
        child.sendline("stty size")
        if child.expect(["40 100", "33 99"]) == 0:
            break
    else:
        raise AssertionError("the new size does not arrive")
    # Of a process of its own: what comes while the shell makes one is lost.
    child.sendline("sh -c 'echo begin\"\"s; exec sleep 100'")
    child.expect("begins\r\n")
    child.sendcontrol("c")
    child.expect("# ")
    child.sendline("exit 5")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 5
    assert said(daemon, "ps", "-aq") == ""


def test_detach_and_attach(daemon: Daemon) -> None:
    daemon.busybox()
    child = spawn(daemon, "run", "-it", "--name", "shell", "busybox", "sh")
    child.expect("# ")
    child.sendline("X=kept")
    child.expect("# ")
    child.send("\x10\x11")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert said(daemon, "ps", "--format", "{{.Names}}") == "shell\n"

    child = spawn(daemon, "attach", "--detach-keys", "ctrl-x", "shell")
    child.sendline("echo is $X")
    child.expect("is kept")
    child.send("\x18")
    child.expect("read escape sequence")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1

    child = spawn(daemon, "exec", "-it", "shell", "sh")
    child.expect("# ")
    child.sendline("exit 6")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 6

    said(daemon, "stop", "-t", "0", "shell")
    child = spawn(daemon, "start", "-ai", "shell")
    child.expect("# ")
    child.sendline("exit 9")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 9


def test_signals_reach_the_container(daemon: Daemon) -> None:
    daemon.busybox()
    script = "trap 'echo got HUP; exit 44' HUP; echo ready; while true; do sleep 0.1; done"
    process = subprocess.Popen(
        [*COMMAND, "-H", daemon.address, "run", "--rm", "busybox", "sh", "-c", script],
        stdout=subprocess.PIPE,
        env=environment(daemon),
    )
    assert process.stdout is not None
    with process.stdout as output:
        assert output.readline() == b"ready\n"
        process.send_signal(signal.SIGHUP)
        assert output.read() == b"got HUP\n"
    assert process.wait(20) == 44


def test_logs_are_followed_to_the_end(daemon: Daemon) -> None:
    daemon.busybox()
    said(daemon, "run", "-d", "--name", "job", "busybox", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done")
    assert said(daemon, "logs", "-f", "job") == "1\n2\n3\n"
    assert said(daemon, "logs", "--tail", "1", "job") == "3\n"
    assert said(daemon, "wait", "job") == "0\n"


def test_an_archive_there_and_back(daemon: Daemon, tmp_path: Path) -> None:
    daemon.busybox()
    file = tmp_path / "images.tar"
    said(daemon, "save", "-o", str(file), "busybox")
    assert os.listdir(tmp_path) == ["images.tar"]
    said(daemon, "rmi", "busybox")
    assert said(daemon, "load", "-i", str(file)) == "Loaded image: busybox:latest\n"
    said(daemon, "create", "--name", "box", "busybox")
    tree = tmp_path / "tree"
    said(daemon, "cp", "box:/bin", str(tree))
    assert (tree / "busybox").stat().st_mode & 0o111
    assert (tree / "sh").is_symlink() or (tree / "sh").is_file()


def test_what_docker_lacks(daemon: Daemon, tmp_path: Path) -> None:
    daemon.busybox()
    said(daemon, "run", "-d", "--name", "web", "-l", "layerlab.journal=all", "busybox", "sleep", "60")
    said(daemon, "exec", "web", "sh", "-c", "echo hi > /etc/motd; rm /bin/vi")
    table = said(daemon, "layers", "web")
    assert re.search(r"^0 +RW ", table, re.MULTILINE)
    assert "1 " in table.splitlines()[1]
    told = said(daemon, "why", "/bin/vi", "web")
    assert "Now: it does not exist for a process" in told
    assert "busybox" in told
    changed = said(daemon, "compare", "busybox", "web")
    assert re.search(r"^D .*vi", changed, re.MULTILINE)
    assert re.search(r"^A .*motd", changed, re.MULTILINE)
    assert '"kind": "container"' in said(daemon, "graph")
    place = tmp_path / "mnt"
    place.mkdir()
    said(daemon, "mount", "web", str(place))
    try:
        assert (place / "etc/motd").read_text() == "hi\n"
        assert not (place / "bin/vi").exists()
    finally:
        said(daemon, "umount", str(place))
    said(daemon, "mount", "busybox", str(place), "--upto", "1")
    try:
        assert (place / "bin/vi").exists()
    finally:
        said(daemon, "umount", str(place))


def test_watching_a_container(daemon: Daemon) -> None:
    daemon.busybox()
    said(daemon, "run", "-d", "--name", "web", "busybox", "sleep", "60")
    if not list(daemon.root.glob("containers/*/journal.db")):
        pytest.skip("the storage driver of this machine records no operations")
    process = subprocess.Popen(
        [*COMMAND, "watch", "web", "--changes", "--path", "/etc"], stdout=subprocess.PIPE, env=environment(daemon)
    )
    assert process.stdout is not None
    with process.stdout as output:
        for line in iter(output.readline, b""):
            if line.startswith(b"layer"):
                break
        time.sleep(0.3)
        said(daemon, "exec", "web", "sh", "-c", "echo hi > /etc/new-file")
        assert any(b"/etc/new-file" in line for line in iter(output.readline, b""))
        process.terminate()
        process.wait(20)


def test_over_tls(new_daemon: Callable[..., Daemon], tmp_path: Path) -> None:
    own, certificate, key = authority(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    files = ("--tlscacert", str(own), "--tlscert", str(certificate), "--tlskey", str(key))
    daemon = new_daemon("--host", f"tcp://127.0.0.1:{port}", "--tlsverify", *files)
    daemon.busybox()
    where = ("-H", f"tcp://127.0.0.1:{port}")

    def call(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*COMMAND, *where, *words],
            input=stdin,
            capture_output=True,
            check=False,
            env=environment(daemon),
            timeout=60,
        )

    done = call("--tlsverify", *files, "run", "--rm", "-i", "busybox", "cat", stdin=b"given" * 50_000)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"given" * 50_000, b"")
    # Nobody without a certificate, and no engine that somebody else vouches for.
    for words in (("--tls",), ("--tlsverify", "--tlscert", str(certificate), "--tlskey", str(key)), ()):
        done = call(*words, "ps")
        assert done.returncode == 1, done.stdout
        assert done.stderr.count(b"\n") == 1


def test_the_daemon_is_started_when_none_answers(tmp_path: Path) -> None:
    root = Path(f"/tmp/l{os.getpid()}")
    plain = {name: value for name, value in os.environ.items() if name not in ("DOCKER_HOST", "LAYERLAB_HOST")}
    variables = {**plain, "LAYERLAB_ROOT": str(root)}
    try:
        first = [
            subprocess.Popen([*COMMAND, "ps"], env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(2)
        ]
        ends = [process.communicate(timeout=60) for process in first]
        assert [process.returncode for process in first] == [0, 0], ends
        assert all(out.startswith(b"CONTAINER ID") for out, _ in ends)
        told = [err.decode() for _, err in ends if err]
        assert len(told) == 1
        number = re.fullmatch(r"layerlab: started the daemon, process (\d+), on unix://\S+\n", told[0])
        assert number is not None
        again = subprocess.run([*COMMAND, "ps"], env=variables, capture_output=True, check=True)
        assert again.stderr == b""
    finally:
        found = re.findall(rb"process (\d+)", b"".join(err for _, err in ends))
        for one in found:
            os.kill(int(one), signal.SIGTERM)
        end = time.monotonic() + 30
        while found and Path(f"/proc/{int(found[0])}").exists() and time.monotonic() < end:
            time.sleep(0.05)
        subprocess.run(["rm", "-rf", str(root)], check=True)
