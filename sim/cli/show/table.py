"""Columns laid out as Go's text/tabwriter does.

Decided here and only here: a column is a run of lines that have a cell there which a tab ends; it is as wide as its
widest cell and the padding, and at least `least`. Pure functions; any thread.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["lay_out"]


def lay_out(text: str, *, least: int = 10, padding: int = 3) -> str:
    r"""Return a text with its tabs replaced by spaces.

    Parameters
    ----------
    text
        Lines, whose cells are ended by tabs.
    least
        A column's least width, padding included.
    padding
        Spaces behind the widest cell.

    Examples
    --------
    >>> print(lay_out("NAME\tTAG\tSIZE\nclia/busybox\t1\t1.98MB\n").replace(" ", "."), end="")
    NAME...........TAG.......SIZE
    clia/busybox...1.........1.98MB
    """
    lines = text.split("\n")
    cells = [line.split("\t") for line in lines]
    out: list[str] = []
    _format(cells, 0, len(cells), [], out, least, padding)
    return "".join(out)


def _format(
    cells: Sequence[Sequence[str]], start: int, end: int, widths: list[int], out: list[str], least: int, padding: int
) -> None:
    """Lay out the lines from `start` on, with the columns left of `len(widths)` known."""
    column = len(widths)
    at = start
    while start < end:
        if column >= len(cells[start]) - 1:
            start += 1
            continue
        # The lines before this run have no cell here.
        _write(cells, at, start, widths, out)
        stop = start
        width = least
        while stop < end and column < len(cells[stop]) - 1:
            width = max(width, _columns(cells[stop][column]) + padding)
            stop += 1
        _format(cells, start, stop, [*widths, width], out, least, padding)
        at = start = stop
    _write(cells, at, end, widths, out)


def _write(cells: Sequence[Sequence[str]], start: int, end: int, widths: list[int], out: list[str]) -> None:
    for number in range(start, end):
        line = cells[number]
        for column, cell in enumerate(line):
            if column < len(widths) and column < len(line) - 1:
                out.append(cell + " " * (widths[column] - _columns(cell)))
            else:
                out.append(cell)
        if number < len(cells) - 1:
            out.append("\n")


def _columns(cell: str) -> int:
    """Return a cell's width as Go's package has it: its characters, however wide they are."""
    return len(cell)
