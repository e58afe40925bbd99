"""A bench to try a union filesystem on: layers from a few words, a stack that is used and recorded, its graph.

Decided here: how lessons make and use stacks, so that the same lesson runs on a real mount where there is one and in
this process where there is none. Everything lies in one temporary directory and goes away with it.

A `Lab` and its `Box`es belong to one thread.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fusefs import FusefsError, Journal, JournalLayer, Level, Mount, Operation, Recorder, Stack, UnionFS, mount
from fusefs.closing import Closing
from sim.graph.errors import NameUnknown
from sim.graph.graph import LayerGraph
from sim.graph.sources import add_journal
from sim.graph.stack import LayerStack

__all__ = ["Box", "Lab"]


class Lab(Closing):
    """A temporary directory of layers, and boxes that run on them.

    Parameters
    ----------
    mounted
        True for real mounts, false for none; None for real ones where this process can make them.

    Examples
    --------
    >>> with Lab(mounted=False) as lab:
    ...     _ = lab.layer("base", {"/etc/motd": "hello", "/etc/hosts": "localhost"})
    ...     _ = lab.layer("app", {"/srv/app.py": "print(1)"}, remove=["/etc/motd"])
    ...     box = lab.start("web")
    ...     box.append("/etc/hosts", "more")
    ...     box.names("/etc"), box.stack().layers[0].bytes
    (['hosts'], 13)
    """

    def __init__(self, *, mounted: bool | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="layerlab-lesson-"))
        self.layers: dict[str, Path] = {}
        self.boxes: dict[str, Box] = {}
        self._mounted = _may_mount() if mounted is None else mounted
        self._end = weakref.finalize(self, _end, self.home, self.boxes)

    @property
    def how(self) -> str:
        """What boxes run on, in words."""
        return "real mounts through FUSE" if self._mounted else "the union inside this process, without any mount"

    def layer(
        self,
        name: str,
        files: Mapping[str, str | bytes | int],
        *,
        remove: Iterable[str] = (),
        opaque: Iterable[str] = (),
    ) -> Path:
        """Make a read-only layer, which lies above those made before.

        Parameters
        ----------
        name
            What it is called.
        files
            Text or bytes by path; a number stands for so many bytes.
        remove
            Paths that it hides with a whiteout.
        opaque
            Directories that hide all below.
        """
        root = self.home / "layers" / name
        root.mkdir(parents=True)
        for path, content in files.items():
            file = root / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            data = content.encode() if isinstance(content, str) else content
            file.write_bytes(bytes(data))
        for path in remove:
            _whiteout(root / path.lstrip("/"))
        for path in opaque:
            _opaque(root / path.lstrip("/"))
        self.layers[name] = root
        return root

    def start(self, name: str = "web", layers: Sequence[str] | None = None, *, level: Level = Level.ALL) -> Box:
        """Start a box: an RW layer of its own over read-only layers.

        Parameters
        ----------
        name
            What it is called.
        layers
            Names of the layers, the topmost first; None for all of them.
        level
            What is recorded.

        Raises
        ------
        NameUnknown
            There is no such layer, or a box of this name is there already.
        """
        chosen = list(reversed(self.layers)) if layers is None else list(layers)
        for layer in chosen:
            if layer not in self.layers:
                raise NameUnknown(f"there is no layer {layer!r}; there are: {', '.join(self.layers) or 'none'}")
        if name in self.boxes:
            raise NameUnknown(f"there is a box {name!r} already; take another name")
        self.boxes[name] = Box(
            self.home / "boxes" / name, name, {n: self.layers[n] for n in chosen}, self._mounted, level
        )
        return self.boxes[name]

    def graph(self) -> LayerGraph:
        """Return the graph of all boxes and layers, each shared layer once."""
        graph = LayerGraph()
        for box in self.boxes.values():
            box.add_to(graph)
        return graph

    def close(self) -> None:
        """Stop all boxes and remove everything."""
        self._end()


class Box(Closing):
    """A stack in use: change it with the methods, then look at its graph. Made by `Lab.start`."""

    def __init__(self, home: Path, name: str, layers: Mapping[str, Path], mounted: bool, level: Level) -> None:
        self.name = name
        self.upper = home / "upper"
        self._work, self._journal = home / "work", home / "journal.db"
        for path in (self.upper, self._work):
            path.mkdir(parents=True)
        lower = tuple(layers.values())
        self._mount: Mount | None = None
        self._union: UnionFS | None = None
        self._record: Recorder | None = None
        if mounted:
            root = home / "root"
            root.mkdir()
            stack = Stack(lower, self.upper, self._work)
            self._mount = mount(
                stack, root, driver="fuse-python", journal=self._journal, names=tuple(layers), level=level
            )
            return
        described = [JournalLayer(0, "rw", name, self.upper)]
        described += [JournalLayer(number, "ro", key, path) for number, (key, path) in enumerate(layers.items(), 1)]
        self._record = Recorder(self._journal, described, level=level)
        self._union = UnionFS(lower, self.upper, self._work, record=self._record)

    # Using it

    def read(self, path: str) -> bytes:
        """Return a file's content."""
        return self._union.read_bytes(path) if self._union else self._path(path).read_bytes()

    def write(self, path: str, content: str | bytes) -> None:
        """Write a file anew."""
        data = content.encode() if isinstance(content, str) else content
        if self._union:
            self._union.write_bytes(path, data)
        else:
            self._path(path).write_bytes(data)

    def append(self, path: str, content: str | bytes) -> None:
        """Write to the end of a file."""
        data = content.encode() if isinstance(content, str) else content
        if self._union:
            self._union.append_bytes(path, data)
        else:
            with self._path(path).open("ab") as stream:
                stream.write(data)

    def names(self, path: str = "/") -> list[str]:
        """Return the names in a directory, sorted."""
        return self._union.listdir(path) if self._union else sorted(os.listdir(self._path(path)))

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with all that is in it."""
        if self._is_dir(path):
            for name in self.names(path):
                self.remove(f"{path.rstrip('/')}/{name}")
            if self._union:
                self._union.rmdir(path)
            else:
                self._path(path).rmdir()
        elif self._union:
            self._union.unlink(path)
        else:
            self._path(path).unlink()

    def mkdir(self, path: str) -> None:
        """Make a directory."""
        if self._union:
            self._union.mkdir(path)
        else:
            self._path(path).mkdir()

    def rename(self, old: str, new: str) -> None:
        """Give a file another name."""
        if self._union:
            self._union.rename(old, new)
        else:
            self._path(old).rename(self._path(new))

    def chmod(self, path: str, mode: int) -> None:
        """Set the permission bits of a file or directory."""
        if self._union:
            self._union.chmod(path, mode)
        else:
            self._path(path).chmod(mode)

    def _is_dir(self, path: str) -> bool:
        status = self._union.lstat(path).st_mode if self._union else self._path(path).lstat().st_mode
        return stat.S_ISDIR(status)

    def _path(self, path: str) -> Path:
        assert self._mount is not None
        return self._mount.mountpoint / path.lstrip("/")

    # Looking at it

    def operations(self) -> list[Operation]:
        """Return what was recorded until now."""
        self._settle()
        with Journal(self._journal) as journal:
            return list(journal.operations())

    def stack(self, *, at: int | None = None) -> LayerStack:
        """Return the stack, now or as it was after operation `at`."""
        return self.add_to(LayerGraph(), at=at)

    def graph(self, *, at: int | None = None) -> LayerGraph:
        """Return the graph of this box alone, now or as it was after operation `at`."""
        graph = LayerGraph()
        self.add_to(graph, at=at)
        return graph

    def add_to(self, graph: LayerGraph, *, at: int | None = None) -> LayerStack:
        """Add the box to a graph and return its stack."""
        self._settle()
        return add_journal(graph, self._journal, name=self.name, at=at)

    def _settle(self) -> None:
        """Wait until what was done is in the journal: another process writes it, within a quarter of a second."""
        if self._record is not None:
            self._record.flush()
            return
        count, since = -1, time.monotonic()
        with Journal(self._journal) as journal:
            while self._mount is not None and time.monotonic() - since < 0.4:
                now = len(journal)
                if now != count:
                    count, since = now, time.monotonic()
                time.sleep(0.05)

    def close(self) -> None:
        """Stop it. Its graph can be looked at until the lab is closed."""
        if self._union is not None and self._record is not None:
            self._union.close()
            self._record.close()
            self._union = self._record = None
        if self._mount is not None:
            found, self._mount = self._mount, None
            found.unmount()


def _may_mount() -> bool:
    """Whether a mount can be made here: tried once, on nothing."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return False
    with tempfile.TemporaryDirectory(prefix="layerlab-lesson-") as home:
        for name in ("lower", "root"):
            (Path(home) / name).mkdir()
        with contextlib.suppress(FusefsError, OSError, ImportError):
            mount(Stack((Path(home) / "lower",)), Path(home) / "root", driver="fuse-python").unmount()
            return True
    return False


def _end(home: Path, boxes: Mapping[str, Box]) -> None:
    for box in boxes.values():
        with contextlib.suppress(FusefsError, OSError):
            box.close()
    shutil.rmtree(home, ignore_errors=True)


def _whiteout(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.mknod(path, stat.S_IFCHR, 0)
    except OSError:  # not allowed before Linux 5.8, or not by this filesystem: the form that images have
        path.with_name(f".wh.{path.name}").touch()


def _opaque(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for attribute in ("trusted.overlay.opaque", "user.overlay.opaque"):
        with contextlib.suppress(OSError):
            os.setxattr(path, attribute, b"y")
            return
    (path / ".wh..wh..opq").touch()
