"""Subnets and addresses: what is given out, and what is refused in Docker's words."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.engine.addresses import Pool, automatic_pool, checked_pools, host_routes, next_address, take_address
from sim.engine.errors import BadParameterError, EngineError, ForbiddenError, NotFoundError


def test_the_first_pools_are_dockers() -> None:
    used: list[str] = []
    for _ in range(25):  # Docker has 31, and the host may have some of them
        pool = automatic_pool(used)
        assert not any(pool.network.overlaps(ipaddress.ip_network(other)) for other in (*used, *host_routes()))
        assert pool.gateway == str(next(pool.network.hosts()))
        used.append(pool.subnet)
    everything = [*(f"172.{number}.0.0/16" for number in range(17, 32)), "192.168.0.0/16"]
    with pytest.raises(EngineError, match="could not find an available, non-overlapping IPv4 address pool"):
        automatic_pool(everything)


@pytest.mark.parametrize(
    ("pool", "kind", "text"),
    [
        (Pool("10.1.0.0"), BadParameterError, "invalid subnet 10.1.0.0: invalid CIDR block notation"),
        (Pool("10.1.0.0/99"), BadParameterError, "invalid CIDR address"),
        (Pool("10.1.0.0/16", "10.2.0.1"), BadParameterError, "no matching subnet for gateway 10.2.0.1"),
        (Pool("10.1.0.0/16", "gate"), BadParameterError, "invalid gateway address gate"),
        (Pool("10.1.0.0/16", "", "10.2.0.0/24"), BadParameterError, "no matching subnet for range 10.2.0.0/24"),
        (Pool("10.1.0.0/16", "", "", {"a": "10.2.0.1"}), BadParameterError, "no matching subnet for aux-address"),
        (Pool("", "10.1.0.1"), BadParameterError, "user specified configuration requires a subnet"),
        (Pool("10.1.0.0/31"), BadParameterError, "no room for a container"),
        (Pool("10.9.1.0/24"), ForbiddenError, "Pool overlaps with other one on this address space"),
        (Pool("fd00::/127"), BadParameterError, "no room for a container"),
        (Pool("fe80::/64"), BadParameterError, "no addresses of it are a network's own"),
        (Pool("ff05::/64"), BadParameterError, "no addresses of it are a network's own"),
        (Pool("fd00::zz/64"), BadParameterError, "invalid CIDR address"),
        (Pool("fd00::/64", "fd01::1"), BadParameterError, "no matching subnet for gateway fd01::1"),
        (Pool("fd00::/64", "10.1.0.1"), BadParameterError, "no matching subnet for gateway 10.1.0.1"),
        (Pool("fd09:0:0:1::/64"), ForbiddenError, "Pool overlaps with other one on this address space"),
    ],
)
def test_pools_that_are_refused(pool: Pool, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        checked_pools([pool], ["10.9.0.0/16", "fd09::/16"])


def test_one_subnet_a_network() -> None:
    with pytest.raises(ForbiddenError, match="multiple subnets"):
        checked_pools([Pool("10.1.0.0/16"), Pool("10.2.0.0/16")], [])
    with pytest.raises(ForbiddenError, match="multiple subnets"):
        checked_pools([Pool("fd00::/64"), Pool("10.1.0.0/16"), Pool("fd01::/64")], [])


def test_one_of_ipv6_comes_after_the_other_and_is_never_chosen() -> None:
    found = checked_pools([Pool("fd00::5/64"), Pool("10.1.0.0/16")], [], ipv6=True)
    assert [pool.subnet for pool in found] == ["10.1.0.0/16", "fd00::/64"]
    chosen, wished = checked_pools([Pool("fd00::/64")], [], ipv6=True)
    assert (chosen.version, wished.version) == (4, 6)
    with pytest.raises(NotFoundError, match="non-overlapping IPv6 address pool"):
        checked_pools([Pool("10.1.0.0/16")], [], ipv6=True)


def test_addresses_of_ipv6() -> None:
    pool = Pool("fd00::/64", "", "", {"printer": "FD00:0::2"})
    assert pool.bridge_address == "fd00::1"
    assert next_address(pool, ["fd00::3"]) == "fd00::4"
    assert next_address(Pool("fd00::/64", "", "fd00::8:0/112"), []) == "fd00::8:0"  # the gateway is the next one
    assert Pool("fd00::/64", "FD00::0:5").bridge_address == "fd00::5"
    assert take_address(pool, "fd00:0:0::ffff", []) == "fd00::ffff"
    for wanted in ("fd00::", "fd00::1", "fd00::2", "fd00::3"):
        with pytest.raises(ForbiddenError):
            take_address(pool, wanted, ["fd00::3"])
    with pytest.raises(BadParameterError, match=r"invalid IPv6 address: 10\.0\.0\.1"):
        take_address(pool, "10.0.0.1", [])
    small = Pool("fd00::/126")
    with pytest.raises(EngineError, match="no available IPv6 addresses"):
        next_address(small, ["fd00::2", "fd00::3"])


def test_a_host_part_in_a_subnet_is_left_out() -> None:
    assert checked_pools([Pool("10.1.2.3/16")], [])[0].subnet == "10.1.0.0/16"


@given(st.integers(24, 30), st.sets(st.integers(0, 255)), st.booleans())
def test_addresses_are_given_once_and_never_a_reserved_one(prefix: int, taken: set[int], ranged: bool) -> None:
    network = ipaddress.IPv4Network(f"10.0.0.0/{prefix}")
    part = str(list(network.subnets(new_prefix=prefix + 1))[1]) if ranged else ""
    pool = Pool(str(network), "", part, {"printer": "10.0.0.3"})
    used = {f"10.0.0.{number}" for number in taken}
    try:
        found = next_address(pool, used)
    except EngineError:
        free = {str(address) for address in ipaddress.ip_network(part or network)} - used
        assert free <= {str(network[0]), str(network[-1]), pool.bridge_address, "10.0.0.3"}
        return
    assert found not in used
    assert found not in (pool.bridge_address, "10.0.0.3", str(network[0]), str(network[-1]))
    assert ipaddress.ip_address(found) in ipaddress.ip_network(part or network)


@pytest.mark.parametrize(
    ("wanted", "kind"),
    [
        ("10.0.0.1", ForbiddenError),  # the gateway
        ("10.0.0.5", ForbiddenError),  # another's
        ("10.0.0.0", ForbiddenError),
        ("10.0.0.255", ForbiddenError),
        ("10.0.1.1", BadParameterError),
        ("ten", BadParameterError),
    ],
)
def test_addresses_that_cannot_be_had(wanted: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        take_address(Pool("10.0.0.0/24"), wanted, ["10.0.0.5"])
    assert take_address(Pool("10.0.0.0/24"), "10.0.0.7", ["10.0.0.5"]) == "10.0.0.7"
