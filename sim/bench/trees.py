"""What workloads work on: files and trees in read-only layers.

Decided here and only here: what the files of a measurement are like. The same numbers give the same tree, byte by byte.
Functions only; any thread.
"""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["data_file", "many_files", "source_tree"]

_PIECE = 1 << 20


@functools.cache
def _noise() -> bytes:
    """Return bytes that no filesystem can make smaller."""
    return random.Random(9).randbytes(_PIECE)


def data_file(path: Path, size: int, *, sparse: bool = False) -> None:
    """Make a file of so many bytes.

    Parameters
    ----------
    path
        Where; its directory is made.
    size
        Bytes.
    sparse
        Only the first and the last 4 KiB are data.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    piece = _noise()
    with open(path, "wb", buffering=0) as stream:
        if sparse:
            stream.truncate(size)
            edge = min(4096, size)
            stream.write(piece[:edge])
            stream.seek(size - edge)
            stream.write(piece[:edge])
            return
        for start in range(0, size, _PIECE):
            stream.write(piece[: min(_PIECE, size - start)])


def many_files(layers: Sequence[Path], place: str, count: int, size: int) -> None:
    """Make small files, spread over the layers so that each directory is merged out of all of them."""
    content = _noise()[:size]
    roots = [layer / place.lstrip("/") for layer in layers]
    for root in roots:
        root.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        with open(roots[number % len(roots)] / f"f{number:06d}", "wb", buffering=0) as stream:
            stream.write(content)


def source_tree(layers: Sequence[Path], place: str, count: int, *, suffix: str = ".txt") -> None:
    """Make a tree like that of a program's source: directories of twenty files, a few levels, mostly small files."""
    for number, (name, content) in enumerate(_sources(count, suffix)):
        path = layers[number % len(layers)] / place.lstrip("/") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for layer in layers:
        (layer / place.lstrip("/")).mkdir(parents=True, exist_ok=True)


def _sources(count: int, suffix: str) -> Iterator[tuple[str, bytes]]:
    draw = random.Random(count)
    words = [f"word{number}" for number in range(500)]
    for number in range(count):
        folder = number // 20
        size = min(int(draw.lognormvariate(8.0, 1.2)), 300_000)
        line = " ".join(draw.choices(words, k=8))
        content = (f"{number} {line}\n".encode() * (size // len(line) + 1))[:size]
        yield os.path.join(f"d{folder % 7}", f"d{folder}", f"f{number}{suffix}"), content
