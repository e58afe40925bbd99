"""`layerlab layers`: what can be done with the directories that layers are.

Decided here: the words only. What a conversion does is decided in `fusefs.convert`.
"""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]

_DIRECTORY = click.Path(path_type=Path)


@click.group("layers")
def command() -> None:
    """Work on layer directories."""


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
