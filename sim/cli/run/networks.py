"""Networks on the command line: `--network` and what goes with it.

Decided here and only here: the fields of `--network name=...`, and which flags belong to the first network. Pure
functions that raise `ValueError`; any thread.
"""

from __future__ import annotations

import csv
import re
from typing import Any

from sim.cli.flags import Call

__all__ = ["endpoints", "network"]

_MAC = re.compile(r"([0-9a-fA-F]{2}([:-])){5}[0-9a-fA-F]{2}")


def network(text: str) -> dict[str, Any]:
    """Return a network and how it is joined.

    >>> network("name=web,alias=db,ip=10.0.0.2")["Aliases"]
    ['db']
    """
    found: dict[str, Any] = {"Target": "", "Aliases": [], "DriverOpts": {}, "LinkLocalIPs": []}
    fields = next(csv.reader([text]), [""])
    if len(fields) == 1 and "=" not in fields[0]:
        return {**found, "Target": text}
    for field in fields:
        key, equals, value = field.strip().partition("=")
        if not equals or not key:
            raise ValueError(f"invalid field {field}")
        key, value = key.strip().lower(), value.strip()
        match key:
            case "name":
                found["Target"] = value
            case "alias":
                found["Aliases"].append(value)
            case "ip":
                found["IPv4Address"] = value
            case "ip6":
                found["IPv6Address"] = value
            case "mac-address":
                found["MacAddress"] = value
            case "link-local-ip":
                found["LinkLocalIPs"].append(value)
            case "driver-opt":
                name, given_equals, given = value.partition("=")
                if not given_equals:
                    raise ValueError("invalid key value pair format in driver options")
                found["DriverOpts"][name.strip().lower()] = given.strip()
            case "gw-priority":
                try:
                    found["GwPriority"] = int(value)
                except ValueError:
                    raise ValueError(f"invalid gw-priority ({value}): invalid syntax") from None
            case _:
                raise ValueError(f"invalid field key {key}")
    if not found["Target"]:
        raise ValueError("network name/id is not specified")
    return found


def _mac(text: str) -> str:
    if text and not _MAC.fullmatch(text):
        raise ValueError(f"{text} is not a valid mac address")
    return text


def _own(name: str) -> bool:
    """Tell whether a network is one that somebody made."""
    return name not in ("", "default", "bridge", "host", "none") and not name.startswith("container:")


def endpoints(call: Call) -> tuple[str, dict[str, Any]]:
    """Return the first network's name, and how each is joined."""
    chosen: list[Any] = [*call.many("network"), *call.many("net")] or [network("default")]
    first = chosen[0]
    aliases = [*call.many("network-alias"), *call.many("net-alias")]
    address = call.text("mac-address")
    _mac(address)
    for one in chosen:
        if len(chosen) > 1 and not _own(one["Target"]):
            raise ValueError("conflicting options: cannot attach both user-defined and non-user-defined network-modes")
    if (aliases or first["Aliases"]) and not _own(first["Target"]):
        raise ValueError("network-scoped aliases are only supported for user-defined networks")
    found: dict[str, Any] = {}
    for number, one in enumerate(chosen):
        name = one["Target"]
        if name == "host" or name == "none" or name.startswith("container:"):
            continue
        if name in found:
            raise ValueError(f'network "{name}" is specified multiple times')
        found[name] = _endpoint(call, one, number == 0, aliases, address)
    return first["Target"], found


def _endpoint(call: Call, one: dict[str, Any], first: bool, aliases: list[str], address: str) -> dict[str, Any]:
    ipam: dict[str, Any] = {}
    for key, flag in (("IPv4Address", "ip"), ("IPv6Address", "ip6")):
        value = one.get(key) or (call.text(flag) if first else "")
        if one.get(key) and first and call.text(flag):
            raise ValueError(f"conflicting options: cannot specify both --{flag} and per-network {key}")
        if value:
            ipam[key] = value
    local = [*one["LinkLocalIPs"], *(call.many("link-local-ip") if first else [])]
    if local:
        ipam["LinkLocalIPs"] = local
    mac = _mac(one.get("MacAddress") or (address if first else ""))
    return {
        "IPAMConfig": ipam or None,
        "Links": (call.many("link") or None) if first and _own(one["Target"]) else None,
        "Aliases": [*one["Aliases"], *(aliases if first else [])] or None,
        "MacAddress": mac,
        "DriverOpts": one["DriverOpts"] or None,
        "GwPriority": one.get("GwPriority", 0),
    }
