"""Workloads: containers, through engines.

Decided here and only here: what is asked of an engine, and the root filesystem that all start from: busybox and a few
files. Functions only; one thread.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from sim.bench.engines import Engine
from sim.bench.registry import Spot, Step, Workload, nothing, workload
from sim.bench.session import Session

__all__ = ["engine"]

_PASSWD = "root:x:0:0:root:/root:/bin/sh\n"


def engine(session: Session) -> Engine:
    """Return the session of an engine."""
    assert isinstance(session, Engine)
    return session


def _lacks() -> str:
    return "" if shutil.which("busybox") else "busybox is not installed; apt-get install busybox-static"


def _fill(layers: Sequence[Path], spot: Spot) -> None:
    """Make a root filesystem around busybox."""
    root = layers[-1] / spot.place.lstrip("/")
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "run", "srv"):
        (root / name).mkdir(parents=True)
    shutil.copy2(shutil.which("busybox") or "", root / "bin/busybox")
    for name in ("sh", "true", "touch", "cat"):
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text(_PASSWD)
    (root / "etc/group").write_text("root:x:0:\n")


def _work(
    name: str, question: str, *, prepare: Step = nothing, prime: Step = nothing, undo: Step = nothing
) -> Workload:
    return Workload(
        name, "runtime", question, fill=_fill, prepare=prepare, prime=prime, undo=undo, lacks=_lacks,
        count=lambda case: 3,
    )  # fmt: skip


def _start_once(session: Session, spot: Spot) -> None:
    engine(session).start()


@workload(_work("container-start", "How long until a container has started, ended and gone?", prime=_start_once))
def container_start(session: Session, spot: Spot) -> None:
    """Run a container that ends at once, three times."""
    for _ in range(spot.count):
        engine(session).start()


def _hold(session: Session, spot: Spot) -> None:
    engine(session).hold()


def _execute_once(session: Session, spot: Spot) -> None:
    engine(session).execute()


def _let_go(session: Session, spot: Spot) -> None:
    engine(session).let_go()


@workload(
    _work("container-exec", "How long does a command in a running container take?", prepare=_hold, prime=_execute_once,
          undo=_let_go)
)  # fmt: skip
def container_exec(session: Session, spot: Spot) -> None:
    """Run a command in a container, three times."""
    for _ in range(spot.count):
        engine(session).execute()
