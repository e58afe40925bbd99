"""Platforms as people write them: `linux/amd64`, `arm64`, `linux/arm/v7`.

Decided here and only here: what may be left out and which names mean the same, as containerd's `platforms` package has
it. Pure functions.
"""

from __future__ import annotations

import re

from sim.build.errors import BuildError
from sim.images import Platform, architecture

__all__ = ["matches", "platform_of"]

_PART = re.compile(r"[A-Za-z0-9_.-]+")
_SAME = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "armel": "arm", "i386": "386"}
_SYSTEMS = frozenset({"linux", "windows", "darwin", "freebsd"})


def platform_of(text: str) -> Platform:
    """Return the platform that a text names.

    Raises
    ------
    BuildError
        It names none.

    Examples
    --------
    >>> platform_of("aarch64").architecture, platform_of("linux/arm/v7").variant
    ('arm64', 'v7')
    """
    parts = text.lower().split("/")
    if len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts):
        raise BuildError(f'failed to parse platform {text}: "{text}" is an invalid platform: invalid argument')
    if len(parts) == 1:
        name = _SAME.get(parts[0], parts[0])
        return Platform(architecture(), name) if name in _SYSTEMS else Platform(name, "linux")
    return Platform(_SAME.get(parts[1], parts[1]), parts[0], parts[2] if len(parts) == 3 else "")


def matches(found: Platform, wanted: Platform) -> bool:
    """Tell whether an image's platform is the one that is wanted; a variant only where one is wanted."""
    if (found.os, found.architecture) != (wanted.os, wanted.architecture):
        return False
    return not wanted.variant or found.variant in ("", wanted.variant)
