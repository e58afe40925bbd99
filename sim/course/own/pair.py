"""The same calls on a submission's mount and on the reference engine, each answer compared.

Decided here and only here: what is compared, and in which words a difference is told. The reference is `UnionFS` in
this process, on a copy of the same layers. After each call its result or error number has to be the same; in the end
the merged view that the layers give, the marks in the upper where a test asks for them, and that no read-only layer
was touched. One thread.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fusefs import UnionFS
from fusefs.marks import Format, set_opaque, whiteout_device
from sim.course.own.submission import StoppedError, Submission
from sim.course.place import manifest
from sim.graph import Entry, LayerStack, directories_graph, merged

__all__ = ["DifferenceError", "Directory", "File", "Link", "Pair", "Whiteout"]


class DifferenceError(AssertionError):
    """A submission does otherwise than the reference."""


class File:
    """A file of a layer."""

    def __init__(self, text: str = "", mode: int = 0o644, mtime: int = 0) -> None:
        self.text, self.mode, self.mtime = text, mode, mtime


class Directory:
    """A directory of a layer."""

    def __init__(self, mode: int = 0o755, *, opaque: bool = False) -> None:
        self.mode, self.opaque = mode, opaque


class Link:
    """A symlink of a layer."""

    def __init__(self, text: str) -> None:
        self.text = text


class Whiteout:
    """A whiteout of a layer."""


Content = str | File | Directory | Link | Whiteout


def _fill(layer: Path, content: Mapping[str, Content]) -> None:
    layer.mkdir(parents=True, exist_ok=True)
    for path, thing in content.items():
        real = layer / path.lstrip("/")
        real.parent.mkdir(parents=True, exist_ok=True)
        match thing:
            case str() | File():
                file = File(thing) if isinstance(thing, str) else thing
                real.write_text(file.text)
                real.chmod(file.mode)
                if file.mtime:
                    os.utime(real, ns=(file.mtime, file.mtime))
            case Directory():
                real.mkdir(exist_ok=True)
                real.chmod(thing.mode)
                if thing.opaque:
                    _make_opaque(real)
            case Link():
                real.symlink_to(thing.text)
            case Whiteout():
                directory = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY)
                whiteout_device(directory, os.fsencode(real.name))
                os.close(directory)


def _make_opaque(real: Path) -> None:
    directory = os.open(real.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        set_opaque(directory, os.fsencode(real.name), Format.OVERLAY)
    except PermissionError:  # only root of the machine may set trusted attributes
        set_opaque(directory, os.fsencode(real.name), Format.USER)
    finally:
        os.close(directory)


class Pair:
    """A submission and the reference, on equal stacks.

    Parameters
    ----------
    command
        The submission's mount command.
    home
        An empty directory.
    aside
        Another for the reference, which a submission has no business to see.
    """

    def __init__(self, command: Sequence[str], home: Path, aside: Path) -> None:
        self._command = command
        self._sides = {"theirs": home / "theirs", "ours": aside / "ours"}
        self._lower: list[str] = []
        self._before: dict[str, dict[str, str]] = {}
        self._submission: Submission | None = None
        self._reference: UnionFS | None = None
        self._done: list[str] = []

    def stack(self, *lower: Mapping[str, Content], upper: Mapping[str, Content] | None = None) -> None:
        """Lay out the layers, the topmost read-only one first, and mount."""
        for side in ("theirs", "ours"):
            top = self._sides[side]
            for number, content in enumerate(lower, 1):
                _fill(top / "layers" / str(number), content)
            _fill(top / "upper", upper or {})
            for name in ("work", "mnt"):
                (top / name).mkdir()
        self._lower = [str(number) for number in range(1, len(lower) + 1)]
        self._before = {name: manifest(self._layer("theirs", name)) for name in self._lower}
        ours = self._sides["ours"]
        self._reference = UnionFS([self._layer("ours", n) for n in self._lower], ours / "upper", ours / "work")
        theirs = self._sides["theirs"]
        self._submission = Submission(self._command, theirs, [self._layer("theirs", name) for name in self._lower])
        self._submission.start()

    def _layer(self, side: str, name: str) -> Path:
        return self._sides[side] / "layers" / name

    # Calls

    def _both(self, what: str, theirs: Callable[[str], Any], ours: Callable[[UnionFS], Any], path: str) -> Any:
        """Make a call on both; return its result, or its error number as a negative number."""
        assert self._submission is not None
        assert self._reference is not None
        real = str(self._submission.mountpoint) + path
        reference = self._reference
        said = self._submission.call(what, lambda: _outcome(lambda: theirs(real)))
        wanted = _outcome(lambda: ours(reference))
        after = f" (after {', '.join(self._done)})" if self._done else ""
        if said != wanted:
            if self._submission.disk_full():
                raise StoppedError(f"{what}{after}: it has filled the disk; stopped")
            raise DifferenceError(f"{what}{after}: {_words(said)}; the reference: {_words(wanted)}")
        self._done.append(what)
        return wanted

    def read(self, path: str) -> Any:
        """Read a file."""
        return self._both(f"read {path}", lambda real: Path(real).read_bytes(), lambda fs: fs.read_bytes(path), path)

    def names(self, path: str = "/") -> Any:
        """List a directory."""
        return self._both(f"ls {path}", lambda real: sorted(os.listdir(real)), lambda fs: fs.listdir(path), path)

    def status(self, path: str) -> Any:
        """Ask for type, mode and size."""
        return self._both(
            f"stat {path}", lambda real: _status(os.lstat(real)), lambda fs: _status(fs.lstat(path)), path
        )

    def times(self, path: str) -> Any:
        """Ask for the time of the last change of content, in whole seconds."""
        return self._both(
            f"time of {path}",
            lambda real: int(os.lstat(real).st_mtime),
            lambda fs: fs.lstat(path).st_mtime_ns // 10**9,
            path,
        )

    def readlink(self, path: str) -> Any:
        """Read a symlink."""
        return self._both(f"readlink {path}", os.readlink, lambda fs: fs.readlink(path), path)

    def write(self, path: str, text: str) -> Any:
        """Write a file anew."""
        data = text.encode()
        return self._both(
            f"write {path}", lambda real: _write(real, data, os.O_TRUNC), _write_ours(path, data, os.O_TRUNC), path
        )

    def append(self, path: str, text: str) -> Any:
        """Write at the end of a file."""
        data = text.encode()
        return self._both(
            f"append to {path}",
            lambda real: _write(real, data, os.O_APPEND),
            _write_ours(path, data, os.O_APPEND),
            path,
        )

    def truncate(self, path: str, size: int) -> Any:
        """Cut a file."""
        return self._both(
            f"truncate {path}", lambda real: os.truncate(real, size), lambda fs: fs.truncate(path, size), path
        )

    def unlink(self, path: str) -> Any:
        """Remove a file."""
        return self._both(f"rm {path}", os.unlink, lambda fs: fs.unlink(path), path)

    def rmdir(self, path: str) -> Any:
        """Remove a directory."""
        return self._both(f"rmdir {path}", os.rmdir, lambda fs: fs.rmdir(path), path)

    def mkdir(self, path: str) -> Any:
        """Make a directory."""
        return self._both(f"mkdir {path}", lambda real: os.mkdir(real, 0o755), lambda fs: fs.mkdir(path, 0o755), path)

    def symlink(self, text: str, path: str) -> Any:
        """Make a symlink."""
        return self._both(f"ln -s {path}", lambda real: os.symlink(text, real), lambda fs: fs.symlink(text, path), path)

    def chmod(self, path: str, mode: int) -> Any:
        """Set permission bits."""
        return self._both(
            f"chmod {mode:o} {path}", lambda real: os.chmod(real, mode), lambda fs: fs.chmod(path, mode), path
        )

    def rename(self, old: str, new: str) -> Any:
        """Move a name."""
        assert self._submission is not None
        target = str(self._submission.mountpoint) + new
        return self._both(f"mv {old} {new}", lambda real: os.rename(real, target), lambda fs: fs.rename(old, new), old)

    def tree(self) -> None:
        """Compare the whole merged view, as a process sees it."""
        waiting = ["/"]
        while waiting:
            path = waiting.pop()
            names = self.names(path)
            for name in names if isinstance(names, list) else ():
                inside = f"{path.rstrip('/')}/{name}"
                status = self.status(inside)
                if isinstance(status, tuple) and status[0] == "directory":
                    waiting.append(inside)
                elif isinstance(status, tuple) and status[0] == "file":
                    self.read(inside)
                elif isinstance(status, tuple) and status[0] == "symlink":
                    self.readlink(inside)

    # The end

    def upper(self, path: str) -> Entry | None:
        """Return what the submission's upper has at a path."""
        layer = self._stack("theirs").layers[0]
        return layer.entries.get(path)

    def marks(self) -> None:
        """See that the submission's upper has no whiteout where the reference needs none: they are for ever.

        Opaque marks may differ, one too many hides nothing; one that is missing shows in the merged view.
        """
        theirs, ours = (
            {path for path, entry in self._stack(side).layers[0].entries.items() if entry.is_whiteout}
            for side in ("theirs", "ours")
        )
        more = sorted(path for path in theirs - ours if not path.endswith("/.opq"))  # fuse-overlayfs's own opaque mark
        if more:
            raise DifferenceError(f"after {', '.join(self._done)}, whiteouts that hide nothing: {', '.join(more)}")

    def _stack(self, side: str) -> LayerStack:
        lower = [self._layer(side, name) for name in self._lower]
        return directories_graph(lower, self._sides[side] / "upper", name="submission").stack()

    def finish(self) -> None:
        """Unmount, and compare what is left on disk."""
        self.close()
        submission = self._submission
        if submission is None:
            return
        if strays := submission.strays():
            raise DifferenceError(f"it wrote outside of UPPER and WORK: {', '.join(strays[:5])}")
        for name, before in self._before.items():
            now = manifest(self._layer("theirs", name))
            changed = sorted(path for path in {*before, *now} if before.get(path) != now.get(path))
            if changed:
                raise DifferenceError(f"it changed a read-only layer: {', '.join(changed[:5])}")
        theirs, ours = (
            {path: _kind(entry) for path, (_, entry) in merged(self._stack(side).layers).items()}
            for side in ("theirs", "ours")
        )
        if theirs != ours:
            other = sorted(path for path in {*theirs, *ours} if theirs.get(path) != ours.get(path))
            raise DifferenceError(
                f"after {', '.join(self._done) or 'the mount'}, the layers on disk give another tree: {', '.join(other[:5])}"
            )

    def draw(self, file: Path) -> None:
        """Draw the submission's stack."""
        from sim.figures import cross_section, save
        from sim.graph import cross_section as view

        save(cross_section(view(self._stack("theirs"))), file)

    def close(self) -> None:
        """End both."""
        if self._submission is not None:
            self._submission.end()
        if self._reference is not None:
            self._reference.close()
            self._reference = None


