"""The union: every operation on the merged view of a stack of layers, without any FUSE in it.

`Union` is inode-shaped, as drivers need it: objects are nodes, found by parent and name. `UnionFS` in `paths.py` is the
same for people and tests: paths in, results out.

Decided here and only here: how a path is walked, and how the union is put together. It is built up concept by concept,
each class adding one to the one before:

    Table      who an object is, where it lies, how long it is remembered     table.py
    Tree       lookup and listing across the layers                           tree.py
    Recording  an operation becomes a record                                  record.py
    CopyUp     an object gets its copy in the RW layer                        copyup.py
    Names      create, link, remove; whiteouts and opaque marks               names.py
    Renames    rename, with what it leaves and takes along                    renames.py
    Files      open files, data, metadata                                     files.py
    Union      all of it

Threads: any may call.
"""

from __future__ import annotations

import errno
import stat
from collections.abc import Collection

from fusefs.files import Files
from fusefs.node import Node
from fusefs.operation import Kind
from fusefs.record import recorded
from fusefs.table import failure

__all__ = ["Union"]

_MOST_SYMLINKS = 40


class Union(Files):
    """The inode-shaped union. For the parameters see `Table`; set `record` to have operations recorded.

    Drivers call its methods with nodes. A node that a method returns is held for the caller, who gives it back with
    `release`; `caller.become` says for whom the calling thread works.
    """

    @recorded(Kind.LOOKUP)
    def lookup(self, parent: Node, name: bytes) -> Node:
        """Return the object that a name leads to, held for the caller; as `Tree.lookup`, recorded."""
        return super().lookup(parent, name)

    def walk(self, path: bytes, *, follow: bool = True, barred: Collection[bytes] = ()) -> Node:
        """Return the object at a path of the merged view, held for the caller.

        Symlinks on the way are followed within the merged view; one at the end as `follow` says. `..` at the root is
        the root. None of the paths in `barred` is gone through or arrived at.

        Raises
        ------
        OSError
            ENOENT, ENOTDIR, ELOOP after 40 symlinks, ENAMETOOLONG; EXDEV at what is barred.
        """
        parent, name = self.walk_parent(path, follow=follow, barred=barred)
        if not name:
            return self.hold(parent)
        with self.lock:
            node = self._find(parent, name)
            if barred and node.raw_path() in barred:
                raise failure(errno.EXDEV, path)
            return self.hold(node)

    def walk_parent(self, path: bytes, *, follow: bool = False, barred: Collection[bytes] = ()) -> tuple[Node, bytes]:
        """Return the directory that a path's last component is in, and that component; not held.

        The component is `b""` where the path leads to a directory by itself (`/`, `.`, `..`).
        """
        if not path:
            raise failure(errno.ENOENT, path)
        pending = [step for step in path.split(b"/") if step not in (b"", b".")]
        must_be_directory = path.endswith((b"/", b"/."))
        pending.reverse()
        links = 0
        with self.lock:
            at = self.root
            while pending:
                step = pending.pop()
                if step == b"..":
                    at = at.parent or at
                    continue
                last = not pending
                if last and not follow and not must_be_directory:
                    return at, step
                node = self._peek(at, step) if last else self._find(at, step)
                if node is None:
                    return at, step
                if stat.S_ISLNK(node.kind) and (not last or follow or must_be_directory):
                    links += 1
                    if links > _MOST_SYMLINKS:
                        raise failure(errno.ELOOP, path)
                    text = self.readlink(node)
                    if text.startswith(b"/"):
                        at = self.root
                    pending.extend(reversed([part for part in text.split(b"/") if part not in (b"", b".")]))
                    continue
                if not last or must_be_directory:
                    if not node.is_directory:
                        raise failure(errno.ENOTDIR, path)
                    if barred and node.raw_path() in barred:
                        raise failure(errno.EXDEV, path)
                    at = node
                    if last:
                        return at, b""
                    continue
                return at, step
            return at, b""
