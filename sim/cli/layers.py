"""`layerlab layers`: an image's layers one by one, and the conversion of layer directories.

Decided here: what is counted of a layer and how it is shown. Layers are numbered from the top, as everywhere: 0 is a
container's RW layer, 1 the topmost read-only one. What a conversion does is decided in `fusefs.convert`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sim.graph import LayerStack

__all__ = ["Facts", "command", "facts"]

_DIRECTORY = click.Path(path_type=Path)

#: How many characters of a name the table shows; JSON has all.
_NAME_WIDTH = 48


@dataclass(frozen=True, slots=True)
class Facts:
    """What is told about a layer.

    Attributes
    ----------
    number
        0 for an RW layer, 1 for the topmost read-only one.
    role
        `rw` or `ro`.
    name, key
        What it is called, as in figures: the instruction that made it, where that is known; its digest, or its
        directory.
    files, directories, others
        How many it has, marks not counted.
    bytes
        Of file data.
    whiteouts, opaque
        How many marks.
    shadows
        How many files of layers below it hides: by a file of its own, a whiteout, or an opaque directory.
    wasted
        Bytes of its own that layers above hide.
    """

    number: int
    role: str
    name: str
    key: str
    files: int
    directories: int
    others: int
    bytes: int
    whiteouts: int
    opaque: int
    shadows: int
    wasted: int


def facts(stack: LayerStack) -> list[Facts]:
    """Return what is told about each layer of a stack, the topmost first."""
    from sim.graph import EntryType, State, columns, layer_title, waste

    shadows = [0] * len(stack.layers)
    for column in columns(stack.layers):
        for cell in column.cells:
            if cell.state is State.SHADOWED and cell.by is not None:
                hidden = not cell.entry.is_dir and not cell.entry.is_whiteout
                shadows[cell.by] += hidden
    wasted = [0] * len(stack.layers)
    for one in waste(stack):
        position = stack.position(one.layer)
        if position is not None:
            wasted[position] += one.bytes
    found = []
    for position, layer in enumerate(stack.layers):
        entries = [entry for path, entry in layer.entries.items() if path != "/"]
        files = sum(entry.type is EntryType.FILE for entry in entries)
        directories = sum(entry.is_dir for entry in entries)
        whiteouts = sum(entry.is_whiteout for entry in entries)
        found.append(
            Facts(
                number=stack.number(position),
                role=layer.role.value,
                name=layer_title(layer),
                key=layer.key,
                files=files,
                directories=directories,
                others=len(entries) - files - directories - whiteouts,
                bytes=layer.bytes,
                whiteouts=whiteouts,
                opaque=sum(entry.opaque for entry in entries),
                shadows=shadows[position],
                wasted=wasted[position],
            )
        )
    return found


class _Layers(click.Group):
    """A group that takes any other word for an image's name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that is named, else the one that shows an image."""
        if args and args[0] not in self.commands:
            return "layers", show, args
        return super().resolve_command(ctx, args)


@click.group(
    "layers",
    cls=_Layers,
    options_metavar="",
    subcommand_metavar="IMAGE|CONTAINER|FILE|STACK [OPTIONS] | convert FROM [TO]",
    no_args_is_help=True,
)
def command() -> None:
    """Show the layers of an image, container, archive or stack of directories, or convert one.

    For each: how many files it has, how many of the layers below it hides, its whiteouts and opaque directories, and
    how many of its own bytes nobody sees any more.

    \b
    layerlab layers web:latest
    layerlab layers web:latest --files 2
    layerlab layers image.tar --waste 5
    layerlab layers convert changes changes.oci --marks oci
    """


