"""What a recorded trace of operations would cost on another machine, and with other ways of copying on write.

Decided here and only here: what each way copies, and when. Four are compared on the same trace:

    file       the first change of a file copies all of it (overlayfs, and we)
    metacopy   the same, but a change of metadata alone copies none; the data follows at the first write
    reflink    the copy shares its data with the original; a write copies the filesystem's blocks that it covers in part
    block      there is no copy of a file: the first write to each chunk of the device copies that chunk, and so does
               the first change of metadata (devicemapper's thin snapshots, 64 KiB chunks)

Time is what is fixed for each object that is copied, what each byte takes to be copied, and what an operation and each
byte written take anyway. Functions and frozen values only; any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from fusefs.operation import Effect, EffectKind, Kind, Operation
from sim.bench.errors import ResultError
from sim.bench.model import fits
from sim.bench.result import Result
from sim.bench.stats import median
from sim.bench.tables import Table, seconds_text, size_text

__all__ = ["WAYS", "Check", "Cost", "MachineParameters", "check", "parameters", "predict", "predictions"]

#: The ways, in the order of reports.
WAYS = ("file", "metacopy", "reflink", "block")

_METADATA = frozenset({Kind.CHMOD, Kind.CHOWN, Kind.UTIMENS, Kind.SETXATTR, Kind.REMOVEXATTR, Kind.RENAME, Kind.LINK})


@dataclass(frozen=True, slots=True)
class MachineParameters:
    """What a machine is, for a prediction.

    Attributes
    ----------
    name
        What it is called.
    fixed
        Seconds of copying up an object, without its data.
    bandwidth
        Bytes a second at which data is copied up.
    operation
        Seconds of an operation that copies nothing.
    write
        Bytes a second at which a program writes data.
    block
        Bytes of a filesystem block, which reflink copies.
    chunk
        Bytes of a chunk, which block-level copy-on-write copies.
    """

    name: str
    fixed: float
    bandwidth: float
    operation: float = 10e-6
    write: float = 1e9
    block: int = 4096
    chunk: int = 65536


@dataclass(frozen=True, slots=True)
class Cost:
    """What a trace costs in one way.

    Attributes
    ----------
    way
        One of `WAYS`.
    seconds
        All of it.
    copying
        The share of it that copying on write takes, in seconds.
    longest
        The longest single operation, seconds, and its path.
    copied
        Bytes copied.
    written
        Bytes that programs wrote.
    objects
        Files (or chunks, for `block`) that were copied.
    """

    way: str
    seconds: float
    copying: float
    longest: tuple[float, str]
    copied: int
    written: int
    objects: int

    @property
    def amplification(self) -> float:
        """Bytes that reach the disk for each byte that a program wrote; infinite if none was written."""
        return (self.copied + self.written) / self.written if self.written else float("inf")


@dataclass(slots=True)
class _File:
    """What is known of a file of a read-only layer while a trace is followed."""

    size: int
    pending: bool = False
    seen: set[int] = field(default_factory=set)


class _Way:
    """One way, following a trace: `step` returns seconds, bytes and objects that an operation copies."""

    def __init__(self, name: str, machine: MachineParameters) -> None:
        self.name = name
        self.machine = machine
        self.files: dict[str, _File] = {}

    def step(self, operation: Operation) -> tuple[float, int, int]:
        """Follow an operation."""
        copied = [effect for effect in operation.effects if effect.kind is EffectKind.COPIED_UP]
        for effect in copied:
            known = self.files.get(effect.path)
            if known is None or effect.size > known.size:
                self.files[effect.path] = _File(effect.size, pending=True)
        cost = _STEPS[self.name](self, operation, copied)
        for effect in operation.effects:
            if effect.kind is EffectKind.RENAMED and effect.path in self.files:
                self.files[effect.target] = self.files.pop(effect.path)
            elif effect.kind is EffectKind.REMOVED:
                self.files.pop(effect.path, None)
        return cost

    def file_level(self, operation: Operation, copied: Sequence[Effect]) -> tuple[float, int, int]:
        """Copy whole files at their first change."""
        size = sum(effect.size for effect in copied)
        return len(copied) * self.machine.fixed + size / self.machine.bandwidth, size, len(copied)

    def metacopy(self, operation: Operation, copied: Sequence[Effect]) -> tuple[float, int, int]:
        """Copy data when it is first written."""
        seconds, size = len(copied) * self.machine.fixed, 0
        if operation.kind not in _METADATA:
            paths = {effect.path for effect in copied}
            if operation.kind in _CHANGES_DATA:  # also of a file that was copied up without its data before
                paths.add(operation.path)
            for path in paths:
                file = self.files.get(path)
                if file is not None and file.pending:
                    file.pending = False
                    size += file.size
        return seconds + size / self.machine.bandwidth, size, len(copied)

    def reflink(self, operation: Operation, copied: Sequence[Effect]) -> tuple[float, int, int]:
        """Share the data; copy the filesystem's blocks that are written in part."""
        blocks = self._touched(operation, self.machine.block)
        size = blocks * self.machine.block
        return len(copied) * self.machine.fixed + size / self.machine.bandwidth, size, len(copied)

    def block_level(self, operation: Operation, copied: Sequence[Effect]) -> tuple[float, int, int]:
        """Copy the chunks of the device that are written for the first time."""
        # Each object that is changed has its inode in some chunk.
        chunks = self._touched(operation, self.machine.chunk) + len(copied)
        size = chunks * self.machine.chunk
        return size / self.machine.bandwidth, size, chunks

    def _touched(self, operation: Operation, size: int) -> int:
        """Return how many blocks of old data a write covers in part, for the first time."""
        file = self.files.get(operation.path)
        if file is None or operation.kind is not Kind.WRITE or not operation.size:
            return 0
        first, last = operation.offset // size, (operation.offset + operation.size - 1) // size
        count = 0
        for number in range(first, last + 1):
            if number in file.seen:
                continue
            file.seen.add(number)
            whole = operation.offset <= number * size and (number + 1) * size <= operation.offset + operation.size
            count += not whole and number * size < file.size
        return count


