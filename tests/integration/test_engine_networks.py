"""Networks and volumes by the docker command and the SDK: what is made on the host, who finds whom, what is refused."""

from __future__ import annotations

import ipaddress
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemons import Daemon, new_daemon
from tests.dockerd import ReferenceEngine, reference_engine
from tests.integration.test_engine_images import said
from tests.shared import daemon, empty

__all__ = ["daemon", "empty", "new_daemon", "reference_engine"]

pytestmark = pytest.mark.usefixtures("root")


@pytest.fixture
def box(daemon: Daemon) -> Daemon:
    """Return a daemon with an image."""
    daemon.busybox("bb:1")
    return daemon


def bridges() -> set[str]:
    """Return the network interfaces of this machine."""
    return set(os.listdir("/sys/class/net"))


def run(daemon: Daemon, name: str, *words: str, command: str = "sleep 1000") -> str:
    """Start a container in the background; return its ID."""
    return daemon.output("run", "-d", "--name", name, *words, "bb:1", "sh", "-c", command)


#: Commands about networks and volumes that both engines answer alike.
TRANSCRIPT: list[tuple[str, ...]] = [
    ("network", "ls", "--format", "{{.Name}} {{.Driver}} {{.Scope}}"),
    ("network", "create", "nt-one"),
    ("network", "create", "nt-one"),
    ("network", "create", "host"),
    ("network", "create", "-d", "host", "nt-two"),
    ("network", "create", "--subnet", "10.99.0.0/16", "--label", "a=b", "nt-two"),
    ("network", "create", "--subnet", "10.99.1.0/24", "nt-three"),
    ("network", "create", "--subnet", "10.96.0.0/16", "--subnet", "10.95.0.0/16", "nt-three"),
    ("network", "inspect", "-f", "{{.Name}} {{.Driver}} {{.IPAM.Config}} {{.Internal}} {{.Labels}}", "nt-two"),
    ("network", "ls", "-f", "name=nt-", "--format", "{{.Name}} {{.Labels}}"),
    ("network", "ls", "-f", "label=a", "-q"),
    ("network", "ls", "-f", "type=custom", "--format", "{{.Name}}"),
    ("network", "ls", "-f", "colour=red"),
    ("network", "inspect", "nt-none"),
    ("network", "rm", "nt-none"),
    ("network", "rm", "bridge"),
    ("network", "connect", "nt-one", "nobody"),
    ("network", "disconnect", "nt-one", "nobody"),
    ("network", "prune", "-f", "--filter", "label=a=c"),
    ("network", "prune", "-f", "--filter", "label=a=b"),
    ("network", "rm", "nt-one"),
    ("volume", "ls"),
    ("volume", "create", "--label", "a=b", "vt-one"),
    ("volume", "create", "vt-one"),
    ("volume", "create", "bad/name"),
    ("volume", "create", "--opt", "colour=red", "vt-two"),
    ("volume", "create", "--opt", "type=tmpfs", "--opt", "device=tmpfs", "--opt", "o=size=1m", "vt-two"),
    ("volume", "inspect", "-f", "{{.Name}} {{.Driver}} {{.Labels}} {{.Options}} {{.Scope}}", "vt-one", "vt-two"),
    ("volume", "ls", "-f", "dangling=true", "-q"),
    ("volume", "ls", "-f", "label=a", "--format", "{{.Name}} {{.Driver}}"),
    ("volume", "ls", "-f", "colour=red"),
    ("volume", "inspect", "vt-none"),
    ("volume", "rm", "vt-none"),
    ("volume", "prune", "-f", "--filter", "label=a=c"),
    ("volume", "rm", "vt-one", "vt-two"),
]


def test_the_transcript_is_dockers(daemon: Daemon, reference_engine: ReferenceEngine) -> None:
    found = []
    for words in TRANSCRIPT:
        ours, theirs = said(daemon, *words), said(reference_engine, *words)
        if ours != theirs:
            found.append(f"{words}:\n{ours}\n-- not --\n{theirs}")
    assert found == [], "\n\n".join(found)


