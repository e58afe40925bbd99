"""What a check may look at: the layers, the merged view and the journal of a student's stack, as they really are.

Decided here and only here: how a student's directory is read (never through a symlink, never through a mount, never
more than a few MiB), and which sentence each kind of mess gets before an exercise is even looked at: a layer that is
gone or was changed, a mount without its server, a journal that is none. Checks in `exercises` ask their questions here.

One thread.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from fusefs import Effect, EffectKind, FusefsError, Journal, JournalLayer, Operation
from sim.course.engine import Engine, start
from sim.course.errors import MessError, NotYetError
from sim.course.place import Place, manifest, mounts_below
from sim.graph import Entry, EntryType, GraphError, Layer, Role, column
from sim.graph.directory import directory_layer

__all__ = ["Bench"]

_LIMIT = 4 << 20  # bytes of a file that are read


class Bench:
    """A student's directory, as a check sees it.

    Parameters
    ----------
    place
        The lesson's directory.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.home = place.home
        self._layers: dict[str, Layer] = {}

    @cached_property
    def engine(self) -> Engine:
        """The lesson's engine; started where it does not run."""
        return start(self.home)

    # What is there

    def directory(self, name: str) -> Path:
        """Return a directory of the lesson; one that is gone is a mess."""
        path = self.home / name
        if path.is_symlink() or not path.is_dir():
            what = ("is a symlink", "是符号链接") if path.is_symlink() else ("is not there", "不见了")
            raise MessError(
                f"the directory {name} {what[0]}; `layerlab lesson reset {self.place.marker.lesson}` gives a clean start",
                f"目录 {name} {what[1]}；用 `layerlab lesson reset {self.place.marker.lesson}` 重新开始",
            )
        return path

    def has(self, name: str) -> bool:
        """Tell whether a directory of this name was made in the lesson's directory."""
        path = self.home / name
        return path.is_dir() and not path.is_symlink()

    def layer(self, name: str) -> Layer:
        """Return a layer's directory as a layer of the graph."""
        if name not in self._layers:
            path = self.directory(name)
            try:
                layer = directory_layer(path, name=name, role=Role.RW if name == "changes" else Role.RO)
                _ = layer.entries
            except (GraphError, OSError) as error:
                raise MessError(f"{name}: cannot be read: {error}", f"{name}：无法读取：{error}") from None
            self._layers[name] = layer
        return self._layers[name]

    def entry(self, layer: str, path: str) -> Entry | None:
        """Return what one layer has at a path, marks included; None if nothing."""
        return self.layer(layer).entries.get(path)

    def whiteout(self, layer: str, path: str) -> bool:
        """Tell whether a layer has a whiteout at a path."""
        found = self.entry(layer, path)
        return found is not None and found.is_whiteout

    def content(self, layer: str, path: str) -> bytes:
        """Return a file's bytes in one layer; nothing if it is no regular file there."""
        found = self.entry(layer, path)
        if found is None or found.type is not EntryType.FILE:
            return b""
        try:
            fd = os.open(self.home / layer / path.lstrip("/"), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            raise MessError(
                f"{layer}{path}: cannot be read: {error.strerror}", f"{layer}{path}：无法读取：{error.strerror}"
            ) from None
        with open(fd, "rb") as stream:
            return stream.read(_LIMIT)

    def seen(self, layers: Sequence[str], path: str) -> str | None:
        """Return the name of the layer that serves a path in a stack (the topmost first); None if nobody sees it."""
        found = column([self.layer(name) for name in layers], path)
        return None if found is None or found.served is None else layers[found.served.position]

    # What happened

    def operations(self, journal: str = "journal.db") -> list[Operation]:
        """Return what a mount recorded; one that recorded nothing is told how to."""
        if journal not in self._journals:
            self._journals[journal] = self._read(journal)
        return self._journals[journal][1]

    def stack(self, journal: str = "journal.db") -> list[JournalLayer]:
        """Return the layers of the mount that a journal is about, the topmost first."""
        self.operations(journal)
        return self._journals[journal][0]

    @cached_property
    def _journals(self) -> dict[str, tuple[list[JournalLayer], list[Operation]]]:
        return {}

    def _read(self, journal: str) -> tuple[list[JournalLayer], list[Operation]]:
        file = self.home / journal
        if not file.is_file():
            raise NotYetError(
                f"there is no {journal} yet: mount the stack with `--journal {journal}` and do it through the mount",
                f"还没有 {journal}：请用 `--journal {journal}` 挂载这个栈，并通过挂载点来操作",
            )
        try:
            with Journal(file) as found:
                if not found.closed:
                    time.sleep(0.3)  # the last operations of a mount that goes on are on disk within a quarter second
                return found.layers(), list(found.operations())
        except FusefsError as error:
            raise MessError(
                f"{journal}: {error}; unmount, remove {journal} and do the exercise again with a new one",
                f"{journal}：{error}；请卸载、删除 {journal}，再用新的日志重做练习",
            ) from None

    def effects(self, path: str, kind: EffectKind, journal: str = "journal.db") -> list[tuple[Operation, Effect]]:
        """Return each change of one kind to a path, with the operation that made it."""
        return [
            (operation, effect)
            for operation in self.operations(journal)
            for effect in operation.effects
            if effect.kind is kind and effect.path == path
        ]

    def asked(self, wanted: Callable[[Operation], bool], journal: str = "journal.db") -> list[Operation]:
        """Return the operations that went well and that a question says yes to."""
        return [one for one in self.operations(journal) if not one.error and wanted(one)]

    # Messes

    def examine(self) -> None:
        """Look for what makes every check useless.

        Raises
        ------
        MessError
            What was found, and what to do.
        """
        for mountpoint in mounts_below(self.home):
            try:
                os.stat(mountpoint)
            except OSError as error:
                if error.errno in (errno.ENOTCONN, errno.ECONNABORTED):
                    name = mountpoint.name
                    raise MessError(
                        f"{name}: its mount has lost its process; undo it with `layerlab umount {name}` and mount again",
                        f"{name}：挂载背后的进程已经不在了；请用 `layerlab umount {name}` 卸载后重新挂载",
                    ) from None
        for name, before in self.place.marker.layers.items():
            now = manifest(self.directory(name))
            gone = sorted(before.keys() - now.keys())
            new = sorted(now.keys() - before.keys())
            other = sorted(path for path in before.keys() & now.keys() if before[path] != now[path])
            again = f"layerlab lesson reset {self.place.marker.lesson}"
            if gone:
                raise MessError(
                    f"{gone[0]} was removed in the read-only layer {name} itself. A deletion through the union leaves the "
                    f"lower file where it is: look for its whiteout in the upper layer. `{again}` gives a clean start",
                    f"{gone[0]} 是直接在只读层 {name} 中删除的。通过联合文件系统删除时，下层的文件会原样保留："
                    f"请到 upper 层中寻找它的 whiteout。用 `{again}` 重新开始",
                )
            if new or other:
                path = (other or new)[0]
                raise MessError(
                    f"{path} was changed in the read-only layer {name} itself. Whatever is changed goes through the mount "
                    f"and ends up in the upper layer. `{again}` gives a clean start",
                    f"{path} 是直接在只读层 {name} 中改动的。所有修改都应通过挂载点进行，并落在 upper 层。用 `{again}` 重新开始",
                )
