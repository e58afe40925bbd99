"""How the demo shows what it did: the images, the stack, the operations of each step.

Decided here: the tables. Operations on one path within one step share a row, and paths that were only looked at share
one line, so that what changed stands out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusefs.operation import EffectKind, Kind, Operation
from sim.cli.words import count_words, effect_words, failure, printable, short_name, size_words, time_words

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

__all__ = ["Grouped", "LayerRow", "Row", "group", "show_operations", "stack_table", "summary"]

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


@dataclass(frozen=True, slots=True)
class Grouped:
    """The operations of one step.

    Attributes
    ----------
    busy
        Paths with which something was done, in the order of the first operation.
    ran
        Programs and libraries that were read in order to run.
    looked
        Paths that were only looked at.
    """

    busy: list[Row]
    ran: list[Row]
    looked: list[str]


#: Where programs and what they are linked with lie.
_PROGRAM = re.compile(r"/s?bin/[^/]+$|\.so(\.[0-9.]+)?$|/ld\.so\.cache$")


def _is_program(row: Row) -> bool:
    """Whether a path is a program or a library that was only read."""
    return (
        not row.operations and row.kinds.keys() <= {*_LOOKING, Kind.OPEN, Kind.READ} and bool(_PROGRAM.search(row.path))
    )


def group(operations: Iterable[Operation]) -> Grouped:
    """Group one step's operations by path."""
    found: dict[str, Row] = {}
    for operation in operations:
        row = found.setdefault(operation.path, Row(operation.path))
        row.kinds[operation.kind] += 1
        if operation.layer is not None and (not row.layers or row.layers[-1] != operation.layer):
            row.layers.append(operation.layer)
        if operation.effects or (operation.error and operation.kind not in _LOOKING):
            row.operations.append(operation)
    used = [row for row in found.values() if row.operations or not row.kinds.keys() <= _LOOKING]
    looked = [row.path for row in found.values() if row.kinds.keys() <= _LOOKING and not row.operations]
    return Grouped([row for row in used if not _is_program(row)], [row for row in used if _is_program(row)], looked)


def _asked(row: Row) -> str:
    words = []
    for kind, count in row.kinds.items():
        if kind not in _LOOKING:
            words.append(kind.value if count == 1 else f"{count} {kind.value}")
    return ", ".join(words)


def _changed(row: Row, names: Mapping[int, str]) -> RenderableType:
    from rich.text import Text

    text = Text()
    seen: set[str] = set()
    for words, color in _changes(row, names):
        if words not in seen:
            seen.add(words)
            text.append(("\n" if text else "") + words, style=color)
    return text


def _changes(row: Row, names: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    for operation in row.operations:
        if operation.error:
            yield f"failed: {failure(operation.error)}", "red"
        for effect in operation.effects:
            yield effect_words(effect, operation, names), _COLORS.get(effect.kind, "green")


def show_operations(
    console: Console, steps: Sequence[tuple[str, str, Sequence[Operation]]], names: Mapping[int, str]
) -> None:
    """Print the operations, a table for each step, all with the same columns.

    Parameters
    ----------
    steps
        Title, lesson and operations of each step.
    names
        What the layers are called, by number.
    """
    from rich.table import Table
    from rich.text import Text

    grouped = [(title, lesson, len(operations), group(operations)) for title, lesson, operations in steps]
    everything = [row for *_, found in grouped for row in found.busy]
    path_width = min(max([len(printable(row.path)) for row in everything] + [10]), console.width // 3)
    asked_width = min(max([len(_asked(row)) for row in everything] + [10]), console.width // 4)
    served_width = max([len(_served(row, names)) for row in everything] + [9])
    widths = (path_width, asked_width, served_width)
    for title, lesson, count, found in grouped:
        heading = Text.assemble(
            (title, "bold"), (f"  {count_words(count, 'operation')}", "dim"), (f"  {lesson}", "italic dim")
        )
        console.print(heading, no_wrap=len(heading) <= console.width)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(width=0)
        for width in widths:
            table.add_column(width=width, overflow="fold")
        table.add_column(overflow="fold")
        for row in found.busy:
            table.add_row(
                "", Text(printable(row.path)), _asked(row), Text(_served(row, names), "cyan"), _changed(row, names)
            )
        if found.busy:
            console.print(table)
        if found.ran:
            reads = sum(row.kinds[Kind.READ] for row in found.ran)
            served = ", ".join(sorted({_served(row, names) for row in found.ran}))
            programs = _some([row.path.rpartition("/")[2] for row in found.ran])
            line = f"  to run programs: {programs}; {count_words(reads, 'read')} from {served}"
            console.print(Text(line, style="dim"))
        if found.looked:
            console.print(Text(f"  looked up on the way: {_some(found.looked)}", style="dim"))
        console.print()


def _some(paths: Sequence[str]) -> str:
    shown = paths if len(paths) <= 5 else paths[:4]
    more = f" and {len(paths) - 4} more" if len(paths) > 5 else ""
    return ", ".join(printable(path) for path in shown) + more


def _served(row: Row, names: Mapping[int, str]) -> str:
    return " → ".join(names.get(layer, str(layer)) for layer in row.layers if layer is not None) or "no layer"


def stack_table(layers: Sequence[LayerRow]) -> Table:
    """Return the table of the layers, the topmost first."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
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
            Text(layer.name),
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
        f"{count_words(len(operations), 'operation')} took {time_words(spent)} inside the union. Files copied up:"
        f" {_files(effects, operations)}, {size_words(copied)}, for {size_words(written)} that were written."
        f" Whiteouts: {effects[EffectKind.WHITEOUT]}. Opaque directories: {effects[EffectKind.OPAQUE]}.",
    )


def _files(effects: Counter[EffectKind], operations: Sequence[Operation]) -> str:
    """Return how many files were copied up, and how many directories on the way to them."""
    files = sum(
        1
        for operation in operations
        for effect in operation.effects
        if effect.kind is EffectKind.COPIED_UP and effect.size
    )
    others = effects[EffectKind.COPIED_UP] - files
    return f"{files} (and {count_words(others, 'directory', 'directories')})" if others else str(files)
