"""Mounts on the command line: `--mount`, `-v`, `--tmpfs`.

Decided here and only here: the fields of `--mount` and which go with which type; which `-v` is a volume without a name.
Pure functions that raise `ValueError`; any thread.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from typing import Any

from sim.cli.flags.values import memory, switch_value

__all__ = ["binds", "mount", "tmpfs"]

_SWITCHES = ("readonly", "ro", "volume-nocopy", "bind-nonrecursive")


def mount(text: str) -> dict[str, Any]:
    """Return a mount as the API has it.

    >>> mount("type=bind,src=/a,dst=/b,readonly")
    {'Type': 'bind', 'Source': '/a', 'Target': '/b', 'ReadOnly': True}
    """
    found: dict[str, Any] = {"Type": "volume", "Source": "", "Target": "", "ReadOnly": False}
    options: dict[str, dict[str, Any]] = {"bind": {}, "volume": {}, "tmpfs": {}, "image": {}}
    for field in next(csv.reader([text]), []):
        key, equals, value = field.partition("=")
        key = key.lower()
        if not equals:
            if key not in _SWITCHES:
                raise ValueError(f"invalid field '{field}' must be a key=value pair")
            value = "true"
        _field(found, options, key, value, field)
    return _whole(found, options)


def _truth(key: str, value: str) -> bool:
    try:
        return switch_value(value)
    except ValueError:
        raise ValueError(f"invalid value for {key}: {value}") from None


def _field(found: dict[str, Any], options: dict[str, dict[str, Any]], key: str, value: str, field: str) -> None:
    match key:
        case "type":
            found["Type"] = value.lower()
        case "source" | "src":
            found["Source"] = os.path.abspath(value) if value == "." or value.startswith(("./", "../")) else value
        case "target" | "dst" | "destination":
            found["Target"] = value
        case "readonly" | "ro":
            found["ReadOnly"] = _truth(key, value)
        case "consistency":
            found["Consistency"] = value.lower()
        case "bind-propagation":
            options["bind"]["Propagation"] = value.lower()
        case "bind-nonrecursive":
            options["bind"]["NonRecursive"] = _truth(key, value)
        case "bind-recursive":
            _recursive(options["bind"], value)
        case "volume-subpath":
            options["volume"]["Subpath"] = value
        case "volume-nocopy":
            options["volume"]["NoCopy"] = _truth(key, value)
        case "volume-label":
            name, _, label = value.partition("=")
            options["volume"].setdefault("Labels", {})[name] = label
        case "volume-driver":
            options["volume"].setdefault("DriverConfig", {})["Name"] = value
        case "volume-opt":
            name, _, given = value.partition("=")
            options["volume"].setdefault("DriverConfig", {}).setdefault("Options", {})[name] = given
        case "tmpfs-size":
            try:
                options["tmpfs"]["SizeBytes"] = memory(value)
            except ValueError:
                raise ValueError(f"invalid value for {key}: {value}") from None
        case "tmpfs-mode":
            try:
                options["tmpfs"]["Mode"] = int(value, 8)
            except ValueError:
                raise ValueError(f"invalid value for {key}: {value}") from None
        case "image-subpath":
            options["image"]["Subpath"] = value
        case _:
            raise ValueError(f"unexpected key '{key}' in '{field}'")


def _recursive(bind: dict[str, Any], value: str) -> None:
    match value:
        case "enabled":
            pass
        case "disabled":
            bind["NonRecursive"] = True
        case "writable":
            bind["ReadOnlyNonRecursive"] = True
        case "readonly":
            bind["ReadOnlyForceRecursive"] = True
        case _:
            raise ValueError(
                f'invalid value for bind-recursive: {value} (must be "enabled", "disabled", "writable", or "readonly")'
            )


def _whole(found: dict[str, Any], options: dict[str, dict[str, Any]]) -> dict[str, Any]:
    kind = found["Type"]
    if not kind:
        raise ValueError("type is required")
    if not found["Target"]:
        raise ValueError("target is required")
    for other, given in options.items():
        if given and other != kind:
            raise ValueError(f"cannot mix '{other}-*' options with mount type '{kind}'")
    result = {key: value for key, value in found.items() if value}
    names = {"bind": "BindOptions", "volume": "VolumeOptions", "tmpfs": "TmpfsOptions", "image": "ImageOptions"}
    if options.get(kind):
        result[names[kind]] = options[kind]
    return result


def binds(texts: Iterable[str]) -> tuple[list[str], dict[str, dict[str, str]]]:
    """Return what `-v` binds, and the volumes without a name.

    >>> binds(["data:/d", "/anon"])
    (['data:/d'], {'/anon': {}})
    """
    bound: dict[str, None] = {}
    anonymous: dict[str, dict[str, str]] = {}
    for text in texts:
        source, colon, rest = text.partition(":")
        if not colon:
            if text:
                anonymous[text] = {}
            else:
                raise ValueError("invalid empty volume spec")
            continue
        if source.startswith("."):
            source = os.path.abspath(source)
        bound[f"{source}:{rest}"] = None
    return list(bound), anonymous


def tmpfs(texts: Iterable[str]) -> dict[str, str]:
    """Return what `--tmpfs` mounts.

    >>> tmpfs(["/run", "/tmp:size=5m"])
    {'/run': '', '/tmp': 'size=5m'}
    """
    return {path: options for path, _, options in (text.partition(":") for text in texts)}
