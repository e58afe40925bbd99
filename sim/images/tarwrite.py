"""Writing a tar: the same bytes for the same entries, always.

Decided here and only here: how our tars are spelt. A ustar header for each member; PAX records before it, in sorted
order, only for what ustar cannot say (long names, large numbers, fractions of a second, xattrs, holes). No access or
change times, no owner names, no process IDs, so nothing of the moment or the machine gets in. A `TarWriter` belongs to
one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from sim.images.entry import Entry, Kind

__all__ = ["TarWriter"]

_BLOCK = 512
_END = bytes(1024)
_NAMES = bytes(64)  #: of user and group
_OCTAL_SIZE = 0o77777777777
_OCTAL_ID = 0o7777777
_READABLE = bytes(byte if 32 <= byte < 127 else 0x3F for byte in range(256))


class TarWriter:
    """Turns entries into a tar.

    Parameters
    ----------
    write
        Takes the tar's bytes, in order.
    """

    def __init__(self, write: Callable[[bytes | memoryview], object]) -> None:
        self._write = write

    def add(self, entry: Entry, chunks: Iterable[bytes | memoryview] | None = None) -> None:
        """Write one member.

        Parameters
        ----------
        entry
            The member; a file of `entry.size` bytes, or with holes as `entry.extents` says.
        chunks
            What the file holds, holes left out; without it `entry.content` is used.

        Raises
        ------
        ValueError
            The chunks are more or fewer bytes than the entry says.
        """
        records: list[tuple[bytes, bytes]] = []
        sparse = b""
        name = entry.path + b"/" if entry.kind is Kind.DIRECTORY else entry.path
        if not entry.path:
            name = b"./"
        elif entry.path == b"/":
            name = b"/"
        size = entry.size if entry.kind is Kind.FILE else 0
        if entry.extents is not None and entry.kind is Kind.FILE:
            stored = sum(length for _, length in entry.extents)
            extents = list(entry.extents)
            if not extents or sum(extents[-1]) < size:
                extents.append((size, 0))
            lines = [len(extents), *(number for extent in extents for number in extent)]
            sparse = b"".join(b"%d\n" % number for number in lines)
            sparse += bytes(-len(sparse) % _BLOCK)
            records += [(b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", name)]
            records.append((b"GNU.sparse.realsize", b"%d" % size))
            size = stored + len(sparse)
        prefix, short = b"", name
        if len(name) > 100 or not name.isascii():
            prefix, short = _split(name)
            if not short and not sparse:
                records.append((b"path", name))
            short = short or _cut(name)
        link = entry.target if entry.kind in (Kind.SYMLINK, Kind.HARDLINK) else b""
        if len(link) > 100 or not link.isascii():
            records.append((b"linkpath", link))
            link = _cut(link)
        seconds, fraction = divmod(entry.modified, 1_000_000_000)
        if fraction or not 0 <= seconds <= _OCTAL_SIZE:
            records.append((b"mtime", _decimal_time(entry.modified)))
            seconds = min(max(seconds, 0), _OCTAL_SIZE)
        uid, gid, shown_size = entry.uid, entry.gid, size
        if uid > _OCTAL_ID:
            records.append((b"uid", b"%d" % uid))
            uid = 0
        if gid > _OCTAL_ID:
            records.append((b"gid", b"%d" % gid))
            gid = 0
        if size > _OCTAL_SIZE:
            records.append((b"size", b"%d" % size))
            shown_size = 0
        records += [(b"SCHILY.xattr." + key, value) for key, value in entry.xattrs]
        if records:
            data = b"".join(_record(key, value) for key, value in sorted(records))
            base = _cut(b"PaxHeaders.0/" + entry.path.rpartition(b"/")[2])
            self._write(_header(base, 0o644, 0, 0, len(data), 0, b"x"))
            self._write(data + bytes(-len(data) % _BLOCK))
        flag = entry.kind.value
        self._write(_header(short, entry.mode, uid, gid, shown_size, seconds, flag, link, prefix, entry.device))
        if entry.kind is Kind.FILE and size:
            if sparse:
                self._write(sparse)
            self._body(entry, size - len(sparse), chunks)

    def _body(self, entry: Entry, size: int, chunks: Iterable[bytes | memoryview] | None) -> None:
        if chunks is None:
            chunks = _host_file(entry.content) if isinstance(entry.content, Path) else (entry.content,)
        left = size
        for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                break
            self._write(chunk)
        if left:
            raise ValueError(f"{entry.path.decode(errors='replace')}: the file changed its size while it was read")
        if size % _BLOCK:
            self._write(bytes(-size % _BLOCK))

    def finish(self) -> None:
        """Write the end mark."""
        self._write(_END)


def _host_file(path: Path) -> Iterable[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 18):
            yield chunk


def _cut(name: bytes) -> bytes:
    """Return what stands in the header where the whole name stands in a record: ASCII, at most 100 bytes."""
    return name[:99].translate(_READABLE)


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Split a long name at a slash into prefix and rest as ustar can; empty where it cannot."""
    if not name.isascii() or len(name) > 256:
        return b"", b""
    at = name.rfind(b"/", 1, 156)
    while at > 0:
        rest = name[at + 1 :]
        if len(rest) > 100:
            break
        if rest:
            return name[:at], rest
        at = name.rfind(b"/", 1, at)
    return b"", b""


def _decimal_time(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    part = (b".%09d" % fraction).rstrip(b"0") if fraction else b""
    return sign + b"%d" % seconds + part


def _record(key: bytes, value: bytes) -> bytes:
    """Return one PAX record; its length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if len(str(length)) > len(str(rest)):
        length += 1
    return b"%d %s=%s\n" % (length, key, value)


def _header(
    name: bytes,
    mode: int,
    uid: int,
    gid: int,
    size: int,
    modified: int,
    flag: bytes,
    link: bytes = b"",
    prefix: bytes = b"",
    device: tuple[int, int] = (0, 0),
) -> bytes:
    block = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0        %s%sustar\00000%s%07o\0%07o\0%s" % (
        name.ljust(100, b"\0"), mode, uid, gid, size, modified,
        flag, link.ljust(100, b"\0"), _NAMES, *device, prefix.ljust(167, b"\0"),
    )  # fmt: skip
    return b"%s%06o\0 %s" % (block[:148], sum(block), block[156:])
