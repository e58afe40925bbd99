"""`layerlab pull`, `push`, `search`: images from elsewhere.

Decided here and only here: how a name becomes the request, and whose credentials go with it.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO

from sim.cli.commands.shared import filter_query, say
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, filters, formats, option, switch
from sim.cli.show.human import clip
from sim.cli.show.progress import show_progress
from sim.cli.show.rows import Listing, show_rows

if TYPE_CHECKING:
    from sim.cli.client import Engine
    from sim.images import Reference

__all__ = ["auth_header", "pull", "pull_image", "push", "reference", "search"]


def reference(text: str, *, default_tag: str = "latest") -> Reference:
    """Read an image's name.

    Raises
    ------
    Failure
        It is none.
    """
    from sim.images import ImagesError, Reference

    try:
        return Reference.parse(text, default_tag=default_tag)
    except ImagesError as error:
        message = str(error).partition(": ")[2]
        if "lowercase" in message:
            path = text.partition("@")[0]
            path = path.rpartition(":")[0] if ":" in path.rpartition("/")[2] else path
            head, slash, rest = path.partition("/")
            is_domain = bool(set(".:[") & set(head)) or head in ("localhost",) or head != head.lower()
            shown = rest if slash and is_domain else path if slash else f"library/{path}"
            raise Failure(f"invalid reference format: repository name ({shown}) must be lowercase") from None
        raise Failure(
            "invalid reference format" if message.startswith("invalid reference format") else message
        ) from None


def checked(text: str) -> str:
    """Return an image's name as it was given, for a flag.

    Raises
    ------
    ValueError
        It is none.
    """
    try:
        reference(text)
    except Failure as error:
        raise ValueError(error.text) from None
    return text


def encode_auth(fields: Mapping[str, str]) -> str:
    """Return credentials as a header."""
    return base64.urlsafe_b64encode(json.dumps(dict(fields), separators=(",", ":")).encode()).decode()


def config_path(settings: Mapping[str, Any]) -> str:
    """Return the user's config file, which need not be there."""
    folder = settings.get("config") or os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    return os.path.join(folder, "config.json")


def auth_header(settings: Mapping[str, Any], domain: str) -> dict[str, str]:
    """Return the header with the credentials for a registry."""
    path = config_path(settings)
    if not os.path.exists(path):
        return {"X-Registry-Auth": "e30="}
    from pathlib import Path

    from sim.images import ImagesError
    from sim.images.registry.credentials import DockerConfig

    try:
        found = DockerConfig(Path(path)).find(domain)
    except ImagesError as error:
        raise Failure(str(error)) from None
    if found is None:
        return {"X-Registry-Auth": "e30="}
    fields = {
        "username": found.username,
        "password": found.password,
        "serveraddress": "https://index.docker.io/v1/" if domain == "docker.io" else domain,
        "identitytoken": found.identity_token,
        "registrytoken": found.registry_token,
    }
    return {"X-Registry-Auth": encode_auth({key: value for key, value in fields.items() if value})}


def pull_image(
    engine: Engine,
    settings: Mapping[str, Any],
    name: Reference,
    *,
    platform: str = "",
    quiet: bool = False,
    out: TextIO | None = None,
    every_tag: bool = False,
) -> None:
    """Pull an image and show how it goes."""
    tag = "" if every_tag else name.digest or name.tag
    with engine.stream(
        "POST",
        "/images/create",
        None,
        auth_header(settings, name.domain),
        fromImage=name.repository,
        tag=tag or None,
        platform=platform or None,
    ) as stream:
        show_progress(stream.objects(), out, quiet=quiet)


