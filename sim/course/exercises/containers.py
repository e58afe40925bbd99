"""Lesson 7, containers: an RW layer each, and namespaces.

Decided here: what its exercises want, and which mistakes they know. One thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sim.course.bench import Bench
from sim.course.errors import NotYetError
from sim.course.exercises import Track
from sim.course.exercises.engines import base_image, layers_of, run_solutions_of
from sim.course.texts import Text

__all__ = ["TRACK", "container"]

_KINDS = {0: "C", 1: "A", 2: "D"}


def _prepare(home: Path) -> tuple[str, ...]:
    base_image(home)
    return ()


def container(bench: Bench, name: str) -> dict[str, Any]:
    """Return what the engine knows of a container; without it an exercise is not solved."""
    found = bench.engine.container(name)
    if found is None:
        others = [one["Names"][0].lstrip("/") for one in bench.engine.get("/containers/json?all=1") or ()]
        raise NotYetError(
            f"there is no container {name}; there are: {', '.join(others) or 'none'}. Name it with --name {name}, and do not "
            "remove it (no --rm)",
            f"没有容器 {name}；现有：{'、'.join(others) or '无'}。请用 --name {name} 命名，并且不要删除它（不要用 --rm）",
        )
    assert isinstance(found, dict)
    return found


def _changes(bench: Bench, name: str) -> dict[str, str]:
    container(bench, name)
    return {one["Path"]: _KINDS[one["Kind"]] for one in bench.engine.get(f"/containers/{name}/changes") or ()}


def _two(bench: Bench) -> Text:
    """7.1: two containers of one image, each with its own change of one file."""
    one, two = container(bench, "one"), container(bench, "two")
    if one["Image"] != two["Image"]:
        raise NotYetError(
            "one and two are of different images; take base:1 for both",
            "one 和 two 用的不是同一个镜像；两个都请用 base:1",
        )
    for name, wanted, words in (("one", "C", ("changed", "修改")), ("two", "D", ("deleted", "删除"))):
        found = _changes(bench, name).get("/etc/motd")
        if found != wanted:
            said = {"C": "changed", "A": "added", "D": "deleted", None: "as it was"}[found]
            raise NotYetError(
                f"in {name} /etc/motd should be {words[0]}, and is {said}: `layerlab diff {name}` shows what is in its RW layer",
                f"{name} 中的 /etc/motd 应当被{words[1]}，现在的状态是：{said}。`layerlab diff {name}` 显示它的 RW 层里有什么",
            )
    return Text(
        "one file, two containers: changed in the RW layer of one, deleted in that of two, and untouched in the image",
        "一个文件，两个容器：在 one 的 RW 层里被修改，在 two 的 RW 层里被删除，而镜像原样未动",
    )


def _commit(bench: Bench) -> Text:
    """7.2: an RW layer becomes a layer of an image."""
    image = bench.engine.image("motd:1")
    if image is None:
        raise NotYetError(
            "there is no image motd:1 yet: make it of the container one", "还没有镜像 motd:1：请由容器 one 制作它"
        )
    base = bench.engine.image("base:1")
    if base is None:
        raise NotYetError("the image base:1 is gone", "镜像 base:1 不见了")
    mine, below = layers_of(image), layers_of(base)
    if mine[: len(below)] != below or len(mine) != len(below) + 1:
        raise NotYetError(
            f"motd:1 has {len(mine)} layers, and base:1 has {len(below)}: it should be base's and one more. Take `commit`, not "
            "`export` and `import`",
            f"motd:1 有 {len(mine)} 层，base:1 有 {len(below)} 层：它应当是 base 的各层再加一层。请用 `commit`，而不是 `export` 加 `import`",
        )
    return Text(
        f"motd:1 has the {len(below)} layer of base:1, the same one, and the RW layer of the container on it",
        f"motd:1 含有 base:1 的 {len(below)} 层（同一份），上面再加容器的 RW 层",
    )


TRACK = Track(7, None, _prepare, lambda home: run_solutions_of(7, home), {"7.1": _two, "7.2": _commit}, costly=True)
