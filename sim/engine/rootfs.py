"""The root filesystem of a container: its RW layer above its image's layers, mounted while it runs or is looked into.

Decided here and only here: where the parts of a mount lie, what records it, and that between the image and the RW layer
there is one more layer, the same for all containers of an image: the places on which the runtime mounts (`/proc`,
`/dev`, `/etc/hosts`, …), so that these are in no container's changes, and in no image that is made of one.

    containers/ID/{upper,work,merged}    the RW layer, and where the view is mounted
    containers/ID/journal.db             every operation on it
    containers/ID/door                   where the process that serves the view takes files that are copied in
    init/IMAGE                           the layer of mount places
    trash/ID                             a container that is being removed

What is recorded: all operations, unless the container's label `layerlab.journal` or the daemon's label of that name
says `metadata` (all but reading and writing data) or `none`. Any thread may call.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import fusefs
from fusefs import Level, Recorder, Stack, UnionFS
from fusefs.mount import find_mount
from fusefs.serve import layers_of
from fusefs.union import Union
from sim.engine.errors import EngineError
from sim.runtime import fork_mount

if TYPE_CHECKING:
    from sim.engine.engine import Engine
    from sim.engine.model import Record

__all__ = ["Rootfs"]

_log = logging.getLogger("layerlab.rootfs")

#: The label by which it is chosen how much is recorded.
JOURNAL = "layerlab.journal"

#: Seconds after which the process of an unmounted view is told to end: a copy of all mounts keeps it, which some other
#: process of the machine has made for itself.
_PATIENCE = 2.0

#: Seconds and records that never come together while a view is open.
_END = 1 << 30

_DIRECTORIES = ("dev", "dev/pts", "dev/shm", "etc", "proc", "sys")
_FILES = (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf")


class Rootfs:
    """The root filesystems of one engine's containers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._containers = engine.root / "containers"
        self._init = engine.root / "init"
        self._trash = engine.root / "trash"
        for place in (self._containers, self._init, self._trash):
            place.mkdir(exist_ok=True, mode=0o711)
        self._lock = threading.Lock()
        self._views: dict[str, int] = {}
        self._mounting: dict[str, threading.RLock] = {}
        # What never changes as long as a container holds its layers.
        self._stacks: dict[tuple[str, tuple[str, ...]], tuple[tuple[Path, ...], tuple[str, ...]]] = {}

    @property
    def driver(self) -> str:
        """What mounts: the setting, or the best that works here."""
        return self._engine.system.storage_driver

    def directory(self, container: str) -> Path:
        """Return the directory of a container."""
        return self._containers / container

    def merged(self, container: str) -> Path:
        """Return where its view is mounted while it is."""
        return self._containers / container / "merged"

    def door(self, container: str) -> Path:
        """Return where files can be handed to the process that serves its view, see `fusefs.door`."""
        return self._containers / container / "door"

    def prepare(self, container: str) -> None:
        """Make the directories of a new container."""
        place = self.directory(container)
        for each in (place, place / "upper", place / "work", place / "merged"):
            each.mkdir(mode=0o710 if each == place else 0o755)

    # -- layers

    def lowers(self, record: Record) -> tuple[tuple[Path, ...], tuple[str, ...]]:
        """Return the read-only directories of a container's stack, the topmost first, and their names."""
        key = (record.image, record.layers)
        if key not in self._stacks:
            self._stacks[key] = self._stack(record)
        return self._stacks[key]

    def _stack(self, record: Record) -> tuple[tuple[Path, ...], tuple[str, ...]]:
        store = self._engine.store
        found: dict[Path, str] = {}
        for diff_id in reversed(record.layers):
            layer = store.layer(diff_id)
            found.setdefault(layer.path, diff_id)
            if layer.opaque:
                break
        init = self._mount_places(record.image, tuple(found))
        return (init, *found), ("init", *found.values())

    def _mount_places(self, image: str, lowers: tuple[Path, ...]) -> Path:
        """Return the layer of mount places of an image, made when it is first needed."""
        place = self._init / image.removeprefix("sha256:")
        if place.exists():
            return place
        with self._lock:
            if place.exists():
                return place
            aside, work = self._init / f"{place.name}.new", self._init / f"{place.name}.work"
            for each in (aside, work):
                shutil.rmtree(each, ignore_errors=True)
                each.mkdir(mode=0o755)
            with UnionFS(lower=list(lowers) or [self._nothing()], upper=aside, work=work) as view:
                _make_places(view)
            shutil.rmtree(work, ignore_errors=True)
            aside.rename(place)
        return place

    def _nothing(self) -> Path:
        """Return an empty directory, for an image without layers."""
        place = self._init / "empty"
        place.mkdir(exist_ok=True, mode=0o755)
        return place

    def forget_images(self, images: set[str]) -> None:
        """Remove the mount places of images that are not among those given."""
        kept = {image.removeprefix("sha256:") for image in images} | {"empty"}
        for place in self._init.iterdir():
            if place.name not in kept:
                shutil.rmtree(place, ignore_errors=True)

    # -- mounting

    def mount(self, record: Record) -> Path:
        """Mount a container's view and return where.

        Raises
        ------
        FusefsError
            It cannot be mounted; the text says why.
        """
        with self._one_at_a_time(record.id):
            if not self._views.get(record.id):
                self._mount(record)
            self._views[record.id] = self._views.get(record.id, 0) + 1
        return self.merged(record.id)

    def _one_at_a_time(self, container: str) -> threading.RLock:
        """Return the lock under which a container's view is mounted and unmounted."""
        with self._lock:
            return self._mounting.setdefault(container, threading.RLock())

    def _mount(self, record: Record) -> None:
        place = self.directory(record.id)
        merged = place / "merged"
        lowers, names = self.lowers(record)
        level = self._level(record)
        journaled = level is not Level.NONE and record.driver != "overlayfs"
        fusefs.mount(
            Stack(lowers, place / "upper", place / "work"),
            merged,
            driver=record.driver,
            journal=place / "journal.db" if journaled else None,
            level=level,
            names=names,
            log=place / "mount.log" if record.driver != "overlayfs" else None,
            door=place / "door",
            start=fork_mount,
        )

    def _level(self, record: Record) -> Level:
        wanted = record.labels.get(JOURNAL) or next(
            (label.partition("=")[2] for label in self._engine.settings.labels if label.partition("=")[0] == JOURNAL),
            "",
        )
        with contextlib.suppress(ValueError):
            return Level(wanted)
        return Level.ALL

    def unmount(self, container: str) -> None:
        """Give a view back; the last one to do so unmounts it, and its journal is complete then."""
        with self._one_at_a_time(container):
            left = self._views.get(container, 0) - 1
            if left > 0:
                self._views[container] = left
                return
            self._views.pop(container, None)
            self._unmount(container)

    def clear(self, container: str) -> None:
        """Unmount whatever is mounted for a container."""
        with self._one_at_a_time(container):
            self._views.pop(container, None)
            self._unmount(container)

    def _unmount(self, container: str) -> None:
        merged = self.merged(container)
        while find_mount(merged) is not None:
            try:
                fusefs.unmount(merged, timeout=_PATIENCE)
            except fusefs.FusefsError as error:
                # Somebody on the host is in it: it goes from the tree now, and altogether when they leave.
                _log.warning("%s", error)
                fusefs.unmount(merged, lazy=True)

    def adopt(self, container: str) -> bool:
        """Take over the mount of a running container that another daemon made; tell whether it is there."""
        if find_mount(self.merged(container)) is None:
            return False
        self._views[container] = 1
        return True

    @contextlib.contextmanager
    def view(self, record: Record) -> Iterator[Path]:
        """Have a container's view mounted for a moment; for as long as it runs it is anyway."""
        merged = self.mount(record)
        try:
            yield merged
        finally:
            self.unmount(record.id)

    @contextlib.contextmanager
    def opened(self, record: Record) -> Iterator[Union | None]:
        """Have a container's view open in this process; None where it is mounted, or what mounts is the kernel.

        What is done in it is recorded as in a mounted one. Nobody mounts the view meanwhile: who wants to, waits.
        """
        place = self.directory(record.id)
        lock = self._one_at_a_time(record.id)
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock)
            if record.driver == "overlayfs" or self._views.get(record.id) or find_mount(place / "merged") is not None:
                stack.close()
                yield None
                return
            lowers, names = self.lowers(record)
            whole = Stack(lowers, place / "upper", place / "work")
            union = Union(whole)
            stack.callback(union.close)
            level = self._level(record)
            if level is not Level.NONE:
                layers = layers_of(whole, list(names))
                # Written at the end, by this thread: one that writes beside it would have the interpreter each time
                # this one calls the kernel.
                recorder = stack.enter_context(
                    Recorder(place / "journal.db", layers, level=level, append=True, flush_interval=_END, batch=_END)
                )
                union.record, union.takes = recorder, recorder.takes
            yield union

    # -- the end

    def remove(self, container: str) -> None:
        """Remove a container's directory, with nothing mounted in it any more.

        Raises
        ------
        EngineError
            Something of it cannot be removed.
        """
        with self._one_at_a_time(container):
            self._views.pop(container, None)
            serving = self._leave(container)
        with self._lock:
            self._mounting.pop(container, None)
        gone = self._trash / container
        try:
            self.directory(container).rename(gone)
        except FileNotFoundError:
            return
        except OSError as error:
            raise EngineError(
                f'container {container}: driver "{self.driver}" failed to remove root filesystem:'
                f" {error.filename}: {(error.strerror or '').lower()}"
            ) from None
        # It is out of sight; nobody has to wait until the last of its files is gone.
        threading.Thread(target=_remove_tree, args=(gone, serving), name="removal", daemon=True).start()

    def _leave(self, container: str) -> list[int]:
        """Unmount whatever is mounted for a container, and wait for nobody; return who served it."""
        merged = self.merged(container)
        serving = []
        while (found := find_mount(merged)) is not None:
            with contextlib.suppress(OSError):
                serving.append(os.pidfd_open(found.pid))
            found.detach()
        return serving

    def empty_trash(self) -> None:
        """Remove what a daemon before this one was removing."""
        for place in self._trash.iterdir():
            shutil.rmtree(place, ignore_errors=True)


def _remove_tree(place: Path, serving: list[int]) -> None:
    """Remove a directory once those who wrote into it have ended; they are told to, where a copy keeps the mount."""
    for process in serving:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        if not poll.poll(_PATIENCE * 1000):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGTERM)
            poll.poll(10_000)
        os.close(process)
    shutil.rmtree(place, ignore_errors=True)


def _make_places(view: UnionFS) -> None:
    for name in _DIRECTORIES:
        if not view.exists(name):
            view.mkdir(name, 0o755)
            view.chmod(name, 0o755)
    for name in _FILES:
        # What the image has there is of no use: the container's own is mounted on it. A symlink would lead elsewhere.
        try:
            kind = view.lstat(name).st_mode & 0o170000
        except FileNotFoundError:
            kind = 0
        if kind == 0o120000:
            view.unlink(name)
            kind = 0
        if not kind:
            with view.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o755):
                pass
    with contextlib.suppress(FileExistsError):  # asked so, since it is a link to what is not there yet
        view.symlink("/proc/mounts", "etc/mtab")
