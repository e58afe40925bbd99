"""Compression: what a layer's tar is wrapped in.

Decided here and only here: how gzip and zstd are recognised (by their first bytes, never by a media type that may lie),
unpacked within bounded memory and bounded output, and written. Generators of chunks; each belongs to one thread, and
`ahead` moves one to a thread of its own. zlib, zstd and SHA-256 let other threads run meanwhile, so a pipeline of two
such generators keeps two cores busy.
"""

from __future__ import annotations

import os
import queue
import struct
import threading
import zlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from typing import TypeVar

import zstandard

from sim.images.digest import CHUNK
from sim.images.errors import ContentError

__all__ = ["LARGEST_LAYER", "Compression", "ahead", "compress", "decompress"]

#: Most bytes that one layer may unpack to, so that a small hostile blob cannot fill the disk.
LARGEST_LAYER = 64 << 30

_MOST_WINDOW = 128 << 20
_OUT = 1 << 20
_GZIP_BLOCK = 1 << 20

_T = TypeVar("_T")


class Compression(StrEnum):
    """The wrapping of a layer."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    XZ = "xz"


def recognise(head: bytes) -> Compression:
    """Tell from its first six bytes what a stream is wrapped in."""
    if head[:2] == b"\x1f\x8b":
        return Compression.GZIP
    if head[:4] == b"\x28\xb5\x2f\xfd" or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return Compression.ZSTD
    if head[:3] == b"BZh":
        return Compression.BZIP2
    if head[:6] == b"\xfd7zXZ\0":
        return Compression.XZ
    return Compression.NONE


def decompress(chunks: Iterable[bytes], *, limit: int = LARGEST_LAYER) -> Iterator[bytes]:
    """Yield a stream unwrapped, whatever it was wrapped in.

    Parameters
    ----------
    chunks
        The stream.
    limit
        Most bytes that may come out.

    Raises
    ------
    ContentError
        The stream is damaged or truncated, or more than `limit` bytes come out.
    """
    source = iter(chunks)
    head = b""
    for chunk in source:
        head += chunk
        if len(head) >= 6:
            break
    kind = recognise(head)
    if kind is Compression.GZIP:
        plain = _gunzip(_joined(head, source))
    elif kind is Compression.ZSTD:
        plain = _unzstd(_joined(head, source))
    elif kind is not Compression.NONE:
        plain = _unwrap(_joined(head, source), kind)
    else:
        plain = _joined(head, source)
    total = 0
    for chunk in plain:
        total += len(chunk)
        if total > limit:
            raise ContentError(f"it unpacks to more than {limit} bytes, the most that is allowed; it may be a bomb")
        yield chunk


def _joined(head: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from rest


def _gunzip(chunks: Iterator[bytes]) -> Iterator[bytes]:
    member = zlib.decompressobj(31)
    fresh, padding = False, False
    try:
        for chunk in chunks:
            data = chunk
            while data:
                if fresh or padding:  # between members; some writers pad the end with zeros
                    data = data.lstrip(b"\0") if padding or data[:1] == b"\0" else data
                    if not data:
                        padding = True
                        break
                    member, fresh, padding = zlib.decompressobj(31), False, False
                out = member.decompress(data, _OUT)
                if out:
                    yield out
                if member.eof:
                    data, fresh = member.unused_data, True
                else:
                    data = member.unconsumed_tail
                    if not data and not out:
                        break
    except zlib.error as error:
        raise ContentError(f"the gzip stream is damaged: {error}") from None
    while not (fresh or padding):
        try:
            out = member.decompress(b"", _OUT)
        except zlib.error as error:
            raise ContentError(f"the gzip stream is damaged: {error}") from None
        if out:
            yield out
        if member.eof:
            return
        if not out:
            raise ContentError("the gzip stream is truncated: it ends before its end mark")


class _Reader:
    """The chunks as a file to read from; remembers whether the end was reached."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = memoryview(chunk)
        data = bytes(self._rest[:size] if size >= 0 else self._rest)
        self._rest = self._rest[len(data) :]
        return data


