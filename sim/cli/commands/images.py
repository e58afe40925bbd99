"""`layerlab rmi`, `tag`, `history`, `commit`: what is done to images by their names.

Decided here and only here: how each is asked of the engine and what is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from sim.cli.client import DaemonError
from sim.cli.commands.registries import reference
from sim.cli.commands.shared import say
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, formats, many, option, switch
from sim.cli.show.human import ago, clip, size
from sim.cli.show.quoting import short_id
from sim.cli.show.rows import Listing, show_rows

__all__ = ["commit", "history", "rmi", "tag"]


@docker(
    "[OPTIONS] IMAGE [IMAGE...]",
    "Remove one or more images",
    switch("-f, --force", "Also where a stopped container uses it or it has several names"),
    switch("--no-prune", "Keep images without a name that it was built on"),
    option("--platform", "string", "Only this platform, of several", hidden=True),
    name="rm",
    least=1,
    most=None,
    aliases=("image rm", "image remove", "rmi"),
    examples=("layerlab rmi redis:7", "layerlab rmi $(layerlab images -q --filter dangling=true)"),
    completes="image",
)
def rmi(call: Call) -> None:
    """Remove images."""
    problems: list[str] = []
    bad = False
    for name in call.arguments:
        try:
            done = call.engine.delete(f"/images/{name}", force=call.on("force"), noprune=call.on("no-prune"))
        except DaemonError as error:
            bad = bad or error.code != 404
            problems.append(error.text)
            continue
        for item in done or ():
            say(f"Deleted: {item['Deleted']}" if item.get("Deleted") else f"Untagged: {item.get('Untagged', '')}")
    if problems and (bad or not call.on("force")):
        raise Failure("\n".join(problems))
    if problems:
        sys.stdout.flush()
        print("\n".join(problems), file=sys.stderr)


@docker(
    "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    least=2,
    most=2,
    aliases=("image tag", "tag"),
    examples=("layerlab tag app:1 localhost:5000/team/app:1",),
    completes="image",
)
def tag(call: Call) -> None:
    """Name an image."""
    source, target = call.arguments
    try:
        name = reference(target)
    except Failure as error:
        shown = error.text.replace(f"repository name (library/{target}", f"repository name (library/{target}")
        raise Failure(f'Error parsing reference: "{target}" is not a valid repository/tag: {shown}') from None
    if name.digest:
        raise Failure("refusing to create a tag with a digest reference")
    call.engine.post(f"/images/{source}/tag", repo=name.repository, tag=name.tag)


_HISTORY = Listing(
    "*formatter.historyContext",
    {
        "ID": "IMAGE",
        "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT",
        "CreatedBy": "CREATED BY",
        "Size": "SIZE",
        "Comment": "COMMENT",
    },
    ("ID", "CreatedSince", "CreatedBy", "Size", "Comment"),
)


@docker(
    "[OPTIONS] IMAGE",
    "Show the history of an image",
    formats(),
    switch("-H, --human", "Sizes and times in words", True),
    switch("--no-trunc", "Show everything in full"),
    option("--platform", "string", "Of this platform, of several", hidden=True),
    switch("-q, --quiet", "Only IDs"),
    least=1,
    most=1,
    aliases=("image history", "history"),
    examples=("layerlab history app:1", "layerlab history --no-trunc --format '{{.CreatedBy}}' app:1"),
    completes="image",
)
def history(call: Call) -> None:
    """Show what an image was made by."""
    trunc, human = not call.on("no-trunc"), call.on("human")
    found = call.engine.get(f"/images/{call.arguments[0]}/history")
    rows = [_history_row(item, trunc, human) for item in found]
    columns = _HISTORY.columns if human else ("ID", "CreatedAt", "CreatedBy", "Size", "Comment")
    show_rows(_HISTORY, call.text("format"), rows, columns=columns, quiet="ID" if call.on("quiet") else "")


def _history_row(item: Mapping[str, Any], trunc: bool, human: bool) -> dict[str, object]:
    def since() -> str:
        created = item.get("Created") or 0
        return "N/A" if created <= 0 else ago(created)

    def at() -> str:
        import time

        created = item.get("Created") or 0
        if created <= 0:
            return ""
        moment = time.localtime(created)
        zone = time.strftime("%z", moment)
        shown = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
        return time.strftime("%Y-%m-%dT%H:%M:%S", moment) + shown

    def by() -> str:
        text = str(item.get("CreatedBy") or "").replace("\t", " ")
        return clip(text, 45) if trunc else text

    identity = str(item.get("Id") or "")
    return {
        "ID": short_id(identity) if trunc and identity != "<missing>" else identity,
        "CreatedSince": since,
        "CreatedAt": at,
        "CreatedBy": by,
        "Size": lambda: size(item.get("Size") or 0, 3) if human else str(item.get("Size") or 0),
        "Comment": item.get("Comment") or "",
    }


@docker(
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    "Create a new image from a container's changes",
    option("-a, --author", "string", "Who made it"),
    many("-c, --change", "list", "A Dockerfile instruction for the image; may be repeated"),
    option("-m, --message", "string", "What is said about it in its history"),
    switch("-p, --pause", "Pause the container meanwhile", True),
    least=1,
    most=2,
    aliases=("container commit", "commit"),
    examples=("layerlab commit -m 'with curl' web app:2", "layerlab commit -c 'CMD [\"sh\"]' web app:2"),
    completes="container",
)
def commit(call: Call) -> None:
    """Make an image of a container."""
    repository = name_tag = ""
    if len(call.arguments) > 1:
        name = reference(call.arguments[1], default_tag="")
        if name.digest:
            raise Failure("refusing to create a tag with a digest reference")
        repository, name_tag = name.repository, name.tag or "latest"
    answer = call.engine.post(
        "/commit",
        container=call.arguments[0],
        repo=repository,
        tag=name_tag,
        comment=call.text("message"),
        author=call.text("author"),
        changes=call.many("change"),
        pause=None if call.on("pause") else "0",
    )
    say(str(answer["Id"]))
