"""`layerlab compare`: what differs between two images, containers or stacks.

Decided here: the words. What counts as a difference is decided in `sim.graph.views.changes`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sim.graph import LayerStack
    from sim.graph.views.changes import ChangeTree, TreeLine

__all__ = ["command"]


@click.command("compare")
@click.argument("first", metavar="IMAGE|CONTAINER|FILE|STACK")
@click.argument("second", metavar="IMAGE|CONTAINER|FILE|STACK")
@click.option("--store", type=click.Path(path_type=Path), metavar="DIR", help="Look for images in this store.")
@click.option("--lines", type=click.IntRange(min=1), default=100, metavar="COUNT", help="Lines of the tree, at most.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every change.")
def command(first: str, second: str, store: Path | None, lines: int, as_json: bool) -> None:
    """Show which layers two images share, and what files are added (A), changed (M) and deleted (D) in the second.

    \b
    layerlab compare web:1 web:2
    layerlab compare web:2 my-container
    """
    from sim.engine.places import data_root
    from sim.explore import open_target
    from sim.graph import change_tree, difference, merged

    before = open_target(first, root=data_root(), store=store)
    try:
        after = open_target(second, root=data_root(), store=store)
        try:
            if as_json:
                old = {path: entry for path, (_, entry) in merged(before.stack.layers).items()}
                new = {path: entry for path, (_, entry) in merged(after.stack.layers).items()}
                found = [asdict(change) for change in difference(old, new)]
                click.echo(json.dumps({"layers": _layers(before.stack, after.stack), "changes": found}))
                return
            tree = change_tree(before.stack, after.stack, names=(first, second), max_lines=lines)
            for line in _lines(before.stack, after.stack, tree):
                click.echo(line)
        finally:
            after.close()
    finally:
        before.close()


def _layers(before: LayerStack, after: LayerStack) -> dict[str, list[str]]:
    ours, theirs = [layer.key for layer in before.layers], [layer.key for layer in after.layers]
    return {
        "shared": [key for key in ours if key in theirs],
        "first": [key for key in ours if key not in theirs],
        "second": [key for key in theirs if key not in ours],
    }


def _lines(before: LayerStack, after: LayerStack, tree: ChangeTree) -> list[str]:
    from sim.cli.words import count_words, printable, size_words

    keys = _layers(before, after)
    size = {layer.key: layer.bytes for layer in (*before.layers, *after.layers)}
    found = []
    for word, which in (("shared", "shared"), (f"only in {tree.before}", "first"), (f"only in {tree.after}", "second")):
        total = size_words(sum(size[key] for key in keys[which]))
        found.append(f"{printable(word)}: {count_words(len(keys[which]), 'layer')}, {total}")
    found.append(f"{tree.added} added, {tree.modified} changed, {tree.deleted} deleted")
    found.extend(_line(line) for line in tree.lines)
    if tree.left_out:
        found.append(f"and {count_words(tree.left_out, 'change')} more; --lines COUNT or --json shows them")
    return found


def _line(line: TreeLine) -> str:
    from sim.cli.words import printable, size_words

    colours = {"A": "green", "M": "yellow", "D": "red"}
    sizes = ""
    if not line.name.endswith("/"):
        grew = line.what == "M" and line.before != line.after
        sizes = f"  {size_words(line.before)} → {size_words(line.after)}" if grew else ""
        sizes = sizes or f"  {size_words(line.before if line.what == 'D' else line.after)}"
    folded = f"  (and {line.folded} as they were)" if line.folded else ""
    text = f"{line.what or ' '} {'  ' * line.depth}{printable(line.name)}{sizes}{folded}"
    return click.style(text, fg=colours[line.what]) if line.what in colours else text
