"""Containers in trouble: clients that race, clients that go away, a daemon that is killed at any moment."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import APIError, DockerException

from fusefs import Journal
from fusefs.mount import find_mount
from tests.daemons import Daemon, new_daemon
from tests.patience import gone, until
from tests.shared import client, engine, running

__all__ = ["client", "engine", "new_daemon", "running"]

NewDaemon = Callable[..., Daemon]


@pytest.fixture
def own(new_daemon: NewDaemon, root: None, fuse: None) -> Iterator[Daemon]:
    """Return a daemon of the test's own with an image; its containers are removed."""
    daemon = new_daemon("--live-restore")
    daemon.busybox()
    yield daemon
    if not daemon.answers():
        daemon.stop(signal.SIGKILL)
        daemon.start()
    found = daemon.client()
    for container in found.containers.list(all=True):
        container.remove(force=True, v=True)
    found.close()


def together(*calls: Callable[[], object]) -> list[str]:
    """Call functions at the same moment; return for each "done" or the status of its error."""
    barrier = threading.Barrier(len(calls))
    found: list[str] = ["" for _ in calls]

    def run(number: int) -> None:
        barrier.wait()
        try:
            calls[number]()
            found[number] = "done"
        except APIError as error:
            found[number] = str(error.status_code)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found


def test_of_two_who_remove_one_wins(engine: Daemon, client: docker.DockerClient) -> None:
    for _ in range(5):
        container = client.containers.create("busybox", "true")
        with contextlib.closing(engine.client()) as other:
            again = other.containers.get(container.id)
            assert sorted(together(container.remove, again.remove)) in (["404", "done"], ["409", "done"])


def test_of_two_who_create_a_name_one_wins(engine: Daemon, client: docker.DockerClient) -> None:
    with contextlib.closing(engine.client()) as other:
        found = together(
            lambda: client.containers.create("busybox", name="same"),
            lambda: other.containers.create("busybox", name="same"),
        )
    assert sorted(found) == ["409", "done"]
    assert len(client.containers.list(all=True)) == 1


def test_starting_and_removing_at_once(engine: Daemon, client: docker.DockerClient) -> None:
    seen: Counter[tuple[str, ...]] = Counter()
    for _ in range(5):
        container = client.containers.create("busybox", "sleep 100")
        with contextlib.closing(engine.client()) as other:
            again = other.containers.get(container.id)
            found = together(container.start, again.remove)
        seen[tuple(found)] += 1
        # Whoever came first had the effect, the other was told so.
        left = client.containers.list(all=True)
        if found[1] == "done":
            assert found[0] in ("404", "409")
            assert left == []
        else:
            assert found == ["done", "409"]
            assert [each.status for each in left] == ["running"]
            left[0].remove(force=True)
    assert seen


def test_many_at_once(engine: Daemon, client: docker.DockerClient) -> None:
    def one(number: int) -> Callable[[], object]:
        return lambda: client.containers.run("busybox", f"echo {number}", remove=True)

    assert together(*(one(number) for number in range(8))) == ["done"] * 8
    assert client.containers.list(all=True) == []


def test_clients_that_go_away_leave_nothing_waiting(engine: Daemon, client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", ["sh", "-c", "while :; do echo x; sleep 0.01; done"], detach=True)

    def threads() -> int:
        return len(os.listdir(f"/proc/{engine.pid}/task"))

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{engine.pid}/fd"))

    before = threads(), descriptors()
    for request in (
        f"POST /containers/{container.id}/wait HTTP/1.1",
        f"GET /containers/{container.id}/logs?follow=1&stdout=1 HTTP/1.1",
        f"GET /containers/{container.id}/stats HTTP/1.1",
        f"POST /containers/{container.id}/attach?stream=1&stdout=1 HTTP/1.1\r\nUpgrade: tcp",
        "GET /events HTTP/1.1",
    ):
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(engine.socket))
                connection.sendall(f"{request}\r\nHost: d\r\n\r\n".encode())
                connection.recv(100)
    until(lambda: threads() <= before[0] + 1 and descriptors() <= before[1] + 2)
    container.kill()  # it does not wait for those who read no more
    assert container.wait(timeout=20)["StatusCode"] == 137


def test_an_attached_client_that_never_saw_a_start(engine: Daemon, client: docker.DockerClient) -> None:
    container = client.containers.create("busybox", "echo hello")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(engine.socket))
        request = (
            f"POST /containers/{container.id}/attach?stream=1&stdout=1 HTTP/1.1\r\nUpgrade: tcp\r\nHost: d\r\n\r\n"
        )
        connection.sendall(request.encode())
        assert b"101 UPGRADED" in connection.recv(100)
    container.start()
    assert container.wait(timeout=20)["StatusCode"] == 0
    assert container.logs() == b"hello\n"


