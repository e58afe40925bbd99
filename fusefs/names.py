"""Making and removing names: create, link, unlink, rmdir, and the whiteouts and opaque marks that this takes.

Decided here and only here: what happens in the upper directory when a name appears or goes, in which order, so that
every state on disk is the one before or the one after.

Each operation holds the tree's lock while it changes names; whatever has to be copied up is copied up before that.

The rules (filesystems/overlayfs, "whiteouts and opaque directories", "renaming directories"):

- a name that a read-only layer shows is deleted by a whiteout, any other name is just removed;
- a name made where a whiteout is replaces it in one step; a directory made so is opaque, or the old content would
  come back.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator

from fusefs import marks, syscalls
from fusefs.copyup import CopyUp
from fusefs.layer import Directory
from fusefs.marks import Format
from fusefs.node import Node
from fusefs.operation import EffectKind, Kind
from fusefs.record import recorded
from fusefs.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE
from fusefs.table import failure

__all__ = ["Names"]

_O_HOLD = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_AS_OURSELVES = contextlib.nullcontext()

#: Makes an object under a name in a directory; returns its descriptor if that is open then.
Make = Callable[[int, bytes], int | None]


class Names(CopyUp):
    """The merged view of a stack, with changes of names. For the parameters see `Table`.

    Methods that return a node return it held for the caller. All raise `OSError` with the errno that the kernel's
    overlayfs gives: EROFS without an upper, EEXIST, ENOENT, ENOTEMPTY, EXDEV and so on.
    """

    #: Name in the work directory of the whiteout that others are names of; empty before the first one.
    _kept_whiteout = b""

    # Making

    def _check_new(self, parent: Node, name: bytes) -> None:
        """Refuse a name that cannot be made; under the lock."""
        if name in (b"", b".", b".."):
            raise failure(errno.EEXIST, name)
        if self._peek(parent, name) is not None:
            raise failure(errno.EEXIST, name)
        if parent.dead:
            raise failure(errno.ENOENT, name)
        _ = self.upper
        if marks.reserved_name(name):
            raise failure(errno.EPERM, name)

    def _may_be_free(self, parent: Node, name: bytes) -> bool:
        """Tell whether only the upper can have something under a name, so that making it there tells what is true."""
        return (
            parent.upper
            and parent.is_directory
            and not parent.dead
            and name not in parent.children
            and name not in (b"", b".", b"..")
            and self.marks is not Format.OCI
            and not marks.reserved_name(name)
            and self._shown_by(parent, name) is None
        )

    def _make(self, parent: Node, name: bytes, make: Make, *, is_directory: bool) -> Node:
        """Make an object under a new name by calling `make(directory, name)`; under the lock."""
        fd: int | None = None
        made = replaces = False
        if self._may_be_free(parent, name):
            # Without a look first: the name most often is free, and the kernel says so if it is not.
            above = self.upper_directory(parent)
            with contextlib.suppress(FileExistsError), self._as_caller():
                fd = make(above.fd, name)
                made = True
        if not made:
            self._check_new(parent, name)
            self.copy_up(parent)
            above = self.upper_directory(parent)
            replaces = self._has_whiteout(above, name)
            if replaces:
                with self._staged_like(above) as place:
                    staged = self._staged_name()
                    with self._as_caller():
                        fd = make(place, staged)
                    self._put_over_whiteout(place, staged, above, name, is_directory=is_directory)
            else:
                with self._as_caller():
                    fd = make(above.fd, name)
        if self.caller.effects is not None:
            self._note_made(parent, name, replaces=replaces, is_directory=is_directory)
        status = os.stat(name, dir_fd=above.fd, follow_symlinks=False) if fd is None else os.fstat(fd)
        node = Node(stat.S_IFMT(status.st_mode), self._inode(self.upper.device, status.st_ino), parent, name)
        node.upper = True
        node.impure = False
        self._seen = node, status
        return self.hold(self._attach(parent, name, node))

    def _note_made(self, parent: Node, name: bytes, *, replaces: bool, is_directory: bool) -> None:
        self._note(EffectKind.CREATED)
        if replaces:
            hides = self._shown_by(parent, name)
            self._note(EffectKind.REVEALED, origin=hides)
            if is_directory:
                self._note(EffectKind.OPAQUE, origin=hides)

    def _as_caller(self) -> contextlib.AbstractContextManager[None]:
        """Let what is created belong to the caller, as it would in a filesystem of its own."""
        caller = self.caller
        if (caller.uid, caller.gid) == self._own or self._own[0] != 0:
            return _AS_OURSELVES
        return self._as_another(caller.uid, caller.gid)

    @contextlib.contextmanager
    def _as_another(self, uid: int, gid: int) -> Iterator[None]:
        syscalls.set_filesystem_ids(uid, gid)
        try:
            yield
        finally:
            syscalls.set_filesystem_ids(*self._own)

    def _has_whiteout(self, above: Directory, name: bytes) -> bool:
        """Tell whether the upper has a whiteout under a name, which is in the way of what shall be made there."""
        if self.marks is Format.OCI:
            return self._oci_mark(above, name)
        try:
            return marks.is_whiteout(os.stat(name, dir_fd=above.fd, follow_symlinks=False))
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def _staged_like(self, above: Directory) -> Iterator[int]:
        """Yield a place in the work directory where new objects get what they would inherit from `above`."""
        status = os.fstat(above.fd)
        path = b"/proc/self/fd/%d/." % above.fd
        inherited = None if self.marks is Format.OCI else marks.get_attribute(path, b"system.posix_acl_default")
        if not status.st_mode & stat.S_ISGID and inherited is None:
            yield self.staging.fd
            return
        name = self._staged_name()
        os.mkdir(name, 0o700, dir_fd=self.staging.fd)
        try:
            os.chown(name, -1, status.st_gid, dir_fd=self.staging.fd)
            os.chmod(marks.at(self.staging.fd, name), 0o700 | status.st_mode & stat.S_ISGID)
            if inherited is not None:
                os.setxattr(marks.at(self.staging.fd, name), "system.posix_acl_default", inherited)
            place = Directory(os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.staging.fd))
            yield place.fd
        finally:
            shutil.rmtree(marks.at(self.staging.fd, name), ignore_errors=True)

    def _put_over_whiteout(
        self, place: int, staged: bytes, above: Directory, name: bytes, *, is_directory: bool
    ) -> None:
        """Move a finished object to where a whiteout is, in one step; a directory becomes opaque first."""
        try:
            if is_directory:
                marks.set_opaque(place, staged, self.marks)
            if self.marks is Format.OCI:
                syscalls.rename(place, staged, above.fd, name, RENAME_NOREPLACE)
            elif is_directory:
                syscalls.rename(place, staged, above.fd, name, RENAME_EXCHANGE)
                os.unlink(staged, dir_fd=place)
            else:
                syscalls.rename(place, staged, above.fd, name)
        except BaseException:
            self._discard(staged, place)
            raise

    def _discard(self, staged: bytes, place: int | None = None) -> None:
        """Remove something from the work directory, whatever it is."""
        place = self.staging.fd if place is None else place
        with contextlib.suppress(OSError):
            try:
                os.unlink(staged, dir_fd=place)
            except IsADirectoryError:
                shutil.rmtree(marks.at(place, staged), ignore_errors=True)

    @recorded(Kind.MKDIR)
    def mkdir(self, parent: Node, name: bytes, mode: int) -> Node:
        """Make a directory (mkdir(2)); `mode` has the permission bits, the caller's umask taken off."""
        with self.lock:
            return self._make(parent, name, lambda at, n: os.mkdir(n, mode, dir_fd=at), is_directory=True)

    @recorded(Kind.MKNOD)
    def mknod(self, parent: Node, name: bytes, mode: int, device: int = 0) -> Node:
        """Make a file, fifo, socket or device (mknod(2)). A character device 0/0 is a whiteout's form: EPERM."""
        with self.lock:
            if stat.S_ISCHR(mode) and device == 0:
                self._check_new(parent, name)
                raise failure(errno.EPERM, name)
            return self._make(parent, name, lambda at, n: os.mknod(n, mode, device, dir_fd=at), is_directory=False)

    @recorded(Kind.SYMLINK)
    def symlink(self, parent: Node, name: bytes, text: bytes) -> Node:
        """Make a symlink (symlink(2))."""
        self.caller.target = os.fsdecode(text)
        with self.lock:
            return self._make(parent, name, lambda at, n: os.symlink(text, n, dir_fd=at), is_directory=False)

    @recorded(Kind.LINK)
    def link(self, parent: Node, name: bytes, node: Node) -> Node:
        """Give an object one more name (link(2)).

        Returns
        -------
        Node
            The object itself, held once more.
        """
        with self.lock:
            self._check_new(parent, name)
            if node.is_directory:
                raise failure(errno.EPERM, name)
            self.caller.target = where = self._where(node)
        self.copy_up(node, data=False)
        with self.lock:
            self._check_new(parent, name)
            self.copy_up(parent)
            above = self.upper_directory(parent)
            self._say_where_data_is(node)
            kept, source = self.host_path(node)
            follow = node.orphan is not None
            replaces = self._has_whiteout(above, name)
            if replaces and self.marks is not Format.OCI:
                staged = self._staged_name()
                os.link(source, staged, dst_dir_fd=self.staging.fd, follow_symlinks=follow)
                self._put_over_whiteout(self.staging.fd, staged, above, name, is_directory=False)
            else:
                os.link(source, name, dst_dir_fd=above.fd, follow_symlinks=follow)
            del kept
            status = os.stat(name, dir_fd=above.fd, follow_symlinks=False)
            if node.inode != self._inode(self.upper.device, status.st_ino):
                self._mark_impure(parent, above)
            node.dead = False
            node.orphan = None
            self._attach(parent, name, node)
            self._remember_key(node, (status.st_dev, status.st_ino))
            self._note(EffectKind.LINKED, self._where(parent, name), target=where)
            if replaces:
                self._note(EffectKind.REVEALED, self._where(parent, name))
            self._count(node, 1)
            return self.hold(node)

    # Removing

    @recorded(Kind.UNLINK)
    def unlink(self, parent: Node, name: bytes) -> None:
        """Remove a name of anything but a directory (unlink(2))."""
        while True:
            with self.lock:
                _ = self.upper
                node = self._find(parent, name)
                if node.is_directory:
                    raise failure(errno.EISDIR, name)
                if not self._wants_index(node):
                    self._remove(parent, name, node)
                    return
                self.hold(node)
            try:
                self.copy_up(node, data=False)
            finally:
                self.release(node)

    def _count(self, node: Node, more: int) -> None:
        """Count a name of an indexed file; with the last one the index lets go of it."""
        if node.index is None or self.index is None:
            return
        node.count += more
        if node.count > 0:
            self.index.set_count(node.index, node.count)
            return
        if node.pins and node.orphan is None:
            node.orphan = Directory(os.open(node.index, _O_HOLD, dir_fd=self.index.directory.fd))
        self.index.remove(node.index)
        node.index = None
        node.dead = True

    @recorded(Kind.RMDIR)
    def rmdir(self, parent: Node, name: bytes) -> None:
        """Remove a directory whose merged view is empty (rmdir(2)), even if whiteouts are left in the upper."""
        with self.lock:
            _ = self.upper
            node = self._find(parent, name)
            if not node.is_directory:
                raise failure(errno.ENOTDIR, name)
            # One that is just removed from the upper is refused by the kernel if it is not empty: see `_remove`.
            if (node.lower or self._shown_by(parent, name) is not None) and self.entries(node):
                raise failure(errno.ENOTEMPTY, name)
            self._remove(parent, name, node)

    def _remove(self, parent: Node, name: bytes, node: Node) -> None:
        """Take a name away, leaving a whiteout where a read-only layer shows it; under the lock."""
        origin = self._shown_by(parent, name)
        shown = origin is not None
        present = node.upper
        if node.index is not None:
            present = parent.upper and self._is_in(self.upper_directory(parent), name)
        if shown:
            self.copy_up(parent)
        above = self.upper_directory(parent) if parent.upper else None
        assert above is not None, "a name that no read-only layer shows is in the upper"
        self._keep_orphan(node, above, name)
        if shown:
            self._hide(above, name, present=present, is_directory=node.is_directory)
        elif node.is_directory:
            staged = self._staged_name()
            try:
                os.rmdir(name, dir_fd=above.fd)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                if self.entries(node):
                    node.orphan = None
                    raise failure(errno.ENOTEMPTY, name) from None
                syscalls.rename(above.fd, name, self.staging.fd, staged)
                self._discard(staged)
        else:
            os.unlink(name, dir_fd=above.fd)
        if present:
            self._note(EffectKind.REMOVED)
        if shown:
            self._note(EffectKind.WHITEOUT, origin=origin)
        self._bury(parent, name, node)

    def _shown_by(self, parent: Node, name: bytes) -> int | None:
        """Return the number of the topmost read-only layer that shows a name."""
        for number, path in parent.lower:
            value, _ = self.layer(number).entry(path, name)
            if value >= 0:
                return number if value > 0 else None
        return None

    @staticmethod
    def _is_in(above: Directory, name: bytes) -> bool:
        """Tell whether a directory of the upper has an object of this name, no whiteout."""
        try:
            return not marks.is_whiteout(os.stat(name, dir_fd=above.fd, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def _keep_orphan(self, node: Node, above: Directory, name: bytes) -> None:
        """Before its name goes, keep hold of an object of the upper that somebody still holds."""
        if node.upper and node.pins and node.orphan is None and not node.links and node.index is None:
            node.orphan = Directory(os.open(name, _O_HOLD, dir_fd=above.fd))

    def _bury(self, parent: Node, name: bytes, node: Node) -> None:
        """Take note that a name is gone; with the last one the node is dead."""
        self._count(node, -1)
        self._detach(parent, name, node)
        if node.parent is not None:
            node.orphan = None
            return
        node.dead = True
        node.name = parent.raw_path_of(name)
        self._upper.drop(node)
        if not node.pins:
            self._idle.pop(node, None)
            node.orphan = None
            self._forget_key(node)

    def _make_whiteout(self, directory: int, name: bytes) -> None:
        """Make a whiteout: one more name of one that is kept in the work directory, which saves an inode for each.

        The kernel's overlayfs does the same. Where there can be no more names, or none at all, it is one of its own.
        """
        kept = self._kept_whiteout
        try:
            if not kept:
                kept = self._staged_name()
                marks.whiteout_device(self.staging.fd, kept)
                self._kept_whiteout = kept
            os.link(kept, name, src_dir_fd=self.staging.fd, dst_dir_fd=directory, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:
            self._kept_whiteout = b""
            if kept:
                self._discard(kept)
            marks.whiteout_device(directory, name)

    def _hide(self, above: Directory, name: bytes, *, present: bool, is_directory: bool) -> None:
        """Put a whiteout in place of a name, in one step."""
        if self.marks is Format.OCI:
            mark = os.open(marks.OCI_PREFIX + name, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600, dir_fd=above.fd)
            os.close(mark)
            if present and is_directory:
                staged = self._staged_name()
                syscalls.rename(above.fd, name, self.staging.fd, staged)
                self._discard(staged)
            elif present:
                os.unlink(name, dir_fd=above.fd)
            return
        if not present:
            self._make_whiteout(above.fd, name)
            return
        staged = self._staged_name()
        self._make_whiteout(self.staging.fd, staged)
        try:
            syscalls.rename(self.staging.fd, staged, above.fd, name, RENAME_EXCHANGE if is_directory else 0)
        except BaseException:
            self._discard(staged)
            raise
        if is_directory:
            self._discard(staged)
