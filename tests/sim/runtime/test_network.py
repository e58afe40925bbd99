from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import socket
import struct
import subprocess
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sim.runtime import (
    Client,
    Container,
    ContainerError,
    Interface,
    InvalidSpecError,
    Namespaces,
    Port,
    Process,
    UnsupportedError,
    netlink,
    next_interface,
    plug_in,
    unplug,
)
from sim.runtime.network import Bridge, create_bridge, delete_bridge, free_address, free_subnet, mac_of
from sim.runtime.resolver import answer, start_resolver, stop_resolver, write_names
from tests.patience import PATIENCE, until

SUBNET = "10.213.7.0/24"


@pytest.fixture
def bridge(needs_root: None) -> Iterator[Bridge]:
    bridge = Bridge("lltest0", SUBNET, "10.213.7.1")
    forwarding = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    create_bridge(bridge)
    yield bridge
    delete_bridge(bridge)
    Path("/proc/sys/net/ipv4/ip_forward").write_text(forwarding)
    assert netlink.find_link("lltest0") is None
    if shutil.which("nft"):
        assert (
            "layerlab_lltest0" not in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
        )


def plugged(bridge: Bridge, number: int) -> tuple[Interface]:
    address = f"10.213.7.{number}"
    return (Interface(bridge.name, f"{address}/24", bridge.gateway, mac=mac_of(address)),)


@pytest.fixture
def start(box: Any, tmp_path: Path) -> Iterator[Any]:
    containers: list[Container] = []

    def begin(*args: str, **wishes: Any) -> Container:
        place = tmp_path / f"c{len(containers)}"
        place.mkdir()
        containers.append(Container.create(place, box.spec(*args, **wishes)))
        containers[-1].start()
        return containers[-1]

    yield begin
    for container in containers:
        container.stop(timeout=0)


def test_none_has_the_loopback_alone(box: Any) -> None:
    assert box.sh("ls /sys/class/net; ping -c 1 -W 1 127.0.0.1 | grep -c '1 packets received'").split() == ["lo", "1"]


def test_host_is_the_hosts(box: Any) -> None:
    text = box.sh("readlink /proc/self/ns/net", namespaces=Namespaces(network="host"))
    assert text.strip() == os.readlink("/proc/self/ns/net")


def test_a_bridge_leads_to_its_gateway(box: Any, bridge: Bridge) -> None:
    script = "ip -o addr show eth0; ip route; cat /sys/class/net/eth0/address; ping -c 1 -W 9 10.213.7.1"
    text = box.sh(script, interfaces=plugged(bridge, 2))
    assert "10.213.7.2/24" in text
    assert "default via 10.213.7.1 dev eth0" in text
    assert "02:42:0a:d5:07:02" in text
    assert "1 packets received" in text


def test_containers_reach_each_other(start: Any, box: Any, bridge: Bridge) -> None:
    start("nc", "-lp", "80", "-e", "echo", "hello", interfaces=plugged(bridge, 2))
    text = box.sh("for n in $(seq 99); do nc 10.213.7.2 80 && break; sleep 0.1; done", interfaces=plugged(bridge, 3))
    assert text == "hello\n"


def test_containers_that_come_and_go_disturb_nobody(start: Any, box: Any, bridge: Bridge) -> None:
    container = start("sleep", "100", interfaces=plugged(bridge, 2))
    ping = box.spec("ping", "-c", "1", "-W", "9", bridge.gateway)
    own = Path("/sys/class/net/lltest0/address").read_text()
    for mac in ("02:00:00:00:00:01", "fe:00:00:00:00:01"):
        assert container.execution(ping).run(capture=True).code == 0
        assert box.run("true", interfaces=(replace(plugged(bridge, 3)[0], mac=mac),)).code == 0
        assert Path("/sys/class/net/lltest0/address").read_text() == own
        assert container.execution(ping).run(capture=True).code == 0