def test_malformed_bodies_are_refused(client: docker.DockerClient) -> None:
    url = client.api._url("/containers/create")
    headers = {"Content-Type": "application/json"}
    for body in (b"", b"{", b"[1]", b'{"Image": "\xff"}', b"[" * 100_000, b'{"Image": 5}'):
        answer = client.api.post(url, data=body, headers=headers)
        assert answer.status_code == 400, (body[:20], answer.text)
        assert answer.json()["message"]
    assert client.api.post(url, data=b"x", headers={"Content-Type": "text/plain"}).status_code == 400
    assert client.ping()


def test_containers_outlive_a_daemon_that_is_killed(own: Daemon) -> None:
    client = own.client()
    script = ["sh", "-c", "echo one; while ! test -e /go; do sleep 0.02; done; echo two; exit 9"]
    container = client.containers.run("busybox", script, name="kept", detach=True, ports={"80/tcp": None})
    stopped = client.containers.run("busybox", "sh -c 'exit 3'", name="stopped", detach=True)
    stopped.wait()
    pid = container.attrs["State"]["Pid"] or client.containers.get("kept").attrs["State"]["Pid"]
    client.close()
    own.stop(signal.SIGKILL)
    own.start()
    client = own.client()
    kept = client.containers.get("kept")
    assert (kept.status, kept.attrs["State"]["Pid"]) == ("running", pid)
    assert client.containers.get("stopped").attrs["State"]["ExitCode"] == 3
    assert kept.exec_run("touch /go").exit_code == 0
    assert kept.wait(timeout=20)["StatusCode"] == 9
    assert kept.logs() == b"one\ntwo\n"
    kept.remove()
    client.close()


def test_what_ends_while_no_daemon_runs_is_noted_by_the_next(own: Daemon, tmp_path: Path) -> None:
    always = {"Name": "always"}
    client = own.client()
    volumes = {str(tmp_path): {"bind": "/told", "mode": "ro"}}
    script = ["sh", "-c", "while ! test -e /told/end; do sleep 0.02; done; exit 8"]
    for name, wishes in (("ended", {}), ("gone", {"auto_remove": True}), ("again", {"restart_policy": always})):
        client.containers.run("busybox", script, name=name, detach=True, volumes=volumes, **wishes)
    pids = [each.attrs["State"]["Pid"] for each in map(client.containers.get, ("ended", "gone", "again"))]
    client.close()
    own.stop(signal.SIGKILL)
    (tmp_path / "end").touch()
    until(lambda: all(map(gone, pids)))
    own.start()
    client = own.client()
    ended = client.containers.get("ended")
    assert (ended.status, ended.attrs["State"]["ExitCode"]) == ("exited", 8)
    until(lambda: "gone" not in [each.name for each in client.containers.list(all=True, ignore_removed=True)])
    until(lambda: client.containers.get("again").attrs["RestartCount"] >= 1)
    client.close()


def test_a_stopped_daemon_stops_containers_and_starts_those_that_want_it(new_daemon: NewDaemon, root: None) -> None:
    daemon = new_daemon()
    daemon.busybox()
    daemon.output("run", "-d", "--name", "plain", "--stop-timeout", "1", "busybox", "sleep", "1000")
    daemon.output(
        "run", "-d", "--name", "back", "--stop-timeout", "1", "--restart", "unless-stopped", "busybox", "sleep", "1000"
    )
    daemon.output("run", "-d", "--name", "left", "--restart", "unless-stopped", "busybox", "sleep", "1000")
    daemon.output("stop", "-t", "0", "left")
    assert daemon.stop() == 0
    assert not list(daemon.root.glob("containers/*/shim.sock"))
    daemon.start()
    states = daemon.output("ps", "-a", "--format", "{{.Names}} {{.State}}").splitlines()
    assert sorted(states) == ["back running", "left exited", "plain exited"]
    daemon.output("rm", "-f", "back", "left", "plain")


