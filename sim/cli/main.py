"""The entry point of the `layerlab` command: which sub-commands there are, and how it ends.

Decided here and only here: the options before the command, the exit statuses, and that an error is one line on standard
error. Which commands there are is in `sim.cli.table`; a command's module is imported only when it runs, so that
`layerlab --help` is quick.

    0    done
    1    it could not be done; the line names the thing and the mend
    2    wrong usage
    130  interrupted with Ctrl-C; for another signal 128 and its number
    141  the reader of the output went away (`layerlab journal FILE | head`)

Commands that the docker command has too end with its words and its statuses instead (`sim.cli.failure`).

Anything else that is raised is a defect of the program, and its traceback is shown. One thread.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import click

from sim.cli.failure import Failure
from sim.cli.interrupt import InterruptedBySignal
from sim.cli.table import COMMANDS, SECTIONS

__all__ = ["COMMANDS", "LazyGroup", "cli", "main", "run"]

#: Base classes of errors whose text is made to be shown to people, as (module, name).
_FOR_PEOPLE = (
    ("fusefs.errors", "FusefsError"),
    ("sim.engine.errors", "EngineError"),
    ("sim.images.errors", "ImagesError"),
    ("sim.runtime.errors", "ContainerError"),
    ("sim.graph.errors", "GraphError"),
    ("sim.course.errors", "CourseError"),
    ("sim.bench.errors", "BenchError"),
)


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
        command = getattr(importlib.import_module(module), attribute or "command")
        assert isinstance(command, click.Command)
        return command

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
    "-H", "--host", multiple=True, metavar="ADDRESS", help="The engine to talk to: unix:///path or tcp://host:port."
)
@click.option("--config", metavar="DIR", default="", help="Where the user's config.json is; by default ~/.docker.")
@click.option("-D", "--debug", is_flag=True, hidden=True)
@click.option("-l", "--log-level", metavar="WORD", default="info", hidden=True)
@click.option("-c", "--context", "context_name", metavar="NAME", default="", hidden=True)
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


def _for_people() -> Iterator[type[Exception]]:
    """Yield the classes of `_FOR_PEOPLE`; what was not imported cannot have been raised."""
    for module, name in _FOR_PEOPLE:
        if module in sys.modules:
            yield getattr(sys.modules[module], name)


def _line(error: BaseException) -> str:
    """Return what is said about an error, in one line."""
    if isinstance(error, OSError) and error.strerror:
        names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
        text = ": ".join([*names, error.strerror])
    else:
        text = str(error) or type(error).__name__
    return " ".join(text.split())


def _complain(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"layerlab: {text}", file=sys.stderr, flush=True)


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Parameters
    ----------
    arguments
        What comes after the command's name; by default that of this process.
    """
    try:
        result = cli.main(arguments, prog_name="layerlab", standalone_mode=False)
        sys.stdout.flush()
    except Failure as failure:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            if failure.text:
                print(failure.text, file=sys.stderr, flush=True)
        return failure.status
    except click.UsageError as error:
        place = error.ctx.command_path if error.ctx else "layerlab"
        command = "" if place == "layerlab" else f"{place.removeprefix('layerlab ')}: "
        text = _line(Exception(error.format_message())).rstrip(".")
        _complain(f"{command}{text}. `{place} --help` lists what it takes.")
        return 2
    except click.ClickException as error:
        _complain(_line(Exception(error.format_message())))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _complain("interrupted")
        return 128 + signal.SIGINT
    except InterruptedBySignal as interruption:
        _complain(f"interrupted by {interruption}; what was made has been undone")
        return 128 + interruption.number
    except (BrokenPipeError, _ReaderGone):
        # Python flushes standard output once more at its end; nobody reads that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        if not isinstance(error, (OSError, *_for_people())):
            raise
        _complain(_line(error))
        return 1
    return result if isinstance(result, int) else 0


def main() -> NoReturn:
    """Run the command with this process's arguments and end the process."""
    sys.exit(run())
