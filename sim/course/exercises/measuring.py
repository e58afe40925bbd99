"""Lesson 11, measuring: what a first write costs, and what a hole costs.

Decided here: what its exercises want, and which mistakes they know. One thread.
"""

from __future__ import annotations

import os
from pathlib import Path

from fusefs import EffectKind
from sim.course.bench import Bench
from sim.course.errors import NotYetError
from sim.course.exercises import Track
from sim.course.exercises.stacks import opened
from sim.course.texts import Text

__all__ = ["SIZES", "TRACK"]

#: Of the files in `data/sizes`, in bytes.
SIZES = (1_000, 10_000, 100_000, 1_000_000, 4_000_000)

_HOLE = 64 << 20


def _prepare(home: Path) -> tuple[str, ...]:
    for name in ("data/sizes", "data/holes", "changes", "work", "merged"):
        (home / name).mkdir(parents=True, exist_ok=True)
    for size in SIZES:
        (home / f"data/sizes/{size}").write_bytes(b"x" * size)
    with (home / "data/holes/disk").open("wb") as stream:
        stream.write(b"first block")
        stream.seek(_HOLE)
        stream.write(b"last block")
    return ()  # 64 MiB of nothing need no fingerprint


def _solve(home: Path) -> None:
    with opened(home, ("data",), journal="sizes.db") as fs:
        for size in SIZES:
            fs.append_bytes(f"/sizes/{size}", b"x")
            fs.append_bytes(f"/sizes/{size}", b"x")
        fs.append_bytes("/holes/disk", b"x")


def _sizes(bench: Bench) -> Text:
    """11.1: first and later writes of each size."""
    missing = []
    for size in SIZES:
        path = f"/sizes/{size}"
        copies = bench.effects(path, EffectKind.COPIED_UP, "sizes.db")
        if not copies:
            missing.append(path)
            continue
        if copies[-1][1].size != size:
            raise NotYetError(
                f"{path} was copied up with {copies[-1][1].size} bytes: it was not whole any more. Begin with an empty upper",
                f"{path} 的 copy-up 只有 {copies[-1][1].size} 字节：它已经不完整。请从空的 upper 开始",
            )
        later = [
            op for op, _ in bench.effects(path, EffectKind.WRITTEN, "sizes.db") if op.number > copies[-1][0].number
        ]
        if len(later) < 2:
            raise NotYetError(
                f"{path} has a first write only: without a second one there is nothing to compare it with",
                f"{path} 只有第一次写入：没有第二次就无从比较",
            )
    if missing:
        raise NotYetError(
            f"sizes.db has no copy-up of {', '.join(missing)}: append to each of the five files",
            f"sizes.db 中没有 {'、'.join(missing)} 的 copy-up：请往五个文件各追加一次",
        )
    first = bench.effects(f"/sizes/{SIZES[0]}", EffectKind.COPIED_UP, "sizes.db")[-1][0].duration
    last = bench.effects(f"/sizes/{SIZES[-1]}", EffectKind.COPIED_UP, "sizes.db")[-1][0].duration
    times = f"{first / 1e6:.2f} ms, {last / 1e6:.2f} ms"
    return Text(
        f"first writes of five sizes, each with a later one; the smallest and the largest copy took {times}",
        f"五种大小的第一次写入，各有一次后续写入作对照；最小和最大的副本分别用时 {times}",
    )


def _hole(bench: Bench) -> Text:
    """11.2: a hole is not copied."""
    copies = bench.effects("/holes/disk", EffectKind.COPIED_UP, "sizes.db")
    if not copies:
        raise NotYetError(
            "sizes.db has no copy-up of /holes/disk: write one byte to it through the mount",
            "sizes.db 中没有 /holes/disk 的 copy-up：请通过挂载点往里写一个字节",
        )
    file = bench.directory("changes") / "holes" / "disk"
    if file.is_symlink() or not file.is_file():
        raise NotYetError("changes/holes/disk is not there (any more)", "changes/holes/disk 不在（了）")
    status = os.lstat(file)
    used = status.st_blocks * 512
    if status.st_size < _HOLE:
        raise NotYetError(
            f"changes/holes/disk has {status.st_size} bytes: it was emptied first; append (>>)",
            f"changes/holes/disk 只有 {status.st_size} 字节：它先被清空了；请用追加（>>）",
        )
    if used > _HOLE // 8:
        raise NotYetError(
            f"the copy takes {used} bytes on disk: its hole was filled. Was it copied by another program than the union?",
            f"副本在磁盘上占 {used} 字节：空洞被填满了。它是不是被别的程序复制的？",
        )
    return Text(
        f"{status.st_size:,} bytes long, {used:,} bytes on disk: what is not there was not copied",
        f"长度 {status.st_size:,} 字节，磁盘上只占 {used:,} 字节：不存在的内容没有被复制",
    )


TRACK = Track(11, None, _prepare, _solve, {"11.1": _sizes, "11.2": _hole})