def test_two_bridges_are_apart(start: Any, box: Any, bridge: Bridge) -> None:
    if not shutil.which("nft"):
        pytest.skip("needs nft")
    other = Bridge("lltest1", "10.213.8.0/24", "10.213.8.1")
    create_bridge(other)
    try:
        start("nc", "-ll", "-p", "80", "-e", "echo", "hello", interfaces=plugged(bridge, 2))
        near = "for n in $(seq 99); do nc -w 1 10.213.7.2 80 && break; sleep 0.1; done"
        assert box.sh(near, interfaces=plugged(bridge, 3)) == "hello\n"
        away = (Interface("lltest1", "10.213.8.2/24", "10.213.8.1"),)
        assert box.run("nc", "-w", "1", "10.213.7.2", "80", interfaces=away).code != 0
        assert box.run("ping", "-c", "1", "-W", "1", "10.213.7.2", interfaces=away).code != 0
    finally:
        delete_bridge(other)


def test_shared_with_another_container(start: Any, box: Any, bridge: Bridge) -> None:
    container = start("sleep", "100", interfaces=plugged(bridge, 2))
    shared = Namespaces(network=f"/proc/{container.status().pid}/ns/net")
    assert "10.213.7.2/24" in box.sh("ip -o addr", namespaces=shared)


def test_a_bridge_that_is_not_there(box: Any, needs_root: None) -> None:
    with pytest.raises(ContainerError, match="there is no network interface lltest9"):
        box.run("true", interfaces=(Interface("lltest9", "10.9.9.2/24"),))


def test_overlapping_pools_are_refused(bridge: Bridge) -> None:
    with pytest.raises(ContainerError, match="Pool overlaps"):
        create_bridge(Bridge("lltest2", "10.213.0.0/16", "10.213.0.1"))
    with pytest.raises(ContainerError, match="no matching subnet for gateway"):
        create_bridge(Bridge("lltest2", "10.99.0.0/16", "10.98.0.1"))
    assert netlink.find_link("lltest2") is None


def test_pools_run_dry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(netlink, "addresses", lambda: [("lo", "127.0.0.1/8"), ("other", "172.17.3.1/16")])
    with pytest.raises(ContainerError, match="no available IPv4 addresses"):
        free_address("10.0.0.0/30", ["10.0.0.1", "10.0.0.2/30"])
    used: list[str] = []
    with pytest.raises(ContainerError, match="could not find an available, non-overlapping"):  # noqa: PT012
        for _ in range(40):
            used.append(free_subnet(used))
    assert len(set(used)) == len(used) == 30
    assert "172.17.0.0/16" not in used


def send_all(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(ConnectionError):
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def fetch(port: int, data: bytes = b"", address: str = "127.0.0.1") -> bytes:
    deadline = time.monotonic() + PATIENCE
    while True:
        found = b""
        # Until the program in the container listens, what connects is shut out again.
        with contextlib.suppress(ConnectionError), socket.create_connection((address, port), timeout=10) as connection:
            sender = threading.Thread(target=send_all, args=(connection, data))
            sender.start()
            while part := connection.recv(1 << 16):
                found += part
            sender.join()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_a_published_port(start: Any, bridge: Bridge) -> None:
    data = os.urandom(1 << 20)
    container = start(
        "nc", "-ll", "-p", "80", "-e", "cat", interfaces=plugged(bridge, 2), ports=(Port(80, 0, "127.0.0.1"),)
    )
    (port,) = container.status().ports
    assert port.host_port > 0
    assert fetch(port.host_port, data) == data
    other = container.directory.parent / "other"
    other.mkdir()
    spec = replace(container_like(container), ports=(Port(80, port.host_port, "127.0.0.1"),))
    second = Container.create(other, spec)
    with pytest.raises(ContainerError, match=f"Bind for 127.0.0.1:{port.host_port} failed: port is already allocated"):
        second.start()
    container.stop(timeout=0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port.host_port), timeout=2)


def container_like(container: Container) -> Any:
    from sim.runtime import ProcessSpec

    return ProcessSpec(args=("true",), rootfs=container.directory.parent / "rootfs")


