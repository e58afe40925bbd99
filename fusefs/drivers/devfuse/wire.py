"""The FUSE protocol on the wire: every message, structure and flag, as in the kernel's header `linux/fuse.h`.

Decided here and only here: numbers and layouts. Read it as the protocol's textbook: a `Shape` is a structure with its
fields in order, a `Message` is a request with what follows its header and what is answered. `since` is the protocol
version that brought it; this driver speaks 7.31 to 7.45. Data only: any thread.

A request is `fuse_in_header`, then the message's structure, then names (each ending in a zero byte) or data.
An answer is `fuse_out_header`, then the answer's structure or data; where `error` is not 0, the header alone.
A notification is an answer that nobody asked for: `unique` is 0, and `error` has its code.

Field codes: B, H, I, Q are unsigned numbers of 1, 2, 4, 8 bytes; i, q signed ones. All little or big as the machine is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

__all__ = ["MESSAGES", "SHAPES", "Fattr", "Fopen", "Init", "Message", "Notify", "Opcode", "Shape"]

MAJOR, MINOR, OLDEST_MINOR = 7, 45, 31

#: The node ID of the root directory.
ROOT_ID = 1

SHAPES: dict[str, Shape] = {}


@dataclass(frozen=True, slots=True)
class Shape:
    """A structure of the protocol.

    Attributes
    ----------
    name
        As in the kernel's header.
    text
        The fields in order, each `name:code`.
    since
        The protocol version that brought it, or gave it this size.
    meaning
        One line.

    Examples
    --------
    >>> FORGET_ONE.names, FORGET_ONE.size
    (('nodeid', 'nlookup'), 16)
    """

    name: str
    text: str
    since: str
    meaning: str
    names: tuple[str, ...] = field(init=False)
    codec: struct.Struct = field(init=False)

    def __post_init__(self) -> None:
        """Work the fields out and enter the structure into `SHAPES`."""
        fields = [word.split(":") for word in self.text.split()]
        object.__setattr__(self, "names", tuple(name for name, _ in fields))
        object.__setattr__(self, "codec", struct.Struct("=" + "".join(code for _, code in fields)))
        SHAPES[self.name] = self

    @property
    def size(self) -> int:
        """Bytes."""
        return self.codec.size

    def followed_by(self, length: int) -> struct.Struct:
        """Return the structure with so many bytes after it, filled up with zeros to a multiple of eight.

        >>> FORGET_ONE.followed_by(3).size
        24
        """
        return struct.Struct(f"{self.codec.format}{(self.size + length + 7 & ~7) - self.size}s")


# The frame of every message

IN_HEADER = Shape(
    "fuse_in_header", "len:I opcode:I unique:Q nodeid:Q uid:I gid:I pid:I total_extlen:H padding:H", "7.1",
    "what is asked, of which node, for whom; the answer repeats `unique`",
)  # fmt: skip
OUT_HEADER = Shape("fuse_out_header", "len:I error:i unique:Q", "7.1", "0 or a negative errno; then the answer")

# Objects

_ATTR = (
    "ino:Q size:Q blocks:Q atime:q mtime:q ctime:q atimensec:I mtimensec:I ctimensec:I mode:I nlink:I uid:I gid:I"
    " rdev:I blksize:I flags:I"
)
ATTR = Shape("fuse_attr", _ATTR, "7.9", "the status of an object, as stat(2) shows it")
ENTRY_OUT = Shape(
    "fuse_entry_out",
    f"nodeid:Q generation:Q entry_valid:Q attr_valid:Q entry_valid_nsec:I attr_valid_nsec:I {_ATTR}", "7.9",
    "what a name leads to, and for how long the kernel may believe it; nodeid 0: nothing, believe that",
)  # fmt: skip
ATTR_OUT = Shape("fuse_attr_out", f"attr_valid:Q attr_valid_nsec:I dummy:I {_ATTR}", "7.9", "a status, valid so long")
GETATTR_IN = Shape("fuse_getattr_in", "getattr_flags:I dummy:I fh:Q", "7.9", "whether through an open file")
SETATTR_IN = Shape(
    "fuse_setattr_in",
    "valid:I padding:I fh:Q size:Q lock_owner:Q atime:q mtime:q ctime:q atimensec:I mtimensec:I ctimensec:I mode:I"
    " unused4:I uid:I gid:I unused5:I", "7.23", "which parts of a status to set (`Fattr`), and to what",
)  # fmt: skip
FORGET_IN = Shape("fuse_forget_in", "nlookup:Q", "7.1", "how many lookups of a node the kernel gives back")
FORGET_ONE = Shape("fuse_forget_one", "nodeid:Q nlookup:Q", "7.16", "one of a batch of forgets")
BATCH_FORGET_IN = Shape("fuse_batch_forget_in", "count:I dummy:I", "7.16", "how many `fuse_forget_one` follow")
STATX_IN = Shape(
    "fuse_statx_in", "getattr_flags:I reserved:I fh:Q sx_flags:I sx_mask:I", "7.39", "a status with a birth time"
)
ACCESS_IN = Shape("fuse_access_in", "mask:I padding:I", "7.3", "the permissions that access(2) asks for")

# Names

MKNOD_IN = Shape("fuse_mknod_in", "mode:I rdev:I umask:I padding:I", "7.12", "a new file, fifo, socket or device")
MKDIR_IN = Shape("fuse_mkdir_in", "mode:I umask:I", "7.12", "a new directory")
RENAME_IN = Shape("fuse_rename_in", "newdir:Q", "7.1", "the directory that the name moves to")
RENAME2_IN = Shape("fuse_rename2_in", "newdir:Q flags:I padding:I", "7.23", "the same with flags of renameat2(2)")
LINK_IN = Shape("fuse_link_in", "oldnodeid:Q", "7.1", "the object that gets one more name")

# Open files

OPEN_IN = Shape("fuse_open_in", "flags:I open_flags:I", "7.32", "flags of open(2); whether to drop setuid")
CREATE_IN = Shape("fuse_create_in", "flags:I mode:I umask:I open_flags:I", "7.12", "the same for a new file")
OPEN_OUT = Shape("fuse_open_out", "fh:Q open_flags:I backing_id:i", "7.40", "our handle, and how to use it (`Fopen`)")
RELEASE_IN = Shape(
    "fuse_release_in", "fh:Q flags:I release_flags:I lock_owner:Q", "7.8", "the last descriptor and mapping are gone"
)
FLUSH_IN = Shape("fuse_flush_in", "fh:Q unused:I padding:I lock_owner:Q", "7.1", "one descriptor was closed")
READ_IN = Shape(
    "fuse_read_in", "fh:Q offset:Q size:I read_flags:I lock_owner:Q flags:I padding:I", "7.9", "which bytes to read"
)
WRITE_IN = Shape(
    "fuse_write_in", "fh:Q offset:Q size:I write_flags:I lock_owner:Q flags:I padding:I", "7.9", "data follows"
)
WRITE_OUT = Shape("fuse_write_out", "size:I padding:I", "7.1", "bytes written")
FSYNC_IN = Shape("fuse_fsync_in", "fh:Q fsync_flags:I padding:I", "7.1", "flag 1: the data alone")
FALLOCATE_IN = Shape("fuse_fallocate_in", "fh:Q offset:Q length:Q mode:I padding:I", "7.19", "as fallocate(2)")
LSEEK_IN = Shape("fuse_lseek_in", "fh:Q offset:Q whence:I padding:I", "7.24", "where data or a hole begins")
LSEEK_OUT = Shape("fuse_lseek_out", "offset:Q", "7.24", "there")
COPY_FILE_RANGE_IN = Shape(
    "fuse_copy_file_range_in", "fh_in:Q off_in:Q nodeid_out:Q fh_out:Q off_out:Q len:Q flags:Q", "7.28",
    "copy between two open files",
)  # fmt: skip
COPY_FILE_RANGE_OUT = Shape("fuse_copy_file_range_out", "bytes_copied:Q", "7.45", "bytes copied, in 64 bits")
LK_IN = Shape(
    "fuse_lk_in", "fh:Q owner:Q start:Q end:Q type:I pid:I lk_flags:I padding:I", "7.9", "a lock; the kernel does it"
)
IOCTL_IN = Shape("fuse_ioctl_in", "fh:Q flags:I cmd:I arg:Q in_size:I out_size:I", "7.11", "an ioctl(2)")
POLL_IN = Shape("fuse_poll_in", "fh:Q kh:Q flags:I events:I", "7.21", "what poll(2) waits for")
BMAP_IN = Shape("fuse_bmap_in", "block:Q blocksize:I padding:I", "7.8", "where a block is on a disk")

# Directories

DIRENT = Shape("fuse_dirent", "ino:Q off:Q namelen:I type:I", "7.1", "a name; `off` is where to go on after it")
DIRENT_PLUS = Shape(
    "fuse_direntplus", f"{ENTRY_OUT.text} d_ino:Q off:Q namelen:I type:I", "7.21", "a name and what it leads to"
)

# Extended attributes

GETXATTR_IN = Shape("fuse_getxattr_in", "size:I padding:I", "7.1", "room for the answer; 0 asks for the size")
GETXATTR_OUT = Shape("fuse_getxattr_out", "size:I padding:I", "7.1", "the size")
SETXATTR_IN_COMPAT = Shape("fuse_setxattr_in (compat)", "size:I flags:I", "7.1", "name and value follow")
SETXATTR_IN = Shape(
    "fuse_setxattr_in", "size:I flags:I setxattr_flags:I padding:I", "7.33", "the same where SETXATTR_EXT was agreed"
)

# The filesystem

STATFS_OUT = Shape(
    "fuse_statfs_out",
    "blocks:Q bfree:Q bavail:Q files:Q ffree:Q bsize:I namelen:I frsize:I padding:I"
    " spare0:I spare1:I spare2:I spare3:I spare4:I spare5:I", "7.4", "as statfs(2) shows it",
)  # fmt: skip
SYNCFS_IN = Shape("fuse_syncfs_in", "padding:Q", "7.34", "everything to disk")
INTERRUPT_IN = Shape("fuse_interrupt_in", "unique:Q", "7.7", "the request that a signal interrupted")
INIT_IN = Shape("fuse_init_in", "major:I minor:I max_readahead:I flags:I", "7.6", "what the kernel can")
INIT_IN_EXT = Shape("fuse_init_in (7.36)", f"{INIT_IN.text} flags2:I", "7.36", "the same with 32 more flags")
INIT_OUT = Shape(
    "fuse_init_out",
    "major:I minor:I max_readahead:I flags:I max_background:H congestion_threshold:H max_write:I time_gran:I"
    " max_pages:H map_alignment:H flags2:I max_stack_depth:I request_timeout:H "
    + " ".join(f"unused{number}:H" for number in range(11)),
    "7.43", "what both will do from now on",
)  # fmt: skip

# Notifications and ioctls

NOTIFY_INVAL_INODE_OUT = Shape(
    "fuse_notify_inval_inode_out", "ino:Q off:q len:q", "7.12", "forget a status; from off 0 on the pages as well"
)
NOTIFY_INVAL_ENTRY_OUT = Shape("fuse_notify_inval_entry_out", "parent:Q namelen:I flags:I", "7.12", "forget a name")
NOTIFY_STORE_OUT = Shape("fuse_notify_store_out", "nodeid:Q offset:Q size:I padding:I", "7.15", "pages for the cache")
NOTIFY_PRUNE_OUT = Shape(
    "fuse_notify_prune_out", "count:I padding:I spare:Q", "7.45", "nodes to let go of if nobody uses them"
)
BACKING_MAP = Shape("fuse_backing_map", "fd:i flags:I padding:Q", "7.40", "a file that the kernel shall use by itself")

DEV_IOC_CLONE = 0x8004E500  #: one more descriptor of the same mount (4.2)
DEV_IOC_BACKING_OPEN = 0x4010E501  #: register a file for passthrough; returns its backing ID (7.40)
DEV_IOC_BACKING_CLOSE = 0x4004E502  #: give a backing ID back (7.40)


class Opcode(IntEnum):
    """What a request asks for."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    SETATTR = 4
    READLINK = 5
    SYMLINK = 6
    MKNOD = 8
    MKDIR = 9
    UNLINK = 10
    RMDIR = 11
    RENAME = 12
    LINK = 13
    OPEN = 14
    READ = 15
    WRITE = 16
    STATFS = 17
    RELEASE = 18
    FSYNC = 20
    SETXATTR = 21
    GETXATTR = 22
    LISTXATTR = 23
    REMOVEXATTR = 24
    FLUSH = 25
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29
    FSYNCDIR = 30
    GETLK = 31
    SETLK = 32
    SETLKW = 33
    ACCESS = 34
    CREATE = 35
    INTERRUPT = 36
    BMAP = 37
    DESTROY = 38
    IOCTL = 39
    POLL = 40
    NOTIFY_REPLY = 41
    BATCH_FORGET = 42
    FALLOCATE = 43
    READDIRPLUS = 44
    RENAME2 = 45
    LSEEK = 46
    COPY_FILE_RANGE = 47
    SETUPMAPPING = 48
    REMOVEMAPPING = 49
    SYNCFS = 50
    TMPFILE = 51
    STATX = 52
    COPY_FILE_RANGE_64 = 53


