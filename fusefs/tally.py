"""What the operations of a journal add up to, without taking each of them in hand.

Decided here: which sums a journal is asked for. The database makes them, in a tenth of the time that reading a million
operations one by one would take. Functions only; they belong to the thread of the journal.
"""

from __future__ import annotations

from dataclasses import dataclass

from fusefs.journal import Journal
from fusefs.operation import Kind

__all__ = ["Tally", "change_numbers", "density", "plain_write", "span", "tallies"]

_IN_BINS = "SELECT (number - 1) * ? / ?, layer, count(*)"
_WITH_EFFECTS = "SELECT DISTINCT operation AS number FROM effect WHERE operation <= ?"
_CHANGED = "EXISTS (SELECT 1 FROM effect WHERE effect.operation = operation.number)"


@dataclass(frozen=True, slots=True)
class Tally:
    """What all operations of one kind on one path that one layer answered add up to.

    Attributes
    ----------
    path, layer, kind
        As in `Operation`.
    failed
        Whether these are the ones that ended with an error.
    changed
        Whether these are the ones that had effects.
    operations
        How many.
    size
        Sum of their `size`.
    first, last
        Numbers of the first and the last.
    """

    path: str
    layer: int | None
    kind: Kind
    failed: bool
    changed: bool
    operations: int
    size: int
    first: int
    last: int


def tallies(journal: Journal, *, until: int) -> list[Tally]:
    """Return the operations up to number `until`, added up; there are as many as paths were touched, or a few more."""
    return [
        Tally(path.decode(errors="surrogateescape"), layer, Kind(kind), bool(failed), bool(changed), *rest)
        for path, layer, kind, failed, changed, *rest in journal.query(
            f"SELECT path, layer, kind, error <> 0, {_CHANGED}, count(*), sum(size), min(number), max(number)"
            " FROM operation WHERE number <= ? GROUP BY 1, 2, 3, 4, 5",
            (until,),
        )
    ]


def change_numbers(journal: Journal, *, until: int) -> list[int]:
    """Return the numbers of those operations up to number `until` that had effects, in order."""
    return [number for (number,) in journal.query(f"{_WITH_EFFECTS} ORDER BY number", (until,))]


def density(journal: Journal, bins: int, *, until: int) -> list[tuple[int, int | None, int]]:
    """Return how many operations without effects each layer answered in each of `bins` equal spans of numbers.

    Each is (index of the span, layer, count); those of which there are none are left out.
    """
    # To ask of each operation whether it had effects takes twice as long as to count all and take these away.
    all_of = journal.query(f"{_IN_BINS} FROM operation WHERE number <= ? GROUP BY 1, 2", (bins, max(until, 1), until))
    changed = journal.query(
        f"{_IN_BINS} FROM ({_WITH_EFFECTS}) CROSS JOIN operation USING (number) GROUP BY 1, 2",
        (bins, max(until, 1), until),
    )
    rest = {(index, layer): count for index, layer, count in all_of}
    for index, layer, count in changed:
        rest[index, layer] -= count
    return [(index, layer, count) for (index, layer), count in rest.items() if count]


def span(journal: Journal, *, until: int) -> tuple[int, int]:
    """Return when the first operation began and when the latest did: nanoseconds since the epoch; 0 and 0 for none."""
    first = journal.query("SELECT start FROM operation WHERE number <= ? ORDER BY number LIMIT 1", (until,))
    latest = journal.query("SELECT max(start) FROM operation WHERE number <= ?", (until,))
    return (first[0][0], latest[0][0]) if first else (0, 0)


def plain_write(journal: Journal, *, until: int) -> int | None:
    """Return the median time of the writes that changed file data and copied nothing up, in nanoseconds.

    Of an even number it is the upper of the two in the middle; None if there was no such write.
    """
    of_these = (
        " FROM (SELECT operation AS number FROM effect WHERE operation <= ? GROUP BY operation"
        " HAVING sum(kind = 'copied up') = 0) CROSS JOIN operation USING (number) WHERE kind = 'write' AND error = 0"
    )
    count = journal.query(f"SELECT count(*){of_these}", (until,))[0][0]
    row = journal.query(f"SELECT duration{of_these} ORDER BY duration LIMIT 1 OFFSET ?", (until, count // 2))
    return int(row[0][0]) if row else None
