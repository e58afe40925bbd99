"""Taking files out of a container's view without mounting it, or past the mount that it has.

Decided here and only here: when that can be done, and that it leaves no record. The layers lie in directories that this
process may read, the RW layer among them; above each other, as a union that is only read, they are the view. So nobody
has to mount the view of a container that does not run, and of one that runs nobody waits for who serves it. What is
mounted inside the view, volumes and what a running container has mounted itself, is not in the layers: what lies there
or above is for the mounted view. An ordinary user's containers are too, whose files belong to others outside.
Any thread may call; what is yielded belongs to it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fusefs import FusefsError, Stack
from fusefs.union import Union
from sim.engine.errors import EngineError
from sim.images.entry import Entry, Kind
from sim.images.pack import KINDS, entry_of, is_plain_root, with_holes
from sim.runtime.stamp import process_start

if TYPE_CHECKING:
    from pathlib import Path

    from fusefs.node import Attributes, Node
    from sim.engine.container import Container
    from sim.engine.containers import Containers

__all__ = ["Fetching", "fetching", "layers", "mounted"]

#: How many names are looked at together, and bytes of a file that is read in one go.
_TOGETHER, _SMALL = 256, 1 << 18

#: The files of the engine's that are mounted in every container.
_OWN = frozenset({b"/etc/hosts", b"/etc/hostname", b"/etc/resolv.conf"})

#: How a byte is spelt in a table of mounts that would end the name.
_OCTAL = re.compile(rb"\\([0-7]{3})")


@contextlib.contextmanager
def layers(owner: Containers, container: Container) -> Iterator[Union | None]:
    """Have all layers of a container as one view that is only read; None where that would not show what it has."""
    record = container.record
    if os.geteuid() or record.driver == "overlayfs":
        yield None
        return
    lowers, _ = owner.rootfs.lowers(record)
    union = None
    with contextlib.suppress(OSError, FusefsError, EngineError):  # the view will say it
        if not (container.state.running and _is_mapped(container, owner.rootfs.merged(record.id))):
            union = Union(Stack((owner.rootfs.directory(record.id) / "upper", *lowers)))
    if union is None:
        yield None
        return
    try:
        yield union
    finally:
        union.close()


def _is_mapped(container: Container, mountpoint: Path) -> bool:
    """Tell whether a process of a running container may be writing to the memory that it has for a file of its view.

    That reaches the layer in a while, and until then is known to the kernel alone.
    """
    device = os.stat(mountpoint).st_dev
    shown = b"%02x:%02x" % (os.major(device), os.minor(device))
    for pid in container.running_shim().processes():
        try:
            with open(f"/proc/{pid}/maps", "rb") as table:
                text = table.read()
        except OSError:  # it has ended
            continue
        if b" " + shown + b" " in text:
            for line in text.splitlines():
                _, allowed, _, place, _ = line.split(maxsplit=5)[:5]
                if place == shown and allowed[1:2] == b"w" and allowed[3:4] == b"s":
                    return True
    return False


@contextlib.contextmanager
def fetching(owner: Containers, container: Container, path: str) -> Iterator[Fetching | None]:
    """Have what is at a path of a container; None where the mounted view has to be asked.

    Parameters
    ----------
    owner
        The containers of the engine.
    container
        One of them.
    path
        A path from its root. Its last name is not followed, unless a slash or a dot follows it.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        There is nothing.
    """
    points = mounted(container)
    if points is None:
        yield None
        return
    with layers(owner, container) as union:
        if union is None:
            yield None
            return
        found = Fetching(union)
        yield found if found.find(path, points) else None


@dataclass(slots=True)
class Fetching:
    """An object of a view, and what is below it.

    Attributes
    ----------
    union
        The view.
    node
        The object.
    """

    union: Union
    node: Node | None = None
    _links: dict[int, bytes] = field(default_factory=dict)

    def find(self, path: str, points: Collection[bytes]) -> bool:
        """Go to a path, as `fetching` has it; false where the layers do not tell what is there.

        That is where it leads to a symlink, or to or through one of the points at which something is mounted, or where
        one of these is below it.

        Raises
        ------
        FileNotFoundError, NotADirectoryError
            There is nothing.
        """
        try:
            node = self.union.walk(os.fsencode(path), follow=False, barred=points)  # held until the view is closed
        except OSError as error:
            # What is not there may be what something is mounted on once the view is.
            if error.errno in (errno.EXDEV, errno.ELOOP) or not _OWN.issuperset(points):
                return False
            raise
        here = node.raw_path().rstrip(b"/") + b"/"
        if stat.S_ISLNK(node.kind) or any(point.startswith(here) for point in points):
            return False
        self.node = node
        return True

    @property
    def attributes(self) -> Attributes:
        """The status of the object."""
        return self.union.attributes(self._found())

    def _found(self) -> Node:
        assert self.node is not None
        return self.node

    def members(self, shown: bytes) -> Iterator[tuple[Entry, int]]:
        """Yield the object and all below it as members of a tar, each with a descriptor of its data or -1.

        Parameters
        ----------
        shown
            What it is called in the tar; `/` for a root whose members have absolute names.
        """
        node = self._found()
        yield from self._member(node, self.attributes, shown)
        if node.is_directory:
            yield from self.below(node, shown + b"/" if shown.strip(b"/") else shown)

    def whole(self) -> Iterator[tuple[Entry, int]]:
        """Yield all of the view as `walk` does of a directory: the root only where it is not as unpackers make it."""
        root = self.union.root
        status = self.union.attributes(root).real
        kept, at = self.union.host_path(root)
        entry = entry_of(b"", Kind.DIRECTORY, status, at)
        del kept
        if not is_plain_root(entry):
            yield entry, -1
        yield from self.below(root, b"")

    def below(self, top: Node, before: bytes) -> Iterator[tuple[Entry, int]]:
        """Yield all below a directory; `before` stands before each path. Not deeper than descriptors and Python go."""
        union = self.union
        levels = [(top, before, self._children(union.hold(top)))]
        while levels:
            above, before, children = levels[-1]
            step = next(children, None)
            if step is None:
                levels.pop()
                union.release(above)
                continue
            name, node, attributes = step
            path = before + name
            yield from self._member(node, attributes, path)
            if node.is_directory:
                levels.append((node, path + b"/", self._children(node)))
            else:
                union.release(node)

    def _children(self, node: Node) -> Iterator[tuple[bytes, Node, Attributes]]:
        """Yield what is in a directory, sorted by name; what is gone by the time that it is looked at is left out."""
        union = self.union
        names = sorted([name for name, _, _ in union.entries(node)])
        for first in range(0, len(names), _TOGETHER):
            some = names[first : first + _TOGETHER]
            for name, found in zip(some, union.lookup_each(node, some), strict=True):
                if found is not None:
                    yield name, *found

    def _member(self, node: Node, attributes: Attributes, path: bytes) -> Iterator[tuple[Entry, int]]:
        status = attributes.real
        kind = KINDS.get(node.kind)
        if kind is None:  # a socket
            return
        if attributes.st_nlink > 1 and kind is not Kind.DIRECTORY:
            first = self._links.setdefault(attributes.st_ino, path)
            if first != path:
                yield entry_of(path, Kind.HARDLINK, status, target=first), -1
                return
        try:
            if kind is Kind.FILE:
                file = self.union.open(node, os.O_RDONLY)
                try:
                    yield self._file(path, file.fd, status), file.fd
                finally:
                    self.union.close_file(file)
                return
            kept, at = self.union.host_path(node)
            target = self.union.readlink(node) if kind is Kind.SYMLINK else b""
            entry = entry_of(path, kind, status, at, target=target)
            del kept
        except FileNotFoundError:  # meanwhile
            return
        yield entry, -1

    @staticmethod
    def _file(path: bytes, fd: int, status: os.stat_result) -> Entry:
        """Return a file, with its content where that is little."""
        size = status.st_size
        if not size or size > _SMALL:
            return with_holes(entry_of(path, Kind.FILE, status, fd), fd, status)
        content = os.pread(fd, size, 0)
        if len(content) < size:  # it has been cut meanwhile, and is shown as it is now
            status = os.fstat(fd)
            content = os.pread(fd, status.st_size, 0) if status.st_size <= _SMALL else b""
            if len(content) != status.st_size:
                return entry_of(path, Kind.FILE, status, fd)
        return entry_of(path, Kind.FILE, status, fd, content=content)


def mounted(container: Container) -> frozenset[bytes] | None:
    """Return the paths in a container's view on which something is mounted.

    None where the view is not its root, or goes away.
    """
    if container.state.removing or container.state.dead:
        return None
    shim = container.shim
    if shim is None or not container.state.running:
        points = [point.destination for point in container.record.mounts if point.type in ("bind", "volume")]
        return frozenset(map(os.fsencode, points)) | _OWN
    pid = container.state.pid
    began = process_start(pid)
    try:
        found = _mount_points(pid)
    except OSError:
        return None
    # Its number may be another process's by now.
    if found is None or not began or shim.status().pid != pid or process_start(pid) != began:
        return None
    return found


def _mount_points(pid: int) -> frozenset[bytes] | None:
    """Return what is mounted below a process's root; None where that is not the root of a filesystem."""
    found = set()
    whole = False
    with open(f"/proc/{pid}/mountinfo", "rb") as table:
        for line in table:
            _, _, _, top, point, _ = line.split(b" ", 5)
            if point == b"/":
                whole = top == b"/"
            else:
                found.add(_OCTAL.sub(lambda code: bytes([int(code[1], 8)]), point))
    return frozenset(found) if whole else None
