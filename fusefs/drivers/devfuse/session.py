"""The life of a mount: INIT, the workers, the end.

Decided here and only here: what is agreed on with the kernel, who reads the next request, and how the mount ends. For
how long who reads stays awake for it is decided in `lookout.py`.

Workers take turns (leader and followers): one reads and answers, request after request, while the others sleep. When a
request takes long, the leader lets another one lead: before it begins, or, where only the work itself can tell, as in
a copy-up, when it comes to wait for a disk. So quick requests, which are most, never pay for a change of threads, and a
copy-up never keeps anybody from a lookup. Each worker has a descriptor of its own and answers on the one that it has
read from.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import gc
import logging
import mmap
import os
import select
import shutil
import signal
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence

from fusefs import syscalls
from fusefs.door import Door
from fusefs.drivers.devfuse import wire
from fusefs.drivers.devfuse.device import Device
from fusefs.drivers.devfuse.dispatch import Dispatcher
from fusefs.drivers.devfuse.lookout import Lookout
from fusefs.drivers.devfuse.nodes import MANY
from fusefs.drivers.devfuse.options import Passthrough, Tuning
from fusefs.drivers.devfuse.trace import Trace
from fusefs.drivers.devfuse.wire import Init, Opcode
from fusefs.errors import MountError
from fusefs.operation import Kind
from fusefs.union import Union

__all__ = ["Session", "serve"]

_IN_SIZE = wire.IN_HEADER.size
_MOST = 1 << 20
_BUFFER = _MOST + 8192

#: Objects made since the last look for rings of garbage among the young ones.
_YOUNG = 10_000

#: Seconds between looks at whether there is memory to give back.
_REST = 1.0

#: Reading the device fails with these when there is no mount any more, …
_GONE = (errno.ENODEV, errno.ECONNABORTED)
#: … and with these when one should just read again.
_AGAIN = (errno.ENOENT, errno.EINTR, errno.EAGAIN)

#: What is wanted of the kernel, as far as it offers it.
_WANTED = (
    Init.ASYNC_READ | Init.ATOMIC_O_TRUNC | Init.BIG_WRITES | Init.DONT_MASK | Init.DO_READDIRPLUS
    | Init.READDIRPLUS_AUTO | Init.ASYNC_DIO | Init.PARALLEL_DIROPS | Init.POSIX_ACL | Init.ABORT_ERROR | Init.MAX_PAGES
    | Init.HANDLE_KILLPRIV_V2 | Init.SETXATTR_EXT | Init.INIT_EXT | Init.DIRECT_IO_ALLOW_MMAP
)  # fmt: skip
_CACHING = Init.CACHE_SYMLINKS | Init.NO_OPENDIR_SUPPORT | Init.EXPLICIT_INVAL_DATA

#: Requests that nobody waits for: so many can be put off until nobody waits for another one.
_MOST_PUT_OFF = 1000
_FORGETS = tuple(each.to_bytes(4, sys.byteorder) for each in (Opcode.FORGET, Opcode.BATCH_FORGET))

_Handle = Callable[[memoryview], tuple[bytes, bytes] | None]

log = logging.getLogger(__name__)


class Session:
    """A mount that is being served.

    Parameters
    ----------
    union
        What is served.
    device
        The mount.
    tuning
        How.
    """

    def __init__(self, union: Union, device: Device, tuning: Tuning) -> None:
        self.device = device
        self.tuning = tuning
        self.dispatcher = Dispatcher(union, device, tuning)
        self.trace = Trace(tuning.trace) if tuning.trace else None
        self.agreed = Init(0)
        self.minor = 0
        self._union = union
        self._records = union.record is not None
        self._turn = threading.Lock()
        self._lookout = Lookout(tuning.lookout)
        self._put_off: deque[bytes] = deque()
        self._ended = threading.Event()
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        # Not before the last worker has rung it, so neither when the process ends while workers still do.
        weakref.finalize(self, os.close, self._bell).atexit = False

    # INIT

    def negotiate(self) -> None:
        """Read the first request and answer it.

        Raises
        ------
        MountError
            The kernel speaks a protocol that this driver does not.
        """
        buffer = _new_buffer()
        while True:
            count = os.readv(self.device.fd, [buffer])
            request = memoryview(buffer)[:count]
            if self.trace is not None:
                self.trace.request(request)
            _, opcode, unique, *_ = wire.IN_HEADER.codec.unpack_from(request)
            if opcode != Opcode.INIT:
                raise MountError(f"/dev/fuse: the first request is {opcode} and not INIT; unmount and try again")
            answer, done = self.agree(request[_IN_SIZE:])
            header = wire.OUT_HEADER.codec.pack(wire.OUT_HEADER.size + len(answer), 0, unique)
            os.writev(self.device.fd, (header, answer))
            if self.trace is not None:
                self.trace.answer(opcode, header, answer)
            if done:
                return

    def agree(self, body: memoryview) -> tuple[bytes, bool]:
        """Return the answer to INIT, and whether that settles it."""
        major, minor, readahead, low = wire.INIT_IN.codec.unpack_from(body)
        if major > wire.MAJOR:
            return wire.INIT_OUT.codec.pack(wire.MAJOR, wire.MINOR, *(0,) * 22), False
        if major < wire.MAJOR or minor < wire.OLDEST_MINOR:
            raise MountError(
                f"/dev/fuse: the kernel speaks FUSE {major}.{minor}, and this driver needs 7.31 (Linux 5.4);"
                " use the driver 'fuse-python'"
            )
        offered = Init(low)
        if low & Init.INIT_EXT and len(body) >= wire.INIT_IN_EXT.size:
            offered |= wire.INIT_IN_EXT.codec.unpack_from(body)[4] << 32
        wanted = _WANTED | (_CACHING if self._union.options.cache else Init.AUTO_INVAL_DATA)
        dispatcher = self.dispatcher
        dispatcher.direct = self._union.record is not None and self._union.takes(Kind.READ)
        dispatcher.passthrough = self._passthrough()
        if dispatcher.passthrough is not Passthrough.OFF:
            wanted |= Init.PASSTHROUGH
        self.agreed = offered & wanted
        self.minor = min(minor, wire.MINOR)
        if not self.agreed & Init.PASSTHROUGH:
            dispatcher.passthrough = Passthrough.OFF
        dispatcher.long_setxattr = bool(self.agreed & Init.SETXATTR_EXT)
        flags = int(self.agreed)
        return wire.INIT_OUT.codec.pack(
            wire.MAJOR, self.minor, max(readahead, self.tuning.readahead), flags & 0xFFFFFFFF, 64, 48, _MOST, 1, 256, 0,
            flags >> 32, 1 if self.agreed & Init.PASSTHROUGH else 0, 0, *(0,) * 11,
        ), True  # fmt: skip

    def _passthrough(self) -> Passthrough:
        wanted = self.tuning.passthrough
        if self.dispatcher.direct or not self._union.options.cache:
            return Passthrough.OFF
        if wanted is Passthrough.AUTO:
            return Passthrough.ALL if self._union.read_only else Passthrough.UPPER
        return wanted

    # Serving

    def run(self, door: Door | None = None) -> None:
        """Start the workers; return once they have ended, or `end` was called. Meanwhile serve who comes to a door."""
        threads = [
            threading.Thread(target=self._work, args=(self.device.clone(),), name=f"devfuse-{number}", daemon=True)
            for number in range(max(2, self.tuning.workers))
        ]
        for thread in threads:
            thread.start()
        seen = 0
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if door is not None:
            poll.register(door, select.POLLIN)
        while not self._ended.is_set():
            if poll.poll(_REST * 1000):
                if door is not None and not self._ended.is_set():
                    self._open(door)
                continue
            forgotten = self.dispatcher.nodes.forgotten
            if forgotten >= MANY and forgotten == seen:
                try:
                    self.dispatcher.nodes.compact()
                except Exception:
                    log.exception("giving memory back failed")
            seen = forgotten

    def _open(self, door: Door) -> None:
        try:
            door.serve(self._bell)
        except Exception:
            log.exception("serving at the door failed")

    def end(self) -> None:
        """Let `run` return."""
        self._ended.set()
        os.eventfd_write(self._bell, 1)

    def _work(self, fd: int) -> None:
        """Lead, and serve what may take long by the way, until the mount is gone."""
        turn = _Turn(self._turn)
        buffers = [_new_buffer()]
        self._union.put_off_records()
        whole = memoryview(buffers[0])
        try:
            while not self._ended.is_set():
                turn.take()
                try:
                    count = self._lead(fd, buffers, whole, turn)
                finally:
                    turn.give()
                if not count:
                    break
                if count > 0:
                    self._serve(fd, whole[:count], self.dispatcher.handle_slow)
        except Exception:
            log.exception("a worker failed")
        finally:
            self.end()
            os.close(fd)

    def _lead(self, fd: int, buffers: list[mmap.mmap], whole: memoryview, turn: _Turn) -> int:
        """Serve requests until one takes long.

        Returns
        -------
        int
            The size of one that may take long and is still to be served; negative when one took long, and the turn was
            given away meanwhile; 0 when the mount is gone.
        """
        slow_handle = functools.partial(self.dispatcher.handle_slow, waits=turn.give)
        is_slow, handle, serve = self.dispatcher.is_slow, self.dispatcher.handle, self._serve
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        look, idle = poll.poll, functools.partial(self._forget, fd)
        sees, wakes = self._lookout.sees, self._lookout.wakes
        while not self._ended.is_set():
            try:
                if sees(look, idle):
                    count = os.readv(fd, buffers)
                else:
                    count = os.readv(fd, buffers)
                    wakes()
            except OSError as error:
                if error.errno in _AGAIN:
                    continue
                if error.errno not in _GONE:
                    log.error("reading /dev/fuse: %s", error)
                return 0
            request = whole[:count]
            if request[4:8] in _FORGETS and len(self._put_off) < _MOST_PUT_OFF:
                self._put_off.append(bytes(request))
                continue
            try:
                slow = is_slow(request)
            except Exception:
                slow = False
            if slow:
                self.dispatcher.begin_slow(request)
                if not self.dispatcher.waits_late(request):
                    return count
                serve(fd, request, slow_handle)
                if not turn.mine:
                    return -1
            else:
                serve(fd, request, handle)
        return 0

    def _forget(self, fd: int) -> bool:
        """Serve a FORGET that was put off, since nobody waits for it; return whether there was one."""
        if not self._put_off:
            return False
        self._serve(fd, memoryview(self._put_off.popleft()), self.dispatcher.handle)
        return True

    def _serve(self, fd: int, request: memoryview, handle: _Handle) -> None:
        """Answer one request."""
        if self.trace is not None:
            self.trace.request(request)
        answer = handle(request)
        if answer is not None:
            if self.trace is not None:
                self.trace.answer(int.from_bytes(request[4:8], sys.byteorder), *answer)
            try:
                os.writev(fd, answer)
            except OSError as error:
                # Whoever asked is gone (ENOENT), or the mount is.
                if error.errno not in (errno.ENOENT, *_GONE):
                    log.error("answering: %s", error)
        if self._records:
            self._union.tell()
        surplus = self.dispatcher.nodes.surplus()
        if surplus:
            threading.Thread(target=self.device.prune, args=(surplus,), daemon=True).start()

    def close(self) -> None:
        """Let go of everything, after the mount is gone."""
        self.dispatcher.close()
        self.device.close()
        if self.trace is not None:
            self.trace.close()


class _Turn:
    """A worker's turn to lead."""

    __slots__ = ("_lock", "mine")

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self.mine = False

    def take(self) -> None:
        """Wait for the turn."""
        self._lock.acquire()
        self.mine = True

    def give(self) -> None:
        """Give it to another one; a second call does nothing."""
        if self.mine:
            self.mine = False
            self._lock.release()


