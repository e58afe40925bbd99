"""The groups: `layerlab container`, `context`, `image`, `network`, `system`, `volume`, `builder`.

Decided here and only here: which other names their commands have.
"""

from __future__ import annotations

from sim.cli.flags import DockerGroup
from sim.cli.table import COMMANDS, GROUPS

__all__ = ["builder", "container", "context", "image", "network", "system", "volume"]


def _group(name: str, **others: str) -> DockerGroup:
    return DockerGroup(name, COMMANDS[name][1], GROUPS[name], others)


builder = _group("builder")
container = _group("container", list="ls", ps="ls", remove="rm")
context = _group("context", list="ls", remove="rm")
image = _group("image", list="ls", remove="rm")
network = _group("network", list="ls", remove="rm")
system = _group("system")
volume = _group("volume", list="ls", remove="rm")
