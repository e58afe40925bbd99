"""Workloads: the first change of a file of a read-only layer.

Decided here and only here: the ways to change a file that are measured, and that each sample changes files that were
never changed before. Functions only; one thread.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from sim.bench.errors import BenchError
from sim.bench.registry import Run, Spot, Workload, workload
from sim.bench.result import Case
from sim.bench.session import PlainSession, Session
from sim.bench.trees import data_file

__all__ = ["FIRST_WRITES"]

_MIDDLE = b"\xa5"

#: The names of these workloads.
FIRST_WRITES = ("append", "middle", "truncate", "mmap", "chmod", "chown", "setxattr", "rename", "link")


def _count(case: Case) -> int:
    """Return how many files one sample changes: fewer where one alone takes long."""
    return 20 if case.size <= 1 << 16 else 6 if case.size <= 1 << 20 else 2 if case.size <= 1 << 24 else 1


def _fill(layers: Sequence[Path], spot: Spot) -> None:
    """Put the files into the lowest layer, and their directory into each, so that every layer has to be looked in."""
    for layer in layers:
        (layer / spot.place.lstrip("/")).mkdir(parents=True, exist_ok=True)
    for path in spot.files():
        data_file(layers[-1] / path.lstrip("/"), spot.case.size, sparse=spot.case.sparse)


def _prime(session: Session, spot: Spot) -> None:
    """Have the data of the files in the kernel's cache, and their names known to the driver."""
    buffer = bytearray(1 << 20)
    lowest = session.layout.merged if isinstance(session, PlainSession) else session.layout.lower[-1]
    for path in spot.files():
        session.files.stat(path)
        with open(lowest / path.lstrip("/"), "rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass


def _check(session: Session, spot: Spot) -> None:
    """Find each file in the RW layer."""
    if isinstance(session, PlainSession):
        return
    for path in spot.files():
        name = f"{path}-new" if spot.case.workload == "rename" else path
        if not (session.layout.upper / name.lstrip("/")).exists():
            raise BenchError(f"{session.name}: {name} was changed and is not in the RW layer")


def _first_write(name: str, question: str) -> Workload:
    return Workload(
        name,
        "copy-up",
        question,
        fill=_fill,
        prime=_prime,
        check=_check,
        count=_count,
        moved=lambda case: 0 if name == "truncate" else case.size,
        first_write=True,
    )


def _sync(session: Session, spot: Spot, path: str) -> None:
    """Have what was changed without an open file on the disk."""
    if spot.sync:
        handle = session.files.open(path, os.O_RDONLY)
        session.files.sync(handle)
        session.files.close(handle)


@workload(_first_write("append", "What does a byte at the end cost, when it is the first?"))
def append(session: Session, spot: Spot) -> None:
    """Write one byte at the end of each file."""
    files, sync = session.files, spot.sync
    for path in spot.files():
        handle = files.open(path, os.O_WRONLY | os.O_APPEND)
        files.append(handle, b"x")
        if sync:
            files.sync(handle)
        files.close(handle)


@workload(_first_write("middle", "What does a byte in the middle cost, when it is the first?"))
def middle(session: Session, spot: Spot) -> None:
    """Write one byte in the middle of each file."""
    files, sync, offset = session.files, spot.sync, spot.case.size // 2
    for path in spot.files():
        handle = files.open(path, os.O_RDWR)
        files.write(handle, _MIDDLE, offset)
        if sync:
            files.sync(handle)
        files.close(handle)


@workload(_first_write("truncate", "Is the old data copied when the file is emptied at once?"))
def truncate(session: Session, spot: Spot) -> None:
    """Open each file with O_TRUNC and write one byte."""
    files, sync = session.files, spot.sync
    for path in spot.files():
        handle = files.open(path, os.O_WRONLY | os.O_TRUNC)
        files.write(handle, b"x", 0)
        if sync:
            files.sync(handle)
        files.close(handle)


@workload(_first_write("mmap", "What does a byte in a shared mapping cost, when it is the first?"))
def mmap(session: Session, spot: Spot) -> None:
    """Change one byte of each file through a mapping."""
    files, sync, offset = session.files, spot.sync, spot.case.size // 2
    for path in spot.files():
        with files.map(path, write=True) as mapping:
            mapping[offset : offset + 1] = _MIDDLE
            if sync:
                mapping.flush()


@workload(_first_write("chmod", "Is the data copied when only the mode changes?"))
def chmod(session: Session, spot: Spot) -> None:
    """Set each file's permission bits."""
    for path in spot.files():
        session.files.chmod(path, 0o600)
        _sync(session, spot, path)


@workload(_first_write("chown", "Is the data copied when only the owner changes?"))
def chown(session: Session, spot: Spot) -> None:
    """Set each file's owner: to another one as root, else to what it is."""
    uid, gid = (1, 1) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    for path in spot.files():
        session.files.chown(path, uid, gid)
        _sync(session, spot, path)


@workload(_first_write("setxattr", "Is the data copied when only an attribute is set?"))
def setxattr(session: Session, spot: Spot) -> None:
    """Set an extended attribute of each file."""
    for path in spot.files():
        session.files.setxattr(path, "user.layerlab", b"1")
        _sync(session, spot, path)


@workload(_first_write("rename", "What does another name for a file of a lower layer cost?"))
def rename(session: Session, spot: Spot) -> None:
    """Move each file to another name."""
    for path in spot.files():
        session.files.rename(path, f"{path}-new")
        _sync(session, spot, f"{path}-new")


@workload(_first_write("link", "What does one more name for a file of a lower layer cost?"))
def link(session: Session, spot: Spot) -> None:
    """Give each file one more name."""
    for path in spot.files():
        session.files.link(path, f"{path}-link")
        _sync(session, spot, path)


def _all_there() -> tuple[Run, ...]:
    return (append, middle, truncate, mmap, chmod, chown, setxattr, rename, link)


assert [run.__name__ for run in _all_there()] == list(FIRST_WRITES)
