"""A lesson's directory: laid out, found again, and made anew.

Decided here and only here: what marks a directory as a lesson's (a file that says which lesson, how the read-only
layers were, which hints were given), and what starting and resetting touch: everything in that directory, which was
empty when the lesson was started, and nothing outside of it. A symlink is removed and never followed, what is mounted
inside is unmounted first.

One thread, one process at a time in one directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from fusefs import FusefsError, unmount
from fusefs.mount import find_mount
from fusefs.syscalls import umount
from sim.course import engine
from sim.course.errors import CourseError, MessError

__all__ = ["MARKER", "Marker", "Place", "default_home", "find", "manifest", "mounts_below", "reset", "start"]

MARKER = ".layerlab-lesson.json"

#: The lesson of a marker that cannot be read any more.
DAMAGED = 0

_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8


@dataclass(frozen=True, slots=True)
class Marker:
    """What is kept about a lesson's directory.

    Attributes
    ----------
    lesson
        Its number.
    layers
        How the read-only layers were when it was started: layer -> path -> fingerprint.
    hints
        How many hints were given, by exercise.
    """

    lesson: int
    layers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    hints: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """A lesson's directory and its marker."""

    home: Path
    marker: Marker

    def give_hint(self, exercise: str, limit: int) -> int:
        """Count one more hint of an exercise; return its number, from 1, at most `limit`."""
        number = min(self.marker.hints.get(exercise, 0) + 1, limit)
        _write(self.home, replace(self.marker, hints={**self.marker.hints, exercise: number}))
        return number


def default_home(lesson: int) -> Path:
    """Return where a lesson is, unless one says otherwise."""
    return Path(f"layerlab-lesson-{lesson}")


def manifest(root: Path) -> dict[str, str]:
    """Return a fingerprint of everything in a layer, by path: type, mode and content.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as place:
    ...     _ = Path(place, "motd").write_text("hello")
    ...     sorted(manifest(Path(place)))
    ['/motd']
    """
    found = {}
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            said = f"{stat.filemode(status.st_mode)}"
            if stat.S_ISREG(status.st_mode):
                with open(path, "rb") as stream:
                    said += f" {hashlib.file_digest(stream, 'sha256').hexdigest()[:32]}"
            elif stat.S_ISLNK(status.st_mode):
                said += f" {os.readlink(path)}"
            found[f"/{os.path.relpath(path, root)}"] = said
    return found


def start(lesson: int, home: Path, lay_out: Callable[[Path], Iterable[str]]) -> Place:
    """Make a lesson's directory.

    Parameters
    ----------
    lesson
        Its number.
    home
        Where; it must be empty or not there.
    lay_out
        Fills the directory; returns the names of the read-only layers in it.

    Raises
    ------
    CourseError
        Something is there already, or it cannot be made.
    """
    marker = _read(home)
    if marker is not None:
        raise MessError(
            f"{home}: lesson {marker.lesson} was started here already; go on in it, or begin again with "
            f"`layerlab lesson reset {marker.lesson}`",
            f"{home}：这里已经开始了第 {marker.lesson} 课；可以继续做，或用 `layerlab lesson reset {marker.lesson}` 重新开始",
        )
    if home.is_symlink() or (home.exists() and not home.is_dir()):
        raise MessError(f"{home}: this is no directory; name another one", f"{home}：这不是目录；请换一个名字")
    if home.is_dir() and os.listdir(home):
        raise MessError(
            f"{home}: there is something in this directory; a lesson wants an empty one, or one that is not there yet",
            f"{home}：这个目录里已有内容；课程需要一个空目录，或一个尚不存在的目录",
        )
    home.mkdir(parents=True, exist_ok=True)
    # The marker first: a start that is cut short leaves what can be reset.
    _write(home, Marker(lesson))
    return _lay_out(home, lesson, lay_out)


def _lay_out(home: Path, lesson: int, lay_out: Callable[[Path], Iterable[str]]) -> Place:
    layers = tuple(lay_out(home))
    marker = Marker(lesson, {name: manifest(home / name) for name in layers})
    _write(home, marker)
    return Place(home, marker)


