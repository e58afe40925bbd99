"""A union filesystem in fuse-python, small enough to write in a course.

    python3 union.py LOWER UPPER WORK MNT        LOWER: one directory, or several with `:`, the topmost first

`Union` knows nothing of FUSE; `Mount` translates. A path in the mount is a name inside one or several directories of
the layers: `places` finds them, and everything else stands on it. Errors are OSErrors with the number that a process
should see. One thread.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from typing import Any

import fuse

fuse.fuse_python_api = (0, 2)

OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")


def is_whiteout(status: os.stat_result) -> bool:
    """Tell whether this is a whiteout: a character device with the number 0/0."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(directory: str) -> bool:
    """Tell whether a directory of a layer hides all that the layers below have in it."""
    for name in OPAQUE:
        try:
            if os.getxattr(directory, name, follow_symlinks=False) == b"y":
                return True
        except OSError:
            continue
    return False


def set_opaque(directory: str) -> None:
    """Mark a directory opaque: as root with the first attribute, else with the second."""
    for name in OPAQUE:
        try:
            os.setxattr(directory, name, b"y")
            return
        except PermissionError:
            continue


class Union:
    """Layers seen as one tree. `layers[0]` is the upper directory, the others are read-only, from the top down."""

    def __init__(self, lower: list[str], upper: str, work: str) -> None:
        self.layers = [upper, *lower]
        self.upper = upper
        self.work = work

    # Level lookup

    def places(self, path: str) -> list[str]:
        """Return where a path really is, the topmost first: one place for a file, one or more for a directory.

        Go from the root, name by name. For each name ask the directories found so far, from the top down. What is no
        directory ends the search for this name; directories of one name merge. Ask with lstat: a symlink in a layer is
        an object like any other, never followed. ENOENT if nobody has the name.
        """
        # begin! lookup
        found = list(self.layers)
        for name in path.split("/"):
            if not name:
                continue
            inside: list[str] = []
            for directory in found:
                real = os.path.join(directory, name)
                try:
                    status = os.lstat(real)
                except FileNotFoundError:
                    continue
                # begin whiteout: a whiteout ends the search for this name
                if is_whiteout(status):
                    break
                # end whiteout
                if not stat.S_ISDIR(status.st_mode):
                    if not inside:
                        inside.append(real)
                    break
                inside.append(real)
                # begin opaque: an opaque directory takes part, and ends the search
                if is_opaque(real):
                    break
                # end opaque
            if not inside:
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            found = inside
        return found
        # end lookup

    def find(self, path: str) -> str:
        """Return the place that serves a path: the topmost."""
        return self.places(path)[0]

    # Level readdir

    def names(self, path: str) -> list[str]:
        """Return the names in a merged directory, each once, without `.` and `..`."""
        # begin! readdir
        seen: set[str] = set()
        hidden: set[str] = set()
        for directory in self.places(path):
            here = os.listdir(directory)
            gone = set()
            # begin whiteout: leave out what a whiteout hides, in this layer and below, and the whiteouts themselves
            gone = {name for name in here if is_whiteout(os.lstat(os.path.join(directory, name)))}
            # end whiteout
            seen |= set(here) - gone - hidden
            hidden |= gone
        return sorted(seen)
        # end readdir

    # Level whiteout

    def below(self, path: str) -> bool:
        """Tell whether a read-only layer would show something at a path if the upper had nothing there."""
        # begin! whiteout
        parent, name = os.path.split(path)
        for directory in self.places(parent):
            if directory == self.in_upper(parent):
                continue
            try:
                return not is_whiteout(os.lstat(os.path.join(directory, name)))
            except FileNotFoundError:
                continue
        return False
        # end whiteout

    def in_upper(self, path: str) -> str:
        """Return the place in the upper directory that a path has, or would have."""
        return os.path.join(self.upper, path.lstrip("/")).rstrip("/")

    def make_parents(self, path: str) -> None:
        """Make the directories above a path in the upper, with the mode, owner and times of those that they copy."""
        # begin! whiteout
        parent = os.path.dirname(path)
        real = self.find(parent)
        target = self.in_upper(parent)
        if os.path.lexists(target):
            return
        self.make_parents(parent)
        os.mkdir(target)
        self.copy_status(real, target)
        # end whiteout

    @staticmethod
    def copy_status(source: str, target: str) -> None:
        """Give a copy the owner, mode and times of what it was copied from."""
        status = os.lstat(source)
        os.chown(target, status.st_uid, status.st_gid, follow_symlinks=False)
        if not stat.S_ISLNK(status.st_mode):
            os.chmod(target, stat.S_IMODE(status.st_mode))
        os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns), follow_symlinks=False)

    def hide(self, path: str) -> None:
        """Leave a whiteout at a path of the upper, where nothing is now, if a read-only layer has something there."""
        # begin! whiteout
        if self.below(path):
            self.make_parents(path)
            os.mknod(self.in_upper(path), stat.S_IFCHR, 0)
        # end whiteout

    def unlink(self, path: str) -> None:
        """Remove a name that is no directory: from the upper if it is there; leave a whiteout if it must be hidden."""
        # begin! whiteout
        real = self.find(path)
        target = self.in_upper(path)
        if real == target:
            os.unlink(target)
        self.hide(path)
        # end whiteout

    def rmdir(self, path: str) -> None:
        """Remove a directory that looks empty in the merged view; the whiteouts in it go with it."""
        # begin! whiteout
        if self.names(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)
        target = self.in_upper(path)
        if os.path.lexists(target):
            for name in os.listdir(target):  # all of them whiteouts
                os.unlink(os.path.join(target, name))
            os.rmdir(target)
        self.hide(path)
        # end whiteout

    # Level copyup

    def copy_up(self, path: str, *, data: bool = True) -> str:
        """Make sure that the upper has its own copy of a path; return that place.

        Copy aside, in the work directory: content (not if `data` is false), owner, mode and times. Then move it into
        place in one step, so that nobody ever sees half of it.
        """
        # begin! copyup
        real = self.find(path)
        target = self.in_upper(path)
        if real == target:
            return target
        self.make_parents(path)
        status = os.lstat(real)
        if stat.S_ISDIR(status.st_mode):
            os.mkdir(target)
            self.copy_status(real, target)
            return target
        aside = os.path.join(self.work, f"copy-{os.getpid()}")
        if stat.S_ISREG(status.st_mode):
            with open(aside, "wb") as copy:
                if data:
                    with open(real, "rb") as source:
                        shutil.copyfileobj(source, copy)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(real), aside)
        else:
            os.mknod(aside, status.st_mode, status.st_rdev)
        self.copy_status(real, aside)
        os.rename(aside, target)
        return target
        # end copyup

    def place_for(self, path: str) -> str:
        """Return the place in the upper for a new object: its parents are there, and no whiteout stands in its way."""
        # begin! copyup
        self.make_parents(path)
        target = self.in_upper(path)
        if os.path.lexists(target):
            if not is_whiteout(os.lstat(target)):
                raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            os.unlink(target)
        return target
        # end copyup

    def create(self, path: str, mode: int) -> None:
        """Make an empty file."""
        # begin! copyup
        os.close(os.open(self.place_for(path), os.O_CREAT | os.O_EXCL | os.O_WRONLY, stat.S_IMODE(mode)))
        # end copyup

    def symlink(self, text: str, path: str) -> None:
        """Make a symlink at a path."""
        # begin! copyup
        os.symlink(text, self.place_for(path))
        # end copyup

    def mkdir(self, path: str, mode: int) -> None:
        """Make a directory. One that takes a whiteout's place must not show what was deleted."""
        # begin! copyup
        # begin opaque: was there a whiteout? then the new directory has to be opaque
        hides = self.below(path)
        # end opaque
        target = self.place_for(path)
        os.mkdir(target, stat.S_IMODE(mode))
        # begin opaque: mark it
        if hides:
            set_opaque(target)
        # end opaque
        # end copyup

    # Level rename

    def rename(self, old: str, new: str) -> None:
        """Give an object another name.

        A directory that a read-only layer has a part in cannot be moved: EXDEV, and `mv` copies it. Everything else is
        copied up, moved in the upper, and its old name is hidden if something below has it. What the new name was is
        replaced: a file, an empty directory, or a whiteout.
        """
        # begin! rename
        real = self.find(old)
        directory = stat.S_ISDIR(os.lstat(real).st_mode)
        if directory and (real != self.in_upper(old) or len(self.places(old)) > 1):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), old)
        source = self.copy_up(old)
        self.make_parents(new)
        target = self.in_upper(new)
        hides = self.below(new)
        try:
            replaced = os.lstat(self.find(new))
        except FileNotFoundError:
            pass
        else:
            if stat.S_ISDIR(replaced.st_mode) and not directory:
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), new)
            if stat.S_ISDIR(replaced.st_mode):
                self.rmdir(new)
            elif directory:
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), new)
        if directory and os.path.lexists(target):  # a whiteout: rename(2) puts no directory over it
            os.unlink(target)
        os.rename(source, target)
        # begin opaque: a directory moved to where the layers below have one must not merge with it
        if directory and hides:
            set_opaque(target)
        # end opaque
        self.hide(old)
        # end rename


