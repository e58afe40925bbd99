"""Lists of lines in a terminal: only those that are seen are made, so that a hundred thousand cost no more than ten.

Decided here: how a list scrolls, where its cursor is and how it is drawn. What a line says is decided by who uses it.
Runs in Textual's thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

__all__ = ["LineList", "Part", "Text"]

#: The ground of the cursor's line, with and without the focus: the letters keep their colours on it.
_CURSOR, _CURSOR_AWAY = "on #2f4b66", "on #2a2e33"

#: A part of a line: its text, and its style as Rich writes it ("bold #e69f00"), or "".
Part = tuple[str, str]


class LineList(ScrollView, can_focus=True):
    """A list with a cursor. Those who inherit say how many lines there are, and what each says."""

    DEFAULT_CSS = """
    LineList { scrollbar-size: 1 1; }
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Up", show=False),
        Binding("down", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "jump(0)", "First", show=False),
        Binding("end", "jump(-1)", "Last", show=False),
    ]

    class Moved(Message):
        """The cursor is on another line.

        Attributes
        ----------
        lines
            The list.
        """

        def __init__(self, lines: LineList) -> None:
            super().__init__()
            self.lines = lines

        @property
        def control(self) -> LineList:
            """The list, for `on`'s selectors."""
            return self.lines

    class Pressed(Message):
        """The line with the cursor was clicked; `again` if the cursor was on it before."""

        def __init__(self, lines: LineList, again: bool) -> None:
            super().__init__()
            self.lines, self.again = lines, again

        @property
        def control(self) -> LineList:
            """The list, for `on`'s selectors."""
            return self.lines

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.cursor = 0

    # What a list says

    def count(self) -> int:
        """Return the number of lines."""
        return 0

    def line(self, index: int, width: int) -> Sequence[Part]:
        """Return one line, in parts."""
        return ()

    def widest(self) -> int:
        """Return the width of the widest line, in cells; 0 where lines are made as wide as the list."""
        return 0

    # Changing it

    def renew(self, cursor: int | None = None) -> None:
        """Show the lines anew: they are other ones than before."""
        self.cursor = max(0, min(self.cursor if cursor is None else cursor, self.count() - 1))
        self._measure()
        self.refresh()
        self._show_cursor()

    def move_to(self, index: int) -> None:
        """Put the cursor on a line."""
        index = max(0, min(index, self.count() - 1))
        if index != self.cursor:
            self.cursor = index
            self.refresh()
            self.post_message(self.Moved(self))
        self._show_cursor()

    def _measure(self) -> None:
        width = max(self.widest(), 1) if self.widest() else self.scrollable_content_region.width
        self.virtual_size = Size(width, self.count())

    def _show_cursor(self) -> None:
        region = Region(int(self.scroll_x), self.cursor, 1, 1)
        self.scroll_to_region(region, animate=False, force=True)

    # What happens to it

    def on_resize(self, event: events.Resize) -> None:
        """Fit the lines to another width."""
        self._measure()
        self.call_after_refresh(self._show_cursor)

    def action_move(self, by: int) -> None:
        """Move the cursor by so many lines."""
        self.move_to(self.cursor + by)

    def action_page(self, by: int) -> None:
        """Move the cursor by so many pages."""
        self.move_to(self.cursor + by * max(self.scrollable_content_region.height - 1, 1))

    def action_jump(self, index: int) -> None:
        """Move the cursor to a line, counted from the end if negative."""
        self.move_to(index if index >= 0 else self.count() + index)

    def on_click(self, event: events.Click) -> None:
        """Put the cursor where the mouse clicked."""
        offset = event.get_content_offset(self)
        index = offset.y + int(self.scroll_y) if offset is not None else -1
        if 0 <= index < self.count():
            again = index == self.cursor
            self.move_to(index)
            self.post_message(self.Pressed(self, again))

    def render_line(self, y: int) -> Strip:
        """Draw one line."""
        left, top = self.scroll_offset
        index = top + y
        width = self.scrollable_content_region.width
        base = self.rich_style
        if index >= self.count():
            return Strip.blank(width, base)
        parts = self.line(index, width)
        strip = Strip([Segment(text, base + Style.parse(style) if style else base) for text, style in parts])
        strip = strip.crop_extend(left, left + width, base)
        if index == self.cursor:
            if self.app.no_color:
                mark = Style(reverse=True, bold=True) if self.has_focus else Style(bold=True, underline=True)
                return strip.apply_style(mark)
            ground = Style(bold=True) + Style.parse(_CURSOR if self.has_focus else _CURSOR_AWAY)
            strip = Strip([Segment(text, (style or base) + ground) for text, style, _ in strip])
        return strip


class Text(LineList):
    """Lines of plain text to be read.

    Parameters
    ----------
    lines
        What is read, without line ends.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left", "sideways(-8)", "Left", show=False),
        Binding("right", "sideways(8)", "Right", show=False),
    ]

    def __init__(self, lines: Sequence[str] = (), *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lines = lines

    def count(self) -> int:
        """Return the number of lines."""
        return len(self.lines)

    def line(self, index: int, width: int) -> Sequence[Part]:
        """Return a line."""
        return ((self.lines[index], ""),)

    def widest(self) -> int:
        """Return the width of the longest line; for very long files that of the first ten thousand lines."""
        return max((len(line) for line in self.lines[:10_000]), default=1)

    def tell(self, lines: Sequence[str]) -> None:
        """Show other lines."""
        self.lines = lines
        self.renew(0)

    def action_sideways(self, by: int) -> None:
        """Move the view to the side."""
        self.scroll_to(x=max(0, self.scroll_x + by), animate=False)
