"""Data of the copy-up in frames: what one operation took from a read-only layer, and how.

Decided here: which copy-up is shown when none is named: the one of a file with the most bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from fusefs.operation import EffectKind, Operation
from sim.graph.errors import NameUnknown
from sim.graph.stack import LayerStack, layer_title, short_name

__all__ = ["CopyUp", "copy_up"]


@dataclass(frozen=True, slots=True)
class CopyUp:
    """One copy-up.

    Attributes
    ----------
    path
        What was copied up.
    operation
        Number of the operation that caused it.
    kind
        What that operation was.
    origin
        Number of the layer that had it.
    origin_name
        Name of that layer.
    parents
        Directories above it that were copied up first.
    bytes
        Bytes copied.
    seconds
        How long the whole operation took.
    layers
        Number of read-only layers in the stack.
    written
        Bytes written to it by later operations.
    """

    path: str
    operation: int
    kind: str
    origin: int
    origin_name: str
    parents: tuple[str, ...]
    bytes: int
    seconds: float
    layers: int
    written: int = 0


def copy_up(stack: LayerStack, path: str | None = None) -> CopyUp:
    """Return the first copy-up of a path, or of all the one with the most bytes.

    Raises
    ------
    NameUnknown
        There was no copy-up, or none of this path.
    """
    best: CopyUp | None = None
    for operation in stack.past.changes({EffectKind.COPIED_UP}):
        found = _of(stack, operation)
        if found is None:
            continue
        if path is not None:
            if found.path == path and best is None:
                best = found
        elif best is None or found.bytes > best.bytes:
            best = found
    if best is None:
        what = f"{path!r} was not copied up" if path is not None else "nothing was copied up"
        raise NameUnknown(f"{what} in {stack.name or 'this stack'}; write to a file of a read-only layer first")
    written = sum(
        effect.size
        for operation in stack.past.changes(path=best.path)
        for effect in operation.effects
        if effect.kind is EffectKind.WRITTEN and effect.path == best.path
    )
    return CopyUp(
        best.path,
        best.operation,
        best.kind,
        best.origin,
        best.origin_name,
        best.parents,
        best.bytes,
        best.seconds,
        best.layers,
        written,
    )


def _of(stack: LayerStack, operation: Operation) -> CopyUp | None:
    copies = [effect for effect in operation.effects if effect.kind is EffectKind.COPIED_UP]
    if not copies or copies[-1].origin is None:
        return None
    last = copies[-1]
    assert last.origin is not None
    position = stack.position(last.origin)
    name = short_name(layer_title(stack.layers[position])) if position is not None else ""
    return CopyUp(
        last.path,
        operation.number,
        operation.kind.value,
        last.origin,
        name,
        tuple(effect.path for effect in copies[:-1]),
        last.size,
        operation.duration / 1e9,
        len(stack.layers) - (1 - stack.first_number),
    )
