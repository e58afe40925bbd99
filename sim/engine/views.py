"""The root of a container as a descriptor, with everything that is mounted in it, whether it runs or not.

Decided here and only here: how one gets at a container's files from outside without ever being led out of it. The root
of one that runs is that of its own mount namespace. For one that does not, its view and its volumes are mounted in a
namespace that a thread has for a moment, and a detached copy of that tree is kept: nobody sees it, nothing above it can
be reached from it, and it goes with its last descriptor. Paths are walked by openat2(2) as if that root were the root
of the world (CVE-2018-15664). Any thread may call.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from sim.engine.container import Container
from sim.engine.errors import ConflictError
from sim.engine.mountwishes import subdirectory
from sim.runtime.stamp import process_start
from sim.runtime.syscalls import attach_tree, clone_tree, make_private, open_in, unshare

if TYPE_CHECKING:
    from sim.engine.containers import Containers

__all__ = ["make_directories", "rooted"]

_CLONE_NEWNS = 0x20000
_ROOT = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


@contextlib.contextmanager
def rooted(owner: Containers, container: Container) -> Iterator[int]:
    """Have a descriptor of a container's root."""
    running = _running_root(container)
    if running >= 0:
        try:
            yield running
        finally:
            os.close(running)
        return
    if container.state.removing or container.state.dead:
        raise ConflictError(f"container {container.id} is being removed")
    with owner.rootfs.view(container.record) as view:
        points = [
            (subdirectory(point.source, point.subpath), point.destination)
            for point in sorted(container.record.mounts, key=lambda each: each.destination)
            if point.type in ("bind", "volume") and os.path.lexists(point.source)
        ]
        place = owner.rootfs.directory(container.id)
        own = [(os.fspath(place / name), f"/etc/{name}") for name in ("hosts", "hostname", "resolv.conf")]
        points += [each for each in own if os.path.exists(each[0]) and each[1] not in {point[1] for point in points}]
        root = _assembled(os.fspath(view), points) if points else clone_tree(os.fspath(view))
        try:
            yield root
        finally:
            os.close(root)


def _running_root(container: Container) -> int:
    """Return a descriptor of the root of a running container's first process; -1 where there is none."""
    shim = container.shim
    if shim is None or not container.state.running:
        return -1
    pid = container.state.pid
    began = process_start(pid)
    try:
        root = os.open(f"/proc/{pid}/root", _ROOT)
    except OSError:
        return -1
    # Its number may be another process's by now.
    if not began or shim.status().pid != pid or process_start(pid) != began:
        os.close(root)
        return -1
    return root


def _assembled(view: str, points: list[tuple[str, str]]) -> int:
    """Return a detached tree of a view with what is mounted in it."""
    found: list[int] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            unshare(_CLONE_NEWNS)  # of this thread alone
            make_private("/")
            root = os.open(view, _ROOT)
            try:
                for source, destination in points:
                    _mount(root, source, destination)
            finally:
                os.close(root)
            found.append(clone_tree(view))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="view", daemon=True)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return found[0]


def _mount(root: int, source: str, destination: str) -> None:
    if os.path.isdir(source):
        make_directories(root, destination)
    try:
        target = open_in(root, destination, os.O_PATH)
    except OSError:
        return  # a file that is not there yet: it has no place to be mounted on
    try:
        tree = clone_tree(source)
        try:
            attach_tree(tree, target)
        finally:
            os.close(tree)
    finally:
        os.close(target)


def make_directories(root: int, path: str) -> None:
    """Make a directory and those above it where they are missing, never outside of the root."""
    made = ""
    for part in [each for each in path.split("/") if each not in ("", ".")]:
        parent = open_in(root, made or "/", _ROOT)
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=parent)
        finally:
            os.close(parent)
        made = f"{made}/{part}"
