"""What pull, push, load and save tell while they work, as the JSON lines that clients draw.

Decided here and only here: the fields of each line. Functions only; any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sim.engine.units import size
from sim.images.digest import hexadecimal
from sim.images.progress import Progress, Stage

__all__ = ["error_line", "progress_line", "text_of"]

_BARS = frozenset({Stage.DOWNLOADING, Stage.EXTRACTING, Stage.PUSHING})
_WIDTH = 50


def _bar(current: int, total: int) -> str:
    """Return what clients show that do not draw themselves."""
    if total <= 0:
        return f"{size(current):>8}"
    part = min(100 * current // total, 100) // (100 // _WIDTH)
    rest = _WIDTH - part - 1
    box = f"[{'=' * part}>{' ' * rest}] " if rest >= 0 else f"[{'=' * _WIDTH}>] "
    return f"{box}{size(current):>8}/{size(total)}"


def progress_line(progress: Progress, word: Callable[[Progress], str | None] | None = None) -> Mapping[str, Any] | None:
    """Return the line for one thing that was told; None where clients are not told of it.

    Parameters
    ----------
    word
        Says the status in another way; None leaves the usual words.
    """
    stage = progress.stage
    if stage is Stage.STATUS:
        return {"status": progress.text}
    status = (word(progress) if word is not None else None) or str(stage)
    if stage is Stage.MOUNTED:
        status = f"Mounted from {progress.text}"
    line: dict[str, Any] = {"status": status, "progressDetail": {}}
    if stage in _BARS and progress.total:
        line["progressDetail"] = {"current": progress.current, "total": progress.total}
        line["progress"] = _bar(progress.current, progress.total)
    line["id"] = hexadecimal(progress.layer)[:12] if progress.layer else ""
    return line


def error_line(text: str, code: int | None = None) -> Mapping[str, Any]:
    """Return the line that tells of a failure after the answer has begun."""
    detail: dict[str, Any] = {"message": text}
    if code is not None:
        detail = {"code": code, "message": text}
    return {"errorDetail": detail, "error": text}


def text_of(kind: str, text: str) -> Mapping[str, Any]:
    """Return a line of text: `stream` or `status`."""
    return {kind: text}