class Mount(fuse.Fuse):  # type: ignore[misc]
    """The adapter: a call and a path in, an answer or an error out. Nothing is decided here."""

    union: Union

    def getattr(self, path: str) -> os.stat_result:
        """Answer stat."""
        return os.lstat(self.union.find(path))

    def readlink(self, path: str) -> str:
        """Answer readlink."""
        return os.readlink(self.union.find(path))

    def readdir(self, path: str, offset: int) -> Iterator[Any]:
        """Answer readdir."""
        for name in [".", "..", *self.union.names(path)]:
            yield fuse.Direntry(name)

    def open(self, path: str, flags: int) -> None:
        """Answer open: for writing, the file is copied up first."""
        if flags & (os.O_WRONLY | os.O_RDWR):
            self.union.copy_up(path)
        else:
            self.union.find(path)

    def read(self, path: str, size: int, offset: int) -> bytes:
        """Answer read."""
        with open(self.union.find(path), "rb") as file:
            return os.pread(file.fileno(), size, offset)

    def write(self, path: str, data: bytes, offset: int) -> int:
        """Answer write."""
        with open(self.union.copy_up(path), "r+b") as file:
            return os.pwrite(file.fileno(), data, offset)

    def truncate(self, path: str, size: int) -> None:
        """Answer truncate: to nothing, no data needs to be copied."""
        os.truncate(self.union.copy_up(path, data=size > 0), size)

    def mknod(self, path: str, mode: int, device: int) -> None:
        """Answer mknod, of files only."""
        self.union.create(path, mode)

    def mkdir(self, path: str, mode: int) -> None:
        """Answer mkdir."""
        self.union.mkdir(path, mode)

    def symlink(self, text: str, path: str) -> None:
        """Answer symlink."""
        self.union.symlink(text, path)

    def unlink(self, path: str) -> None:
        """Answer unlink."""
        self.union.unlink(path)

    def rmdir(self, path: str) -> None:
        """Answer rmdir."""
        self.union.rmdir(path)

    def rename(self, old: str, new: str) -> None:
        """Answer rename."""
        self.union.rename(old, new)

    def chmod(self, path: str, mode: int) -> None:
        """Answer chmod."""
        os.chmod(self.union.copy_up(path), stat.S_IMODE(mode))

    def chown(self, path: str, uid: int, gid: int) -> None:
        """Answer chown."""
        os.chown(self.union.copy_up(path), uid, gid, follow_symlinks=False)

    def utimens(self, path: str, access: Any, change: Any) -> None:
        """Answer utimens."""
        times = tuple(int(time.tv_sec * 10**9 + time.tv_nsec) for time in (access, change))
        os.utime(self.union.copy_up(path), ns=(times[0], times[1]), follow_symlinks=False)


def main(arguments: list[str]) -> None:
    """Mount, and serve until it is unmounted."""
    lower, upper, work, mountpoint = arguments
    server = Mount(dash_s_do="setsingle")
    server.union = Union(lower.split(":"), upper, work)
    server.parse([mountpoint, "-f", "-s"])
    server.main()


if __name__ == "__main__":
    main(sys.argv[1:])
