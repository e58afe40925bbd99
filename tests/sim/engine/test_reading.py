"""Documents of clients become values: what is lenient, and the words of what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from sim.engine import BadParameterError
from sim.engine.model import Config, ContainerRequest, HostConfig, PortBinding
from sim.engine.reading import read

NAME = "runconfig.ContainerConfigWrapper"


def test_names_are_read_in_any_case_and_null_is_not_given() -> None:
    wish = read(
        {"IMAGE": "a", "cmd": ["x"], "hostconfig": {"memory": 7, "Binds": None}, "Env": None, "What": {"ever": 1}},
        ContainerRequest,
        NAME,
    )
    assert (wish.image, wish.cmd, wish.env) == ("a", ("x",), None)
    assert wish.host_config == HostConfig(memory=7)


def test_a_text_may_stand_for_a_list_of_one() -> None:
    wish = read({"Cmd": "ls -l", "Entrypoint": "sh"}, Config, "container.Config")
    assert (wish.cmd, wish.entrypoint) == (("ls -l",), ("sh",))


def test_nulls_inside_maps() -> None:
    wish = read(
        {
            "HostConfig": {"PortBindings": {"80/tcp": None, "81/tcp": [{"HostPort": "1"}, {"HostIp": None}]}},
            "NetworkingConfig": {"EndpointsConfig": {"a": None, "b": {"Aliases": None}}},
            "Volumes": {"/v": None},
        },
        ContainerRequest,
        NAME,
    )
    assert wish.host_config is not None
    assert wish.host_config.port_bindings == {"80/tcp": (), "81/tcp": (PortBinding(host_port="1"), PortBinding())}
    assert wish.networking_config is not None
    assert wish.networking_config.endpoints_config == {"a": {}, "b": {"Aliases": None}}
    assert wish.volumes == {"/v": {}}


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ([1], "json: cannot unmarshal array into Go value of type runconfig.ContainerConfigWrapper"),
        ("x", "json: cannot unmarshal string into Go value of type runconfig.ContainerConfigWrapper"),
        ({"Image": 5}, "number into Go struct field ContainerConfigWrapper.Image of type string"),
        ({"Cmd": 5}, "number into Go struct field ContainerConfigWrapper.Cmd of type string"),
        ({"Tty": "x"}, "string into Go struct field ContainerConfigWrapper.Tty of type bool"),
        ({"HostConfig": {"Memory": "x"}}, "string into Go struct field HostConfig.HostConfig.Memory of type int64"),
        (
            {"HostConfig": {"Privileged": 1}},
            "number into Go struct field HostConfig.HostConfig.Privileged of type bool",
        ),
        ({"HostConfig": 3}, "number into Go struct field ContainerConfigWrapper.HostConfig"),
    ],
)
def test_a_wrong_type_is_refused_as_go_refuses_it(document: Any, text: str) -> None:
    with pytest.raises(BadParameterError) as refused:
        read(document, ContainerRequest, NAME)
    assert text in str(refused.value)
