"""Commands with Docker's manners.

Decided here and only here: how a command is declared, what is said and which status is given for wrong usage: 125 for a
wrong flag, 1 for a wrong number of arguments. A `Call` is one running command; one thread.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sim.cli.failure import Failure
from sim.cli.flags.flag import Flag, switch
from sim.cli.flags.parse import FlagProblem, parse

if TYPE_CHECKING:
    from sim.cli.client import Engine

__all__ = ["Call", "DockerCommand", "DockerGroup", "docker"]

_HELP = switch("--help", "Show this and end", hidden=True)


class Call:
    """A command as it was called.

    Attributes
    ----------
    path
        The command's words: `layerlab image ls`.
    arguments
        What is no flag.
    """

    def __init__(
        self,
        path: str,
        values: Mapping[str, object],
        given: set[str],
        arguments: list[str],
        settings: Mapping[str, Any],
    ) -> None:
        self.path = path
        self.arguments = arguments
        self.settings = settings
        self._values = values
        self._given = given
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine that the command is for; asked for the first time, it is started if that is to be done."""
        if self._engine is None:
            from sim.cli.client import connect

            self._engine = connect(self.settings)
        return self._engine

    def close(self) -> None:
        """End the connection."""
        if self._engine is not None:
            self._engine.close()

    def on(self, name: str) -> bool:
        """Return whether a switch is on."""
        return bool(self._values[name])

    def text(self, name: str) -> str:
        """Return a flag's text."""
        return str(self._values[name])

    def number(self, name: str) -> int:
        """Return a flag's number."""
        value = self._values[name]
        assert isinstance(value, int)
        return value

    def many(self, name: str) -> list[Any]:
        """Return what was given for a flag that may be given several times; texts mostly."""
        value = self._values[name]
        assert isinstance(value, list)
        return value

    def given(self, name: str) -> bool:
        """Return whether a flag was given."""
        return name in self._given


