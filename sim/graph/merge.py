"""The merged view of a stack, worked out from the entries of its layers.

Decided here and only here: which layer serves a path, and why a layer below does not. The rules are those of the
kernel's overlayfs (filesystems/overlayfs, "Upper and Lower", "whiteouts and opaque directories", "Redirects"):

- A path is looked up from the top down. The first layer that has it serves it.
- Directories of one name merge, down to the first layer that has there something else, a whiteout, or an opaque
  directory (which still takes part itself).
- What lies in a hidden directory is hidden with it.

Layers are numbered by their position from the top, as the caller wishes: position 0 here is the topmost of the
sequence. Functions keep no state; any thread may call them on layers that have been read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from sim.graph.entry import Entry, EntryType, Layer, join

__all__ = ["Cell", "Column", "State", "column", "columns", "listing", "merged"]


class State(StrEnum):
    """What becomes of one layer's entry in the merged view."""

    VISIBLE = "visible"  #: this is what a process sees
    MERGED = "merged"  #: a directory below the visible one, whose names are seen too
    WHITEOUT = "whiteout"  #: a mark that hides what is below
    SHADOWED = "shadowed"  #: hidden by a layer above


@dataclass(frozen=True, slots=True)
class Cell:
    """What one layer has at a path, and what becomes of it.

    Attributes
    ----------
    position
        Of the layer, 0 for the topmost.
    entry
        What the layer has.
    state
        What becomes of it.
    by
        Position of the layer that hides it (shadowed); else None.
    """

    position: int
    entry: Entry
    state: State
    by: int | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """One path through the whole stack: the layers that have it, from the top.

    Attributes
    ----------
    path
        The merged path.
    cells
        One for each layer that has an entry there, from the top.
    """

    path: str
    cells: tuple[Cell, ...]

    @property
    def served(self) -> Cell | None:
        """The cell that a process sees; None if the path does not exist in the merged view."""
        return next((cell for cell in self.cells if cell.state is State.VISIBLE), None)

    @property
    def is_dir(self) -> bool:
        """Whether the merged view, or if it has nothing there the topmost layer that has, has a directory."""
        cell = self.served or next((cell for cell in self.cells if not cell.entry.is_whiteout), None)
        return cell is not None and cell.entry.is_dir


@dataclass(frozen=True, slots=True)
class _Place:
    """A directory of one layer that is reached for a merged directory; `by` as in `Cell` if it is hidden."""

    position: int
    path: str
    by: int | None = None


def columns(layers: Sequence[Layer], *, under: str = "/") -> Iterator[Column]:
    """Yield every path that any layer has at or below `under`, parents before what is in them, in order of name.

    Paths that are hidden altogether are among them: they have no cell that is visible.
    """
    start = column(layers, under)
    pending = [start] if start is not None else []
    while pending:
        current = pending.pop()
        yield current
        pending.extend(reversed(listing(layers, current)))


def listing(layers: Sequence[Layer], directory: Column) -> list[Column]:
    """Return every path that any layer has right in a directory, in order of name, hidden ones among them."""
    places = _places(layers, directory)
    names: set[str] = set()
    for place in places:
        names.update(layers[place.position].children.get(place.path, ()))
    found = (_look(layers, places, directory.path, name) for name in sorted(names))
    return [item for item in found if item is not None]


def column(layers: Sequence[Layer], path: str) -> Column | None:
    """Return one path through the stack, or None if no layer has it.

    Parameters
    ----------
    layers
        The stack, the topmost layer first.
    path
        Absolute merged path.
    """
    current = Column("/", tuple(_root_cells(layers)))
    for name in path.strip("/").split("/") if path.strip("/") else ():
        inner = _look(layers, _places(layers, current), current.path, name)
        if inner is None:
            return None
        current = inner
    return current


def merged(layers: Sequence[Layer]) -> dict[str, tuple[int, Entry]]:
    """Return the merged view: by path the position of the layer that serves it, and its entry there."""
    found = {}
    for item in columns(layers):
        cell = item.served
        if cell is not None:
            found[item.path] = (cell.position, cell.entry)
    return found


def _root_cells(layers: Sequence[Layer]) -> Iterator[Cell]:
    cut: int | None = None
    for position, layer in enumerate(layers):
        entry = layer.entries.get("/") or Entry("/", EntryType.DIRECTORY)
        state = State.SHADOWED if cut is not None else State.MERGED if position else State.VISIBLE
        yield Cell(position, entry, state, cut)
        if entry.opaque and cut is None:
            cut = position


def _places(layers: Sequence[Layer], parent: Column) -> list[_Place]:
    """Return the directories in which the names of a merged directory are looked for, from the top."""
    return [_Place(cell.position, cell.entry.path, cell.by) for cell in parent.cells if cell.entry.is_dir]


def _look(layers: Sequence[Layer], places: Sequence[_Place], directory: str, name: str) -> Column | None:
    """Look one name up in the places of its directory, and below a redirected directory where that points."""
    path = join(directory, name)
    cells: list[Cell] = []
    cut: int | None = None  # the layer that ended the search
    below: list[Cell] = []
    for place in places:
        entry = layers[place.position].entries.get(join(place.path, name))
        if entry is None:
            continue
        cell = _judge(entry, place, cells, cut)
        cells.append(cell)
        if cell.state is State.SHADOWED:
            if place.by is None and cut is None:
                cut = _first(cells)  # not a directory, below directories: no more merging further down
        elif _ends(entry):
            cut = cell.position
        elif entry.redirect:
            cut = cell.position  # what has this name further down is another directory
            below = list(_redirected(layers, place.position + 1, _absolute(entry.redirect, place.path)))
    if below:
        cells = sorted(cells + below, key=lambda cell: cell.position)
    return Column(path, tuple(cells)) if cells else None


def _first(cells: Sequence[Cell]) -> int | None:
    return next((cell.position for cell in cells if cell.state is State.VISIBLE), None)


def _ends(entry: Entry) -> bool:
    return not entry.is_dir or entry.opaque


def _judge(entry: Entry, place: _Place, above: Sequence[Cell], cut: int | None) -> Cell:
    """Say what becomes of an entry, given the cells above it."""
    position = place.position
    if place.by is not None:
        return Cell(position, entry, State.SHADOWED, place.by)
    if cut is not None:
        return Cell(position, entry, State.SHADOWED, cut)
    first = _first(above)
    if entry.is_whiteout:
        return Cell(position, entry, State.WHITEOUT)
    if first is None:
        return Cell(position, entry, State.VISIBLE)
    if entry.is_dir:
        return Cell(position, entry, State.MERGED)
    return Cell(position, entry, State.SHADOWED, first)


def _absolute(redirect: str, directory: str) -> str:
    return redirect if redirect.startswith("/") else join(directory, redirect)


def _redirected(layers: Sequence[Layer], start: int, path: str) -> Iterator[Cell]:
    """Yield the lower parts of a renamed directory: from the layers below it, at the place that it came from."""
    for position in range(start, len(layers)):
        entries = layers[position].entries
        last = False
        prefix = ""
        for part in path.strip("/").split("/"):
            prefix = f"{prefix}/{part}"
            entry = entries.get(prefix)
            if entry is None:
                break
            if not entry.is_dir:
                return
            last = last or entry.opaque
        else:
            found = entries[path]
            yield Cell(position, found, State.MERGED)
            if found.redirect:
                yield from _redirected(layers, position + 1, _absolute(found.redirect, path.rpartition("/")[0] or "/"))
                return
        if last:
            return
