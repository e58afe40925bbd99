"""Images as the API shows them, in each of its versions.

Decided here and only here: the fields of images in lists, inspection, history and removal. Functions only; any thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sim.images import Image, Removed
from sim.images.documents import nanoseconds

if TYPE_CHECKING:
    from sim.engine import Engine

__all__ = ["configuration_document", "history_document", "image_document", "list_entry", "removal_document"]

Version = tuple[int, int]

#: What the configuration of a container has besides what an image's may say; never set in an image.
_UNSET: Mapping[str, Any] = {
    "Hostname": "", "Domainname": "", "AttachStdin": False, "AttachStdout": False, "AttachStderr": False, "Tty": False,
    "OpenStdin": False, "StdinOnce": False, "Image": "",
}  # fmt: skip
_ALWAYS: Mapping[str, Any] = {
    "User": "", "Env": None, "Cmd": None, "Volumes": None, "WorkingDir": "", "Entrypoint": None, "OnBuild": None,
    "Labels": None,
}  # fmt: skip
_SOMETIMES = ("ExposedPorts", "Healthcheck", "ArgsEscaped", "StopSignal", "StopTimeout", "Shell", "NetworkDisabled")


def list_entry(image: Image, version: Version, *, shared: int = -1, containers: int = -1) -> dict[str, Any]:
    """Return an image as it stands in a list.

    Parameters
    ----------
    shared, containers
        Its shared bytes and the number of its containers; -1 where that was not asked for.
    """
    tags: list[str] | None = [tag.familiar for tag in image.tags]
    digests: list[str] | None = [digest.familiar for digest in image.digests]
    if version < (1, 43):
        if not tags and not digests:
            tags, digests = ["<none>:<none>"], ["<none>@<none>"]
        tags, digests = tags or None, digests or None
    entry = {
        "Containers": containers,
        "Created": image.created_ns // 10**9,
        "Id": image.id,
        "Labels": image.labels or None,
        "ParentId": image.parent or "",
        "RepoDigests": digests,
        "RepoTags": tags,
        "SharedSize": shared,
        "Size": image.size,
    }
    if version < (1, 44):
        entry["VirtualSize"] = image.size
    return entry


def configuration_document(settings: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """Return how an image is run, as its inspection shows it."""
    document: dict[str, Any] = {}
    if version < (1, 50):
        document |= _UNSET
    document |= {key: settings.get(key) or default for key, default in _ALWAYS.items()}
    document |= {key: settings[key] for key in _SOMETIMES if settings.get(key)}
    if version < (1, 50):
        document |= {key: settings[key] for key in _UNSET if settings.get(key)}
    else:
        document = {key: value for key, value in document.items() if value or key in ("Cmd", "Env")}
    return document


def image_document(engine: Engine, image: Image, version: Version) -> dict[str, Any]:
    """Return an image as its inspection shows it."""
    raw = json.loads(engine.store.blobs.read(image.id))
    history = image.history
    document: dict[str, Any] = {
        "Id": image.id,
        "RepoTags": [tag.familiar for tag in image.tags],
        "RepoDigests": [digest.familiar for digest in image.digests],
        "Parent": image.parent or "",
        "Comment": raw.get("comment") or (history[-1].comment if history else ""),
        "Created": image.created,
        "DockerVersion": raw.get("docker_version") or "",
        "Author": image.configuration.author,
        "Config": configuration_document(image.settings, version),
        "Architecture": image.configuration.architecture,
    }
    if version < (1, 45):
        document["Container"] = raw.get("container") or ""
        document["ContainerConfig"] = configuration_document(raw.get("container_config") or {}, version)
    if image.configuration.variant:
        document["Variant"] = image.configuration.variant
    document["Os"] = image.configuration.os
    if raw.get("os.version"):
        document["OsVersion"] = raw["os.version"]
    document["Size"] = image.size
    if version < (1, 44):
        document["VirtualSize"] = image.size
    document["GraphDriver"] = {"Data": _directories(engine, image), "Name": engine.system.storage_driver}
    document["RootFS"] = {"Type": "layers", "Layers": list(image.diff_ids)}
    if not image.diff_ids:
        del document["RootFS"]["Layers"]
    document["Metadata"] = {"LastTagTime": engine.store.last_tagged(image.id) or "0001-01-01T00:00:00Z"}
    return document


def _directories(engine: Engine, image: Image) -> dict[str, str] | None:
    """Return where an image's layers are, in the words of Docker's overlay driver."""
    directories = [str(path) for path in engine.store.layer_directories(image)]
    if not directories:
        return None
    found = {"UpperDir": directories[0]}
    if len(directories) > 1:
        found["LowerDir"] = ":".join(directories[1:])
    return found


def history_document(engine: Engine, image: Image) -> list[dict[str, Any]]:
    """Return the steps of an image's making, the newest first, with the images that they made, where these are here."""
    layers = iter(image.layers)
    lines: list[dict[str, Any]] = []
    for step in image.history:
        layer = None if step.empty_layer else next(layers, None)
        lines.append(
            {
                "Comment": step.comment,
                "Created": _seconds(step.created),
                "CreatedBy": step.created_by,
                "Id": "<missing>",
                "Size": layer.size if layer is not None else 0,
                "Tags": None,
            }
        )
    lines.reverse()
    here: Image | None = image
    for line in lines:
        if here is None:
            break
        line["Id"] = here.id
        line["Tags"] = [tag.familiar for tag in here.tags] or None
        here = engine.images.parent(here)
    return lines


def _seconds(time: str | None) -> int:
    return nanoseconds(time) // 10**9 if time else 0


def removal_document(removed: Iterable[Removed]) -> list[dict[str, str]]:
    """Return what was removed, line by line."""
    return [{"Untagged": item.untagged} if item.untagged else {"Deleted": item.deleted} for item in removed]
