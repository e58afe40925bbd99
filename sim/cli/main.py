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
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from sim.cli.failure import Failure
from sim.cli.interrupt import InterruptedBySignal
from sim.cli.table import COMMANDS

if TYPE_CHECKING:
    from sim.cli.flags import DockerCommand, DockerGroup

__all__ = ["COMMANDS", "main", "run"]

#: Where the commands are that the docker command has too.
_OURS_AND_DOCKERS = "sim.cli.commands."

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


def _quick(arguments: Sequence[str]) -> tuple[DockerCommand | DockerGroup, str, list[str], dict[str, Any]] | None:
    """Return a command that needs no click, its name, its words and the options before it; None for all others.

    click takes longer to import than such a command to run.
    """
    if "_LAYERLAB_COMPLETE" in os.environ:
        return None
    at, settings = 0, {**_SETTINGS, "host": ()}
    while at < len(arguments) and arguments[at].startswith("-"):
        name, equals, value = arguments[at].partition("=")
        if name in _SWITCHES and not equals:
            settings[_SWITCHES[name]] = True
            at += 1
            continue
        if name not in _VALUES:
            return None
        if not equals:
            at += 1
            if at == len(arguments):
                return None
            value = arguments[at]
        at += 1
        key = _VALUES[name]
        settings[key] = (*settings[key], value) if key == "host" else value
    if at == len(arguments):
        return None
    place = COMMANDS.get(arguments[at], ("",))[0]
    if not place.startswith(_OURS_AND_DOCKERS):
        return None
    from sim.cli.flags.command import load

    return load(place), arguments[at], list(arguments[at + 1 :]), settings


_SETTINGS: dict[str, Any] = {
    **dict.fromkeys(("config", "tlscacert", "tlscert", "tlskey", "log_level", "context_name"), ""),
    **dict.fromkeys(("tls", "tlsverify", "debug"), False),
}
_SWITCHES = {"--tls": "tls", "--tlsverify": "tlsverify", "-D": "debug", "--debug": "debug"}
_VALUES = {
    "-H": "host",
    "--host": "host",
    "-l": "log_level",
    "--log-level": "log_level",
    "-c": "context_name",
    "--context": "context_name",
    "--config": "config",
    "--tlscacert": "tlscacert",
    "--tlscert": "tlscert",
    "--tlskey": "tlskey",
}


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    Parameters
    ----------
    arguments
        What comes after the command's name; by default that of this process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    try:
        found = _quick(words)
        if found is not None:
            command, name, rest, settings = found
            result = command.start(f"layerlab {name}", rest, settings)
        else:
            from sim.cli.group import run_with_click

            result = run_with_click(words, _complain)
        sys.stdout.flush()
        return result or 0
    except Failure as failure:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            if failure.text:
                print(failure.text, file=sys.stderr, flush=True)
        return failure.status
    except KeyboardInterrupt:
        _complain("interrupted")
        return 128 + signal.SIGINT
    except InterruptedBySignal as interruption:
        _complain(f"interrupted by {interruption}; what was made has been undone")
        return 128 + interruption.number
    except BrokenPipeError:
        # Python flushes standard output once more at its end; nobody reads that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except Exception as error:
        if not isinstance(error, (OSError, *_for_people())):
            raise
        _complain(_line(error))
        return 1


def main() -> NoReturn:
    """Run the command with this process's arguments and end the process."""
    sys.exit(run())
