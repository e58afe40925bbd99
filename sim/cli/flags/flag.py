"""Flags.

Decided here and only here: what a flag is, and what it is when nobody gives it. Frozen values; any thread.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Flag", "filters", "formats", "many", "option", "switch"]


class Flag(NamedTuple):
    """A flag.

    Attributes
    ----------
    name, short
        The long name and the letter, without dashes; the letter may be empty.
    kind
        What its value is: a key of `sim.cli.flags.values.PARSERS`.
    text
        Its line in the help.
    default
        Its value where it is not given.
    several
        Whether it may be given several times.
    hidden
        Whether the help leaves it out.
    """

    name: str
    short: str
    kind: str
    text: str
    default: object
    several: bool = False
    hidden: bool = False

    @property
    def shown(self) -> str:
        """How errors name it."""
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


_WORDS = {"swap": "bytes", "pairs": "stringToString"} | dict.fromkeys(
    ("env", "label", "tag", "host", "address", "attach", "weight", "bps", "iops"), "list"
)


def word_of(flag: Flag) -> str:
    """Return what the help calls the flag's value; empty for a switch."""
    return "" if flag.kind == "bool" else _WORDS.get(flag.kind, flag.kind)


def _split(names: str) -> tuple[str, str]:
    """Return the long name and the letter of `-a, --all` or `--all`."""
    short, comma, name = names.partition(", ")
    return (name[2:], short[1:]) if comma else (short[2:], "")


def switch(names: str, text: str, default: bool = False, *, hidden: bool = False) -> Flag:
    """Return a flag that is on or off."""
    return Flag(*_split(names), "bool", text, default, hidden=hidden)


def option(names: str, kind: str, text: str, default: object = None, *, hidden: bool = False) -> Flag:
    """Return a flag with a value."""
    if default is None:
        default = "" if kind == "string" else 0
    return Flag(*_split(names), kind, text, default, hidden=hidden)


def many(names: str, kind: str, text: str, *, hidden: bool = False) -> Flag:
    """Return a flag that may be given several times."""
    return Flag(*_split(names), kind, text, (), several=True, hidden=hidden)


def filters(names: str = "-f, --filter", text: str = "Only what fits: KEY=VALUE; may be repeated") -> Flag:
    """Return the flag `--filter`."""
    return many(names, "filter", text)


def formats(names: str = "--format", *, table: bool = True) -> Flag:
    """Return the flag `--format`."""
    how = "table, table TEMPLATE, json or TEMPLATE" if table else "json or TEMPLATE"
    return option(names, "string", f"How it is printed: {how}, with templates as Go has them")
