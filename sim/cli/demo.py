"""`layerlab demo`: the main job, end to end, told as it happens.

Decided here: the order of the acts, and what is said between them. Images are built in `sim.cli.demoimages`, the
container is minded in `sim.cli.democontainer`, its steps are in `sim.cli.demosteps`, the tables in `sim.cli.demoshow`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sim.cli.interrupt import orderly

if TYPE_CHECKING:
    from rich.console import Console

    from fusefs import Operation
    from sim.cli.democontainer import Container, Spoken
    from sim.cli.demoimages import Images
    from sim.cli.demosteps import Step
    from sim.graph import LayerGraph

__all__ = ["command"]


@click.command("demo")
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("layerlab-demo"),
    metavar="DIR",
    help="Where the figures and the image store go; made where it is missing.",
)
@click.option(
    "--driver",
    default="fuse-python",
    metavar="NAME",
    help="The storage driver that mounts the container: fuse-python by default, auto for the best one.",
)
@click.option("--keep", is_flag=True, help="Leave the container mounted, with its journal.")
@click.option(
    "--rootfs",
    type=click.Path(path_type=Path),
    metavar="DIR|TAR",
    help="A root filesystem for the base image, such as one that debootstrap made; else one around busybox.",
)
def command(output: Path, driver: str, keep: bool, rootfs: Path | None) -> None:
    """Build two images, run a container on one, and show all that happened to its layers.

    A process in namespaces of its own changes its root filesystem, a union of read-only layers and one RW layer.
    Every operation is recorded, printed as a table, and drawn.
    """
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = 120
    if rootfs is not None and not rootfs.exists():
        raise click.ClickException(f"{rootfs}: there is no such file or directory; name a root filesystem or leave it")
    with orderly():
        _perform(console, Path(os.path.abspath(output)), driver, keep, rootfs)


def _perform(console: Console, output: Path, driver: str, keep: bool, rootfs: Path | None) -> None:
    from sim.cli.democontainer import container, run_steps
    from sim.cli.demoimages import images
    from sim.cli.demosteps import choose_targets, steps

    output.mkdir(parents=True, exist_ok=True)
    source = "around the machine's busybox" if rootfs is None else f"from {rootfs}"
    _act(console, 1, "Images", f"a base {source}, and two images that share it")
    with images(output / "store", rootfs) as found:
        _show_images(console, found)
        stack = found.store.layer_directories(found.web)
        digests = tuple(reversed(found.web.diff_ids))
        wanted = steps(choose_targets(stack[-1]))

        _act(console, 2, "A container", "the layers of layerlab/web, read-only, and one RW layer above them")
        with container(output / "container", stack, digests, driver=driver, keep=keep) as home:
            server = f"{home.mounted.driver}, process {home.mounted.pid}" if home.mounted.pid else home.mounted.driver
            _show_stack(console, found)
            _say(console, f"Mounted by {server}, on {home.mounted.mountpoint}")

            _act(console, 3, "Its process", "own mount, pid, uts and ipc namespaces; its root is the union")
            said = run_steps(
                home,
                wanted,
                began=lambda step: _begin(console, step),
                ended=lambda step, text: _end(console, text),
            )
            if not keep:
                home.mounted.unmount()  # its journal is complete then
            operations = _operations(home)
            if operations:
                _act(console, 4, "The operations", "what each step asked of the union, and what that did to the layers")
                _show_operations(console, found, wanted, said, operations)
            _act(console, 5, "Figures", "the same, drawn from the layer graph")
            for path, lesson in _draw(output, found, home, operations):
                _say(console, f"{path}  {lesson}")
        _next(console, output, found, keep)


def _say(console: Console, text: str) -> None:
    """Print a line as it is, however long it is, so that paths in it can be copied."""
    console.print(text, soft_wrap=True, markup=False)


def _act(console: Console, number: int, title: str, text: str) -> None:
    from rich.text import Text

    console.print(Text.assemble("\n", (f"{number}  {title}", "bold blue"), (f"  {text}", "dim"), "\n"), soft_wrap=True)


def _begin(console: Console, step: Step) -> None:
    from rich.text import Text

    console.print(Text.assemble((step.title, "bold"), (f"  {step.lesson}", "italic dim")), soft_wrap=True)
    console.print(Text(f"  $ {step.command}", style="cyan"), soft_wrap=True)


def _end(console: Console, text: str) -> None:
    from sim.cli.words import printable

    lines = [printable(line) for line in text.splitlines()]
    for line in [" ".join(lines)] if len(lines) > 4 else lines:
        console.print(f"  {line}", style="dim", markup=False, soft_wrap=True)


def _show_images(console: Console, found: Images) -> None:
    from rich import box
    from rich.table import Table

    from sim.cli.words import short_name, size_words

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    for name in ("image", "ID", "layers, the topmost first"):
        table.add_column(name)
    table.add_column("virtual size", justify="right")
    for image in (found.web, found.tools):
        layers = " on ".join(f"{found.names[digest]} {short_name(digest)}" for digest in reversed(image.diff_ids))
        table.add_row(image.name, image.short_id, layers, size_words(image.size))
    console.print(table)
    disk = sum({layer.diff_id: layer.size for image in (found.web, found.tools) for layer in image.layers}.values())
    virtual = found.web.size + found.tools.size
    _say(console, f"Both share the base: {size_words(virtual)} of virtual size are {size_words(disk)} on disk")


def _show_stack(console: Console, found: Images) -> None:
    from sim.cli.demoshow import LayerRow, stack_table

    rows = [LayerRow(0, "RW", "the container's own", "", 0, 0)]
    for number, layer in enumerate(reversed(found.web.layers), 1):
        rows.append(LayerRow(number, "RO", found.names[layer.diff_id], layer.diff_id, layer.entries, layer.size))
    console.print(stack_table(rows))


def _operations(home: Container) -> list[Operation]:
    """Return what the container's journal holds, once all of it is on disk."""
    from fusefs import Journal

    if not home.journal.exists():
        return []
    with Journal(home.journal) as journal:
        if journal.closed:
            return list(journal.operations())
        return list(journal.follow(timeout=1))  # a batch is on disk after a quarter of a second


