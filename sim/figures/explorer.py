"""A page to look around in the layers of a stack: one HTML file, with nothing to load from anywhere.

Decided here: how the data of `sim.graph.exploration` become a page. The page itself and its few lines of script are in
`explorer.html`. `#N` after the file's name opens it at the layer of number N ("RW" for the RW layer), `#N:PATH` with a
path chosen. Any thread may call.
"""

from __future__ import annotations

from typing import Any

from sim.figures.pages import page_of
from sim.figures.text import bytes_text, plural, safe
from sim.graph.views import Exploration, LayerView

__all__ = ["explorer"]

_TYPES = {"file": "f", "directory": "d", "symlink": "l", "other": "o", "whiteout": "w"}


def explorer(data: Exploration) -> str:
    """Return the page.

    Parameters
    ----------
    data
        From `sim.graph.exploration`.
    """
    numbers: dict[str, int] = {}
    for layer in data.layers:
        for change in layer.changes:
            numbers.setdefault(change.path, len(numbers))
    document = {
        "paths": [safe(path) for path in numbers],
        "layers": [_layer(layer, numbers) for layer in data.layers],
        "histories": {
            numbers[path]: [safe(words) for words in events]
            for path, events in data.histories.items()
            if path in numbers
        },
        "waste": [[safe(one.path), one.bytes, one.layer, one.by, one.cause] for one in data.waste],
    }
    seen = (data.total - data.wasted) / data.total if data.total else 1.0
    subtitle = (
        f"{bytes_text(data.total)} in all layers. {seen:.1%} of it can be seen; {bytes_text(data.wasted)} cannot."
    )
    if data.left_out:
        subtitle += f" {plural(data.left_out, 'path')} left out."
    return page_of("explorer", f"{data.name}: {plural(len(data.layers), 'layer')} to look into", subtitle, document)


def _layer(layer: LayerView, numbers: dict[str, int]) -> dict[str, Any]:
    return {
        "label": layer.label,
        "name": safe(layer.name),
        "command": safe(layer.command),
        "rw": layer.rw,
        "bytes": layer.bytes,
        "files": layer.files,
        "changes": [
            [
                numbers[change.path],
                change.what,
                _TYPES[change.type],
                change.bytes,
                safe(change.target),
                int(change.opaque),
            ]
            for change in layer.changes
        ],
    }