def _outcome(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except OSError as error:
        if error.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.ENOSPC, errno.EIO):
            raise  # what the submission's watch has to look at
        return f"!{errno.errorcode.get(error.errno or 0, str(error.errno))}"


def _words(outcome: Any) -> str:
    if isinstance(outcome, str) and outcome.startswith("!"):
        return f"fails with {outcome[1:]}"
    text = "goes well" if outcome is None else repr(outcome)
    return text if len(text) < 120 else f"{text[:117]}..."


def _status(status: Any) -> tuple[str, str, int]:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
    kind = kinds.get(stat.S_IFMT(status.st_mode), "other")
    mode = "" if kind == "symlink" else f"{stat.S_IMODE(status.st_mode):o}"
    return kind, mode, status.st_size if kind == "file" else 0


def _write(real: str, data: bytes, how: int) -> None:
    fd = os.open(real, os.O_WRONLY | os.O_CREAT | how, 0o644)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _write_ours(path: str, data: bytes, how: int) -> Callable[[UnionFS], None]:
    def write(fs: UnionFS) -> None:
        with fs.open(path, os.O_WRONLY | os.O_CREAT | (how & os.O_TRUNC), 0o644) as file:
            end = 0 if how & os.O_TRUNC else fs.union.real_status(file.node).st_size
            fs.union.write(file, data, end)

    return write


def _kind(entry: Entry) -> tuple[str, int, str]:
    return entry.type.value, entry.size if entry.type.value == "file" else 0, entry.target
