"""Lesson 3, union lookup: which layer answers.

Decided here: what its exercises want, and which mistakes they know. One thread.
"""

from __future__ import annotations

from pathlib import Path

from sim.course.bench import Bench
from sim.course.errors import NotYetError
from sim.course.exercises import Track
from sim.course.exercises.stacks import APP, BASE, fill, opened, tidy
from sim.course.texts import Text
from sim.graph import EntryType

__all__ = ["TRACK"]

_MOTD = b"closed today\n"


def _prepare(home: Path) -> tuple[str, ...]:
    fill(home / "base", BASE)
    fill(home / "app", APP)
    tidy(home, "base", "app")
    return ("base", "app")


def _solve(home: Path) -> None:
    fill(home / "hotfix", {"/etc/motd": _MOTD.decode(), "/opt/old": ""})
    with opened(home, ["hotfix", "app", "base"]) as fs:
        fs.read_bytes("/etc/motd")
        fs.listdir("/opt")


def _names(bench: Bench) -> list[str]:
    return [layer.path.name for layer in bench.stack() if layer.role == "ro"]


def _on_top(bench: Bench) -> Text:
    """3.1: a third layer whose motd is seen."""
    if not bench.has("hotfix"):
        raise NotYetError(
            "there is no directory hotfix yet; a layer is a plain directory: make one, with etc/motd in it",
            "还没有目录 hotfix；一层就是一个普通目录：请建立它，并在里面放 etc/motd",
        )
    said = bench.content("hotfix", "/etc/motd")
    if said != _MOTD:
        found = "is not there" if bench.entry("hotfix", "/etc/motd") is None else f"says {said[:40]!r}"
        found_zh = "不存在" if bench.entry("hotfix", "/etc/motd") is None else f"的内容是 {said[:40]!r}"
        raise NotYetError(
            f"hotfix/etc/motd {found}; it should say {_MOTD!r}", f"hotfix/etc/motd {found_zh}；应该是 {_MOTD!r}"
        )
    names = _names(bench)
    if "hotfix" not in names:
        raise NotYetError(
            f"the journal tells of a mount with the read-only layers {', '.join(names)}: hotfix is not among them. Unmount, "
            "and mount again with `--lower hotfix`",
            f"日志中的挂载只有这些只读层：{', '.join(names)}，没有 hotfix。请卸载，再加上 `--lower hotfix` 重新挂载",
        )
    if names.index("hotfix") > 0:
        raise NotYetError(
            f"from the top down the layers are {', '.join(names)}: {names[0]} lies above hotfix and is asked first. Each "
            "--lower lies on those before it, so hotfix has to be named last",
            f"从上往下各层是 {', '.join(names)}：{names[0]} 在 hotfix 之上，先被查询。每个 --lower 都压在前面的之上，"
            "所以 hotfix 要写在最后",
        )
    if bench.entry("changes", "/etc/motd") is not None:
        raise NotYetError(
            "changes has an etc/motd of its own: something was written through the mount. Remove it there and let the "
            "layer do it",
            "changes 中有自己的 etc/motd：有内容是通过挂载点写入的。请删掉它，让新的一层来起作用",
        )
    number = next(layer.number for layer in bench.stack() if layer.path.name == "hotfix")
    if not bench.asked(lambda one: one.path == "/etc/motd" and one.layer == number):
        raise NotYetError(
            "hotfix is mounted on top, and nobody has looked yet: read merged/etc/motd",
            "hotfix 已经挂载在最上面，但还没有人看过：请读一下 merged/etc/motd",
        )
    return Text(
        f"layer {number}, hotfix, answered for /etc/motd; app and base still have theirs",
        f"第 {number} 层 hotfix 回答了 /etc/motd；app 和 base 中各自的文件都还在",
    )


def _in_the_way(bench: Bench) -> Text:
    """3.2: a file that hides a directory."""
    if not bench.has("hotfix"):
        raise NotYetError("do 3.1 first: there is no layer hotfix", "请先做 3.1：还没有 hotfix 这一层")
    for path, entry in bench.layer("hotfix").entries.items():
        if entry.is_whiteout or entry.opaque:
            raise NotYetError(
                f"hotfix{path} is a mark (a whiteout or an opaque directory). That works too, and is the next lesson; here "
                "take an ordinary file",
                f"hotfix{path} 是一个标记（whiteout 或 opaque 目录）。这也行得通，但那是下一课的内容；这里请用普通文件",
            )
    layers = ["hotfix", "app", "base"]
    if bench.seen(["changes", *layers], "/opt/old/tool") is not None:
        found = bench.entry("hotfix", "/opt/old")
        if found is not None and found.is_dir:
            raise NotYetError(
                "hotfix/opt/old is a directory, and directories of one name merge: base's tool is still seen. What is not "
                "a directory ends the search",
                "hotfix/opt/old 是目录，而同名目录会合并：base 中的 tool 仍然看得见。不是目录的东西才会终止查找",
            )
        raise NotYetError(
            "/opt/old/tool of base is still seen; hotfix has nothing at /opt/old that stands in its way",
            "base 中的 /opt/old/tool 仍然看得见；hotfix 在 /opt/old 处没有挡住它的东西",
        )
    found = bench.entry("hotfix", "/opt/old") or bench.entry("hotfix", "/opt")
    if found is None or found.type is not EntryType.FILE:
        raise NotYetError(
            "/opt/old/tool is hidden, but not by a file of hotfix: look into changes",
            "/opt/old/tool 确实被隐藏了，但不是被 hotfix 中的文件隐藏的：请看看 changes",
        )
    if bench.seen(["changes", *layers], "/opt/old") != "hotfix":
        raise NotYetError(
            "the file is further up than it has to be: all of /opt is gone. Put it where the directory old was",
            "文件放得太靠上了：整个 /opt 都不见了。请把它放在目录 old 原来的位置",
        )
    if "hotfix" not in _names(bench) or not any(one.path.startswith("/opt") for one in bench.operations()):
        raise NotYetError(
            "the file is in place, and nobody has looked yet: list merged/opt with the new layer mounted",
            "文件已经就位，但还没有人看过：请在挂载新层后列出 merged/opt",
        )
    return Text(
        "a file at /opt/old of hotfix ended the search: base's directory takes no part any more",
        "hotfix 中 /opt/old 处的文件终止了查找：base 中的目录不再参与合并",
    )


TRACK = Track(3, None, _prepare, _solve, {"3.1": _on_top, "3.2": _in_the_way})
