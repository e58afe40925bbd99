"""A container's output, read from its log: the end of it, a span of time, and what comes while it runs.

Decided here and only here: how a log is read quickly (in large pieces, many lines decoded by one call, the last lines
found from the end), how rotation is followed, and when following ends: with the run that it began in. The format of
the log is decided in `sim.runtime.log`. A `LogWish` belongs to one thread.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sim.engine.container import Container
from sim.engine.errors import BadParameterError, EngineError
from sim.engine.inotify import Notices
from sim.engine.times import moment
from sim.runtime.log import rfc3339

if TYPE_CHECKING:
    from sim.engine.containers import Containers

__all__ = ["LogWish", "Logs"]

_PIECE = 1 << 20
_LONGEST_LINE = 1 << 20


class _Line(msgspec.Struct):
    """One entry of a log."""

    log: str
    stream: str
    time: str


_DECODER = msgspec.json.Decoder(_Line)


class Logs:
    """Reads the logs of one engine's containers."""

    def __init__(self, owner: Containers) -> None:
        self._owner = owner

    def wish(
        self,
        name: str,
        streams: Sequence[str],
        *,
        follow: bool = False,
        since: str = "",
        until: str = "",
        tail: str = "",
        timestamps: bool = False,
        details: bool = False,
    ) -> LogWish:
        """Return what reads a container's log.

        Parameters
        ----------
        streams
            "stdout", "stderr".
        since, until
            Moments as clients write them.
        tail
            How many of the last lines; "all" or anything that is no number for all.

        Raises
        ------
        BadParameterError
            A moment is none.
        EngineError
            The container keeps no log.
        """
        container = self._owner.get(name)
        if container.record.host_config.log_config.type == "none":
            raise EngineError("configured logging driver does not support reading")
        span = []
        for text in (since, until):
            try:
                span.append(moment(text) if text not in ("", "0") else 0)
            except BadParameterError:
                raise BadParameterError(f'invalid value for "{"until" if span else "since"}": {text}') from None
        last = int(tail) if tail.isdigit() else -1
        extras = _extras(container) if details else b""
        path = self._owner.starting.log_path(container.id)
        return LogWish(container, path, frozenset(streams), follow, (span[0], span[1]), last, timestamps, extras)


def _extras(container: Container) -> bytes:
    """Return the attributes that `details` shows before each line: labels and variables that the options name."""
    record = container.record
    options = record.host_config.log_config.config or {}
    variables = dict(each.partition("=")[::2] for each in record.config.env or ())
    found = {name: record.labels[name] for name in options.get("labels", "").split(",") if name in record.labels}
    found |= {name: variables[name] for name in options.get("env", "").split(",") if name in variables}
    return ",".join(f"{key}={value}" for key, value in sorted(found.items())).encode() + b" "


