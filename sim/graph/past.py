"""What happened on a stack: its operations, those that changed something, and what they add up to.

Decided here: which questions views and histories ask of the past. `Past` answers from any operations, one by one;
`JournalPast` lets the journal's database answer, so that a million operations take a second and not ten. Both answer
the same; a test holds them against each other. A past belongs to one thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import islice
from pathlib import Path

from fusefs.errors import JournalError
from fusefs.journal import Journal
from fusefs.operation import EffectKind, Kind, Operation
from fusefs.tally import Tally, change_numbers, density, plain_write, span, tallies
from sim.graph.errors import SourceError

__all__ = ["JournalPast", "Past"]


class Past:
    """The past, from operations that are at hand.

    Parameters
    ----------
    operations
        Gives all of them anew each time it is called, in the order of their numbers, which count from 1.
    """

    def __init__(self, operations: Callable[[], Iterator[Operation]]) -> None:
        self._operations = operations

    def __call__(self) -> Iterator[Operation]:
        """Yield all operations."""
        yield from self._operations()

    def changes(self, effects: Collection[EffectKind] | None = None, *, path: str | None = None) -> Iterator[Operation]:
        """Yield the operations that had effects: of these kinds or on this path, if either is given."""
        for operation in self():
            if any(
                (effects is None and path is None)
                or (effects is not None and effect.kind in effects)
                or (path is not None and path in (effect.path, effect.target))
                for effect in operation.effects
            ):
                yield operation

    def change_numbers(self) -> list[int]:
        """Return the numbers of the operations that had effects, in order."""
        return [operation.number for operation in self() if operation.effects]

    def pick(self, numbers: Sequence[int]) -> list[Operation]:
        """Return the operations of these numbers, in order."""
        wanted = set(numbers)
        return [operation for operation in self() if operation.number in wanted]

    def first(self, count: int) -> list[Operation]:
        """Return the first operations that had effects."""
        return list(islice(self.changes(), count))

    def tallies(self) -> list[Tally]:
        """Return all operations added up, as `fusefs.tally.tallies` does."""
        sums: dict[tuple[object, ...], Tally] = {}
        for op in self():
            key = (op.path, op.layer, op.kind, bool(op.error), bool(op.effects))
            old = sums.get(key)
            count, size, first = (old.operations, old.size, old.first) if old is not None else (0, 0, op.number)
            sums[key] = Tally(
                op.path,
                op.layer,
                op.kind,
                bool(op.error),
                bool(op.effects),
                count + 1,
                size + op.size,
                first,
                op.number,
            )
        return list(sums.values())

    def density(self, bins: int) -> list[tuple[int, int | None, int]]:
        """Return how many operations without effects there were, as `fusefs.tally.density` does."""
        total = max((operation.number for operation in self()), default=0)
        found: dict[tuple[int, int | None], int] = {}
        for operation in self():
            if not operation.effects:
                key = ((operation.number - 1) * bins // total, operation.layer)
                found[key] = found.get(key, 0) + 1
        return [(index, layer, count) for (index, layer), count in found.items()]

    def span(self) -> tuple[int, int]:
        """Return when the first operation began, and when the latest did."""
        starts = [operation.start for operation in self()]
        return (starts[0], max(starts)) if starts else (0, 0)

    def plain_write(self) -> int | None:
        """Return the median time of a write that copied nothing up, as `fusefs.tally.plain_write` does."""
        times = sorted(
            operation.duration
            for operation in self.changes()
            if operation.kind is Kind.WRITE
            and not operation.error
            and not any(effect.kind is EffectKind.COPIED_UP for effect in operation.effects)
        )
        return times[len(times) // 2] if times else None


class JournalPast(Past):
    """The past that a journal holds, up to one operation.

    Parameters
    ----------
    path
        The journal's file.
    until
        Gives the number of the last operation that counts: it goes on where a journal is followed.
    """

    def __init__(self, path: Path, until: Callable[[], int]) -> None:
        self._path, self._until = path, until
        self._tallies: tuple[int, list[Tally]] = (-1, [])
        super().__init__(self._all)

    @contextlib.contextmanager
    def _journal(self) -> Iterator[Journal]:
        try:
            with Journal(self._path) as journal:
                yield journal
        except JournalError as error:
            raise SourceError(str(error)) from error

    def _all(self) -> Iterator[Operation]:
        with self._journal() as journal:
            yield from journal.operations(until=self._until())

    def changes(self, effects: Collection[EffectKind] | None = None, *, path: str | None = None) -> Iterator[Operation]:
        """Yield the operations that had effects: of these kinds or on this path, if either is given."""
        with self._journal() as journal:
            yield from journal.changes(until=self._until(), effects=effects, path=path)

    def change_numbers(self) -> list[int]:
        """Return the numbers of the operations that had effects, in order."""
        with self._journal() as journal:
            return change_numbers(journal, until=self._until())

    def pick(self, numbers: Sequence[int]) -> list[Operation]:
        """Return the operations of these numbers, in order."""
        with self._journal() as journal:
            return journal.pick(numbers)

    def tallies(self) -> list[Tally]:
        """Return all operations added up; the database is asked once for each moment."""
        until = self._until()
        if self._tallies[0] != until:
            with self._journal() as journal:
                self._tallies = (until, tallies(journal, until=until))
        return self._tallies[1]

    def density(self, bins: int) -> list[tuple[int, int | None, int]]:
        """Return how many operations without effects there were."""
        with self._journal() as journal:
            return density(journal, bins, until=self._until())

    def span(self) -> tuple[int, int]:
        """Return when the first operation began, and when the latest did."""
        with self._journal() as journal:
            return span(journal, until=self._until())

    def plain_write(self) -> int | None:
        """Return the median time of a write that copied nothing up."""
        with self._journal() as journal:
            return plain_write(journal, until=self._until())
