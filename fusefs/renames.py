"""Renaming, with everything that read-only layers make difficult about it.

Decided here and only here: which renames are possible, what is marked before something moves, and that the move and
the whiteout it leaves are one step.

What moves away from a name that a read-only layer shows leaves a whiteout there. A directory that moves to where
read-only layers show something becomes opaque. A directory with parts in read-only layers cannot move, EXDEV, unless
the option `redirect` is on: then an attribute says where its lower part lies (filesystems/overlayfs, "renaming
directories", "redirect_dir").
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat

from fusefs import marks, syscalls
from fusefs.layer import Directory
from fusefs.marks import Format
from fusefs.names import Names
from fusefs.node import Node
from fusefs.operation import EffectKind, Kind
from fusefs.record import recorded
from fusefs.stack import Redirect
from fusefs.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT
from fusefs.table import failure

__all__ = ["Renames"]


class Renames(Names):
    """The merged view of a stack, with renaming. For the parameters see `Table`."""

    @recorded(Kind.RENAME)
    def rename(self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int = 0) -> None:
        """Move a name (rename(2), renameat2(2)).

        Parameters
        ----------
        parent, name
            What moves.
        new_parent, new_name
            Where to; what is there is replaced.
        flags
            RENAME_NOREPLACE or RENAME_EXCHANGE.

        Raises
        ------
        OSError
            EXDEV for a directory with parts in read-only layers, unless the option `redirect` is on; EINVAL for
            other flags; else as the system call.
        """
        self.caller.target = self._where(new_parent, new_name)
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE) or flags == RENAME_NOREPLACE | RENAME_EXCHANGE:
            raise failure(errno.EINVAL, name)
        while True:
            with self.lock:
                node, target = self._check_rename(parent, name, new_parent, new_name, flags)
                if node is target:
                    return
                missing: Node | None = None
                if not node.is_directory and not node.upper:
                    missing = node
                elif target is not None and not target.is_directory and not target.upper:
                    missing = target if flags & RENAME_EXCHANGE or self._wants_index(target) else None
                if missing is None:
                    self._rename(parent, name, node, new_parent, new_name, target, flags)
                    return
                self.hold(missing)
            try:
                self.copy_up(missing, data=False)
            finally:
                self.release(missing)

    def _check_rename(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int
    ) -> tuple[Node, Node | None]:
        """Return what moves and what is at its target, or refuse; under the lock."""
        _ = self.upper
        node = self._find(parent, name)
        target = self._peek(new_parent, new_name)
        if new_parent.dead:
            raise failure(errno.ENOENT, new_name)
        if flags & RENAME_NOREPLACE and target is not None:
            raise failure(errno.EEXIST, new_name)
        if flags & RENAME_EXCHANGE and target is None:
            raise failure(errno.ENOENT, new_name)
        if target is None and marks.reserved_name(new_name):
            raise failure(errno.EPERM, new_name)
        if node.is_directory and new_parent.is_below(node):
            raise failure(errno.EINVAL, new_name)
        if target is not None and target.is_directory and parent.is_below(target):
            raise failure(errno.EINVAL if flags & RENAME_EXCHANGE else errno.ENOTEMPTY, new_name)
        if target is not None and not flags & RENAME_EXCHANGE:
            if node.is_directory and not target.is_directory:
                raise failure(errno.ENOTDIR, new_name)
            if target.is_directory and not node.is_directory:
                raise failure(errno.EISDIR, new_name)
        if node is target:
            return node, target
        for one in (node, target if flags & RENAME_EXCHANGE else None):
            if one is not None and one.is_directory and one.lower and not self._redirects:
                raise failure(errno.EXDEV, name)
        if target is not None and target.is_directory and not flags & RENAME_EXCHANGE and self.entries(target):
            if not target.lower:
                # The kernel leaves it to the upper to refuse, after both were copied up: the number of links shows it.
                self.copy_up(node)
                self.copy_up(new_parent)
            raise failure(errno.ENOTEMPTY, new_name)
        return node, target

    @property
    def _redirects(self) -> bool:
        """Whether a directory can say where its lower part lies."""
        return self.options.redirect is Redirect.ON and self.marks is not Format.OCI

    def _rename(
        self, parent: Node, name: bytes, node: Node, new_parent: Node, new_name: bytes, target: Node | None, flags: int
    ) -> None:
        """Move a name whose object is in the upper; under the lock."""
        exchange = bool(flags & RENAME_EXCHANGE)
        old_path, new_path = self._where(parent, name), self._where(new_parent, new_name)
        for one in (parent, new_parent, *([node] if node.is_directory else [])):
            self.copy_up(one)
        if exchange and target is not None and target.is_directory:
            self.copy_up(target)
        if node.index is not None:
            self._link_up(parent, name, node)
        if exchange and target is not None and target.index is not None:
            self._link_up(new_parent, new_name, target)
        source, place = self.upper_directory(parent), self.upper_directory(new_parent)
        for one, where, new_where, path in (
            (node, new_parent, new_name, new_path),
            *([(target, parent, name, old_path)] if exchange and target is not None else []),
        ):
            self._prepare_move(one, where, new_where, path, place if one is node else source)
        if exchange:
            assert target is not None
            syscalls.rename(source.fd, name, place.fd, new_name, RENAME_EXCHANGE)
            self._note(EffectKind.RENAMED, old_path, target=new_path)
            self._note(EffectKind.RENAMED, new_path, target=old_path)
            self._detach(parent, name, node)
            self._detach(new_parent, new_name, target)
            self._attach(new_parent, new_name, node)
            self._attach(parent, name, target)
            return
        leaves = self._shown_by(parent, name)
        revealed = self.caller.effects is not None and self._has_whiteout(place, new_name)
        if target is not None:
            self._clear_target(target, place, new_name)
            if self._is_in(place, new_name):
                self._keep_orphan(target, place, new_name)
        self._move(source, name, place, new_name, leaves=leaves is not None, is_directory=node.is_directory)
        self._note(EffectKind.RENAMED, old_path, target=new_path)
        if leaves is not None:
            self._note(EffectKind.WHITEOUT, old_path, origin=leaves)
        if revealed:
            self._note(EffectKind.REVEALED, new_path)
        if target is not None:
            self._bury(new_parent, new_name, target)
        self._detach(parent, name, node)
        self._attach(new_parent, new_name, node)

    def _prepare_move(self, node: Node, parent: Node, name: bytes, path: str, place: Directory) -> None:
        """Mark what is about to move, so that at its new place just its own content shows."""
        kept, here = self.host_path(node)
        if not node.is_directory:
            self._say_where_data_is(node)
            # Where it was already, the mark was set when it came.
            if parent is not node.parent and node.inode != self._inode(
                self.upper.device, self.real_status(node).st_ino
            ):
                self._mark_impure(parent, place)
            return
        if node.lower:
            first = node.lower[0]
            redirect = b"/" + first[1] if parent is not node.parent else first[1].rsplit(b"/", 1)[-1]
            if parent is node.parent and len({at for _, at in node.lower}) > 1:
                redirect = b"/" + first[1]
            os.setxattr(here, self.marks.prefix + b"redirect", redirect, follow_symlinks=False)
            self._note(EffectKind.REDIRECT, path, origin=first[0], target=os.fsdecode(redirect))
            self._mark_impure(parent, place)
        elif parent.lower:
            marks.set_opaque(kept.fd, b".", self.marks)
            shown = self._shown_by(parent, name)
            if shown is not None:
                self._note(EffectKind.OPAQUE, path, origin=shown)

    def _clear_target(self, target: Node, place: Directory, name: bytes) -> None:
        """Empty a directory of the upper that is about to be replaced of its whiteouts, keeping what is seen."""
        if not target.is_directory or not target.upper or self.marks is Format.OCI:
            return
        with os.scandir(os.fsdecode(marks.at(place.fd, name))) as listed:
            if next(listed, None) is None:
                return
        staged = self._staged_name()
        os.mkdir(staged, 0o700, dir_fd=self.staging.fd)
        try:
            status = os.stat(name, dir_fd=place.fd, follow_symlinks=False)
            here, there = marks.at(place.fd, name), marks.at(self.staging.fd, staged)
            os.chown(there, status.st_uid, status.st_gid)
            os.chmod(there, stat.S_IMODE(status.st_mode))
            marks.set_opaque(self.staging.fd, staged, self.marks)
            with contextlib.suppress(OSError):
                shutil.copystat(here, there)
            syscalls.rename(self.staging.fd, staged, place.fd, name, RENAME_EXCHANGE)
            target.lower = ()  # opaque now, should the rename itself fail
        finally:
            self._discard(staged)
        self._upper.drop(target)

    def _move(
        self, source: Directory, name: bytes, place: Directory, new_name: bytes, *, leaves: bool, is_directory: bool
    ) -> None:
        """Rename inside the upper, in one step with the whiteout that stays behind."""
        if self.marks is Format.OCI:
            if leaves:
                mark = os.open(marks.OCI_PREFIX + name, os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=source.fd)
                os.close(mark)
            if not is_directory or not self._is_in(place, new_name):
                syscalls.rename(source.fd, name, place.fd, new_name)
                return
            # The empty directory that is replaced may hold marks. They change places, then it goes: two steps, after
            # the first of which both names are there.
            marks.set_opaque(place.fd, new_name, self.marks)
            syscalls.rename(source.fd, name, place.fd, new_name, RENAME_EXCHANGE)
            staged = self._staged_name()
            syscalls.rename(source.fd, name, self.staging.fd, staged)
            self._discard(staged)
            return
        if is_directory and self._has_whiteout(place, new_name):
            # A directory cannot be renamed over a device: they change places, and the whiteout lands where one is
            # wanted, or is taken away.
            syscalls.rename(source.fd, name, place.fd, new_name, RENAME_EXCHANGE)
            if not leaves:
                os.unlink(name, dir_fd=source.fd)
            return
        if not leaves:
            syscalls.rename(source.fd, name, place.fd, new_name)
            return
        try:
            syscalls.rename(source.fd, name, place.fd, new_name, RENAME_WHITEOUT)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM, errno.ENOSYS):
                raise
            syscalls.rename(source.fd, name, place.fd, new_name)
            marks.whiteout_device(source.fd, name)
