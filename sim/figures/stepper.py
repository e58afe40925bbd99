"""A page to step through the operations of a stack: one HTML file, with nothing to load from anywhere.

Decided here: how the data of `sim.graph.steps` become a page. The page itself, its look and its few lines of script are
in `stepper.html`. `#N` after the file's name opens it at step N, `#N:PATH` with a path's history. Any thread may call.
"""

from __future__ import annotations

from typing import Any

from sim.figures.pages import page_of
from sim.figures.text import plural, safe
from sim.graph.views import Box, OperationStep, Steps

__all__ = ["stepper"]


def stepper(data: Steps) -> str:
    """Return the page.

    Parameters
    ----------
    data
        From `sim.graph.steps`.
    """
    first = data.steps[0].section
    document = {
        "paths": [safe(path) for path in first.paths],
        "rows": [{"label": row.label, "name": safe(row.name), "rw": row.rw} for row in first.rows],
        "steps": [_step(step) for step in data.steps],
        "histories": {
            safe(path): [[number, safe(words)] for number, words in events] for path, events in data.histories.items()
        },
    }
    shown = len(data.steps) - 1
    title = f"{data.name}: {plural(shown, 'change')}, step by step"
    subtitle = f"{plural(data.operations, 'operation')} recorded; those that changed the RW layer are the steps."
    if data.left_out:
        subtitle += f" {plural(data.left_out, 'later change')} not shown."
    return page_of("stepper", title, subtitle, document)


def _step(step: OperationStep) -> dict[str, Any]:
    return {
        "number": step.number,
        "words": safe(step.words),
        "touched": step.touched,
        "served": step.section.served,
        "boxes": [[_box(box) for box in row.boxes] for row in step.section.rows],
        "tree": [[safe(path), *rest] for path, rest in step.tree.items()],
    }


def _box(box: Box | None) -> list[str | bool] | None:
    return None if box is None else [box.state, box.how, box.opaque]