def _show_operations(
    console: Console, found: Images, wanted: Sequence[Step], said: Sequence[Spoken], operations: Sequence[Operation]
) -> None:
    from sim.cli.demoshow import show_operations, summary

    ends = [spoken.end for spoken in said]
    groups: list[list[Operation]] = [[] for _ in said]
    for operation in operations:
        number = sum(1 for end in ends if operation.start > end)
        groups[min(number, len(groups) - 1)].append(operation)
    titles = [("Start the process", "pivot_root, /proc, /dev; then the shell is found and run")]
    titles += [(step.title, step.lesson) for step in wanted]
    names = {0: "RW"}
    names |= {number: found.names[digest] for number, digest in enumerate(reversed(found.web.diff_ids), 1)}
    steps = [(title, lesson, group) for (title, lesson), group in zip(titles, groups, strict=True)]
    show_operations(console, steps, names)
    summary(console, operations)


def _graph(found: Images, home: Container) -> LayerGraph:
    from sim.cli.demoimages import add_images
    from sim.graph import LayerGraph, add_directories, add_journal

    graph = LayerGraph()
    add_images(graph, found)
    if home.journal.exists():
        add_journal(graph, home.journal, name="container", image=found.web.id)
    else:
        digests = list(reversed(found.web.diff_ids))
        add_directories(graph, home.stack.lower, home.stack.upper, name="container", names=digests)
    return graph


def _instructive(found: Images, operations: Sequence[Operation]) -> list[str] | None:
    """Return the paths that the cross-section shows: what was opened or changed, and the files of the image's layer."""
    from fusefs import EffectKind, Kind

    if not operations:
        return None
    web = found.store.layer_path(found.web.diff_ids[-1])
    paths = {f"/{place.relative_to(web)}" for place in web.rglob("*") if place.is_file()}
    for operation in operations:
        changes = [effect for effect in operation.effects if effect.kind is not EffectKind.COPIED_UP or effect.size]
        if (changes or operation.kind is Kind.OPEN) and not operation.error:
            paths |= {operation.path, *(effect.path for effect in changes)}
            if operation.kind is Kind.RENAME:
                paths.add(operation.target)
    return sorted(path for path in paths if ".so" not in path)


def _draw(output: Path, found: Images, home: Container, operations: Sequence[Operation]) -> Sequence[tuple[Path, str]]:
    from sim import figures
    from sim.graph import cross_section, sharing, timeline

    graph = _graph(found, home)
    stack = graph.stack("container")
    paths = _instructive(found, operations)
    drawn = [("cross-section", "which layer serves each path", figures.cross_section(cross_section(stack, paths)))]
    if home.journal.exists():
        drawn.append(("timeline", "the operations by layer, as time went by", figures.timeline(timeline(stack))))
    drawn.append(("sharing", "virtual sizes against bytes on disk", figures.sharing(sharing(graph))))
    made = []
    for name, lesson, figure in drawn:
        path = output / f"{name}.png"
        aside = output / f".{name}.png.new"
        try:
            figures.save(figure, aside, form="png")
            os.replace(aside, path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                aside.unlink()
        made.append((path, lesson))
    return made


def _next(console: Console, output: Path, found: Images, keep: bool) -> None:
    from sim.cli.words import program

    place, name = shlex.quote(os.path.relpath(output)), program()
    _act(console, 6, "Next", "")
    say = [f"Look at the figures in {place}/."]
    if keep:
        say += [
            f"The container is still mounted: look around in {place}/container/merged, change something there.",
            f"  {name} journal --changes {place}/container/journal.db",
            f"  {name} figure cross-section --journal {place}/container/journal.db",
            f"  {name} umount {place}/container/merged",
        ]
    else:
        say += [
            "The container is gone; the images stay in the store, as an OCI image layout.",
            f"  {name} figure images --store {place}/store    draws the images over the layers that they share",
            f"  {name} demo --keep         leaves the container mounted, with its journal",
            f"  {name} demo --rootfs DIR   does the same on a real root filesystem (debootstrap makes one)",
        ]
    say += [f"  rm -r {place}    removes all that this left behind"]
    for line in say:
        _say(console, line)