def _unzstd(chunks: Iterator[bytes]) -> Iterator[bytes]:
    source = _Reader(chunks)
    limits = zstandard.ZstdDecompressor(max_window_size=_MOST_WINDOW)
    pending = source.read(CHUNK)
    try:
        while pending:
            frame = limits.decompressobj(write_size=_OUT)
            finished = False
            while pending and not finished:
                # Small steps: one compressed byte can stand for megabytes, and this interface has no bound on output.
                step, pending = pending[:1024], pending[1024:]
                out = frame.decompress(step)
                for at in range(0, len(out), _OUT):
                    yield out[at : at + _OUT]
                if frame.eof:
                    pending = frame.unused_data + pending
                    finished = True
                if not pending:
                    pending = source.read(CHUNK)
            if not finished:
                raise ContentError("the zstd stream is truncated: it ends in the middle of a frame")
    except zstandard.ZstdError as error:
        raise ContentError(f"the zstd stream is damaged: {error}") from None


def _unwrap(chunks: Iterator[bytes], kind: Compression) -> Iterator[bytes]:
    """Unpack what only old or hand-made archives are wrapped in."""
    import bz2
    import lzma

    def start() -> bz2.BZ2Decompressor | lzma.LZMADecompressor:
        return bz2.BZ2Decompressor() if kind is Compression.BZIP2 else lzma.LZMADecompressor(memlimit=_MOST_WINDOW)

    part = start()
    try:
        for chunk in chunks:
            data = chunk
            while data or not part.needs_input:
                if part.eof:
                    data = (
                        (part.unused_data + data).lstrip(b"\0") if kind is Compression.XZ else part.unused_data + data
                    )
                    if not data:
                        break
                    part = start()
                if out := part.decompress(data, _OUT):
                    yield out
                data = b""
                if part.eof and not part.unused_data:
                    break
    except (OSError, lzma.LZMAError, EOFError) as error:
        raise ContentError(f"the {kind} stream is damaged: {error}") from None
    if not part.eof:
        raise ContentError(f"the {kind} stream is truncated: it ends before its end mark")


def compress(chunks: Iterable[bytes], kind: Compression, level: int | None = None) -> Iterator[bytes]:
    """Yield a stream wrapped; the same bytes for the same stream, level and library."""
    if kind is Compression.NONE:
        yield from chunks
        return
    if kind not in (Compression.GZIP, Compression.ZSTD):
        raise ContentError(f"{kind}: layers are not written in this form; use gzip or zstd")
    if kind is Compression.GZIP:
        yield from _gzip(chunks, 6 if level is None else level)
        return
    squeezer = zstandard.ZstdCompressor(level=3 if level is None else level).compressobj()
    for chunk in chunks:
        if data := squeezer.compress(chunk):
            yield data
    yield squeezer.flush()


def _gzip(chunks: Iterable[bytes], level: int) -> Iterator[bytes]:
    """Compress blocks at once on all cores into one gzip member, as pigz does; the blocks' borders are fixed."""
    check = size = 0
    waiting: deque[Future[bytes]] = deque()
    yield b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    with ThreadPoolExecutor(os.cpu_count() or 1, "gzip") as pool:
        for block in _blocks(chunks, _GZIP_BLOCK):
            check = zlib.crc32(block, check)
            size += len(block)
            waiting.append(pool.submit(_deflate, block, level))
            if len(waiting) > 2 * (os.cpu_count() or 1):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    yield b"\x03\0" + struct.pack("<II", check, size & 0xFFFFFFFF)


def _deflate(block: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -15)
    return packer.compress(block) + packer.flush(zlib.Z_SYNC_FLUSH)


def _blocks(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yield the same bytes in blocks of one size, whatever the sizes they come in."""
    parts: list[bytes] = []
    held = 0
    for chunk in chunks:
        parts.append(chunk)
        held += len(chunk)
        while held >= size:
            whole = b"".join(parts)
            yield whole[:size]
            parts, held = [whole[size:]], held - size
    if held:
        yield b"".join(parts)


class _Failed:
    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _End:
    __slots__ = ()


def ahead(items: Iterable[_T], depth: int = 8) -> Generator[_T, None, None]:
    """Yield what another thread takes from `items`, up to `depth` items ahead; its exceptions are raised here.

    When the generator is closed early the thread stops after its present item.
    """
    channel: queue.Queue[_T | _Failed | _End] = queue.Queue(depth)
    stop = threading.Event()

    def offer(item: _T | _Failed | _End) -> bool:
        while not stop.is_set():
            try:
                channel.put(item, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not offer(item):
                    return
        except BaseException as error:
            offer(_Failed(error))
        else:
            offer(_End())

    thread = threading.Thread(target=work, name="layer-stream", daemon=True)
    thread.start()
    try:
        while True:
            item = channel.get()
            if isinstance(item, _End):
                return
            if isinstance(item, _Failed):
                raise item.error
            yield item
    finally:
        stop.set()
        thread.join()
