"""`layerlab journal`: the operations that a mount recorded, also while it goes on.

Decided here: how one operation is a line, for people and as JSON. Lines come as the operations do, so that a journal of
any length needs no memory and `--follow` shows each at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from fusefs import Journal, Operation

__all__ = ["Choice", "command", "shown"]


@click.command("journal")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--follow", is_flag=True, help="Go on with new operations until the mount ends.")
@click.option("--changes", is_flag=True, help="Only operations that changed the RW layer.")
@click.option("--errors", is_flag=True, help="Only operations that failed.")
@click.option("--path", "prefix", metavar="PATH", help="Only operations on this path and below it.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only operations of this kind; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def command(
    file: Path, follow: bool, changes: bool, errors: bool, prefix: str | None, kinds: tuple[str, ...], as_json: bool
) -> None:
    """Show the operations in the journal FILE.

    Columns: number, seconds since the first one, what was asked, the number of the layer that served it, bytes, the
    path, and after the arrow what changed in the RW layer.
    """
    from fusefs import Journal

    choice = Choice(changes, errors, prefix, kinds)
    with Journal(file) as journal:
        operations = journal.follow() if follow else journal.operations()
        for line in shown(journal, operations, choice, as_json=as_json):
            click.echo(line)


class Choice:
    """Which operations are shown.

    Parameters
    ----------
    changes
        Only those that changed the RW layer.
    errors
        Only those that failed.
    prefix
        Only those on this path and below it.
    kinds
        Only those of these kinds; all where there are none.
    """

    def __init__(self, changes: bool, errors: bool, prefix: str | None, kinds: tuple[str, ...]) -> None:
        from fusefs import Kind

        known = [kind.value for kind in Kind]
        for kind in kinds:
            if kind not in known:
                raise click.BadParameter(f"{kind!r} is no kind of operation; there are {', '.join(known)}.")
        self.changes = changes
        self.errors = errors
        self.prefix = prefix
        self.kinds = kinds

    def takes(self, operation: Operation) -> bool:
        """Tell whether an operation is shown."""
        return (
            (not self.changes or bool(operation.effects))
            and (not self.errors or bool(operation.error))
            and (not self.kinds or operation.kind.value in self.kinds)
            and (self.prefix is None or _within(operation, self.prefix.rstrip("/")))
        )


def shown(journal: Journal, operations: Iterable[Operation], choice: Choice, *, as_json: bool) -> Iterator[str]:
    """Yield a line for each operation that is chosen, below the layers' names."""
    chosen = (operation for operation in operations if choice.takes(operation))
    return _json(chosen) if as_json else _lines(journal, chosen)


def _within(operation: Operation, prefix: str) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for path in (operation.path, operation.target))


def _json(operations: Iterator[Operation]) -> Iterator[str]:
    for operation in operations:
        # Undecodable bytes of names become escapes, which `json.loads` gives back.
        fields = {name: getattr(operation, name) for name in operation.__match_args__}
        effects = [{name: getattr(effect, name) for name in effect.__match_args__} for effect in operation.effects]
        yield json.dumps({**fields, "effects": effects})


def _lines(journal: Journal, operations: Iterator[Operation]) -> Iterator[str]:
    from sim.cli.words import printable, short_name

    for layer in journal.layers():
        role = click.style(f"layer {layer.number}  {layer.role.upper()}", fg="yellow" if layer.number == 0 else "blue")
        yield f"{role}  {short_name(layer.name)}  {printable(os.fspath(layer.path))}"
    first: int | None = None
    for operation in operations:
        if first is None:
            first = operation.start
        yield _line(operation, (operation.start - first) / 1e9)


def _line(operation: Operation, seconds: float) -> str:
    from sim.cli.words import effect_words, failure, printable

    layer = "-" if operation.layer is None else str(operation.layer)
    target = f" {printable(operation.target)}" if operation.target else ""
    line = (
        f"{operation.number:7} {seconds:9.4f}  {operation.kind.value:<15} {layer:>3} {operation.size or '':>9}"
        f"  {printable(operation.path)}{target}"
    )
    if operation.error:
        line += click.style(f"  {failure(operation.error)}", fg="red")
    elif operation.effects:
        words = "; ".join(effect_words(effect, operation) for effect in operation.effects)
        line += click.style(f"  → {words}", fg="green")
    return line
