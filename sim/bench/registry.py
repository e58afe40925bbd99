"""The registry of workloads.

Decided here and only here: what a workload is. It is a plain function that does the same fixed work each time it is
called; beside it stand the question that it answers and the functions that make what it works on. The command, pytest
and the notebook run the same ones.

A workload is called with a `Session` and a `Spot`, in this order:

    fill(layers, spot)       once a run, before anything is mounted: make files in the read-only layers
    prepare(session, spot)   before each sample: make what the work needs
    prime(session, spot)     before each warm sample: have the kernel see what the work will use
    run(session, spot)       the work, which alone is timed
    check(session, spot)     after each sample: raise if the work was not done
    undo(session, spot)      after each sample: take away what would be in the way of the next one

Functions only; one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sim.bench.result import Case
from sim.bench.session import Session

__all__ = ["WORKLOADS", "Fill", "Run", "Spot", "Step", "Workload", "nothing", "workload"]


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one case is worked on.

    Attributes
    ----------
    case
        What is measured.
    place
        A directory of the merged tree that belongs to the case; absolute.
    count
        Operations of one sample.
    scratch
        A directory outside of the merged tree for what a job writes or reads there.
    """

    case: Case
    place: str
    count: int
    scratch: Path

    @property
    def sync(self) -> bool:
        """Whether what was written has to be on the disk when the work ends."""
        return self.case.durability == "on"

    def file(self, number: int) -> str:
        """Return the path of a file of the case."""
        return f"{self.place}/f{number:06d}"

    def files(self) -> list[str]:
        """Return the paths of the files that one sample works on."""
        return [self.file(number) for number in range(self.count)]


Step = Callable[[Session, Spot], None]

#: Makes files in the read-only layers, the topmost first.
Fill = Callable[[Sequence[Path], Spot], None]

#: The work. It may return the seconds that it took by its own clock, where a program that it starts knows better.
Run = Callable[[Session, Spot], float | None]


def nothing(_: Session, __: Spot) -> None:
    """Do nothing."""


def _no_fill(_: Sequence[Path], __: Spot) -> None:
    """Make nothing."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One workload.

    Attributes
    ----------
    name
        What reports and pytest's groups call it.
    group
        What it belongs to: `copy-up`, `metadata`, `data`, `jobs`, `runtime`.
    question
        What it answers, in a line.
    run, fill, prepare, prime, check, undo
        See the head of the module.
    count
        How many operations one sample is, by case.
    moved
        Bytes of data that one operation moves, by case; 0 where this means nothing.
    needs_path
        Whether other programs work on the tree, so that it has to be mounted.
    lacks
        Why it cannot be run on this machine; "" if it can.
    first_write
        Whether it is the first change of files of read-only layers: then the space that one takes is looked at.
    """

    name: str
    group: str
    question: str
    run: Run = nothing
    fill: Fill = _no_fill
    prepare: Step = nothing
    prime: Step = nothing
    check: Step = nothing
    undo: Step = nothing
    count: Callable[[Case], int] = lambda case: 1
    moved: Callable[[Case], int] = lambda case: 0
    needs_path: bool = False
    lacks: Callable[[], str] = lambda: ""
    first_write: bool = False


#: By name, in the order of reports. Filled by importing `sim.bench.workloads`.
WORKLOADS: dict[str, Workload] = {}


def workload(template: Workload) -> Callable[[Run], Run]:
    """Enter a function into the registry.

    Parameters
    ----------
    template
        All about it but the function itself, which is put in the place of `run`.
    """

    def enter(run: Run) -> Run:
        if template.name in WORKLOADS:
            raise ValueError(f"there are two workloads {template.name!r}")
        WORKLOADS[template.name] = replace(template, run=run)
        return run

    return enter
