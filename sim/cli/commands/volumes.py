"""`layerlab volume ls`, `create`, `rm`.

Decided here and only here: the columns, and what is asked for when a volume is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.cli.commands.shared import config_format, each, filter_query, say
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, filters, formats, many, option, switch
from sim.cli.run.config import key_values
from sim.cli.show.human import size
from sim.cli.show.rows import Listing, show_rows

__all__ = ["create", "ls", "rm"]

LISTING = Listing(
    "*formatter.volumeContext",
    {
        "Name": "VOLUME NAME",
        "Driver": "DRIVER",
        "Scope": "SCOPE",
        "Availability": "AVAILABILITY",
        "Mountpoint": "MOUNTPOINT",
        "Labels": "LABELS",
        "Links": "LINKS",
        "Size": "SIZE",
        "Group": "GROUP",
        "Status": "STATUS",
    },
    ("Driver", "Name"),
    raw="name: {{.Name}}\ndriver: {{.Driver}}\n",
    labels=lambda row: row["_labels"],  # type: ignore[arg-type, return-value]
)


def volume_row(item: Mapping[str, Any]) -> dict[str, object]:
    """Return a volume's fields."""
    labels = item.get("Labels") or {}
    usage = item.get("UsageData")
    known = usage is not None and usage.get("Size", -1) != -1
    return {
        "Name": item["Name"],
        "Driver": item.get("Driver", ""),
        "Scope": item.get("Scope", ""),
        "Availability": "N/A",
        "Mountpoint": item.get("Mountpoint", ""),
        "Labels": ",".join(f"{name}={labels[name]}" for name in sorted(labels)),
        "Links": "N/A" if usage is None else str(usage.get("RefCount", 0)),
        "Size": size(usage["Size"]) if known and usage else "N/A",
        "Group": "N/A",
        "Status": "N/A",
        "_labels": labels,
    }


@docker(
    "[OPTIONS]",
    "List volumes",
    switch("--cluster", "Only those of a cluster", hidden=True),
    filters(text="Only what fits, such as dangling=true; may be repeated"),
    formats(),
    switch("-q, --quiet", "Only names"),
    aliases=("volume ls", "volume list"),
    examples=("layerlab volume ls --filter dangling=true",),
)
def ls(call: Call) -> None:
    """List volumes."""
    found = call.engine.get("/volumes", filters=filter_query(call.many("filter"))).get("Volumes") or []
    rows = [volume_row(item) for item in sorted(found, key=lambda item: str(item["Name"]))]
    quiet = call.on("quiet")
    show_rows(LISTING, config_format(call, "volumesFormat", quiet=quiet), rows, quiet="Name" if quiet else "")


@docker(
    "[OPTIONS] [VOLUME]",
    "Create a volume",
    option("-d, --driver", "string", "The driver that keeps it", "local"),
    many("--label", "label", "A label: KEY=VALUE"),
    option("--name", "string", "Its name", hidden=True),
    many("-o, --opt", "map", "An option for the driver: KEY=VALUE"),
    most=1,
    examples=("layerlab volume create data", "layerlab volume create --label course=1 data"),
)
def create(call: Call) -> None:
    """Create a volume."""
    name = call.text("name")
    if call.arguments:
        if name:
            raise Failure(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
            )
        name = call.arguments[0]
    body = {
        "Driver": call.text("driver"),
        "DriverOpts": key_values(call.many("opt")),
        "Labels": key_values(call.many("label")),
        "Name": name,
    }
    answer = call.engine.post("/volumes/create", {key: value for key, value in body.items() if value})
    say(str(answer.get("Name", "")))


@docker(
    "[OPTIONS] VOLUME [VOLUME...]",
    "Remove one or more volumes",
    switch("-f, --force", "Say nothing about ones that are not there"),
    text="A volume that a container uses cannot be removed.",
    least=1,
    most=None,
    aliases=("volume rm", "volume remove"),
    examples=("layerlab volume rm data",),
    completes="volume",
)
def rm(call: Call) -> None:
    """Remove volumes."""

    def remove(name: str) -> None:
        call.engine.delete(f"/volumes/{name}", force=call.on("force"))
        say(name)

    each(call.arguments, remove)
