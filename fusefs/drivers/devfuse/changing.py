"""Requests that change names and metadata.

Decided here and only here: how they become calls of the union, where the umask applies, and when setuid and setgid go.

The kernel knows what its own requests change: the name, the status of the object and of its directory. What it cannot
know is that an object was copied up on the way, with the directories above it: `copied_up` tells it.

Threads: any.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from fusefs.drivers.devfuse import answers, wire
from fusefs.drivers.devfuse.nodes import Known
from fusefs.drivers.devfuse.reading import Reading, take_name, take_names
from fusefs.drivers.devfuse.wire import Fattr
from fusefs.node import Node
from fusefs.table import failure

__all__ = ["Changing"]

_SETATTR = wire.SETATTR_IN.codec.unpack_from
_NOW = -1
_SECOND = 1_000_000_000
_DEFAULT_ACL = b"system.posix_acl_default"

# As plain numbers: flags of the enum module take a microsecond for each `&`.
_MODE, _UID, _GID, _SIZE = int(Fattr.MODE), int(Fattr.UID), int(Fattr.GID), int(Fattr.SIZE)
_ATIME, _MTIME = int(Fattr.ATIME), int(Fattr.MTIME)
_ATIME_NOW, _MTIME_NOW, _KILL = int(Fattr.ATIME_NOW), int(Fattr.MTIME_NOW), int(Fattr.KILL_SUIDGID)


class Changing(Reading):
    """The requests that change names and metadata. For the parameters see `Reading`."""

    #: Whether `fuse_setxattr_in` has its longer form.
    long_setxattr = True

    def copied_up(self, node: Node, inode: int) -> None:
        """Tell the kernel that an object has moved to the RW layer; `inode` is the number that it had before.

        Called under the union's lock. It is the union's `moved` while this driver serves it.
        """
        known = self.nodes.known(node)
        if known is not None:
            self.device.forget_status(known.id)
        if node.inode != inode:
            for parent in {node.parent, *(parent for parent, _ in node.links or ())}:
                above = self.nodes.known(parent) if parent is not None else None
                if above is not None:
                    self.device.forget_listing(above.id)

    def changed(self, changes: Iterable[tuple[Node, bytes]]) -> None:
        """Tell the kernel what was changed by others than itself: directories and names in them, or none."""
        listings: dict[int, None] = {}
        for node, name in changes:
            known = self.nodes.known(node)
            if known is not None:
                if name:
                    self.device.forget_name(known.id, name)
                    listings[known.id] = None
                else:
                    self.device.forget_status(known.id)
        for number in listings:
            self.device.forget_listing(number)

    # Making

    def _mode(self, parent: Known, mode: int, umask: int) -> int:
        """Return the permissions that a new object gets: a default ACL of the directory overrides the umask."""
        if not umask & mode & 0o777:
            return mode
        if parent.has_default_acl is None or not self.valid:
            try:
                self.union.getxattr(parent.node, _DEFAULT_ACL)
                parent.has_default_acl = True
            except OSError:
                parent.has_default_acl = False
        return mode if parent.has_default_acl else mode & ~umask

    def mknod(self, node_id: int, body: memoryview) -> bytes:
        """MKNOD."""
        mode, device, umask, _ = wire.MKNOD_IN.codec.unpack_from(body)
        parent, name = self.nodes.find(node_id), take_name(body, 16)
        return self.entry(self.union.mknod(parent.node, name, self._mode(parent, mode, umask), device))

    def mkdir(self, node_id: int, body: memoryview) -> bytes:
        """MKDIR."""
        mode, umask = wire.MKDIR_IN.codec.unpack_from(body)
        parent, name = self.nodes.find(node_id), take_name(body, 8)
        return self.entry(self.union.mkdir(parent.node, name, stat.S_IMODE(self._mode(parent, mode, umask))))

    def symlink(self, node_id: int, body: memoryview) -> bytes:
        """SYMLINK."""
        name, text = take_name(body), take_names(body, 0, 2)[1]
        return self.entry(self.union.symlink(self.nodes.find(node_id).node, name, text))

    def link(self, node_id: int, body: memoryview) -> bytes:
        """LINK: the object's other names lead to the same node."""
        (existing,) = wire.LINK_IN.codec.unpack_from(body)
        node = self.nodes.find(existing).node
        return self.entry(self.union.link(self.nodes.find(node_id).node, take_name(body, 8), node))

    # Removing and moving

    def unlink(self, node_id: int, body: memoryview) -> bytes:
        """UNLINK."""
        self.union.unlink(self.nodes.find(node_id).node, take_name(body))
        return b""

    def rmdir(self, node_id: int, body: memoryview) -> bytes:
        """RMDIR."""
        self.union.rmdir(self.nodes.find(node_id).node, take_name(body))
        return b""

    def rename(self, node_id: int, body: memoryview) -> bytes:
        """RENAME."""
        (target,) = wire.RENAME_IN.codec.unpack_from(body)
        return self._rename(node_id, target, body, wire.RENAME_IN.size, 0)

    def rename2(self, node_id: int, body: memoryview) -> bytes:
        """RENAME2."""
        target, flags, _ = wire.RENAME2_IN.codec.unpack_from(body)
        return self._rename(node_id, target, body, wire.RENAME2_IN.size, flags)

    def _rename(self, node_id: int, target: int, body: memoryview, offset: int, flags: int) -> bytes:
        parent, new_parent = self.nodes.find(node_id).node, self.nodes.find(target).node
        name = take_name(body, offset)
        new_name = take_name(body, offset + len(name) + 1)
        self.union.rename(parent, name, new_parent, new_name, flags)
        return b""

    # Metadata

    def setattr(self, node_id: int, body: memoryview) -> bytes:
        """SETATTR: each part that is said to be valid, the size first, the times last."""
        (
            valid, _, _, size, _, accessed, modified, _, accessed_ns, modified_ns, _, mode, _, uid, gid, _,
        ) = _SETATTR(body)  # fmt: skip
        known = self.nodes.find(node_id)
        node, union = known.node, self.union
        if valid & _SIZE:
            union.truncate(node, size if size < 1 << 63 else -1)
        if valid & _MODE:
            union.chmod(node, stat.S_IMODE(mode))
        if valid & (_UID | _GID):
            union.chown(node, uid if valid & _UID else -1, gid if valid & _GID else -1)
        if valid & _KILL:
            self.drop_setuid(node)
        if valid & (_ATIME | _MTIME):
            union.utimens(
                node,
                _time(valid & _ATIME, valid & _ATIME_NOW, accessed, accessed_ns),
                _time(valid & _MTIME, valid & _MTIME_NOW, modified, modified_ns),
            )
        return answers.pack_attributes(union.attributes(node), self.status_valid(known))

    def drop_setuid(self, node: Node) -> None:
        """Take setuid away, and setgid where the group may execute: others have written to the file."""
        mode = self.union.real_status(node).st_mode
        if not stat.S_ISREG(mode):
            return
        gone = mode & stat.S_ISUID | (mode & stat.S_ISGID if mode & stat.S_IXGRP else 0)
        if gone:
            self.union.chmod(node, stat.S_IMODE(mode & ~gone))

    def setxattr(self, node_id: int, body: memoryview) -> bytes:
        """SETXATTR."""
        size, flags = wire.SETXATTR_IN_COMPAT.codec.unpack_from(body)
        start, extra = wire.SETXATTR_IN_COMPAT.size, 0
        if self.long_setxattr:
            _, _, extra, _ = wire.SETXATTR_IN.codec.unpack_from(body)
            start = wire.SETXATTR_IN.size
        name = take_names(body, start)[0]
        start += len(name) + 1
        value = bytes(body[start : start + size])
        if len(value) != size:
            raise failure(errno.EINVAL, name)
        known = self.nodes.find(node_id)
        node = known.node
        try:
            self.union.setxattr(node, name, value, flags & (os.XATTR_CREATE | os.XATTR_REPLACE))
        finally:
            known.has_default_acl = None
        if extra & wire.SETXATTR_ACL_KILL_SGID:
            mode = self.union.real_status(node).st_mode
            if mode & stat.S_ISGID:
                self.union.chmod(node, stat.S_IMODE(mode & ~stat.S_ISGID))
        return b""

    def removexattr(self, node_id: int, body: memoryview) -> bytes:
        """REMOVEXATTR."""
        known = self.nodes.find(node_id)
        try:
            self.union.removexattr(known.node, take_names(body, 0)[0])
        finally:
            known.has_default_acl = None
        return b""


def _time(wanted: int, now: int, seconds: int, nanoseconds: int) -> int | None:
    """Return a time as `Files.utimens` takes it."""
    if not wanted:
        return None
    return _NOW if now else seconds * _SECOND + min(nanoseconds, _SECOND - 1)