@docker(
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    "Download an image from a registry",
    switch("-a, --all-tags", "All tags of the repository"),
    switch("--disable-content-trust", "Do not ask for signatures", True, hidden=True),
    option("--platform", "string", "For this platform, of several: linux/arm64"),
    switch("-q, --quiet", "Print only the name"),
    least=1,
    most=1,
    aliases=("image pull", "pull"),
    examples=("layerlab pull redis:7", "layerlab pull localhost:5000/team/app"),
    completes="image",
)
def pull(call: Call) -> None:
    """Pull an image."""
    given = call.arguments[0]
    bare = reference(given, default_tag="")
    every = call.on("all-tags")
    if every and (bare.tag or bare.digest):
        raise Failure("tag can't be used with --all-tags/-a")
    name = bare
    if not every and not bare.tag and not bare.digest:
        name = reference(given)
        if not call.on("quiet"):
            say(f"Using default tag: {name.tag}")
    platform = call.text("platform") or os.environ.get("DOCKER_DEFAULT_PLATFORM", "")
    sys.stdout.flush()
    pull_image(call.engine, call.settings, name, platform=platform, quiet=call.on("quiet"), every_tag=every)
    say(str(name))


@docker(
    "[OPTIONS] NAME[:TAG]",
    "Upload an image to a registry",
    switch("-a, --all-tags", "All tags of the repository"),
    switch("--disable-content-trust", "Do not sign", True, hidden=True),
    option("--platform", "string", "Only for this platform, of several", hidden=True),
    switch("-q, --quiet", "Print only the name"),
    least=1,
    most=1,
    aliases=("image push", "push"),
    examples=("layerlab push localhost:5000/team/app:1",),
    completes="image",
)
def push(call: Call) -> None:
    """Push an image."""
    given = call.arguments[0]
    bare = reference(given, default_tag="")
    every = call.on("all-tags")
    if every and bare.tag:
        raise Failure("tag can't be used with --all-tags/-a")
    if bare.digest:
        raise Failure("cannot push a digest reference")
    name = bare
    if not every and not bare.tag:
        name = reference(given)
        if not call.on("quiet"):
            say(f"Using default tag: {name.tag}")
    sys.stdout.flush()
    with call.engine.stream(
        "POST",
        f"/images/{name.repository}/push",
        None,
        auth_header(call.settings, name.domain),
        tag=name.tag or None,
    ) as stream:
        show_progress(stream.objects(), aux=lambda found: None, quiet=call.on("quiet"))
    if call.on("quiet"):
        say(str(name))


_FOUND = Listing(
    "*formatter.searchContext",
    {
        "Name": "NAME",
        "Description": "DESCRIPTION",
        "StarCount": "STARS",
        "IsOfficial": "OFFICIAL",
        "IsAutomated": "AUTOMATED",
    },
    ("Name", "Description", "StarCount", "IsOfficial"),
)


@docker(
    "[OPTIONS] TERM",
    "Search Docker Hub for images",
    filters(text="Only what fits: stars=3, is-official=true; may be repeated"),
    formats(table=True),
    option("--limit", "int", "How many at most"),
    switch("--no-trunc", "Show descriptions in full"),
    least=1,
    most=1,
    examples=("layerlab search --filter is-official=true redis",),
)
def search(call: Call) -> None:
    """Search."""
    term = call.arguments[0]
    domain = term.split("/")[0] if "/" in term and set(".:") & set(term.split("/")[0]) else "docker.io"
    answer = call.engine.stream(
        "GET",
        "/images/search",
        None,
        auth_header(call.settings, domain),
        term=term,
        limit=call.number("limit") or None,
        filters=filter_query(call.many("filter")),
    )
    with answer as stream:
        found = json.loads(stream.read() or b"[]")

    def row(item: Mapping[str, Any]) -> dict[str, object]:
        text = str(item.get("description") or "").replace("\n", " ").replace("\r", " ")
        return {
            "Name": item.get("name", ""),
            "Description": text if call.on("no-trunc") else clip(text, 45),
            "StarCount": str(item.get("star_count", 0)),
            "IsOfficial": "[OK]" if item.get("is_official") else "",
            "IsAutomated": "[OK]" if item.get("is_automated") else "",
        }

    show_rows(_FOUND, call.text("format"), [row(item) for item in found])
