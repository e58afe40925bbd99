"""Data of the stepper: the stack after each operation that changed something, and the history of each path.

Decided here: which operations are steps (those that changed the RW layer; those before the first and what was only read
in between are counted, not shown) and that a path has one column throughout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fusefs.operation import Operation
from sim.graph.entry import Layer, Role
from sim.graph.errors import NameUnknown
from sim.graph.history import history_words
from sim.graph.merge import Column, column, merged
from sim.graph.replay import Replay
from sim.graph.stack import LayerStack
from sim.graph.views.cross_section import CrossSection, cross_section

__all__ = ["Step", "Steps", "steps"]


@dataclass(frozen=True, slots=True)
class Step:
    """The stack after one operation.

    Attributes
    ----------
    number
        Of the operation; 0 for the beginning.
    words
        What it was.
    touched
        Indexes of the columns whose paths it changed.
    section
        The stack cut open, after it.
    tree
        The merged view after it: path to (row that serves it, bytes, whether it is a directory).
    """

    number: int
    words: str
    touched: tuple[int, ...]
    section: CrossSection
    tree: Mapping[str, tuple[int, int, bool]]


@dataclass(frozen=True, slots=True)
class Steps:
    """A stack, step by step.

    Attributes
    ----------
    name
        Of the container or mount.
    steps
        The beginning, then one for each operation that changed something.
    histories
        For each path of a column its events in words, each with the number of its operation (0 for a layer's).
    left_out
        Number of changing operations beyond the last step.
    operations
        Number of operations altogether.
    """

    name: str
    steps: tuple[Step, ...]
    histories: Mapping[str, tuple[tuple[int, str], ...]]
    left_out: int
    operations: int


def steps(stack: LayerStack, *, max_steps: int = 200, max_paths: int = 30, max_tree: int = 400) -> Steps:
    """Go through a stack's journal.

    Parameters
    ----------
    stack
        With a journal that began on an empty RW layer.
    max_steps
        How many operations are shown at most, from the first.
    max_paths
        How many paths have a column at most.
    max_tree
        How many paths the tree of a step has at most.

    Raises
    ------
    NameUnknown
        The stack has no journal or no RW layer.
    """
    if stack.replay is None or not stack.layers or stack.layers[0].role is not Role.RW:
        raise NameUnknown(f"{stack.name or 'the stack'} has no journal to go through; name a container or mount")
    changing = stack.past.first(max_steps)
    paths = _paths(stack, changing, max_paths)
    lower = {stack.number(position): layer for position, layer in enumerate(stack.layers) if position}
    replay = Replay(lower)
    found = [_step(stack, replay, None, paths, max_tree)]
    for operation in changing:
        replay.take(operation)
        found.append(_step(stack, replay, operation, paths, max_tree))
    histories = {path: history_words(stack, path) for path in paths}
    total = stack.replay.totals.operations
    return Steps(stack.name, tuple(found), histories, len(stack.past.change_numbers()) - len(changing), total)


def _paths(stack: LayerStack, changing: Sequence[Operation], limit: int) -> list[str]:
    """Choose the columns: what was changed first, then what the cross-section would show at the end."""
    chosen: dict[str, None] = {}
    for operation in changing:
        for effect in operation.effects:
            for path in (effect.path, effect.target):
                item: Column | None = column(stack.layers, path) if path.startswith("/") else None
                plain_directory = item is not None and item.is_dir and not any(c.entry.opaque for c in item.cells)
                if path.startswith("/") and not plain_directory:
                    chosen[path] = None
    for path in cross_section(stack, max_paths=limit).paths:
        chosen[path] = None
    return sorted(list(chosen)[:limit])


def _step(stack: LayerStack, replay: Replay, operation: Operation | None, paths: list[str], max_tree: int) -> Step:
    entries = dict(replay.entries)
    top = Layer(stack.layers[0].key, stack.layers[0].name, Role.RW, lambda: entries)
    now = LayerStack(stack.name, (top, *stack.layers[1:]), replay)
    section = cross_section(now, paths, max_rows=len(stack.layers))
    view = list(merged(now.layers).items())
    tree = {path: (position, entry.size, entry.is_dir) for path, (position, entry) in view[:max_tree]}
    if operation is None:
        return Step(0, "the beginning: the RW layer is empty", (), section, tree)
    touched = {path for effect in operation.effects for path in (effect.path, effect.target)}
    columns = tuple(index for index, path in enumerate(paths) if path in touched)
    target = f" → {operation.target}" if operation.target.startswith("/") else ""
    return Step(operation.number, f"{operation.kind.value} {operation.path}{target}", columns, section, tree)
