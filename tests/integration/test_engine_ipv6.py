"""Networks with IPv6 by the docker command: addresses, names, ways out, published ports; and all of it goes again."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon, new_daemon
from tests.dockerd import ReferenceEngine, reference_engine
from tests.integration.test_engine_images import said
from tests.integration.test_engine_networks import bridges, run
from tests.patience import until
from tests.shared import daemon, empty

__all__ = ["daemon", "empty", "new_daemon", "reference_engine"]

pytestmark = [
    pytest.mark.usefixtures("root"),
    pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this kernel has no IPv6"),
]


@pytest.fixture(autouse=True)
def _forwarding() -> Iterator[None]:
    """Leave the host's passing on of IPv6 as it was."""
    paths = [Path(f"/proc/sys/net/ipv6/conf/{name}/forwarding") for name in ("default", "all")]
    before = [path.read_text() for path in paths]
    yield
    for path, text in zip(paths, before, strict=True):
        path.write_text(text)


@pytest.fixture
def box(daemon: Daemon) -> Daemon:
    """Return a daemon with an image."""
    daemon.busybox("bb:1")
    return daemon


_ENDPOINT = (
    "{{range .NetworkSettings.Networks}}{{.IPv6Gateway}} {{.GlobalIPv6Address}} {{.GlobalIPv6PrefixLen}}"
    " {{with .IPAMConfig}}{{.IPv6Address}}{{end}}{{end}} {{.NetworkSettings.GlobalIPv6Address}}"
)
_NETWORK = "{{.EnableIPv6}}{{range .IPAM.Config}} {{if eq .Subnet %s}}{{json .}}{{end}}{{end}}"
_CREATE = ("network", "create", "--ipv6", "--subnet")

#: Commands about IPv6 that both engines answer alike.
TRANSCRIPT: list[tuple[str, ...]] = [
    ("network", "create", "--ipv6", "six-none"),
    ("network", "create", "--ipv6", "--subnet", "10.94.1.0/24", "six-none"),
    (*_CREATE, "fd00:94:1::/64", "six-one"),
    (*_CREATE, "fd00:94:2::/64", "--gateway", "fd00:94:2::5", "--ip-range", "fd00:94:2:0:8::/80", "--subnet",
     "10.94.2.0/24", "six-two"),
    ("network", "create", "--subnet", "fd00:94:3::/64", "six-off"),
    (*_CREATE, "fd00:94:1::/80", "six-none"),
    (*_CREATE, "fd00:94:7::/64", "--subnet", "fd00:94:8::/64", "six-none"),
    ("network", "inspect", "-f", _NETWORK % '"fd00:94:1::/64"', "six-one"),
    ("network", "inspect", "-f", _NETWORK % '"fd00:94:2::/64"', "six-two"),
    ("network", "inspect", "-f", _NETWORK % '"fd00:94:3::/64"', "six-off"),
    ("network", "ls", "-f", "name=six-", "--format", "{{.Name}} {{.IPv6}}"),
    ("create", "--network", "six-one", "--ip6", "zz", "bb:1"),
    ("create", "--network", "six-one", "--ip6", "10.0.0.1", "bb:1"),
    ("create", "--name", "six-a", "--network", "six-one", "bb:1", "sleep", "100"),
    ("create", "--name", "six-b", "--network", "six-one", "--ip6", "fd00:94:1::99", "bb:1", "sleep", "100"),
    ("create", "--name", "six-c", "--network", "six-two", "bb:1", "sleep", "100"),
    ("create", "--name", "six-d", "--network", "six-off", "--ip6", "fd00:94:3::7", "bb:1", "sleep", "100"),
    ("create", "--name", "six-e", "--network", "six-one", "--ip6", "fd00:94:3::7", "bb:1", "sleep", "100"),
    ("create", "--name", "six-f", "--network", "six-one", "--ip6", "fd00:94:1::99", "bb:1", "sleep", "100"),
    ("create", "--name", "six-g", "--network", "six-one", "--ip", "172.17.0.9", "bb:1", "sleep", "100"),
    ("create", "--name", "six-h", "--network", "bridge", "--ip6", "fd00:94:1::98", "bb:1", "sleep", "100"),
    *(("start", f"six-{name}") for name in "abcdefgh"),
    *(("inspect", "-f", _ENDPOINT, f"six-{name}") for name in "abcde"),
    *(("exec", f"six-{name}", "ip", "-6", "route", "show", "default") for name in "abcd"),
    *(("exec", f"six-{name}", "sh", "-c", "grep -c ^fd00 /etc/hosts") for name in "abcd"),
    ("network", "connect", "--ip6", "fd00:94:2::5", "six-two", "six-a"),
    ("network", "connect", "--ip6", "fd00:94:2::", "six-two", "six-a"),
    ("network", "connect", "--ip6", "fd00:94:2::88", "six-two", "six-a"),
    ("inspect", "-f", "{{(index .NetworkSettings.Networks `six-two`).GlobalIPv6Address}}", "six-a"),
    ("exec", "six-a", "ip", "-6", "route", "show", "default"),
    ("network", "disconnect", "six-one", "six-a"),
    ("exec", "six-a", "ip", "-6", "route", "show", "default"),
    ("network", "connect", "six-off", "six-b"),
    ("exec", "six-b", "ip", "-6", "route", "show", "default"),
    ("exec", "six-b", "ping", "-6", "-c", "1", "-q", "-W", "1", "fd00:94:1::1"),
    ("stop", "-t", "0", "six-c"),
    ("inspect", "-f", _ENDPOINT, "six-c"),
]  # fmt: skip


