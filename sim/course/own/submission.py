"""Somebody's mount command: started, watched, and ended whatever it does.

Decided here and only here: how the directories get into a command (the words LOWER, UPPER, WORK and MNT, or appended
when none of them is there), when a mount counts as made, and what is called off: a call that is not answered in time, a
program that forks on and on, a full disk. Every process that the command starts carries a mark in its environment, by
which it is found and killed, also when it has gone into the background. Where there is a wall (`wall`), it is run behind
it, and the namespace says which processes are its own. One thread; without a wall one more for each call that is waited for.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import secrets
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fusefs.syscalls import umount
from sim.course.errors import CourseError
from sim.course.own.wall import WALL, TimeLimitError, ask, enclose, kill_behind, processes_behind
from sim.course.place import mounts_below

__all__ = [
    "ANSWER",
    "MOST_PROCESSES",
    "OUTSIDE",
    "THERE",
    "ForksError",
    "StoppedError",
    "Submission",
    "kill_marked",
    "unmount_below",
]

_MARK = "LAYERLAB_GRADED"
#: Directories, with `:` between them, that nobody but a submission writes in; and what is in them all the same.
OUTSIDE = "LAYERLAB_GRADE_OUTSIDE"
THERE = "LAYERLAB_GRADE_THERE"

_PLACEHOLDERS = ("LOWER", "UPPER", "WORK", "MNT")

#: Processes of one mount at which it counts as forking without end.
MOST_PROCESSES = 40

#: How long a mount and a call may take is said by these variables, in seconds.
MOUNTING = "LAYERLAB_GRADE_MOUNTING"
ANSWER = "LAYERLAB_GRADE_ANSWER"
_MOUNT_SECONDS = 10.0
_CALL_SECONDS = 4.0
_UNMOUNT_SECONDS = 5.0
_MNT_DETACH = 2

T = TypeVar("T")


class StoppedError(CourseError):
    """A submission was called off; the text says why."""


class ForksError(StoppedError):
    """A submission forks without end: it is not tried again."""


class Submission:
    """One mount of a submission.

    Parameters
    ----------
    command
        Its words; LOWER, UPPER, WORK and MNT in them stand for the directories.
    home
        Has `upper`, `work`, `mnt`; also gets `home` and `tmp`, in which the program must write nothing.
    lower
        The read-only layers, the topmost first.
    """

    def __init__(self, command: Sequence[str], home: Path, lower: Sequence[Path]) -> None:
        self.home = home
        self.mountpoint = home.resolve() / "mnt"  # not to be resolved later: asking a mount may take for ever
        self.log = home / "log"
        self._mark = secrets.token_hex(8)
        values = {
            "LOWER": ":".join(map(str, lower)),
            "UPPER": str(home / "upper"),
            "WORK": str(home / "work"),
            "MNT": str(self.mountpoint),
        }
        words = list(command)
        if not any(name in word for word in words for name in _PLACEHOLDERS):
            words += list(_PLACEHOLDERS)
        for name, value in values.items():
            words = [word.replace(name, value) for word in words]
        self.words = words
        self._process: subprocess.Popen[bytes] | None = None
        self._hidden = [place for place in os.environ.get(WALL, "").split(":") if place]

    def start(self) -> None:
        """Run the command and wait until the mount is there.

        Raises
        ------
        StoppedError
            There is none: the command cannot be run, ended, or took too long.
        """
        for name in ("home", "tmp"):
            (self.home / name).mkdir()
        environment = {
            **os.environ,
            _MARK: self._mark,
            "HOME": str(self.home / "home"),
            "TMPDIR": str(self.home / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with self.log.open("wb") as log:
            try:
                self._process = subprocess.Popen(
                    self.words,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                    preexec_fn=functools.partial(enclose, self._hidden) if self._hidden else None,
                )
            except OSError as error:
                raise StoppedError(f"the command cannot be run: {self.words[0]}: {error.strerror}") from None
            except subprocess.SubprocessError:
                raise CourseError("no wall can be made around the submission here") from None
        patience = float(os.environ.get(MOUNTING) or _MOUNT_SECONDS)
        end = time.monotonic() + patience
        while not self._mounted():
            code = self._process.poll()
            if code and code < 0:
                raise StoppedError(f"the command was killed by signal {-code} and mounted nothing{self._said()}")
            if code:
                raise StoppedError(f"the command ended with status {code} and mounted nothing{self._said()}")
            if code == 0 and not self._others() and not self._mounted():
                raise StoppedError(f"the command ended and mounted nothing{self._said()}")
            self._watch()
            if time.monotonic() > end:
                raise StoppedError(f"nothing was mounted within {patience:g} seconds{self._said()}")
            time.sleep(0.01)

    def _mounted(self) -> bool:
        return self.mountpoint in self._mounts()

    def _mounts(self) -> list[Path]:
        """Return what is mounted, as the submission has it."""
        if not self._hidden:
            return mounts_below(self.home)
        if self._process is None or self._process.poll() is not None:
            return []
        with contextlib.suppress(OSError):
            return mounts_below(self.home, self._process.pid)
        return []

    def _said(self) -> str:
        """Return the last line that the program wrote."""
        with contextlib.suppress(OSError), self.log.open("rb") as stream:
            stream.seek(0, os.SEEK_END)
            stream.seek(max(0, stream.tell() - 4096))
            lines = stream.read().decode(errors="replace").split("\n")
            lines = [line.strip() for line in lines if line.strip()]
            return f"; it said: {lines[-1][:200]}" if lines else ""
        return ""

    def _others(self) -> list[int]:
        """Return the processes of this submission."""
        return processes_behind() if self._hidden else _marked(f"{_MARK}={self._mark}")

    def _watch(self) -> None:
        """Call off a program that forks without end."""
        count = len(self._others())
        if count > MOST_PROCESSES:
            self.kill()
            raise ForksError(f"it forks: {count} processes; stopped")

    def call(self, what: str, function: Callable[[], T]) -> T:
        """Make a call on the mount; give up when it is not answered.

        Raises
        ------
        StoppedError
            It took too long, the program is gone, forks without end or has filled the disk.
        OSError
            What the call ended with.
        """
        patience = float(os.environ.get(ANSWER) or _CALL_SECONDS)
        if self._hidden:
            return self._ask(what, function, patience)
        result: list[Any] = []

        def run() -> None:
            try:
                result.append((True, function()))
            except BaseException as error:
                result.append((False, error))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        end = time.monotonic() + patience
        pause = 0.05
        thread.join(pause)
        while thread.is_alive():
            self._watch()
            if time.monotonic() > end:
                stopped = self._late(what, patience)
                thread.join(2)
                raise stopped
            thread.join(pause)
        done, value = result[0]
        if done:
            return value  # type: ignore[no-any-return]
        raise self._failed(what, value)

    def _ask(self, what: str, function: Callable[[], T], patience: float) -> T:
        """Make a call behind the wall."""
        assert self._process is not None
        try:
            return ask(self._process.pid, function, patience, self._watch)  # type: ignore[no-any-return]
        except TimeLimitError:
            raise self._late(what, patience) from None
        except ProcessLookupError:  # nobody is behind the wall any more
            raise StoppedError(f"{what}: the program is gone{self._said()}") from None
        except BlockingIOError:  # no process more may be made, not even one to ask with
            count = len(self._others())
            self.kill()
            raise ForksError(f"it forks: {count} processes; stopped") from None
        except OSError as error:
            raise self._failed(what, error) from None

    def _late(self, what: str, patience: float) -> StoppedError:
        full = self.disk_full()
        self.kill()
        if full:
            return StoppedError(f"{what}: it has filled the disk; stopped")
        return StoppedError(f"{what}: no answer in {patience:g} seconds; stopped{self._said()}")

    def _failed(self, what: str, error: BaseException) -> BaseException:
        """Return what a call that failed says of the program, or else the error itself."""
        if isinstance(error, OSError) and error.errno in (errno.ENOTCONN, errno.ECONNABORTED):
            return StoppedError(f"{what}: the program is gone{self._said()}")
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EIO) and self.disk_full():
            self.kill()
            return StoppedError(f"{what}: it has filled the disk; stopped")
        return error

    def disk_full(self) -> bool:
        """Tell whether there is no room any more where the stacks lie."""
        status = os.statvfs(self.home)
        return status.f_bavail * status.f_frsize < 64 << 10

    def kill(self) -> None:
        """Kill every process of the submission, however many it makes meanwhile."""
        if self._hidden:
            kill_behind()
        else:
            kill_marked(f"{_MARK}={self._mark}")
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2)

    def end(self) -> None:
        """Unmount, and leave no process and no mount behind."""
        for mountpoint in self._mounts():
            self._undo(mountpoint)
        end = time.monotonic() + 2
        while time.monotonic() < end and self._others():
            if self._process is not None:
                self._process.poll()
            time.sleep(0.01)
        self.kill()
        if not self._hidden:  # what was mounted behind a wall is gone with the last process there
            for mountpoint in mounts_below(self.home):
                _unmount(mountpoint, lazily=True)

    def _undo(self, mountpoint: Path) -> None:
        if not self._hidden:
            _unmount(mountpoint)
        elif self._process is not None:
            with contextlib.suppress(OSError, TimeLimitError, RuntimeError):
                ask(
                    self._process.pid,
                    functools.partial(umount, os.fsencode(mountpoint)),
                    _UNMOUNT_SECONDS,
                    lambda: None,
                )

    def strays(self) -> list[str]:
        """Return what was written where the program had no business to, relative to its directory."""
        found = [f"~/{name}" for name in os.listdir(self.home / "home")]
        found += [f"$TMPDIR/{name}" for name in os.listdir(self.home / "tmp")]
        there = os.environ.get(THERE, "").split(":")
        for place in filter(None, os.environ.get(OUTSIDE, "").split(":")):
            found += [path for path in (f"{place}/{name}" for name in os.listdir(place)) if path not in there]
        known = {"upper", "work", "mnt", "home", "tmp", "log", "layers"}
        return sorted(found + [name for name in os.listdir(self.home) if name not in known])


def _marked(mark: str) -> list[int]:
    """Return the processes that have `NAME=value` in the environment that they were started with."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/environ", "rb") as stream:
                if mark.encode() in stream.read().split(b"\0"):
                    found.append(int(entry))
    return found


def kill_marked(mark: str) -> None:
    """Kill every process with `NAME=value` in its environment, however many they make meanwhile."""
    for _ in range(100):
        found = _marked(mark)
        if not found:
            break
        for pid in found:  # stopped first: what is stopped forks no more
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
        for pid in found:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def unmount_below(place: Path) -> None:
    """Undo every mount below a directory, also one that is in use, and so end the programs that serve them."""
    for mountpoint in mounts_below(place):
        _unmount(mountpoint, lazily=True)


def _unmount(mountpoint: Path, *, lazily: bool = False) -> None:
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            umount(os.fsencode(mountpoint), _MNT_DETACH if lazily else 0)
        return
    program = shutil.which("fusermount3") or shutil.which("fusermount")
    if program is not None:
        subprocess.run([program, "-u", *(["-z"] if lazily else []), str(mountpoint)], capture_output=True, check=False)