def test_a_published_port_without_a_bridge(start: Any) -> None:
    container = start("nc", "-ll", "-p", "80", "-e", "echo", "hello", ports=(Port(80, 0, "127.0.0.1"),))
    assert fetch(container.status().ports[0].host_port) == b"hello\n"


def test_published_datagrams(debian: Any, bridge: Bridge, tmp_path: Path) -> None:
    code = """
        import socket
        connection = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        connection.bind(("", 80))
        while True:
            data, sender = connection.recvfrom(100)
            connection.sendto(data.upper(), sender)
    """
    ports = (Port(80, 0, "127.0.0.1", "udp"),)
    spec = debian.spec("python3", "-Ic", textwrap.dedent(code), interfaces=plugged(bridge, 2), ports=ports)
    (tmp_path / "c").mkdir()
    container = Container.create(tmp_path / "c", spec)
    container.start()
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
        ):
            for connection, word in ((one, b"one"), (two, b"two"), (one, b"again")):
                connection.settimeout(0.2)
                assert exchanged(connection, word, container.status().ports[0].host_port) == word.upper()
    finally:
        container.stop(timeout=0)


def exchanged(connection: socket.socket, data: bytes, port: int) -> bytes:
    for _ in range(50):
        connection.sendto(data, ("127.0.0.1", port))
        with contextlib.suppress(TimeoutError):
            while True:  # what was sent again may have been answered again
                if (found := connection.recv(100)) == data.upper():
                    return found
    return b""


def test_ports_out_of_range(box: Any) -> None:
    for port in (Port(0, 1), Port(70000), Port(1, 2, protocol="icmp")):
        with pytest.raises(InvalidSpecError):
            box.spec("true", ports=(port,))


def test_names_are_resolved(box: Any, bridge: Bridge, tmp_path: Path) -> None:
    write_names(tmp_path, {"web": ["10.213.7.2"], "db": ["10.213.7.3", "10.213.7.4"]})
    start_resolver(tmp_path, bridge.gateway)
    try:
        (box.rootfs / "etc/resolv.conf").write_text("nameserver 10.213.7.1\noptions ndots:0\n")
        text = box.sh("nslookup -type=a db; nslookup 10.213.7.2", interfaces=plugged(bridge, 5))
        assert "10.213.7.3" in text
        assert "10.213.7.4" in text
        assert "name = web" in text
        write_names(tmp_path, {"new": ["10.213.7.9"]})
        assert "10.213.7.9" in box.sh("nslookup -type=a NEW", interfaces=plugged(bridge, 5))
    finally:
        stop_resolver(tmp_path)
    assert not (tmp_path / "resolver.json").exists()


def test_names_for_one_container_alone(box: Any, bridge: Bridge, tmp_path: Path) -> None:
    elsewhere = Client(names={"Far": ["10.99.0.2"]}, servers=("10.213.7.200",))
    write_names(tmp_path, {"web": ["10.213.7.2"]}, clients={"10.213.7.5": elsewhere})
    start_resolver(tmp_path, bridge.gateway, forward=False)
    try:
        (box.rootfs / "etc/resolv.conf").write_text("nameserver 10.213.7.1\noptions ndots:0 timeout:1 attempts:1\n")
        look = "nslookup -type=a web; nslookup -type=a far; nslookup -type=a example.org; true"
        text = box.sh(look, interfaces=plugged(bridge, 5))
        assert "10.213.7.2" in text
        assert "10.99.0.2" in text
        assert "SERVFAIL" in text  # of an internal network nothing is asked elsewhere
        assert "10.99.0.2" not in box.sh(look, interfaces=plugged(bridge, 6))
    finally:
        stop_resolver(tmp_path)


