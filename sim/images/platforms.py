"""Platforms: which of an index's images is the one for this machine.

Decided here and only here: the order of preference, and how deep indexes may be nested. Functions only; any thread.
"""

from __future__ import annotations

from collections.abc import Callable

from sim.images.create import architecture
from sim.images.digest import short
from sim.images.documents import INDEX_TYPES, MANIFEST_TYPES, Descriptor, Platform, parse_index
from sim.images.errors import ContentError, NotFoundError

__all__ = ["choose", "parse_platform"]

_DEEPEST = 4


def parse_platform(text: str) -> Platform:
    """Read `os/architecture` or `os/architecture/variant`.

    >>> parse_platform("linux/arm64/v8")
    Platform(architecture='arm64', os='linux', variant='v8', os_version='')
    """
    parts = text.split("/")
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise ContentError(f"{text!r} is no platform; write linux/amd64 or linux/arm/v7")
    return Platform(parts[1], parts[0], parts[2] if len(parts) > 2 else "")


def choose(
    entry: Descriptor, read: Callable[[Descriptor], bytes], platform: Platform | None = None, what: str = ""
) -> Descriptor:
    """Follow an entry through indexes to one image's manifest.

    Parameters
    ----------
    entry
        A manifest, which is returned as it is, or an index.
    read
        Gives the bytes that a descriptor refers to.
    platform
        What to look for; this machine's where None.

    Raises
    ------
    NotFoundError
        No entry is for this platform.
    ContentError
        Indexes lie in each other too deep, or in a circle.
    """
    wanted = platform or Platform(architecture(), "linux")
    seen: list[str] = []
    shown = what or short(entry.digest)
    while entry.media_type in INDEX_TYPES:
        if entry.digest in seen or len(seen) >= _DEEPEST:
            raise ContentError(f"{shown}: its indexes lie in a circle, or more than {_DEEPEST} deep")
        seen.append(entry.digest)
        index = parse_index(read(entry), f"{shown}: index {short(entry.digest)}")
        usable = [item for item in index.manifests if item.media_type in MANIFEST_TYPES | INDEX_TYPES]
        ranked = sorted((item for item in usable if _fits(item, wanted)), key=lambda item: _rank(item, wanted))
        if not ranked:
            offered = ", ".join(sorted({_show(item.platform) for item in usable if item.platform})) or "nothing"
            raise NotFoundError(f"{shown}: no image for {_show(wanted)}; there is {offered}")
        entry = ranked[0]
    return entry


def _fits(entry: Descriptor, wanted: Platform) -> bool:
    if entry.platform is None:
        return True
    return entry.platform.os == wanted.os and entry.platform.architecture == wanted.architecture


def _rank(entry: Descriptor, wanted: Platform) -> tuple[bool, bool]:
    """Sort the wanted variant first, then those that say what they are for."""
    return (entry.platform is None, entry.platform is not None and entry.platform.variant != wanted.variant)


def _show(platform: Platform) -> str:
    return "/".join(part for part in (platform.os, platform.architecture, platform.variant) if part)
