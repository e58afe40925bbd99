r"""Dockerfile text to instructions, by the real parser: BuildKit's, through the package `dockerfile`.

Decided here and only here: in what process the parser runs, and what is refused before it is asked. The package is a Go
shared library. Within a daemon it would bring a second runtime along: its own threads, signal handlers (SIGSEGV,
SIGPIPE, SIGURG and more), a heap that is never given back, and should the parser ever panic, the end of the process
with every connection of the daemon. So it runs in a small process of its own, which is started at the first build,
asked in a millisecond from then on, and ends after a minute without work. It passes its results through C strings,
which end at a zero byte, and reads lines of at most 64 KiB without complaint; both are refused here. Any thread may
call.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sim.build.errors import BuildError, DockerfileError

__all__ = ["Heredoc", "Instruction", "Parsed", "parse"]

_LONGEST_LINE = 65_535
_LARGEST = 16 << 20
_PATIENCE = 30.0
_DIRECTIVE = re.compile(r"^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*$")


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A document within an instruction: its name, its text, whether variables in it are replaced."""

    name: str
    content: str
    expand: bool = True


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction as it stands in the file.

    Attributes
    ----------
    name
        In lower case: "run".
    original
        The whole of it, continued lines joined.
    words
        What follows the name and the flags, split as the instruction wants it.
    is_json
        Whether it was in its JSON form.
    flags
        Such as `--from=base`.
    line, last_line
        Where it stands; the first line is 1.
    """

    name: str
    original: str
    words: tuple[str, ...]
    is_json: bool = False
    flags: tuple[str, ...] = ()
    line: int = 1
    last_line: int = 1
    heredocs: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class Parsed:
    """A Dockerfile: its instructions, its escape character, and what is to be warned of."""

    instructions: tuple[Instruction, ...]
    escape: str = "\\"
    warnings: tuple[str, ...] = ()


def parse(text: str, what: str = "Dockerfile") -> Parsed:
    """Parse a Dockerfile.

    Raises
    ------
    DockerfileError
        It is none; the text is Docker's.
    """
    if not text.strip("\ufeff"):
        raise DockerfileError(f"the Dockerfile ({what}) cannot be empty")
    if "\0" in text:
        raise DockerfileError(
            f"failed to parse {what}: a zero byte in line {text[: text.index(chr(0))].count(chr(10)) + 1}"
        )
    if len(text) > _LARGEST:
        raise DockerfileError(f"failed to parse {what}: it is larger than {_LARGEST} bytes")
    for line in text.splitlines():
        if len(line) > _LONGEST_LINE and len(line.encode()) > _LONGEST_LINE:
            raise DockerfileError(
                f"failed to parse {what}: dockerfile line greater than maximum allowed size of {_LONGEST_LINE}"
            )
    error, found = _PARSER.ask(text)
    if error is not None:
        raise DockerfileError(f"failed to parse {what}: {error}")
    instructions = tuple(_instruction(*values) for values in found)
    return Parsed(instructions, escape_of(text), tuple(_warnings(text, instructions)))


def _warnings(text: str, instructions: tuple[Instruction, ...]) -> Iterator[str]:
    """Yield what the parser warns of and its binding keeps to itself: blank lines within an instruction."""
    lines = text.split("\n")
    found = [
        f"Empty continuation line found in:\n    {each.original}"
        for each in instructions
        if not each.heredocs and any(not line.strip() for line in lines[each.line : each.last_line - 1])
    ]
    if found:
        yield from found
        yield "Empty continuation lines will become errors in a future release."


def escape_of(text: str) -> str:
    """Return the escape character that the directives at a Dockerfile's beginning choose.

    >>> escape_of("# syntax=x\\n# escape=`\\nFROM x")
    '`'
    """
    for line in text.lstrip("\ufeff").splitlines():
        found = _DIRECTIVE.match(line.strip())
        if found is None:
            break
        if found[1].lower() == "escape":
            return found[2]
    return "\\"


def _instruction(
    name: str | None,
    original: str | None,
    words: list[str],
    is_json: bool,
    flags: list[str],
    line: int,
    last_line: int,
    heredocs: list[list[str]],
) -> Instruction:
    name, original = name or "", original or ""  # there is none where a line that is continued is the last one
    documents = []
    for number, (tag, content) in enumerate(heredocs):
        marks = list(re.finditer(r"<<(-?)(\S+)", original.split("\n", 1)[0]))
        mark = marks[number] if number < len(marks) else None
        if mark is not None and mark[1]:
            content = re.sub(r"(?m)^\t+", "", content)
        quoted = mark is not None and any(sign in mark[2] for sign in "'\"\\")
        documents.append(Heredoc(tag, content, not quoted))
    return Instruction(
        name.lower(), original.strip(), tuple(words), is_json, tuple(flags), line, last_line, tuple(documents)
    )


class _Parser:
    """The parser's process; started when it is needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, text: str) -> tuple[str | None, list[list[Any]]]:
        data = text.encode(errors="replace")
        with self._lock:
            try:
                answer = self._try(data)
            except (OSError, EOFError):  # it ended for want of work, or was killed
                self._end()
                try:
                    answer = self._try(data)
                except (OSError, EOFError):
                    self._end()
                    raise BuildError("the Dockerfile parser ended without an answer") from None
        error, found = json.loads(answer)
        return error, found

    def _try(self, data: bytes) -> bytes:
        process = self._process
        if process is None or process.poll() is not None:
            self._end()
            process = self._process = self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(len(data).to_bytes(4, "big") + data)
        process.stdin.flush()
        end = time.monotonic() + _PATIENCE
        length = int.from_bytes(self._read(process.stdout.fileno(), 4, end), "big")
        return self._read(process.stdout.fileno(), length, end)

    @staticmethod
    def _read(descriptor: int, count: int, end: float) -> bytes:
        found = b""
        while len(found) < count:
            ready = select.poll()
            ready.register(descriptor, select.POLLIN)
            if not ready.poll(max(0.0, end - time.monotonic()) * 1000):
                raise EOFError
            part = os.read(descriptor, count - len(found))
            if not part:
                raise EOFError
            found += part
        return found

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        import importlib.util

        known = importlib.util.find_spec("dockerfile")
        if known is None or known.origin is None:
            raise BuildError("the package 'dockerfile' is not installed: pip install dockerfile")
        program = Path(__file__).with_name("goparse.py")
        return subprocess.Popen(
            [sys.executable, "-I", "-S", str(program), os.path.dirname(known.origin)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()

    def close(self) -> None:
        with self._lock:
            self._end()


_PARSER = _Parser()


def end_parser() -> None:
    """End the parser's process; the next build starts another."""
    _PARSER.close()
