"""`layerlab system df`: what images, containers, volumes and the build cache take on disk.

Decided here and only here: what counts as active and what could be given back.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sim.cli.commands.containerlist import LISTING as CONTAINERS
from sim.cli.commands.containerlist import container_row
from sim.cli.commands.imagelist import LISTING as IMAGES
from sim.cli.commands.imagelist import image_rows
from sim.cli.commands.volumes import LISTING as VOLUMES
from sim.cli.commands.volumes import volume_row
from sim.cli.flags import Call, docker, formats, switch
from sim.cli.show.human import clip, duration_words, size
from sim.cli.show.rows import Listing, render, show_rows

__all__ = ["df"]

Item = Mapping[str, Any]

_SUMMARY = Listing(
    "*formatter.diskUsageContext",
    {
        "Type": "TYPE",
        "TotalCount": "TOTAL",
        "Active": "ACTIVE",
        "Size": "SIZE",
        "Reclaimable": "RECLAIMABLE",
    },
    ("Type", "TotalCount", "Active", "Size", "Reclaimable"),
)

#: What a template of `-v` is given: one row, with lists of rows.
_EVERYTHING = Listing(
    _SUMMARY.kind,
    {"Images": "IMAGES", "Containers": "CONTAINERS", "Volumes": "VOLUMES", "BuildCache": "BUILD CACHE"},
    (),
)

_CACHE = Listing(
    "*formatter.buildCacheContext",
    {
        "ID": "CACHE ID",
        "CacheType": "CACHE TYPE",
        "Size": "SIZE",
        "CreatedSince": "CREATED",
        "LastUsedSince": "LAST USED",
        "UsageCount": "USAGE",
        "Shared": "SHARED",
    },
    ("ID", "CacheType", "Size", "CreatedSince", "LastUsedSince", "UsageCount", "Shared"),
)


def _row(kind: str, count: int, active: int, total: int, free: int) -> dict[str, object]:
    part = f" ({free * 100 // total}%)" if total > 0 and kind != "Build Cache" else ""
    return {
        "Type": kind,
        "TotalCount": str(count),
        "Active": str(active),
        "Size": size(total),
        "Reclaimable": size(free) + part,
    }


def _images(found: Sequence[Item], total: int) -> dict[str, object]:
    used = sum(
        item["Size"] - item["SharedSize"]
        for item in found
        if item.get("Containers") and item.get("Size", -1) != -1 and item.get("SharedSize", -1) != -1
    )
    return _row("Images", len(found), sum(1 for item in found if item.get("Containers", 0) > 0), total, total - used)


def _containers(found: Sequence[Item]) -> dict[str, object]:
    runs = [item for item in found if item.get("State") in ("running", "paused", "restarting")]
    total = sum(item.get("SizeRw") or 0 for item in found)
    return _row("Containers", len(found), len(runs), total, total - sum(item.get("SizeRw") or 0 for item in runs))


def _volumes(found: Sequence[Item]) -> dict[str, object]:
    def sizes(items: Iterable[Item]) -> int:
        known = (item["UsageData"] for item in items if item.get("UsageData"))
        return sum(usage["Size"] for usage in known if usage.get("Size", -1) != -1)

    used = [item for item in found if (item.get("UsageData") or {}).get("RefCount", 0) > 0]
    total = sizes(found)
    return _row("Local Volumes", len(found), len(used), total, total - sizes(used))


def _cache(found: Sequence[Item], total: int) -> dict[str, object]:
    used = sum(item.get("Size", 0) for item in found if item.get("InUse") and not item.get("Shared"))
    return _row("Build Cache", len(found), sum(1 for item in found if item.get("InUse")), total, total - used)


def _cache_row(item: Item) -> dict[str, object]:
    def since(name: str) -> str:
        from datetime import UTC, datetime

        text = item.get(name)
        if not text:
            return ""
        moment = datetime.fromisoformat(str(text)[:19]).replace(tzinfo=UTC)
        return duration_words((datetime.now(UTC) - moment).total_seconds())

    return {
        "ID": clip(str(item.get("ID", "")), 12),
        "CacheType": item.get("Type", ""),
        "Size": size(item.get("Size", 0)),
        "CreatedSince": lambda: since("CreatedAt"),
        "LastUsedSince": lambda: since("LastUsedAt"),
        "UsageCount": str(item.get("UsageCount", 0)),
        "Shared": "true" if item.get("Shared") else "false",
    }


@docker(
    "[OPTIONS]",
    "Show disk usage",
    formats(),
    switch("-v, --verbose", "Each image, container and volume"),
    examples=("layerlab system df", "layerlab system df -v"),
)
def df(call: Call) -> None:
    """Show what is on disk."""
    found = call.engine.get("/system/df")
    images, containers = found.get("Images") or [], found.get("Containers") or []
    volumes, cache = found.get("Volumes") or [], found.get("BuildCache") or []
    total = found.get("BuilderSize") or sum(item.get("Size", 0) for item in cache if not item.get("Shared"))
    if call.on("verbose") and call.text("format") in ("", "table"):
        _verbose(images, containers, volumes, cache, total)
        return
    if call.on("verbose") and call.text("format") == "json":
        _verbose_json(images, containers, volumes, cache)
        return
    if call.on("verbose"):
        show_rows(_EVERYTHING, call.text("format"), [_everything(images, containers, volumes, cache)])
        return
    rows = [
        _images(images, found.get("LayersSize") or 0),
        _containers(containers),
        _volumes(volumes),
        _cache(cache, total),
    ]
    show_rows(_SUMMARY, call.text("format"), rows)


_IMAGE_COLUMNS = ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers")
_CONTAINER_COLUMNS = ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names")


def _first_names(images: Sequence[Item]) -> list[dict[str, object]]:
    """Return a row for each image: for the first of its names alone."""
    return [next(image_rows(item)) for item in images]


def _container_rows(containers: Sequence[Item]) -> list[dict[str, object]]:
    # The sum of it all has no use here: only the RW layer's.
    return [container_row({**item, "SizeRootFs": 0}) for item in containers]


def _verbose(
    images: Sequence[Item], containers: Sequence[Item], volumes: Sequence[Item], cache: Sequence[Item], total: int
) -> None:
    parts = [
        "Images space usage:\n\n",
        render(IMAGES, "", _first_names(images), columns=_IMAGE_COLUMNS),
        "\nContainers space usage:\n\n",
        render(CONTAINERS, "", _container_rows(containers), columns=_CONTAINER_COLUMNS),
        "\nLocal Volumes space usage:\n\n",
        render(VOLUMES, "", [volume_row(item) for item in volumes], columns=("Name", "Links", "Size")),
        f"\nBuild cache usage: {size(total)}\n\n",
        render(_CACHE, "", [_cache_row(item) for item in cache]),
    ]
    sys.stdout.write("".join(parts))


def _everything(
    images: Sequence[Item], containers: Sequence[Item], volumes: Sequence[Item], cache: Sequence[Item]
) -> dict[str, object]:
    return {
        "Images": [IMAGES.record(row) for row in _first_names(images)],
        "Containers": [CONTAINERS.record(row) for row in _container_rows(containers)],
        "Volumes": [VOLUMES.record(volume_row(item)) for item in volumes],
        "BuildCache": [_CACHE.record(_cache_row(item)) for item in cache],
    }


def _verbose_json(
    images: Sequence[Item], containers: Sequence[Item], volumes: Sequence[Item], cache: Sequence[Item]
) -> None:
    import json

    def plain(listing: Listing, rows: Iterable[Mapping[str, object]]) -> list[Any]:
        return [json.loads(line) for line in render(listing, "json", rows).splitlines()]

    found = {
        "Images": plain(IMAGES, _first_names(images)),
        "Containers": plain(CONTAINERS, _container_rows(containers)),
        "Volumes": plain(VOLUMES, [volume_row(item) for item in volumes]),
        "BuildCache": plain(_CACHE, [_cache_row(item) for item in cache]),
    }
    print(json.dumps(found, separators=(",", ":"), ensure_ascii=False))