@dataclass(frozen=True, slots=True)
class Message:
    """A request: its structure, how many names follow, what is answered (a `Shape`, `data`, or nothing)."""

    opcode: Opcode
    since: str
    shape: Shape | None
    names: int
    answer: Shape | str | None
    meaning: str


_O = Opcode
MESSAGES: dict[int, Message] = {
    message.opcode: message
    for message in (
        Message(_O.LOOKUP, "7.1", None, 1, ENTRY_OUT, "what does this name in this directory lead to?"),
        Message(_O.FORGET, "7.1", FORGET_IN, 0, None, "the kernel gives lookups of a node back (not answered)"),
        Message(_O.GETATTR, "7.1", GETATTR_IN, 0, ATTR_OUT, "stat(2)"),
        Message(_O.SETATTR, "7.1", SETATTR_IN, 0, ATTR_OUT, "chmod, chown, truncate, utimensat"),
        Message(_O.READLINK, "7.1", None, 0, "data", "the text of a symlink"),
        Message(_O.SYMLINK, "7.1", None, 2, ENTRY_OUT, "symlink(2): the new name, then the text"),
        Message(_O.MKNOD, "7.1", MKNOD_IN, 1, ENTRY_OUT, "mknod(2)"),
        Message(_O.MKDIR, "7.1", MKDIR_IN, 1, ENTRY_OUT, "mkdir(2)"),
        Message(_O.UNLINK, "7.1", None, 1, None, "unlink(2)"),
        Message(_O.RMDIR, "7.1", None, 1, None, "rmdir(2)"),
        Message(_O.RENAME, "7.1", RENAME_IN, 2, None, "rename(2): the old name, then the new one"),
        Message(_O.LINK, "7.1", LINK_IN, 1, ENTRY_OUT, "link(2)"),
        Message(_O.OPEN, "7.1", OPEN_IN, 0, OPEN_OUT, "open(2) of what exists"),
        Message(_O.READ, "7.1", READ_IN, 0, "data", "read(2), or pages for the cache"),
        Message(_O.WRITE, "7.1", WRITE_IN, 0, WRITE_OUT, "write(2), or pages from the cache"),
        Message(_O.STATFS, "7.1", None, 0, STATFS_OUT, "statfs(2)"),
        Message(_O.RELEASE, "7.1", RELEASE_IN, 0, None, "an open file is used no more"),
        Message(_O.FSYNC, "7.1", FSYNC_IN, 0, None, "fsync(2), fdatasync(2)"),
        Message(_O.SETXATTR, "7.1", SETXATTR_IN, 1, None, "setxattr(2): the name, then the value"),
        Message(_O.GETXATTR, "7.1", GETXATTR_IN, 1, "data", "getxattr(2)"),
        Message(_O.LISTXATTR, "7.1", GETXATTR_IN, 0, "data", "listxattr(2)"),
        Message(_O.REMOVEXATTR, "7.1", None, 1, None, "removexattr(2)"),
        Message(_O.FLUSH, "7.1", FLUSH_IN, 0, None, "close(2) of one descriptor"),
        Message(_O.INIT, "7.1", INIT_IN, 0, INIT_OUT, "the first request: what can we both do?"),
        Message(_O.OPENDIR, "7.1", OPEN_IN, 0, OPEN_OUT, "opendir(3)"),
        Message(_O.READDIR, "7.1", READ_IN, 0, "data", "names of a directory from an offset on"),
        Message(_O.RELEASEDIR, "7.1", RELEASE_IN, 0, None, "closedir(3)"),
        Message(_O.FSYNCDIR, "7.2", FSYNC_IN, 0, None, "fsync(2) of a directory"),
        Message(_O.GETLK, "7.7", LK_IN, 0, None, "is there a lock?"),
        Message(_O.SETLK, "7.7", LK_IN, 0, None, "lock, or fail"),
        Message(_O.SETLKW, "7.7", LK_IN, 0, None, "lock, or wait"),
        Message(_O.ACCESS, "7.3", ACCESS_IN, 0, None, "access(2), where the kernel does not check permissions itself"),
        Message(_O.CREATE, "7.3", CREATE_IN, 1, ENTRY_OUT, "open(2) with O_CREAT of a new name; fuse_open_out follows"),
        Message(_O.INTERRUPT, "7.7", INTERRUPT_IN, 0, None, "whoever asked would rather not wait"),
        Message(_O.BMAP, "7.8", BMAP_IN, 0, None, "where a block is, for swap files on block devices"),
        Message(_O.DESTROY, "7.8", None, 0, None, "the last request, on a block device"),
        Message(_O.IOCTL, "7.11", IOCTL_IN, 0, None, "ioctl(2)"),
        Message(_O.POLL, "7.11", POLL_IN, 0, None, "poll(2)"),
        Message(_O.NOTIFY_REPLY, "7.15", None, 0, None, "pages that we asked for (we never do)"),
        Message(_O.BATCH_FORGET, "7.16", BATCH_FORGET_IN, 0, None, "many forgets at once (not answered)"),
        Message(_O.FALLOCATE, "7.19", FALLOCATE_IN, 0, None, "fallocate(2)"),
        Message(_O.READDIRPLUS, "7.21", READ_IN, 0, "data", "names of a directory, each looked up"),
        Message(_O.RENAME2, "7.23", RENAME2_IN, 2, None, "renameat2(2)"),
        Message(_O.LSEEK, "7.24", LSEEK_IN, 0, LSEEK_OUT, "lseek(2) with SEEK_DATA or SEEK_HOLE"),
        Message(_O.COPY_FILE_RANGE, "7.28", COPY_FILE_RANGE_IN, 0, WRITE_OUT, "copy_file_range(2)"),
        Message(_O.SETUPMAPPING, "7.31", None, 0, None, "map file data into memory of a virtual machine"),
        Message(_O.REMOVEMAPPING, "7.31", None, 0, None, "undo that"),
        Message(_O.SYNCFS, "7.34", SYNCFS_IN, 0, None, "syncfs(2)"),
        Message(_O.TMPFILE, "7.37", CREATE_IN, 1, ENTRY_OUT, "open(2) with O_TMPFILE; fuse_open_out follows"),
        Message(_O.STATX, "7.39", STATX_IN, 0, None, "statx(2) where it asks for more than stat(2)"),
        Message(_O.COPY_FILE_RANGE_64, "7.45", COPY_FILE_RANGE_IN, 0, COPY_FILE_RANGE_OUT, "the same, over 4 GiB"),
    )
}


