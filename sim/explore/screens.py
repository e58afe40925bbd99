"""What opens over the panes: a file's content, a path's history, what is wasted, the help.

Decided here: what each of them says. Each is closed with Escape or q. Runs in Textual's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from sim.explore.lines import Text
from sim.explore.panes import layer_label
from sim.explore.words import text_lines
from sim.figures.text import bytes_text, plural, safe
from sim.graph import (
    Cell,
    EntryType,
    GraphError,
    LayerStack,
    State,
    column,
    copy_up_cost,
    history,
    layer_title,
    served_by,
    virtual_bytes,
    waste,
)

__all__ = ["Content", "Page", "help_lines", "history_lines", "waste_lines"]

_MOST = 1 << 20  # bytes of a file that are shown


class Page(ModalScreen[None]):
    """Lines to be read, with a title.

    Parameters
    ----------
    title
        What they are about.
    lines
        The lines.
    """

    DEFAULT_CSS = """
    Page { align: center middle; }
    Page > Vertical { width: 96%; height: 94%; border: round $accent; background: $surface; }
    Page Text { height: 1fr; }
    Page #note { height: auto; max-height: 3; color: $text-muted; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Close"),
    ]

    def __init__(self, title: str, lines: Sequence[str], note: str = "") -> None:
        super().__init__()
        self._title, self._lines, self._note = title, lines, note

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        with Vertical() as box:
            box.border_title = self._title
            yield Static(self._note, id="note", markup=False)
            yield Text(self._lines)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin at the first line."""
        self.query_one(Text).focus()

    def tell(self, title: str, lines: Sequence[str], note: str) -> None:
        """Show something else."""
        self.query_one(Vertical).border_title = title
        self.query_one("#note", Static).update(note)
        self.query_one(Text).tell(lines)


class Content(Page):
    """A file as one layer has it; other layers' versions are a key away.

    Parameters
    ----------
    stack
        The stack.
    path
        The merged path.
    position
        The layer to begin with, from the top; the next lower one that has the file, if this one has not.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("u", "version(-1)", "Upper version"),
        Binding("d", "version(1)", "Lower version"),
    ]

    def __init__(self, stack: LayerStack, path: str, position: int) -> None:
        self._stack, self._path = stack, path
        item = column(stack.layers, path)
        self._versions = [cell for cell in item.cells if not cell.entry.is_whiteout] if item is not None else []
        at = next((i for i, cell in enumerate(self._versions) if cell.position >= position), 0)
        self._at = at
        super().__init__(*self._words())

    def _words(self) -> tuple[str, Sequence[str], str]:
        if not self._versions:
            return safe(self._path), (), "no layer has a file here"
        cell = self._versions[self._at]
        entry = cell.entry
        label = layer_label(self._stack, cell.position)
        mode = f", mode {entry.mode:04o}, owner {entry.uid}:{entry.gid}" if entry.mode >= 0 else ""
        title = safe(layer_title(self._stack.layers[cell.position]))
        note = f"layer {label} ({title}): {plural(entry.size, 'byte')}{mode}"
        if len(self._versions) > 1:
            note += f"\nversion {self._at + 1} of {len(self._versions)}; {self._fate(cell)}"
        else:
            note += f"; {self._fate(cell)}"
        lines: Sequence[str]
        if entry.type is EntryType.SYMLINK:
            lines = [f"→ {safe(entry.target)}"]
        elif entry.type is EntryType.FILE:
            try:
                lines = text_lines(self._stack.layers[cell.position].content(entry, _MOST))
            except GraphError as error:
                lines = [safe(str(error))]
            if entry.size > _MOST:
                note += f"; the first {bytes_text(_MOST)} are shown"
        else:
            lines = [f"a {entry.type.value}: there is nothing to read"]
        return safe(self._path), lines, note

    def _fate(self, cell: Cell) -> str:
        if cell.state in (State.VISIBLE, State.MERGED):
            return "this is what a process sees"
        if cell.by is None:
            return "hidden"
        return f"hidden by layer {layer_label(self._stack, cell.by)}, and stored all the same"

    def action_version(self, by: int) -> None:
        """Show the version of a layer above or below."""
        if self._versions:
            self._at = max(0, min(self._at + by, len(self._versions) - 1))
            self.tell(*self._words())


