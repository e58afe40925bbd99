"""The demo's container: its directories, its mount, its process, and the end of them all.

Decided here: where a container's parts lie, in which order they are made and undone, and how the steps of its process
are told apart in its journal. For the main thread.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sim.cli.demosteps import MARK, Step, script
from sim.cli.interrupt import shielded

if TYPE_CHECKING:
    from fusefs import Mount, Stack

__all__ = ["Container", "Spoken", "container", "run_steps"]


@dataclass(frozen=True, slots=True)
class Container:
    """A container that is mounted.

    Attributes
    ----------
    place
        Its directory, with everything below in it.
    stack
        Its layers.
    mounted
        Its root filesystem.
    journal
        What happened to it.
    """

    place: Path
    stack: Stack
    mounted: Mount
    journal: Path


@dataclass(frozen=True, slots=True)
class Spoken:
    """When a step was over, and what it said.

    Attributes
    ----------
    end
        Nanoseconds since the epoch.
    text
        What its commands wrote, as text.
    """

    end: int
    text: str


@contextlib.contextmanager
def container(
    place: Path, layers: Sequence[Path], names: Sequence[str], *, driver: str = "auto", keep: bool = False
) -> Iterator[Container]:
    """Make a container and mount it; at the end unmount it and remove what it was.

    Parameters
    ----------
    place
        Its directory; what an earlier run left there is removed first.
    layers
        The read-only layers, the topmost first.
    names
        What the journal calls them.
    driver
        As `fusefs.mount` has it.
    keep
        Whether all stays at the end, still mounted.

    Raises
    ------
    fusefs.FusefsError
        It cannot be mounted.
    """
    from fusefs import Stack, mount

    remove(place)
    try:
        for name in ("upper", "work", "merged"):
            (place / name).mkdir(parents=True, mode=0o755)
        stack = Stack(tuple(layers), place / "upper", place / "work")
        journal = place / "journal.db"
        recorded = journal if driver != "overlayfs" else None
        log = place / "mount.log"
        mounted = mount(stack, place / "merged", driver=driver, journal=recorded, names=names, log=log)
        yield Container(place, stack, mounted, journal)
    except BaseException:
        with shielded():
            remove(place)
        raise
    if not keep:
        with shielded():
            remove(place)


def remove(place: Path) -> None:
    """Unmount what is mounted in a container's directory, and remove the directory."""
    from fusefs import unmount
    from fusefs.mount import find_mount

    merged = place / "merged"
    while find_mount(merged) is not None:
        unmount(merged)
    if place.exists():
        shutil.rmtree(place)


def run_steps(
    home: Container, wanted: Sequence[Step], *, began: Callable[[Step], None], ended: Callable[[Step, str], None]
) -> list[Spoken]:
    """Run the steps as one process in the container.

    Parameters
    ----------
    home
        The container.
    wanted
        The steps.
    began, ended
        Called before and after each; after it with what its commands wrote.

    Returns
    -------
    list of Spoken
        One for each step, and one before them all, for the start of the process.

    Raises
    ------
    click.ClickException
        The process ended early.
    """
    from sim.runtime import Process, ProcessSpec

    spec = ProcessSpec(args=("/bin/sh", "-c", script(tuple(wanted))), rootfs=home.mounted.mountpoint, hostname="demo")
    answers, out = os.pipe(), os.pipe()
    said: list[Spoken] = []
    with (
        open(answers[1], "wb", buffering=0) as answer,
        open(out[0], encoding="utf-8", errors="backslashreplace") as output,
        Process(spec) as process,
    ):
        try:
            process.start(answers[0], out[1], out[1])
        finally:
            os.close(answers[0])
            os.close(out[1])
        text: list[str] = []
        for line in output:
            if not line.startswith(MARK):
                text.append(line)
                continue
            said.append(Spoken(time.time_ns(), "".join(text)))
            if len(said) > 1:
                ended(wanted[len(said) - 2], said[-1].text)
            if len(said) <= len(wanted):
                began(wanted[len(said) - 1])
            text.clear()
            answer.write(b"\n")
        status = process.wait(timeout=10)
    if status != 0 or len(said) != len(wanted) + 1:
        last = "".join(text).strip() or "nothing said"
        raise click.ClickException(f"the container's process ended early, with status {status}: {last}")
    return said
