"""`layerlab network ls`, `create`, `rm`, `connect`, `disconnect`.

Decided here and only here: the columns, and how flags become a network's addresses and an endpoint's settings.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping
from typing import Any

from sim.cli.client import DaemonError
from sim.cli.commands.shared import config_format, confirmed, filter_query, say
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, filters, formats, many, option, switch
from sim.cli.run.config import key_values
from sim.cli.show.quoting import short_id
from sim.cli.show.rows import Listing, show_rows

__all__ = ["connect", "create", "disconnect", "ls", "rm"]

LISTING = Listing(
    "*network.networkContext",
    {
        "ID": "NETWORK ID",
        "Name": "NAME",
        "Driver": "DRIVER",
        "Scope": "SCOPE",
        "IPv4": "IPV4",
        "IPv6": "IPV6",
        "Internal": "INTERNAL",
        "Labels": "LABELS",
        "CreatedAt": "CREATED AT",
    },
    ("ID", "Name", "Driver", "Scope"),
    raw="network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n",
    labels=lambda row: row["_labels"],  # type: ignore[arg-type, return-value]
)


def _created(text: str) -> str:
    """Return a moment as Go prints one: `2026-11-27 23:25:51.821459898 +0000 UTC`."""
    day, _, rest = text.partition("T")
    clock = rest.rstrip("Z")
    return f"{day} {clock} +0000 UTC" if rest.endswith("Z") else text


def network_row(item: Mapping[str, Any], trunc: bool) -> dict[str, object]:
    """Return a network's fields."""
    labels = item.get("Labels") or {}

    def word(name: str) -> str:
        return "true" if item.get(name) else "false"

    return {
        "ID": short_id(item["Id"]) if trunc else item["Id"],
        "Name": item["Name"],
        "Driver": item.get("Driver", ""),
        "Scope": item.get("Scope", ""),
        "IPv4": word("EnableIPv4"),
        "IPv6": word("EnableIPv6"),
        "Internal": word("Internal"),
        "Labels": ",".join(f"{name}={labels[name]}" for name in sorted(labels)),
        "CreatedAt": _created(str(item.get("Created") or "")),
        "_labels": labels,
    }


@docker(
    "[OPTIONS]",
    "List networks",
    filters(),
    formats(),
    switch("--no-trunc", "Show IDs in full"),
    switch("-q, --quiet", "Only IDs"),
    aliases=("network ls", "network list"),
    examples=("layerlab network ls --filter driver=bridge",),
)
def ls(call: Call) -> None:
    """List networks."""
    found = call.engine.get("/networks", filters=filter_query(call.many("filter")))
    found.sort(key=lambda item: item["Name"])
    rows = [network_row(item, not call.on("no-trunc")) for item in found]
    quiet = call.on("quiet")
    show_rows(LISTING, config_format(call, "networksFormat", quiet=quiet), rows, quiet="ID" if quiet else "")


@docker(
    "[OPTIONS] NETWORK",
    "Create a network",
    switch("--attachable", "Let containers join it by hand"),
    many("--aux-address", "map", "An address that the network's driver uses: NAME=ADDRESS"),
    option("--config-from", "string", "The network whose configuration is taken", hidden=True),
    switch("--config-only", "Make a configuration only", hidden=True),
    option("-d, --driver", "string", "The driver that manages it", "bridge"),
    many("--gateway", "strings", "Gateway of the subnet"),
    switch("--ingress", "The mesh of a swarm", hidden=True),
    switch("--internal", "Without access to other networks"),
    many("--ip-range", "strings", "Give containers addresses of this part of the subnet"),
    option("--ipam-driver", "string", "The driver that manages addresses", "default"),
    many("--ipam-opt", "map", "An option for that: KEY=VALUE"),
    switch("--ipv4", "With IPv4", True),
    switch("--ipv6", "With IPv6"),
    many("--label", "label", "A label: KEY=VALUE"),
    many("-o, --opt", "map", "An option for the driver: KEY=VALUE"),
    option("--scope", "string", "How far it reaches", hidden=True),
    many("--subnet", "strings", "The subnet: 172.28.0.0/16"),
    least=1,
    most=1,
    examples=("layerlab network create --subnet 172.28.0.0/16 --gateway 172.28.0.1 backend",),
)
def create(call: Call) -> None:
    """Create a network."""
    body: dict[str, Any] = {
        "Driver": call.text("driver"),
        "Scope": call.text("scope"),
        "IPAM": {
            "Driver": call.text("ipam-driver"),
            "Options": key_values(call.many("ipam-opt")),
            "Config": _addresses(call),
        },
        "Internal": call.on("internal"),
        "Attachable": call.on("attachable"),
        "Ingress": call.on("ingress"),
        "ConfigOnly": call.on("config-only"),
        "ConfigFrom": {"Network": call.text("config-from")} if call.text("config-from") else None,
        "Options": key_values(call.many("opt")),
        "Labels": key_values(call.many("label")),
        "Name": call.arguments[0],
    }
    for name, key in (("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")):
        if call.given(name):
            body[key] = call.on(name)
    answer = call.engine.post("/networks/create", body)
    if answer.get("Warning"):
        print(f"WARNING: {answer['Warning']}", file=sys.stderr)
    say(str(answer.get("Id", "")))