def history_lines(stack: LayerStack, path: str) -> list[str]:
    """Return the events of a path, one a line, the oldest first."""
    try:
        events = history(stack, path)
    except GraphError as error:
        return [safe(str(error))]
    lines = []
    for event in events:
        when = f"operation {event.operation}" if event.operation else "when the layer was made"
        size = f"  {plural(event.bytes, 'byte')}" if event.bytes else ""
        detail = f"  ({safe(event.detail)})" if event.detail else ""
        label = "RW" if event.layer == 0 else str(event.layer)
        lines.append(f"layer {label:>3}  {event.what:<17} {when}{size}{detail}")
    return lines


def waste_lines(stack: LayerStack, *, limit: int = 5000) -> list[str]:
    """Return what a stack weighs and wastes: the sums first, then each hidden file, the largest first."""
    found = waste(stack)
    total, wasted = virtual_bytes(stack), sum(one.bytes for one in found)
    seen = (total - wasted) / total if total else 1.0
    lines = [
        f"{bytes_text(total):>10}  in all layers",
        f"{bytes_text(total - wasted):>10}  can be seen: {seen:.1%} of it",
        f"{bytes_text(wasted):>10}  cannot, in {plural(len(found), 'file')}",
    ]
    cost = copy_up_cost(stack)
    if stack.replay is not None:
        totals = stack.replay.totals
        lines += [
            "",
            f"{bytes_text(cost.copied):>10}  copied up, in {plural(cost.copy_ups, 'copy-up')}",
            f"{bytes_text(cost.written):>10}  written by processes",
            f"{bytes_text(totals.read):>10}  read by processes",
        ]
        if cost.copied and cost.written:
            lines.append(f"{cost.amplification:>10.3g}  bytes copied for each byte written")
        for number, count in sorted(served_by(stack).items(), key=lambda item: -1 if item[0] is None else item[0]):
            who = "no layer" if number is None else "the RW layer" if number == 0 else f"layer {number}"
            lines.append(f"{count:>10,}  operations answered by {who}")
    if found:
        lines += ["", f"{'bytes':>10}  in layer  hidden by  because   path"]
    for one in found[:limit]:
        by = "RW" if one.by == 0 else one.by
        lines.append(f"{bytes_text(one.bytes):>10}  {one.layer:>8}  {by:>9}  {one.cause:<8}  {safe(one.path)}")
    if len(found) > limit:
        lines.append(f"and {plural(len(found) - limit, 'file')} more")
    return lines


def help_lines() -> list[str]:
    """Return what the keys and the marks mean."""
    return [
        "Left: the layers, the topmost first. Right: the tree as the chosen layer shows it.",
        "",
        "  A  the layer added it            RW   the container's own layer",
        "  M  the layer has it anew         1 …  the read-only layers, from the top",
        "  D  the layer hides it            ✕    a whiteout",
        "  ·  something in it changed       ⊖    an opaque directory: hides all below",
        "",
        "  u, d           the layer above, the layer below",
        "  v              the layer alone, or on all layers below it",
        "  c              only what it changed, or all",
        "  ↑ ↓ PgUp PgDn  move; Home, End: to the first, the last",
        "  → ←            open a directory, close it",
        "  Enter          open a directory, read a file as this layer has it;",
        "                 there u and d show what other layers have, hidden or not",
        "  h              the history of a path: which layer or operation did what",
        "  w              sizes, waste, and what copy-up cost",
        "  /              search names; n and N: the next, the one before",
        "  o, O           open all directories, close all",
        "  f              stop following a container, and go on",
        "  Tab            from the layers to the tree and back; the mouse works, too",
        "  q              leave",
    ]
