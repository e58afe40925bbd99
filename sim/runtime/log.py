"""The container's log: one JSON object a line, as Docker's json-file driver writes it, with rotation.

Decided here and only here: the format of the log file and when it is rotated. Written by the shim, which has one
thread; read by anybody at any time. A reader sees whole lines, but for one that is just being written at the very end.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Entry", "LogOptions", "LogWriter", "read_log", "rfc3339"]

_LONGEST = 16384  #: bytes of a line after which Docker begins a new entry


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Where a container's output is kept.

    Attributes
    ----------
    path
        File; older ones get ".1", ".2" and so on behind it. "" keeps nothing.
    max_size
        Bytes after which a new file is begun; 0 for never.
    max_files
        How many files are kept, the current one among them.
    """

    path: str = ""
    max_size: int = 0
    max_files: int = 1


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry: text with its line end, unless the line was too long or the last; "stdout" or "stderr"; when."""

    text: str
    stream: str
    time: str


def rfc3339(nanoseconds: int) -> str:
    """Format nanoseconds since the epoch as Docker does.

    Examples
    --------
    >>> rfc3339(1_500_000_000_000_000_042)
    '2017-07-14T02:40:00.000000042Z'
    """
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"


class LogWriter:
    """Cuts what comes into lines and writes them.

    A full disk loses lines, never the container: `lost` counts the bytes of entries that could not be written.
    """

    def __init__(self, options: LogOptions) -> None:
        self.options = options
        self.lost = 0
        self._pending: dict[str, bytes] = {}
        self._file = self._open() if options.path else -1
        self._size = os.fstat(self._file).st_size if self._file >= 0 else 0

    def _open(self) -> int:
        return os.open(self.options.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def write(self, stream: str, data: bytes) -> None:
        """Take what came on a stream; an unfinished line waits for its end."""
        if self._file < 0:
            return
        data = self._pending.pop(stream, b"") + data
        lines = data.splitlines(keepends=True) if b"\r" not in data else _split(data)
        if lines and not lines[-1].endswith(b"\n"):
            rest = lines.pop()
            while len(rest) >= _LONGEST:
                lines.append(rest[:_LONGEST])
                rest = rest[_LONGEST:]
            if rest:
                self._pending[stream] = rest
        self._put(stream, [part for line in lines for part in _cut(line)])

    def flush(self) -> None:
        """Write what has no line end, since no more comes."""
        for stream, rest in list(self._pending.items()):
            self._put(stream, [rest])
        self._pending.clear()

    def _put(self, stream: str, lines: list[bytes]) -> None:
        if not lines:
            return
        now = rfc3339(time.time_ns())
        entries = [{"log": line.decode("utf-8", "replace"), "stream": stream, "time": now} for line in lines]
        for start in range(0, len(entries), 64):
            text = "".join(
                json.dumps(entry, separators=(",", ":"), ensure_ascii=False) + "\n"
                for entry in entries[start : start + 64]
            )
            data = text.encode("utf-8", "replace")
            try:
                self._rotate(len(data))
                os.write(self._file, data)
                self._size += len(data)
            except OSError:
                self.lost += len(data)

    def _rotate(self, more: int) -> None:
        options = self.options
        if not options.max_size or self._size == 0 or self._size + more <= options.max_size:
            return
        os.close(self._file)
        if options.max_files > 1:
            for number in range(options.max_files - 1, 1, -1):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(f"{options.path}.{number - 1}", f"{options.path}.{number}")
            os.rename(options.path, f"{options.path}.1")
        else:
            os.unlink(options.path)
        self._file = self._open()
        self._size = 0

    def close(self) -> None:
        """Write the rest and close the file."""
        if self._file >= 0:
            self.flush()
            os.close(self._file)
            self._file = -1


def _split(data: bytes) -> list[bytes]:
    """Cut after each line feed alone; `bytes.splitlines` would cut after carriage returns too."""
    parts = data.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def _cut(line: bytes) -> list[bytes]:
    return [line[start : start + _LONGEST] for start in range(0, len(line), _LONGEST)]


def read_log(path: Path, max_files: int = 1) -> Iterator[Entry]:
    """Yield the entries of a log, oldest first, through its rotated files."""
    for number in range(max_files - 1, -1, -1):
        each = path.with_name(f"{path.name}.{number}") if number else path
        with contextlib.suppress(FileNotFoundError), each.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    with contextlib.suppress(ValueError, KeyError):
                        found = json.loads(line)
                        yield Entry(found["log"], found["stream"], found["time"])