def _new_buffer() -> mmap.mmap:
    """Return room for the largest request, of which only what is used takes memory; most requests are small."""
    return mmap.mmap(-1, _BUFFER, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _read_further_ahead(mountpoint: str, size: int) -> None:
    """Let the kernel read further ahead on a mount, where this process may say so."""
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", "rb") as table:
        for line in reversed(table.readlines()):
            words = line.split(b" ")
            if words[4] == os.fsencode(mountpoint).replace(b" ", b"\\040"):
                with open(b"/sys/class/bdi/%s/read_ahead_kb" % words[2], "wb", buffering=0) as setting:
                    setting.write(b"%d" % (size >> 10))
                return


def serve(
    union: Union,
    mountpoint: str,
    options: Sequence[str],
    ready: Callable[[], None],
    tuning: Tuning | None = None,
    *,
    door: str | None = None,
) -> None:
    """Mount a union and serve it until it is unmounted, or the process is told to end.

    Parameters
    ----------
    union
        What to serve.
    mountpoint
        The directory to mount on.
    options
        Options of the mount, as `mount -o` has them.
    ready
        Called once the kernel has accepted the mount.
    tuning
        How to serve it.
    door
        Where to have a socket for batches, see `fusefs.door`.

    Raises
    ------
    MountError
        It cannot be mounted.
    """
    tuning = tuning or Tuning()
    sys.setswitchinterval(0.001)
    # Requests make and drop objects by the thousand, of which few are ever in a ring: looked for so much more seldom.
    gc.set_threshold(_YOUNG, 20, 20)
    device = Device.mount(mountpoint, options)
    session = Session(union, device, tuning)
    told = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal told
        told = True
        session.end()

    union.moved = session.dispatcher.copied_up
    try:
        session.negotiate()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, stop)
        threading.Thread(target=_read_further_ahead, args=(mountpoint, tuning.readahead), daemon=True).start()
        with contextlib.ExitStack() as stack:
            opened = None
            if door is not None:
                opened = Door(door, union, session.dispatcher.changed)
                stack.callback(opened.close)
            ready()
            session.run(opened)
    finally:
        if told:
            _unmount(mountpoint)
        union.moved = None
        session.close()


def _unmount(mountpoint: str) -> None:
    """Take the mount away, now or when its last user is gone."""
    try:
        syscalls.umount(os.fsencode(mountpoint), syscalls.MNT_DETACH)
    except PermissionError:  # whoever may not mount directly has asked the same program for that
        program = shutil.which("fusermount3") or shutil.which("fusermount")
        if program is not None:
            import subprocess  # who mounts directly has no use for it

            subprocess.run([program, "-uzq", "--", mountpoint], capture_output=True, check=False)
    except OSError:
        return
