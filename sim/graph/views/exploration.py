"""Data of the layer explorer: what each layer did to each path, from which a page can show the stack at any layer.

Decided here: that a layer is told by its changes against the merged view of those below it (a path is added, modified
or deleted; with a hidden directory all that was in it is deleted), so that the view at any layer is those changes laid
on one another from the bottom; and which paths are left out when there are too many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sim.graph.entry import Entry, Layer, Role, parent_of
from sim.graph.history import history_words
from sim.graph.measures import Waste, virtual_bytes, waste
from sim.graph.merge import merged
from sim.graph.pathtree import PathTree
from sim.graph.stack import LayerStack, layer_title

__all__ = ["Exploration", "LayerChange", "LayerView", "exploration", "layer_changes"]


@dataclass(frozen=True, slots=True)
class LayerChange:
    """What one layer did to one path.

    Attributes
    ----------
    path
        Merged path.
    what
        `A` added, `M` modified, `D` deleted; "" for a directory that the layer only leads through.
    type, bytes, target, opaque
        Of what is there after it, or for `D` of what was there.
    """

    path: str
    what: str
    type: str
    bytes: int
    target: str = ""
    opaque: bool = False


@dataclass(frozen=True, slots=True)
class LayerView:
    """One layer.

    Attributes
    ----------
    label
        Its number, or "RW".
    name, command
        What people call it, and the whole instruction that made it, if that is known.
    rw
        Whether it is the RW layer.
    bytes, files
        Bytes of its files, and number of its entries other than directories.
    changes
        In the order of their paths.
    """

    label: str
    name: str
    command: str
    rw: bool
    bytes: int
    files: int
    changes: tuple[LayerChange, ...]


@dataclass(frozen=True, slots=True)
class Exploration:
    """A stack to look around in.

    Attributes
    ----------
    name
        Of the image, container or mount.
    layers
        The topmost first.
    histories
        For paths that several layers have, or a journal tells of: their events in words.
    waste
        The largest of what is hidden, and its bytes altogether.
    wasted, total
        Bytes that are hidden, and bytes of all layers.
    left_out
        Number of paths that are not told of.
    """

    name: str
    layers: tuple[LayerView, ...]
    histories: Mapping[str, tuple[str, ...]]
    waste: tuple[Waste, ...]
    wasted: int
    total: int
    left_out: int = 0


def exploration(
    stack: LayerStack, *, max_paths: int = 20_000, max_histories: int = 2_000, max_waste: int = 200
) -> Exploration:
    """Prepare a stack to be looked around in.

    Parameters
    ----------
    stack
        What is looked at.
    max_paths
        How many paths there are at most: what upper layers changed first, then what the others have, in order.
    max_histories, max_waste
        How many paths have their history told, and how many wasted files are named at most.
    """
    changes = layer_changes(stack)
    chosen: dict[str, None] = {"/": None}
    left: set[str] = set()
    for one in changes:
        for change in sorted(one, key=lambda change: not change.what):
            if change.path in chosen:
                continue
            above = [change.path]
            while (directory := parent_of(above[-1])) not in chosen:
                above.append(directory)
            if len(chosen) + len(above) > max_paths:
                left.add(change.path)
            else:
                chosen.update(dict.fromkeys(above))
    layers = tuple(
        LayerView(
            "RW" if layer.role is Role.RW else str(stack.number(position)),
            layer_title(layer),
            layer.command,
            layer.role is Role.RW,
            layer.bytes,
            sum(1 for entry in layer.entries.values() if not entry.is_dir),
            tuple(change for change in changes[position] if change.path in chosen),
        )
        for position, layer in enumerate(stack.layers)
    )
    found = waste(stack)
    if stack.replay is not None:  # each history is a question to the journal, which costs by its changes
        max_histories = max(50, min(max_histories, 1_000_000 // (1 + len(stack.past.change_numbers()))))
    told = _told(stack, changes, chosen)[:max_histories]
    histories = {path: tuple(words for _, words in history_words(stack, path)) for path in told}
    wasted = sum(one.bytes for one in found)
    return Exploration(
        stack.name, layers, histories, found[:max_waste], wasted, virtual_bytes(stack), len(left - chosen.keys())
    )


def layer_changes(stack: LayerStack) -> list[tuple[LayerChange, ...]]:
    """Return for each layer, the topmost first, what it did to the merged view of those below it, in order of path."""
    view: dict[str, Entry] = {}
    paths = PathTree()
    found = []
    for position in range(len(stack.layers) - 1, -1, -1):
        layer = stack.layers[position]
        if any(entry.redirect for entry in layer.entries.values()):
            after = {path: entry for path, (_, entry) in merged(stack.layers[position:]).items()}
            changes = dict(_compared(view, after, layer))
            view, paths = after, PathTree()
            for path in view:
                paths.add(path)
        else:
            changes = _laid_on(view, paths, layer)
        changes.pop("/", None)
        found.append(tuple(changes[path] for path in sorted(changes, key=lambda path: path.split("/"))))
    return found[::-1]


def _laid_on(view: dict[str, Entry], paths: PathTree, layer: Layer) -> dict[str, LayerChange]:
    """Lay a layer on the merged view of those below it, in place; return what that changed."""
    gone: dict[str, Entry] = {}
    put: dict[str, Entry] = {}
    for path in _reachable(layer):
        entry = layer.entries[path]
        old = view.get(path)
        merges = entry.is_dir and not entry.opaque and old is not None and old.is_dir
        if not merges:
            for hidden in list(paths.below(path)):
                if hidden == path and not entry.is_whiteout:
                    continue
                gone.setdefault(hidden, view.pop(hidden))
                paths.discard(hidden)
        if entry.is_whiteout:
            continue
        if old is not None:
            gone.setdefault(path, old)
        if path not in view:
            paths.add(path)
        view[path] = put[path] = entry
    return {path: _change(path, gone.get(path), put.get(path)) for path in gone.keys() | put.keys()}


def _reachable(layer: Layer) -> Iterator[str]:
    """Yield the paths of a layer whose directories it has, too, directories first; no other can be seen."""
    pending = ["/"] if "/" in layer.entries else []
    while pending:
        path = pending.pop()
        yield path
        if layer.entries[path].is_dir:
            prefix = path.rstrip("/") + "/"
            pending.extend(prefix + name for name in layer.children.get(path, ()))


def _compared(
    before: Mapping[str, Entry], after: Mapping[str, Entry], layer: Layer
) -> Iterator[tuple[str, LayerChange]]:
    for path in before.keys() | after.keys():
        old, new = before.get(path), after.get(path)
        if old is not new:
            yield path, _change(path, old, new)


def _change(path: str, old: Entry | None, new: Entry | None) -> LayerChange:
    shown = new if new is not None else old
    assert shown is not None
    if new is None:
        what = "D"
    elif old is None:
        what = "A"
    elif old.is_dir and new.is_dir and not new.opaque:
        known = -1 not in (old.mode, new.mode, old.uid, new.uid)
        what = "M" if known and (old.mode, old.uid, old.gid) != (new.mode, new.uid, new.gid) else ""
    else:
        what = "M"
    return LayerChange(path, what, shown.type.value, shown.size, shown.target, shown.opaque)


def _told(stack: LayerStack, changes: Sequence[tuple[LayerChange, ...]], chosen: Mapping[str, None]) -> list[str]:
    """Return the paths whose history says more than which layer added them."""
    count: dict[str, int] = {}
    for one in changes:
        for change in one:
            if change.what and change.path in chosen:
                count[change.path] = count.get(change.path, 0) + 1
    several = [path for path, times in count.items() if times > 1]
    if stack.replay is not None:
        several += [path for path in stack.replay.origins if path in chosen and count.get(path, 0) == 1]
    return several