class Init(IntFlag):
    """What is agreed on in INIT; bits from 32 up travel in `flags2`."""

    ASYNC_READ = 1 << 0  #: several reads of a file at once
    ATOMIC_O_TRUNC = 1 << 3  #: OPEN is told of O_TRUNC, instead of a SETATTR before it
    BIG_WRITES = 1 << 5  #: writes of more than a page
    DONT_MASK = 1 << 6  #: the umask is ours to apply: a default ACL overrides it
    AUTO_INVAL_DATA = 1 << 12  #: drop pages when a status shows another time of change
    DO_READDIRPLUS = 1 << 13  #: READDIRPLUS instead of READDIR …
    READDIRPLUS_AUTO = 1 << 14  #: … where it seems to pay
    ASYNC_DIO = 1 << 15  #: direct reads and writes in pieces, all at once
    WRITEBACK_CACHE = 1 << 16  #: writes wait in the page cache; the kernel keeps size and times
    NO_OPEN_SUPPORT = 1 << 17  #: ENOSYS to OPEN means that no file needs it
    PARALLEL_DIROPS = 1 << 18  #: several lookups in a directory at once
    POSIX_ACL = 1 << 20  #: the kernel checks ACLs
    ABORT_ERROR = 1 << 21  #: reading the device of an aborted mount gives ECONNABORTED
    MAX_PAGES = 1 << 22  #: requests of up to `max_pages` pages
    CACHE_SYMLINKS = 1 << 23  #: texts of symlinks stay in the page cache
    NO_OPENDIR_SUPPORT = 1 << 24  #: ENOSYS to OPENDIR means that no directory needs it
    EXPLICIT_INVAL_DATA = 1 << 25  #: drop pages only when told
    HANDLE_KILLPRIV_V2 = 1 << 28  #: we drop setuid, setgid and capabilities when told
    SETXATTR_EXT = 1 << 29  #: the longer `fuse_setxattr_in`
    INIT_EXT = 1 << 30  #: there are `flags2`
    HAS_EXPIRE_ONLY = 1 << 35  #: a name can be made to be asked for again without dropping it
    DIRECT_IO_ALLOW_MMAP = 1 << 36  #: shared mappings of files opened for direct I/O
    PASSTHROUGH = 1 << 37  #: the kernel reads and writes backing files by itself


