"""How a stage stands after each instruction: the settings of the image so far, and what the next one needs of them.

Decided here and only here: how settings become a layer's history (`/bin/sh -c #(nop)  CMD […]`), what of them a cache
entry is compared by, and which command a shell form becomes. Settings are plain dictionaries by the names of Docker's
API, never changed in place. A `State` belongs to one build.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sim.build.arguments import BuildArguments
from sim.images import Image
from sim.runtime.spec import DEFAULT_PATH

__all__ = ["State", "comparable", "created_by", "initial_settings", "stored"]

Settings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class State:
    """A stage after an instruction.

    Attributes
    ----------
    image
        The image so far; None while there is none (`FROM scratch`).
    settings
        Its settings.
    arguments
        Of this stage; the one thing in here that changes.
    author
        What MAINTAINER said.
    cmd_set
        Whether this stage had a CMD: an ENTRYPOINT takes an inherited one away.
    """

    image: Image | None
    settings: Settings
    arguments: BuildArguments
    author: str = ""
    cmd_set: bool = False

    @property
    def identity(self) -> str:
        """ID of the image so far; empty while there is none."""
        return self.image.id if self.image else ""

    @property
    def shell(self) -> list[str]:
        """What a shell form is given to."""
        return list(self.settings.get("Shell") or ("/bin/sh", "-c"))

    @property
    def environment(self) -> list[str]:
        """Its variables as NAME=VALUE."""
        return list(self.settings.get("Env") or ())

    def variables(self) -> dict[str, str]:
        """Return what a `$name` stands for: the image's variables, then the build arguments that they do not hide."""
        found = {name: value for name, _, value in (each.partition("=") for each in self.environment)}
        return {**self.arguments.beside(self.environment), **found}

    def comment(self, text: str, *, blank: bool = True) -> list[str]:
        """Return the command that stands for an instruction which runs none.

        Instructions that change files have one blank before their text, the others two: so has the classic builder.
        """
        return [*self.shell, "#(nop) ", text] if blank else [*self.shell, "#(nop) " + text]


def initial_settings(image: Image | None) -> dict[str, Any]:
    """Return the settings that a stage begins with: those of its base, and a PATH."""
    found = copy.deepcopy(dict(image.settings)) if image else {}
    environment = list(found.get("Env") or ())
    if not any(each.partition("=")[0] == "PATH" for each in environment):
        found["Env"] = [*environment, f"PATH={DEFAULT_PATH}"]
    return found


def created_by(command: Sequence[str]) -> str:
    """Return a step's command as history has it."""
    return " ".join(command)


def comparable(settings: Settings) -> tuple[object, ...]:
    """Return what of settings decides, beside the command, whether two steps are the same (moby's `cache.compare`)."""
    return (
        settings.get("User") or "",
        tuple(settings.get("Env") or ()),
        dict(settings.get("Labels") or {}),
        frozenset(settings.get("ExposedPorts") or ()),
        frozenset(settings.get("Volumes") or ()),
        bool(settings.get("Tty")),
        bool(settings.get("OpenStdin")),
    )


def stored(settings: Settings, parent: str) -> dict[str, Any]:
    """Return settings as an image's configuration has them: nothing that says nothing."""
    found = {name: copy.deepcopy(value) for name, value in settings.items() if value not in (None, "", [], {}, False)}
    found.pop("Image", None)
    if parent:
        found["Image"] = parent
    return found
