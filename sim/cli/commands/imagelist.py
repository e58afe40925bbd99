"""`layerlab images`: the images.

Decided here and only here: what each field of an image's row is, and that an image has a row for each of its names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sim.cli.commands.shared import config_format, filter_query
from sim.cli.flags import Call, docker, filters, formats, switch
from sim.cli.show.human import ago, created_at, size
from sim.cli.show.quoting import familiar, short_id
from sim.cli.show.rows import Listing, show_rows

__all__ = ["image_rows", "images"]

LISTING = Listing(
    "*formatter.imageContext",
    {
        "ID": "IMAGE ID",
        "Repository": "REPOSITORY",
        "Tag": "TAG",
        "Digest": "DIGEST",
        "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT",
        "Size": "SIZE",
        "Containers": "CONTAINERS",
        "VirtualSize": "SIZE",
        "SharedSize": "SHARED SIZE",
        "UniqueSize": "UNIQUE SIZE",
    },
    ("Repository", "Tag", "ID", "CreatedSince", "Size"),
    raw="repository: {{.Repository}}\ntag: {{.Tag}}\nimage_id: {{.ID}}\ncreated_at: {{.CreatedAt}}\n"
    "virtual_size: {{.Size}}\n",
)

_RAW_DIGEST = LISTING.raw.replace("image_id:", "digest: {{.Digest}}\nimage_id:")


def image_rows(
    item: Mapping[str, Any], *, trunc: bool = True, digests: bool = False, wanted: bool = False
) -> Iterator[dict[str, object]]:
    """Yield the fields of an image, once for each of its names.

    Parameters
    ----------
    trunc
        Whether IDs are short.
    digests
        Whether there is a row for each digest.
    wanted
        Whether digests are shown at all.
    """
    for repository, tag, digest in _names(item, wanted or digests, digests):
        yield _row(item, repository, tag, digest, trunc)


def _names(item: Mapping[str, Any], wanted: bool, each: bool) -> Iterator[tuple[str, str, str]]:
    none = "<none>"
    tags: dict[str, list[str]] = {}
    for name in item.get("RepoTags") or ():
        repository, _, tag = name.rpartition(":")
        if repository != none:
            tags.setdefault(familiar(repository), []).append(tag)
    digests: dict[str, list[str]] = {}
    for name in item.get("RepoDigests") or ():
        repository, _, digest = name.partition("@")
        if repository != none:
            digests.setdefault(familiar(repository), []).append(digest)
    if not tags and not digests:
        yield none, none, none
        return
    for repository, found in tags.items():
        known = digests.pop(repository, [])
        for tag in found:
            yield from ((repository, tag, digest) for digest in (known if wanted and known else [none]))
    for repository, known in digests.items():
        yield from ((repository, none, digest) for digest in (known if each else [""]))


def _row(item: Mapping[str, Any], repository: str, tag: str, digest: str, trunc: bool) -> dict[str, object]:
    created = item.get("Created") or 0
    shared, total = item.get("SharedSize", -1), item.get("Size") or 0
    count = item.get("Containers", -1)
    fields: dict[str, Callable[[], object]] = {
        "ID": lambda: short_id(item["Id"]) if trunc else item["Id"],
        "CreatedSince": lambda: ago(created),
        "CreatedAt": lambda: created_at(created),
        "Size": lambda: size(total, 3),
        "VirtualSize": lambda: size(total),
        "Containers": lambda: "N/A" if count == -1 else str(count),
        "SharedSize": lambda: "N/A" if shared == -1 else size(shared),
        "UniqueSize": lambda: "N/A" if shared == -1 else size(total - shared),
    }
    return {"Repository": repository, "Tag": tag, "Digest": digest, **fields}


@docker(
    "[OPTIONS] [REPOSITORY[:TAG]]",
    "List images",
    switch("-a, --all", "Also images that others were built on"),
    switch("--digests", "Also digests"),
    filters(text="Only what fits: dangling, label, before, since, reference, until; may be repeated"),
    formats(),
    switch("--no-trunc", "Show everything in full"),
    switch("-q, --quiet", "Only IDs"),
    switch("--tree", "As a tree", hidden=True),
    most=1,
    aliases=("image ls", "image list", "images"),
    examples=(
        "layerlab images redis",
        "layerlab images --filter dangling=true -q",
        "layerlab images --format 'table {{.ID}}\\t{{.Repository}}:{{.Tag}}\\t{{.Size}}'",
    ),
    completes="image",
)
def images(call: Call) -> None:
    """List images."""
    quiet, digests = call.on("quiet"), call.on("digests")
    form = config_format(call, "imagesFormat", quiet=quiet)
    words = [*call.many("filter"), *(f"reference={name}" for name in call.arguments)]
    found = call.engine.get("/images/json", all=call.on("all"), filters=filter_query(words))
    columns = LISTING.columns
    if digests:
        columns = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")
        if form == "raw":
            form = _RAW_DIGEST
        elif form.startswith("table ") and ".Digest" not in form:
            form += "\t{{.Digest}}"
    wanted = "{{.Digest}}" in form
    trunc = not call.on("no-trunc")
    rows = [row for item in found for row in image_rows(item, trunc=trunc, digests=digests, wanted=wanted)]
    show_rows(LISTING, form, rows, columns=columns, quiet="ID" if quiet else "")
