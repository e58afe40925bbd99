"""Lists of things: as a table, by a template, as JSON, or raw.

Decided here and only here: what `--format` means, how a table gets its header, and what is said about a template that
does not fit. One thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from sim.cli.failure import Failure
from sim.cli.show.table import lay_out

if TYPE_CHECKING:
    from sim.cli.template import Record, Template

__all__ = ["Listing", "render", "show_rows", "template_of"]

#: Values of a row by their fields' names; a function is called for the value.
Row = Mapping[str, object]


class Listing:
    """A kind of list.

    Parameters
    ----------
    kind
        What errors call a row: `*formatter.ImageContext`.
    headers
        The heading of each field.
    columns
        The fields of the default table.
    raw
        The template for `raw`; empty where there is none.
    labels
        Where the labels of a row are: makes `.Label "name"` work.
    """

    def __init__(
        self,
        kind: str,
        headers: Mapping[str, str],
        columns: Sequence[str],
        *,
        raw: str = "",
        labels: Callable[[Row], Mapping[str, str]] | None = None,
    ) -> None:
        self.kind = kind
        self.headers = headers
        self.columns = columns
        self.raw = raw
        self.labels = labels

    def record(self, row: Row) -> Record:
        """Return a row for templates."""
        from sim.cli.template import Record

        shown = {name: value for name, value in row.items() if not name.startswith("_")}
        if self.labels is None:
            return Record(self.kind, shown)
        labels = self.labels
        return Record(self.kind, shown, {"Label": lambda name: labels(row).get(name, "")})


def show_rows(
    listing: Listing, form: str, rows: Iterable[Row], *, columns: Sequence[str] = (), quiet: str = ""
) -> None:
    """Print rows.

    Parameters
    ----------
    form
        The value of `--format`; empty for the default.
    columns
        The fields of the table instead of the listing's.
    quiet
        The only field to be shown, for `-q`.

    Raises
    ------
    Failure
        The format is wrong or does not fit.
    """
    sys.stdout.write(render(listing, form, rows, columns=columns, quiet=quiet))


def render(listing: Listing, form: str, rows: Iterable[Row], *, columns: Sequence[str] = (), quiet: str = "") -> str:
    """Return what `show_rows` prints."""
    form = form.strip(" ") if form.startswith("table") else form
    if quiet and form in ("", "table"):
        return "".join(f"{_value(row, quiet)}\n" for row in rows)
    if form in ("", "table"):
        return _table(listing, rows, columns or listing.columns)
    if form == "raw" and listing.raw:
        form = listing.raw if not quiet else next(line for line in listing.raw.split("\n") if f".{quiet}}}" in line)
    elif form == "json":
        form = "{{json .}}"
    table = form.startswith("table")
    source = (form[5:] if table else form).strip(" ").replace("\\t", "\t").replace("\\n", "\n")
    template = template_of(source)
    lines = [f"{_render(template, listing.record(row))}\n" for row in rows]
    if not table:
        return "".join(lines)
    return lay_out(f"{_header(listing, source)}\n" + "".join(lines))


def _value(row: Row, name: str) -> str:
    value = row[name]
    found = value() if callable(value) else value
    return found if isinstance(found, str) else str(found)


def _table(listing: Listing, rows: Iterable[Row], columns: Sequence[str]) -> str:
    lines = ["\t".join(listing.headers[name] for name in columns)]
    lines.extend("\t".join(_value(row, name) for name in columns) for row in rows)
    return lay_out("\n".join(lines) + "\n")


def _header(listing: Listing, source: str) -> str:
    from sim.cli.template import Record, Template
    from sim.cli.template.functions import HEADER_FUNCTIONS

    return Template(source, functions=HEADER_FUNCTIONS).render(
        Record("formatter.SubHeaderContext", listing.headers, {"Label": _label_heading})
    )


def _label_heading(name: str) -> str:
    return name.rpartition(".")[2].replace("-", " ").replace("_", " ")


def template_of(source: str, name: str = "", *, problem: str = "template parsing error: ", status: int = 1) -> Template:
    """Read a template.

    Raises
    ------
    Failure
        It cannot be read.
    """
    from sim.cli.template import SyntaxProblem, Template

    try:
        return Template(source, name)
    except SyntaxProblem as error:
        raise Failure(f"{problem}{error}", status) from None


def _render(template: Template, record: Record) -> str:
    from sim.cli.template import RunError

    try:
        return template.render(record)
    except RunError as error:
        raise Failure(f"template parsing error: {error}") from None
