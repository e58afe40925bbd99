"""The `layerlab` command as click has it: the group of all commands, its options and its help.

Decided here and only here: how commands are listed, and which module of the table a name leads to. Commands that the
docker command has too run without this (`sim.cli.main`), unless the shell completes their words.
"""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from sim.cli.flags.adapter import adapted
from sim.cli.table import COMMANDS, SECTIONS

__all__ = ["LazyGroup", "cli", "run_with_click"]


class _ReaderGone(Exception):  # noqa: N818 - reads as what happened
    """The output's reader went away. click ends the process with status 1 where it sees a broken pipe itself."""


class LazyGroup(click.Group):
    """A group whose sub-commands are imported when they are asked for.

    The module of a sub-command has it under the name `command` where the table gives no other.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a sub-command; None if there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        return adapted(getattr(importlib.import_module(module), attribute or "command"))

    def invoke(self, ctx: click.Context) -> object:
        """Run the sub-command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderGone from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of sub-commands without importing them."""
        sections: list[tuple[str, list[tuple[str, str]]]] = []
        for name, (_, line) in COMMANDS.items():
            if name in SECTIONS:
                sections.append((SECTIONS[name], []))
            sections[-1][1].append((name, line))
        for heading, lines in sections:
            with formatter.section(heading):
                formatter.write_dl(lines)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with `layerlab demo`. `layerlab COMMAND --help` tells more.",
    no_args_is_help=False,
    invoke_without_command=True,
)
@click.option(
    "-H",
    "--host",
    multiple=True,
    metavar="ADDRESS",
    help="The engine to talk to: unix:///path, tcp://host:port, ssh://host.",
)
@click.option("--config", metavar="DIR", default="", help="Where the user's config.json is; by default ~/.docker.")
@click.option("-D", "--debug", is_flag=True, hidden=True)
@click.option("-l", "--log-level", metavar="WORD", default="info", hidden=True)
@click.option("-c", "--context", "context_name", metavar="NAME", default="", help="The context whose engine it is.")
@click.option("--tls", is_flag=True, help="Encrypt what goes over TCP.")
@click.option("--tlsverify", is_flag=True, help="Encrypt it, and check the engine's certificate.")
@click.option("--tlscacert", metavar="FILE", default="", help="Authority that signed the engine's certificate.")
@click.option("--tlscert", metavar="FILE", default="", help="Our own certificate.")
@click.option("--tlskey", metavar="FILE", default="", help="Its key.")
@click.option("-v", "--version", is_flag=True, help="Print the version and end.")
@click.pass_context
def cli(ctx: click.Context, /, version: bool, **settings: Any) -> None:
    """A small, real Docker whose every filesystem operation can be seen."""
    ctx.obj = settings
    if version:
        from importlib.metadata import version as installed

        click.echo(f"layerlab {installed('layerlab')}")
        ctx.exit(0)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def run_with_click(arguments: Sequence[str], complain: Callable[[str], None]) -> int:
    """Run a command by click and return its exit status.

    Parameters
    ----------
    arguments
        What comes after the command's name.
    complain
        Says one line on standard error.
    """
    try:
        result = cli.main(list(arguments), prog_name="layerlab", standalone_mode=False)
        sys.stdout.flush()
    except click.UsageError as error:
        place = error.ctx.command_path if error.ctx else "layerlab"
        command = "" if place == "layerlab" else f"{place.removeprefix('layerlab ')}: "
        text = " ".join(error.format_message().split()).rstrip(".")
        complain(f"{command}{text}. `{place} --help` lists what it takes.")
        return 2
    except click.ClickException as error:
        complain(" ".join(error.format_message().split()))
        return error.exit_code
    except click.Abort:
        complain("interrupted")
        return 128 + signal.SIGINT
    except _ReaderGone as error:
        raise BrokenPipeError from error
    return result if isinstance(result, int) else 0
