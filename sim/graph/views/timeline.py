"""Data of the timeline: operations in one lane a layer.

Decided here: which operations are shown one by one, which only as counts, and which are named.

The lane of an operation is the layer that answered it. One that changed something is an event of its own, with an
arrow for what passes between layers: a copy-up from the layer that had the file to the RW layer, a whiteout from the
RW layer to the layer that it hides. When there are many, those that changed nothing become counts in bins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fusefs.operation import Effect, EffectKind, Kind, Operation
from sim.graph.entry import Role
from sim.graph.stack import LayerStack, short_name

__all__ = ["Arrow", "Event", "Lane", "Note", "Timeline", "timeline"]

_READS = frozenset({Kind.OPEN, Kind.READ, Kind.READDIR, Kind.READLINK, Kind.GETXATTR, Kind.LISTXATTR})
_ARROWS = frozenset({EffectKind.COPIED_UP, EffectKind.WHITEOUT, EffectKind.OPAQUE})


@dataclass(frozen=True, slots=True)
class Lane:
    """One lane.

    Attributes
    ----------
    label
        Layer number, "RW", or "none" for operations that no layer answered.
    name
        Name of the layer.
    rw
        Whether it is the RW layer's.
    """

    label: str
    name: str
    rw: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One operation.

    Attributes
    ----------
    number
        Of the operation.
    seconds
        Since the first operation began.
    lane
        Index of its lane.
    group
        `look` (lookup, getattr), `read`, `write` (data or metadata), `create`, `remove`, `rename` or `fail`.
    """

    number: int
    seconds: float
    lane: int
    group: str


