"""What an engine tells while it pulls, pushes, builds, loads and imports.

Decided here and only here: on a terminal each layer has a line that is written over, elsewhere only what is done is a
line. One thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TextIO

from sim.cli.failure import Failure
from sim.cli.show.human import size

__all__ = ["show_progress"]

#: The bar is shown on a terminal that is wider than this.
_WIDE = 110


def show_progress(
    messages: Iterable[Mapping[str, Any]],
    out: TextIO | None = None,
    aux: Callable[[Any], None] | None = None,
    *,
    quiet: bool = False,
) -> None:
    """Show messages as they come.

    Parameters
    ----------
    out
        Where to; standard output where None.
    aux
        Gets what is meant for programs.
    quiet
        Show nothing, but see to errors.

    Raises
    ------
    Failure
        The engine says that it failed; the status is the code that it gives.
    """
    out = out or sys.stdout
    terminal = out.isatty()
    lines: dict[str, int] = {}
    for message in messages:
        if message.get("aux") is not None and aux is not None:
            aux(message["aux"])
            continue
        detail = message.get("errorDetail")
        if detail or message.get("error"):
            text = str((detail or {}).get("message") or message.get("error"))
            out.flush()
            raise Failure(text, int((detail or {}).get("code") or 1))
        if not quiet and message.get("aux") is None:
            _show(message, out, terminal, lines)
    out.flush()


def _show(message: Mapping[str, Any], out: TextIO, terminal: bool, lines: dict[str, int]) -> None:
    name = str(message.get("id") or "")
    progress = message.get("progressDetail")
    up = 0
    if name and progress is not None:
        if name not in lines:
            lines[name] = len(lines)
            if terminal:
                out.write("\n")
        up = len(lines) - lines[name]
        if terminal:
            out.write(f"\x1b[{up}A")
    else:
        lines.clear()
    _line(message, name, progress, out, terminal)
    if name and terminal:
        if up:
            out.write(f"\x1b[{up}B")
        out.flush()


def _line(
    message: Mapping[str, Any], name: str, progress: Mapping[str, Any] | None, out: TextIO, terminal: bool
) -> None:
    stream = str(message.get("stream") or "")
    shown = _progress(progress, _width(out) if terminal else 0) if progress is not None else ""
    end = ""
    if terminal and not stream and progress is not None:
        out.write("\x1b[2K\r")
        end = "\r"
    elif shown:
        return
    if name:
        out.write(f"{name}: ")
    if message.get("from"):
        out.write(f"(from {message['from']}) ")
    if progress is not None and terminal:
        out.write(f"{message.get('status', '')} {shown}{end}")
    elif stream:
        out.write(f"{stream}{end}")
        if not terminal:
            out.flush()
    else:
        out.write(f"{message.get('status', '')}{end}\n")


def _width(out: TextIO) -> int:
    try:
        return os.get_terminal_size(out.fileno()).columns
    except (OSError, ValueError):
        return 200


def _progress(detail: Mapping[str, Any], width: int) -> str:
    """Return how far something is.

    >>> _progress({"current": 500, "total": 1000}, 120)
    '[=========================>                         ]     500B/1kB'
    >>> _progress({"current": 500}, 120), _progress({}, 120)
    ('    500B', '')
    """
    current, total = detail.get("current") or 0, detail.get("total") or 0
    unit = detail.get("units") or ""
    if current <= 0 and total <= 0:
        return ""
    if total <= 0:
        return f"{current} {unit}" if unit else f"{size(current):>8}"
    done = min(50, int(current / total * 100) // 2)
    bar = f"[{'=' * done}>{' ' * (50 - done)}] " if width > _WIDE else ""
    if detail.get("hidecounts"):
        return bar
    if unit:
        return bar + (f"{current}/{total} {unit}" if current <= total else f"{current} {unit}")
    return bar + f"{size(current):>8}" + (f"/{size(total)}" if current <= total else "")
