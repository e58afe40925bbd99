"""What clients that nobody here wrote rely on, each found by a suite of theirs."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import docker
import pytest
from docker.errors import APIError

from sim.engine.looking import Looking
from sim.runtime import NotRunningError
from tests.daemons import Daemon
from tests.shared import client, engine, running

__all__ = ["client", "engine", "running"]


def test_output_is_framed_as_the_start_of_an_exec_says(engine: Daemon, client: docker.DockerClient) -> None:
    container = client.containers.run("busybox", "sleep 100", detach=True)
    try:
        made = client.api.exec_create(container.id, ["printf", "some words"], tty=True)["Id"]
        assert client.api.exec_start(made) == b"some words"  # the SDK takes frames apart that it did not decline
        made = client.api.exec_create(container.id, ["printf", "some words"], tty=True)["Id"]
        assert client.api.exec_start(made, tty=True) == b"some words"
        made = client.api.exec_create(container.id, ["printf", "some words"])["Id"]
        assert client.api.exec_start(made, tty=True) == b"some words"
    finally:
        container.remove(force=True)


def test_a_log_driver_that_is_not_there_is_told_as_docker_does(engine: Daemon, client: docker.DockerClient) -> None:
    with pytest.raises(APIError) as told:
        client.containers.create("busybox", log_config=docker.types.LogConfig(type="asdf"))
    assert told.value.explanation == 'error looking up logging plugin asdf: plugin "asdf" not found'


def test_wishes_of_a_network_are_shown_before_the_first_start(engine: Daemon, client: docker.DockerClient) -> None:
    network = client.networks.create("qc-wishes")
    container = client.containers.create("busybox")
    try:
        client.api.connect_container_to_network(
            container.id, network.id, mac_address="02:42:ac:11:00:02", driver_opt={"a": "b"}
        )
        container.reload()
        (shown,) = (each for name, each in container.attrs["NetworkSettings"]["Networks"].items() if name != "bridge")
        assert (shown["MacAddress"], shown["DriverOpts"]) == ("02:42:ac:11:00:02", {"a": "b"})
    finally:
        container.remove(force=True)
        network.remove()


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_container_that_ends_while_it_is_committed_need_not_stand_still(when: str) -> None:
    def pause() -> None:
        if when == "before":
            raise NotRunningError("the container is not running")

    def unpause() -> None:
        raise NotRunningError("the container is not running")

    class Lock:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    shim = SimpleNamespace(pause=pause, unpause=unpause)
    state = SimpleNamespace(running=True, paused=False, restarting=False)
    container = cast(Any, SimpleNamespace(shim=shim, state=state, lock=Lock()))
    done = []
    with Looking(cast(Any, SimpleNamespace(engine=None)))._still(container):
        done.append("committed")
    assert done == ["committed"]


def test_checks_of_health_are_told_as_the_execs_that_they_are(engine: Daemon, client: docker.DockerClient) -> None:
    since = time.time()
    check = {"test": ["CMD", "echo", "well"], "interval": 300_000_000}
    container = client.containers.run("busybox", "sleep 100", detach=True, healthcheck=check)
    try:
        told: list[dict[str, Any]] = []
        filters = {"container": container.id}
        with contextlib.closing(client.events(decode=True, since=since, filters=filters)) as events:
            for event in events:
                told.append(event)
                if event["Action"].startswith("health_status"):
                    break
        told = [event for event in told if event["Action"].startswith("exec")]
        assert [event["Action"] for event in told] == ["exec_create: echo well", "exec_start: echo well", "exec_die"]
        assert told[2]["Actor"]["Attributes"]["exitCode"] == "0"
        assert len({event["Actor"]["Attributes"]["execID"] for event in told}) == 1
    finally:
        container.remove(force=True)


def test_a_request_may_name_the_host_in_its_target_and_is_answered_with_a_date(engine: Daemon) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(engine.address.removeprefix("unix://"))
        connection.sendall(b"GET http://docker/v1.41/version HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
        head, _, _ = b"".join(iter(lambda: connection.recv(65536), b"")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    dates = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"date:")]
    assert len(dates) == 1
    assert abs(parsedate_to_datetime(dates[0].decode()).timestamp() - time.time()) < 60


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_takes_images_from_the_daemon_and_brings_them(engine: Daemon, tmp_path: Path) -> None:
    def copy(*words: str) -> None:
        done = subprocess.run(["skopeo", "--insecure-policy", "copy", *words], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    place = f"dir:{tmp_path}"
    copy("--src-daemon-host", engine.address, "docker-daemon:busybox:latest", place)
    copy("--dest-daemon-host", engine.address, place, "docker-daemon:brought/by-skopeo:1")
    try:
        assert engine.output("run", "--rm", "brought/by-skopeo:1", "echo", "there") == "there"
    finally:
        engine.output("rmi", "brought/by-skopeo:1")
