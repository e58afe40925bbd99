"""Reading a tar as a stream: members one after another, bodies never held whole.

Decided here and only here: which tar forms are understood (ustar, PAX, GNU long names, base-256 numbers, the four
sparse forms) and how much of one is held in memory. Nothing is said about where a member may go: that is decided where
it is unpacked. The standard library's tarfile is not used because its stream mode keeps every member, reads PAX records
without a bound and takes damaged archives for finished ones. A `TarReader` belongs to one thread.
Sources: POSIX.1-2017 "pax"; the GNU tar manual, "Storing Sparse Files".
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator

from sim.images.entry import Entry, Kind, clean_path
from sim.images.errors import ContentError, LayerTarError

__all__ = ["TarReader"]

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_XATTR = b"SCHILY.xattr."
_LIBARCHIVE_XATTR = b"LIBARCHIVE.xattr."
#: Most bytes of the records about one member: a name and its xattrs.
_MOST_RECORDS = 4 << 20
#: Most data extents of one sparse file.
_MOST_EXTENTS = 1 << 20
_LARGEST_FILE = (1 << 63) - 1
_KINDS = {
    0: Kind.FILE,
    0x30: Kind.FILE,
    0x31: Kind.HARDLINK,
    0x32: Kind.SYMLINK,
    0x33: Kind.CHARACTER,
    0x34: Kind.BLOCK,
    0x35: Kind.DIRECTORY,
    0x36: Kind.FIFO,
    0x37: Kind.FILE,
    0x53: Kind.FILE,
}


class TarReader:
    """The members of a tar that arrives in chunks.

    Iterate over it for the entries; between two of them `body` gives what the present file holds, once. What is not
    asked for is passed over.

    Raises
    ------
    LayerTarError
        While iterating: the tar is damaged, truncated or of no known form. What `chunks` raises passes through.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._buffer = memoryview(b"")
        self._body = 0
        self._padding = 0
        self._extents: tuple[tuple[int, int], ...] | None = None
        self._name = b""
        self._global: dict[bytes, bytes] = {}

    # -- bytes

    def _refill(self) -> bool:
        while not self._buffer:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._buffer = memoryview(chunk)
        return True

    def _some(self, most: int) -> memoryview:
        """Return between one and `most` bytes."""
        if not self._buffer and not self._refill():
            raise self._damaged("the tar is truncated")
        part = self._buffer[:most]
        self._buffer = self._buffer[most:]
        return part

    def _exactly(self, count: int) -> bytes:
        part = self._some(count)
        if len(part) == count:
            return bytes(part)
        parts = [bytes(part)]
        count -= len(part)
        while count:
            part = self._some(count)
            parts.append(bytes(part))
            count -= len(part)
        return b"".join(parts)

    def _pass_over(self, count: int) -> None:
        while count:
            count -= len(self._some(count))

    def _damaged(self, text: str) -> LayerTarError:
        where = f" after {self._name.decode(errors='backslashreplace')[:200]!r}" if self._name else ""
        return LayerTarError(f"{text}{where}")

    # -- members

    def __iter__(self) -> Iterator[Entry]:
        """Yield the entries in the tar's order, paths made safe; then read to the end of the stream."""
        records: dict[bytes, bytes] = {}
        pairs: list[tuple[int, int]] = []
        long_name = long_link = None
        while True:
            self._pass_over(self._body + self._padding)
            self._body = self._padding = 0
            if not self._buffer and not self._refill():
                if records or long_name or long_link:
                    raise self._damaged("the tar is truncated")
                return
            header = self._exactly(_BLOCK)
            if header == _ZEROS:
                if records or long_name or long_link:
                    raise self._damaged("the tar ends in the middle of a member")
                break
            size, flag = self._check(header), header[156]
            if flag in (0x78, 0x58, 0x67, 0x4C, 0x4B):  # x, X, g, L, K: about the member that follows
                if size > _MOST_RECORDS:
                    raise self._damaged(f"{size} bytes of records about one member are refused")
                data = self._exactly(size)
                self._pass_over(-size % _BLOCK)
                if flag == 0x4C:
                    long_name = data.split(b"\0", 1)[0]
                elif flag == 0x4B:
                    long_link = data.split(b"\0", 1)[0]
                elif flag == 0x67:
                    self._parse_records(data, self._global, [])
                else:
                    self._parse_records(data, records, pairs)
                continue
            about = {**self._global, **records} if self._global else records
            entry = self._entry(header, size, about, pairs, long_name, long_link)
            records, pairs = {}, []
            long_name = long_link = None
            if entry is not None:
                yield entry
        while self._buffer or self._refill():  # what follows the end mark counts for the digest
            self._buffer = memoryview(b"")

    def _check(self, header: bytes) -> int:
        try:
            wanted = int(header[148:156].strip(b"\0 ") or b"-1", 8)
        except ValueError:
            wanted = -1
        found = sum(header) - sum(header[148:156]) + 256
        if found != wanted:
            raise self._damaged("the tar is damaged, or this is no tar: a header's checksum is wrong")
        size = self._number(header[124:136], "size")
        if not 0 <= size <= _LARGEST_FILE:
            raise self._damaged(f"a size of {size} bytes is not possible")
        return size

    def _number(self, field: bytes, what: str) -> int:
        if field[0] & 0x80:
            value = int.from_bytes(field, "big") & ((1 << (len(field) * 8 - 1)) - 1)
            return value - (1 << (len(field) * 8 - 1)) if field[0] & 0x40 else value
        text = field.split(b"\0", 1)[0].strip(b" ")
        if not text:
            return 0
        if not text.isdigit():
            raise self._damaged(f"a header's {what} is no number")
        try:
            return int(text, 8)
        except ValueError:
            raise self._damaged(f"a header's {what} is no octal number") from None

    def _parse_records(self, data: bytes, into: dict[bytes, bytes], pairs: list[tuple[int, int]]) -> None:
        """Read PAX records: `LENGTH KEY=VALUE\\n`, the length counting itself."""
        at = 0
        offset = -1
        while at < len(data):
            space = data.find(b" ", at, at + 20)
            digits = data[at:space] if space > 0 else b""
            if not digits.isdigit():
                if not data[at:].strip(b"\0"):
                    return
                raise self._damaged("a PAX record is damaged")
            end = at + int(digits)
            key, equals, value = data[space + 1 : end - 1].partition(b"=")
            if end > len(data) or end <= space or data[end - 1 : end] != b"\n" or not equals:
                raise self._damaged("a PAX record is damaged")
            if key == b"GNU.sparse.offset":
                offset = self._decimal(value)
            elif key == b"GNU.sparse.numbytes" and offset >= 0:
                pairs.append((offset, self._decimal(value)))
                offset = -1
            elif value:
                into[key] = value
            else:
                into.pop(key, None)
            at = end

    def _decimal(self, text: bytes, most: int = _LARGEST_FILE) -> int:
        if not text.isdigit() or len(text) > 20 or int(text) > most:
            raise self._damaged("a PAX record holds no possible number")
        return int(text)

    def _time(self, text: bytes) -> int:
        negative = text.startswith(b"-")
        whole, _, part = text.lstrip(b"+-").partition(b".")
        if (whole and not whole.isdigit()) or (part and not part.isdigit()) or len(text) > 64 or not (whole or part):
            raise self._damaged("a PAX record holds no possible time")
        value = int(whole or b"0") * 1_000_000_000 + int(part[:9].ljust(9, b"0") or b"0")
        return -value if negative else value

    def _entry(
        self,
        header: bytes,
        size: int,
        records: dict[bytes, bytes],
        pairs: list[tuple[int, int]],
        long_name: bytes | None,
        long_link: bytes | None,
    ) -> Entry | None:
        name = header[:100].split(b"\0", 1)[0]
        if header[257:263] == b"ustar\0" and header[345]:
            name = header[345:500].split(b"\0", 1)[0] + b"/" + name
        name = long_name or name
        target = long_link or header[157:257].split(b"\0", 1)[0]
        modified = self._number(header[136:148], "time") * 1_000_000_000
        uid, gid = self._number(header[108:116], "owner"), self._number(header[116:124], "group")
        xattrs: tuple[tuple[bytes, bytes], ...] = ()
        realsize = -1
        if records:
            name = records.get(b"GNU.sparse.name") or records.get(b"path") or name
            target = records.get(b"linkpath") or target
            if b"mtime" in records:
                modified = self._time(records[b"mtime"])
            if b"uid" in records:
                uid = self._decimal(records[b"uid"])
            if b"gid" in records:
                gid = self._decimal(records[b"gid"])
            if b"size" in records:
                size = self._decimal(records[b"size"])
            for key in (b"GNU.sparse.realsize", b"GNU.sparse.size"):
                if key in records:
                    realsize = self._decimal(records[key])
            xattrs = tuple(sorted(self._xattrs(records)))
        kind = _KINDS.get(header[156])
        path = clean_path(name)
        self._name = path
        if kind is None:
            raise self._damaged(f"a member of the unknown type {chr(header[156])!r}")
        if not (0 <= uid < 0xFFFFFFFF and 0 <= gid < 0xFFFFFFFF):
            raise self._damaged(f"owner {uid}:{gid} is not possible")
        if kind is Kind.FILE and name.endswith(b"/") and size == 0:
            kind = Kind.DIRECTORY  # as the oldest tars wrote directories
        if kind is Kind.FILE:  # other kinds have a header only, whatever size it tells: so Go and Python read them
            self._body, self._padding = size, -size % _BLOCK
        self._extents = None
        if kind is Kind.FILE:
            size = self._sparse(header, size, realsize, records, pairs)
        device = (0, 0)
        if kind in (Kind.CHARACTER, Kind.BLOCK):
            device = (self._number(header[329:337], "device"), self._number(header[337:345], "device"))
            if not (0 <= device[0] < 1 << 12 and 0 <= device[1] < 1 << 20):
                raise self._damaged(f"device {device[0]}:{device[1]} is not possible")
        mode = self._number(header[100:108], "mode") & 0o7777
        return Entry(
            path,
            kind,
            mode,
            uid,
            gid,
            modified,
            size if kind is Kind.FILE else 0,
            clean_path(target, "hard link to") if kind is Kind.HARDLINK else target,
            device,
            xattrs,
            self._extents,
        )

    def _xattrs(self, records: dict[bytes, bytes]) -> Iterator[tuple[bytes, bytes]]:
        for key, value in records.items():
            if key.startswith(_XATTR):
                yield key[len(_XATTR) :], value
            elif key.startswith(_LIBARCHIVE_XATTR) and _XATTR + key[len(_LIBARCHIVE_XATTR) :] not in records:
                try:
                    yield key[len(_LIBARCHIVE_XATTR) :], base64.b64decode(value + b"=" * (-len(value) % 4))
                except ValueError:
                    raise self._damaged("an extended attribute is no base64") from None

    # -- sparse files

    def _sparse(
        self, header: bytes, size: int, realsize: int, records: dict[bytes, bytes], pairs: list[tuple[int, int]]
    ) -> int:
        """Find where a sparse file's data goes and return the file's size."""
        extents: list[tuple[int, int]]
        if header[156] == 0x53:
            realsize = self._number(header[483:495], "real size")
            extents = self._old_extents(header[386:482])
            more = header[482]
            while more:
                block = self._exactly(_BLOCK)
                extents += self._old_extents(block[:504])
                more = block[504]
                if len(extents) > _MOST_EXTENTS:
                    raise self._damaged("a sparse file of too many parts")
        elif records.get(b"GNU.sparse.major") == b"1" and records.get(b"GNU.sparse.minor") == b"0":
            extents = self._map_in_body()
        elif b"GNU.sparse.map" in records:
            numbers = [self._decimal(text) for text in records[b"GNU.sparse.map"].split(b",")]
            if len(numbers) % 2:
                raise self._damaged("a sparse file's map is damaged")
            extents = list(zip(numbers[::2], numbers[1::2], strict=True))
        elif pairs:
            extents = pairs
        else:
            return size
        extents = [extent for extent in extents if extent[1]]
        end = 0
        for offset, length in extents:
            if offset < end or length < 0:
                raise self._damaged("a sparse file's map is out of order")
            end = offset + length
        if realsize < end or sum(length for _, length in extents) != self._body:
            raise self._damaged("a sparse file's map does not fit its size")
        self._extents = tuple(extents)
        return realsize

    def _old_extents(self, fields: bytes) -> list[tuple[int, int]]:
        found = []
        for at in range(0, len(fields), 24):
            if not fields[at]:
                break
            found.append((self._number(fields[at : at + 12], "map"), self._number(fields[at + 12 : at + 24], "map")))
        return found

    def _map_in_body(self) -> list[tuple[int, int]]:
        """Read the map that form 1.0 puts before the data: decimal lines, padded to a block."""
        pending = b""
        numbers: list[int] = []
        wanted = 1
        while len(numbers) < wanted:
            if self._body < _BLOCK:
                raise self._damaged("a sparse file's map is truncated")
            pending += self._exactly(_BLOCK)
            self._body -= _BLOCK
            *lines, pending = pending.split(b"\n")
            for line in lines:
                if len(numbers) < wanted:
                    numbers.append(self._decimal(line))
                    if len(numbers) == 1:
                        wanted = 1 + 2 * self._decimal(lines[0], _MOST_EXTENTS)
        return list(zip(numbers[1::2], numbers[2::2], strict=True))

    # -- bodies

    def body(self) -> Iterator[tuple[int, memoryview]]:
        """Yield what the present file holds: where in the file, and the bytes there; each once."""
        if self._extents is None:
            offset = 0
            while self._body:
                part = self._some(self._body)
                self._body -= len(part)
                yield offset, part
                offset += len(part)
            return
        for offset, length in self._extents:
            while length:
                part = self._some(length)
                self._body -= len(part)
                yield offset, part
                offset += len(part)
                length -= len(part)

    def read(self, limit: int) -> bytes:
        """Return the present file whole.

        Raises
        ------
        ContentError
            It has more than `limit` bytes.
        """
        if self._body > limit:
            raise ContentError(f"{self._name.decode(errors='replace')}: more than {limit} bytes")
        return b"".join(bytes(part) for _, part in self.body())
