"""The explorer in a terminal: layers, tree, content, history, waste; live for a container that runs.

Decided here: which key does what, what the title and the status line say, and how often a container is followed. The
graph and all widgets belong to Textual's thread; only the waste of what cannot change is reckoned in another.
"""

from __future__ import annotations

import time
from typing import ClassVar

from textual import on, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Footer, Input, Static

from fusefs import Operation
from sim.explore.browser import Browser
from sim.explore.lines import LineList
from sim.explore.panes import Layers, Tree, layer_label
from sim.explore.screens import Content, Page, help_lines, history_lines, waste_lines
from sim.explore.targets import Target
from sim.explore.words import shorten
from sim.figures.text import bytes_text, plural, safe
from sim.graph import GraphError, virtual_bytes, waste

__all__ = ["Explorer"]

_LOOK = 0.25  # seconds between two looks at the journal
_BUSY = 0.15  # seconds that one look may take


class Explorer(App[None]):
    """The explorer of one target.

    Parameters
    ----------
    target
        From `open_target`; whoever opened it closes it.
    """

    CSS = """
    #title { height: 1; background: $primary; color: $text; text-style: bold; padding: 0 1; }
    #left { width: 36%; min-width: 26; max-width: 60; }
    #layers, #tree { border: round $panel-lighten-2; background: $background; }
    #layers { height: 1fr; }
    #layers:focus, #tree:focus { border: round $accent; }
    #about { height: 8; border: round $panel-lighten-2; color: $text-muted; }
    #tree { width: 1fr; height: 1fr; }
    #status { height: 1; padding: 0 1; color: $text-muted; }
    #search { display: none; height: 1; border: none; padding: 0 1; }
    #search.asked { display: block; }
    """

    ENABLE_COMMAND_PALETTE = False

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("tab", "app.focus_next", "Pane", show=False),
        Binding("u", "layer(-1)", "Up", show=False),
        Binding("d", "layer(1)", "Layer", key_display="u d"),
        Binding("v", "view", "View"),
        Binding("c", "changes", "Changes"),
        Binding("h", "history", "History"),
        Binding("w", "waste", "Waste"),
        Binding("slash", "search", "Search", key_display="/"),
        Binding("n", "match(1)", "Next", show=False),
        Binding("N", "match(-1)", "Before", show=False),
        Binding("o", "open_all", "Open all", show=False),
        Binding("O", "close_all", "Close all", show=False),
        Binding("f", "follow", "Follow", show=False),
        Binding("escape", "leave_search", "", show=False),
    ]

    def __init__(self, target: Target) -> None:
        super().__init__()
        self._target = target
        self.browser = Browser(target.stack)
        self._sums = ""
        self._following = target.follower is not None
        self._ended = False
        self._last: Operation | None = None
        self._matches: list[str] = []
        self._match = -1

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        stack = self.browser.stack
        yield Static("", id="title", markup=False)
        with Horizontal():
            with Vertical(id="left"):
                layers = Layers(stack, id="layers")
                layers.border_title = "Layers"
                yield layers
                yield Static("", id="about", markup=False)
            yield Tree(self.browser, id="tree")
        yield Input(placeholder="search names, then Enter", id="search")
        yield Static("", id="status", markup=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Show the first layer, and begin to follow and to reckon."""
        self._tree.focus()
        self._layer_chosen()
        if self._target.follower is not None:
            self.set_interval(_LOOK, self._follow)
        else:
            self._reckon()

    @property
    def _tree(self) -> Tree:
        return self.query_one("#tree", Tree)

    @property
    def _layers(self) -> Layers:
        return self.query_one("#layers", Layers)

    # What is said

    def _tell(self) -> None:
        """Bring title, frames and status up to date."""
        stack = self.browser.stack
        words = [f"{self._target.what} {shorten(safe(stack.name), 40)}", plural(len(stack.layers), "layer")]
        words.append(bytes_text(virtual_bytes(stack)))
        if self._sums:
            words.append(self._sums)
        if self._target.follower is not None:
            operations = stack.replay.totals.operations if stack.replay is not None else 0
            state = "ended" if self._ended else "live" if self._following else "stopped"
            words.append(f"{state}, {plural(operations, 'operation')}")
        self.query_one("#title", Static).update("  ·  ".join(words))
        about = self.query_one("#about", Static)
        if not stack.layers:
            self._tree.border_title = "nothing"
            return
        position = self.browser.position
        label = layer_label(stack, position)
        view = "alone" if self.browser.own or position == len(stack.layers) - 1 else "on all below"
        changes = ": changes only" if self.browser.only_changes else ""
        self._tree.border_title = f"Layer {label} {view}{changes}"
        layer = stack.layers[position]
        files = sum(1 for entry in layer.entries.values() if not entry.is_dir)
        about.border_title = f"Layer {label}"
        about.update(
            f"{shorten(safe(layer.name), 60)}\n{plural(files, 'file')}, {bytes_text(layer.bytes)}\n"
            f"{safe(layer.command)}"
        )

    def _status(self) -> None:
        row = self._tree.row
        text = safe(row.path) if row is not None else "nothing to see in this layer"
        if self._matches:
            text = f"{self._match + 1} of {len(self._matches)}: {text}"
        if self._last is not None:
            last = self._last
            target = f" → {safe(last.target)}" if last.target.startswith("/") else ""
            text = f"{last.number}: {last.kind.value} {safe(last.path)}{target}"
        self.query_one("#status", Static).update(shorten(text, max(self.size.width - 2, 20)))

    @work(thread=True)
    def _reckon(self) -> None:
        """Reckon the waste, which takes a second for a hundred thousand files."""
        stack = self.browser.stack
        try:
            total, wasted = virtual_bytes(stack), sum(one.bytes for one in waste(stack))
        except GraphError:
            return  # what cannot be read says so where it is asked for
        part = (total - wasted) / total if total else 1.0
        self.call_from_thread(self._reckoned, f"{part:.0%} seen, {bytes_text(wasted)} wasted")

    def _reckoned(self, words: str) -> None:
        self._sums = words
        self._tell()

    # Layers and tree

    def _layer_chosen(self) -> None:
        self._tree.renew_rows()
        self._tell()
        self._status()

    @on(LineList.Moved, "#layers")
    def _other_layer(self) -> None:
        self.browser.choose(self._layers.cursor)
        self._layer_chosen()

    @on(LineList.Moved, "#tree")
    def _other_row(self) -> None:
        self._last = None
        self._status()

    @on(LineList.Pressed, "#tree")
    def _row_pressed(self, event: LineList.Pressed) -> None:
        row = self._tree.row
        if row is not None and (row.entry.is_dir or event.again):
            self._tree.action_choose()

    @on(Tree.Chosen)
    def _read(self, event: Tree.Chosen) -> None:
        self.push_screen(Content(self.browser.stack, event.row.path, event.row.position))

    def action_layer(self, by: int) -> None:
        """Choose the layer above or below."""
        self._layers.move_to(self._layers.cursor + by)

    def action_view(self) -> None:
        """Show the layer's own entries, or all that is seen up to it."""
        self.browser.switch(own=not self.browser.own)
        self._layer_chosen()

    def action_changes(self) -> None:
        """Show only what the layer changed, or all."""
        self.browser.switch(only_changes=not self.browser.only_changes)
        self._layer_chosen()

    def action_open_all(self) -> None:
        """Open all directories."""
        self.browser.open_all()
        self._layer_chosen()

    def action_close_all(self) -> None:
        """Close all directories."""
        self.browser.close_all()
        self._layer_chosen()

    # Pages

    def action_help(self) -> None:
        """Say what the keys do."""
        self.push_screen(Page("Help", help_lines()))

    def action_history(self) -> None:
        """Show the history of the path under the cursor."""
        row = self._tree.row
        if row is not None:
            self.push_screen(Page(f"History of {safe(row.path)}", history_lines(self.browser.stack, row.path)))

    def action_waste(self) -> None:
        """Show sizes and waste."""
        try:
            lines = waste_lines(self.browser.stack)
        except GraphError as error:
            lines = [safe(str(error))]
        self.push_screen(Page("Sizes and waste", lines))

    # Searching

    def action_search(self) -> None:
        """Ask for what to search."""
        search = self.query_one("#search", Input)
        search.add_class("asked")
        search.value = ""
        search.focus()

    def action_leave_search(self) -> None:
        """Stop searching."""
        self.query_one("#search", Input).remove_class("asked")
        self._matches, self._match = [], -1
        self._tree.focus()
        self._status()

    @on(Input.Submitted, "#search")
    def _search(self, event: Input.Submitted) -> None:
        self.action_leave_search()
        if not event.value:
            return
        self._matches = self.browser.search(event.value)
        if not self._matches:
            self.query_one("#status", Static).update(f"nothing here is called {safe(event.value)!r}")
            return
        self.action_match(1)

    def action_match(self, by: int) -> None:
        """Go to the next match, or the one before."""
        if not self._matches:
            return
        self._match = (self._match + by) % len(self._matches)
        path = self._matches[self._match]
        self.browser.reveal(path)
        self._tree.renew_rows(path)

    # Following

    def action_follow(self) -> None:
        """Stop following, or go on."""
        if self._target.follower is not None:
            self._following = not self._following
            self._tell()

    def _follow(self) -> None:
        follower = self._target.follower
        if follower is None or not self._following or self._ended:
            return
        end = time.monotonic() + _BUSY
        changed, last, complete = False, None, True
        try:
            ended = follower.ended
            for operation in follower.operations():
                changed, last = changed or bool(operation.effects), operation
                if time.monotonic() > end:
                    complete = False
                    break
        except GraphError as error:
            self._following = False
            self.query_one("#status", Static).update(safe(str(error)))
            return
        self._ended = ended and complete
        if last is None and not self._ended:
            return
        if changed:
            self.browser.changed()
            self._layers.renew()
            self._tree.renew_rows(quiet=True)
        self._tell()
        if last is not None:
            self._last = last
            self._status()
