"""What clients that nobody here wrote rely on, each found by a suite of theirs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import docker
import pytest
from docker.errors import APIError

from sim.engine.looking import Looking
from sim.runtime import ContainerError
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


@pytest.mark.parametrize("error", [ContainerError("no freezer"), FileNotFoundError("freezer.state")])
def test_a_container_that_ends_while_it_is_committed_need_not_stand_still(error: Exception) -> None:
    phases = iter(["running", "running", "exited"])

    def pause() -> None:
        raise error

    class Lock:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    shim = SimpleNamespace(pause=pause, status=lambda: SimpleNamespace(phase=next(phases)))
    state = SimpleNamespace(running=True, paused=False, restarting=False)
    container = cast(Any, SimpleNamespace(shim=shim, state=state, lock=Lock()))
    with Looking(cast(Any, SimpleNamespace(engine=None)))._still(container):
        assert next(phases, "over") == "over"