def find(lesson: int | None, home: Path | None = None, *, checked: bool = True) -> Place:
    """Return the directory of a lesson: the one named, else the one that this process is in, else the default.

    Parameters
    ----------
    lesson
        Its number; None for whichever is found.
    home
        Where it is; None to look for it.
    checked
        Whether its marker has to be in order; it need not be for a reset of a lesson that is named.

    Raises
    ------
    MessError
        It is not there, or another lesson is.
    """
    here = Path.cwd()
    places = [home] if home is not None else [here, *here.parents]
    if home is None and lesson is not None:
        places.append(default_home(lesson))
    other: Marker | None = None
    for place in places:
        marker = _read(place)
        if marker is None:
            continue
        if marker.lesson == DAMAGED and lesson is not None and not checked:
            return Place(place, Marker(lesson))
        if marker.lesson == DAMAGED:
            raise MessError(
                f"{place / MARKER}: this file was changed and cannot be read any more; `layerlab lesson reset N`, with "
                "the lesson's number, makes the directory anew",
                f"{place / MARKER}：这个文件被改动过，已无法读取；用 `layerlab lesson reset N`（N 为课号）重新布置这个目录",
            )
        if lesson is None or marker.lesson == lesson:
            return Place(place, marker)
        other = other or marker
    number = "N" if lesson is None else str(lesson)
    if other is not None:
        raise MessError(
            f"this is the directory of lesson {other.lesson}, not of lesson {number}; go to the other one, or start it "
            f"with `layerlab lesson start {number}`",
            f"这是第 {other.lesson} 课的目录，不是第 {number} 课的；请换到那一课的目录，或用 `layerlab lesson start {number}` 开始它",
        )
    where = home or (default_home(lesson) if lesson is not None else here)
    raise MessError(
        f"{where}: no lesson was started here; start it with `layerlab lesson start {number}`, or name its directory "
        "with --dir",
        f"{where}：这里还没有开始任何一课；请用 `layerlab lesson start {number}` 开始，或用 --dir 指明目录",
    )


def reset(place: Place, lay_out: Callable[[Path], Iterable[str]]) -> Place:
    """Make a lesson's directory as it was when it was started, whatever state it is in.

    Raises
    ------
    CourseError
        Something in it cannot be removed; the text says what.
    """
    clear(place.home)
    return _lay_out(place.home, place.marker.lesson, lay_out)


def clear(home: Path) -> None:
    """Unmount and remove everything in a lesson's directory but its marker."""
    if home.is_symlink() or _read(home) is None:
        raise CourseError(f"{home}: this is not a lesson's directory; nothing was touched")
    engine.stop(home)
    for mountpoint in mounts_below(home):
        _unmount(mountpoint)
    left = mounts_below(home)
    if left:
        raise MessError(
            f"{left[0]}: still mounted and in use; leave that directory in every shell and try again",
            f"{left[0]}：仍被挂载且正在使用；请在所有 shell 中离开这个目录后再试",
        )
    for entry in os.scandir(home):
        if entry.name == MARKER:
            continue
        if entry.is_dir(follow_symlinks=False):
            _remove_tree(entry.path)
        else:
            os.unlink(entry.path)


def _remove_tree(top: str) -> None:
    """Remove a directory, also one in which nobody may look, as the work directory of overlayfs is."""
    os.chmod(top, 0o700)
    for directory, names, _ in os.walk(top):
        for name in names:
            inside = os.path.join(directory, name)
            if not os.path.islink(inside):
                os.chmod(inside, 0o700)  # before it is walked into
    shutil.rmtree(top)


def mounts_below(home: Path, process: int | None = None) -> list[Path]:
    """Return what is mounted in a directory, the innermost first; as another process has it, if one is named."""
    top = os.path.realpath(home)
    found = []
    with open(f"/proc/{process or 'self'}/mountinfo", "rb") as stream:
        for line in stream:
            # Blanks and the like stand there as octal escapes.
            path = os.fsdecode(line.split(b" ")[4].decode("unicode_escape").encode("latin-1"))
            if path.startswith(f"{top}/"):
                found.append(Path(path))
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def _unmount(mountpoint: Path) -> None:
    """Undo a mount; if it is in use or its server is dead, take it out of the tree all the same."""
    with contextlib.suppress(FusefsError, OSError):
        if find_mount(mountpoint) is not None:
            unmount(mountpoint, timeout=5)
            return
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            umount(os.fsencode(mountpoint), _MNT_DETACH | _UMOUNT_NOFOLLOW)
        return
    program = shutil.which("fusermount3") or shutil.which("fusermount")
    if program is not None:
        subprocess.run([program, "-u", "-z", str(mountpoint)], capture_output=True, check=False)


def _read(home: Path) -> Marker | None:
    """Return what a directory's marker says; None if it has none. A marker that cannot be read still marks."""
    try:
        data = json.loads((home / MARKER).read_text())
        return Marker(int(data["lesson"]), dict(data["layers"]), {k: int(v) for k, v in data["hints"].items()})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Marker(DAMAGED)


def _write(home: Path, marker: Marker) -> None:
    file = home / MARKER
    aside = home / f"{MARKER}.new"
    aside.write_text(json.dumps(asdict(marker)))
    os.replace(aside, file)
