"""Wrappings of layers: recognised by content, unwrapped within bounds, refused when damaged."""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.images.compression import Compression, ahead, compress, decompress
from sim.images.errors import ContentError

WRITERS: dict[str, Callable[[bytes], bytes]] = {
    "none": lambda data: data,
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
DATA = os.urandom(300_000) + bytes(3_000_000) + b"end" * 1000


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("size", [1009, 65536, 10**8])
def test_every_wrapping_is_recognised(kind: str, size: int) -> None:
    packed = WRITERS[kind](DATA)
    found = list(decompress(cut(packed, size)))
    assert b"".join(found) == DATA
    assert max(map(len, found)) <= max(1 << 20, size)


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_several_members_follow_each_other(kind: str) -> None:
    packed = WRITERS[kind](b"one") + WRITERS[kind](b"") + WRITERS[kind](b"two")
    for size in (1, 7, 1000):
        assert b"".join(decompress(cut(packed, size))) == b"onetwo"


def test_padding_after_gzip() -> None:
    for size in (1, 5, 1000):
        assert b"".join(decompress(cut(gzip.compress(b"one") + bytes(700), size))) == b"one"


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_damage_is_told(kind: str) -> None:
    packed = WRITERS[kind](DATA)
    for length in (10, len(packed) // 2, len(packed) - 1):
        with pytest.raises(ContentError, match=f"the {kind} stream is truncated"):
            list(decompress([packed[:length]]))
    broken = bytearray(packed)
    broken[len(packed) // 2] ^= 0x55
    with pytest.raises(ContentError, match=f"the {kind} stream is"):
        list(decompress(cut(bytes(broken), 5000)))


@pytest.mark.parametrize("kind", ["gzip", "zstd", "bzip2", "xz"])
def test_bombs_are_stopped_early(kind: str) -> None:
    bomb = WRITERS[kind](bytes(64 << 20))
    out: list[int] = []
    with pytest.raises(ContentError, match="it may be a bomb"):
        out.extend(map(len, decompress([bomb], limit=5 << 20)))
    assert sum(out) <= 5 << 20


@pytest.mark.parametrize("kind", [Compression.GZIP, Compression.ZSTD])
def test_other_tools_read_ours(kind: Compression) -> None:
    packed = b"".join(compress(cut(DATA, 10_001), kind))
    assert packed == b"".join(compress(cut(DATA, 77_777), kind)), "the pieces' sizes leave no trace"
    assert len(packed) < len(DATA) / 5
    program = shutil.which(kind)
    if program is None:
        pytest.skip(f"needs {kind}")
    assert subprocess.run([program, "-dc"], input=packed, capture_output=True, check=True).stdout == DATA


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["gzip", "zstd", "bzip2", "xz"]), st.binary(max_size=200), st.data())
def test_any_bytes_are_unwrapped_or_refused(kind: str, plain: bytes, data: st.DataObject) -> None:
    packed = bytearray(WRITERS[kind](plain))
    for _ in range(data.draw(st.integers(0, 3))):
        packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    tail = data.draw(st.binary(max_size=5))
    size = data.draw(st.integers(1, 50))
    said = ""
    try:
        list(decompress(cut(bytes(packed) + tail, size), limit=1 << 20))
    except ContentError as error:
        said = str(error)
    assert "\n" not in said


def test_ahead_passes_exceptions_on_and_stops() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise ValueError("here")

    stream = ahead(broken())
    assert next(stream) == 1
    with pytest.raises(ValueError, match="here"):
        next(stream)
    taken = itertools.count()
    endless = ahead(taken, depth=2)
    assert next(endless) == 0
    endless.close()
    assert next(taken) <= 6
