"""One driver in use: a stack that it has mounted, or a directory, or an engine that runs containers.

Decided here and only here: what the harness asks of a driver that is measured. A `Session` belongs to the harness's
thread; only `kill` may be called from another one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sim.bench.files import Files

__all__ = ["Driver", "Layout", "Session"]


@dataclass(frozen=True, slots=True)
class Layout:
    """The directories of one stack.

    Attributes
    ----------
    lower
        The read-only layers, the topmost first: the same for all drivers.
    upper, work, merged
        The driver's own, empty.
    durability
        As in `Case`.
    """

    lower: tuple[Path, ...]
    upper: Path
    work: Path
    merged: Path
    durability: str = "default"

    def make(self) -> None:
        """Make the driver's own directories."""
        for path in (self.upper, self.work, self.merged):
            path.mkdir(parents=True)


#: Bytes from which on a file is worth the trouble of making room.
_LARGE = 1 << 20


class Session:
    """A driver in use.

    Parameters
    ----------
    name
        The driver's.
    layout
        The directories.
    files
        How workloads use files.
    root
        Where the merged tree is for other programs; None if it is in this process only.
    pid
        The process that serves it; 0 for none.
    close
        Ends it.
    """

    def __init__(
        self,
        name: str,
        layout: Layout,
        files: Files,
        root: Path | None,
        *,
        pid: int = 0,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.layout = layout
        self.files = files
        self.root = root
        self.pid = pid
        self._close = close

    @property
    def content(self) -> Path:
        """Where what is written lies."""
        return self.layout.upper

    def provide(self, place: str) -> None:
        """Get ready for a case whose files are below `place`, before its caches are set."""

    def forget(self, place: str) -> None:
        """Make room again after a case: what it put into the RW layer is removed, past the driver's back."""
        # Names stay as the driver left them; only large files lose their content, and are not asked for again.
        with contextlib.suppress(OSError):
            for directory, _, names in os.walk(self.layout.upper / place.lstrip("/")):
                for name in names:
                    path = os.path.join(directory, name)
                    status = os.lstat(path)
                    if stat.S_ISREG(status.st_mode) and status.st_blocks > _LARGE // 512:
                        os.truncate(path, 0)

    def alive(self) -> bool:
        """Whether it still answers."""
        if self.root is None:
            return True
        try:
            os.stat(self.root)
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """End the serving process at once: what waits for it then fails."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it in order."""
        self._close()


class PlainSession(Session):
    """A plain directory: each case's files are copied into it beforehand, as if they had been copied up."""

    @property
    def content(self) -> Path:
        """Where what is written lies."""
        return self.layout.merged

    def provide(self, place: str) -> None:
        """Copy the files of a case, the lowest layer first."""
        assert self.root is not None
        target = self.root / place.lstrip("/")
        for layer in reversed(self.layout.lower):
            source = layer / place.lstrip("/")
            if source.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-a", "--sparse=always", f"{source}/.", str(target)], check=True)

    def forget(self, place: str) -> None:
        """Remove them."""
        assert self.root is not None
        shutil.rmtree(self.root / place.lstrip("/"), ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Driver:
    """What can be measured.

    Attributes
    ----------
    name
        What reports call it.
    words
        What it is, in a line.
    options
        How it is mounted, as it would be typed.
    open
        Puts it to use on a layout.
    lacks
        Why it cannot be used on this machine; "" if it can.
    storage
        Whether it is a storage driver; else an engine that runs containers.
    extra
        Left out unless it is named.
    """

    name: str
    words: str
    options: str
    open: Callable[[Layout], Session]
    lacks: Callable[[], str]
    storage: bool = True
    extra: bool = False
