"""The merged tree: which object a name leads to, and what a directory holds.

Decided here and only here: lookup and listing across the layers, with whiteouts, opaque marks and redirects. Nothing
here changes a layer.

Threads: as the table of nodes (`table.py`); listings are read without its lock.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator

from fusefs import marks, origin
from fusefs.index import LinkIndex
from fusefs.layer import Directory, Layer, Listing
from fusefs.marks import Format
from fusefs.node import Attributes, Node
from fusefs.stack import Redirect
from fusefs.table import INODE_BITS, O_DIRECTORY, Table, failure

__all__ = ["Entry", "Tree"]

#: A name in a merged directory: name, inode number, file type bits.
Entry = tuple[bytes, int, int]


class Tree(Table):
    """The merged view of a stack, for looking. For the parameters see `Table`."""

    # Lookup

    def lookup(self, parent: Node, name: bytes) -> Node:
        """Return the object that a name in a directory leads to, held for the caller.

        Raises
        ------
        OSError
            ENOENT, ENAMETOOLONG, ENOTDIR.
        """
        with self.lock:
            node = self._find(parent, name)
            if not node.pins:
                self._idle.pop(node, None)
            node.pins += 1
            return node

    def lookup_each(self, parent: Node, names: Iterable[bytes]) -> list[tuple[Node, Attributes] | None]:
        """Return what each name in a directory leads to, held for the caller, and its status; None for what is gone.

        For a driver that answers a listing together with what the names lead to: not recorded, as the listing is.
        """
        found: list[tuple[Node, Attributes] | None] = []
        with self.lock:
            for name in names:
                try:
                    node = self._find(parent, name)
                    attributes = self.attributes(node, self.seen(node))
                except OSError:
                    found.append(None)
                else:
                    if not node.pins:
                        self._idle.pop(node, None)
                    node.pins += 1
                    found.append((node, attributes))
        return found

    def has(self, parent: Node, name: bytes) -> bool:
        """Tell whether a name in a directory leads to something; not recorded."""
        with self.lock:
            return self._peek(parent, name) is not None

    def _find(self, parent: Node, name: bytes) -> Node:
        """Return what a name leads to, not held; under the lock."""
        self._seen = None
        node = parent.children.get(name)
        if node is not None and (self.options.cache or self._is_current(parent, name, node)):
            if node.links:
                self._prefer(parent, name, node)
            return node
        if not parent.is_directory:
            raise failure(errno.ENOTDIR, name)
        if len(name) > 255:
            raise failure(errno.ENAMETOOLONG, name)
        node = None if parent.dead else self._resolve(parent, name)
        if node is None:
            raise failure(errno.ENOENT, name)
        if node.links:
            self._prefer(parent, name, node)
        return node

    def _is_current(self, parent: Node, name: bytes, node: Node) -> bool:
        """Tell whether a name still leads to a node, where somebody may change the read-only layers underneath.

        The parts of a directory are set to those that it has now; a node that is no more is let go.
        """
        if node.upper and not node.is_directory:
            return True
        opaque, redirect = False, None
        if node.upper:
            above = self.upper_directory(parent)
            said = marks.read_marks(marks.at(above.fd, name))
            opaque, redirect = said.opaque, said.redirect
        found = None if opaque else self._search(parent.lower, name, redirect, below=0)
        if node.is_directory and (node.upper or (found is not None and not found[1])):
            node.lower = found[0] if found is not None and not found[1] else ()
            return True
        if found == (node.lower, node.lower_name) and found is not None:
            number, path = found[0][0]
            status = self.layer(number).stat(path, found[1])
            if (self._inode(self.layer(number).device, status.st_ino), stat.S_IFMT(status.st_mode)) == (
                node.inode,
                node.kind,
            ):
                return True
        gone = parent.path_of(name)
        self._detach(parent, name, node)
        if node.parent is None:
            node.dead = True
            node.name = os.fsencode(gone)
        return False

    def _peek(self, parent: Node, name: bytes) -> Node | None:
        """Return what a name leads to, or None."""
        try:
            return self._find(parent, name)
        except FileNotFoundError:
            return None

    def _resolve(self, parent: Node, name: bytes) -> Node | None:
        """Look a name up in the layers, from the upper down."""
        if not parent.upper:
            return self._from_lower(parent, name)
        above = self.upper_directory(parent)
        try:
            status = os.stat(name, dir_fd=above.fd, follow_symlinks=False)
        except FileNotFoundError:
            if self.marks is Format.OCI and self._oci_mark(above, name):
                return None
            return self._from_lower(parent, name)
        if marks.is_whiteout(status) or (self.marks is Format.OCI and marks.reserved_name(name)):
            return None
        if stat.S_ISDIR(status.st_mode):
            node = self._upper_directory_node(parent, name, above, status)
        else:
            node = self._upper_file(parent, name, status)
        self._seen = node, status
        return node

    @staticmethod
    def _oci_mark(above: Directory, name: bytes) -> bool:
        """Tell whether an OCI whiteout in the upper hides a name."""
        try:
            os.stat(marks.OCI_PREFIX + name, dir_fd=above.fd, follow_symlinks=False)
        except OSError:
            return False
        return True

    def _upper_file(self, parent: Node, name: bytes, status: os.stat_result) -> Node:
        key = (status.st_dev, status.st_ino) if status.st_nlink > 1 else None
        node = self._known(key)
        if node is not None:
            return self._attach(parent, name, node)
        inode, value = self._upper_inode(parent, name, status)
        node = Node(stat.S_IFMT(status.st_mode), inode, parent, name)
        node.upper = True
        if key is not None and value and self.index is not None:
            known = self._indexed(node, self.index, value)
            if known is not None:
                return self._attach(parent, name, known)
        if value and node.kind == stat.S_IFREG:
            above = self.upper_directory(parent)
            node.data = self._data(
                marks.at(above.fd, name), self.marks.prefix, [(*part, name) for part in parent.lower], 0
            )
        self._remember_key(node, key)
        return self._attach(parent, name, node)

    def _data(
        self, path: bytes, prefix: bytes, places: list[tuple[int, bytes, bytes]], below: int
    ) -> tuple[int, bytes, bytes] | None:
        """Return where a file's data lies if the file at `path` is a copy of the metadata alone; else None.

        Parameters
        ----------
        path, prefix
            The file, and what the union's own attributes begin with there.
        places
            Where to look for its data unless it says otherwise: layer number, path of a directory, name.
        below
            Number of its layer.

        Raises
        ------
        OSError
            EIO where no layer has its data.
        """
        if marks.get_attribute(path, prefix + b"metacopy") is None:
            return None
        redirect = marks.get_attribute(path, prefix + b"redirect")
        if redirect is not None:
            places = self._redirected(places, redirect, below)
        for at, (number, directory, name) in enumerate(places):
            value, _ = self.layer(number).entry(directory, name)
            if value < 0:
                continue
            if value == 0 or Listing.unpack(value)[1] != stat.S_IFREG:
                break
            here = self.layer(number).directory(directory)
            found = marks.at(here.fd, name)
            return self._data(found, prefix, places[at + 1 :], number) or (number, directory, name)
        raise failure(errno.EIO, path)

    def _indexed(self, node: Node, index: LinkIndex, value: bytes) -> Node | None:
        """Let a node be the one of an entry in the index, if the index has its origin.

        Returns
        -------
        Node
            Another node, which is that one already; it is to be used instead. Else None.
        """
        entry = index.name(value)
        status = index.find(entry)
        if status is None:
            return None
        lower_key = (~(node.inode >> INODE_BITS), node.inode)
        for key in (lower_key, (status.st_dev, status.st_ino)):
            known = self._known(key)
            if known is not None and known is not node:
                return known
            self._remember_key(node, key)
        node.upper = True
        node.index = entry
        node.count = index.count(entry, status)
        return None

    def _upper_directory_node(self, parent: Node, name: bytes, above: Directory, status: os.stat_result) -> Node:
        said = marks.read_marks(marks.at(above.fd, name))
        opaque = said.opaque
        if self.marks is Format.OCI:
            opaque = (
                opaque
                or self._oci_mark(above, name)
                or Layer._has(Directory(os.open(name, O_DIRECTORY, dir_fd=above.fd)), marks.OCI_OPAQUE)
            )
        parts: tuple[tuple[int, bytes], ...] = ()
        if not opaque:
            found = self._search(parent.lower, name, said.redirect, below=0)
            if found is not None and not found[1]:
                parts = found[0]
        inode = self._lower_directory(*parts[0])[0] if parts else self._inode(status.st_dev, status.st_ino)
        node = Node(stat.S_IFDIR, inode, parent, name)
        node.upper = True
        node.lower = parts
        return self._attach(parent, name, node)

    def _lower_directory(self, number: int, path: bytes) -> tuple[int, os.stat_result]:
        """Return the inode number in the merged view of a directory of a read-only layer, and its status."""
        layer = self.layer(number)
        directory = layer.directory(path)
        status = os.fstat(directory.fd)
        return self._inode(layer.device, status.st_ino), status

    def _from_lower(self, parent: Node, name: bytes) -> Node | None:
        found = self._search(parent.lower, name, None, below=0)
        if found is None:
            return None
        parts, lower_name = found
        number, path = parts[0]
        layer = self.layer(number)
        if not lower_name:
            inode, status = self._lower_directory(number, path)
            node = Node(stat.S_IFDIR, inode, parent, name)
            self._seen = node, status
        else:
            status = layer.stat(path, lower_name)
            node = Node(stat.S_IFMT(status.st_mode), self._inode(layer.device, status.st_ino), parent, name)
            if status.st_nlink > 1 and self.index is not None:
                known = self._linked(node, self.index, layer, path, lower_name)
                if known is not None:
                    return self._attach(parent, name, known)
                if node.index is not None:
                    if node.kind == stat.S_IFREG:
                        places = [(*part, lower_name) for part in parent.lower if part[0] >= number]
                        node.data = self._data(self.index.path(node.index), self.marks.prefix, places, 0)
                    return self._attach(parent, name, node)
            if self.options.metacopy and node.kind == stat.S_IFREG and number < len(self.layers) - 1:
                directory = layer.directory(path)
                below = [(*part, lower_name) for part in parent.lower if part[0] > number]
                node.data = self._data(marks.at(directory.fd, lower_name), self.marks.prefix, below, number)
            node.status = status if self.options.cache else None
            node.lower_name = lower_name
        node.lower = parts
        return self._attach(parent, name, node)

    def _linked(self, node: Node, index: LinkIndex, layer: Layer, path: bytes, name: bytes) -> Node | None:
        """Let the names of one file of a read-only layer lead to one node; return it if it is known already."""
        key = (~(node.inode >> INODE_BITS), node.inode)
        known = self._known(key)
        if known is not None:
            return known
        directory = layer.directory(path)
        value = origin.encode_origin(directory.fd, name, self._uuids[layer.device])
        if value is None:
            return None
        known = self._indexed(node, index, value)
        if known is None and node.index is None:
            self._remember_key(node, key)
        return known

    def _search(
        self, parts: tuple[tuple[int, bytes], ...], name: bytes, redirect: bytes | None, *, below: int
    ) -> tuple[tuple[tuple[int, bytes], ...], bytes] | None:
        """Find what read-only layers have under a name.

        Parameters
        ----------
        parts
            The parent's parts in read-only layers.
        name
            The name.
        redirect
            What the directory in the upper says about where its lower part lies; it is then a directory's search.
        below
            Number of the layer that said it.

        Returns
        -------
        parts, name
            A directory's parts and `b""`; or where the directory of a file is, and the file's name there. None where
            no layer shows anything.
        """
        if redirect is None:
            # Most names are of files, and those need no more than the first layer that has them.
            for part in parts:
                value, _ = self.layer(part[0]).entry(part[1], name)
                if value == 0:
                    return None
                if value > 0:
                    if Listing.unpack(value)[1] != stat.S_IFDIR:
                        return (part,), name
                    break
            else:
                return None
        found: list[tuple[int, bytes]] = []
        places = [(number, path, name) for number, path in parts]
        if redirect is not None:
            places = self._redirected(places, redirect, below)
        at = 0
        while at < len(places):
            number, path, here = places[at]
            at += 1
            layer = self.layer(number)
            value, cut = layer.entry(path, here)
            if value < 0:
                continue
            if value == 0:
                break
            if Listing.unpack(value)[1] != stat.S_IFDIR:
                if found:
                    break
                return ((number, path),), here
            whole = path + b"/" + here if path else here
            found.append((number, whole))
            if cut or number == len(self.layers) - 1:
                break
            said = layer.marks(whole)
            if said.opaque:
                break
            if said.redirect is not None:
                places, at = self._redirected(places[at:], said.redirect, number), 0
        return (tuple(found), b"") if found else None

    def _redirected(
        self, places: list[tuple[int, bytes, bytes]], redirect: bytes, below: int
    ) -> list[tuple[int, bytes, bytes]]:
        """Return where to go on looking, once a directory said that its lower part lies elsewhere."""
        if self.options.redirect is Redirect.NOFOLLOW:
            raise failure(errno.EPERM, redirect)
        names = redirect.split(b"/")
        if names[0] == b"" and len(names) > 1:
            steps = names[1:]
            if any(step in (b"", b".", b"..") for step in steps):
                raise failure(errno.EINVAL, redirect)
            return list(self._below(steps, below))
        if len(names) != 1 or redirect in (b"", b".", b".."):
            raise failure(errno.EINVAL, redirect)
        return [(number, path, redirect) for number, path, _ in places]

    def _below(self, steps: list[bytes], below: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield where the path made of `steps` lies in each layer under number `below`, as far as it is not hidden."""
        for number in range(below + 1, len(self.layers)):
            layer = self.layer(number)
            path = b""
            stop = False
            for step in steps[:-1]:
                value, cut = layer.entry(path, step)
                if value < 0:
                    break
                if value == 0 or Listing.unpack(value)[1] != stat.S_IFDIR:
                    return
                path = path + b"/" + step if path else step
                stop = stop or cut or layer.marks(path).opaque
            else:
                yield number, path, steps[-1]
            if stop:
                return

    # Listing

    def entries(self, node: Node) -> list[Entry]:
        """Return the names of a directory, each once, without `.` and `..`; those of the RW layer first."""
        if not node.is_directory:
            raise failure(errno.ENOTDIR)
        if node.dead:
            return []
        if not node.upper and len(node.lower) == 1:
            number, path = node.lower[0]
            layer = self.layer(number)
            return layer.listing(path).shown(self._filesystems[layer.device] << INODE_BITS)
        merged: dict[bytes, tuple[int, int]] = {}
        hidden: set[bytes] = set()
        if node.upper:
            self._upper_entries(node, merged, hidden)
        for number, path in node.lower:
            layer = self.layer(number)
            shift = self._filesystems[layer.device] << INODE_BITS
            for name, value in layer.listing(path).names.items():
                if name in merged or name in hidden:
                    continue
                if value == 0:
                    hidden.add(name)
                else:
                    inode, kind = Listing.unpack(value)
                    merged[name] = (shift | inode, kind)
        return [(name, inode, kind) for name, (inode, kind) in merged.items()]

    def _upper_entries(self, node: Node, merged: dict[bytes, tuple[int, int]], hidden: set[bytes]) -> None:
        directory = self.upper_directory(node)
        exact = self._is_impure(node, directory) or bool(node.lower)
        shift = self._filesystems[self.upper.device] << INODE_BITS
        oci = self.marks is Format.OCI
        with os.scandir(b"/proc/self/fd/%d/." % directory.fd) as listed:
            for entry in listed:
                name = entry.name
                if oci and marks.reserved_name(name):
                    hidden.add(name[len(marks.OCI_PREFIX) :])
                    continue
                kind = self._kind(entry)
                if not kind:
                    hidden.add(name)
                elif exact and self._needs_lookup(node, kind):
                    with self.lock:
                        child = self._peek(node, name)
                    if child is not None:
                        merged[name] = (child.inode, kind)
                else:
                    merged[name] = (shift | entry.inode(), kind)

    @staticmethod
    def _kind(entry: os.DirEntry[bytes]) -> int:
        """Return the file type bits of an entry, 0 for a whiteout or one that is gone already."""
        if entry.is_file(follow_symlinks=False):
            return stat.S_IFREG
        if entry.is_dir(follow_symlinks=False):
            return stat.S_IFDIR
        if entry.is_symlink():
            return stat.S_IFLNK
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return 0
        return 0 if marks.is_whiteout(status) else stat.S_IFMT(status.st_mode)

    @staticmethod
    def _needs_lookup(node: Node, kind: int) -> bool:
        """Tell whether an entry of the upper may have another number than its own: one that was copied up."""
        return bool(node.lower) if kind == stat.S_IFDIR else True
