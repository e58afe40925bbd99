"""How the demo shows what it did: the images, the stack, the operations of each step.

Decided here: the tables. Operations on one path within one step share a row, and paths that were only looked at share
one line, so that what changed stands out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from fusefs.operation import EffectKind, Kind, Operation
from sim.cli.words import effect_words, failure, printable, short_name, size_words, time_words

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = ["LayerRow", "Row", "operations_table", "rows", "stack_table", "summary"]

#: What a program does to find a file, and not yet with it.
_LOOKING = frozenset(
    {Kind.LOOKUP, Kind.GETATTR, Kind.READLINK, Kind.GETXATTR, Kind.LISTXATTR, Kind.STATFS, Kind.RELEASE, Kind.FSYNC}
)

_COLORS = {
    EffectKind.COPIED_UP: "yellow",
    EffectKind.WHITEOUT: "red",
    EffectKind.OPAQUE: "magenta",
    EffectKind.REDIRECT: "magenta",
    EffectKind.REMOVED: "red",
}


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer, as the table of the stack shows it.

    Attributes
    ----------
    number
        As in the journal.
    role
        `RW` or `RO`.
    name
        What it is.
    digest
        Its digest; empty for the RW layer.
    entries
        Number of files and directories.
    size
        Bytes of file data.
    """

    number: int
    role: str
    name: str
    digest: str
    entries: int
    size: int


@dataclass(slots=True)
class Row:
    """The operations of one step on one path.

    Attributes
    ----------
    path
        The merged path.
    kinds
        How often which was asked.
    layers
        Numbers of the layers that served them, in the order of the operations, without repetition.
    operations
        Those that changed something or failed.
    """

    path: str
    kinds: Counter[Kind] = field(default_factory=Counter)
    layers: list[int | None] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)


def rows(operations: Iterable[Operation]) -> tuple[list[Row], list[str]]:
    """Group one step's operations by path.

    Returns
    -------
    rows, looked
        The paths with which something was done, in the order of the first operation; and those only looked at.
    """
    found: dict[str, Row] = {}
    for operation in operations:
        row = found.setdefault(operation.path, Row(operation.path))
        row.kinds[operation.kind] += 1
        if operation.layer is not None and (not row.layers or row.layers[-1] != operation.layer):
            row.layers.append(operation.layer)
        if operation.effects or (operation.error and operation.kind not in _LOOKING):
            row.operations.append(operation)
    busy = [row for row in found.values() if row.operations or not row.kinds.keys() <= _LOOKING]
    looked = [row.path for row in found.values() if row.kinds.keys() <= _LOOKING and not row.operations]
    return busy, looked


def _asked(row: Row) -> str:
    words = []
    for kind, count in row.kinds.items():
        if kind not in _LOOKING:
            words.append(kind.value if count == 1 else f"{count} {kind.value}")
    return ", ".join(words)


def _changed(row: Row, names: Mapping[int, str]) -> RenderableType:
    from rich.text import Text

    text = Text()
    for operation, group in groupby(_changes(row, names), key=lambda change: change[0].number):
        del operation
        for _, words, color in group:
            if words in text.plain.split("\n"):
                continue
            text.append(("\n" if text else "") + words, style=color)
    return text


def _changes(row: Row, names: Mapping[int, str]) -> Iterator[tuple[Operation, str, str]]:
    for operation in row.operations:
        if operation.error:
            yield operation, f"failed: {failure(operation.error)}", "red"
        for effect in operation.effects:
            yield operation, effect_words(effect, operation, names), _COLORS.get(effect.kind, "green")


def operations_table(steps: Sequence[tuple[str, str, Sequence[Operation]]], names: Mapping[int, str]) -> Table:
    """Return the table of the operations.

    Parameters
    ----------
    steps
        Title, lesson and operations of each step.
    names
        What the layers are called, by number.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=False)
    table.add_column("path", overflow="fold", ratio=3)
    table.add_column("operations", overflow="fold", ratio=2)
    table.add_column("served by", no_wrap=True)
    table.add_column("what it did to the RW layer", overflow="fold", ratio=4)
    for number, (title, lesson, operations) in enumerate(steps):
        if number:
            table.add_row()
        heading = Text(title, style="bold")
        heading.append(f"  {len(operations)} operations", style="dim")
        table.add_row(heading, "", "", Text(lesson, style="italic dim"))
        busy, looked = rows(operations)
        for row in busy:
            served = " → ".join(names.get(layer, str(layer)) for layer in row.layers if layer is not None) or "no layer"
            table.add_row(Text(f"  {printable(row.path)}"), _asked(row), served, _changed(row, names))
        if looked:
            shown = ", ".join(printable(path) for path in looked[:4]) + (", …" if len(looked) > 4 else "")
            table.add_row(Text(f"  {shown}", style="dim"), Text("looked up", style="dim"), "", "")
    return table


def stack_table(layers: Sequence[LayerRow]) -> Table:
    """Return the table of the layers, the topmost first."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("layer", justify="right")
    table.add_column("")
    table.add_column("what")
    table.add_column("digest")
    table.add_column("entries", justify="right")
    table.add_column("file data", justify="right")
    for layer in layers:
        color = "yellow" if layer.role == "RW" else "cyan"
        table.add_row(
            str(layer.number),
            Text(layer.role, style=color),
            layer.name,
            short_name(layer.digest) if layer.digest else Text("not yet one", style="dim"),
            f"{layer.entries:,}",
            size_words(layer.size),
        )
    return table


def summary(console: Console, operations: Sequence[Operation]) -> None:
    """Print the totals."""
    effects = Counter(effect.kind for operation in operations for effect in operation.effects)
    copied = sum(operation.copied for operation in operations)
    written = sum(operation.size for operation in operations if operation.kind is Kind.WRITE)
    spent = sum(operation.duration for operation in operations)
    console.print(
        f"{len(operations)} operations took {time_words(spent)} in the union: {effects[EffectKind.COPIED_UP]} copy-ups"
        f" ({size_words(copied)} copied for {size_words(written)} written), {effects[EffectKind.WHITEOUT]} whiteouts,"
        f" {effects[EffectKind.OPAQUE]} opaque directories.",
    )
