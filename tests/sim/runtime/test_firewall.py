"""What the packet filter does for bridges and published ports, and that it goes with them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sim.runtime import Container, ContainerError, Interface, InvalidSpecError, Port, PortError
from sim.runtime.network import Bridge, create_bridge, delete_bridge
from tests.conftest import ROOT
from tests.patience import until
from tests.sim.images.registries import free_port

#: Says who asks, over TCP and UDP.
SERVER = textwrap.dedent("""
    import socket, threading
    def stream():
        listener = socket.create_server(("", 80))
        while True:
            connection, (address, _) = listener.accept()
            with connection:
                connection.sendall(address.encode())
    threading.Thread(target=stream).start()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("", 80))
    while True:
        _, sender = datagrams.recvfrom(100)
        datagrams.sendto(sender[0].encode(), sender)
""")
ASK = textwrap.dedent("""
    import socket, sys
    kind, address, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    connection.settimeout(3)
    connection.connect((address, port))
    if kind == "udp":
        connection.send(b"?")
    print(connection.recv(100).decode())
""")


@pytest.fixture(autouse=True)
def _needs(needs_root: None) -> None:
    if not shutil.which("nft"):
        pytest.skip("needs nft (Debian: nftables)")


def tables() -> str:
    return subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout


@pytest.fixture
def bridges() -> Iterator[Callable[..., Bridge]]:
    made: list[Bridge] = []
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()

    def make(number: int, **wishes: Any) -> Bridge:
        made.append(Bridge(f"lltest{number}", f"10.214.{number}.0/24", f"10.214.{number}.1", **wishes))
        create_bridge(made[-1])
        return made[-1]

    yield make
    for each in made:
        delete_bridge(each)
    Path("/proc/sys/net/ipv4/ip_forward").write_text(forwarding)
    assert "lltest" not in subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout


def plugged(bridge: Bridge, number: int) -> tuple[Interface, ...]:
    base = bridge.gateway.rpartition(".")[0]
    return (Interface(bridge.name, f"{base}.{number}/24", "" if bridge.internal else bridge.gateway),)


@pytest.fixture
def serve(debian: Any, tmp_path: Path) -> Iterator[Callable[..., Container]]:
    started: list[Container] = []

    def begin(**wishes: Any) -> Container:
        place = tmp_path / f"server{len(started)}"
        place.mkdir()
        container = Container.create(place, debian.spec("/usr/bin/python3", "-Ic", SERVER, **wishes))
        container.start()
        started.append(container)
        look = debian.spec("/usr/bin/python3", "-Ic", "open('/proc/net/udp').read().index(':0050')")
        until(lambda: not container.execution(look).run(capture=True).code)
        return container

    yield begin
    for each in started:
        with contextlib.suppress(ContainerError):
            each.stop(timeout=0)


def asked(kind: str, address: str, port: int) -> str:
    done = subprocess.run([sys.executable, "-Ic", ASK, kind, address, str(port)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


BOTH = (Port(80), Port(80, protocol="udp"))


@pytest.mark.parametrize("number", [0, 1], ids=["tcp", "udp"])
def test_every_way_to_a_published_port(debian: Any, bridges: Any, serve: Any, number: int) -> None:
    one, other = bridges(0), bridges(1, masquerade=False)
    container = serve(interfaces=plugged(one, 2), ports=(BOTH[number],))
    (port,) = container.status().ports
    kind, at = port.protocol, port.host_port
    assert asked(kind, "127.0.0.1", at) == one.gateway  # passed on by the process that listens
    assert asked(kind, other.gateway, at) == other.gateway  # led straight: the container sees who asks
    code = ("/usr/bin/python3", "-Ic", ASK, kind)
    elsewhere = debian.run(*code, other.gateway, str(at), interfaces=plugged(other, 7))
    assert elsewhere.stdout.decode().strip() == "10.214.1.7"
    neighbour = debian.run(*code, one.gateway, str(at), interfaces=plugged(one, 8))
    assert neighbour.stdout.decode().strip() == one.gateway
    itself = container.execution(debian.spec(*code, one.gateway, str(at))).run(capture=True)
    assert itself.stdout.decode().strip() == one.gateway, itself


def test_only_what_is_published_is_let_in(debian: Any, bridges: Any, serve: Any) -> None:
    one, other = bridges(0), bridges(1, masquerade=False)
    serve(interfaces=plugged(one, 2), ports=(Port(80, 0, one.gateway),))
    straight = debian.run("/usr/bin/python3", "-Ic", ASK, "tcp", "10.214.0.2", "80", interfaces=plugged(other, 7))
    assert b"timed out" in straight.stderr


def test_an_address_of_its_own(bridges: Any, serve: Any) -> None:
    one, other = bridges(0), bridges(1, masquerade=False)
    container = serve(interfaces=plugged(one, 2), ports=(Port(80, 0, other.gateway),))
    (port,) = container.status().ports
    assert asked("tcp", other.gateway, port.host_port) == other.gateway
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port.host_port), timeout=2)


def test_rules_go_with_the_container(bridges: Any, serve: Any) -> None:
    container = serve(interfaces=plugged(bridges(0), 2), ports=BOTH)
    name = f"layerlab_ports_{container.shim()}"
    assert name in tables()
    container.stop(timeout=0)
    assert name not in tables()


def test_rules_go_when_the_shim_was_killed(bridges: Any, serve: Any) -> None:
    container = serve(interfaces=plugged(bridges(0), 2), ports=BOTH)
    name = f"layerlab_ports_{container.shim()}"
    port = container.status().ports[0].host_port
    os.kill(container.shim(), signal.SIGKILL)
    until(lambda: container.status().phase == "exited")
    assert name not in tables()
    with socket.create_server(("0.0.0.0", port)):  # nobody listens there any more
        pass


def test_ranges(bridges: Any, serve: Any, debian: Any, tmp_path: Path) -> None:
    bridge = bridges(0)
    number = free_port(4)
    with socket.create_server(("0.0.0.0", number)):
        wish = Port(80, number, host_last=number + 3)
        first, second = (serve(interfaces=plugged(bridge, 2 + each), ports=(wish,)) for each in range(2))
        found = [each.status().ports[0].host_port for each in (first, second)]
        assert len({number, *found}) == 3
        assert set(found) <= set(range(number, number + 4))
        place = tmp_path / "third"
        place.mkdir()
        third = Container.create(place, debian.spec("true", ports=(replace(wish, host_last=number + 1),)))
        with pytest.raises(PortError, match="all ports are allocated"):
            third.start()
    with pytest.raises(InvalidSpecError, match="invalid range of published ports: 90-80"):
        debian.spec("true", ports=(Port(80, 90, host_last=80),))


def test_an_address_that_is_not_here(debian: Any) -> None:
    with pytest.raises(PortError, match=r"Bind for 203\.0\.113\.7:80 failed: cannot assign requested address"):
        debian.run("true", ports=(Port(80, 80, "203.0.113.7"),))


def test_who_goes_on_sending_reaches_the_next_container(bridges: Any, serve: Any) -> None:
    """A sender that never pauses is remembered by the kernel, with where its first datagram went."""
    one, other = bridges(0), bridges(1, masquerade=False)
    first = serve(interfaces=plugged(one, 2), ports=(BOTH[1],))
    (port,) = first.status().ports
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.settimeout(0.3)
        sender.connect((other.gateway, port.host_port))
        assert answered(sender)
        first.stop(timeout=0)
        serve(interfaces=plugged(one, 3), ports=(replace(BOTH[1], host_port=port.host_port),))
        assert answered(sender)


def answered(sender: socket.socket) -> bool:
    for _ in range(100):
        with contextlib.suppress(TimeoutError, ConnectionRefusedError):
            sender.send(b"?")
            return bool(sender.recv(100))
    return False


def test_an_internal_bridge_leads_nowhere(debian: Any, bridges: Any, serve: Any) -> None:
    inside, outside = bridges(0, internal=True), bridges(1)
    serve(interfaces=plugged(outside, 2))
    code = "import subprocess, sys; subprocess.run(['ip', 'route', 'add', 'default', 'via', '10.214.0.1'])\n" + ASK
    words = ("/usr/bin/python3", "-Ic", code, "tcp")
    caught = debian.run(*words, "10.214.1.2", "80", interfaces=plugged(inside, 2), privileged=True)
    assert b"timed out" in caught.stderr
    serve(interfaces=plugged(inside, 3))
    near = debian.run(*words, "10.214.0.3", "80", interfaces=plugged(inside, 2))
    assert near.stdout.decode().strip() == "10.214.0.2"


def test_the_size_of_packets(debian: Any, bridges: Any) -> None:
    bridge = bridges(0, mtu=1400)
    interface = replace(plugged(bridge, 2)[0], mtu=1400)
    look = "print(open('/sys/class/net/eth0/mtu').read().strip())"
    assert debian.python(look, interfaces=(interface,)) == "1400"
    assert Path("/sys/class/net/lltest0/mtu").read_text().strip() == "1400"


DROPS_ALL = textwrap.dedent("""
    import subprocess, sys
    from sim.runtime.network import Bridge, create_bridge, delete_bridge
    def nft(*words, **more):
        return subprocess.run(["nft", *words], check=True, capture_output=True, text=True, **more).stdout
    _, chain, filter = sys.argv
    nft("-f", "-", input=filter)
    before = nft("list", "table", "ip", "filter")
    bridge = Bridge("lltest0", "10.214.0.0/24", "10.214.0.1")
    for _ in range(2):  # a second time makes no second rules
        assert create_bridge(bridge) == ()
    text = nft("list", "chain", "ip", "filter", chain)
    assert text.count('name "lltest0" counter') == 2, text
    delete_bridge(bridge)
    assert nft("list", "table", "ip", "filter") == before
    assert "lltest" not in nft("list", "ruleset")