def test_a_volume_of_a_driver_that_is_not_there_is_refused(daemon: Daemon) -> None:
    told = said(daemon, "volume", "create", "-d", "nodriver", "vt-two")
    text = 'create vt-two: error looking up volume plugin nodriver: plugin "nodriver" not found'
    assert told == (1, f"Error response from daemon: {text}")  # so says Docker's engine, which looks for it 15 seconds


def test_containers_of_a_network_find_each_other(box: Daemon) -> None:
    box.output("network", "create", "lan")
    run(box, "server", "--network", "lan", "--network-alias", "web", "--hostname", "boxhost")
    for name in ("server", "web", box.output("inspect", "-f", "{{.Id}}", "server")[:12]):
        assert "1 packets received" in box.output("run", "--rm", "--network", "lan", "bb:1", "ping", "-c", "1", name)
    done = box.docker("run", "--rm", "bb:1", "ping", "-c", "1", "-W", "1", "server")
    assert done.returncode != 0  # the default bridge knows no names
    box.output("rm", "-f", "server")


def test_a_running_container_joins_and_leaves(box: Daemon) -> None:
    box.output("network", "create", "one")
    box.output("network", "create", "two")
    run(box, "there", "--network", "two")
    run(box, "mover", "--network", "one")
    assert box.docker("exec", "mover", "ping", "-c", "1", "-W", "1", "there").returncode != 0
    box.output("network", "connect", "--alias", "moved", "two", "mover")
    assert "1 packets received" in box.output("exec", "mover", "ping", "-c", "1", "there")
    assert "1 packets received" in box.output("exec", "there", "ping", "-c", "1", "moved")
    assert set(json.loads(box.output("inspect", "-f", "{{json .NetworkSettings.Networks}}", "mover"))) == {"one", "two"}
    box.output("network", "disconnect", "one", "mover")  # by which it reached the world: now the other one leads there
    gateway = box.output("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "two")
    assert box.output("exec", "mover", "ip", "route").startswith(f"default via {gateway}")
    done = box.docker("network", "disconnect", "one", "mover")
    assert b"is not connected to network one" in done.stderr
    box.output("rm", "-f", "there", "mover")


def test_addresses_are_given_and_taken_back(box: Daemon) -> None:
    box.output("network", "create", "--subnet", "10.97.0.0/29", "--aux-address", "printer=10.97.0.2", "small")
    shape = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    run(box, "first", "--network", "small")
    run(box, "fixed", "--network", "small", "--ip", "10.97.0.6")
    assert [box.output("inspect", "-f", shape, name) for name in ("first", "fixed")] == ["10.97.0.3", "10.97.0.6"]
    done = box.docker("run", "--rm", "--network", "small", "--ip", "10.97.0.3", "bb:1", "true")
    assert b"Address already in use" in done.stderr
    run(box, "third", "--network", "small")
    run(box, "fourth", "--network", "small")
    done = box.docker("run", "--rm", "--network", "small", "bb:1", "true")
    assert b"no available IPv4 addresses on this network's address pools" in done.stderr
    box.output("rm", "-f", "first")
    assert "10.97.0.3/29" in box.output("run", "--rm", "--network", "small", "bb:1", "ip", "addr")
    box.output("rm", "-f", "fixed", "third", "fourth")


def test_an_internal_network_leads_nowhere(box: Daemon) -> None:
    box.output("network", "create", "--internal", "closed")
    assert "default" not in box.output("run", "--rm", "--network", "closed", "bb:1", "ip", "route")
    box.output("network", "create", "-o", "com.docker.network.driver.mtu=1400", "narrow")
    assert "mtu 1400" in box.output("run", "--rm", "--network", "narrow", "bb:1", "ip", "link", "show", "eth0")


def test_bridges_are_there_while_somebody_is_on_them(box: Daemon) -> None:
    box.output("network", "create", "-o", "com.docker.network.bridge.name=labtest0", "named")
    assert "labtest0" not in bridges()
    run(box, "on", "--network", "named")
    assert "labtest0" in bridges()
    done = box.docker("network", "rm", "named")
    assert b"has active endpoints" in done.stderr
    box.output("stop", "-t", "0", "on")
    assert "labtest0" not in bridges()
    box.output("rm", "on")
    box.output("network", "rm", "named")


def test_two_daemons_keep_out_of_each_others_way(new_daemon: Callable[..., Daemon]) -> None:
    shown = []
    daemons = [new_daemon(), new_daemon()]
    for one in daemons:
        one.busybox("bb:1")
        run(one, "on")
        shown.append(one.output("inspect", "-f", "{{.NetworkSettings.IPAddress}}/16", "on"))
    first, second = (ipaddress.ip_interface(text).network for text in shown)
    assert not first.overlaps(second)
    for one in daemons:
        one.output("rm", "-f", "on")


def test_networks_outlive_a_killed_daemon(new_daemon: Callable[..., Daemon]) -> None:
    box = new_daemon()
    box.busybox("bb:1")
    box.output("network", "create", "lan")
    run(box, "stays", "--network", "lan")
    box.stop(signal.SIGKILL)
    box.start()
    assert "1 packets received" in box.output("run", "--rm", "--network", "lan", "bb:1", "ping", "-c", "1", "stays")
    box.output("rm", "-f", "stays")
    box.output("network", "rm", "lan")


def test_a_pool_that_overlaps_a_route_of_the_host_is_not_taken(new_daemon: Callable[..., Daemon]) -> None:
    routes = "ip link set lo up; ip route add blackhole 172.17.0.0/16; ip route add 172.18.0.0/15 dev lo"
    one = new_daemon(inside=["unshare", "--net", "sh", "-ec", f'{routes}; exec "$@"', "sh"])
    assert one.output("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "bridge") == "172.20.0.0/16"
    one.output("network", "create", "next")
    assert one.output("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "next") == "172.21.0.0/16"


_ICC = "com.docker.network.bridge.enable_icc"


def reaches(box: Daemon, name: str, address: str, port: int) -> bool:
    """Tell whether something in a container gets an answer from another's port."""
    done = box.docker("exec", name, "nc", "-w", "1", address, str(port))
    return done.stdout == b"answer\n"


def serving(box: Daemon, name: str, *words: str) -> str:
    """Start a container that answers on the ports 80 and 81; return its address."""
    run(box, name, *words, command="for p in 80 81; do while :; do echo answer | nc -l -p $p; done & done; wait")
    return box.output("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", name)


def test_containers_of_a_parted_network_reach_the_host_only(box: Daemon, reference_engine: ReferenceEngine) -> None:
    shown = []
    for engine in (box, reference_engine):
        assert engine.docker("network", "create", "-o", f"{_ICC}=false", "parted").returncode == 0
        shown.append(engine.docker("network", "inspect", "-f", "{{.Options}}", "parted").stdout)
        done = engine.docker("network", "create", "-o", f"{_ICC}=maybe", "other")
        shown.append(done.stderr)
    reference_engine.docker("network", "rm", "parted")
    assert shown[:2] == shown[2:]
    address = serving(box, "server", "--network", "parted")
    run(box, "asks", "--network", "parted")
    assert reaches(box, "server", "127.0.0.1", 80)
    assert not reaches(box, "asks", address, 80)
    assert box.docker("exec", "asks", "ping", "-c", "1", "-W", "1", address).returncode != 0
    gateway = box.output("network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "parted")
    assert "1 packets received" in box.output("exec", "asks", "ping", "-c", "1", gateway)
    assert address in box.output("exec", "asks", "nslookup", "server")
    with socket.create_connection((address, 80), 5) as connection:  # the host does
        assert connection.recv(16) == b"answer\n"
    box.output("rm", "-f", "server", "asks")


def test_links_open_what_is_exposed_on_a_parted_default_network(new_daemon: Callable[..., Daemon]) -> None:
    box = new_daemon("--icc", "false")
    box.busybox("bb:1")
    assert box.output("network", "inspect", "-f", f'{{{{index .Options "{_ICC}"}}}}', "bridge") == "false"
    address = serving(box, "server", "--expose", "80")
    run(box, "linked", "--link", "server")
    run(box, "stranger")
    assert reaches(box, "linked", address, 80)
    assert not reaches(box, "linked", address, 81)
    assert not reaches(box, "stranger", address, 80)
    box.output("rm", "-f", "stranger")
    assert reaches(box, "linked", address, 80)
    box.output("rm", "-f", "server", "linked")


# -- volumes


def test_a_volume_takes_over_what_the_image_has(box: Daemon) -> None:
    box.output("run", "--rm", "-v", "data:/etc", "bb:1", "sh", "-c", "echo new > /etc/added")
    assert "added" in box.output("run", "--rm", "-v", "data:/x", "bb:1", "ls", "/x")
    assert "root:x:0:0" in box.output("run", "--rm", "-v", "data:/x", "bb:1", "cat", "/x/passwd")
    inside = Path(box.output("volume", "inspect", "-f", "{{.Mountpoint}}", "data"))
    assert (inside / "added").read_text() == "new\n"


def test_a_volume_in_use_stays(box: Daemon) -> None:
    container = run(box, "user", "-v", "held:/data")
    done = box.docker("volume", "rm", "held")
    assert done.stderr.decode().strip() == (
        f"Error response from daemon: remove held: volume is in use - [{container}]"
    )
    box.output("stop", "-t", "0", "user")
    assert box.docker("volume", "rm", "-f", "held").returncode != 0  # a stopped one has it still
    assert box.output("volume", "ls", "-q", "-f", "dangling=false") == "held"
    box.output("rm", "user")
    box.output("volume", "rm", "held")


def test_volumes_without_a_name_go_with_their_container_or_by_prune(box: Daemon) -> None:
    run(box, "one", "-v", "/data")
    run(box, "two", "-v", "/data", "-v", "named:/more")
    assert len(box.output("volume", "ls", "-q").split()) == 3
    box.output("rm", "-f", "-v", "one")
    assert len(box.output("volume", "ls", "-q").split()) == 2
    box.output("rm", "-f", "two")
    assert "Total reclaimed space: 0B" in box.output("volume", "prune", "-f")
    assert box.output("volume", "ls", "-q") == "named"
    box.output("volume", "prune", "-a", "-f")
    assert box.output("volume", "ls", "-q") == ""


def test_options_of_a_volume_are_mounted_while_it_is_used(box: Daemon, tmp_path: Path) -> None:
    box.output("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=64k,nodev", "memory")
    (tmp_path / "file").write_text("from outside")
    box.output("volume", "create", "-o", "type=none", "-o", f"device={tmp_path}", "-o", "o=bind,ro", "bound")
    run(box, "user", "-v", "memory:/m", "-v", "bound:/b")
    assert "tmpfs" in box.output("exec", "user", "grep", " /m ", "/proc/mounts")
    assert box.docker("exec", "user", "dd", "if=/dev/zero", "of=/m/x", "bs=1k", "count=100").returncode != 0
    assert box.output("exec", "user", "cat", "/b/file") == "from outside"
    assert b"Read-only" in box.docker("exec", "user", "touch", "/b/x").stderr
    box.output("rm", "-f", "user")
    assert str(box.root / "volumes") not in Path("/proc/self/mountinfo").read_text()
    box.output("volume", "create", "-o", "type=none", "-o", "device=/nowhere", "-o", "o=bind", "broken")
    done = box.docker("run", "--rm", "-v", "broken:/b", "bb:1", "true")
    assert b"failed to mount local volume: mount /nowhere" in done.stderr
