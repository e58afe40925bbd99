"""What becomes of a stack: the real union, in this process, on temporary directories.

Decided here and only here: how a stack of a problem is laid out and used, and what of its RW layer is told: for each
path what is there, its size and its mode. Nothing is worked out by other means than `UnionFS` itself, so an answer
that is called right is what the engine did. Needs no privilege. One thread a call.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fusefs import Effect, EffectKind, JournalLayer, Operation, Recorder, UnionFS
from sim.course.predict.steps import Step
from sim.course.predict.worlds import World
from sim.graph import EntryType, Lab, LayerGraph, LayerStack, merged
from sim.graph.directory import directory_layer
from sim.graph.sources import add_journal

__all__ = ["Copy", "Played", "State", "Thing", "play", "stack_of"]

_UMASK_FILE = 0o644


@dataclass(frozen=True, slots=True)
class Thing:
    """What the RW layer has at a path.

    Attributes
    ----------
    kind
        "file", "directory", "opaque" or "whiteout".
    size, mode
        Of a file, bytes and permission bits; else 0.
    """

    kind: str
    size: int = 0
    mode: int = 0


#: The RW layer: what it has by path, without its root.
State = Mapping[str, Thing]


@dataclass(frozen=True, slots=True)
class Copy:
    """Bytes that were copied up: of which file, how many, from which layer."""

    path: str
    size: int
    layer: str


@dataclass(frozen=True, slots=True)
class Played:
    """What became of a stack.

    Attributes
    ----------
    state
        The RW layer in the end.
    states
        The RW layer after each step.
    effects
        What the union recorded that it did to the RW layer, by step.
    copies
        What was copied up, files with bytes only.
    files, directories
        What the merged view has in the end.
    failed
        Errno and index of the first step that could not be done; no step after it was taken.
    """

    state: State
    states: tuple[State, ...]
    effects: tuple[tuple[Effect, ...], ...]
    copies: tuple[Copy, ...]
    files: tuple[str, ...]
    directories: tuple[str, ...]
    failed: tuple[int, int] | None = None


def _lay_out(home: Path, world: World) -> list[Path]:
    lab = Lab(mounted=False)
    try:
        lab_layers = []
        for layer in reversed(world.layers):
            lab_layers.append(
                lab.layer(
                    layer.name,
                    dict(layer.files),
                    remove=layer.whiteouts,
                    opaque=layer.opaque,
                )
            )
        (home / "layers").mkdir()
        found = []
        for path in reversed(lab_layers):
            found.append(path.rename(home / "layers" / path.name))
    finally:
        lab.close()
    for path in (home / "layers").rglob("*"):
        if path.is_file() and not path.is_symlink() and not path.name.startswith(".wh."):
            path.chmod(_UMASK_FILE)
    return found


def play(world: World, steps: Sequence[Step]) -> Played:
    """Take steps on a stack, one after the other, and tell what became of it."""
    with tempfile.TemporaryDirectory(prefix="layerlab-predict-") as place:
        return _play(Path(place), world, steps, None)


def stack_of(world: World, steps: Sequence[Step], home: Path) -> LayerStack:
    """Take steps on a stack in a directory that stays; return the stack for the figures.

    Parameters
    ----------
    world, steps
        As for `play`.
    home
        An empty directory.
    """
    journal = home / "journal.db"
    _play(home, world, steps, journal)
    return add_journal(LayerGraph(), journal, name="")


def _play(home: Path, world: World, steps: Sequence[Step], journal: Path | None) -> Played:
    lower = _lay_out(home, world)
    upper, work = home / "upper", home / "work"
    upper.mkdir()
    work.mkdir()
    names = [layer.name for layer in world.layers]
    recorded: list[Operation] = []
    recorder = None
    if journal is not None:
        layers = [JournalLayer(0, "rw", "RW", upper)]
        layers += [
            JournalLayer(n, "ro", name, path) for n, (name, path) in enumerate(zip(names, lower, strict=True), 1)
        ]
        recorder = Recorder(journal, layers)
    fs = UnionFS(lower, upper, work, record=recorder or recorded.append)
    states: list[State] = []
    effects: list[tuple[Effect, ...]] = []
    failed = None
    try:
        for index, step in enumerate(steps):
            recorded.clear()
            try:
                step.apply(fs)
            except OSError as error:
                failed = (error.errno or 0, index)
            effects.append(tuple(effect for operation in recorded for effect in operation.effects))
            states.append(_state(upper))
            if failed:
                break
    finally:
        fs.close()
        if recorder is not None:
            recorder.close()
    stack = [directory_layer(path) for path in (upper, *lower)]
    seen = merged(stack)
    return Played(
        states[-1] if states else {},
        tuple(states),
        tuple(effects),
        tuple(
            Copy(effect.path, effect.size, names[effect.origin - 1])
            for of_a_step in effects
            for effect in of_a_step
            if effect.kind is EffectKind.COPIED_UP and effect.size and effect.origin
        ),
        tuple(sorted(path for path, (_, entry) in seen.items() if entry.type is EntryType.FILE)),
        tuple(sorted(path for path, (_, entry) in seen.items() if entry.is_dir)),
        failed,
    )


def _state(upper: Path) -> State:
    found: dict[str, Thing] = {}
    for path, entry in directory_layer(upper).entries.items():
        if path == "/":
            continue
        if entry.is_whiteout:
            found[path] = Thing("whiteout")
        elif entry.is_dir:
            found[path] = Thing("opaque" if entry.opaque else "directory")
        else:
            found[path] = Thing("file", entry.size, entry.mode)
    return dict(sorted(found.items()))
