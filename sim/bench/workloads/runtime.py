"""Workloads: containers, through engines.

Decided here and only here: what is asked of an engine, and the root filesystem that all start from: busybox and a few
files. Functions only; one thread.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from sim.bench.engines import IMAGE, Engine
from sim.bench.registry import Fill, Spot, Step, Workload, nothing, workload
from sim.bench.session import Session
from sim.bench.trees import source_tree

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
    name: str, question: str, *, prepare: Step = nothing, prime: Step = nothing, undo: Step = nothing, count: int = 3,
    fill: Fill = _fill,
) -> Workload:  # fmt: skip
    return Workload(
        name, "runtime", question, fill=fill, prepare=prepare, prime=prime, undo=undo, lacks=_lacks,
        count=lambda case: count,
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


def _fill_context(layers: Sequence[Path], spot: Spot) -> None:
    """Make the root filesystem, and a directory to build from: sources to copy, and steps that run a program."""
    _fill(layers, spot)
    context = spot.scratch / "context"
    source_tree([context], "src", 100)
    (context / "Dockerfile").write_text(_DOCKERFILE)


_DOCKERFILE = f"""\
FROM {IMAGE}
ENV STAGE=bench
COPY src /srv/src
RUN ["/bin/busybox", "sh", "-c", "cat /srv/src/*/*/* >/srv/whole"]
RUN ["/bin/busybox", "touch", "/srv/done"]
CMD ["/bin/busybox", "cat", "/srv/done"]
"""


def _ready(session: Session, spot: Spot) -> None:
    engine(session).ready_to_build()


def _build_once(session: Session, spot: Spot) -> None:
    engine(session).build(spot.scratch / "context", cached=True)


@workload(
    _work("build-cold", "How long does a build without a cache take?", prepare=_ready, count=1, fill=_fill_context)
)
def build_cold(session: Session, spot: Spot) -> None:
    """Build an image with two RUN steps; no step is taken from the cache."""
    engine(session).build(spot.scratch / "context", cached=False)


@workload(
    _work("build-cached", "How long does a build take of which every step is cached?", prepare=_ready,
          prime=_build_once, count=1, fill=_fill_context)
)  # fmt: skip
def build_cached(session: Session, spot: Spot) -> None:
    """Build an image again of which nothing has changed."""
    engine(session).build(spot.scratch / "context", cached=True)