@click.command("layers")
@click.argument("what", metavar="IMAGE|CONTAINER|FILE|STACK")
@click.option("--image", metavar="NAME", help="Which image of FILE, where it holds several.")
@click.option("--store", type=_DIRECTORY, metavar="DIR", help="Look for the image in this store.")
@click.option("--files", type=click.IntRange(min=0), metavar="NUMBER", help="List the files of this layer.")
@click.option("--waste", "wasted", type=click.IntRange(min=0), default=0, metavar="COUNT", help="List the most wasted.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(what: str, image: str | None, store: Path | None, files: int | None, wasted: int, as_json: bool) -> None:
    """Show the layers of an image, container, archive or stack of directories."""
    from sim.engine.places import data_root
    from sim.explore import open_target

    target = open_target(what, root=data_root(), store=store, image=image)
    try:
        if files is not None:
            _list(target.stack, files, as_json)
            return
        found = facts(target.stack)
        if as_json:
            click.echo(json.dumps([asdict(one) for one in found], indent=2))
            return
        click.echo(_table(target.stack, found), nl=False)
        if wasted:
            click.echo(_wasted(target.stack, wasted), nl=False)
    finally:
        target.close()


def _table(stack: LayerStack, found: list[Facts]) -> str:
    from sim.cli.show.table import lay_out
    from sim.cli.words import count_words, printable, short_name, size_words
    from sim.graph import efficiency
    from sim.graph.stack import short_name as shorten

    lines = ["LAYER\tROLE\tID\tFILES\tDIRECTORIES\tSIZE\tSHADOWS\tWHITEOUTS\tOPAQUE\tWASTED\tNAME"]
    for one in found:
        identity = short_name(one.key) if one.key.startswith("sha") else "-"
        name = shorten(printable(one.name), _NAME_WIDTH) if one.name != one.key else ""
        lines.append(
            f"{one.number}\t{one.role.upper()}\t{identity}\t{one.files}\t{one.directories}\t{size_words(one.bytes)}"
            f"\t{one.shadows}\t{one.whiteouts}\t{one.opaque}\t{size_words(one.wasted)}\t{name}"
        )
    total, lost = sum(one.bytes for one in found), sum(one.wasted for one in found)
    sums = f"{size_words(total)} in {count_words(len(found), 'layer')}, {size_words(lost)} of it hidden"
    end = f"{sums}; {efficiency(stack):.1%} is seen\n"
    return lay_out("\n".join(lines) + "\n", least=0) + end


def _wasted(stack: LayerStack, count: int) -> str:
    from sim.cli.show.table import lay_out
    from sim.cli.words import printable, size_words
    from sim.graph import waste

    lines = ["", "WASTED\tIN LAYER\tBY LAYER\tHOW\tPATH"]
    lines.extend(
        f"{size_words(one.bytes)}\t{one.layer}\t{one.by}\t{one.cause}\t{printable(one.path)}"
        for one in waste(stack)[:count]
    )
    return lay_out("\n".join(lines) + "\n", least=0)


def _list(stack: LayerStack, number: int, as_json: bool) -> None:
    from sim.cli.show.table import lay_out
    from sim.cli.words import printable
    from sim.graph import EntryType, file_list

    position = stack.position(number)
    if position is None:
        last = stack.number(len(stack.layers) - 1)
        raise click.ClickException(
            f"{stack.name}: there is no layer {number}; they are {stack.number(0)} to {last}, from the top"
        )
    layer = stack.layers[position]
    if as_json:
        for item in file_list(layer):
            click.echo(json.dumps(item))
        return
    letters = {EntryType.DIRECTORY: "d", EntryType.FILE: "-", EntryType.SYMLINK: "l", EntryType.WHITEOUT: "w"}
    lines = []
    for path in sorted(layer.entries):
        entry = layer.entries[path]
        note = f" -> {printable(entry.target)}" if entry.target else " (opaque)" if entry.opaque else ""
        mode = "" if entry.is_whiteout else f"{entry.mode & 0o7777:04o}"
        owner = "" if entry.is_whiteout else f"{entry.uid}:{entry.gid}"
        lines.append(f"{letters.get(entry.type, 'o')}\t{mode}\t{owner}\t{entry.size}\t{printable(path)}{note}\n")
    click.echo(lay_out("".join(lines), least=0, padding=2), nl=False)


@command.command("convert")
@click.argument("source", type=_DIRECTORY, metavar="FROM")
@click.argument("target", type=_DIRECTORY, required=False, metavar="[TO]")
@click.option(
    "--marks",
    "wanted",
    required=True,
    type=click.Choice(["overlay", "user", "oci"]),
    help="overlay: as the kernel's overlayfs for root; user: as its userxattr; oci: .wh. names, as in images.",
)
def convert(source: Path, target: Path | None, wanted: str) -> None:
    """Write a layer with whiteouts and opaque marks of another format.

    Nothing else of it changes, and the merged view stays the same. FROM may have marks of any format. Without TO it is
    replaced, in one step at the end.

    \b
    layerlab layers convert changes changes.oci --marks oci
    """
    from fusefs.convert import convert
    from fusefs.errors import LayerError
    from fusefs.marks import Format
    from sim.cli.words import size_words

    if not source.is_dir():
        raise LayerError(f"{source}: there is no such directory; name a layer's")
    done = convert(source, target, Format(wanted))
    click.echo(
        f"{done.path}: {done.objects} objects, {done.whiteouts} whiteouts, {done.opaque} opaque directories,"
        f" {size_words(done.size)} copied"
    )
