"""Stacks by chance: layers with files in them, and steps that a process could take there.

Decided here and only here: what problems are made of, and what a level adds. Level 1 has one read-only layer; level 2
two, with names in both; level 3 also marks in them, whole directories, links, and more steps. The same random numbers
give the same stack on every machine. Values are frozen: any thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from sim.course.predict.steps import Do, Step

__all__ = ["LEVELS", "ReadOnly", "World", "candidates", "world"]

LEVELS = (1, 2, 3)

_DIRECTORIES = ("/etc", "/srv", "/var/log", "/usr/share/doc")
_NAMES = ("hosts", "motd", "passwd", "config", "shop.py", "notes", "manual", "licence", "data.db", "tool")
_NEW = ("new", "copy", "backup", "draft", "readme")
_TEXTS = ("hello", "closed today", "one line more", "x", "debug = true")
_MODES = (0o600, 0o640, 0o700, 0o755)


@dataclass(frozen=True, slots=True)
class ReadOnly:
    """A read-only layer.

    Attributes
    ----------
    name
        What it is called.
    files
        Size in bytes by path.
    whiteouts
        Paths that it hides.
    opaque
        Directories of it that hide all below.
    """

    name: str
    files: tuple[tuple[str, int], ...]
    whiteouts: tuple[str, ...] = ()
    opaque: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class World:
    """A stack: its read-only layers, the topmost first."""

    layers: tuple[ReadOnly, ...]


def _files(random: Random, directories: list[str], count: int) -> dict[str, int]:
    found: dict[str, int] = {}
    while len(found) < count:
        path = f"{random.choice(directories)}/{random.choice(_NAMES)}"
        size = random.randrange(20, 9_000)
        if size not in found.values():
            found[path] = size
    return found


def world(random: Random, level: int) -> World:
    """Make a stack."""
    directories = random.sample(_DIRECTORIES, 2 if level < 3 else 3)
    base = _files(random, directories, random.randrange(3, 5) if level < 3 else random.randrange(4, 7))
    if level == 1:
        return World((ReadOnly("base", tuple(sorted(base.items()))),))
    app = _files(random, directories, random.randrange(2, 4))
    shared = random.choice(sorted(base))
    app[shared] = random.randrange(9_000, 12_000)  # a name in both: the upper one hides the other
    whiteouts: tuple[str, ...] = ()
    opaque: tuple[str, ...] = ()
    if level == 3:
        loose = sorted(path for path in base if path not in app)
        if loose and random.random() < 0.7:
            whiteouts = (random.choice(loose),)
        elif random.random() < 0.6:
            opaque = (random.choice(sorted(app)).rpartition("/")[0],)
    return World(
        (
            ReadOnly("app", tuple(sorted(app.items())), whiteouts, opaque),
            ReadOnly("base", tuple(sorted(base.items()))),
        )
    )


def candidates(random: Random, level: int, files: list[str], directories: list[str]) -> list[Step]:
    """Return steps that a process could take next, in random order; not each of them will work.

    Parameters
    ----------
    random
        Where chance comes from.
    level
        How hard it may be.
    files, directories
        What the merged view has now.
    """
    steps: list[Step] = []
    places = [path for path in directories if path != "/" and not any(d.startswith(f"{path}/") for d in directories)]
    for path in files:
        new = f"{path.rpartition('/')[0]}/{random.choice(_NEW)}"
        steps += [
            Step(Do.APPEND, path, text=random.choice(_TEXTS)),
            Step(Do.WRITE, path, text=random.choice(_TEXTS)),
            Step(Do.REMOVE, path),
            Step(Do.CHMOD, path, mode=random.choice(_MODES)),
            Step(Do.READ, path),
        ]
        if level > 1:
            steps += [Step(Do.RENAME, path, new), Step(Do.EMPTY, path), Step(Do.RENAME, path, random.choice(files))]
        if level > 2:
            steps += [Step(Do.LINK, path, new), Step(Do.TOUCH, path)]
    for place in places or ["/etc"]:
        steps += [Step(Do.WRITE, f"{place}/{random.choice(_NEW)}", text=random.choice(_TEXTS))]
        if level > 1:
            steps += [Step(Do.REMOVE_ALL, place)]
        if level > 2:
            steps += [Step(Do.MKDIR, f"{place}/{random.choice(_NEW)}"), Step(Do.REMOVE_ALL, place)]
    random.shuffle(steps)
    return [step for step in steps if step.path != step.other]