def test_what_nobody_here_knows_is_asked_of_the_servers_wished_for(debian: Any, bridge: Bridge, tmp_path: Path) -> None:
    write_names(tmp_path, {}, clients={"10.213.7.5": Client(servers=("10.213.7.3",))})
    start_resolver(tmp_path, bridge.gateway)
    code = """
        import socket
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind(("", 53))
        packet, sender = server.recvfrom(512)
        server.sendto(packet[:2] + b"\\x81\\x83" + packet[4:], sender)
    """
    spec = debian.spec("/usr/bin/python3", "-Ic", textwrap.dedent(code), interfaces=plugged(bridge, 3))
    (tmp_path / "server").mkdir()
    server = Container.create(tmp_path / "server", spec)
    server.start()
    try:
        ask = f"""
            import socket
            asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            asker.settimeout(1)
            for _ in range(9):
                asker.sendto({query("far.example.org", 1)!r}, ("10.213.7.1", 53))
                try:
                    print(asker.recv(512)[:4].hex())
                    break
                except TimeoutError:
                    pass
        """
        assert debian.python(ask, interfaces=plugged(bridge, 5)) == "00078183"
    finally:
        server.stop(timeout=0)
        stop_resolver(tmp_path)


def query(name: str, kind: int) -> bytes:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def test_a_kernel_without_ipv6_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sim.runtime.network._IPV6", tmp_path / "nothing")
    with pytest.raises(UnsupportedError, match="this kernel has no IPv6"):
        create_bridge(Bridge("lltest0", SUBNET, "10.213.7.1", subnet6="fd00:213::/64", gateway6="fd00:213::1"))
    assert netlink.find_link("lltest0") is None


def test_answers() -> None:
    names = {"web": ["10.0.0.2"]}
    reply = answer(query("Web", 1), names)
    assert reply is not None
    assert struct.unpack_from(">HHHH", reply) == (7, 0x8180, 1, 1)
    assert reply.endswith(bytes([10, 0, 0, 2]))
    empty = answer(query("web", 28), names)
    assert empty is not None
    assert struct.unpack_from(">HHHH", empty)[3] == 0  # there is such a name, but no such address
    both = answer(query("web", 28), {"web": ["10.0.0.2", "fd00::2"]})
    assert both is not None
    assert both.endswith(ipaddress.ip_address("fd00::2").packed)
    for owner in ("2.0.0.10.in-addr.arpa", ipaddress.ip_address("fd00::2").reverse_pointer):
        back = answer(query(owner, 12), {"web": ["10.0.0.2", "fd00::2"]})
        assert back is not None
        assert back.endswith(b"\x03web\0")
    for strange in ("2.ip6.arpa", "x" + "0." * 32 + "ip6.arpa", "arpa", "8.b.d.0.arpa"):
        assert answer(query(strange, 12), {"web": ["fd00::2"]}) is None
    assert answer(query("elsewhere.org", 1), names) is None
    assert answer(reply, names) is None  # an answer is no question


def test_nothing_runs_after(box: Any, bridge: Bridge) -> None:
    with Process(box.spec("sleep", "9", interfaces=plugged(bridge, 2), ports=(Port(80, 0, "127.0.0.1"),))) as process:
        process.start()
        assert len(os.listdir("/sys/class/net/lltest0/brif")) == 1
    until(lambda: not os.listdir("/sys/class/net/lltest0/brif"))


def test_plugged_in_while_it_runs(start: Any, box: Any, bridge: Bridge) -> None:
    container = start("sleep", "100")
    pid = container.status().pid
    name = next_interface(pid)
    assert name == "eth0"
    plug_in(pid, replace(plugged(bridge, 9)[0], name=name))
    assert next_interface(pid) == "eth1"
    look = container.execution(box.spec("sh", "-c", "ip -o addr show eth0; ping -c 1 -W 9 10.213.7.1; ip route"))
    text = look.run(capture=True).stdout.decode()
    assert "10.213.7.9/24" in text
    assert "1 packets received" in text
    assert "default via 10.213.7.1" in text
    with pytest.raises(ContainerError, match="cannot plug eth0: file exists"):
        plug_in(pid, replace(plugged(bridge, 10)[0], name=name, host_name="vetest"))
    unplug(pid, name)
    assert next_interface(pid) == "eth0"
    with pytest.raises(ContainerError, match="the container has no interface eth7"):
        unplug(pid, "eth7")
    with pytest.raises(ContainerError, match="there is no network interface lltest9"):
        plug_in(pid, Interface("lltest9", "10.9.9.9/24"))
