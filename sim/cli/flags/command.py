"""Commands with Docker's manners on click's ground.

Decided here and only here: how a command is declared, what is said and which status is given for wrong usage: 125 for a
wrong flag, 1 for a wrong number of arguments. A `Call` is one running command; one thread.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from sim.cli.failure import Failure
from sim.cli.flags.flag import Flag, switch, word_of
from sim.cli.flags.parse import FlagProblem, parse

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

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


class DockerCommand(click.Command):
    """A command; made by `docker`."""

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
        super().__init__(name, help=line, add_help_option=False)
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

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the flags as click has them, which completes by them."""
        return [
            click.Option(
                [f"--{flag.name}", *([f"-{flag.short}"] if flag.short else [])],
                is_flag=flag.kind == "bool",
                multiple=flag.several,
                metavar=word_of(flag) or None,
                help=flag.text,
                hidden=flag.hidden,
            )
            for flag in self.flags
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words."""
        try:
            values, given, rest = parse(args, self.flags, mixed=self.mixed)
        except FlagProblem as problem:
            if ctx.resilient_parsing:
                return []
            raise Failure(f"{problem}\n\n{self._usage(ctx)}\n\n{_more(ctx, 'Run')}", 125) from None
        if ctx.resilient_parsing:
            return []
        if values["help"]:
            click.echo(self.get_help(ctx))
            ctx.exit(0)
        self._check_count(ctx, len(rest))
        root = ctx.find_root()
        settings = root.obj if isinstance(root.obj, dict) else {}
        ctx.meta["sim.cli.call"] = Call(ctx.command_path, values, given, rest, settings)
        return []

    def _usage(self, ctx: click.Context) -> str:
        return "Usage:  " + "\n        ".join(f"{ctx.command_path} {one}".rstrip() for one in self.usage)

    def _check_count(self, ctx: click.Context, count: int) -> None:
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
            wanted = f"requires at least {self.least} and at most {self.most} argument{'s' * (self.most != 1)}"
        path = ctx.command_path
        raise Failure(f"layerlab: '{path}' {wanted}\n\n{self._usage(ctx)}\n\n{_more(ctx, see)}")

    def invoke(self, ctx: click.Context) -> int | None:
        """Run the command."""
        return self.run(ctx.meta["sim.cli.call"])

    def get_help(self, ctx: click.Context) -> str:
        """Return the help."""
        from sim.cli.flags.help import command_help

        usage = [f"{ctx.command_path} {one}".rstrip() for one in self.usage]
        text = f"{self.line}\n\n{self.text}" if self.text else self.line
        aliases = [f"layerlab {one}" for one in self.aliases]
        return command_help(usage, text, aliases, self.examples, self.flags)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the words that may come next: flags, or names that the daemon knows."""
        from sim.cli.completion import complete

        return complete(self, ctx, incomplete)


def _more(ctx: click.Context, word: str) -> str:
    return f"{word} '{ctx.command_path} --help' for more information"


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


class DockerGroup(click.Group):
    """A group of commands, each imported when it is asked for.

    Parameters
    ----------
    name, line
        Its name, and what it is for.
    table
        name -> (`module:attribute`, line in the help).
    hidden
        More names of the same, which the help leaves out.
    """

    def __init__(
        self, name: str, line: str, table: Mapping[str, tuple[str, str]], hidden: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(name, help=line, add_help_option=False, invoke_without_command=True, no_args_is_help=False)
        self.line = line
        self.table = table
        self.names = hidden or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if there is none of this name."""
        found = self.table.get(self.names.get(cmd_name, cmd_name))
        return load(found[0]) if found else None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the name of the command."""
        if not ctx.resilient_parsing:
            if not args or args[0] in ("--help", "-h"):
                click.echo(self.get_help(ctx), err=not args)
                ctx.exit(0)
            if args[0].startswith("-"):
                word = (
                    f"unknown flag: {args[0]}"
                    if args[0][1:2] == "-"
                    else f"unknown shorthand flag: '{args[0][1:2]}' in {args[0]}"
                )
                raise Failure(f"{word}\n\nUsage:  {ctx.command_path} COMMAND\n\n{_more(ctx, 'Run')}", 125)
            if self.get_command(ctx, args[0]) is None:
                path = ctx.command_path
                raise Failure(f"layerlab: unknown command: {path} {args[0]}\n\nUsage:  {path}\n\n{_more(ctx, 'Run')}")
        return super().parse_args(ctx, args)

    def get_help(self, ctx: click.Context) -> str:
        """Return the help."""
        from sim.cli.flags.help import group_help

        lines = [(name, line) for name, (_, line) in self.table.items()]
        return group_help(ctx.command_path, self.line, lines)


def load(place: str) -> click.Command:
    """Import a command by `module:attribute`; the attribute is `command` where it is not named."""
    module, _, attribute = place.partition(":")
    found = getattr(importlib.import_module(module), attribute or "command")
    assert isinstance(found, click.Command)
    return found


def say(text: str) -> None:
    """Say something beside the output, at once."""
    print(text, file=sys.stderr, flush=True)
