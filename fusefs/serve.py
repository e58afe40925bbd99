"""The process that serves one mount. Started by `mount.py` or `dropin.py`, never by hand.

Decided here and only here: what the process sets up before it serves, what it says to its starter, and how it ends.

An interpreter of its own gets one JSON object on standard input, the fields of `Request` (`main`); a process that was
forked for the mount gets the `Request` itself (`serve_forked`). It answers with one line on the descriptor that it was
given: `ok`, or `error` and a text for people. It ends when the mount is gone: unmounted, or the process told to end by
SIGTERM or SIGINT, which unmounts. The mount's source names the process, and the process is called `NAME`, so that each
is found by the other.
"""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fusefs import syscalls
from fusefs.errors import FusefsError
from fusefs.journal import JournalLayer, Level
from fusefs.marks import Format
from fusefs.operation import Operation
from fusefs.record import Record
from fusefs.recorder import Recorder
from fusefs.stack import Options, Redirect, Stack
from fusefs.union import Union

__all__ = ["NAME", "SOURCE", "Request", "layers_of", "main", "preload", "run", "serve_forked"]

#: What a serving process is called (`/proc/PID/comm`, at most 15 bytes), and what the source of its mount begins with.
NAME, SOURCE = "layerlab-mount", "layerlab:"


@dataclass(frozen=True, slots=True)
class Request:
    """What a serving process is asked to do; paths are text with surrogate escapes."""

    driver: str
    lower: list[str]
    upper: str | None
    work: str | None
    mountpoint: str
    mount_options: list[str]
    answer: int = -1
    journal: str | None = None
    level: str = Level.ALL
    names: list[str] = field(default_factory=list)
    log: str | None = None
    marks: str | None = None
    redirect: str = Redirect.FOLLOW
    index: bool = False
    metacopy: bool = False
    volatile: bool = False
    cache: bool = True
    tuning: dict[str, Any] = field(default_factory=dict)
    presentation: dict[str, object] | None = None
    door: str | None = None

    def to_json(self) -> str:
        """Return the text that is passed to the process."""
        return json.dumps(asdict(self))

    def options(self) -> Options:
        """Return how the stack behaves."""
        return Options(
            marks=Format(self.marks) if self.marks else None,
            redirect=Redirect(self.redirect),
            index=self.index,
            metacopy=self.metacopy,
            volatile=self.volatile,
            cache=self.cache,
        )

    def open_union(self) -> Union:
        """Open the union; where something is presented differently from the layers, one that does so."""
        if self.presentation is None:
            return Union(self.stack(), self.options())
        from fusefs.mapping import Presentation, PresentedUnion

        return PresentedUnion(self.stack(), self.options(), Presentation.from_plain(self.presentation))

    def stack(self) -> Stack:
        """Return the directories."""
        return Stack(
            tuple(Path(path) for path in self.lower),
            Path(self.upper) if self.upper else None,
            Path(self.work) if self.work else None,
        )


def layers_of(stack: Stack, names: list[str]) -> list[JournalLayer]:
    """Return how a journal describes a stack; `names` are those of the read-only layers, topmost first."""
    layers = [JournalLayer(0, "rw", "RW layer", stack.upper)] if stack.upper else []
    for number, path in enumerate(stack.lower, 1):
        name = names[number - 1] if number <= len(names) else path.name
        layers.append(JournalLayer(number, "ro", name, path))
    return layers


class _Answer:
    """The one line that the starter waits for; said once."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def say(self, text: str) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.write(fd, text.encode(errors="surrogateescape") + b"\n")
            os.close(fd)


def main() -> int:
    """Serve the mount that standard input describes; return the exit status."""
    request = Request(**json.load(sys.stdin))
    syscalls.set_name(NAME)
    return run(request, _Answer(request.answer).say)


def preload() -> None:
    """Load whatever serving a mount by the driver `devfuse` takes, so that processes forked from this one share it."""
    import fusefs.drivers.devfuse.session
    import fusefs.scribe  # noqa: F401


def serve_forked(request: Request, answer: int, log: int) -> int:
    """Serve a mount in a process that was forked for it, is called `NAME` and has one thread; return the exit status.

    Parameters
    ----------
    request
        What to serve.
    answer
        Descriptor that takes the one line.
    log
        Descriptor for messages; it becomes the process's error stream.
    """
    os.dup2(log, 2)
    os.close(log)
    gc.enable()  # a process that others are forked from collects nothing, to leave their pages shared
    return run(request, _Answer(answer).say)


def run(request: Request, say: Callable[[str], None], watch: Record | None = None) -> int:
    """Serve a mount in this process until it is gone; return the exit status.

    Parameters
    ----------
    request
        What to serve.
    say
        Called with `ok` once the mount can be used, or with `error` and a text for people.
    watch
        Called with every operation, besides what is recorded.
    """
    logging.basicConfig(filename=request.log, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    os.umask(0)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    syscalls.keep_capabilities()
    union: Union | None = None
    recorder: Recorder | None = None
    try:
        level = Level(request.level)
        union = request.open_union()
        union.record = watch
        if request.journal and level is not Level.NONE:
            layers = layers_of(request.stack(), request.names)
            recorder = Recorder(request.journal, layers, level=level, append=True, apart=True)
            union.record = recorder if watch is None else _both(recorder, watch)
            union.takes = recorder.takes
        syscalls.release_memory()  # which making the journal has taken
        _serve(request, union, say)
    except FusefsError as error:
        say(f"error {error}")
        return 1
    except ImportError as error:
        say(
            f"error fuse-python: cannot be used here ({error}); install the packages libfuse-dev, pkg-config and gcc,"
            " then run 'pip install fuse-python'"
        )
        return 1
    except OSError as error:
        say(f"error {request.mountpoint}: {error.strerror or error}")
        return 1
    finally:
        if recorder is not None:
            recorder.close()
        if union is not None:
            union.close()
    say(f"error {request.mountpoint}: the mount ended before it began; is the FUSE device usable?")
    return 0


def _both(recorder: Recorder, watch: Record) -> Record:
    """Return what gives every operation to both."""

    def record(operation: Operation, /) -> None:
        recorder(operation)
        watch(operation)

    return record


def _serve(request: Request, union: Union, say: Callable[[str], None]) -> None:
    """Run the driver until the mount is gone."""

    def ready() -> None:
        say("ok")

    options = list(request.mount_options)
    if not any(option.startswith("fsname=") for option in options):
        options.insert(0, f"fsname={SOURCE}{os.getpid()}")

    if request.driver == "fuse-python":
        from fusefs.drivers import fusepython

        fusepython.serve(union, request.mountpoint, options, ready)
    elif request.driver == "devfuse":
        from fusefs.drivers.devfuse import Tuning, session

        tuning = Tuning.from_plain(request.tuning)
        session.serve(union, request.mountpoint, options, ready, tuning, door=request.door)
    else:
        raise FusefsError(f"there is no driver {request.driver!r}")
