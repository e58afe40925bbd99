"""The two panes of the explorer: the layers of a stack, and the tree of one of them.

Decided here: what a line of each says, and in which columns. A change has its letter as well as its colour. Runs in
Textual's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message

from sim.explore.browser import Browser, Row
from sim.explore.lines import LineList, Part
from sim.explore.words import COLOURS, SIGNS, shorten
from sim.figures.text import bytes_text, safe
from sim.graph import LayerStack, Role, layer_title

__all__ = ["Layers", "Tree", "layer_label"]


def layer_label(stack: LayerStack, position: int) -> str:
    """Return the number of a layer, as operations have it; "RW" for the RW layer."""
    return "RW" if stack.layers[position].role is Role.RW else str(stack.number(position))


class Layers(LineList):
    """The layers, the topmost first."""

    def __init__(self, stack: LayerStack, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.stack = stack

    def count(self) -> int:
        """Return the number of layers."""
        return len(self.stack.layers)

    def line(self, index: int, width: int) -> Sequence[Part]:
        """Return number, title and size of a layer."""
        layer = self.stack.layers[index]
        label = layer_label(self.stack, index)
        size = bytes_text(layer.bytes)
        room = max(width - 4 - len(size) - 2, 4)
        title = safe(layer_title(layer))
        title = title if len(title) <= room else f"{title[: room - 1]}…"
        return (
            (f"{label:>3} ", f"bold {COLOURS['RW']}" if label == "RW" else "bold"),
            (f"{title:<{room}}", ""),
            (f" {size}", "dim"),
        )


class Tree(LineList):
    """The tree of one layer."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right", "open", "Open", show=False),
        Binding("left", "shut", "Close", show=False),
        Binding("enter,space", "choose", "Open, read", show=False),
    ]

    class Chosen(Message):
        """A row that is no directory was chosen: it is to be read.

        Attributes
        ----------
        row
            Which one.
        """

        def __init__(self, row: Row) -> None:
            super().__init__()
            self.row = row

    def __init__(self, browser: Browser, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.browser = browser
        self.rows: list[Row] = browser.rows()
        self.found = ""

    @property
    def row(self) -> Row | None:
        """The row with the cursor."""
        return self.rows[self.cursor] if 0 <= self.cursor < len(self.rows) else None

    def count(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def line(self, index: int, width: int) -> Sequence[Part]:
        """Return mark, size, layer and name of a row."""
        row = self.rows[index]
        entry = row.entry
        mark = row.mark or ("·" if row.inside else " ")
        size = "" if entry.is_dir or entry.is_whiteout else bytes_text(entry.size)
        label = layer_label(self.browser.stack, row.position)
        colour = COLOURS.get(row.mark, "")
        twig = ("▾ " if row.open else "▸ ") if entry.is_dir else "  "
        name = safe(row.name) + SIGNS[entry.type.value]
        if entry.target:
            name += f" → {safe(entry.target)}"
        if entry.opaque:
            name += " ⊖ opaque"
        room = max(width - 20 - 2 * row.depth, 12)
        style = f"{colour} strike" if row.mark == "D" else colour
        return (
            (f"{mark} ", f"bold {colour}".strip()),
            (f"{size:>10} ", "dim"),
            (f"{label:>3} ", COLOURS["RW"] if label == "RW" else "dim"),
            (f"{'  ' * row.depth}{twig}", colour),
            (shorten(name, room), style),
        )

    def renew_rows(self, path: str | None = None, *, quiet: bool = False) -> None:
        """Ask the browser again; the cursor stays on its path, or goes to the one that is named.

        With `quiet` nobody is told that the cursor moved: rows came or went without the user.
        """
        wanted = path or (self.row.path if self.row is not None else "")
        self.rows = self.browser.rows()
        cursor = next((index for index, row in enumerate(self.rows) if row.path == wanted), self.cursor)
        self.renew(cursor)
        if not quiet:
            self.post_message(self.Moved(self))

    def action_open(self) -> None:
        """Open the directory under the cursor, or go into it."""
        row = self.row
        if row is not None and row.entry.is_dir:
            if row.open:
                self.action_move(1)
            else:
                self.browser.toggle(row.path)
                self.renew_rows()

    def action_shut(self) -> None:
        """Close the directory under the cursor, or go to the one that it is in."""
        row = self.row
        if row is None:
            return
        if row.open:
            self.browser.toggle(row.path)
            self.renew_rows()
            return
        directory = row.path.rpartition("/")[0]
        for index in range(self.cursor, -1, -1):
            if self.rows[index].path == directory:
                self.move_to(index)
                return

    def action_choose(self) -> None:
        """Open or close a directory, or read a file."""
        row = self.row
        if row is not None and row.entry.is_dir:
            self.browser.toggle(row.path)
            self.renew_rows()
        elif row is not None:
            self.post_message(self.Chosen(row))
