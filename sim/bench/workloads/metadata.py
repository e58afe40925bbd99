"""Workloads: names and status, no data.

Decided here and only here: which metadata work is measured. Directories are merged out of all layers. Functions only;
one thread.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sim.bench.errors import BenchError
from sim.bench.registry import Run, Spot, Step, Workload, nothing, workload
from sim.bench.result import Case
from sim.bench.session import Session
from sim.bench.trees import many_files

__all__ = ["SMALL_FILE"]

#: Bytes of the small files that are opened and read.
SMALL_FILE = 4096


def _fill(layers: Sequence[Path], spot: Spot) -> None:
    many_files(layers, spot.place, spot.case.entries, spot.case.size)


def _work(name: str, question: str, *, prepare: Step = nothing, prime: Step = nothing) -> Workload:
    return Workload(
        name,
        "metadata",
        question,
        fill=_fill,
        prepare=prepare,
        prime=prime,
        count=_entries,
    )


def _entries(case: Case) -> int:
    return max(case.entries, 1)


def _stat_all(session: Session, spot: Spot) -> None:
    stat = session.files.stat
    for path in spot.files():
        stat(path)


@workload(_work("stat", "What does the status of a file cost?", prime=_stat_all))
def stat(session: Session, spot: Spot) -> None:
    """Ask for the status of each file."""
    _stat_all(session, spot)


def _read_all(session: Session, spot: Spot) -> None:
    files, size = session.files, spot.case.size + 1
    for path in spot.files():
        handle = files.open(path, os.O_RDONLY)
        files.read(handle, size, 0)
        files.close(handle)


@workload(_work("open-read-close", "What does reading a small file cost?", prime=_read_all))
def open_read_close(session: Session, spot: Spot) -> None:
    """Open each file, read it and close it."""
    _read_all(session, spot)


def _list(session: Session, spot: Spot) -> None:
    found = session.files.list(spot.place)
    if found < spot.case.entries:
        raise BenchError(f"{session.name}: {spot.place} has {spot.case.entries} names, and {found} were listed")


@workload(_work("readdir", "What does a name cost when a directory is listed?", prime=_list))
def readdir(session: Session, spot: Spot) -> None:
    """List the directory."""
    _list(session, spot)


def _list_with_status(session: Session, spot: Spot) -> None:
    session.files.list_with_status(spot.place)


@workload(_work("readdir-stat", "What does a name cost when its status is wanted too?", prime=_list_with_status))
def readdir_stat(session: Session, spot: Spot) -> None:
    """List the directory and ask for the status of each name, as `ls -l`."""
    _list_with_status(session, spot)


@workload(_work("create", "What does a new file cost?", prime=_list))
def create(session: Session, spot: Spot) -> None:
    """Make as many files as there are."""
    files = session.files
    for path in spot.files():
        files.close(files.open(f"{path}-new", os.O_WRONLY | os.O_CREAT | os.O_EXCL))


@workload(_work("mkdir", "What does a new directory cost?", prime=_list))
def mkdir(session: Session, spot: Spot) -> None:
    """Make as many directories as there are files."""
    make = session.files.mkdir
    for path in spot.files():
        make(f"{path}-dir")


@workload(_work("unlink", "What does removing a file of a lower layer cost (a whiteout)?", prime=_stat_all))
def unlink(session: Session, spot: Spot) -> None:
    """Remove each file."""
    remove = session.files.unlink
    for path in spot.files():
        remove(path)


def _make_new(session: Session, spot: Spot) -> None:
    files = session.files
    for path in spot.files():
        files.close(files.open(f"{path}-new", os.O_WRONLY | os.O_CREAT))


@workload(_work("unlink-new", "What does removing a file of the RW layer cost?", prepare=_make_new))
def unlink_new(session: Session, spot: Spot) -> None:
    """Remove files that were made before."""
    remove = session.files.unlink
    for path in spot.files():
        remove(f"{path}-new")


@workload(_work("rename-new", "What does another name for a file of the RW layer cost?", prepare=_make_new))
def rename_new(session: Session, spot: Spot) -> None:
    """Move files that were made before."""
    rename = session.files.rename
    for path in spot.files():
        rename(f"{path}-new", f"{path}-moved")


_ALL: tuple[Run, ...] = (stat, open_read_close, readdir, readdir_stat, create, mkdir, unlink, unlink_new, rename_new)
