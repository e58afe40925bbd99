"""Requests that look: names, statuses, listings, texts, attributes.

Decided here and only here: how they are answered, and for how long the kernel may believe it. All that can change
changes through the kernel, which knows it then; the exceptions (an object that is copied up, a file that is written in
passthrough) are told to it. So names, their absence and statuses are believed for ever.

Each method is one request: it gets the node's ID and what follows the header, and returns what follows the answer's
header. Threads: any.
"""

from __future__ import annotations

import errno
from collections import OrderedDict

from fusefs.drivers.devfuse import answers, wire
from fusefs.drivers.devfuse.answers import FOREVER, NOTHING, TICK, Listing, Validity
from fusefs.drivers.devfuse.device import Device
from fusefs.drivers.devfuse.nodes import Known, Nodes, State
from fusefs.drivers.devfuse.options import Tuning
from fusefs.files import OpenDirectory
from fusefs.node import Node
from fusefs.table import failure
from fusefs.union import Union

__all__ = ["Reading", "take_names"]

_READ = wire.READ_IN.codec.unpack_from
_SIZE = wire.GETXATTR_IN.codec.unpack_from
_SIZE_OUT = wire.GETXATTR_OUT.codec.pack

#: Nodes that the kernel does not know, and names in listings of all layers, that the union remembers.
_NODES_KEPT, _NAMES_KEPT = 256, 100_000

#: Names that the first request for the listing of a large directory gets, with what they lead to. The kernel always
#: begins with such a request, and makes more of them where who reads looks at one of the names. So who wants names
#: alone pays for these few.
_PROBE = 16

#: Listings that are kept for the next request for the same directory.
_LISTINGS = 32


def take_names(body: memoryview, offset: int, count: int = 1) -> list[bytes]:
    """Return the names that a request has from an offset on, each ending in a zero byte.

    Raises
    ------
    OSError
        EINVAL where they are not there.
    """
    found = bytes(body[offset:]).split(b"\0", count)
    if len(found) <= count:
        raise failure(errno.EINVAL)
    return found[:count]


def take_name(body: memoryview, offset: int = 0) -> bytes:
    """Return the one name of an entry that a request has from an offset on: never a path, never `.` or `..`.

    Raises
    ------
    OSError
        EINVAL where it is no such name.
    """
    name, ended, _ = bytes(body[offset:]).partition(b"\0")
    if not ended or not name or b"/" in name or name in (b".", b".."):
        raise failure(errno.EINVAL, name)
    return name


