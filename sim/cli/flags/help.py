"""The help of a command: usage, what it does, its other names, examples, flags.

Decided here and only here: its layout, which is the docker command's with examples. Pure functions; any thread.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Sequence

from sim.cli.flags.flag import Flag, word_of

__all__ = ["command_help", "group_help"]


def _width() -> int:
    return max(60, min(shutil.get_terminal_size((80, 24)).columns, 120))


def _default(flag: Flag) -> str:
    match flag.default:
        case True:
            return " (default true)"
        case str() if flag.default:
            return f' (default "{flag.default}")'
        case int() if flag.default and not isinstance(flag.default, bool):
            return f" (default {flag.default})"
    return ""


def flag_lines(flags: Iterable[Flag]) -> list[str]:
    """Return the flags as lines, those with long names first in the order of the alphabet."""
    rows = []
    for flag in sorted(flags, key=lambda flag: flag.name):
        if not flag.hidden:
            letter = f"-{flag.short}, " if flag.short else "    "
            word = word_of(flag)
            rows.append((f"  {letter}--{flag.name}{' ' + word if word else ''}", flag.text + _default(flag)))
    left = max((len(row[0]) for row in rows), default=0) + 3
    lines = []
    for name, text in rows:
        first, *more = textwrap.wrap(text, max(24, _width() - left)) or [""]
        lines.append(f"{name.ljust(left)}{first}")
        lines.extend(" " * left + line for line in more)
    return lines


def command_help(
    usage: Sequence[str], text: str, aliases: Sequence[str], examples: Sequence[str], flags: Sequence[Flag]
) -> str:
    """Return a command's help."""
    parts = ["Usage:  " + "\n        ".join(usage), _wrapped(text)]
    if len(aliases) > 1:
        parts.append("Aliases:\n  " + ", ".join(aliases))
    if examples:
        parts.append("Examples:\n" + "\n".join(f"  {line}" for line in examples))
    lines = flag_lines(flags)
    if lines:
        parts.append("Options:\n" + "\n".join(lines))
    return "\n\n".join(parts)


def group_help(path: str, text: str, commands: Sequence[tuple[str, str]]) -> str:
    """Return a group's help."""
    left = max(11, *(len(name) for name, _ in commands)) + 1
    listed = "\n".join(f"  {name.ljust(left)}{line}" for name, line in commands)
    return (
        f"Usage:  {path} COMMAND\n\n{text}\n\nCommands:\n{listed}\n\n"
        f"Run '{path} COMMAND --help' for more information on a command."
    )


def _wrapped(text: str) -> str:
    return "\n\n".join(textwrap.fill(part, _width()) for part in text.split("\n\n"))
