"""A result: what was measured, on which machine, and what is missing in it.

Decided here and only here: the form of a result file (JSON, one object, schema number in it) and of its CSV. A result
holds every sample, so that whoever reads it can draw other conclusions from it. All values are frozen; any thread.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

import msgspec

from sim.bench.errors import ResultError
from sim.bench.noise import Noise
from sim.bench.stats import Estimate, middle, paired_ratio

__all__ = ["SCHEMA", "Case", "Missing", "Result", "Series"]

SCHEMA = 1


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """What is measured, but for the driver: two drivers are compared on the same case.

    Attributes
    ----------
    workload
        Name of the workload, see `sim.bench.WORKLOADS`.
    size
        Bytes of a file, or of one transfer; 0 where it does not matter.
    entries
        Number of entries of a directory, files of a tree, or layers of an image; 0 where it does not matter.
    depth
        Read-only layers.
    sparse
        Whether the files are holes but for their beginnings and ends.
    filesystem
        What the layers lie on: a name of `sim.bench.FILESYSTEMS`; `here` is what the directory of the run lies on.
    durability
        `default`: as each driver does it when nothing is said; `on`: what was written is on the disk when the clock
        stops, for every driver, by fsync; `off`: no driver syncs anything.
    cache
        `warm`: the kernel has seen all of it through this driver; `cold`: its caches were dropped just before;
        `as it was`: they should have been dropped, and could not be.
    """

    workload: str
    size: int = 0
    entries: int = 0
    depth: int = 1
    sparse: bool = False
    filesystem: str = "here"
    durability: str = "default"
    cache: str = "warm"


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of one driver in one case.

    Attributes
    ----------
    case, driver
        What of what.
    seconds
        Time of one operation (for transfers: of the whole; for jobs: of the job), a sample each.
    rounds
        The round of each sample: samples of one round were taken within moments of each other.
    disturbed
        Positions of the samples during which other work was seen on the machine.
    operations
        How many operations each sample is the mean of.
    bytes
        Data moved by one operation; 0 where this means nothing.
    space
        Bytes of the disk that one operation took, in the middle; -1 where it was not looked at.
    """

    case: Case
    driver: str
    seconds: tuple[float, ...]
    rounds: tuple[int, ...]
    disturbed: tuple[int, ...] = ()
    operations: int = 1
    bytes: int = 0
    space: int = -1

    @property
    def time(self) -> Estimate:
        """The time in the middle, with its interval."""
        return middle(self.seconds)

    @property
    def by_round(self) -> dict[int, float]:
        """The samples by round."""
        return dict(zip(self.rounds, self.seconds, strict=True))


@dataclass(frozen=True, slots=True)
class Missing:
    """What was asked for and is not in the result.

    Attributes
    ----------
    what
        A driver, a filesystem, a workload, or one driver in one case.
    why
        The reason, and the mend where there is one.
    """

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Result:
    """One run.

    Attributes
    ----------
    title
        What was asked for.
    machine
        Where and with what it was measured, in words by name.
    drivers
        The drivers by name, each with what it is and how it was mounted.
    filesystems
        The filesystems by name, each with type, mount options and the like.
    series
        What was measured.
    missing
        What was not.
    noise
        How quiet the machine was.
    rounds
        Rounds that were finished.
    seconds
        How long the run took.
    finished
        Whether it came to its end; else it was interrupted.
    command
        What makes it again.
    schema
        Number of the form of the file.
    """

    title: str
    machine: Mapping[str, str]
    drivers: Mapping[str, str]
    filesystems: Mapping[str, str]
    series: tuple[Series, ...]
    missing: tuple[Missing, ...]
    noise: Noise
    rounds: int
    seconds: float
    finished: bool = True
    command: str = ""
    schema: int = field(default=SCHEMA)

    def of(self, workload: str) -> Iterator[Series]:
        """Yield the series of one workload."""
        return (one for one in self.series if one.case.workload == workload)

    def cases(self) -> list[Case]:
        """Return the cases, sorted."""
        return sorted({one.case for one in self.series})

    def find(self, case: Case, driver: str) -> Series | None:
        """Return the series of a driver in a case; None if it is missing."""
        return next((one for one in self.series if one.driver == driver and one.case == case), None)

    def ratio(self, case: Case, driver: str, reference: str) -> Estimate | None:
        """Return how many times as long a driver takes as another in a case; None where one of them is missing."""
        ours, theirs = self.find(case, driver), self.find(case, reference)
        return paired_ratio(ours.by_round, theirs.by_round) if ours and theirs else None

    # On disk

    def save(self, path: Path) -> None:
        """Write the file, aside and then into place."""
        text = msgspec.json.format(msgspec.json.encode(self), indent=1)
        aside = path.with_name(f".{path.name}.new")
        try:
            aside.write_bytes(_short_lines(text) + b"\n")
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)

    @staticmethod
    def load(path: Path) -> Result:
        """Read a file.

        Raises
        ------
        ResultError
            It cannot be read, or is no result.
        """
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Result)
        except OSError as error:
            raise ResultError(f"{path}: {error.strerror}") from None
        except msgspec.MsgspecError as error:
            raise ResultError(f"{path}: this is no result of `layerlab bench`: {error}") from None
        if found.schema != SCHEMA:
            raise ResultError(f"{path}: made by another version (schema {found.schema}, not {SCHEMA}); measure again")
        return found

    def to_csv(self) -> str:
        """Return every sample as a line of CSV."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        names = [one.name for one in fields(Case)]
        writer.writerow([*names, "driver", "round", "seconds", "disturbed", "operations", "bytes", "space"])
        for series in self.series:
            values = [getattr(series.case, name) for name in names]
            for index, (number, seconds) in enumerate(zip(series.rounds, series.seconds, strict=True)):
                disturbed = int(index in series.disturbed)
                rest = (series.operations, series.bytes, series.space)
                writer.writerow([*values, series.driver, number, f"{seconds:.9g}", disturbed, *rest])
        return out.getvalue()


def _short_lines(text: bytes) -> bytes:
    """Put lists of numbers on one line each: the file is meant to be kept in a repository."""
    lines: list[bytes] = []
    waiting: list[bytes] | None = None
    for line in text.split(b"\n"):
        word = line.strip()
        if waiting is None:
            if word.endswith(b"["):
                waiting = [line]
            else:
                lines.append(line)
        elif word.rstrip(b",").replace(b".", b"").replace(b"e-", b"").isdigit():
            waiting.append(word)
        else:
            closes = word.startswith(b"]")
            lines += [waiting[0] + b" ".join(waiting[1:]) + word] if closes else [*waiting, line]
            waiting = None
            if word.endswith(b"["):
                waiting = [lines.pop()]
    return b"\n".join(lines)
