"""`layerlab watch`: a container's filesystem operations as they happen.

Decided here: where a container's journal is looked for, and that what is past is not shown unless asked for. How an
operation is a line is decided in `sim.cli.journal`.
"""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command("watch")
@click.argument("container", metavar="CONTAINER")
@click.option("--all", "every", is_flag=True, help="Begin with the first operation, not with the next one.")
@click.option("--changes", is_flag=True, help="Only operations that changed the RW layer.")
@click.option("--errors", is_flag=True, help="Only operations that failed.")
@click.option("--path", "prefix", metavar="PATH", help="Only operations on this path and below it.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only operations of this kind; may be repeated.")
@click.option("--no-follow", is_flag=True, help="Show what there is and end.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
def command(
    container: str,
    every: bool,
    changes: bool,
    errors: bool,
    prefix: str | None,
    kinds: tuple[str, ...],
    no_follow: bool,
    as_json: bool,
) -> None:
    """Show what the processes of CONTAINER ask of its filesystem, as it happens, and what that does to its layers.

    Ends when the container does.

    \b
    layerlab watch web --changes
    layerlab watch web --path /var/log --json
    """
    from fusefs import Journal
    from sim.cli.journal import Choice, shown
    from sim.engine.places import data_root
    from sim.graph import find_container

    root = data_root()
    place = find_container(root, container)
    if place is None:
        raise click.ClickException(f"{container}: there is no such container in {root}; `layerlab ps -a` lists them")
    if place.journal is None:
        raise click.ClickException(
            f"{place.name}: its operations are not recorded: its storage driver is the kernel's, or its label "
            "layerlab.journal is none"
        )
    choice = Choice(changes, errors, prefix, kinds)
    with Journal(place.journal) as journal:
        after = 0 if every or no_follow else len(journal)
        operations = journal.operations(after=after) if no_follow else journal.follow(after=after)
        for line in shown(journal, operations, choice, as_json=as_json):
            click.echo(line)