class Reading:
    """The requests that look.

    Parameters
    ----------
    union
        What is served.
    device
        Where notifications go.
    tuning
        How it is served.
    """

    def __init__(self, union: Union, device: Device, tuning: Tuning) -> None:
        self.union = union
        self.device = device
        self.tuning = tuning
        self.nodes = Nodes(union, tuning.nodes)
        self.valid = FOREVER if union.options.cache else 0
        self._absent = answers.pack_absent(self.valid)
        self._listings: OrderedDict[int, Listing] = OrderedDict()
        if self.valid:
            self._remember_less()

    def _remember_less(self) -> None:
        """Let the union remember little beyond what the kernel knows: it asks nothing twice."""
        self.union.nodes_kept = min(self.union.nodes_kept, _NODES_KEPT)
        layers = [layer for layer in self.union.layers if layer is not None]
        for layer in layers:
            layer.names_kept = min(layer.names_kept, _NAMES_KEPT // len(layers))

    # Entries and statuses

    def status_valid(self, known: Known) -> Validity:
        """Return for how long the kernel may believe a node's status."""
        state = known.state
        return TICK if state is not None and state.writers else (self.valid, 0)

    def entry(self, node: Node) -> bytes:
        """Return the entry of a node that is held for it."""
        try:
            attributes = self.union.attributes(node, self.union.seen(node))
        except BaseException:
            self.union.release(node)
            raise
        known = self.nodes.know(node)
        self._leave_to_kernel(node)
        return answers.pack_entry(known.id, attributes, self.valid, self.status_valid(known))

    def _leave_to_kernel(self, node: Node) -> None:
        """Forget the status of an object of a read-only layer: the kernel remembers it, and half the memory is here."""
        if self.valid:
            node.status = None

    def lookup(self, node_id: int, body: memoryview) -> bytes:
        """LOOKUP: what a name leads to; that it leads to nothing is believed as well."""
        parent = self.nodes.find(node_id).node
        try:
            node = self.union.lookup(parent, take_name(body))
        except FileNotFoundError:
            if self.valid:
                return self._absent
            raise
        return self.entry(node)

    def getattr(self, node_id: int, _body: memoryview) -> bytes:
        """GETATTR."""
        known = self.nodes.find(node_id)
        seen = self.union.getattr(known.node) if self.union.record is not None else None
        valid = self.status_valid(known)
        return answers.pack_attributes(self.union.attributes(known.node, seen), valid)

    def readlink(self, node_id: int, _body: memoryview) -> bytes:
        """READLINK."""
        return self.union.readlink(self.nodes.find(node_id).node)

    def statfs(self, node_id: int, _body: memoryview) -> bytes:
        """STATFS."""
        return answers.pack_statfs(self.union.statfs(self.nodes.find(node_id).node))

    # Directories

    def opendir(self, node_id: int, _body: memoryview) -> bytes:
        """OPENDIR: not needed where listings are kept, and the kernel then asks no more."""
        if self.valid:
            raise failure(errno.ENOSYS)
        self.nodes.find(node_id)
        return wire.OPEN_OUT.codec.pack(0, 0, 0)

    def releasedir(self, _node_id: int, _body: memoryview) -> bytes:
        """RELEASEDIR."""
        return b""

    def _listing(self, known: Known, position: int) -> Listing:
        """Return a directory's listing: at its beginning as it is now."""
        kept = self._listings.pop(known.id, None)
        if kept is None or not position:
            node = known.node
            directory = OpenDirectory(node)
            entries = self.union.readdir(directory, rewind=True)
            kept = Listing(node.inode, (node.parent or node).inode, entries)
        self._listings[known.id] = kept
        while len(self._listings) > _LISTINGS:
            try:
                self._listings.popitem(last=False)
            except KeyError:
                break
        return kept

    def readdir(self, node_id: int, body: memoryview) -> bytes:
        """READDIR: names from a position on; nothing at the end."""
        _, position, size, *_ = _READ(body)
        return self._listing(self.nodes.find(node_id), position).page(position, size)

    def readdirplus(self, node_id: int, body: memoryview) -> bytes:
        """READDIRPLUS: the same, with what each name leads to, which counts as a lookup."""
        _, position, size, *_ = _READ(body)
        known = self.nodes.find(node_id)
        parent = known.node

        def look(names: list[bytes]) -> list[tuple[int, ...]]:
            found: list[tuple[int, ...]] = []
            for one in self.union.lookup_each(parent, names):
                if one is None:
                    found.append(NOTHING)
                    continue
                node, attributes = one
                child = self.nodes.know(node)
                self._leave_to_kernel(node)
                valid = self.status_valid(child)
                found.append((child.id, 0, self.valid, valid[0], 0, valid[1], *answers.attributes_of(attributes)))
            return found

        listing = self._listing(known, position)
        if not position and len(listing) * wire.DIRENT_PLUS.size > size:
            return listing.page_plus(position, size, look, most=_PROBE)
        return listing.page_plus(position, size, look)

    def fsyncdir(self, node_id: int, _body: memoryview) -> bytes:
        """FSYNCDIR."""
        self.union.fsync_directory(self.nodes.find(node_id).node)
        return b""

    # Extended attributes

    def getxattr(self, node_id: int, body: memoryview) -> bytes:
        """GETXATTR."""
        (size, _), name = _SIZE(body), take_names(body, 8)[0]
        return _sized(self.union.getxattr(self.nodes.find(node_id).node, name), size)

    def listxattr(self, node_id: int, body: memoryview) -> bytes:
        """LISTXATTR: the names, each ending in a zero byte."""
        size, _ = _SIZE(body)
        names = self.union.listxattr(self.nodes.find(node_id).node)
        return _sized(b"".join(name + b"\0" for name in names), size)

    # Forgetting

    def forget(self, node_id: int, body: memoryview) -> None:
        """FORGET: not answered."""
        self._forget([(node_id, wire.FORGET_IN.codec.unpack_from(body)[0])])

    def batch_forget(self, _node_id: int, body: memoryview) -> None:
        """BATCH_FORGET: not answered."""
        count, _ = wire.BATCH_FORGET_IN.codec.unpack_from(body)
        end = min(8 + count * 16, len(body) & ~7)
        self._forget(list(wire.FORGET_ONE.codec.iter_unpack(body[8 : 8 + (end - 8) // 16 * 16])))

    def _forget(self, counts: list[tuple[int, int]]) -> None:
        for state in self.nodes.forget(counts):
            self.drop_state(state)
        for number, _ in counts:
            self._listings.pop(number, None)

    def drop_state(self, state: State) -> None:
        """Let go of what was kept of a node that is forgotten."""
        if state.backing:
            self.device.backing_close(state.backing)


def _sized(value: bytes, size: int) -> bytes:
    """Return a value where it has room, its size where that is asked for."""
    if not size:
        return _SIZE_OUT(len(value), 0)
    if len(value) > size:
        raise failure(errno.ERANGE)
    return value
