"""Open files: through the page cache, directly, or in kernel passthrough.

Decided here and only here: in which of the three ways a file is opened, and what keeps each from showing old data.

- **Passthrough**: the kernel reads and writes the file in its layer by itself; we see only OPEN and RELEASE. All open
  files of a node must use one backing ID, and none may use the page cache meanwhile (the kernel answers EIO else).
- **Page cache**: the kernel asks for pages once, and keeps them while KEEP_CACHE says so. Small files are put there
  before OPEN is answered, which saves the READ.
- **Direct**: each read and write comes to us, so that it can be recorded. Only a program of a read-only layer that is
  executed goes through the page cache, since the kernel maps it and would read it anew at each start.

A node's first open file decides; the next ones follow it until the last is closed. So a file of a lower layer that is
read while another program opens it for writing stays in the page cache, and the reader sees what is written. Only with
passthrough of lower layers too the two have different backing files: then the node gets a new ID, and ESTALE makes the
kernel look the name up again; who has the old one open goes on reading the old data.

Who reads a file through the page cache needs nothing of an open file but that it is one. So all its readers share one
handle, also those that come later: a program that opens the same file again costs a look into a table.

A file with setuid or setgid is never written in passthrough: the kernel leaves it to us to drop them, and we would not
see the write.

Threads: any; how nodes are open is changed under a lock of this module, under which no request waits for another.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import stat
import threading

from fusefs.drivers.devfuse import answers, wire
from fusefs.drivers.devfuse.changing import Changing
from fusefs.drivers.devfuse.device import Device
from fusefs.drivers.devfuse.nodes import Known, State
from fusefs.drivers.devfuse.options import Passthrough, Tuning
from fusefs.drivers.devfuse.reading import take_name
from fusefs.drivers.devfuse.wire import Fopen
from fusefs.files import OpenFile
from fusefs.node import Node
from fusefs.table import failure
from fusefs.union import Union

__all__ = ["Opening"]

_OPEN = wire.OPEN_IN.codec.unpack_from
_OPEN_OUT = wire.OPEN_OUT.codec.pack
_RELEASE = wire.RELEASE_IN.codec.unpack_from
_READ = wire.READ_IN.codec.unpack_from
_WRITE = wire.WRITE_IN.codec.unpack_from
_WRITE_OUT = wire.WRITE_OUT.codec.pack
_MOST = 1 << 20

# As plain numbers: flags of the enum module take a microsecond for each `|`.
_CACHED = int(Fopen.NOFLUSH)
_KEEP = int(Fopen.KEEP_CACHE)
_DIRECT = int(Fopen.DIRECT_IO | Fopen.PARALLEL_DIRECT_WRITES | Fopen.NOFLUSH)
_EXECUTED = 0x20  #: the kernel's own `__FMODE_EXEC`, which it passes on with the flags of open(2)
_PASSING = int(Fopen.PASSTHROUGH | Fopen.NOFLUSH)

#: Flags of who does more than to read.
_CHANGES = os.O_ACCMODE | os.O_TRUNC

#: Stands for the number of users of a handle that only one has.
_ALONE = -1

#: What the kernel opens without asking. Somebody who asks nevertheless is not to wait for the other end of a fifo.
_FOREIGN = frozenset({stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK})

#: Errors of registering a backing file that mean: not here, now and later.
_NEVER = (errno.EPERM, errno.ELOOP, errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL)

log = logging.getLogger(__name__)


class _Handle:
    """An open file as the kernel knows it.

    `users` counts who has it open, where readers share it, and is `_ALONE` where only one may. `generation` is that of
    the node when it was opened.
    """

    __slots__ = ("file", "generation", "known", "passing", "users")

    def __init__(self, known: Known, file: OpenFile, passing: bool) -> None:
        self.known = known
        self.file = file
        self.passing = passing
        self.generation = file.generation
        self.users = _ALONE


class Opening(Changing):
    """The requests about open files. For the parameters see `Reading`."""

    def __init__(self, union: Union, device: Device, tuning: Tuning) -> None:
        super().__init__(union, device, tuning)
        self.passthrough = Passthrough.OFF
        self.direct = False
        self._handles: dict[int, _Handle] = {}
        self._numbers = itertools.count(1)
        self._modes = threading.Lock()
        self._refused: set[int] = set()

    # Opening

    def open(self, node_id: int, body: memoryview) -> bytes:
        """OPEN."""
        flags, more = _OPEN(body)
        known = self.nodes.find(node_id)
        state = known.state
        if state is not None and state.reader and not flags & _CHANGES and self._read_again(state):
            return _OPEN_OUT(state.reader, _CACHED | _KEEP, 0)
        if known.node.kind in _FOREIGN:
            raise failure(errno.ENXIO)
        file = self.union.open(known.node, flags, deferred=True)
        try:
            if more & wire.OPEN_KILL_SUIDGID and flags & os.O_TRUNC:
                self.drop_setuid(known.node)
            return self._opened(known, file, fresh=False)
        except BaseException:
            self.union.close_file(file)
            raise

    def create(self, node_id: int, body: memoryview) -> bytes:
        """CREATE: make a file and open it."""
        flags, mode, umask, _ = wire.CREATE_IN.codec.unpack_from(body)
        parent, name = self.nodes.find(node_id), take_name(body, 16)
        node, file = self.union.create(parent.node, name, flags, stat.S_IMODE(self._mode(parent, mode, umask)))
        return self._created(node, file)

    def tmpfile(self, node_id: int, body: memoryview) -> bytes:
        """TMPFILE: make a file without a name and open it."""
        flags, mode, umask, _ = wire.CREATE_IN.codec.unpack_from(body)
        parent = self.nodes.find(node_id)
        node, file = self.union.tmpfile(parent.node, flags, stat.S_IMODE(self._mode(parent, mode, umask)))
        return self._created(node, file)

    def _created(self, node: Node, file: OpenFile) -> bytes:
        known = self.nodes.know(node)
        try:
            attributes = self.union.attributes(node, self.union.seen(node))
            opened = self._opened(known, file, fresh=True)
        except BaseException:
            self.union.close_file(file)
            self._forget([(known.id, 1)])
            raise
        return answers.pack_entry(known.id, attributes, self.valid, self.status_valid(known)) + opened

    def _opened(self, known: Known, file: OpenFile, *, fresh: bool) -> bytes:
        """Decide how a file is open, and return the answer."""
        notify, backing, how = False, 0, _DIRECT
        if self.direct and self.valid and not known.node.data_in_upper:
            how = (_CACHED if file.flags & _EXECUTED else _DIRECT) | _KEEP
        if not self.direct and known.node.kind == stat.S_IFREG:
            with self._modes:
                state = known.state
                if state is None:
                    state = known.state = State()
                if not state.caching and (state.passing or self._may_pass(known.node, file, fresh=fresh)):
                    backing = self._backing(known, state, file)
                if backing:
                    how = _PASSING
                    state.passing += 1
                    if file.writable:
                        notify = not state.writers and not fresh
                        state.writers += 1
                        state.stale = True
                else:
                    how = self._cached(known, state, file)
        if notify:
            self.device.forget_status(known.id)
        number = next(self._numbers)
        handle = self._handles[number] = _Handle(known, file, bool(backing))
        if how == _CACHED | _KEEP and not file.flags & _CHANGES:
            self._share(known, number, handle)
        return _OPEN_OUT(number, how, backing)

    # Readers through the page cache share a handle

    def _share(self, known: Known, number: int, handle: _Handle) -> None:
        """Let who reads a file later use this handle too, unless there is one for that."""
        with self._modes:
            state = known.state
            if state is not None and not state.reader:
                state.reader = number
                handle.users = 1

    def _read_again(self, state: State) -> bool:
        """Open a file once more for who only reads it; false where its data has moved, or is in passthrough now."""
        with self._modes:
            handle = self._handles.get(state.reader)
            if handle is None or state.passing or state.stale or handle.generation != handle.known.node.generation:
                return False
            handle.users += 1
            state.caching += 1
            self.union.join(handle.file)
            return True

    def _read_no_more(self, handle: _Handle) -> None:
        """Let one reader go. The handle stays for the next one, but not what the last one has opened."""
        with self._modes:
            if not handle.users:
                raise failure(errno.EBADF)
            handle.users -= 1
            if handle.known.state is not None:
                handle.known.state.caching -= 1
            self.union.leave(handle.file, last=not handle.users)

    def drop_state(self, state: State) -> None:
        """Let go of what was kept of a node that is forgotten."""
        handle = self._handles.pop(state.reader, None)
        if handle is not None:
            self.union.drop_file(handle.file)
        super().drop_state(state)

    def _cached(self, known: Known, state: State, file: OpenFile) -> int:
        """Open through the page cache; under the lock of modes, so that no page is being read while it is filled."""
        keep = not state.stale and bool(self.valid)
        if keep and not state.filled and not state.caching and not file.writable:
            state.filled = True
            self._fill(known, file)
        state.stale = False
        state.caching += 1
        return _CACHED | _KEEP if keep else _CACHED

    def _fill(self, known: Known, file: OpenFile) -> None:
        """Put a small file into the page cache. Nobody has it open, so no page of it is locked by a waiting reader."""
        try:
            fd = self.union.descriptor(file)
            status = os.fstat(fd)
            if not 0 < status.st_size <= self.tuning.prefill or not status.st_blocks:
                return
            data = os.pread(fd, status.st_size, 0)
        except OSError:
            return
        if len(data) == status.st_size:
            self.device.store(known.id, data)

    # Passthrough

    def _may_pass(self, node: Node, file: OpenFile, *, fresh: bool) -> bool:
        """Tell whether a node's first open file shall be in passthrough."""
        if self.passthrough is Passthrough.OFF or (not node.data_in_upper and self.passthrough is not Passthrough.ALL):
            return False
        layer = node.data_layer
        if layer in self._refused:
            return False
        if fresh or not file.writable:
            return True
        return not self.union.real_status(node).st_mode & (stat.S_ISUID | stat.S_ISGID)

    def _backing(self, known: Known, state: State, file: OpenFile) -> int:
        """Return the node's backing ID; 0 where there can be none.

        Raises
        ------
        OSError
            ESTALE where the data has moved to the RW layer while the old file is in use: the kernel looks the name up
            again, finds another node ID, and opens that.
        """
        node = known.node
        if state.backing and state.generation != node.generation:
            if state.passing:
                self.nodes.renew(node)
                raise failure(errno.ESTALE)
            self.device.backing_close(state.backing)
            state.backing = 0
        if not state.backing:
            try:
                state.backing = self.device.backing_open(self.union.descriptor(file))
            except OSError as error:
                if error.errno in _NEVER:
                    self._refused.add(node.data_layer)
                log.info("no passthrough for layer of %s: %s", node.path(), error)
                return 0
            state.generation = node.generation
        return state.backing

    # Open files

    def _handle(self, number: int) -> _Handle:
        handle = self._handles.get(number)
        if handle is None:
            raise failure(errno.EBADF)
        return handle

    def release(self, _node_id: int, body: memoryview) -> bytes:
        """RELEASE."""
        number = _RELEASE(body)[0]
        handle = self._handle(number)
        if handle.users != _ALONE:
            self._read_no_more(handle)
            return b""
        state = handle.known.state
        if self._handles.pop(number, None) is None:
            raise failure(errno.EBADF)
        if state is not None and not self.direct:
            with self._modes:
                if handle.passing:
                    state.passing -= 1
                    state.writers -= handle.file.writable
                elif state.caching:
                    state.caching -= 1
        self.union.close_file(handle.file)
        return b""

    def read(self, _node_id: int, body: memoryview) -> bytes:
        """READ."""
        number, offset, size, *_ = _READ(body)
        return self.union.read(self._handle(number).file, min(size, _MOST), offset)

    def write(self, _node_id: int, body: memoryview) -> bytes:
        """WRITE."""
        number, offset, size, flags, *_ = _WRITE(body)
        handle = self._handle(number)
        start = wire.WRITE_IN.size
        written = self.union.write(handle.file, body[start : start + size], offset)
        if flags & wire.WRITE_KILL_SUIDGID:
            self.drop_setuid(handle.known.node)
        return _WRITE_OUT(written, 0)

    def fsync(self, _node_id: int, body: memoryview) -> bytes:
        """FSYNC."""
        number, flags, _ = wire.FSYNC_IN.codec.unpack_from(body)
        self.union.fsync(self._handle(number).file, data_only=bool(flags & wire.FSYNC_FDATASYNC))
        return b""

    def fallocate(self, _node_id: int, body: memoryview) -> bytes:
        """FALLOCATE."""
        number, offset, length, mode, _ = wire.FALLOCATE_IN.codec.unpack_from(body)
        if offset + length >= 1 << 63:
            raise failure(errno.EFBIG)
        self.union.fallocate(self._handle(number).file, mode, offset, length)
        return b""

    def lseek(self, _node_id: int, body: memoryview) -> bytes:
        """LSEEK."""
        number, offset, whence, _ = wire.LSEEK_IN.codec.unpack_from(body)
        if whence not in (os.SEEK_DATA, os.SEEK_HOLE):
            raise failure(errno.EINVAL)
        return wire.LSEEK_OUT.codec.pack(self.union.lseek(self._handle(number).file, offset, whence))

    def copies_much(self, body: memoryview) -> bool:
        """Tell whether a COPY_FILE_RANGE may take long."""
        handle = self._handles.get(wire.COPY_FILE_RANGE_IN.codec.unpack_from(body)[0])
        return handle is None or self.union.real_status(handle.file.node).st_size > _MOST

    def _copied(self, body: memoryview) -> int:
        source, at, _, target, to, count, flags = wire.COPY_FILE_RANGE_IN.codec.unpack_from(body)
        if flags:
            raise failure(errno.EINVAL)
        one, other = self._handle(source), self._handle(target)
        return self.union.copy_range(one.file, at, other.file, to, min(count, 1 << 30))

    def copy_file_range(self, _node_id: int, body: memoryview) -> bytes:
        """COPY_FILE_RANGE."""
        return _WRITE_OUT(self._copied(body), 0)

    def copy_file_range_64(self, _node_id: int, body: memoryview) -> bytes:
        """COPY_FILE_RANGE_64."""
        return wire.COPY_FILE_RANGE_OUT.codec.pack(self._copied(body))

    def close(self) -> None:
        """Close what is still open, after the mount is gone."""
        handles, self._handles = self._handles, {}
        for handle in handles.values():
            close = self.union.close_file if handle.users else self.union.drop_file
            close(handle.file)
        for state in self.nodes.states():
            if state.backing:
                self.device.backing_close(state.backing)