def test_the_transcript_is_dockers(box: Daemon, reference_engine: ReferenceEngine) -> None:
    reference_engine.busybox("bb:1")
    found = []
    for words in TRANSCRIPT:
        ours, theirs = (_steady(*said(engine, *words)) for engine in (box, reference_engine))
        if ours != theirs:
            found.append(f"{words}:\n{ours}\n-- not --\n{theirs}")
    for engine in (box, reference_engine):
        engine.docker("rm", "-f", *(f"six-{name}" for name in "abcdefgh"))
        engine.docker("network", "rm", "six-one", "six-two", "six-off")
    assert found == [], "\n\n".join(found)


def _steady(status: int, text: str) -> tuple[int, str]:
    """Return what was said without how long an answer took."""
    return status, "\n".join(line for line in text.splitlines() if "round-trip" not in line)


def test_containers_find_each_other_by_names(box: Daemon) -> None:
    box.output("network", "create", "--ipv6", "--subnet", "fd00:94:4::/64", "lan")
    run(box, "server", "--network", "lan", "--network-alias", "web", "--ip6", "fd00:94:4::abc")
    run(box, "asks", "--network", "lan")
    for name in ("server", "web"):
        text = box.output("exec", "asks", "nslookup", "-type=aaaa", name)
        assert "fd00:94:4::abc" in text
        assert "1 packets received" in box.output("exec", "asks", "ping", "-6", "-c", "1", name)
    assert "name = server" in box.output("exec", "asks", "nslookup", "fd00:94:4::abc")
    box.output("network", "create", "old")
    run(box, "four", "--network", "old")
    run(box, "looks", "--network", "old")
    text = box.docker("exec", "looks", "nslookup", "-type=aaaa", "four").stdout.decode()
    assert "NXDOMAIN" not in text  # there is such a name, but no such address
    box.output("rm", "-f", "server", "asks", "four", "looks")


def test_networks_are_apart(box: Daemon) -> None:
    box.output("network", "create", "--ipv6", "--subnet", "fd00:94:4::/64", "one")
    box.output("network", "create", "--ipv6", "--subnet", "fd00:94:5::/64", "two")
    box.output("network", "create", "--ipv6", "--subnet", "fd00:94:6::/64", "--internal", "closed")
    box.output(
        "network", "create", "--ipv6", "--subnet", "fd00:94:7::/64", "-o",
        "com.docker.network.bridge.enable_icc=false", "parted",
    )  # fmt: skip
    for name, network, address in (
        ("aa", "one", "4::a"), ("bb", "two", "5::b"), ("cc", "closed", "6::c"), ("dd", "parted", "7::d"),
        ("ee", "parted", "7::e"),
    ):  # fmt: skip
        run(box, name, "--network", network, "--ip6", f"fd00:94:{address}")

    def pings(name: str, address: str) -> bool:
        return box.docker("exec", name, "ping", "-6", "-c", "1", "-W", "1", address).returncode == 0

    assert not pings("aa", "fd00:94:5::b")
    assert not pings("aa", "fd00:94:6::c")
    assert not pings("cc", "fd00:94:5::b")
    assert not pings("dd", "fd00:94:7::e")
    assert pings("aa", "fd00:94:4::1")
    assert pings("dd", "fd00:94:7::1")
    assert box.output("exec", "cc", "ip", "-6", "route", "show", "default") == ""
    box.output("network", "connect", "two", "aa")
    assert pings("aa", "fd00:94:5::b")
    assert "fd00:94:5::2" in box.output("exec", "aa", "cat", "/etc/hosts")
    box.output("rm", "-f", "aa", "bb", "cc", "dd", "ee")


