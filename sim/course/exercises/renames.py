"""Lesson 6, rename, hard links and inode numbers.

Decided here: what its exercises want, and which mistakes they know. One thread.
"""

from __future__ import annotations

import os
from pathlib import Path

from fusefs import EffectKind, Kind, Options, Redirect
from sim.course.bench import Bench
from sim.course.errors import NotYetError
from sim.course.exercises import Track
from sim.course.exercises.stacks import fill, opened, tidy
from sim.course.texts import Text

__all__ = ["TRACK"]

_LOWER = ("tools", "hotfix", "app", "base")
_OLD, _NEW = "/srv/shop.py", "/srv/store.py"
_PHOTOS, _PICTURES = "/srv/photos", "/srv/pictures"
_EDIT, _VIEW = "/usr/bin/edit", "/usr/bin/view"


def _prepare(home: Path) -> tuple[str, ...]:
    tidy(home, *_LOWER, "changes", "work")
    fill(
        home / "tools",
        {
            _EDIT: "#!/bin/sh\necho edit\n",
            f"{_PHOTOS}/beach": "sand\n" * 4_000,
            f"{_PHOTOS}/forest": "trees\n" * 4_000,
        },
    )
    os.link(home / f"tools{_EDIT}", home / f"tools{_VIEW}")
    return _LOWER


def _solve(home: Path) -> None:
    with opened(home, _LOWER, options=Options(redirect=Redirect.ON)) as fs:
        fs.rename(_OLD, _NEW)
        fs.rename(_PHOTOS, _PICTURES)
    with opened(home, _LOWER, upper="split", work="work2", journal="split.db", options=Options(index=False)) as fs:
        fs.append_bytes(_EDIT, b"echo more\n")
        fs.read_bytes(_VIEW)


def _file(bench: Bench) -> Text:
    """6.1: a lower file gets another name."""
    old, new = bench.entry("changes", _OLD), bench.entry("changes", _NEW)
    if new is None:
        raise NotYetError(
            f"there is no {_NEW} in changes: rename {_OLD} through the mount",
            f"changes 中没有 {_NEW}：请通过挂载点把 {_OLD} 改名",
        )
    if old is None:
        raise NotYetError(
            f"{_OLD} can still be seen: it was copied, not renamed", f"{_OLD} 仍然看得见：它是被复制了，而不是改名"
        )
    renamed = [op for op, effect in bench.effects(_OLD, EffectKind.RENAMED) if effect.target == _NEW]
    if not renamed:
        raise NotYetError(
            "the names are right, and the journal knows of no rename: it was copied and deleted. Take `mv`",
            "名字是对的，但日志里没有 rename：它是复制后再删除的。请用 `mv`",
        )
    if not old.is_whiteout:
        raise NotYetError(f"{_OLD} is there again", f"{_OLD} 又出现了")
    copied = sum(e.size for o in renamed for e in o.effects if e.kind is EffectKind.COPIED_UP)
    return Text(
        f"renamed: {copied} bytes copied up, a whiteout in the old place, and app is as it was",
        f"改名完成：copy-up 复制了 {copied} 字节，旧位置留下 whiteout，app 原样未动",
    )


def _directory(bench: Bench) -> Text:
    """6.2: a directory is renamed without its files being copied."""
    entry = bench.entry("changes", _PICTURES)
    if entry is None:
        failed = [one for one in bench.operations() if one.kind is Kind.RENAME and one.path == _PHOTOS and one.error]
        also = ("; the union refused once, with EXDEV", "；联合文件系统拒绝过一次（EXDEV）") if failed else ("", "")
        raise NotYetError(f"there is no {_PICTURES} yet{also[0]}", f"还没有 {_PICTURES}{also[1]}")
    inside = bench.layer("changes").children.get(_PICTURES, [])
    if not entry.redirect:
        raise NotYetError(
            f"{_PICTURES} is there with {len(inside)} files in changes: `mv` was refused the rename (EXDEV) and has copied "
            "everything. Remove it, reset if need be, and mount with -o redirect_dir=on first",
            f"{_PICTURES} 已经有了，但 changes 里有它的 {len(inside)} 个文件：`mv` 的 rename 被拒绝（EXDEV），于是复制了全部内容。"
            "请删除它（必要时 reset），并先用 -o redirect_dir=on 挂载",
        )
    if inside:
        raise NotYetError(
            f"{_PICTURES} was moved, and {inside[0]} in it was changed afterwards",
            f"{_PICTURES} 已移动，但其中的 {inside[0]} 后来又被改动",
        )
    if not bench.whiteout("changes", _PHOTOS):
        raise NotYetError(f"{_PHOTOS} is there again", f"{_PHOTOS} 又出现了")
    return Text(
        f"{_PICTURES} in changes says where its files lie (redirect: {entry.redirect}); none of them was copied",
        f"changes 中的 {_PICTURES} 记下了文件的所在（redirect：{entry.redirect}）；一个也没有复制",
    )


def _link(bench: Bench) -> Text:
    """6.3, break it: two names of one file become two files."""
    if not bench.has("split"):
        raise NotYetError(
            "there is no directory split yet: mount with `--upper split`, a work directory of its own and -o index=off",
            "还没有目录 split：请用 `--upper split`、另一个工作目录和 -o index=off 挂载",
        )
    copies = bench.effects(_EDIT, EffectKind.COPIED_UP, "split.db")
    if not copies:
        raise NotYetError(f"{_EDIT} has not been changed through that mount", f"还没有通过那次挂载修改 {_EDIT}")
    if bench.entry("split", _VIEW) is not None:
        raise NotYetError(f"{_VIEW} was changed too; only {_EDIT} should be", f"{_VIEW} 也被改动了；只应改动 {_EDIT}")
    looked = [
        one
        for one in bench.asked(lambda one: one.path == _VIEW and one.kind is Kind.OPEN, "split.db")
        if one.number > copies[-1][0].number
    ]
    if not looked:
        raise NotYetError(f"now read {_VIEW}, the other name", f"现在请读另一个名字 {_VIEW}")
    if looked[-1].layer == 0:
        raise NotYetError(
            f"{_VIEW} shows the change as well: the index keeps the two names together. Mount with -o index=off",
            f"{_VIEW} 也显示了改动：index 让两个名字保持为同一个文件。请用 -o index=off 挂载",
        )
    return Text(
        f"{_EDIT} is read from the RW layer, {_VIEW} from layer {looked[-1].layer}: one file has become two",
        f"{_EDIT} 从 RW 层读出，{_VIEW} 从第 {looked[-1].layer} 层读出：一个文件变成了两个",
    )


TRACK = Track(6, 5, _prepare, _solve, {"6.1": _file, "6.2": _directory, "6.3": _link})
