"""What several commands need: filters, doing one thing to several names, questions, the user's config file.

Decided here and only here: how filters are put for the API, and how errors of several names are told. One thread.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from sim.cli.failure import Failure

if TYPE_CHECKING:
    from sim.cli.flags import Call

__all__ = ["config_format", "confirmed", "each", "filter_query", "read_config", "say", "warn"]


def say(text: str) -> None:
    """Print a line."""
    print(text)


def warn(text: str) -> None:
    """Print a line on standard error."""
    sys.stdout.flush()
    print(text, file=sys.stderr, flush=True)


def filter_query(words: Iterable[str]) -> dict[str, dict[str, bool]] | None:
    """Return filters as the API wants them; None where there are none.

    >>> filter_query(["label=a=b", "label=c", "status=exited"])
    {'label': {'a=b': True, 'c': True}, 'status': {'exited': True}}
    """
    found: dict[str, dict[str, bool]] = {}
    for word in words:
        name, _, value = word.partition("=")
        found.setdefault(name.strip().lower(), {})[value.strip()] = True
    return found or None


def each(names: Iterable[str], action: Callable[[str], object]) -> None:
    """Do something to each name; go on behind one that fails, and fail at the end.

    Raises
    ------
    Failure
        One of them failed; all that was said is in it.
    """
    problems = []
    for name in names:
        try:
            action(name)
        except Failure as error:
            problems.append(error.text)
    if problems:
        raise Failure("\n".join(problems))


def confirmed(question: str) -> bool:
    """Ask a question and return whether the answer was yes."""
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    answer = sys.stdin.readline()
    if not answer and not sys.stdin.isatty():
        print()
    return answer.strip().lower() == "y"


def read_config(settings: Any) -> dict[str, Any]:
    """Return the user's config file; empty where there is none or it cannot be read."""
    folder = settings.get("config") or os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
    try:
        with open(os.path.join(folder, "config.json"), "rb") as file:
            import json

            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def config_format(call: Call, key: str, *, quiet: bool = False) -> str:
    """Return the format that was asked for, or the one that the user's config file has for this command."""
    form = call.text("format")
    if form or quiet:
        return form
    return str(read_config(call.settings).get(key, ""))