def test_a_published_port_is_reached_by_ipv6(box: Daemon) -> None:
    box.output("network", "create", "--ipv6", "--subnet", "fd00:94:4::/64", "lan")
    run(box, "server", "--network", "lan", "-p", "80", command="exec busybox httpd -f -p [fd00:94:4::2]:80")
    shown = [line.rpartition(":") for line in box.output("port", "server", "80").splitlines()]
    assert [address for address, _, _ in shown] == ["0.0.0.0", "[::]"]
    until(lambda: _answered("::1", int(shown[1][2])) == b"HTTP")
    assert not _answered("127.0.0.1", int(shown[0][2]))  # it has no socket for IPv4
    box.output("rm", "-f", "server")


def _answered(address: str, port: int) -> bytes:
    """Return how an answer over HTTP begins; nothing where there is none."""
    try:
        with socket.create_connection((address, port), 5) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return connection.recv(4)
    except OSError:
        return b""


@pytest.fixture
def world() -> Iterator[str]:
    """Return an address beyond this host, in a namespace of its own that knows no way to any container."""
    name, inside = "llsix", "fd00:94:ff::2"
    commands = [
        f"ip netns add {name}",
        f"ip link add {name}0 type veth peer name {name}1 netns {name}",
        f"ip -6 addr add fd00:94:ff::1/64 dev {name}0 nodad",
        f"ip link set {name}0 up",
        f"ip -n {name} -6 addr add {inside}/64 dev {name}1 nodad",
        f"ip -n {name} link set {name}1 up",
    ]
    try:
        for command in commands:
            subprocess.run(command.split(), check=True)
        yield inside
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)
        subprocess.run(["ip", "link", "del", f"{name}0"], check=False, capture_output=True)


@pytest.mark.parametrize("setting", ["", "true"])
def test_the_hosts_address_is_taken_outside_only_where_asked_for(
    new_daemon: Callable[..., Daemon], world: str, setting: str
) -> None:
    box = new_daemon(*(["--ip6tables", setting] if setting else []))
    box.busybox("bb:1")
    # Of its own each time: for a while the kernel goes on with what it knows of packets between two addresses.
    box.output("network", "create", "--ipv6", "--subnet", f"fd00:94:5{len(setting)}::/64", "lan")
    done = box.docker("run", "--rm", "--network", "lan", "bb:1", "ping", "-6", "-c", "1", "-W", "2", world)
    assert (done.returncode == 0) is bool(setting), done.stdout


def test_nothing_stays_after_the_daemon_was_killed(new_daemon: Callable[..., Daemon]) -> None:
    box = new_daemon()
    box.busybox("bb:1")
    before = bridges()
    box.output("network", "create", "--ipv6", "--subnet", "fd00:94:4::/64", "lan")
    run(box, "stays", "--network", "lan", "--restart", "no")
    run(box, "ends", "--network", "lan", command="sleep 1000")
    bridge = (bridges() - before) & {f"br-{box.output('network', 'inspect', '-f', '{{.Id}}', 'lan')[:12]}"}
    assert bridge
    box.stop(signal.SIGKILL)
    box.start()
    assert "1 packets received" in box.output("exec", "stays", "ping", "-6", "-c", "1", "ends")
    assert box.output("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.GlobalIPv6Address}}{{end}}", "ends")
    box.output("rm", "-f", "stays", "ends")
    assert not bridge & bridges()
    rules = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
    assert "fd00:94:4" not in rules
