"""`layerlab mount`: plain directories as one tree.

Decided here: the words for a stack on the command line. What a stack needs is decided in `fusefs.stack`, what a
mountpoint needs in `fusefs.mount`.
"""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sim.cli.mountoptions import MountOptions, parse

if TYPE_CHECKING:
    from fusefs import Mount, Stack

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


def _parsed(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> MountOptions:
    try:
        return parse(",".join(values))
    except ValueError as error:
        raise click.BadParameter(str(error), context, parameter) from None


def _layers_of(word: str, store: Path | None, upto: int | None) -> tuple[tuple[Path, ...], bool]:
    """Return the directories of an image's or container's layers, the lowest first, and whether they still change."""
    from sim.engine.places import data_root
    from sim.explore import open_target
    from sim.graph import find_container

    root = data_root()
    target = open_target(word, root=root, store=store)
    container = find_container(root, word) if target.what == "container" else None
    try:
        layers = list(reversed(target.stack.layers))
    finally:
        target.close()
    if upto is not None and upto > len(layers):
        raise click.UsageError(f"{word} has {len(layers)} layers: --upto is 1 to {len(layers)}.")
    chosen = layers[:upto]
    places = []
    for layer in chosen:
        if layer.role.value == "rw" and container is not None:
            places.append(container.path / "upper")
            continue
        if layer.place is None:
            raise click.ClickException(f"{word}: its layer {layer.name} is not on this machine as a directory")
        places.append(layer.place)
    return tuple(places), any(layer.role.value == "rw" for layer in chosen)


@click.command("mount")
@click.argument("words", nargs=-1, required=True, metavar="[IMAGE|CONTAINER] MOUNTPOINT")
@click.option("--upto", type=click.IntRange(min=1), metavar="N", help="Only the N lowest layers of the image.")
@click.option("--store", type=_PATH, metavar="DIR", help="Look for the image in this store.")
@click.option(
    "--lower", multiple=True, type=_PATH, metavar="DIR", help="A read-only layer; each lies on those before it."
)
@click.option("--upper", type=_PATH, metavar="DIR", help="The RW layer, which takes all changes; none: read-only.")
@click.option("--work", type=_PATH, metavar="DIR", help="An empty directory on the filesystem of the RW layer.")
@click.option(
    "-o",
    "said",
    multiple=True,
    metavar="OPTIONS",
    callback=_parsed,
    help="As mount(8) has it: lowerdir=TOP:BASE,upperdir=U,workdir=W; also redirect_dir, index, metacopy, volatile, "
    "userxattr.",
)
@click.option(
    "--driver",
    default="auto",
    metavar="NAME",
    help="devfuse, fuse-python, overlayfs, or auto for the best that works here.",
)
@click.option("--journal", type=_PATH, metavar="FILE", help="Record the operations in this file.")
@click.option(
    "--record",
    type=click.Choice(["all", "metadata", "none"]),
    default="all",
    help="What is recorded; metadata leaves out reads and writes of file data.",
)
@click.option(
    "--log",
    type=_PATH,
    metavar="FILE",
    default=os.devnull,
    help="Where the serving process complains; by default nowhere.",
)
@click.option("--no-cache", is_flag=True, help="Follow changes that somebody makes in the read-only layers.")
@click.option(
    "--passthrough",
    type=click.Choice(["auto", "upper", "all", "off"]),
    default="auto",
    help="devfuse: which files the kernel reads and writes by itself; auto: those of the RW layer.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=4, help="devfuse: threads that serve requests.")
@click.option(
    "--lookout",
    type=click.IntRange(0, 10_000),
    default=100,
    metavar="MICROSECONDS",
    help="devfuse: how long to stay awake for the next request.",
)
@click.option("--trace", type=_PATH, metavar="FILE", help="devfuse: write each message of the kernel here, in words.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing.")
def command(
    words: tuple[str, ...],
    upto: int | None,
    store: Path | None,
    lower: tuple[Path, ...],
    upper: Path | None,
    work: Path | None,
    said: MountOptions,
    driver: str,
    journal: Path | None,
    record: str,
    log: Path,
    no_cache: bool,
    passthrough: str,
    workers: int,
    lookout: int,
    trace: Path | None,
    quiet: bool,
) -> None:
    """Mount a stack of directories, or the layers of an image or container, on MOUNTPOINT as one tree.

    The directories are plain ones, in the format of the kernel's overlayfs, which can mount the same stack. An image or
    container is mounted read-only unless an RW layer is named; --upto N shows it as it was after the Nth of its layers.
    Undo it with `layerlab umount MOUNTPOINT`.

    \b
    layerlab mount web:latest --upto 2 /mnt
    layerlab mount --lower base --lower app --upper changes --work work /mnt
    layerlab mount -o lowerdir=app:base,upperdir=changes,workdir=work /mnt
    """
    if len(words) > 2:
        raise click.UsageError(f"{words[2]!r} is one word too many: name an image or container, and MOUNTPOINT.")
    mountpoint = Path(words[-1])
    if len(words) == 1 and (upto is not None or store is not None):
        raise click.UsageError("--upto and --store are for the layers of an image: name it before MOUNTPOINT.")
    if len(words) == 2:
        if lower or said.lower:
            raise click.UsageError(f"the read-only layers are named twice, by {words[0]} and by directories: keep one.")
        lower, live = _layers_of(words[0], store, upto)
        no_cache = no_cache or live
    if lower and said.lower:
        raise click.UsageError("the read-only layers are named twice, by --lower and by -o lowerdir: keep one.")
    for name, one, other in (("upper", upper, said.upper), ("work", work, said.work)):
        if one and other:
            raise click.UsageError(f"the {name} directory is named twice, by --{name} and by -o {name}dir: keep one.")
    from fusefs import Level, Stack, mount
    from fusefs.drivers.devfuse.options import Passthrough, Tuning

    stack = Stack(tuple(reversed(lower)) or said.lower, upper or said.upper, work or said.work)
    if not stack.lower and stack.upper is None:
        raise click.UsageError("no layer is named: give --lower DIR, or -o lowerdir=DIR.")
    options = replace(said.options, cache=not no_cache)
    # A log of its own: a serving process that held on to our streams would keep a pipe open as long as it serves.
    told = str(trace.absolute()) if trace else ""
    tuning = Tuning(Passthrough(passthrough), workers, lookout=lookout, trace=told)
    level = Level(record)
    mounted = mount(
        stack, mountpoint, driver=driver, options=options, journal=journal, level=level, log=log, tuning=tuning
    )
    if quiet:
        return
    _say(mounted, stack, journal, mountpoint)


def _say(mounted: Mount, stack: Stack, journal: Path | None, mountpoint: Path) -> None:
    from sim.cli.words import program

    server = f", process {mounted.pid}" if mounted.pid else ""
    click.echo(f"{mounted.mountpoint}: mounted by {mounted.driver}{server}")
    if stack.upper is not None:
        click.echo(f"  layer 0  RW  {stack.upper}")
    for number, path in enumerate(stack.lower, 1):
        click.echo(f"  layer {number}  RO  {path}")
    if journal is not None:
        click.echo(f"See what happens with `{program()} journal --follow {shlex.quote(str(journal))}`.")
    click.echo(f"Undo it with `{program()} umount {shlex.quote(str(mountpoint))}`.")
