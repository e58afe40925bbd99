"""Lesson 4, whiteouts: deleting what cannot be deleted.

Decided here: what its exercises want, and which mistakes they know. One thread.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from fusefs import EffectKind, Kind
from sim.course.bench import Bench
from sim.course.errors import NotYetError
from sim.course.exercises import Track
from sim.course.exercises.stacks import opened, tidy
from sim.course.texts import Text

__all__ = ["TRACK"]

_LOWER = ("hotfix", "app", "base")
_ALL = ("changes", *_LOWER)
_DOC = "/usr/share/doc"


def _prepare(home: Path) -> tuple[str, ...]:
    tidy(home, *_LOWER)
    return _LOWER


def _solve(home: Path) -> None:
    with opened(home, _LOWER) as fs:
        fs.unlink("/etc/hosts")
        for name in fs.listdir(_DOC):
            fs.unlink(f"{_DOC}/{name}")
        fs.rmdir(_DOC)
        fs.mkdir(_DOC)
        fs.write_bytes(f"{_DOC}/readme", b"short\n")
    shutil.copytree(home / "changes", home / "broken", copy_function=_copy, symlinks=True)
    (home / "broken/etc/hosts").unlink()
    with opened(home, _LOWER, upper="broken", work="work2", journal="broken.db") as fs:
        fs.read_bytes("/etc/hosts")


def _copy(source: str, target: str) -> None:
    """Copy a file for `copytree`; what is no regular file is not needed."""
    if Path(source).is_file():
        shutil.copy2(source, target)
    else:
        Path(target).touch()


def _deleted(bench: Bench) -> Text:
    """4.1: a deletion through the union."""
    mark = bench.entry("changes", "/etc/hosts")
    if mark is None:
        raise NotYetError(
            "/etc/hosts is still seen: changes has no mark for it. Remove it through the mount, merged/etc/hosts",
            "/etc/hosts 仍然看得见：changes 中没有它的标记。请通过挂载点删除 merged/etc/hosts",
        )
    if not mark.is_whiteout:
        raise NotYetError(
            f"changes/etc/hosts is a {mark.type.value}, no whiteout: it was written to or made anew after all",
            f"changes/etc/hosts 的类型是 {mark.type.value}，不是 whiteout：它后来又被写入或重建了",
        )
    if not bench.effects("/etc/hosts", EffectKind.WHITEOUT):
        raise NotYetError(
            "there is a whiteout in changes, and the journal knows of no deletion: it was made by hand. Take it away, and "
            "let the union make it: rm merged/etc/hosts",
            "changes 中有 whiteout，但日志里没有删除操作：它是手工做的。请去掉它，让联合文件系统来做：rm merged/etc/hosts",
        )
    return Text(
        "changes/etc/hosts is a whiteout; base/etc/hosts is as it was, and nobody sees it",
        "changes/etc/hosts 是一个 whiteout；base/etc/hosts 原样未动，但谁也看不见它",
    )


def _anew(bench: Bench) -> Text:
    """4.2: a directory in an old one's place is opaque."""
    entry = bench.entry("changes", _DOC)
    if entry is None or not entry.is_dir:
        gone = entry is not None and entry.is_whiteout
        raise NotYetError(
            "the directory is removed; now make it anew through the mount"
            if gone
            else f"changes knows nothing of {_DOC} yet: remove the directory through the mount, then make it anew",
            "目录已经删除；现在请通过挂载点重新建立它"
            if gone
            else f"changes 中还没有 {_DOC} 的任何记录：请先通过挂载点删除这个目录，再重新建立",
        )
    if not entry.opaque:
        inside = [
            name
            for name in bench.layer("changes").children.get(_DOC, [])
            if bench.whiteout("changes", f"{_DOC}/{name}")
        ]
        raise NotYetError(
            f"{_DOC} in changes is not opaque: "
            + (
                f"its files were deleted one by one ({len(inside)} whiteouts), the directory itself never was. Remove it too"
                if inside
                else "it was copied up, not made anew. Remove the whole directory, then make it"
            ),
            f"changes 中的 {_DOC} 不是 opaque："
            + (
                f"只是逐个删除了其中的文件（{len(inside)} 个 whiteout），目录本身没有删除。请把目录也删掉"
                if inside
                else "它是被 copy-up 上来的，不是重新建立的。请删除整个目录再新建"
            ),
        )
    seen = sorted(
        name for name in bench.layer("changes").children.get(_DOC, []) if bench.seen(_ALL, f"{_DOC}/{name}") is not None
    )
    if seen != ["readme"]:
        raise NotYetError(
            f"the new directory is opaque; it should have exactly one file, readme, and has: {', '.join(seen) or 'none'}",
            f"新目录是 opaque 的；里面应当只有一个文件 readme，现在有：{'、'.join(seen) or '无'}",
        )
    if not bench.effects(_DOC, EffectKind.OPAQUE):
        raise NotYetError(
            "the mark is there, and the journal knows of no mkdir that made it: let the union do it",
            "标记在，但日志里没有产生它的 mkdir：请让联合文件系统来做",
        )
    return Text(
        f"{_DOC} in changes is opaque and has only readme; base still has its manual and its licence",
        f"changes 中的 {_DOC} 是 opaque 的，只含 readme；base 中的 manual 和 licence 都还在",
    )


def _lost(bench: Bench) -> Text:
    """4.3, break it: a deletion is lost with its whiteout."""
    _deleted(bench)
    if not bench.has("broken"):
        raise NotYetError(
            "there is no directory broken yet: copy changes to it, marks and all (cp -a), and break the copy",
            "还没有目录 broken：请连同标记一起复制 changes（cp -a），然后破坏这份副本",
        )
    if bench.entry("broken", "/etc") is None:
        raise NotYetError(
            "broken has no etc at all: copy changes whole, then take away one thing only",
            "broken 中连 etc 都没有：请完整复制 changes，然后只拿走一样东西",
        )
    if bench.whiteout("broken", "/etc/hosts"):
        raise NotYetError(
            "broken still has the whiteout of /etc/hosts: it is a name like any other, so it can be removed",
            "broken 中 /etc/hosts 的 whiteout 还在：它和别的名字一样，可以被删除",
        )
    if bench.entry("broken", "/etc/hosts") is not None:
        raise NotYetError(
            "broken/etc/hosts is a file of its own: it should come back from base, not be written again",
            "broken/etc/hosts 是一个新写的文件：它应当从 base 中重新出现，而不是重写一遍",
        )
    stack = bench.stack("broken.db")
    if not stack or stack[0].path.name != "broken":
        raise NotYetError(
            "broken.db is not of a mount with `--upper broken`",
            "broken.db 记录的不是用 `--upper broken` 挂载的栈",
        )
    bottom = stack[-1]
    read = bench.asked(lambda one: one.path == "/etc/hosts" and one.kind is Kind.OPEN, "broken.db")
    if not any(one.layer == bottom.number for one in read):
        raise NotYetError(
            "broken is mounted, and nobody has read /etc/hosts there yet: read it, and see the dead walk",
            "broken 已经挂载，但还没有人读 /etc/hosts：请读一下，看看“死而复生”",
        )
    return Text(
        f"without its whiteout the deletion is lost: layer {bottom.number}, {bottom.path.name}, answers for /etc/hosts again",
        f"没有了 whiteout，删除就丢失了：第 {bottom.number} 层 {bottom.path.name} 又在回答 /etc/hosts",
    )


TRACK = Track(4, 3, _prepare, _solve, {"4.1": _deleted, "4.2": _anew, "4.3": _lost})
