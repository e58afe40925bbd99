"""Lesson 5, copy-up: the price of the first write.

Decided here: what its exercises want, and which mistakes they know. One thread.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from pathlib import Path

from fusefs import Effect, EffectKind, Kind, Operation
from sim.course.bench import Bench
from sim.course.errors import NotYetError
from sim.course.exercises import Track
from sim.course.exercises.stacks import opened, tidy
from sim.course.texts import Text

__all__ = ["TRACK"]

_LOWER = ("hotfix", "app", "base")
_DATA, _TOOL, _LOG, _PASSWD = "/var/lib/data.db", "/bin/tool", "/var/log/shop.log", "/etc/passwd"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _prepare(home: Path) -> tuple[str, ...]:
    tidy(home, *_LOWER, "changes", "work")
    return _LOWER


def _solve(home: Path) -> None:
    with opened(home, _LOWER) as fs:
        fs.append_bytes(_DATA, b"row\n")
        fs.append_bytes(_DATA, b"row\n")
        fs.chmod(_TOOL, 0o700)
        fs.write_bytes(_LOG, b"")
        with fs.open(_PASSWD) as reader:
            fs.append_bytes(_PASSWD, b"shop:x:1000:1000::/srv:/bin/sh\n")
            fs.union.read(reader, 4096, 0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512 << 10, hard))
    try:
        (home / "small").mkdir()
        with (
            opened(home, _LOWER, upper="small/upper", work="small/work", journal="full.db") as fs,
            contextlib.suppress(OSError),
        ):
            fs.append_bytes(_DATA, b"row\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _copy(bench: Bench, path: str) -> tuple[Operation, Effect]:
    """Return the copy-up of a path; without one it is not yet."""
    found = bench.effects(path, EffectKind.COPIED_UP)
    if not found:
        if bench.entry("changes", path) is not None:
            raise NotYetError(
                f"changes has a {path}, and the journal knows of no copy-up: it was not made through this mount, or it was "
                "deleted and made anew",
                f"changes 中有 {path}，但日志里没有 copy-up：它不是通过这次挂载产生的，或者是删除后重新建立的",
            )
        raise NotYetError(
            f"{path} has not been copied up yet: nobody has changed it through the mount",
            f"{path} 还没有被 copy-up：还没有人通过挂载点修改它",
        )
    return found[-1]


def _once(bench: Bench) -> Text:
    """5.1: the first write copies, the second does not."""
    _copy(bench, _DATA)
    copies = bench.effects(_DATA, EffectKind.COPIED_UP)
    if not any(effect.size for _, effect in copies):
        raise NotYetError(
            f"{_DATA} was copied up without its bytes: it was emptied (>) instead of appended to (>>)",
            f"{_DATA} 的 copy-up 没有复制任何字节：它被清空了（>），而不是追加（>>）",
        )
    writes = bench.effects(_DATA, EffectKind.WRITTEN)
    after = [operation for operation, _ in writes if operation.number > copies[-1][0].number]
    if len(after) < 2:
        raise NotYetError(
            f"there is one copy-up and {len(after)} write after it: append a second time, and compare",
            f"有一次 copy-up，之后只有 {len(after)} 次写入：请再追加一次并比较",
        )
    size = copies[-1][1].size
    return Text(
        f"{size:,} bytes were copied for the first {writes[0][1].size} written, none for the second",
        f"为了写入最初的 {writes[0][1].size} 字节复制了 {size:,} 字节；第二次一个字节也没有复制",
    )


def _metadata(bench: Bench) -> Text:
    """5.2: a change of mode copies the whole file."""
    operation, effect = _copy(bench, _TOOL)
    if operation.kind not in (Kind.CHMOD, Kind.CHOWN, Kind.UTIMENS, Kind.SETXATTR):
        raise NotYetError(
            f"{_TOOL} was copied up by {operation.kind}: here not one byte of it is to be written, only something about it",
            f"{_TOOL} 是因 {operation.kind} 而 copy-up 的：这里不许写它的任何字节，只改关于它的信息",
        )
    if bench.effects(_TOOL, EffectKind.WRITTEN):
        raise NotYetError(f"{_TOOL} was written to as well", f"{_TOOL} 还被写入了内容")
    return Text(
        f"{operation.kind} copied all {effect.size:,} bytes, and changed none of them",
        f"{operation.kind} 复制了全部 {effect.size:,} 字节，却一个也没有改",
    )


def _nothing(bench: Bench) -> Text:
    """5.3: a file that is emptied as it is opened costs no copying."""
    _, effect = _copy(bench, _LOG)
    if effect.size:
        raise NotYetError(
            f"{effect.size:,} bytes of {_LOG} were copied up before they were thrown away: it has to be emptied in the same "
            "moment in which it is opened. `layerlab lesson reset 5` lets you begin again",
            f"{_LOG} 的 {effect.size:,} 字节先被 copy-up，然后才被丢弃：要在打开它的同时就清空。"
            "用 `layerlab lesson reset 5` 可以重新开始",
        )
    entry = bench.entry("changes", _LOG)
    if entry is None or entry.size:
        raise NotYetError(f"{_LOG} should be there, and empty", f"{_LOG} 应当存在，并且是空的")
    return Text(
        f"{_LOG} is empty, and not one of its bytes was copied; base still has all of them",
        f"{_LOG} 已经清空，一个字节也没有复制；base 里仍保留着全部内容",
    )


def _open_before(bench: Bench) -> Text:
    """5.4, break it: a reader that opened the file before its copy-up."""
    operation, _ = _copy(bench, _PASSWD)
    of_it = [one for one in bench.operations() if one.path == _PASSWD and not one.error]
    before = [one for one in of_it if one.number < operation.number]
    held = sum(one.kind is Kind.OPEN for one in before) - sum(one.kind is Kind.RELEASE for one in before)
    if held < 1:
        raise NotYetError(
            f"when {_PASSWD} was copied up nobody had it open: open it for reading first and keep it open "
            "(exec 3< in a shell). `layerlab lesson reset 5` lets you begin again",
            f"{_PASSWD} 被 copy-up 时没有人打开着它：请先打开它读，并保持打开（在 shell 里用 exec 3<）。"
            "用 `layerlab lesson reset 5` 可以重新开始",
        )
    if not any(one.kind is Kind.READ and one.number > operation.number and one.layer == 0 for one in of_it):
        raise NotYetError(
            "it was open, and copied up meanwhile; now read on through the descriptor that was opened before",
            "文件打开着，期间发生了 copy-up；现在请通过之前打开的那个描述符接着读",
        )
    first = next(one for one in before if one.kind is Kind.OPEN)
    return Text(
        f"opened in layer {first.layer}, read from layer 0: the reader followed the file to its copy",
        f"在第 {first.layer} 层打开，从第 0 层读出：读者跟着文件到了它的副本",
    )


def _full(bench: Bench) -> Text:
    """5.5, break it: the upper's disk is full."""
    failed = [one for one in bench.operations("full.db") if one.error in _FULL and one.path == _DATA]
    if not failed:
        raise NotYetError(
            f"full.db tells of no operation on {_DATA} that failed for want of space: is the disk small enough, and was the "
            "file opened for writing?",
            f"full.db 中没有对 {_DATA} 因空间不足而失败的操作：磁盘够小吗？文件是否为写入而打开了？",
        )
    last = failed[-1]
    if any(effect.kind is EffectKind.COPIED_UP and effect.path == _DATA for effect in last.effects):
        raise NotYetError(
            "the copy-up itself went well; the disk has to be smaller than the file",
            "copy-up 本身成功了；磁盘必须比这个文件小",
        )
    if bench.seen(("changes", *_LOWER), _DATA) is None:
        raise NotYetError(f"{_DATA} is gone altogether", f"{_DATA} 整个不见了")
    return Text(
        f"{last.kind} failed with {errno.errorcode[last.error]} ({os.strerror(last.error)}), and the file is as it was: no "
        "half copy was ever seen",
        f"{last.kind} 以 {errno.errorcode[last.error]} 失败，而文件还是原样：从没有人看到半个副本",
    )


TRACK = Track(
    5, 4, _prepare, _solve, {"5.1": _once, "5.2": _metadata, "5.3": _nothing, "5.4": _open_before, "5.5": _full}
)
