"""The table of nodes: who an object is, where it lies, how long it is remembered.

Decided here and only here: inode numbers, when a node may be forgotten, and how an object is reached in its layer.
Nothing here changes a layer.

Threads: any may call. The table's lock (`lock`, reentrant) is held while nodes are found, made, moved or forgotten; no
data is read or copied under it. A node that a method returns is held once for the caller (`Node.pins`), who gives it
back with `release`; a driver that speaks FUSE hands the kernel's lookup counts through.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections import OrderedDict

from fusefs import marks, origin, syscalls
from fusefs.layer import Directory, Layer, Shelf
from fusefs.marks import Format
from fusefs.node import Attributes, Node
from fusefs.stack import OpenStack, Options, Stack, open_stack

__all__ = ["INODE_BITS", "O_DIRECTORY", "Table", "failure"]

#: How a directory of a layer is opened: for its place only, and never through a symlink.
O_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

#: Where in an inode number the filesystem's part begins, in a stack whose layers are on several filesystems.
INODE_BITS = 56


def failure(code: int, name: bytes | str | None = None) -> OSError:
    """Return the exception for an errno.

    >>> failure(errno.ENOENT, "x")
    FileNotFoundError(2, 'No such file or directory')
    """
    return OSError(code, os.strerror(code), name)


class Table:
    """The objects of a stack that are known.

    Parameters
    ----------
    stack
        The directories.
    options
        How it behaves.

    Raises
    ------
    LayerError
        A directory cannot be used.
    """

    #: How many nodes that nobody holds are remembered.
    nodes_kept = 32_768

    def __init__(self, stack: Stack, options: Options | None = None) -> None:
        self.stack = stack
        self.options = options or Options()
        self.lock = threading.RLock()
        self._open: OpenStack = open_stack(stack, self.options)
        self.layers: list[Layer | None] = self._open.layers
        self.marks: Format = self._open.marks
        self._origin_name = self.marks.prefix + b"origin"
        self._impure_name = self.marks.prefix + b"impure"
        self.index = self._open.index
        self._upper = Shelf(1024)
        self._idle: OrderedDict[Node, None] = OrderedDict()
        self._by_key: dict[tuple[int, int], Node] = {}
        self._filesystems: dict[int, int] = {}
        for layer in self.layers:
            if layer is not None:
                self._filesystems.setdefault(layer.device, len(self._filesystems))
        self._uuids = self._read_uuids()
        self._seen: tuple[Node, os.stat_result] | None = None
        self.root = self._make_root()

    def close(self) -> None:
        """Let go of the layers. The tree is of no use afterwards."""
        with self.lock:
            self._upper.clear()
            self._idle.clear()
            self._by_key.clear()
            self.root.children.clear()
            self.layers = []
            self.index = None
            self._open.close()

    @property
    def read_only(self) -> bool:
        """Whether there is no layer that takes changes."""
        return self.layers[0] is None

    @property
    def upper(self) -> Layer:
        """The layer that takes changes.

        Raises
        ------
        OSError
            EROFS where there is none.
        """
        layer = self.layers[0]
        if layer is None:
            raise failure(errno.EROFS)
        return layer

    def layer(self, number: int) -> Layer:
        """Return a layer by its number."""
        layer = self.layers[number]
        assert layer is not None
        return layer

    # Who an object is

    def _read_uuids(self) -> dict[int, bytes]:
        """Return the filesystem's UUID by device, as origins name it."""
        return {layer.device: syscalls.filesystem_uuid(layer.root.fd) for layer in self.layers if layer is not None}

    def _inode(self, device: int, inode: int) -> int:
        """Return the merged view's number for an inode of a layer: unique over all filesystems of the stack."""
        return self._filesystems[device] << INODE_BITS | inode

    def _upper_inode(self, parent: Node, name: bytes, status: os.stat_result) -> tuple[int, bytes]:
        """Return the number of a non-directory in the upper, and its origin where it was copied up.

        The number is the origin's.
        """
        above = self.upper_directory(parent)
        if self._is_impure(parent, above):
            value = marks.get_attribute(marks.at(above.fd, name), self._origin_name)
            found = origin.decode_origin(value) if value else None
            if found is not None:
                devices = [device for device, uuid in self._uuids.items() if uuid == found[0]]
                if len(devices) == 1 and value is not None:
                    return self._inode(devices[0], found[1]), value
        return self._inode(self.upper.device, status.st_ino), b""

    def _is_impure(self, node: Node, directory: Directory) -> bool:
        """Tell whether a directory of the upper may hold objects that were copied up."""
        if self.marks is Format.OCI:
            return False
        if node.impure is None:
            path = b"/proc/self/fd/%d/." % directory.fd
            node.impure = bool(node.lower) or marks.get_attribute(path, self._impure_name) is not None
        return node.impure

    # Nodes

    def _make_root(self) -> Node:
        lowers = [layer for layer in self.layers[1:] if layer is not None]
        first = lowers[0] if self.read_only else self.upper
        root = Node(stat.S_IFDIR, self._inode(first.device, os.fstat(first.root.fd).st_ino), None, b"")
        root.upper = not self.read_only
        parts: list[tuple[int, bytes]] = []
        if not (root.upper and self.upper.marks(b"").opaque):
            for layer in lowers:
                parts.append((layer.number, b""))
                if layer.marks(b"").opaque:
                    break
        root.lower = tuple(parts)
        root.pins = 1
        return root

    def hold(self, node: Node) -> Node:
        """Hold a node once more."""
        with self.lock:
            if not node.pins:
                self._idle.pop(node, None)
            node.pins += 1
        return node

    def release(self, node: Node, count: int = 1) -> None:
        """Give a node back `count` times; when nobody holds it, it may be forgotten."""
        with self.lock:
            node.pins -= count
            if node.pins > 0 or (node.parent is None and not node.dead):
                return
            node.pins = 0
            if node.dead:
                node.orphan = None
                self._forget_key(node)
                return
            self._idle[node] = None
            while len(self._idle) > self.nodes_kept:
                self._forget(self._idle.popitem(last=False)[0])

    def forget_idle(self) -> None:
        """Drop the nodes that nobody holds, listings and open directories, to give memory back: a few keep much.

        Objects are small and lie among each other: one that stays keeps a megabyte of the others' memory.
        """
        with self.lock:
            while self._idle:
                self._forget(self._idle.popitem(last=False)[0])
            self._idle = OrderedDict()
            self._by_key = dict(self._by_key)
            self.root.children = dict(self.root.children)
            self._upper.drop_all()
        for layer in self.layers:
            if layer is not None:
                layer.forget()

    def _forget(self, node: Node) -> None:
        """Drop a node that nobody holds, then the directories above it that were kept only for it."""
        while node.parent is not None and not node.pins and not node.children:
            parent = node.parent
            self._drop_links(node)
            self._forget_key(node)
            self._upper.drop(node)
            self._idle.pop(node, None)
            node.parent = None
            node.dead = True
            node = parent

    def _drop_links(self, node: Node) -> None:
        if node.parent is not None and node.parent.children.get(node.name) is node:
            del node.parent.children[node.name]
        for parent, name in node.links or ():
            if parent.children.get(name) is node:
                del parent.children[name]
        node.links = None

    def _forget_key(self, node: Node) -> None:
        for key in node.keys:
            if self._by_key.get(key) is node:
                del self._by_key[key]
        node.keys = ()

    def _remember_key(self, node: Node, key: tuple[int, int] | None) -> None:
        """Let a file with several links be found by its inode, however it is looked up."""
        if key is not None and key not in node.keys:
            node.keys = (*node.keys, key)
            self._by_key[key] = node

    def _known(self, key: tuple[int, int] | None) -> Node | None:
        """Return the node that is known by an inode, alive again if its last known name was gone."""
        node = self._by_key.get(key) if key is not None else None
        if node is not None:
            node.dead = False
            node.orphan = None
        return node

    def _attach(self, parent: Node, name: bytes, node: Node) -> Node:
        """Make `node` known under a name."""
        if node.parent is None:
            node.parent, node.name = parent, name
        elif (node.parent, node.name) != (parent, name):
            if node.links is None:
                node.links = set()
            node.links.add((parent, name))
        parent.children[name] = node
        return node

    def _detach(self, parent: Node, name: bytes, node: Node) -> None:
        """Make `node` unknown under a name; where it has another one, that becomes its first."""
        if parent.children.get(name) is node:
            del parent.children[name]
        if node.links:
            node.links.discard((parent, name))
        if (node.parent, node.name) == (parent, name):
            if node.links:
                node.parent, node.name = node.links.pop()
            else:
                node.parent, node.name = None, b""

    @staticmethod
    def _prefer(parent: Node, name: bytes, node: Node) -> None:
        """Let the name by which a file with several was asked for be the one it is known by."""
        if node.parent is not None and node.links and (parent, name) in node.links:
            node.links.discard((parent, name))
            node.links.add((node.parent, node.name))
            node.parent, node.name = parent, name

    # Where an object lies

    def upper_directory(self, node: Node) -> Directory:
        """Return the open directory of the upper that belongs to a node which is there."""
        found = node.orphan or self._upper.get(node)
        if found is not None:
            return found
        chain: list[Node] = []
        at = node
        while True:
            found = at.orphan or self._upper.get(at)
            if found is not None:
                break
            if at.parent is None:
                if at.dead:
                    raise failure(errno.ENOENT)
                found = self.upper.root
                break
            chain.append(at)
            at = at.parent
        for step in reversed(chain):
            fd = os.open(step.name, O_DIRECTORY, dir_fd=found.fd)
            found = self._upper.put(step, Directory(fd))
        return found

    def locate(self, node: Node) -> tuple[Directory, bytes]:
        """Return the open directory that holds an object, and its name in it; of one whose last name is gone, itself.

        The name is `b""` for a directory itself, and for an object without a name.
        """
        if node.orphan is not None:
            return node.orphan, b""
        if node.index is not None and self.index is not None:
            return self.index.directory, node.index
        if node.is_directory:
            if node.upper:
                return self.upper_directory(node), b""
            number, path = node.lower[0]
            return self.layer(number).directory(path), b""
        if node.upper:
            if node.parent is None:
                raise failure(errno.ENOENT)
            return self.upper_directory(node.parent), node.name
        number, path = node.lower[0]
        return self.layer(number).directory(path), node.lower_name

    def host_path(self, node: Node) -> tuple[Directory, bytes]:
        """Return a path to an object for calls that take no descriptor of a directory.

        Also returned is the directory, which must be kept for as long as the path is used. Calls must not follow a
        symlink at the end, unless the object has no name any more: then the path is a link to the object itself.
        """
        directory, name = self.locate(node)
        if name:
            return directory, marks.at(directory.fd, name)
        if node.is_directory:
            return directory, b"/proc/self/fd/%d/." % directory.fd
        return directory, b"/proc/self/fd/%d" % directory.fd

    def real_status(self, node: Node) -> os.stat_result:
        """Return the status of the object in its layer."""
        if node.status is not None:
            return node.status
        directory, name = self.locate(node)
        if not name:
            return os.fstat(directory.fd)
        return os.stat(name, dir_fd=directory.fd, follow_symlinks=False)

    def seen(self, node: Node) -> os.stat_result | None:
        """Return the status that the lookup or the making of a node has just read; None where it has read none.

        For a driver that tells both in one answer: it is true at the end of the operation, and no longer.
        """
        seen = self._seen
        return seen[1] if seen is not None and seen[0] is node else None

    def attributes(self, node: Node, seen: os.stat_result | None = None) -> Attributes:
        """Return the status of an object in the merged view; `seen` is what `seen(node)` has just said."""
        with self.lock:
            real = seen or self.real_status(node)
            links = real.st_nlink
            if node.index is not None:
                links = node.count
            elif node.dead:
                links = links if node.upper and not node.is_directory else 0
            elif node.kind == stat.S_IFDIR and len(node.lower) + node.upper > 1:
                links = 1
            blocks = real.st_blocks
            if node.data is not None:
                number, path, name = node.data
                blocks = self.layer(number).stat(path, name).st_blocks
            return Attributes(real, node.inode, links, blocks)