class Fopen(IntFlag):
    """How the kernel shall treat an open file."""

    DIRECT_IO = 1 << 0  #: every read and write comes to us
    KEEP_CACHE = 1 << 1  #: the pages that are cached are right
    CACHE_DIR = 1 << 3  #: keep the listing
    NOFLUSH = 1 << 5  #: no FLUSH at close
    PARALLEL_DIRECT_WRITES = 1 << 6  #: several direct writes at once
    PASSTHROUGH = 1 << 7  #: use the backing file


class Fattr(IntFlag):
    """Which parts SETATTR sets."""

    MODE = 1 << 0
    UID = 1 << 1
    GID = 1 << 2
    SIZE = 1 << 3
    ATIME = 1 << 4
    MTIME = 1 << 5
    FH = 1 << 6
    ATIME_NOW = 1 << 7
    MTIME_NOW = 1 << 8
    LOCKOWNER = 1 << 9
    CTIME = 1 << 10
    KILL_SUIDGID = 1 << 11


class Notify(IntEnum):
    """What a notification says."""

    POLL = 1
    INVAL_INODE = 2
    INVAL_ENTRY = 3
    STORE = 4
    RETRIEVE = 5
    DELETE = 6
    RESEND = 7
    INC_EPOCH = 8
    PRUNE = 9


WRITE_KILL_SUIDGID = 1 << 2  #: in `write_flags`: drop setuid and setgid
OPEN_KILL_SUIDGID = 1 << 0  #: in `open_flags` of a request: the same, where O_TRUNC cuts the file
SETXATTR_ACL_KILL_SGID = 1 << 0  #: in `setxattr_flags`: drop setgid
FSYNC_FDATASYNC = 1 << 0  #: in `fsync_flags`: the data alone
