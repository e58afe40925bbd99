"""What is measured when nothing more is said: a plan for each group of workloads.

Decided here and only here: the sizes, depths, numbers of entries and filesystems of each plan, at three lengths: quick
(does the harness work? for continuous integration), usual, and full (the whole range). Frozen values; any thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from sim.bench.errors import Unavailable
from sim.bench.registry import Workload
from sim.bench.result import Case
from sim.bench.workloads import WORKLOADS
from sim.bench.workloads.copy_up import FIRST_WRITES
from sim.bench.workloads.metadata import SMALL_FILE

__all__ = ["Length", "Plan", "copy_up", "data", "jobs", "metadata", "recording", "runtime"]


class Length(StrEnum):
    """How much is measured."""

    QUICK = "quick"  #: a few small cases
    USUAL = "usual"  #: minutes
    FULL = "full"  #: the whole range: an hour, and gigabytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure, and how often.

    Attributes
    ----------
    title
        What reports call it.
    cases
        The cases.
    rounds
        How often each is measured with each driver, at most.
    seconds
        No round is begun that would end later; 0 for no limit. One is always done.
    warm_up
        Whether a round that does not count comes first.
    patience
        Seconds that one sample may take before its driver is taken for dead.
    seed
        Of the random order.
    """

    title: str
    cases: tuple[Case, ...]
    rounds: int = 7
    seconds: float = 0
    warm_up: bool = True
    patience: float = 120.0
    seed: int = 20

    def workload(self, case: Case) -> Workload:
        """Return the workload of a case."""
        return WORKLOADS[case.workload]

    def only(self, names: Iterable[str]) -> Plan:
        """Return the plan with these workloads only.

        Raises
        ------
        Unavailable
            The plan has none of a name.
        """
        wanted = list(names)
        there = list(dict.fromkeys(case.workload for case in self.cases))
        for name in wanted:
            if name not in there:
                raise Unavailable(f"{name}: there is no such workload here; there are {', '.join(there)}")
        return replace(self, cases=tuple(case for case in self.cases if case.workload in wanted)) if wanted else self


KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

#: File sizes: quick, usual, full.
SIZES = {
    Length.QUICK: (1, 64 * KIB),
    Length.USUAL: (4 * KIB, 64 * KIB, 1 * MIB, 16 * MIB, 64 * MIB),
    Length.FULL: (1, 4 * KIB, 16 * KIB, 64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB, 256 * MIB, GIB),
}
DEPTHS = {Length.QUICK: (2,), Length.USUAL: (1, 8, 32, 127), Length.FULL: (1, 2, 4, 8, 16, 32, 64, 127)}
ENTRIES = {Length.QUICK: (20,), Length.USUAL: (500,), Length.FULL: (10, 100, 1000, 10_000, 100_000)}


