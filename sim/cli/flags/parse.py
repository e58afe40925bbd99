"""A command line's words as flags and arguments, by the rules of the docker command.

Decided here and only here: how words are told apart, and what is said of a wrong one. Pure functions; any thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from sim.cli.flags.flag import Flag
from sim.cli.flags.values import PARSERS

__all__ = ["FlagProblem", "parse"]


class FlagProblem(Exception):  # noqa: N818 - the command words it further
    """A flag that is unknown, lacks its value, or has a wrong one."""


def parse(
    words: Sequence[str], flags: Sequence[Flag], *, mixed: bool = True
) -> tuple[dict[str, object], set[str], list[str]]:
    """Read words.

    Parameters
    ----------
    words
        What comes after the command's name.
    flags
        Those of the command.
    mixed
        Whether flags may also stand behind an argument; where not, all behind the first argument is arguments.

    Returns
    -------
    tuple
        Values by the flags' names, the names of those that were given, the arguments.

    Raises
    ------
    FlagProblem
        A word is wrong.

    Examples
    --------
    >>> from sim.cli.flags.flag import many, option, switch
    >>> flags = [switch("-i, --interactive", ""), switch("--rm", ""), option("-m, --memory", "bytes", "")]
    >>> values, given, rest = parse(["-im=1k", "--rm=false", "image", "-i"], flags, mixed=False)
    >>> sorted(values.items()), sorted(given), rest
    ([('interactive', True), ('memory', 1024), ('rm', False)], ['interactive', 'memory', 'rm'], ['image', '-i'])
    """
    long = {flag.name: flag for flag in flags}
    short = {flag.short: flag for flag in flags if flag.short}
    values: dict[str, object] = {flag.name: [] if flag.several else flag.default for flag in flags}
    given: set[str] = set()
    rest: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            rest.extend(waiting)
            break
        if word.startswith("--"):
            name, equals, text = word[2:].partition("=")
            if not name or name.startswith("-"):
                raise FlagProblem(f"bad flag syntax: {word}")
            if name not in long:
                raise FlagProblem(f"unknown flag: --{name}")
            flag = long[name]
            if not equals:
                if flag.kind == "bool":
                    text = "true"
                elif waiting:
                    text = waiting.pop(0)
                else:
                    raise FlagProblem(f"flag needs an argument: --{name}")
            _set(values, given, flag, text)
        elif word.startswith("-") and word != "-":
            _letters(word, short, waiting, values, given)
        else:
            rest.append(word)
            if not mixed:
                rest.extend(waiting)
                break
    return values, given, rest


def _letters(word: str, short: dict[str, Flag], waiting: list[str], values: dict[str, object], given: set[str]) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter not in short:
            raise FlagProblem(f"unknown shorthand flag: '{letter}' in {word}")
        flag = short[letter]
        if letters.startswith("="):
            _set(values, given, flag, letters[1:])
            return
        if flag.kind == "bool":
            _set(values, given, flag, "true")
            continue
        if not letters and not waiting:
            raise FlagProblem(f"flag needs an argument: '{letter}' in {word}")
        _set(values, given, flag, letters or waiting.pop(0))
        return


def _separated(text: str) -> list[str]:
    import csv

    return next(csv.reader([text]), [""])


def _set(values: dict[str, object], given: set[str], flag: Flag, text: str) -> None:
    try:
        parts = _separated(text) if flag.kind == "strings" and text else [text]
        found = [PARSERS[flag.kind](part) for part in parts]
    except ValueError as error:
        raise FlagProblem(f'invalid argument "{text}" for "{flag.shown}" flag: {error}') from None
    if flag.several:
        kept = values[flag.name]
        assert isinstance(kept, list)
        kept.extend(found)
    else:
        values[flag.name] = found[0]
    given.add(flag.name)
