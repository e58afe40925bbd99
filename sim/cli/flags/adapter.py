"""Docker's commands as click has them: for its help, and for the shell, whose words it completes.

Decided here and only here. Protocol adapter only: what a command is and does is decided in `sim.cli.flags.command`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from sim.cli.flags.command import DockerCommand, DockerGroup
from sim.cli.flags.flag import word_of

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

__all__ = ["adapted"]


def adapted(command: object) -> click.Command:
    """Return a command for click; click's own as they are."""
    if isinstance(command, DockerCommand):
        return _Command(command)
    if isinstance(command, DockerGroup):
        return _Group(command)
    assert isinstance(command, click.Command)
    return command


def _settings(ctx: click.Context) -> dict[str, Any]:
    found = ctx.find_root().obj
    return found if isinstance(found, dict) else {}


class _Command(click.Command):
    def __init__(self, command: DockerCommand) -> None:
        super().__init__(command.name, help=command.line, add_help_option=False)
        self.docker = command
        self._words: list[str] = []

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the flags as click has them."""
        return [
            click.Option(
                [f"--{flag.name}", *([f"-{flag.short}"] if flag.short else [])],
                is_flag=flag.kind == "bool",
                multiple=flag.several,
                metavar=word_of(flag) or None,
                help=flag.text,
                hidden=flag.hidden,
            )
            for flag in self.docker.flags
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the words: they are read when the command runs."""
        self._words = args
        return []

    def invoke(self, ctx: click.Context) -> int | None:
        """Run the command."""
        return self.docker.start(ctx.command_path, self._words, _settings(ctx))

    def get_help(self, ctx: click.Context) -> str:
        """Return the help."""
        return self.docker.help(ctx.command_path)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Return the words that may come next: flags, or names that the daemon knows."""
        from sim.cli.completion import complete

        return complete(self.docker, _settings(ctx), incomplete)


class _Group(click.Group):
    def __init__(self, group: DockerGroup) -> None:
        super().__init__(group.name, help=group.line, add_help_option=False)
        self.docker = group

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names."""
        return list(self.docker.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None if there is none of this name."""
        found = self.docker.command(cmd_name)
        return None if found is None else adapted(found)

    def get_help(self, ctx: click.Context) -> str:
        """Return the help."""
        return self.docker.help(ctx.command_path)
