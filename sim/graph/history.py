"""The history of a path: which layer added, changed, hid or restored it, and what a process then did to it.

Decided here and only here: the words of a history. Layers tell theirs from the bottom up, which is the order in which
they were made; the journal tells the RW layer's, operation by operation. Functions keep no state; any thread may call
them on a stack of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from fusefs.operation import Effect, EffectKind, Kind, Operation
from sim.graph.entry import Entry, Role, parent_of
from sim.graph.errors import NameUnknown
from sim.graph.stack import LayerStack, layer_title, short_name

__all__ = ["Event", "history", "history_words"]


@dataclass(frozen=True, slots=True)
class Event:
    """One event in the life of a path.

    Attributes
    ----------
    layer
        Number of the layer in which it happened.
    name
        What people call that layer, as in figures.
    what
        `added`, `changed` (data), `mode changed`, `owner changed`, `type changed`, `hidden` (whiteout or opaque
        directory), `restored`, and from the journal also `copied up`, `created`, `emptied`, `written`, `resized`,
        `times changed`, `attribute changed`, `renamed`, `linked`, `removed`.
    bytes
        Size of the file after it, bytes; for `copied up` the bytes copied, for `written` the bytes written.
    operation
        Number of the operation; 0 for what came with a read-only layer.
    detail
        The other name of a rename or link, the directory that hides it, or modes and owners before and after; else "".
    """

    layer: int
    name: str
    what: str
    bytes: int = 0
    operation: int = 0
    detail: str = ""


_WORDS = {
    EffectKind.COPIED_UP: "copied up",
    EffectKind.CREATED: "created",
    EffectKind.REMOVED: "removed",
    EffectKind.WHITEOUT: "hidden",
    EffectKind.OPAQUE: "hidden",
    EffectKind.WRITTEN: "written",
    EffectKind.METADATA: "metadata changed",
    EffectKind.RENAMED: "renamed",
    EffectKind.LINKED: "linked",
}


#: What is said of a change of metadata, by the operation that made it.
_METADATA = {
    Kind.OPEN: "emptied",
    Kind.CHMOD: "mode changed",
    Kind.CHOWN: "owner changed",
    Kind.UTIMENS: "times changed",
    Kind.TRUNCATE: "resized",
    Kind.FALLOCATE: "resized",
    Kind.SETXATTR: "attribute changed",
    Kind.REMOVEXATTR: "attribute changed",
}

#: Effects that tell on what is below the path that they name.
_MOVING = frozenset({EffectKind.WHITEOUT, EffectKind.OPAQUE, EffectKind.RENAMED})


def history(stack: LayerStack, path: str) -> tuple[Event, ...]:
    """Return the events of a path, the oldest first.

    Raises
    ------
    NameUnknown
        No layer and no operation knows the path.
    """
    found = list(_layers(stack, path))
    if stack.replay is not None and stack.first_number == 0:
        found.extend(_journal(stack, path))
    if not found:
        raise NameUnknown(f"{path!r} is in no layer of {stack.name or 'this stack'}, and no operation touched it")
    return tuple(found)


def history_words(stack: LayerStack, path: str) -> tuple[tuple[int, str], ...]:
    """Return the events of a path in words, each with the number of its operation; nothing for an unknown path.

    The number is 0 for what came with a layer.
    """
    try:
        events = history(stack, path)
    except NameUnknown:
        return ()
    found = []
    for event in events:
        where = f"layer {event.layer} ({short_name(event.name, 48)})"
        where = f"operation {event.operation}" if event.operation else where
        size = f", {event.bytes:,} bytes" if event.bytes else ""
        detail = f" ({event.detail})" if event.detail else ""
        found.append((event.operation, f"{where}: {event.what}{detail}{size}"))
    return tuple(found)


def _layers(stack: LayerStack, path: str) -> Iterator[Event]:
    current: Entry | None = None
    ever = False
    for position in range(len(stack.layers) - 1, -1, -1):
        layer = stack.layers[position]
        if layer.role is Role.RW and stack.replay is not None:
            return  # the journal tells more
        number, name = stack.number(position), layer_title(layer)
        entry = layer.entries.get(path)
        hiding = _hides(layer.entries, path)
        if hiding is not None and current is not None:
            yield Event(number, name, "hidden", detail=hiding if hiding != path else "")
            current = None
        if entry is None or entry.is_whiteout:
            continue
        if current is None:
            yield Event(number, name, "restored" if ever else "added", entry.size)
        elif not (entry.is_dir and current.is_dir and _same_metadata(entry, current)):
            what, detail = _difference(current, entry)
            yield Event(number, name, what, entry.size, detail=detail)
        current, ever = entry, True


def _hides(entries: Mapping[str, Entry], path: str) -> str | None:
    """Return what in one layer hides a path of the layers below: itself as a whiteout, or something above it."""
    entry = entries.get(path)
    if entry is not None and (entry.is_whiteout or entry.opaque):
        return path if entry.is_whiteout else None
    at = path
    while at != "/":
        at = parent_of(at)
        entry = entries.get(at)
        if entry is not None and (entry.opaque or not entry.is_dir):
            return at
    return None


def _same_metadata(one: Entry, other: Entry) -> bool:
    return (one.mode, one.uid, one.gid) == (other.mode, other.uid, other.gid)


def _difference(before: Entry, after: Entry) -> tuple[str, str]:
    """Return what was changed, and details of a mode or owner."""
    if before.type is not after.type:
        return "type changed", ""
    if (before.size, before.target) != (after.size, after.target):
        return "changed", ""
    # The time of a directory changes with every name in it; that of a file only with its data.
    if before.mtime != after.mtime and not after.is_dir:
        return "changed", ""
    if before.mode != after.mode:
        return "mode changed", f"{before.mode:04o} → {after.mode:04o}"
    if (before.uid, before.gid) != (after.uid, after.gid):
        return "owner changed", f"{before.uid}:{before.gid} → {after.uid}:{after.gid}"
    return "changed", ""


def _journal(stack: LayerStack, path: str) -> Iterator[Event]:
    name = layer_title(stack.layers[0])
    for operation in stack.past.changes(_MOVING, path=path):
        for effect in operation.effects:
            event = _event(operation, effect, path, name)
            if event is not None:
                yield event


def _event(operation: Operation, effect: Effect, path: str, name: str) -> Event | None:
    word = _WORDS.get(effect.kind)
    if word is None:
        return None
    number = operation.number
    if effect.path == path:
        if effect.kind is EffectKind.OPAQUE:
            return None
        if effect.kind is EffectKind.METADATA:
            return Event(0, name, _METADATA.get(operation.kind, word), 0, number)
        return Event(0, name, word, effect.size, number, effect.target)
    if effect.target == path and effect.kind in (EffectKind.RENAMED, EffectKind.LINKED):
        return Event(0, name, word, 0, number, effect.path)
    if effect.kind in (EffectKind.WHITEOUT, EffectKind.OPAQUE) and path.startswith(effect.path + "/"):
        return Event(0, name, "hidden", 0, number, effect.path)
    if effect.kind is EffectKind.RENAMED:
        for old, new in ((effect.path, effect.target), (effect.target, effect.path)):
            if path.startswith(new + "/"):
                return Event(0, name, "renamed", 0, number, old + path[len(new) :])
    return None