def test_killed_at_any_moment_the_daemon_keeps_what_it_answered(own: Daemon) -> None:
    """Commands run against it while it is killed; afterwards each that was answered has its effect."""
    chance = random.Random(5)
    for _ in range(4):
        answered: dict[str, str] = {}
        stop = threading.Event()

        def work(number: int, answered: dict[str, str] = answered, stop: threading.Event = stop) -> None:
            with contextlib.suppress(DockerException, OSError, ConnectionError, Exception):
                client = own.client()
                for turn in range(20):
                    if stop.is_set():
                        return
                    name = f"c{number}-{turn}"
                    container = client.containers.create("busybox", "sleep 1000", name=name)
                    answered[name] = "created"
                    answered[f"starting {name}"] = ""
                    container.start()
                    answered[name] = "running"
                    answered.pop(f"starting {name}")
                    answered[f"removing {name}"] = ""
                    container.remove(force=True)
                    answered[name] = "removed"
                    answered.pop(f"removing {name}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(chance.uniform(0.2, 1.5))
        own.stop(signal.SIGKILL)
        stop.set()
        for thread in threads:
            thread.join(30)
        own.start()
        client = own.client()
        there = {each.name: each for each in client.containers.list(all=True)}
        for name, state in answered.items():
            if " " in name:
                continue
            if f"removing {name}" in answered:
                continue  # it was just being removed: gone, or not
            if state == "removed":
                assert name not in there
            elif f"starting {name}" in answered:
                assert there[name].status in ("created", "running")  # it was just being started
            else:
                assert there[name].status == state, (name, answered)
        for each in there.values():
            each.remove(force=True)
        client.close()
        # What was half made has left nothing: no directory, no mount, no process.
        assert list((own.root / "containers").iterdir()) == []
        mounts = Path("/proc/self/mountinfo").read_text()
        assert str(own.root) not in mounts
    shown = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert "sleep 1000" not in [line.strip() for line in shown.splitlines() if "d-" in line]


def test_a_removal_that_had_just_begun_did_not_take_place(own: Daemon) -> None:
    client = own.client()
    container = client.containers.run("busybox", "sleep 1000", detach=True)
    client.close()
    own.stop(signal.SIGKILL)
    with contextlib.closing(sqlite3.connect(own.root / "engine.db")) as database, database:
        (document,) = database.execute("SELECT document FROM container").fetchone()
        record = json.loads(document)
        record["State"]["Removing"] = True
        database.execute("UPDATE container SET document = ?", (json.dumps(record).encode(),))
    own.start()
    client = own.client()
    again = client.containers.get(container.id)
    assert again.status == "running"
    again.remove(force=True)
    client.close()


def test_a_killed_shim_is_an_end(own: Daemon) -> None:
    client = own.client()
    container = client.containers.run("busybox", "sleep 1000", detach=True)
    state = json.loads((own.root / "containers" / container.id / "state.json").read_text())
    os.kill(state["shim"], signal.SIGKILL)
    assert container.wait(timeout=20)["StatusCode"] == 137
    container.remove()
    client.close()


@pytest.fixture
def copied_mounts() -> Iterator[Callable[[], int]]:
    """Return a function that starts a process of the host's with a copy of all mounts, and returns its number."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> int:
        words = ["unshare", "--mount", "--propagation", "private", "sleep", "1000"]
        started.append(subprocess.Popen(words))
        until(lambda: Path(f"/proc/{started[-1].pid}/comm").read_text() == "sleep\n")
        return started[-1].pid

    yield start
    for each in started:
        each.kill()
        each.wait()


def test_a_removal_waits_for_no_copy_of_the_mounts(own: Daemon, copied_mounts: Callable[[], int]) -> None:
    container = own.output("run", "-d", "-t", "busybox", "sleep", "1000")
    merged = own.root / "containers" / container / "merged"
    mounted = find_mount(merged)
    assert mounted is not None
    holder = copied_mounts()
    assert str(merged) in Path(f"/proc/{holder}/mounts").read_text()
    own.output("rm", "-f", container)
    assert not gone(mounted.pid)  # which the copy keeps; nobody has waited for its end
    assert container in Path(f"/proc/{holder}/mounts").read_text()
    until(lambda: gone(mounted.pid))  # it is told to end all the same


def test_a_stop_ends_what_a_copy_of_the_mounts_keeps(own: Daemon, copied_mounts: Callable[[], int]) -> None:
    container = own.output("run", "-d", "busybox", "sh", "-c", "echo mine > /new; exec sleep 1000")
    merged = own.root / "containers" / container / "merged"
    until(lambda: (merged / "new").exists())
    mounted = find_mount(merged)
    assert mounted is not None
    copied_mounts()
    own.output("stop", "-t", "0", container)
    assert gone(mounted.pid)
    with Journal(own.root / "containers" / container / "journal.db") as journal:
        assert journal.closed
        assert "/new" in {operation.path for operation in journal.operations()}
    own.output("start", container)
    assert own.output("exec", container, "cat", "/new") == "mine"