def copy_up(
    length: Length = Length.USUAL,
    *,
    filesystems: Sequence[str] = (),
    sizes: Sequence[int] = (),
    depths: Sequence[int] = (),
    durabilities: Sequence[str] = (),
    rounds: int = 0,
    seconds: float = 0,
) -> Plan:
    """Plan the first writes: every way to change a file, by size, depth, sparseness, filesystem and durability.

    Parameters
    ----------
    length
        How much.
    filesystems, sizes, depths, durabilities
        Instead of those of the length.
    rounds, seconds
        As in `Plan`.
    """
    bytes_ = list(sizes or SIZES[length])
    where = list(filesystems or (("here",) if length is Length.QUICK else ("ext4", "xfs-reflink", "btrfs-reflink")))
    how = list(durabilities or ("default",))
    cases = [
        Case("append", size, filesystem=filesystem, durability=durability)
        for filesystem in where
        for durability in how
        for size in bytes_
    ]
    first = where[0]
    middle_size = bytes_[len(bytes_) // 2]
    # The other ways on the first filesystem only, at a small and a middling size; one of these shows what is copied.
    for way in FIRST_WRITES[1:]:
        cases += [Case(way, size, filesystem=first, durability=how[0]) for size in sorted({bytes_[0], middle_size})]
    if length is Length.FULL:
        cases += [Case(way, 16 * MIB, filesystem=name) for name in where[1:] for way in FIRST_WRITES[1:]]
    cases += [Case("append", size, sparse=True, filesystem=first) for size in sorted({middle_size, bytes_[-1]})]
    for depth in depths or [one for one in DEPTHS[length] if one > 1]:
        cases.append(Case("append", 4 * KIB, depth=depth, filesystem=first, durability=how[0]))
    if not durabilities and length is not Length.QUICK:
        # By default some drivers sync what they copy up, and some do not: these are the same for all.
        for state in ("on", "off"):
            chosen = sorted({4 * KIB, MIB, bytes_[-1]})
            cases += [Case("append", size, filesystem=first, durability=state) for size in chosen]
    return _plan("First writes to files of read-only layers", cases, length, rounds, seconds)


def metadata(
    length: Length = Length.USUAL,
    *,
    filesystems: Sequence[str] = (),
    depths: Sequence[int] = (),
    entries: Sequence[int] = (),
    rounds: int = 0,
    seconds: float = 0,
) -> Plan:
    """Plan names and status: cold and warm, by number of entries and by depth. For the parameters see `copy_up`."""
    where = (list(filesystems) or ["here"])[0]
    many = list(entries or ENTRIES[length])
    deep = list(depths or ((1, 127) if length is Length.USUAL else DEPTHS[length]))
    cases = []
    for count in many:
        for name in ("stat", "open-read-close", "readdir", "readdir-stat"):
            size = SMALL_FILE if name == "open-read-close" else 0
            for cache in ("warm", "cold"):
                cases.append(
                    Case(name, size, min(count, 10_000 if size else count), deep[0], filesystem=where, cache=cache)
                )
        for name in ("create", "mkdir", "unlink", "unlink-new", "rename-new"):
            cases.append(Case(name, 0, min(count, 10_000), deep[0], filesystem=where))
    for depth in deep[1:]:
        for name in ("stat", "readdir-stat"):
            cases.append(Case(name, 0, many[len(many) // 2], depth, filesystem=where, cache="cold"))
        cases.append(Case("create", 0, min(many[0], 100), depth, filesystem=where))
    return _plan("Names and status", cases, length, rounds, seconds)


def data(
    length: Length = Length.USUAL, *, filesystems: Sequence[str] = (), rounds: int = 0, seconds: float = 0
) -> Plan:
    """Plan file data: sequential and random, 4 KiB to 1 MiB, read, written and mapped; and fio's own."""
    where = (list(filesystems) or ["here"])[0]
    whole = 256 * KIB if length is Length.QUICK else 16 * MIB if length is Length.USUAL else 256 * MIB
    pieces: tuple[int, ...] = (4 * KIB,) if length is Length.QUICK else (4 * KIB, MIB)
    if length is Length.FULL:
        pieces = (4 * KIB, 64 * KIB, MIB)
    cases = []
    for name, work in WORKLOADS.items():
        if work.group != "data":
            continue
        if name == "exec":
            cases.append(Case(name, filesystem=where))
        elif "mmap" in name:
            cases.append(Case(name, 4 * KIB, whole // (4 * KIB), filesystem=where))
        else:
            # fio's own start takes longer than its work: large pieces in order, small ones in none.
            chosen = pieces[:1] if "random" in name else pieces[-1:] if "fio" in name else pieces
            cases += [Case(name, piece, whole // piece, filesystem=where) for piece in chosen]
    return _plan("File data", cases, length, rounds, seconds)


def jobs(
    length: Length = Length.USUAL, *, filesystems: Sequence[str] = (), rounds: int = 0, seconds: float = 0
) -> Plan:
    """Plan whole jobs on a stack of three layers."""
    where = (list(filesystems) or ["here"])[0]
    files = {Length.QUICK: 40, Length.USUAL: 1000, Length.FULL: 10_000}[length]
    few = {
        "compileall": min(files, 80),
        "c-build": 2 if length is Length.QUICK else 8,
        "package-install": min(files, 300),
    }
    names = [name for name, work in WORKLOADS.items() if work.group == "jobs"]
    if length is Length.QUICK:
        names.remove("package-install")  # its root filesystem alone takes longer than all else that is quick
    cases = [Case(name, 0, few.get(name, files), 3, filesystem=where) for name in names]
    plan = _plan("Whole jobs", cases, length, rounds, seconds)
    return plan if rounds or length is Length.QUICK else replace(plan, rounds=5)


def recording(
    length: Length = Length.USUAL, *, filesystems: Sequence[str] = (), rounds: int = 0, seconds: float = 0
) -> Plan:
    """Plan what recording costs: a few whole jobs, and small operations, where it would show most."""
    where = (list(filesystems) or ["here"])[0]
    chosen = [case for case in jobs(length, filesystems=filesystems).cases if case.workload in _RECORDED]
    count = 20 if length is Length.QUICK else 1000
    chosen += [Case(name, 0, count, filesystem=where, cache="cold") for name in ("stat", "readdir-stat")]
    chosen += [Case("create", 0, count, filesystem=where), Case("open-read-close", SMALL_FILE, count, filesystem=where)]
    chosen.append(Case("write", 4 * KIB, 64 if length is Length.QUICK else 4096, filesystem=where))
    return _plan("What recording costs", chosen, length, rounds, seconds)


_RECORDED = ("find", "tar-create", "tar-extract", "git-status", "compileall", "c-build")


def runtime(length: Length = Length.USUAL, *, rounds: int = 0, seconds: float = 0) -> Plan:
    """Plan containers: start, exec and build."""
    names = [name for name, work in WORKLOADS.items() if work.group == "runtime"]
    return _plan("Containers", [Case(name) for name in names], length, rounds, seconds)


def _plan(title: str, cases: Sequence[Case], length: Length, rounds: int, seconds: float) -> Plan:
    quick = length is Length.QUICK
    return Plan(
        title,
        tuple(dict.fromkeys(cases)),
        rounds=rounds or (2 if quick else 7 if length is Length.USUAL else 9),
        seconds=seconds,
        warm_up=not quick,
    )
