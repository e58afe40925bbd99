"""Links between containers on the default network: what they are told of each other, by Debian's engine and by ours."""

from __future__ import annotations

import pytest

from tests.daemons import Daemon
from tests.shared import daemon, empty

__all__ = ["daemon", "empty"]

pytestmark = pytest.mark.usefixtures("root", "fuse")


@pytest.fixture
def linked(daemon: Daemon) -> Daemon:
    """Return a daemon on which the container "page" has the link "store" to the container "disk"."""
    daemon.busybox("bb:1")
    sleep = ("bb:1", "sleep", "1000")
    daemon.output("run", "-d", "--name", "disk", "-e", "SIZE=9", "--expose", "81", "--expose", "53/udp", *sleep)
    daemon.output("run", "-d", "--name", "page", "--link", "disk:my-store", *sleep)
    return daemon


def address(daemon: Daemon, name: str) -> str:
    """Return a container's address on the default network."""
    return daemon.output("inspect", "-f", "{{.NetworkSettings.IPAddress}}", name)


def test_a_linked_container_is_told_where_the_other_is_and_what_it_offers(linked: Daemon) -> None:
    there = address(linked, "disk")
    told = linked.output("exec", "page", "env").splitlines()
    assert sorted(line for line in told if line.startswith("MY_STORE_")) == [
        "MY_STORE_ENV_SIZE=9",
        "MY_STORE_NAME=/page/my-store",
        f"MY_STORE_PORT=udp://{there}:53",
        f"MY_STORE_PORT_53_UDP=udp://{there}:53",
        f"MY_STORE_PORT_53_UDP_ADDR={there}",
        "MY_STORE_PORT_53_UDP_PORT=53",
        "MY_STORE_PORT_53_UDP_PROTO=udp",
        f"MY_STORE_PORT_81_TCP=tcp://{there}:81",
        f"MY_STORE_PORT_81_TCP_ADDR={there}",
        "MY_STORE_PORT_81_TCP_PORT=81",
        "MY_STORE_PORT_81_TCP_PROTO=tcp",
    ]
    known = linked.output("exec", "page", "cat", "/etc/hosts").splitlines()
    short = linked.output("ps", "-q", "-f", "name=disk")
    assert f"{there}\tmy-store {short} disk" in known


def test_a_link_is_a_further_name_and_outlives_a_rename(linked: Daemon) -> None:
    client = linked.client()
    names = {each["Id"]: each["Names"] for each in client.api.containers()}
    disk = client.containers.get("disk")
    assert names[disk.id] == ["/disk", "/page/my-store"]
    disk.rename("store")
    assert linked.output("inspect", "-f", "{{.HostConfig.Links}}", "page") == "[/store:/page/my-store]"
    client.close()


def test_a_link_is_removed_and_its_containers_stay(linked: Daemon) -> None:
    there = address(linked, "disk")
    for name, text in (
        ("page", "Conflict, cannot remove the default link name of the container"),
        ("page/other", "No such container: page/other"),
    ):
        assert text in linked.docker("rm", "--link", name).stderr.decode()
    assert "No such container: page/my-store" in linked.docker("rm", "-f", "page/my-store").stderr.decode()
    assert linked.output("rm", "--link", "page/my-store") == "page/my-store"
    assert linked.output("inspect", "-f", "{{json .HostConfig.Links}}", "page") == "null"
    assert there not in linked.output("exec", "page", "cat", "/etc/hosts")
    assert linked.output("ps", "--format", "{{.Names}}").split() == ["page", "disk"]


def test_a_link_to_a_container_that_is_gone_is_none(linked: Daemon) -> None:
    linked.output("rm", "-f", "disk")
    assert linked.output("inspect", "-f", "{{json .HostConfig.Links}}", "page") == "null"
    assert linked.output("restart", "-t", "0", "page") == "page"


def test_a_linked_containers_new_address_is_told(linked: Daemon) -> None:
    before = address(linked, "disk")
    linked.output("stop", "-t", "0", "disk")
    linked.output("run", "-d", "--name", "other", "bb:1", "sleep", "1000")  # takes its address
    linked.output("network", "create", "lan")
    linked.output("network", "connect", "lan", "page")  # which writes the file, though the other does not run
    linked.output("network", "disconnect", "lan", "page")
    linked.output("exec", "page", "sh", "-c", "echo 10.1.2.3 mine >> /etc/hosts")
    linked.output("start", "disk")
    after = address(linked, "disk")
    known = linked.output("exec", "page", "cat", "/etc/hosts").splitlines()
    short = linked.output("ps", "-q", "-f", "name=disk")
    assert after != before
    assert [line for line in known if "my-store" in line] == [f"{after}\tmy-store {short} disk"]
    assert "10.1.2.3 mine" in known
    linked.output("restart", "-t", "0", "disk")
    known = linked.output("exec", "page", "cat", "/etc/hosts").splitlines()
    assert len([line for line in known if "my-store" in line]) == 1
