"""Attached containers under a terminal, driven as a person drives the docker command: keys, sizes, detaching."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator

import docker
import pexpect  # type: ignore[import-untyped]
import pytest

from tests.daemons import Daemon
from tests.shared import client, engine, running

__all__ = ["client", "engine", "running"]

Typist = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def typist(engine: Daemon) -> Iterator[Typist]:
    """Return a function that starts the docker command under a terminal."""
    program = shutil.which("docker")
    if program is None:
        pytest.skip("needs the docker command; install docker.io")
    made: list[pexpect.spawn[str]] = []

    def start(*words: str) -> pexpect.spawn[str]:
        child = pexpect.spawn(
            program, ["-H", engine.address, *words], encoding="utf-8", timeout=60, dimensions=(30, 100)
        )
        child.logfile_read = sys.stdout
        made.append(child)
        return child

    yield start
    for child in made:
        child.close(force=True)


def test_a_shell_under_a_terminal(typist: Typist) -> None:
    child = typist("run", "--rm", "-it", "busybox", "sh")
    child.expect(r"/ # ")
    child.sendline("stty size; tty")
    child.expect(r"30 100\r\n/dev/pts/0")
    child.setwinsize(40, 120)
    child.sendline("until stty size | grep '40 120'; do sleep 0.05; done")
    child.expect("40 120\r")
    # Of a process of its own: what comes while the shell makes one is lost.
    child.sendline("sh -c 'echo begin\"\"s; exec sleep 100'")
    child.expect("begins\r\n")
    child.sendcontrol("c")
    child.expect("/ # ")
    child.sendline("exit 7")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 7


def test_detaching_and_attaching_again(typist: Typist, client: docker.DockerClient) -> None:
    child = typist("run", "-it", "--name", "kept", "busybox", "sh")
    child.expect("/ # ")
    child.sendline("X=remembered")
    child.expect("/ # ")
    child.send("\x10\x11")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 0
    assert client.containers.get("kept").status == "running"
    again = typist("attach", "kept")
    again.send("echo $X\r")
    again.expect("\nremembered")
    again.send("exit 5\r")
    again.expect(pexpect.EOF)
    again.wait()
    assert again.exitstatus == 5


def test_exec_under_a_terminal(typist: Typist, client: docker.DockerClient) -> None:
    client.containers.run("busybox", "sleep 100", name="box", detach=True)
    child = typist("exec", "-it", "box", "sh")
    child.expect("/ # ")
    child.sendline("stty size; echo $TERM")
    child.expect(r"30 100\r\nxterm")
    child.sendline("exit 3")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 3
    other = typist("exec", "-it", "--detach-keys", "ctrl-a,x", "box", "sh")
    other.expect("/ # ")
    other.send("\x01x")
    other.expect(pexpect.EOF)
    other.wait()
    shown = client.containers.get("box").top()["Processes"]
    assert any(row[-1] == "sh" for row in shown)


def test_start_attached(typist: Typist, client: docker.DockerClient) -> None:
    client.containers.create("busybox", ["sh", "-c", "read x; echo got $x; exit 4"], name="ask", stdin_open=True)
    child = typist("start", "-ai", "ask")
    child.sendline("this")
    child.expect("got this")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 4


def test_interrupting_a_run_without_a_terminal_passes_the_signal_on(
    typist: Typist, client: docker.DockerClient
) -> None:
    script = "trap 'echo caught; exit 6' INT; echo ready; while :; do sleep 0.05; done"
    child = typist("run", "--name", "trapped", "busybox", "sh", "-c", script)
    child.expect("ready")
    child.sendcontrol("c")
    child.expect("caught")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus == 6
    assert re.match("exited", client.containers.get("trapped").status)
