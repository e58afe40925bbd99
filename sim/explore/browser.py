"""What the tree of the explorer shows: rows for the directories that are open, each with what its layer did to it.

Decided here and only here: when a path counts as added, modified or deleted by a layer (against the merged view of the
layers below it), and what the two views are: a layer's own entries, or all that is seen up to it. Only directories that
are open are looked into, so that a layer of 100,000 files is shown as fast as one of ten.

A `Browser` belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sim.graph import Column, Entry, EntryType, LayerStack, State, column, listing
from sim.graph.entry import Layer, parent_of

__all__ = ["Browser", "Row"]

_MOST_MATCHES = 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the tree.

    Attributes
    ----------
    path
        Merged path.
    depth
        0 for what is in the root.
    entry
        What is there: of the layer that serves it, or what is deleted.
    position
        Of that layer, from the top.
    mark
        `A`, `M` or `D` as the chosen layer did to it; else "".
    inside
        For a directory whether the layer changed something in it.
    open
        For a directory whether its rows follow.
    """

    path: str
    depth: int
    entry: Entry
    position: int
    mark: str
    inside: bool = False
    open: bool = False

    @property
    def name(self) -> str:
        """Last component of the path."""
        return self.path.rpartition("/")[2]


class Browser:
    """A stack, one layer of it, and which directories are open.

    Parameters
    ----------
    stack
        What is looked at.

    Attributes
    ----------
    position
        Of the chosen layer, from the top.
    own
        Whether only the chosen layer's own entries are shown, and not all that is seen up to it.
    only_changes
        Whether only what the chosen layer changed is shown.
    """

    def __init__(self, stack: LayerStack) -> None:
        self.stack = stack
        self.position = 0
        self.own = False
        self.only_changes = False
        self.opened: set[str] = {"/"}
        self._inside: dict[str, list[Row]] = {}

    # Choosing

    def choose(self, position: int) -> None:
        """Look at another layer."""
        self.position = max(0, min(position, len(self.stack.layers) - 1))
        self.changed()

    def switch(self, *, own: bool | None = None, only_changes: bool | None = None) -> None:
        """Look at it in another way."""
        self.own = self.own if own is None else own
        self.only_changes = self.only_changes if only_changes is None else only_changes
        self.changed()

    def changed(self) -> None:
        """Forget what was worked out: the layers, or what is asked of them, have changed."""
        self._inside.clear()

    def toggle(self, path: str) -> None:
        """Open or close a directory."""
        self.opened ^= {path}

    def reveal(self, path: str) -> None:
        """Open all directories above a path."""
        while path != "/":
            path = parent_of(path)
            self.opened.add(path)

    def open_all(self, limit: int = 20_000) -> None:
        """Open every directory that is shown, until there are `limit` rows."""
        count = 0
        pending = ["/"]
        while pending and count < limit:
            path = pending.pop()
            self.opened.add(path)
            for row in self._rows_of(path):
                count += 1
                if row.entry.is_dir:
                    pending.append(row.path)

    def close_all(self) -> None:
        """Close every directory but the root."""
        self.opened = {"/"}

    # Asking

    @property
    def _layers(self) -> tuple[Layer, ...]:
        return self.stack.layers[self.position :]

    @property
    def _below(self) -> tuple[Layer, ...]:
        return self.stack.layers[self.position + 1 :]

    def rows(self) -> list[Row]:
        """Return the rows, top down."""
        found: list[Row] = []
        if self.stack.layers:
            pending = [iter(self._rows_of("/"))]
            while pending:
                row = next(pending[-1], None)
                if row is None:
                    pending.pop()
                    continue
                is_open = row.entry.is_dir and row.path in self.opened
                if is_open:
                    row = Row(row.path, row.depth, row.entry, row.position, row.mark, row.inside, True)
                    pending.append(iter(self._rows_of(row.path)))
                found.append(row)
        return found

    def search(self, text: str) -> list[str]:
        """Return the paths with this text in their last component that the present view has, in order, upper case or
        lower; at most a thousand.
        """
        wanted = text.lower()
        layers = self._layers[:1] if self.own else self._layers
        paths = {
            path
            for layer in layers
            for path in layer.entries
            if wanted in path.lower() and wanted in path.rpartition("/")[2].lower()
        }
        found = []
        for path in sorted(paths, key=lambda path: path.split("/")):
            if self.row(path) is not None:
                found.append(path)
                if len(found) == _MOST_MATCHES:
                    break
        return found

    def row(self, path: str) -> Row | None:
        """Return the row that a path has if all above it is open; None if the present view does not have it."""
        if path == "/" or not self.stack.layers:
            return None
        item = column(self._layers, path)
        return self._row(path, item) if item is not None else None

    # One directory

    def _rows_of(self, directory: str) -> list[Row]:
        known = self._inside.get(directory)
        if known is None:
            known = self._inside[directory] = list(self._list(directory))
        return known

    def _list(self, directory: str) -> Iterator[Row]:
        here = column(self._layers, directory)
        if here is None:
            return
        for item in listing(self._layers, here):
            row = self._row(item.path, item)
            if row is not None and (not self.only_changes or row.mark or row.inside):
                yield row

    def _row(self, path: str, item: Column) -> Row | None:
        """Make the row of a path, given its column in the chosen layer and those below; None if there is none."""
        top = next((cell for cell in item.cells if cell.position == 0), None)
        served = item.served
        depth = path.count("/") - 1
        if self.own:
            if top is None or top.state not in (State.VISIBLE, State.WHITEOUT):
                return None
            mark = self._mark(path, item, top.entry)
            return Row(path, depth, top.entry, self.position, mark, top.entry.is_dir and self._touched(item))
        if served is not None:
            mark = self._mark(path, item, served.entry) if served.position == 0 else ""
            inside = served.entry.is_dir and self._touched(item)
            return Row(path, depth, served.entry, served.position + self.position, mark, inside)
        before = self._before(path)
        if before is None:
            return None
        entry, position = before
        return Row(path, depth, entry, position, "D", entry.is_dir)

    def _before(self, path: str) -> tuple[Entry, int] | None:
        """Return what the layers below show at a path, and the position of the one that serves it."""
        item = column(self._below, path)
        cell = item.served if item is not None else None
        return (cell.entry, cell.position + self.position + 1) if cell is not None else None

    def _mark(self, path: str, item: Column, entry: Entry) -> str:
        if entry.is_whiteout:
            return "D"
        if len(item.cells) == 1 and not self._renamed_above(path):
            return "A"
        before = self._before(path)
        if before is None:
            return "A"
        old = before[0]
        if old.is_dir and entry.is_dir:
            known = -1 not in (old.mode, entry.mode, old.uid, entry.uid)
            same = (old.mode, old.uid, old.gid) == (entry.mode, entry.uid, entry.gid)
            return "M" if entry.opaque or (known and not same) else ""
        return "M"

    def _renamed_above(self, path: str) -> bool:
        """Whether a directory above has its lower part elsewhere: what is here was not here before."""
        entries = self._layers[0].entries
        while path != "/":
            path = parent_of(path)
            entry = entries.get(path)
            if entry is not None and entry.redirect:
                return True
        return False

    def _touched(self, item: Column) -> bool:
        """Whether the chosen layer has something in a directory, or hides all that was in it."""
        top = next((cell for cell in item.cells if cell.position == 0), None)
        if top is None or top.entry.type is not EntryType.DIRECTORY:
            return False
        return top.entry.opaque or bool(self._layers[0].children.get(top.entry.path))