@dataclass(frozen=True, slots=True)
class Arrow:
    """Something that passes between two lanes in one operation.

    Attributes
    ----------
    number
        Of the operation.
    source, target
        Indexes of the lanes.
    what
        `copied up`, `whiteout` or `opaque`.
    bytes
        Bytes copied; else 0.
    """

    number: int
    source: int
    target: int
    what: str
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Note:
    """What one operation did, in words.

    Attributes
    ----------
    number
        Of the operation.
    verb
        What was done.
    path
        To which path.
    """

    number: int
    verb: str
    path: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The operations of one container or mount.

    Attributes
    ----------
    name
        Of the container or mount.
    lanes
        The RW layer's first, "none" last if something is in it.
    events
        In the order of their numbers.
    arrows
        In the order of their numbers.
    notes
        In the order of their numbers; the most telling ones, if there are more than fit.
    counts
        For each lane the number of operations in each bin that have no event of their own; empty if all have one.
    first, last
        Numbers of the first and last operation looked at; 0 and 0 if there is none.
    seconds
        From the first operation's beginning to the last one's.
    left_out
        Number of notes that were left out.
    """

    name: str
    lanes: tuple[Lane, ...]
    events: tuple[Event, ...]
    arrows: tuple[Arrow, ...]
    notes: tuple[Note, ...]
    counts: tuple[tuple[int, ...], ...] = ()
    first: int = 0
    last: int = 0
    seconds: float = 0.0
    left_out: int = 0


def timeline(stack: LayerStack, *, max_events: int = 600, max_notes: int = 24, bins: int = 160) -> Timeline:
    """Lay the operations of a stack's journal out in lanes.

    Parameters
    ----------
    stack
        With a journal; without one the timeline is empty.
    max_events
        Up to this many operations are all shown one by one; of more, only those that changed something.
    max_notes
        How many changes are named at most.
    bins
        Number of bins for the counts.
    """
    total = stack.replay.number if stack.replay is not None else 0
    lanes = [_lane(stack, position) for position in range(len(stack.layers))]
    nowhere = len(lanes)
    events: list[Event] = []
    arrows: list[Arrow] = []
    notes: list[Note] = []
    single = total <= max_events
    counts = [[0] * bins for _ in range(nowhere + 1)]
    begin = end = 0
    for operation in stack.operations():
        if not begin:
            begin = operation.start
        end = max(end, operation.start)
        position = stack.position(operation.layer) if operation.layer is not None else None
        lane = nowhere if position is None else position
        if single or operation.effects:
            events.append(Event(operation.number, (operation.start - begin) / 1e9, lane, _group(operation)))
        else:
            counts[lane][(operation.number - 1) * bins // max(total, 1)] += 1
        if operation.effects:
            arrows.extend(_arrows(stack, operation))
            note = _note(operation)
            if note is not None:
                notes.append(note)
    if any(event.lane == nowhere for event in events) or any(counts[nowhere]):
        lanes.append(Lane("none", "no layer answered"))
    else:
        counts.pop()
    if not single and len(events) > max_events:
        events = [events[index * len(events) // max_events] for index in range(max_events)]
    chosen = _tell(notes, max_notes)
    return Timeline(
        stack.name,
        tuple(lanes),
        tuple(events),
        tuple(arrows),
        chosen,
        counts=() if single else tuple(tuple(row) for row in counts),
        first=1 if total else 0,
        last=total,
        seconds=(end - begin) / 1e9,
        left_out=len(notes) - len(chosen),
    )


def _lane(stack: LayerStack, position: int) -> Lane:
    layer = stack.layers[position]
    rw = layer.role is Role.RW
    return Lane("RW" if rw else str(stack.number(position)), short_name(layer.name), rw)


def _group(operation: Operation) -> str:
    if operation.error:
        return "fail"
    kinds = {effect.kind for effect in operation.effects}
    if EffectKind.RENAMED in kinds:
        return "rename"
    if operation.kind in (Kind.UNLINK, Kind.RMDIR):
        return "remove"
    if kinds & {EffectKind.CREATED, EffectKind.LINKED}:
        return "create"
    if kinds:
        return "write"
    return "read" if operation.kind in _READS else "look"


def _arrows(stack: LayerStack, operation: Operation) -> Iterable[Arrow]:
    rw = stack.position(0)
    for effect in operation.effects:
        if effect.kind not in _ARROWS or effect.origin is None or rw is None:
            continue
        other = stack.position(effect.origin)
        if other is None or (effect.kind is EffectKind.COPIED_UP and _is_parent(effect, operation)):
            continue
        source, target = (other, rw) if effect.kind is EffectKind.COPIED_UP else (rw, other)
        yield Arrow(operation.number, source, target, effect.kind.value, effect.size)


def _is_parent(effect: Effect, operation: Operation) -> bool:
    prefix = effect.path.rstrip("/") + "/"
    return any(path.startswith(prefix) and path != effect.path for path in (operation.path, operation.target))


def _note(operation: Operation) -> Note | None:
    """Say in words what an operation changed; None for a mere write to what is in the RW layer already."""
    kinds = [effect.kind for effect in operation.effects]
    path = operation.path
    if EffectKind.RENAMED in kinds:
        return Note(operation.number, "rename", f"{path} → {operation.target}")
    copied = next(
        (e for e in operation.effects if e.kind is EffectKind.COPIED_UP and not _is_parent(e, operation)), None
    )
    if copied is not None:
        return Note(operation.number, "copy-up", copied.path)
    if operation.kind is Kind.UNLINK:
        return Note(operation.number, "whiteout" if EffectKind.WHITEOUT in kinds else "remove", path)
    if operation.kind is Kind.RMDIR:
        return Note(operation.number, "whiteout" if EffectKind.WHITEOUT in kinds else "rmdir", path)
    if EffectKind.OPAQUE in kinds:
        return Note(operation.number, "opaque", path)
    if EffectKind.CREATED in kinds or EffectKind.LINKED in kinds:
        return Note(operation.number, operation.kind.value, path)
    return None


_TELLING = {"copy-up": 0, "whiteout": 0, "opaque": 0, "rename": 1}


def _tell(notes: list[Note], limit: int) -> tuple[Note, ...]:
    """Return at most `limit` notes: what passes between layers first, evenly over time."""
    if len(notes) <= limit:
        return tuple(notes)
    chosen: list[Note] = []
    for rank in (0, 1, 2):
        group = [note for note in notes if _TELLING.get(note.verb, 2) == rank]
        room = limit - len(chosen)
        if len(group) > room:
            group = [group[index * len(group) // room] for index in range(room)]
        chosen.extend(group)
    return tuple(sorted(chosen, key=lambda note: note.number))
