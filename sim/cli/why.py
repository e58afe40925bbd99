"""`layerlab why`: the story of one path: which layer added, changed, copied up, deleted it, and which hide it.

Decided here: the words. The events are those of `sim.graph.history`, what hides what is from `sim.graph.merge`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from sim.graph import Column, Event, LayerStack

__all__ = ["command"]


@click.command("why")
@click.argument("path", metavar="PATH")
@click.argument("what", metavar="IMAGE|CONTAINER|FILE|STACK")
@click.option("--image", metavar="NAME", help="Which image of FILE, where it holds several.")
@click.option("--store", type=click.Path(path_type=Path), metavar="DIR", help="Look for the image in this store.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(path: str, what: str, image: str | None, store: Path | None, as_json: bool) -> None:
    """Tell which layer added, changed, copied up or deleted PATH, which one serves it now, and which hide it.

    Layer 0 is a container's RW layer; its events come from the journal, with the numbers of the operations.

    \b
    layerlab why /etc/passwd web:latest
    layerlab why /var/log/app.log my-container
    """
    from sim.engine.places import data_root
    from sim.explore import open_target
    from sim.graph import column, history

    clean = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
    target = open_target(what, root=data_root(), store=store, image=image)
    try:
        stack = target.stack
        events = history(stack, clean)
        found = column(stack.layers, clean)
        if as_json:
            click.echo(json.dumps({"path": clean, "events": [asdict(event) for event in events], **_now(stack, found)}))
            return
        for line in _lines(stack, clean, events, found):
            click.echo(line)
    finally:
        target.close()


def _now(stack: LayerStack, found: Column | None) -> dict[str, object]:
    served = found.served if found is not None else None
    return {
        "served_by": stack.number(served.position) if served is not None else None,
        "layers": [
            {
                "layer": stack.number(cell.position),
                "state": cell.state.value,
                "by": stack.number(cell.by) if cell.by is not None else None,
                "bytes": cell.entry.size,
            }
            for cell in (found.cells if found is not None else ())
        ],
    }


def _lines(stack: LayerStack, path: str, events: tuple[Event, ...], found: Column | None) -> list[str]:
    from sim.cli.words import printable, size_words
    from sim.graph import State, layer_title
    from sim.graph.stack import short_name

    def layer(number: int) -> str:
        position = stack.position(number)
        name = short_name(printable(layer_title(stack.layers[position])), 48) if position is not None else ""
        return f"layer {number}{f' ({name})' if name else ''}"

    lines = [f"{printable(path)} in {printable(stack.name)}"]
    for event in events:
        where = f"operation {event.operation}" if event.operation else layer(event.layer)
        size = f", {size_words(event.bytes)}" if event.bytes else ""
        detail = f" by {printable(event.detail)}" if event.detail and event.what == "hidden" else ""
        detail = f" ({printable(event.detail)})" if event.detail and not detail else detail
        lines.append(f"  {where}: {event.what}{detail}{size}")
    served = found.served if found is not None else None
    if served is None:
        lines.append("Now: it does not exist for a process")
    else:
        lines.append(f"Now: served by {layer(stack.number(served.position))}, {served.entry.type.value}")
    for cell in found.cells if found is not None else ():
        if cell.state is State.SHADOWED and cell.by is not None:
            what = "the whiteout" if cell.entry.is_whiteout else "that"
            lines.append(f"  hidden: {what} of {layer(stack.number(cell.position))}, by {layer(stack.number(cell.by))}")
        elif cell.state is State.MERGED:
            lines.append(f"  merged in: the directory of {layer(stack.number(cell.position))}")
        elif cell.state is State.WHITEOUT:
            lines.append(f"  whiteout: in {layer(stack.number(cell.position))}")
    return lines
