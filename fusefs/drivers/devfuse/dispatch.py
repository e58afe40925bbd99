"""Which request is whose, and what becomes of errors.

Decided here and only here: what is answered to a request that fails, that is malformed, or that this driver does not
take; and that nothing that a request contains can end the mount.

`Dispatcher.handle` needs no kernel: it takes the bytes of a request and returns those of the answer.

Threads: any.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import stat
import struct
from collections.abc import Callable

from fusefs import syscalls
from fusefs.drivers.devfuse import wire
from fusefs.drivers.devfuse.device import Device
from fusefs.drivers.devfuse.opening import Opening
from fusefs.drivers.devfuse.options import Tuning
from fusefs.drivers.devfuse.wire import Opcode
from fusefs.node import Node
from fusefs.union import Union

__all__ = ["Dispatcher"]

_IN = wire.IN_HEADER.codec.unpack_from
_IN_SIZE = wire.IN_HEADER.size
_OPCODE, _OPCODE_AT = struct.Struct("=I").unpack_from, 4
_OUT = wire.OUT_HEADER.codec.pack
_OUT_SIZE = wire.OUT_HEADER.size
_OPEN = wire.OPEN_IN.codec.unpack_from
_READ = wire.READ_IN.codec.unpack_from

#: Requests that are refused at once. ENOSYS is remembered by the kernel, which then does the thing itself (ACCESS,
#: FLUSH, POLL, locks) or goes without (BMAP, STATX).
_REFUSED = {
    Opcode.GETLK: errno.ENOSYS,
    Opcode.SETLK: errno.ENOSYS,
    Opcode.SETLKW: errno.ENOSYS,
    Opcode.ACCESS: errno.ENOSYS,
    Opcode.FLUSH: errno.ENOSYS,
    Opcode.BMAP: errno.ENOSYS,
    Opcode.POLL: errno.ENOSYS,
    Opcode.STATX: errno.ENOSYS,
    Opcode.SETUPMAPPING: errno.ENOSYS,
    Opcode.REMOVEMAPPING: errno.ENOSYS,
    Opcode.IOCTL: errno.ENOTTY,
}

#: Requests that are never answered.
_SILENT = frozenset(
    int(opcode) for opcode in (Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT, Opcode.NOTIFY_REPLY)
)

#: Requests that may have to copy a file up first.
_COPIES_UP = frozenset(
    int(opcode)
    for opcode in (
        Opcode.OPEN, Opcode.SETATTR, Opcode.SETXATTR, Opcode.REMOVEXATTR, Opcode.LINK, Opcode.RENAME, Opcode.RENAME2,
    )
)  # fmt: skip

_LARGE = 1 << 16
_KILLED = 1 << (signal.SIGKILL - 1)
_WRITES = os.O_ACCMODE | os.O_TRUNC

Handler = Callable[[int, memoryview], bytes | None]

log = logging.getLogger(__name__)


class _Asker:
    """Who waits for a request that may take long.

    A signal alone makes nobody give up: the kernel's overlayfs goes on with a copy-up as well, and a program whose
    `open` fails for an alarm clock is a surprised one. Only who is being killed waits no more.
    """

    __slots__ = ("has_a_signal", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.has_a_signal = False

    def is_gone(self) -> bool:
        """Tell whether it is being killed. The kernel tells of the first signal only; that may not be the last."""
        if not self.has_a_signal or not self.pid:
            return False
        try:
            with open(f"/proc/{self.pid}/status", "rb") as status:
                pending = [int(line.split()[1], 16) for line in status if line.startswith((b"SigPnd", b"ShdPnd"))]
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return any(mask & _KILLED for mask in pending)


class Dispatcher(Opening):
    """All requests. For the parameters see `Reading`."""

    def __init__(self, union: Union, device: Device, tuning: Tuning) -> None:
        super().__init__(union, device, tuning)
        self._caller = union.caller
        self._long: dict[int, _Asker] = {}
        self._handlers: dict[int, Handler] = {
            Opcode.LOOKUP: self.lookup,
            Opcode.FORGET: self.forget,
            Opcode.GETATTR: self.getattr,
            Opcode.SETATTR: self.setattr,
            Opcode.READLINK: self.readlink,
            Opcode.SYMLINK: self.symlink,
            Opcode.MKNOD: self.mknod,
            Opcode.MKDIR: self.mkdir,
            Opcode.UNLINK: self.unlink,
            Opcode.RMDIR: self.rmdir,
            Opcode.RENAME: self.rename,
            Opcode.LINK: self.link,
            Opcode.OPEN: self.open,
            Opcode.READ: self.read,
            Opcode.WRITE: self.write,
            Opcode.STATFS: self.statfs,
            Opcode.RELEASE: self.release,
            Opcode.FSYNC: self.fsync,
            Opcode.SETXATTR: self.setxattr,
            Opcode.GETXATTR: self.getxattr,
            Opcode.LISTXATTR: self.listxattr,
            Opcode.REMOVEXATTR: self.removexattr,
            Opcode.OPENDIR: self.opendir,
            Opcode.READDIR: self.readdir,
            Opcode.RELEASEDIR: self.releasedir,
            Opcode.FSYNCDIR: self.fsyncdir,
            Opcode.CREATE: self.create,
            Opcode.INTERRUPT: self.interrupt,
            Opcode.DESTROY: self.destroy,
            Opcode.NOTIFY_REPLY: self.ignore,
            Opcode.BATCH_FORGET: self.batch_forget,
            Opcode.FALLOCATE: self.fallocate,
            Opcode.READDIRPLUS: self.readdirplus,
            Opcode.RENAME2: self.rename2,
            Opcode.LSEEK: self.lseek,
            Opcode.COPY_FILE_RANGE: self.copy_file_range,
            Opcode.SYNCFS: self.syncfs,
            Opcode.TMPFILE: self.tmpfile,
            Opcode.COPY_FILE_RANGE_64: self.copy_file_range_64,
        }
        #: What says of a request that it may take long; of one that is not here, which are most, it never is said.
        self._slow: dict[int, Callable[[int, memoryview], bool]] = {
            Opcode.FSYNC: self._always,
            Opcode.FSYNCDIR: self._always,
            Opcode.SYNCFS: self._always,
            Opcode.FALLOCATE: self._always,
            Opcode.LSEEK: self._always,
            Opcode.OPEN: self._opens_for_writing,
            Opcode.SETATTR: self._changes_lower_file,
            Opcode.SETXATTR: self._changes_lower_file,
            Opcode.REMOVEXATTR: self._changes_lower_file,
            Opcode.LINK: self._links_lower_file,
            Opcode.RENAME: self._renames_lower_file,
            Opcode.RENAME2: self._renames2_lower_file,
            Opcode.WRITE: self._moves_much,
            Opcode.READ: self._moves_much,
            Opcode.READDIR: self._begins_listing,
            Opcode.COPY_FILE_RANGE: self._copies_much,
            Opcode.COPY_FILE_RANGE_64: self._copies_much,
        }

    def handle(self, request: memoryview) -> tuple[bytes, bytes] | None:
        """Answer a request.

        Parameters
        ----------
        request
            Header and body, whole.

        Returns
        -------
        tuple
            The answer's header and what follows it; None for a request that is not answered.
        """
        if len(request) < _IN_SIZE:
            return None
        length, opcode, unique, node_id, uid, gid, pid, _, _ = _IN(request)
        handler = self._handlers.get(opcode)
        if handler is None:
            return _OUT(_OUT_SIZE, -_REFUSED.get(opcode, errno.ENOSYS), unique), b""
        self._caller.become(uid, gid, pid)
        try:
            answer = handler(node_id, request[_IN_SIZE:length])
        except OSError as error:
            code = error.errno or errno.EIO
            answer = None
        except (struct.error, ValueError, OverflowError) as error:
            log.warning("%s of node %d is malformed: %s", _name(opcode), node_id, error)
            code, answer = errno.EINVAL, None
        except Exception:
            log.exception("%s of node %d failed; answered EIO", _name(opcode), node_id)
            code, answer = errno.EIO, None
        else:
            code = 0
        if answer is None:
            if opcode in _SILENT:
                return None
            return _OUT(_OUT_SIZE, -code, unique), b""
        return _OUT(_OUT_SIZE + len(answer), 0, unique), answer

    def begin_slow(self, request: memoryview) -> None:
        """Say that a request may take long, before anybody else reads the next one: that may be its INTERRUPT."""
        _, _, unique, _, _, _, pid, *_ = _IN(request)
        self._long[unique] = _Asker(pid)

    def handle_slow(self, request: memoryview, waits: Callable[[], None] | None = None) -> tuple[bytes, bytes] | None:
        """Answer a request that was said to be one that may take long; as `handle`.

        Parameters
        ----------
        waits
            Called when it does begin to take long, see `waits_late`.
        """
        unique = _IN(request)[2]
        asker = self._long[unique]
        caller = self.union.caller
        caller.abandoned = asker.is_gone
        if waits is not None:
            caller.waits = waits
        try:
            return self.handle(request)
        finally:
            del caller.abandoned
            if waits is not None:
                del caller.waits
            del self._long[unique]

    @staticmethod
    def waits_late(request: memoryview) -> bool:
        """Tell whether a request says by itself when it begins to take long: one that copies up."""
        return _OPCODE(request, _OPCODE_AT)[0] in _COPIES_UP

    def interrupt(self, _node_id: int, body: memoryview) -> None:
        """INTERRUPT: a signal has come for whoever waits for a request. Not answered; the request is."""
        asker = self._long.get(wire.INTERRUPT_IN.codec.unpack_from(body)[0])
        if asker is not None:
            asker.has_a_signal = True

    def is_slow(self, request: memoryview) -> bool:
        """Tell whether a request may take long, so that somebody else should read the next one meanwhile."""
        asked = self._slow.get(_OPCODE(request, _OPCODE_AT)[0])
        return asked is not None and asked(_IN(request)[3], request[_IN_SIZE:])

    # Which requests may take long: those that copy a file up where that has not happened yet, much data, the disk.

    @staticmethod
    def _always(_node_id: int, _body: memoryview) -> bool:
        return True

    @staticmethod
    def _moves_much(_node_id: int, body: memoryview) -> bool:
        return bool(_READ(body)[2] > _LARGE)  # WRITE begins as READ does

    @staticmethod
    def _begins_listing(_node_id: int, body: memoryview) -> bool:
        return not _READ(body)[1]

    def _opens_for_writing(self, node_id: int, body: memoryview) -> bool:
        return bool(_OPEN(body)[0] & _WRITES) and self._changes_lower_file(node_id, body)

    def _changes_lower_file(self, node_id: int, _body: memoryview) -> bool:
        known = self.nodes.get(node_id)
        return known is not None and self._copies_long(known.node)

    def _links_lower_file(self, _node_id: int, body: memoryview) -> bool:
        return self._changes_lower_file(wire.LINK_IN.codec.unpack_from(body)[0], body)

    def _copies_much(self, _node_id: int, body: memoryview) -> bool:
        return self.copies_much(body)

    def _renames_lower_file(self, node_id: int, body: memoryview) -> bool:
        return self._moves_lower_file(node_id, bytes(body[wire.RENAME_IN.size :]))

    def _renames2_lower_file(self, node_id: int, body: memoryview) -> bool:
        return self._moves_lower_file(node_id, bytes(body[wire.RENAME2_IN.size :]))

    @staticmethod
    def _copies_long(node: Node) -> bool:
        """Tell whether a change of an object may have to wait for a disk, or for much data: it is copied up first."""
        return not node.data_in_upper and node.kind == stat.S_IFREG

    def _moves_lower_file(self, node_id: int, names: bytes) -> bool:
        """Tell whether what a rename moves has to be copied up first, or may have to."""
        known = self.nodes.get(node_id)
        child = known.node.children.get(names.partition(b"\0")[0]) if known is not None else None
        return child is None or self._copies_long(child)

    def ignore(self, _node_id: int, _body: memoryview) -> None:
        """NOTIFY_REPLY: nothing was asked for. Not answered."""

    def destroy(self, _node_id: int, _body: memoryview) -> bytes:
        """DESTROY: nothing is left to do."""
        return b""

    def syncfs(self, _node_id: int, _body: memoryview) -> bytes:
        """SYNCFS."""
        union = self.union
        if not union.read_only and not union.options.volatile:
            fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=union.upper.root.fd)
            try:
                syscalls.syncfs(fd)
            finally:
                os.close(fd)
        return b""


def _name(opcode: int) -> str:
    try:
        return Opcode(opcode).name
    except ValueError:
        return f"request {opcode}"
