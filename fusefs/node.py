"""The nodes of the merged tree: what an object is, where it lies, who it is.

Decided here and only here: what is known about an object of the merged view between two operations. A `Node` holds
state and answers questions about itself; who may change it and when is decided by `Tree` and the classes on top of it,
which do so under the tree's lock.

A directory has one parent and one name. Any other object may have several, its hard links: all of them lead to the
same node.
"""

from __future__ import annotations

import os
import stat
import threading
from typing import NamedTuple

from fusefs.layer import Directory

__all__ = ["Attributes", "Node"]


class Node:
    """An object of the merged view.

    Attributes
    ----------
    inode
        Its inode number in the merged view; never changes.
    kind
        File type bits of its mode (`stat.S_IFREG`, …).
    parent, name
        Where it is found; of several links the one asked for last. The root has no parent; neither has what was
        unlinked, whose name is then the whole path that it had.
    links
        The other places where it is found, for a file with several links that were looked up.
    upper
        Whether the RW layer has it.
    lower
        For a directory: its parts in read-only layers, topmost first, each as layer number and path from the layer's
        root. For anything else: at most one, layer number and path of the directory that holds it.
    lower_name
        For a non-directory in a read-only layer: its name there.
    children
        For a directory: the nodes known below it.
    pins
        How often it is held, by drivers and open files; a node that is not held may be forgotten.
    dead
        Whether its last name is gone.
    impure
        Whether its part in the RW layer is marked as holding copied-up objects; None if not looked yet.
    data
        Where its data lies, if only its metadata was copied up: layer number, path of the directory, name.
    index
        Name of its entry in the index of hard links, where it has one; the copy is reached there.
    count
        How many names it has in the merged view, if it has such an entry.
    status
        Status of an object of a read-only layer, which cannot change; None for one in the RW layer.
    orphan
        The object itself, held open because its last name is gone.
    copying
        Held by whoever copies it up; made when it is first needed.
    generation
        Counts up when the data moves to another file, so that open files notice.
    attributes
        Names of its extended attributes in its layer; None where they were not looked at.
    """

    __slots__ = (
        "attributes",
        "children",
        "copying",
        "count",
        "data",
        "dead",
        "generation",
        "impure",
        "index",
        "inode",
        "keys",
        "kind",
        "links",
        "lower",
        "lower_name",
        "name",
        "orphan",
        "parent",
        "pins",
        "status",
        "upper",
    )

    def __init__(self, kind: int, inode: int, parent: Node | None, name: bytes) -> None:
        self.kind = kind
        self.inode = inode
        self.parent = parent
        self.name = name
        self.links: set[tuple[Node, bytes]] | None = None
        self.upper = False
        self.lower: tuple[tuple[int, bytes], ...] = ()
        self.lower_name = b""
        self.children: dict[bytes, Node] = {}
        self.pins = 0
        self.dead = False
        self.impure: bool | None = None
        self.status: os.stat_result | None = None
        self.orphan: Directory | None = None
        self.generation = 0
        self.attributes: tuple[bytes, ...] | None = None
        self.copying: threading.Lock | None = None
        self.keys: tuple[tuple[int, int], ...] = ()
        self.data: tuple[int, bytes, bytes] | None = None
        self.index: bytes | None = None
        self.count = 0

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.kind == stat.S_IFDIR

    @property
    def layer(self) -> int | None:
        """Number of the layer that serves it."""
        if self.upper:
            return 0
        return self.lower[0][0] if self.lower else None

    @property
    def data_layer(self) -> int:
        """Number of the layer that its data lies in."""
        if self.data is not None:
            return self.data[0]
        return 0 if self.upper else self.lower[0][0]

    @property
    def data_in_upper(self) -> bool:
        """Whether its data, too, is in the RW layer."""
        return self.upper and self.data is None

    def raw_path(self) -> bytes:
        """Return its path in the merged view; of several links, the one kept first."""
        names = [self.name]
        node = self.parent
        while node is not None:
            names.append(node.name)
            node = node.parent
        names.reverse()
        return b"/".join(names) or b"/"

    def raw_path_of(self, name: bytes) -> bytes:
        """Return the path of a name in this directory."""
        above = self.raw_path()
        return above + name if above == b"/" else b"%b/%b" % (above, name)

    def path(self) -> str:
        """Return its path as text, as `Operation.path` has it."""
        return os.fsdecode(self.raw_path())

    def path_of(self, name: bytes) -> str:
        """Return the path of a name in this directory as text."""
        return os.fsdecode(self.raw_path_of(name))

    def is_below(self, other: Node) -> bool:
        """Tell whether `other` is this directory or one above it."""
        node: Node | None = self
        while node is not None:
            if node is other:
                return True
            node = node.parent
        return False

    def __repr__(self) -> str:
        """Show path, number and layers."""
        where = (["rw"] if self.upper else []) + [str(number) for number, _ in self.lower]
        return f"<Node {self.path()} inode={self.inode} layers={','.join(where)}>"


class Attributes(NamedTuple):
    """Status of an object of the merged view: that of the real file, with the merged view's identity.

    Attributes
    ----------
    real
        Status of the file in its layer.
    st_ino
        Inode number in the merged view.
    st_nlink
        Number of links; 1 for a directory that is merged from several layers, as the kernel's overlayfs has it.
    st_blocks
        Blocks of 512 bytes that are allocated for its data.
    """

    real: os.stat_result
    st_ino: int
    st_nlink: int
    st_blocks: int

    @property
    def st_mode(self) -> int:
        """File type and permission bits."""
        return self.real.st_mode

    @property
    def st_uid(self) -> int:
        """User ID of the owner."""
        return self.real.st_uid

    @property
    def st_gid(self) -> int:
        """Group ID of the owner."""
        return self.real.st_gid

    @property
    def st_size(self) -> int:
        """Size in bytes."""
        return self.real.st_size

    @property
    def st_blksize(self) -> int:
        """Block size for efficient transfers, in bytes."""
        return self.real.st_blksize

    @property
    def st_rdev(self) -> int:
        """Device number, of a device."""
        return self.real.st_rdev

    @property
    def st_atime_ns(self) -> int:
        """Time of last access, ns since the epoch."""
        return self.real.st_atime_ns

    @property
    def st_mtime_ns(self) -> int:
        """Time of last change of the data, ns since the epoch."""
        return self.real.st_mtime_ns

    @property
    def st_ctime_ns(self) -> int:
        """Time of last change of the status, ns since the epoch."""
        return self.real.st_ctime_ns

    @property
    def st_atime(self) -> float:
        """Time of last access, seconds since the epoch."""
        return self.real.st_atime

    @property
    def st_mtime(self) -> float:
        """Time of last change of the data, seconds since the epoch."""
        return self.real.st_mtime

    @property
    def st_ctime(self) -> float:
        """Time of last change of the status, seconds since the epoch."""
        return self.real.st_ctime
