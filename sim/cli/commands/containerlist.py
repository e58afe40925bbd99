"""`layerlab ps`: the containers.

Decided here and only here: what each field of a container's row is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sim.cli.commands.shared import config_format, filter_query, warn
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, filters, formats, option, switch
from sim.cli.show.human import ago, clip, created_at, size
from sim.cli.show.quoting import familiar, quoted, short_id
from sim.cli.show.rows import Listing, show_rows

__all__ = ["container_row", "ps"]

LISTING = Listing(
    "*formatter.ContainerContext",
    {
        "ID": "CONTAINER ID",
        "Names": "NAMES",
        "Image": "IMAGE",
        "Command": "COMMAND",
        "CreatedAt": "CREATED AT",
        "RunningFor": "CREATED",
        "Ports": "PORTS",
        "State": "STATE",
        "Status": "STATUS",
        "Size": "SIZE",
        "Labels": "LABELS",
        "Mounts": "MOUNTS",
        "LocalVolumes": "LOCAL VOLUMES",
        "Networks": "NETWORKS",
        "Platform": "PLATFORM",
    },
    ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"),
    raw="container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\n"
    "state:{{pad .State 1 0}}\nstatus:{{pad .Status 1 0}}\nnames: {{.Names}}\nlabels:{{pad .Labels 1 0}}\n"
    "ports:{{pad .Ports 1 0}}\n",
    labels=lambda row: row["_labels"],  # type: ignore[arg-type, return-value]
)


def display_ports(ports: Iterable[Mapping[str, Any]]) -> str:
    """Return ports in words; neighbours that are published under their own numbers are one range.

    >>> display_ports([{"PrivatePort": n, "Type": "tcp"} for n in (80, 81, 443)])
    '80-81/tcp, 443/tcp'
    >>> display_ports([{"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}])
    '[::]:8080->80/tcp'
    """

    def order(port: Mapping[str, Any]) -> tuple[int, str, int, str]:
        return port["PrivatePort"], port.get("IP", ""), port.get("PublicPort", 0), port["Type"]

    runs: dict[tuple[str, str], list[int]] = {}
    ended: list[str] = []
    mapped: list[str] = []
    for port in sorted(ports, key=order):
        inner, address, kind = port["PrivatePort"], port.get("IP", ""), port["Type"]
        if address and port.get("PublicPort", 0) != inner:
            mapped.append(f"{_joined(address, str(port.get('PublicPort', 0)))}->{inner}/{kind}")
            continue
        run = runs.get((address, kind))
        if run is not None and inner == run[1] + 1:
            run[1] = inner
            continue
        if run is not None:
            ended.append(_run(address, kind, run))
        runs[address, kind] = [inner, inner]
    return ", ".join([*ended, *(_run(*key, run) for key, run in runs.items()), *mapped])


def _joined(address: str, port: str) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _run(address: str, kind: str, run: list[int]) -> str:
    numbers = str(run[0]) if run[0] == run[1] else f"{run[0]}-{run[1]}"
    return f"{_joined(address, numbers)}->{numbers}/{kind}" if address else f"{numbers}/{kind}"


def container_row(item: Mapping[str, Any], *, trunc: bool = True) -> dict[str, object]:
    """Return a container's fields."""

    def names() -> str:
        found = [name.removeprefix("/") for name in item.get("Names") or ()]
        return ",".join(name for name in found if not trunc or "/" not in name)

    def image() -> str:
        name = str(item.get("Image") or "")
        if not name:
            return "<no image>"
        if not trunc:
            return name
        identity = short_id(str(item.get("ImageID") or ""))
        if identity and identity == short_id(name):
            return identity
        return familiar(name.partition("@")[0])

    def command() -> str:
        text = str(item.get("Command") or "")
        return quoted(clip(text, 20) if trunc else text)

    def mounts() -> str:
        found = [str(mount.get("Name") or mount.get("Source") or "") for mount in item.get("Mounts") or ()]
        return ",".join(clip(name, 15) if trunc else name for name in found)

    def sizes() -> str:
        rw, virtual = item.get("SizeRw") or 0, item.get("SizeRootFs") or 0
        return size(rw, 3) + (f" (virtual {size(virtual, 3)})" if virtual > 0 else "")

    labels = item.get("Labels") or {}
    fields: dict[str, Callable[[], object]] = {
        "ID": lambda: short_id(item["Id"]) if trunc else item["Id"],
        "Names": names,
        "Image": image,
        "Command": command,
        "CreatedAt": lambda: created_at(item.get("Created") or 0),
        "RunningFor": lambda: ago(item.get("Created") or 0),
        "Ports": lambda: display_ports(item.get("Ports") or ()),
        "State": lambda: item.get("State") or "",
        "Status": lambda: item.get("Status") or "",
        "Size": sizes,
        "Labels": lambda: ",".join(f"{name}={labels[name]}" for name in sorted(labels)),
        "Mounts": mounts,
        "LocalVolumes": lambda: str(sum(1 for mount in item.get("Mounts") or () if mount.get("Driver") == "local")),
        "Networks": lambda: ",".join(sorted((item.get("NetworkSettings") or {}).get("Networks") or {})),
        "Platform": lambda: None,
    }
    return {**fields, "_labels": labels}


@docker(
    "[OPTIONS]",
    "List containers",
    switch("-a, --all", "Also those that do not run"),
    filters(),
    formats(),
    option("-n, --last", "int", "Only the last so many that were made, in any state", -1),
    switch("-l, --latest", "Only the one that was made last, in any state"),
    switch("--no-trunc", "Show everything in full"),
    switch("-q, --quiet", "Only IDs"),
    switch("-s, --size", "Also sizes: the RW layer's, and with the image's"),
    aliases=("container ls", "container list", "container ps", "ps"),
    examples=(
        "layerlab ps -a",
        "layerlab ps --filter status=exited --format '{{.Names}}: {{.Status}}'",
        "layerlab rm $(layerlab ps -aq)",
    ),
)
def ps(call: Call) -> None:
    """List containers."""
    quiet = call.on("quiet")
    form = config_format(call, "psFormat", quiet=quiet)
    if quiet and form and not form.startswith("table"):
        warn("WARNING: Ignoring custom format, because both --format and --quiet are set.")
        form = ""
    if form and form not in ("table", "json", "raw"):
        _try_out(form)
    limit = call.number("last")
    if call.on("latest") and limit == -1:
        limit = 1
    found = call.engine.get(
        "/containers/json",
        all=call.on("all"),
        limit=limit if limit > 0 else None,
        size=call.on("size") or (".Size" in form and not call.given("size")),
        filters=filter_query(call.many("filter")),
    )
    columns = (*LISTING.columns, "Size") if call.on("size") else LISTING.columns
    rows = [container_row(item, trunc=not call.on("no-trunc")) for item in found]
    show_rows(LISTING, form, rows, columns=columns, quiet="ID" if quiet else "")


def _try_out(form: str) -> None:
    """Refuse a template that does not fit before the engine is asked, with other words than later."""
    from sim.cli.show.rows import template_of
    from sim.cli.template import RunError

    template = template_of(form, problem="failed to parse template: ")
    try:
        template.render(LISTING.record(container_row({"Id": "", "Names": []})))
    except RunError as error:
        raise Failure(f"failed to execute template: {error}") from None