_CHANGES_DATA = frozenset({Kind.WRITE, Kind.TRUNCATE, Kind.FALLOCATE, Kind.COPY_FILE_RANGE})


_STEPS: dict[str, Callable[[_Way, Operation, Sequence[Effect]], tuple[float, int, int]]] = {
    "file": _Way.file_level,
    "metacopy": _Way.metacopy,
    "reflink": _Way.reflink,
    "block": _Way.block_level,
}


def predict(operations: Iterable[Operation], machine: MachineParameters, ways: Sequence[str] = WAYS) -> list[Cost]:
    """Predict what a trace costs on a machine, in each way.

    Parameters
    ----------
    operations
        The trace, as a journal has it.
    machine
        Where.
    ways
        Some of `WAYS`.

    Examples
    --------
    >>> first = Operation(Kind.OPEN, "/db", effects=(Effect(EffectKind.COPIED_UP, "/db", 1, 1_000_000),))
    >>> write = Operation(Kind.WRITE, "/db", size=100, offset=5000)
    >>> machine = MachineParameters("x", fixed=1e-3, bandwidth=1e9, operation=0, write=1e12)
    >>> [(cost.way, cost.copied, round(cost.copying, 6)) for cost in predict([first, write], machine)]
    [('file', 1000000, 0.002), ('metacopy', 1000000, 0.002), ('reflink', 4096, 0.001004), ('block', 131072, 0.000131)]
    """
    followed = [(_Way(name, machine), _Sum()) for name in ways]
    written = 0
    for operation in operations:
        if operation.error:
            continue
        moved = operation.size if operation.kind is Kind.WRITE else 0
        written += moved
        anyway = machine.operation + moved / machine.write
        for way, total in followed:
            seconds, size, objects = way.step(operation)
            total.add(anyway, seconds, size, objects, operation.path)
    return [
        Cost(way.name, total.anyway + total.copying, total.copying, total.longest, total.copied, written, total.objects)
        for way, total in followed
    ]


@dataclass(slots=True)
class _Sum:
    anyway: float = 0.0
    copying: float = 0.0
    copied: int = 0
    objects: int = 0
    longest: tuple[float, str] = (0.0, "")

    def add(self, anyway: float, seconds: float, size: int, objects: int, path: str) -> None:
        """Add an operation."""
        self.anyway += anyway
        self.copying += seconds
        self.copied += size
        self.objects += objects
        self.longest = max(self.longest, (anyway + seconds, path))


def predictions(costs: Sequence[Cost]) -> Table:
    """Return costs as rows of text."""
    rows = []
    for cost in costs:
        more = "no data was written" if cost.amplification == float("inf") else f"{cost.amplification:,.1f} \u00d7"
        rows.append(
            (
                cost.way,
                seconds_text(cost.seconds),
                seconds_text(cost.copying),
                f"{seconds_text(cost.longest[0])} ({cost.longest[1]})",
                f"{cost.objects:,}",
                size_text(cost.copied),
                more,
            )
        )
    head = ("way", "all of it", "copying", "longest operation", "copies", "copied", "amplification")
    return Table("What the trace costs", head, tuple(rows))


@dataclass(frozen=True, slots=True)
class Check:
    """The prediction for the operations of a trace that copied data, against what the journal says that they took.

    Attributes
    ----------
    count
        How many they are.
    measured, predicted
        Seconds, all together.
    error
        The relative error in the middle, of one operation.
    """

    count: int
    measured: float
    predicted: float
    error: float


def check(operations: Iterable[Operation], machine: MachineParameters) -> Check | None:
    """Compare the way `file` with a trace that was recorded in it; None if nothing was copied in the trace."""
    measured, predicted, errors = 0.0, 0.0, []
    for operation in operations:
        copied = [effect for effect in operation.effects if effect.kind is EffectKind.COPIED_UP]
        if operation.error or not operation.copied or not operation.duration:
            continue
        seconds = len(copied) * machine.fixed + operation.copied / machine.bandwidth
        measured += operation.duration / 1e9
        predicted += seconds
        errors.append(abs(seconds - operation.duration / 1e9) / (operation.duration / 1e9))
    return Check(len(errors), measured, predicted, median(errors)) if errors else None


def parameters(result: Result, driver: str, filesystem: str = "", *, name: str = "") -> MachineParameters:
    """Return the parameters of the machine that a result was made on.

    Parameters
    ----------
    result
        With `append` at three sizes at least.
    driver
        Whose.
    filesystem
        On which filesystem; the first that there is by default.
    name
        What to call it.

    Raises
    ------
    ResultError
        The result has not what is needed.
    """
    found = [one for one in fits(result) if one.driver == driver and filesystem in ("", one.case.filesystem)]
    found = [one for one in found if not one.case.sparse]
    if not found:
        there = ", ".join(sorted({f"{one.driver} on {one.case.filesystem}" for one in fits(result)})) or "none"
        raise ResultError(f"first writes of {driver} at three sizes are not in this result; there are: {there}")
    first = found[0]
    made = MachineParameters(name or result.machine.get("processor", "this machine"), first.fixed, first.bandwidth)
    stats = [
        one.time.value for one in result.of("open-read-close") if one.driver == driver and one.case.cache == "warm"
    ]
    writes = [one.bytes / one.time.value for one in result.of("write") if one.driver == driver and one.bytes]
    return replace(
        made, operation=median(stats) if stats else made.operation, write=median(writes) if writes else made.write
    )