def _addresses(call: Call) -> list[dict[str, Any]]:
    """Return the subnets, each with the range, the gateway and the addresses that lie in it."""
    import ipaddress

    subnets = call.many("subnet")
    gateways, ranges = call.many("gateway"), call.many("ip-range")
    others = key_values(call.many("aux-address"))
    if len(subnets) < len(ranges) or len(subnets) < len(gateways):
        raise Failure("every ip-range or gateway must have a corresponding subnet")
    found: list[dict[str, Any]] = []
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network | None] = []
    for subnet in subnets:
        network = None
        with contextlib.suppress(ValueError):  # the engine says what is wrong with it
            network = ipaddress.ip_network(subnet, strict=False)
        for other in networks:
            if network and other and other.version == network.version and other.overlaps(network):
                raise Failure("multiple overlapping subnet configuration is not supported")
        networks.append(network)
        found.append({"Subnet": subnet})

    def put(key: str, text: str, message: str) -> dict[str, Any]:
        try:
            address = ipaddress.ip_interface(text).ip
        except ValueError:
            raise Failure(f"invalid CIDR address: {text}") from None
        for network, entry in zip(networks, found, strict=True):
            if network and address in network:
                if key and key in entry:
                    raise Failure(f"cannot configure multiple {message} on the same subnet ({entry['Subnet']})")
                return entry
        raise Failure(f"no matching subnet for {message.rstrip('s')} {text}")

    for text in ranges:
        put("IPRange", text, "ranges")["IPRange"] = text
    for text in gateways:
        put("Gateway", text, "gateways")["Gateway"] = text
    for name, text in others.items():
        put("", text, "aux-addresses").setdefault("AuxiliaryAddresses", {})[name] = text
    return found


@docker(
    "NETWORK [NETWORK...]",
    "Remove one or more networks",
    switch("-f, --force", "Say nothing about ones that are not there"),
    least=1,
    most=None,
    aliases=("network rm", "network remove"),
    examples=("layerlab network rm backend",),
    completes="network",
)
def rm(call: Call) -> None:
    """Remove networks."""
    problems = []
    for name in call.arguments:
        try:
            found = call.engine.get(f"/networks/{name}")
            if isinstance(found, dict) and found.get("Ingress"):
                question = (
                    "WARNING! Before removing the routing-mesh network, make sure all the nodes in your swarm run the "
                    "same docker engine version. Otherwise, removal may not be effective and functionality of newly "
                    "created ingress networks will be impaired.\nAre you sure you want to continue?"
                )
                if not confirmed(question):
                    continue
        except DaemonError:
            pass
        try:
            call.engine.delete(f"/networks/{name}")
        except DaemonError as error:
            if not (call.on("force") and error.code == 404):
                problems.append(error.text)
            continue
        say(name)
    if problems:
        raise Failure("\n".join([*problems, "exit status 1"]))


@docker(
    "[OPTIONS] NETWORK CONTAINER",
    "Connect a container to a network",
    many("--alias", "strings", "A name for the container on the network"),
    many("--driver-opt", "strings", "An option for the network's driver: KEY=VALUE"),
    option("--gw-priority", "int", "Of several networks that with the highest number has the default gateway"),
    option("--ip", "string", "Its IPv4 address, such as 172.30.100.104"),
    option("--ip6", "string", "Its IPv6 address, such as 2001:db8::33"),
    many("--link", "list", "Another container to be found by a name: CONTAINER[:NAME]"),
    many("--link-local-ip", "strings", "A link-local address for it"),
    least=2,
    most=2,
    examples=("layerlab network connect --alias db backend postgres",),
    completes="network container",
)
def connect(call: Call) -> None:
    """Connect a container."""
    options = call.many("driver-opt")
    if any("=" not in word for word in options):
        raise Failure("invalid key/value pair format in driver options")
    local = call.many("link-local-ip")
    addresses = {
        "IPv4Address": call.text("ip"),
        "IPv6Address": call.text("ip6"),
        "LinkLocalIPs": local,
    }
    call.engine.post(
        f"/networks/{call.arguments[0]}/connect",
        {
            "Container": call.arguments[1],
            "EndpointConfig": {
                "IPAMConfig": {key: value for key, value in addresses.items() if value},
                "Links": call.many("link") or None,
                "Aliases": call.many("alias") or None,
                "MacAddress": "",
                "DriverOpts": key_values(options) or None,
                "GwPriority": call.number("gw-priority"),
            },
        },
    )


@docker(
    "[OPTIONS] NETWORK CONTAINER",
    "Disconnect a container from a network",
    switch("-f, --force", "Even if the container cannot be asked"),
    least=2,
    most=2,
    examples=("layerlab network disconnect backend web",),
    completes="network container",
)
def disconnect(call: Call) -> None:
    """Disconnect a container."""
    body = {"Container": call.arguments[1], "Force": call.on("force")}
    call.engine.post(f"/networks/{call.arguments[0]}/disconnect", body)
