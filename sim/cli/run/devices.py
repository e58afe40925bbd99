"""Devices on the command line: `--device`, `--gpus`, and limits of devices.

Decided here and only here. Pure functions that raise `ValueError`; any thread.
"""

from __future__ import annotations

import csv
from typing import Any

from sim.cli.flags.values import memory

__all__ = ["device", "gpus", "rate_bytes", "rate_operations", "weight"]


def device(text: str) -> dict[str, str]:
    """Return a device of the host.

    >>> device("/dev/null:/dev/n:r")
    {'PathOnHost': '/dev/null', 'PathInContainer': '/dev/n', 'CgroupPermissions': 'r'}
    """
    parts = text.split(":")
    if len(parts) > 3:
        raise ValueError(f"bad format for path: {text}")
    outer = parts[0]
    if not outer.startswith("/") and "=" not in outer:
        raise ValueError(f"{outer} is not an absolute path")
    inner, allowed = outer, "rwm"
    if len(parts) == 3:
        inner, allowed = parts[1] or outer, parts[2]
        if not _mode(allowed):
            raise ValueError(f"bad mode specified: {allowed}")
    elif len(parts) == 2:
        if _mode(parts[1]):
            allowed = parts[1]
        else:
            inner = parts[1]
    if not inner.startswith("/"):
        raise ValueError(f"{inner} is not an absolute path")
    return {"PathOnHost": outer, "PathInContainer": inner, "CgroupPermissions": allowed}


def _mode(text: str) -> bool:
    return bool(text) and set(text) <= set("rwm") and len(set(text)) == len(text)


def _split(text: str) -> tuple[str, str]:
    path, colon, value = text.partition(":")
    if not colon or not path:
        raise ValueError(f"bad format: {text}")
    if not path.startswith("/dev/"):
        raise ValueError(f"bad format for device path: {text}")
    return path, value


def rate_bytes(text: str) -> dict[str, Any]:
    """Return bytes a second of a device."""
    path, value = _split(text)
    try:
        return {"Path": path, "Rate": memory(value)}
    except ValueError:
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. "
            "Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        ) from None


def rate_operations(text: str) -> dict[str, Any]:
    """Return operations a second of a device."""
    path, value = _split(text)
    if not value.isdigit():
        raise ValueError(
            f"invalid rate for device: {text}. The correct format is <device-path>:<number>. "
            "Number must be a positive integer"
        )
    return {"Path": path, "Rate": int(value)}


def weight(text: str) -> dict[str, Any]:
    """Return a device's share of input and output."""
    path, value = _split(text)
    if not value.isdigit() or (int(value) and not 10 <= int(value) <= 1000):
        raise ValueError(f"invalid weight for device: {text}")
    return {"Path": path, "Weight": int(value)}


def gpus(text: str) -> dict[str, Any]:
    """Return a request for GPUs.

    >>> gpus("all")["Count"], gpus("device=0")["DeviceIDs"]
    (-1, ['0'])
    """
    found: dict[str, Any] = {"Driver": "", "Count": 0, "DeviceIDs": None, "Capabilities": [], "Options": {}}
    counted = False
    for field in next(csv.reader([text]), []):
        key, equals, value = field.partition("=")
        if not equals:
            key, value = "count", key
        match key.lower():
            case "count":
                if value != "all" and not value.lstrip("-").isdigit():
                    raise ValueError(
                        f'invalid count ({value}): value must be either "all" or an integer: invalid syntax'
                    )
                found["Count"], counted = -1 if value == "all" else int(value), True
            case "driver":
                found["Driver"] = value
            case "device":
                found["DeviceIDs"] = value.split(",")
            case "capabilities":
                found["Capabilities"] = [[*value.split(","), "gpu"]]
            case "options":
                found["Options"] = dict(pair.partition("=")[::2] for pair in value.split(","))
            case _:
                raise ValueError(f"unexpected key '{key}' in '{field}'")
    if not counted and found["DeviceIDs"] is None:
        found["Count"] = 1
    found["Capabilities"] = found["Capabilities"] or [["gpu"]]
    return found
