"""Every method of the containers of Docker's SDK, called on our daemon and on Docker's own engine."""

from __future__ import annotations

import socket
import time

import pytest
from docker import DockerClient as Client
from docker.errors import ContainerError, ImageNotFound, NotFound
from docker.models.containers import Container

from tests.bothengines import (
    asked,
    client,
    packed,
    reference_engine,
    refused,
    running,
    sleeper,
    typing,
    unpacked,
)
from tests.patience import until

__all__ = ["asked", "client", "reference_engine", "running", "sleeper"]

pytestmark = [
    pytest.mark.usefixtures("root"),
    # The SDK leaves the sockets of what was handed over (exec, attach) to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]


def test_containers_are_made_found_listed_and_pruned(client: Client) -> None:
    made = client.containers.create("busybox", ["true"], name="made", labels={"of": "tests"}, ports={"80/tcp": None})
    assert made.status == "created"
    assert (made.name, made.labels, made.ports) == ("made", {"of": "tests"}, {})
    assert made.id is not None
    assert made.short_id == made.id[:12]
    assert made.image.tags == ["busybox:latest"]
    assert client.containers.get("made") == client.containers.get(made.short_id) == made
    with pytest.raises(NotFound):
        client.containers.get("absent")
    assert client.containers.list() == []
    assert client.containers.list(all=True) == [made]
    assert client.containers.list(all=True, filters={"label": "of=others"}) == []
    assert client.containers.list(all=True, sparse=True)[0].attrs["Names"] == ["/made"]
    assert client.containers.prune({"label": ["of=others"]}) == {"ContainersDeleted": None, "SpaceReclaimed": 0}
    assert client.containers.prune()["ContainersDeleted"] == [made.id]
    assert client.containers.list(all=True) == []


def test_a_container_is_run_and_its_output_returned(client: Client) -> None:
    assert client.containers.run("busybox", "echo out") == b"out\n"
    both = client.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"], stderr=True, remove=True)
    assert sorted(both.splitlines()) == [b"err", b"out"]
    assert list(client.containers.run("busybox", "seq 2", stream=True, remove=True)) == [b"1\n", b"2\n"]
    with pytest.raises(ContainerError) as failed:
        client.containers.run("busybox", ["sh", "-c", "echo no >&2; exit 3"], remove=True)
    assert (failed.value.exit_status, failed.value.stderr) == (3, b"no\n")
    with pytest.raises(ImageNotFound):
        client.api.create_container("absent:1", "true")


def test_a_container_is_started_stopped_killed_and_waited_for(client: Client) -> None:
    script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    one = client.containers.create("busybox", ["sh", "-c", script])
    one.start()
    one.reload()
    assert one.status == "running"
    one.pause()
    one.reload()
    assert one.status == "paused"
    with refused(409, "is already paused"):
        one.pause()
    one.unpause()
    one.reload()
    assert one.status == "running"
    one.restart(timeout=5)
    one.reload()
    assert one.status == "running"
    until(lambda: one.logs().count(b"ready") == 2)
    one.stop(timeout=20)
    assert one.wait()["StatusCode"] == 7
    one.reload()
    assert (one.status, one.attrs["State"]["ExitCode"], one.health) == ("exited", 7, "unknown")
    one.start()
    one.kill("KILL")
    assert one.wait()["StatusCode"] == 137
    with refused(409, "is not running"):
        one.kill()
    one.remove()
    with pytest.raises(NotFound):
        one.reload()


def test_a_container_is_renamed_updated_and_looked_at(client: Client, sleeper: Container) -> None:
    sleeper.rename("renamed")
    sleeper.reload()
    assert sleeper.name == "renamed"
    assert sleeper.update(mem_limit="32m", memswap_limit="64m")["Warnings"] in (None, [])
    sleeper.reload()
    assert sleeper.attrs["HostConfig"]["Memory"] == 32 << 20
    top = sleeper.top(ps_args="-eo pid,comm")
    assert top["Titles"] == ["PID", "COMMAND"]
    assert [row[1] for row in top["Processes"]] == ["sleep"]
    shown = sleeper.stats(stream=False)
    assert (shown["name"], shown["memory_stats"]["limit"]) == ("/renamed", 32 << 20)
    flow = sleeper.stats(decode=True)
    assert next(flow)["id"] == sleeper.id
    flow.close()
    with refused(409, "You cannot remove a running container"):
        sleeper.remove()


def test_a_containers_files_go_in_and_out(client: Client, sleeper: Container) -> None:
    assert sleeper.put_archive("/tmp", packed("file", b"data"))
    with pytest.raises(NotFound):
        sleeper.put_archive("/absent", packed("file", b"data"))
    chunks, told = sleeper.get_archive("/tmp/file")
    assert unpacked(chunks) == {"file": b"data"}
    assert (told["name"], told["size"], told["mode"], told["linkTarget"]) == ("file", 4, 0o644, "")
    with pytest.raises(NotFound):
        sleeper.get_archive("/absent")
    changed = {each["Path"]: each["Kind"] for each in sleeper.diff()}
    assert (changed["/tmp"], changed["/tmp/file"]) == (0, 1)
    whole = unpacked(sleeper.export())
    assert whole["tmp/file"] == b"data"
    assert whole["etc/hosts"] == b""


def test_a_containers_output_is_logged_and_attached_to(client: Client) -> None:
    script = "while read line; do echo got $line; echo bad $line >&2; done"
    one = client.containers.create("busybox", ["sh", "-c", script], stdin_open=True)
    with typing(one.attach_socket(params={"stdin": 1, "stream": 1})) as typed:
        one.start()
        typed.sendall(b"this\n")
        until(lambda: len(one.logs().splitlines()) == 2)
        assert one.logs(stderr=False) == b"got this\n"
        assert one.logs(stdout=False) == b"bad this\n"
        assert one.logs(timestamps=True, stderr=False).partition(b" ")[2] == b"got this\n"
        assert one.logs(since=int(time.time()) + 100) == b""
        flow = one.attach(stream=True, logs=False, stderr=False)
        typed.sendall(b"that\n")
        assert next(flow) == b"got that\n"
        flow.close()
        followed = one.logs(stream=True, follow=True, stderr=False)
        assert next(followed) + next(followed) == b"got this\ngot that\n"
        followed.close()


def test_a_container_is_committed(client: Client, sleeper: Container) -> None:
    sleeper.exec_run(["sh", "-c", "echo words > /kept"])
    image = sleeper.commit("committed", "1", message="why", author="who", changes=["CMD cat /kept"])
    try:
        assert image.tags == ["committed:1"]
        assert (image.attrs["Comment"], image.attrs["Author"]) == ("why", "who")
        assert client.containers.run("committed:1") == b"words\n"
    finally:
        client.containers.prune()
        image.remove(force=True)


def test_a_terminal_has_a_size(client: Client) -> None:
    one = client.containers.run("busybox", ["sh"], tty=True, stdin_open=True, detach=True)
    one.resize(height=17, width=71)
    script = "until [ \"$(stty size 2>/dev/null)\" = '19 73' ]; do sleep 0.02; done"
    made = client.api.exec_create(one.id, ["sh", "-c", script], tty=True)
    flow = client.api.exec_start(made["Id"], tty=True, stream=True)
    client.api.exec_resize(made["Id"], height=19, width=73)
    assert b"".join(flow) == b""
    assert client.api.exec_inspect(made["Id"])["ExitCode"] == 0
    assert one.attrs["Config"]["Tty"]


def test_commands_are_run_in_a_container(client: Client, sleeper: Container) -> None:
    assert sleeper.exec_run("echo out") == (0, b"out\n")
    assert sleeper.exec_run(["sh", "-c", "exit 4"]).exit_code == 4
    split = sleeper.exec_run(["sh", "-c", "echo $A; pwd >&2"], environment={"A": "b"}, workdir="/tmp", demux=True)
    assert split.output == (b"b\n", b"/tmp\n")
    assert sleeper.exec_run("id -u", user="nobody").output == b"65534\n"
    made = client.api.exec_create(sleeper.id, ["cat"], stdin=True)
    found = client.api.exec_inspect(made["Id"])
    assert (found["Running"], found["ExitCode"], found["ContainerID"]) == (False, None, sleeper.id)
    with typing(client.api.exec_start(made["Id"], socket=True)) as typed:
        typed.sendall(b"typed\n")
        assert typed.recv(14, socket.MSG_WAITALL) == b"\1\0\0\0\0\0\0\6typed\n"
        assert client.api.exec_inspect(made["Id"])["Running"]
    made = client.api.exec_create(sleeper.id, ["true"])
    client.api.exec_start(made["Id"], detach=True)
    until(lambda: client.api.exec_inspect(made["Id"])["ExitCode"] == 0)
    with refused(409, "has already run"):
        client.api.exec_start(made["Id"], detach=True)


def test_a_check_of_health_is_told(client: Client) -> None:
    check = {"test": ["CMD", "true"], "interval": 100_000_000}
    one = client.containers.run("busybox", ["sleep", "1000"], detach=True, healthcheck=check)

    def healthy() -> bool:
        one.reload()
        return str(one.health) == "healthy"

    until(healthy)
