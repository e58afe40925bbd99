"""What a run is done on: filesystems, and read-only layers with the files of each case in them.

Decided here and only here: which cases share a stack, how much room they take, and which are left out where there is
not enough. One thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sim.bench import caches, places
from sim.bench.errors import BenchError, Unavailable, reason
from sim.bench.places import Filesystem
from sim.bench.plans import Plan
from sim.bench.registry import Spot
from sim.bench.result import Case
from sim.bench.tables import case_text

__all__ = ["Arena", "Arenas"]

_MIB = 1 << 20

#: Bytes that are left to others.
_SPARE = 64 * _MIB

#: About how many bytes a file of a job's tree takes, with all that the job makes of it.
_TREE_FILE = 30_000

#: About how many bytes a Debian root filesystem takes.
_DEBIAN = 800 * _MIB


@dataclass(frozen=True, slots=True)
class Arena:
    """One arrangement: what is mounted together.

    Attributes
    ----------
    filesystem
        On which.
    depth, durability
        As in `Case`.
    layers
        The read-only layers, the topmost first.
    spots
        The cases.
    """

    filesystem: Filesystem
    depth: int
    durability: str
    layers: tuple[Path, ...]
    spots: tuple[Spot, ...]

    @property
    def words(self) -> str:
        """What it is called."""
        layers = f"{self.depth} layer{'s' if self.depth > 1 else ''}"
        return f"{layers} on {self.filesystem.name}, durability {self.durability}"


class Arenas:
    """Makes the arrangements of a plan.

    Parameters
    ----------
    plan
        The cases.
    drivers
        How many drivers there are: each needs room of its own.
    home
        The run's directory.
    missing
        Takes what is left out, and why.
    """

    def __init__(self, plan: Plan, drivers: int, home: Path, missing: dict[str, str]) -> None:
        self.filesystems: dict[str, str] = {}
        self._plan = plan
        self._drivers = drivers
        self._home = home
        self._missing = missing
        self._count = 0

    def make(self, stack: contextlib.ExitStack) -> Iterator[Arena]:
        """Make filesystems and layers; `stack` takes what undoes it."""
        for name in dict.fromkeys(case.filesystem for case in self._plan.cases):
            cases = self._that_fit([case for case in self._plan.cases if case.filesystem == name])
            if not cases:
                continue
            try:
                made = stack.enter_context(places.filesystem(name, self._home, self._space(cases)))
            except Unavailable as error:
                self._missing[name] = str(error).removeprefix(f"{name}: ")
                continue
            self.filesystems[name] = made.words
            for depth, durability in dict.fromkeys((case.depth, case.durability) for case in cases):
                mine = [case for case in cases if (case.depth, case.durability) == (depth, durability)]
                arena = self._arena(made, depth, durability, mine)
                if arena.spots:
                    yield arena

    def space(self, case: Case) -> int:
        """Return about how many bytes the files of a case take, once in a read-only layer."""
        work = self._plan.workload(case)
        if work.first_write:
            return work.count(case) * case.size
        if work.group in ("jobs", "runtime"):
            return case.entries * _TREE_FILE + (_DEBIAN if work.name == "package-install" else 0)
        return case.size * max(case.entries, 1)

    def _space(self, cases: Sequence[Case]) -> int:
        """Return about how many bytes a run of these cases needs at once: what is large is removed after its sample."""
        sizes = [self.space(case) for case in cases]
        small = sum(min(size, 8 * _MIB) for size in sizes)
        return sum(sizes) + (small + max(sizes, default=0)) * self._drivers + 32 * _MIB

    def _that_fit(self, cases: list[Case]) -> list[Case]:
        """Leave out what cannot be run here, or has no room; the largest first."""
        found = []
        for case in cases:
            lacking = self._plan.workload(case).lacks()
            if lacking:
                self._missing[case.workload] = lacking
            else:
                found.append(case)
        there = places.room(self._home) - _SPARE
        found.sort(key=self.space)
        while found and self._space(found) > there:
            large = found.pop()
            need = self._space([*found, large]) // _MIB
            self._missing[case_text(large)] = f"{self._home.parent} has no room for it ({need} MiB); use --place DIR"
        return [case for case in cases if case in found]

    def _arena(self, made: Filesystem, depth: int, durability: str, cases: Sequence[Case]) -> Arena:
        where = made.root / f"layers-{depth}-{durability}"
        layers = tuple(where / f"l{number}" for number in range(depth, 0, -1))
        where.mkdir()
        if made.no_cow:  # what is made in it from now on takes it over
            places.refuse_clones(where)
        for layer in layers:
            layer.mkdir()
        spots = []
        for case in cases:
            work = self._plan.workload(case)
            scratch = self._home / "scratch" / made.name / str(self._count)
            scratch.mkdir(parents=True)
            spot = Spot(case, f"/{work.name}-{self._count}", work.count(case), scratch)
            self._count += 1
            try:
                work.fill(layers, spot)
            except (OSError, BenchError) as error:
                self._missing[case_text(case)] = f"its files cannot be made: {reason(error)}"
            else:
                spots.append(spot)
        with contextlib.suppress(OSError):
            caches.settle(made.root)
        return Arena(made, depth, durability, layers, tuple(spots))
