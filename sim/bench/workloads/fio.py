"""Workloads: file data, moved by fio where it is installed.

Decided here and only here: fio's jobs, and that its own clock counts: the mean latency of a transfer times their
number, without fio's start. Functions only; one thread.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess

from sim.bench.errors import BenchError
from sim.bench.registry import Run, Spot, Step, Workload, nothing, workload
from sim.bench.session import Session
from sim.bench.workloads.data import DATA, fill_directory, length, make_new

__all__ = ["fio"]


def _lacks() -> str:
    return "" if shutil.which("fio") else "fio is not installed; apt-get install fio"


def _job(kind: str, engine: str = "psync") -> Run:
    """Return the work of one job."""

    def run(session: Session, spot: Spot) -> float:
        return fio(session, spot, kind, engine)

    return run


def fio(session: Session, spot: Spot, kind: str, engine: str) -> float:
    """Run a job on the case's file; return the seconds that the transfers took.

    Parameters
    ----------
    session, spot
        See `sim.bench.registry`.
    kind
        fio's `rw`.
    engine
        fio's `ioengine`.

    Raises
    ------
    BenchError
        fio failed; its words are in the text.
    """
    assert session.root is not None
    name = f"{session.root}{spot.place}/{DATA}"
    command = ["fio", "--name=layerlab", f"--filename={name}", f"--rw={kind}", f"--bs={spot.case.size}"]
    command += [
        f"--size={length(spot.case)}",
        f"--ioengine={engine}",
        "--iodepth=1",
        "--thread",
        "--output-format=json",
    ]
    command += ["--invalidate=0", "--overwrite=1", "--randrepeat=1", "--allrandrepeat=1", "--fallocate=none"]
    if spot.sync and "write" in kind:
        command.append("--end_fsync=1")
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=spot.scratch, stdin=subprocess.DEVNULL, env=os.environ
    )
    start = done.stdout.find("{")
    if done.returncode or start < 0:
        raise BenchError(f"{session.name}: fio failed: {' '.join(done.stderr.split())[-200:]}")
    part = json.loads(done.stdout[start:])["jobs"][0]["write" if "write" in kind else "read"]
    return float(part["lat_ns"]["mean"]) * int(part["total_ios"]) / 1e9


def _read_all(session: Session, spot: Spot) -> None:
    handle = session.files.open(f"{spot.place}/{DATA}", os.O_RDONLY)
    for offset in range(0, length(spot.case), 1 << 20):
        session.files.read(handle, 1 << 20, offset)
    session.files.close(handle)


def _enter(name: str, question: str, kind: str, engine: str = "psync", prime: Step = nothing) -> None:
    template = Workload(
        name,
        "data",
        question,
        prepare=make_new,
        prime=prime,
        moved=length,
        needs_path=True,
        lacks=_lacks,
        fill=fill_directory,
    )
    workload(template)(_job(kind, engine))


_enter("fio-read", "What does fio say of reading the RW layer?", "read", prime=_read_all)
_enter("fio-read-random", "The same, in random order?", "randread", prime=_read_all)
_enter("fio-write", "What does fio say of writing to the RW layer?", "write")
_enter("fio-write-random", "The same, in random order?", "randwrite")
_enter("fio-mmap", "What does fio say of reading a mapping?", "read", "mmap", prime=_read_all)