""")


DROPS_SIX = textwrap.dedent("""
    import pathlib, subprocess, sys
    from sim.runtime.network import Bridge, create_bridge, delete_bridge

    def nft(*words, given=None):
        return subprocess.run(["nft", *words], input=given, capture_output=True, text=True, check=True).stdout

    conf = pathlib.Path("/proc/sys/net/ipv6/conf")
    subprocess.run(["ip", "link", "add", "out", "type", "veth"], check=True)
    (conf / "default/disable_ipv6").write_text("1")
    nft("-f", "-", given="table ip6 filter { chain FORWARD { type filter hook forward priority 0; policy drop; }\\n}")
    before = nft("list", "table", "ip6", "filter")
    bridge = Bridge("lltest5", "10.214.5.0/24", "10.214.5.1", subnet6="fd00:214::/64", gateway6="fd00:214::1")
    create_bridge(bridge)
    assert (conf / "all/forwarding").read_text() == "1\\n"
    assert (conf / "out/accept_ra").read_text() == "2\\n"  # else the host would not hear of its routers any more
    assert "fd00:214::1/64" in subprocess.run(["ip", "-6", "addr"], capture_output=True, text=True).stdout
    assert nft("list", "chain", "ip6", "filter", "FORWARD").count('"lltest5" counter') == 2
    assert "ip6 saddr" not in nft("list", "ruleset")
    create_bridge(Bridge(*(getattr(bridge, name) for name in bridge.__slots__[:-1]), masquerade6=True))
    assert nft("list", "ruleset").count("ip6 saddr fd00:214::/64") == 1
    assert nft("list", "chain", "ip6", "filter", "FORWARD").count('"lltest5" counter') == 2
    delete_bridge(bridge)
    assert nft("list", "table", "ip6", "filter") == before
    assert "lltest" not in nft("list", "ruleset")
    (conf / "out/accept_ra").write_text("1")
    create_bridge(bridge)
    assert (conf / "out/accept_ra").read_text() == "1\\n"  # who has had it so since is right
    try:
        create_bridge(Bridge("lltest6", "10.214.6.0/24", "10.214.6.1", subnet6="fd00:214::/80", gateway6="fd00:214::9"))
    except Exception as error:
        assert "Pool overlaps" in str(error)
    else:
        raise AssertionError("no overlap was seen")
""")


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this kernel has no IPv6")
def test_a_bridge_with_ipv6() -> None:
    command = ["unshare", "-n", sys.executable, "-c", DROPS_SIX]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("chain", ["DOCKER-USER", "FORWARD"])
def test_another_filter_that_drops_all(chain: str) -> None:
    more = "" if chain == "FORWARD" else f"chain {chain} {{ counter return; }}"
    rules = f"""
        table ip filter {{
            {more}
            chain FORWARD {{ type filter hook forward priority 0; policy drop; }}
        }}
    """
    command = ["unshare", "-n", sys.executable, "-c", DROPS_ALL, chain, rules]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