class LogWish:
    """What somebody wants to read of a container's log.

    Attributes
    ----------
    terminal
        Whether the container has a terminal: then its output goes out as it is, without frames.
    """

    def __init__(
        self,
        container: Container,
        path: Path,
        streams: frozenset[str],
        follow: bool,
        span: tuple[int, int],
        tail: int,
        timestamps: bool,
        extras: bytes,
    ) -> None:
        self._container, self._path, self._streams = container, path, streams
        self._follow, self._tail, self._timestamps, self._extras = follow, tail, timestamps, extras
        # Moments are compared as they are written: RFC 3339 in UTC, nine digits of a fraction.
        self._since = rfc3339(span[0]) if span[0] else ""
        self._until = rfc3339(span[1]) if span[1] else ""
        self.terminal = container.record.config.tty
        self._gone = threading.Event()
        self._bell = -1

    @contextlib.contextmanager
    def follower(self, gone: threading.Event) -> Iterator[Callable[[], None]]:
        """Follow, if it was wished, while this lasts; the function ends it, from any thread."""
        self._gone = gone
        with self._container.bell() as bell:
            self._bell = bell
            lock = threading.Lock()
            open_ = [True]

            def ring() -> None:
                gone.set()
                with lock:
                    if open_:
                        os.eventfd_write(bell, 1)

            try:
                yield ring
            finally:
                with lock:
                    open_.clear()
                self._bell = -1

    def pieces(self) -> Iterator[bytes]:
        """Yield the output, framed where there is no terminal."""
        follow = self._follow and self._bell >= 0 and self._container.state.running
        exits = self._container.exits
        notices = Notices(self._path.parent) if follow else None
        try:
            file: io.FileIO | None = None
            for path, start in self._files():
                if file is not None:
                    file.close()
                file = io.FileIO(path)
                file.seek(start)
                yield from self._read(file)
            while notices is not None and not self._gone.is_set():
                over = self._container.exits != exits or self._container.gone
                if file is None and self._path.exists():
                    file = io.FileIO(self._path)
                if file is not None:
                    yield from self._read(file)
                    if self._is_rotated(file.fileno()):
                        yield from self._read(file)  # what was written before it was
                        file.close()
                        file = None
                        continue
                if over:
                    return
                self._sleep(notices)
        finally:
            if notices is not None:
                notices.close()
            if file is not None:
                file.close()

    def _is_rotated(self, descriptor: int) -> bool:
        try:
            there = os.stat(self._path)
        except FileNotFoundError:
            return False  # the next one is just being made
        mine = os.fstat(descriptor)
        return (there.st_dev, there.st_ino) != (mine.st_dev, mine.st_ino)

    def _sleep(self, notices: Notices) -> None:
        poll = select.poll()
        poll.register(notices.fileno(), select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        for descriptor, _ in poll.poll():
            if descriptor == notices.fileno():
                notices.clear()
            else:
                os.eventfd_read(self._bell)

    # -- where to begin

    def _files(self) -> list[tuple[Path, int]]:
        """Return the files to read, the oldest first, and where to begin in each."""
        options = self._container.record.host_config.log_config.config or {}
        most = int(options["max-file"]) if options.get("max-file", "").isdigit() else 1
        numbered = [self._path.with_name(f"{self._path.name}.{number}") for number in range(most - 1, 0, -1)]
        files = [path for path in (*numbered, self._path) if path.exists()]
        if self._tail < 0:
            return [(path, 0) for path in files]
        found: list[tuple[Path, int]] = []
        left = self._tail
        for path in reversed(files):
            start, lines = _last_lines(path, left, self._streams)
            found.append((path, start))
            left -= lines
            if left <= 0:
                break
        return found[::-1]

    # -- reading

    def _read(self, file: io.FileIO) -> Iterator[bytes]:
        """Yield what is in a file from where it is, whole lines only; what is no line yet is read again later."""
        rest = b""
        while True:
            data = file.read(_PIECE)
            if not data:
                break
            data = rest + data
            end = data.rfind(b"\n") + 1
            rest = data[end:]
            if len(rest) > _LONGEST_LINE:
                rest = b""  # no line that was ever written is so long
            if end:
                yield from self._shown(data[:end])
            if self._gone.is_set():
                return
        if rest:
            file.seek(-len(rest), os.SEEK_CUR)

    def _shown(self, data: bytes) -> Iterator[bytes]:
        try:
            lines = _DECODER.decode_lines(data)
        except msgspec.DecodeError:
            lines = list(_one_by_one(data))
        parts: list[bytes] = []
        heads = {"stdout": b"\x01\0\0\0", "stderr": b"\x02\0\0\0"}
        streams, since, until, terminal = self._streams, self._since, self._until, self.terminal
        plain = not self._timestamps and not self._extras
        for line in lines:
            if line.stream not in streams or (since and line.time < since) or (until and line.time > until):
                continue
            text = line.log.encode("utf-8", "surrogateescape")
            if not plain:
                text = self._decorated(line, text)
            if not terminal:
                parts.append(heads[line.stream])
                parts.append(len(text).to_bytes(4, "big"))
            parts.append(text)
        if parts:
            yield b"".join(parts)

    def _decorated(self, line: _Line, text: bytes) -> bytes:
        before = f"{line.time} ".encode() if self._timestamps else b""
        return before + self._extras + text


def _one_by_one(data: bytes) -> Iterator[_Line]:
    """Decode lines one of which is damaged: it is left out."""
    for line in data.splitlines():
        with contextlib.suppress(msgspec.DecodeError):
            yield _DECODER.decode(line)


def _last_lines(path: Path, count: int, streams: frozenset[str]) -> tuple[int, int]:
    """Return where the last lines of a file begin, and how many there are; lines of other streams do not count."""
    if count <= 0:
        return path.stat().st_size, 0
    both = len(streams) > 1
    mark = f'"stream":"{next(iter(streams))}"'.encode()
    with path.open("rb") as file:
        place = file.seek(0, os.SEEK_END)
        found, tail = 0, b""
        while place > 0:
            size = min(_PIECE, place)
            place -= size
            file.seek(place)
            data = file.read(size) + tail
            # The first line of what was read may be cut: it waits for the piece before it.
            first = data.find(b"\n") + 1 if place else 0
            at = len(data)
            while at > first:
                start = data.rfind(b"\n", first, at - 1) + 1
                start = max(start, first)
                if both or mark in data[start:at]:
                    found += 1
                    if found == count:
                        return place + start, found
                at = start
            tail = data[:first]
        return 0, found