class DockerCommand:
    """A command; made by `docker`.

    Attributes are the arguments of `docker`.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Call], int | None],
        *,
        usage: Sequence[str],
        line: str,
        text: str,
        flags: Sequence[Flag],
        least: int,
        most: int | None,
        mixed: bool,
        aliases: Sequence[str],
        examples: Sequence[str],
        completes: str,
    ) -> None:
        self.name = name
        self.run = run
        self.usage = usage
        self.line = line
        self.text = text
        self.flags = (*flags, _HELP)
        self.least = least
        self.most = most
        self.mixed = mixed
        self.aliases = aliases
        self.examples = examples
        self.completes = completes

    def start(self, path: str, words: list[str], settings: Mapping[str, Any]) -> int | None:
        """Read the words and run the command.

        Parameters
        ----------
        path
            The words that led here: `layerlab image ls`.
        words
            What comes behind them.
        settings
            The options before the command.

        Raises
        ------
        Failure
            The words are wrong, or it cannot be done.
        """
        try:
            values, given, rest = parse(words, self.flags, mixed=self.mixed)
        except FlagProblem as problem:
            raise Failure(f"{problem}\n\n{self._usage(path)}\n\n{_more(path, 'Run')}", 125) from None
        if values["help"]:
            print(self.help(path))
            return 0
        self._check_count(path, len(rest))
        call = Call(path, values, given, rest, settings)
        try:
            return self.run(call)
        finally:
            call.close()

    def _usage(self, path: str) -> str:
        return "Usage:  " + "\n        ".join(f"{path} {one}".rstrip() for one in self.usage)

    def _check_count(self, path: str, count: int) -> None:
        if count >= self.least and (self.most is None or count <= self.most):
            return
        see = "Run"
        if self.most == 0:
            wanted = "accepts no arguments"
        elif self.most == self.least:
            wanted = f"requires {self.least} argument{'s' * (self.least != 1)}"
        elif self.most is None:
            wanted, see = f"requires at least {self.least} argument{'s' * (self.least != 1)}", "See"
        elif self.least == 0:
            wanted = f"requires at most {self.most} argument{'s' * (self.most != 1)}"
        else:
            wanted = f"requires at least {self.least} and at most {self.most} arguments"
        raise Failure(f"layerlab: '{path}' {wanted}\n\n{self._usage(path)}\n\n{_more(path, see)}")

    def help(self, path: str) -> str:
        """Return the help."""
        from sim.cli.flags.help import command_help

        usage = [f"{path} {one}".rstrip() for one in self.usage]
        text = f"{self.line}\n\n{self.text}" if self.text else self.line
        return command_help(usage, text, [f"layerlab {one}" for one in self.aliases], self.examples, self.flags)


def _more(path: str, word: str) -> str:
    return f"{word} '{path} --help' for more information"


def docker(
    usage: str | Sequence[str],
    line: str,
    *flags: Flag,
    name: str = "",
    text: str = "",
    least: int = 0,
    most: int | None = 0,
    mixed: bool = True,
    aliases: Sequence[str] = (),
    examples: Sequence[str] = (),
    completes: str = "",
) -> Callable[[Callable[[Call], int | None]], DockerCommand]:
    """Make a command of the function below.

    Parameters
    ----------
    usage
        What comes after its name, one text or several.
    line
        What it does, in one line.
    flags
        Its flags.
    name
        Its name, where the function has another.
    text
        More of what it does.
    least, most
        How many arguments it takes; None for any number.
    mixed
        Whether flags may stand behind arguments.
    aliases
        All of its names, without `layerlab`.
    examples
        Lines for the help.
    completes
        What its arguments name: `container`, `running`, `image`, `volume`, `network`, several with a blank between.
    """

    def make(run: Callable[[Call], int | None]) -> DockerCommand:
        return DockerCommand(
            name or run.__name__.strip("_"),
            run,
            usage=(usage,) if isinstance(usage, str) else usage,
            line=line,
            text=text,
            flags=flags,
            least=least,
            most=most,
            mixed=mixed,
            aliases=aliases,
            examples=examples,
            completes=completes,
        )

    return make


class DockerGroup:
    """A group of commands, each imported when it is asked for.

    Parameters
    ----------
    name, line
        Its name, and what it is for.
    table
        name -> (`module:attribute`, line in the help).
    others
        More names of the same, which the help leaves out.
    """

    def __init__(
        self, name: str, line: str, table: Mapping[str, tuple[str, str]], others: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.line = line
        self.table = table
        self.others = others or {}

    def command(self, name: str) -> DockerCommand | None:
        """Import a command; None if there is none of this name."""
        found = self.table.get(self.others.get(name, name))
        if found is None:
            return None
        command = load(found[0])
        assert isinstance(command, DockerCommand)
        return command

    def start(self, path: str, words: list[str], settings: Mapping[str, Any]) -> int | None:
        """Run the command that is named first; parameters and errors as in `DockerCommand.start`."""
        if not words or words[0] in ("--help", "-h"):
            print(self.help(path), file=sys.stdout if words else sys.stderr)
            return 0
        first = words[0]
        if first.startswith("-"):
            word = f"flag: {first}" if first.startswith("--") else f"shorthand flag: '{first[1:2]}' in {first}"
            raise Failure(f"unknown {word}\n\nUsage:  {path}\n\n{_more(path, 'Run')}", 125)
        command = self.command(first)
        if command is None:
            raise Failure(f"layerlab: unknown command: {path} {first}\n\nUsage:  {path}\n\n{_more(path, 'Run')}")
        return command.start(f"{path} {first}", words[1:], settings)

    def help(self, path: str) -> str:
        """Return the help."""
        from sim.cli.flags.help import group_help

        return group_help(path, self.line, [(name, line) for name, (_, line) in self.table.items()])


def load(place: str) -> DockerCommand | DockerGroup:
    """Import a command or group by `module:attribute`."""
    module, _, attribute = place.partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, DockerCommand | DockerGroup)
    return found
