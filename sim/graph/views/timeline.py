"""Data of the timeline: operations in one lane a layer.

Decided here: which operations are shown one by one, which only as counts, and which are named.

The lane of an operation is the layer that answered it. One that changed something is an event of its own, with an
arrow for what passes between layers: a copy-up from the layer that had the file to the RW layer, a whiteout from the
RW layer to the layer that it hides. When there are many, those that changed nothing become counts in bins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fusefs.operation import Effect, EffectKind, Kind, Operation
from sim.graph.stack import LayerStack
from sim.graph.views.rows import group_least, row_label, row_name

__all__ = ["Arrow", "Event", "Lane", "Note", "Timeline", "timeline"]

_T = TypeVar("_T")
_READS = frozenset({Kind.OPEN, Kind.READ, Kind.READDIR, Kind.READLINK, Kind.GETXATTR, Kind.LISTXATTR})
#: What is named or has an arrow; writes to what is in the RW layer already are only counted.
_TOLD = frozenset(set(EffectKind) - {EffectKind.WRITTEN, EffectKind.METADATA})
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
    copy_ups, copied, whiteouts
        Numbers of copy-ups of files and of whiteouts, and bytes copied; of all, drawn or not.
    arrows_left_out
        Number of arrows that were left out.
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
    copy_ups: int = 0
    copied: int = 0
    whiteouts: int = 0
    arrows_left_out: int = 0


def timeline(
    stack: LayerStack,
    *,
    max_events: int = 600,
    max_notes: int = 24,
    max_lanes: int = 20,
    max_arrows: int = 150,
    bins: int = 160,
) -> Timeline:
    """Lay the operations of a stack's journal out in lanes.

    Parameters
    ----------
    stack
        With a journal; without one the timeline is empty.
    max_events
        Up to this many operations are all shown one by one; of more, only those that changed something.
    max_notes
        How many changes are named at most.
    max_lanes
        How many lanes there are at most; layers that few operations reached share one.
    max_arrows
        How many arrows there are at most; of more, some are taken evenly.
    bins
        Number of bins for the counts.
    """
    totals = stack.replay.totals if stack.replay is not None else None
    total = totals.operations if totals is not None else 0
    served = (totals.served or {}) if totals is not None else {}
    groups = group_least([served.get(stack.number(index), 0) for index in range(len(stack.layers))], max_lanes)
    lanes = [Lane(row_label(stack, group), row_name(stack, group), row_label(stack, group) == "RW") for group in groups]
    lane_of = {position: index for index, group in enumerate(groups) for position in group}
    single = total <= max_events
    begin, end = stack.past.span() if total else (0, 0)
    counts = [[0] * bins for _ in range(len(lanes) + 1)]
    telling: Iterable[Operation]
    if single:
        shown = telling = list(stack.operations())
    else:
        for index, layer, count in stack.past.density(bins):
            counts[_lane(stack, layer, lane_of, len(lanes))][index] += count
        shown = stack.past.pick(_evenly(stack.past.change_numbers(), max_events))
        telling = stack.past.changes(_TOLD)
    events = [
        Event(
            operation.number,
            (operation.start - begin) / 1e9,
            _lane(stack, operation.layer, lane_of, len(lanes)),
            _group(operation),
        )
        for operation in shown
    ]
    arrows: list[Arrow] = []
    notes: list[Note] = []
    for operation in telling:
        arrows.extend(_arrows(stack, operation, lane_of))
        note = _note(operation) if operation.effects else None
        if note is not None:
            notes.append(note)
    if any(event.lane == len(lanes) for event in events) or any(counts[-1]):
        lanes.append(Lane("none", "no layer answered"))
    else:
        counts.pop()
    copies = [arrow for arrow in arrows if arrow.what == "copied up"]
    chosen = _tell(notes, max_notes)
    return Timeline(
        stack.name,
        tuple(lanes),
        tuple(events),
        tuple(_evenly(arrows, max_arrows)),
        chosen,
        counts=() if single else tuple(tuple(row) for row in counts),
        first=1 if total else 0,
        last=total,
        seconds=(end - begin) / 1e9,
        left_out=len(notes) - len(chosen),
        copy_ups=len(copies),
        copied=sum(arrow.bytes for arrow in copies),
        whiteouts=sum(1 for arrow in arrows if arrow.what == "whiteout"),
        arrows_left_out=max(len(arrows) - max_arrows, 0),
    )


def _lane(stack: LayerStack, layer: int | None, lane_of: dict[int, int], none: int) -> int:
    """Return the index of the lane of a layer number; `none` for what no layer answered."""
    position = stack.position(layer) if layer is not None else None
    return none if position is None else lane_of[position]


def _evenly(items: Sequence[_T], limit: int) -> Sequence[_T]:
    return items if len(items) <= limit else [items[index * len(items) // limit] for index in range(limit)]


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


def _arrows(stack: LayerStack, operation: Operation, lane_of: dict[int, int]) -> Iterable[Arrow]:
    rw = stack.position(0)
    for effect in operation.effects:
        if effect.kind not in _ARROWS or effect.origin is None or rw is None:
            continue
        other = stack.position(effect.origin)
        if other is None or (effect.kind is EffectKind.COPIED_UP and _is_parent(effect, operation)):
            continue
        below, above = lane_of[other], lane_of[rw]
        source, target = (below, above) if effect.kind is EffectKind.COPIED_UP else (above, below)
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
