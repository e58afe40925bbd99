"""What is asked for with a container: what makes no sense, what is not known, what only some versions mean alike."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.daemons import Daemon, docker_command
from tests.shared import client, engine, running

__all__ = ["client", "engine", "running"]


@pytest.mark.parametrize(
    ("wish", "status", "text"),
    [
        ({"Image": "nope"}, 404, "No such image: nope:latest"),
        ({}, 400, "Config cannot be empty in order to create a container"),
        (
            {"Image": "busybox", "Cmd": 5},
            400,
            "cannot unmarshal number into Go struct field ContainerConfigWrapper.Cmd",
        ),
        ({"Image": "busybox", "HostConfig": {"Memory": "x"}}, 400, "HostConfig.Memory of type int64"),
        ({"Image": "busybox", "HostConfig": {"Memory": 1000}}, 400, "Minimum memory limit allowed is 6MB"),
        ({"Image": "busybox", "HostConfig": {"Binds": ["/a:/b", "/c:/b"]}}, 400, "Duplicate mount point: /b"),
        (
            {"Image": "busybox", "HostConfig": {"Binds": ["a/b:/c"]}},
            400,
            "includes invalid characters for a local volume",
        ),
        ({"Image": "busybox", "HostConfig": {"Binds": ["/b:c"]}}, 400, "mount path must be absolute"),
        ({"Image": "busybox", "HostConfig": {"CapAdd": ["BLA"]}}, 400, 'invalid CapAdd: unknown capability: "CAP_BLA"'),
        ({"Image": "busybox", "HostConfig": {"RestartPolicy": {"Name": "bla"}}}, 400, "invalid restart policy 'bla'"),
        ({"Image": "busybox", "Env": ["=x"]}, 400, "invalid environment variable: =x"),
        ({"Image": "busybox", "WorkingDir": "x"}, 400, "the working directory 'x' is invalid"),
        ({"Image": "busybox", "StopSignal": "SIGBLA"}, 400, "Invalid signal: SIGBLA"),
        ({"Image": "busybox", "HostConfig": {"PortBindings": {"x": []}}}, 400, 'invalid port specification: "x"'),
        ({"Image": "busybox", "Healthcheck": {"Interval": 5}}, 400, "Interval in Healthcheck cannot be less than 1ms"),
        ({"Image": "busybox", "HostConfig": {"VolumesFrom": ["no"]}}, 400, "No such container: no"),
    ],
)
def test_what_makes_no_sense_is_refused_in_dockers_words(
    client: docker.DockerClient, wish: dict[str, Any], status: int, text: str
) -> None:
    answer = client.api.post(client.api._url("/containers/create"), json=wish)
    assert (answer.status_code, text in answer.json()["message"]) == (status, True), answer.text
    assert client.containers.list(all=True) == []


def test_unknown_fields_and_nulls_are_taken_as_not_given(client: docker.DockerClient) -> None:
    wish = {"Image": "busybox", "Cmd": None, "env": ["A=b"], "Bogus": {"x": 1}, "HostConfig": {"Binds": None, "No": 1}}
    answer = client.api.post(
        client.api._url("/containers/create"), data=json.dumps(wish), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 201, answer.text
    assert client.containers.get(answer.json()["Id"]).attrs["Config"]["Env"] == ["A=b"]


@pytest.mark.parametrize(
    ("version", "options", "deep"),
    [
        ("1.43", "readonly", False),
        ("1.44", "readonly", True),
        ("1.44", "readonly,bind-recursive=writable", False),
        ("1.44", "readonly,bind-propagation=rprivate,bind-recursive=readonly", True),
    ],
)
def test_what_is_mounted_below_a_read_only_directory(
    engine: Daemon, client: docker.DockerClient, tmp_path: Path, version: str, options: str, deep: bool
) -> None:
    place = tmp_path / "place"
    (place / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", place / "below"], check=True)
    try:
        mount = f"type=bind,source={place},target=/place,{options}"
        words = ["run", "--rm", "--network", "none", "--mount", mount, "busybox", "touch", "/place/below/x"]
        done = docker_command(engine.address, tmp_path, words, {"DOCKER_API_VERSION": version})
        assert (b"Read-only file system" in done.stderr) is deep, done
        assert (place / "below/x").exists() is not deep
        assert b"Read-only" in docker_command(engine.address, tmp_path, [*words[:-1], "/place/x"]).stderr
    finally:
        subprocess.run(["umount", place / "below"], check=True)
