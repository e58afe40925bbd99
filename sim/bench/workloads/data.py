"""Workloads: file data, in pieces of one size.

Decided here and only here: which transfers are measured. A case has `entries` pieces of `size` bytes; a sample moves
them all. The loop is in Python, which adds some tenths of a microsecond to each piece; `fio.py` has the same without.
Functions only; one thread.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from sim.bench.registry import Run, Spot, Step, Workload, nothing, workload
from sim.bench.result import Case
from sim.bench.session import Session
from sim.bench.trees import data_file

__all__ = ["DATA", "fill_directory", "length", "make_new"]

#: The file in the RW layer that is written and read.
DATA = "data"


def length(case: Case) -> int:
    """Return the bytes of the file."""
    return case.size * max(case.entries, 1)


def _fill(layers: Sequence[Path], spot: Spot) -> None:
    for layer in layers:
        (layer / spot.place.lstrip("/")).mkdir(parents=True, exist_ok=True)
    data_file(layers[-1] / spot.file(0).lstrip("/"), length(spot.case))


def fill_directory(layers: Sequence[Path], spot: Spot) -> None:
    """Make the directory of the case in every layer, with nothing in it."""
    for layer in layers:
        (layer / spot.place.lstrip("/")).mkdir(parents=True, exist_ok=True)


def make_new(session: Session, spot: Spot) -> None:
    """Make the file in the RW layer, of the full length."""
    files = session.files
    handle = files.open(f"{spot.place}/{DATA}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    piece = random.Random(1).randbytes(1 << 20)
    for offset in range(0, length(spot.case), len(piece)):
        files.write(handle, piece[: min(len(piece), length(spot.case) - offset)], offset)
    files.close(handle)


def _make_empty(session: Session, spot: Spot) -> None:
    session.files.close(session.files.open(f"{spot.place}/{DATA}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC))


def _work(name: str, question: str, *, new: bool, prepare: Step = nothing, prime: Step = nothing) -> Workload:
    return Workload(
        name,
        "data",
        question,
        fill=fill_directory if new else _fill,
        prepare=prepare,
        prime=prime,
        moved=length,
    )


def _pieces(case: Case, *, shuffled: bool) -> Iterator[int]:
    """Yield the offsets of all pieces, in an order that is the same each time."""
    offsets = list(range(0, length(case), case.size))
    if shuffled:
        random.Random(case.entries).shuffle(offsets)
    return iter(offsets)


def _read(session: Session, spot: Spot, path: str, *, shuffled: bool) -> None:
    files, size = session.files, spot.case.size
    handle = files.open(path, os.O_RDONLY)
    for offset in _pieces(spot.case, shuffled=shuffled):
        files.read(handle, size, offset)
    files.close(handle)


def _write(session: Session, spot: Spot, *, shuffled: bool) -> None:
    files, piece = session.files, b"\x5a" * spot.case.size
    handle = files.open(f"{spot.place}/{DATA}", os.O_WRONLY)
    for offset in _pieces(spot.case, shuffled=shuffled):
        files.write(handle, piece, offset)
    if spot.sync:
        files.sync(handle)
    files.close(handle)


def _read_lower(session: Session, spot: Spot) -> None:
    _read(session, spot, spot.file(0), shuffled=False)


def _read_new(session: Session, spot: Spot) -> None:
    _read(session, spot, f"{spot.place}/{DATA}", shuffled=False)


@workload(_work("read", "How fast is a file of a lower layer read?", new=False, prime=_read_lower))
def read(session: Session, spot: Spot) -> None:
    """Read a file of a lower layer from its beginning to its end."""
    _read_lower(session, spot)


@workload(_work("read-random", "The same, in random order?", new=False, prime=_read_lower))
def read_random(session: Session, spot: Spot) -> None:
    """Read all pieces of a file of a lower layer in random order."""
    _read(session, spot, spot.file(0), shuffled=True)


@workload(_work("read-new", "How fast is a file of the RW layer read?", new=True, prepare=make_new, prime=_read_new))
def read_new(session: Session, spot: Spot) -> None:
    """Read a file of the RW layer from its beginning to its end."""
    _read_new(session, spot)


@workload(_work("read-new-random", "The same, in random order?", new=True, prepare=make_new, prime=_read_new))
def read_new_random(session: Session, spot: Spot) -> None:
    """Read all pieces of a file of the RW layer in random order."""
    _read(session, spot, f"{spot.place}/{DATA}", shuffled=True)


@workload(_work("write", "How fast is a new file written?", new=True, prepare=_make_empty))
def write(session: Session, spot: Spot) -> None:
    """Write a file from its beginning to its end."""
    _write(session, spot, shuffled=False)


@workload(
    _work("write-random", "How fast is a file of the RW layer overwritten in random order?", new=True, prepare=make_new)
)
def write_random(session: Session, spot: Spot) -> None:
    """Overwrite all pieces of a file in random order."""
    _write(session, spot, shuffled=True)


def _map_lower(session: Session, spot: Spot) -> None:
    step = 4096
    with session.files.map(spot.file(0), write=False) as mapping:
        sum(mapping[offset] for offset in range(0, len(mapping), step))


@workload(_work("mmap-read", "How fast is a mapped file of a lower layer read?", new=False, prime=_map_lower))
def mmap_read(session: Session, spot: Spot) -> None:
    """Touch each page of a mapping of a file of a lower layer."""
    _map_lower(session, spot)


@workload(_work("mmap-write", "How fast is a mapped file of the RW layer written?", new=True, prepare=make_new))
def mmap_write(session: Session, spot: Spot) -> None:
    """Change each page of a mapping of a file of the RW layer."""
    with session.files.map(f"{spot.place}/{DATA}", write=True) as mapping:
        for offset in range(0, len(mapping), 4096):
            mapping[offset] = 0x5A
        if spot.sync:
            mapping.flush()


def _lacks_busybox() -> str:
    return "" if shutil.which("busybox") else "busybox is not installed; apt-get install busybox-static"


def _fill_program(layers: Sequence[Path], spot: Spot) -> None:
    fill_directory(layers, spot)
    shutil.copy2(shutil.which("busybox") or "", layers[-1] / spot.file(0).lstrip("/"))


def _execute(session: Session, spot: Spot) -> None:
    assert session.root is not None
    program = f"{session.root}{spot.file(0)}"
    for _ in range(spot.count):
        subprocess.run(["true"], executable=program, check=True, close_fds=False)


@workload(
    Workload(
        "exec",
        "data",
        "What does starting a program of a lower layer cost?",
        fill=_fill_program,
        prime=_execute,
        count=lambda case: 20,
        needs_path=True,
        lacks=_lacks_busybox,
    )
)
def execute(session: Session, spot: Spot) -> None:
    """Run a program of a lower layer that does nothing, twenty times."""
    _execute(session, spot)


_ALL: tuple[Run, ...] = (
    read, read_random, read_new, read_new_random, write, write_random, mmap_read, mmap_write, execute,
)  # fmt: skip
