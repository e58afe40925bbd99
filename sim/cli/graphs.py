"""`layerlab graph`: the layer graph for other programs.

Decided here: where the graph comes from and where it goes. Its forms are decided in `sim.graph.export`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sim.graph import LayerGraph

__all__ = ["command"]

_PATH = click.Path(path_type=Path)


@click.command("graph")
@click.argument("what", required=False, metavar="[IMAGE|CONTAINER|FILE|STACK]")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "graphml", "dot"]),
    help="By default what the name of the output ends in, else json.",
)
@click.option("--files", is_flag=True, help="With a node for each file, and what hides and serves what.")
@click.option("--store", type=_PATH, metavar="DIR", help="The images of this store.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of the JSON instead.")
@click.option("-o", "--output", type=_PATH, metavar="FILE", help="Write this file instead of standard output.")
def command(
    what: str | None, form: str | None, files: bool, store: Path | None, schema: bool, output: Path | None
) -> None:
    """Write the graph of images, layers and containers, or of one of them, as JSON, GraphML or DOT.

    \b
    layerlab graph -o layers.graphml
    layerlab graph web:latest --files --format json
    layerlab graph --format dot | dot -Tsvg > layers.svg
    """
    import json

    from sim.graph import SCHEMA, to_dot, to_graphml, to_json

    if schema:
        click.echo(json.dumps(SCHEMA, indent=2))
        return
    if form is None:
        endings = {".graphml": "graphml", ".dot": "dot", ".gv": "dot"}
        form = endings.get(output.suffix if output is not None else "", "json")
    graph = _graph(what, store, files)
    writers = {
        "json": lambda: to_json(graph, indent=2),
        "graphml": lambda: to_graphml(graph),
        "dot": lambda: to_dot(graph),
    }
    text = writers[form]()
    if output is None:
        click.echo(text)
        return
    aside = output.with_name(f".{output.name}.new")
    try:
        aside.write_text(text + "\n")
        os.replace(aside, output)
    finally:
        aside.unlink(missing_ok=True)
    click.echo(f"{output}: {len(graph.nx)} nodes, {graph.nx.number_of_edges()} edges")


def _graph(what: str | None, store: Path | None, files: bool) -> LayerGraph:
    from sim.engine.places import data_root
    from sim.explore import open_target
    from sim.graph import LayerGraph, add_engine, add_store

    if what is not None:
        target = open_target(what, root=data_root(), store=store)
        try:
            if files:
                target.graph.add_files(target.stack)
            return target.graph
        finally:
            target.close()
    graph = LayerGraph()
    if store is not None:
        from sim.images import Store

        if not (store / "oci-layout").is_file():
            raise click.ClickException(f"{store}: this is no image store; name one, such as layerlab-demo/store")
        with Store(store) as opened:
            add_store(graph, opened)
            _with_files(graph, files)
    else:
        add_engine(graph, data_root())
        _with_files(graph, files)
    return graph


def _with_files(graph: LayerGraph, files: bool) -> None:
    if files:
        for stack in graph.all_stacks():
            graph.add_files(stack)
