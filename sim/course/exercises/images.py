"""Lesson 2, image and layers.

Decided here: what its exercises want, and which mistakes they know. One thread.
"""

from __future__ import annotations

from pathlib import Path

from sim.course.bench import Bench
from sim.course.errors import NotYetError
from sim.course.exercises import Track
from sim.course.exercises.engines import base_image, layers_of, names_in_layers, run_solutions_of
from sim.course.texts import Text

__all__ = ["TRACK"]


def _prepare(home: Path) -> tuple[str, ...]:
    base_image(home)
    for name, text in (("tools", "a tool\n"), ("site", "<h1>hello</h1>\n")):
        (home / name).mkdir(exist_ok=True)
        (home / name / "file").write_text(text)
    return ()


def _layers(bench: Bench, name: str) -> list[str]:
    found = bench.engine.image(name)
    if found is None:
        raise NotYetError(
            f"there is no image {name} yet; build it with `-t {name}`", f"还没有镜像 {name}；请用 `-t {name}` 构建"
        )
    return layers_of(found)


def _shared(bench: Bench) -> Text:
    """2.1: two images on one base."""
    base, tools, site = (_layers(bench, name) for name in ("base:1", "tools:1", "site:1"))
    for name, mine in (("tools:1", tools), ("site:1", site)):
        if mine[: len(base)] != base:
            raise NotYetError(
                f"{name} does not begin with the layer of base:1: its Dockerfile should begin with FROM base:1",
                f"{name} 不是以 base:1 的层开头的：它的 Dockerfile 应当以 FROM base:1 开头",
            )
        if len(mine) == len(base):
            raise NotYetError(f"{name} has no layer of its own", f"{name} 没有自己的层")
    if tools[-1] == site[-1]:
        raise NotYetError(
            "the two have the same layers: put other files into each", "两者的层完全相同：请放入不同的文件"
        )
    different = len({*tools, *site})
    return Text(
        f"{len(tools) + len(site)} layers named, {different} stored: the one of base:1 is there once",
        f"列出了 {len(tools) + len(site)} 层，只存储 {different} 层：base:1 的那一层只有一份",
    )


def _hidden(bench: Bench) -> Text:
    """2.2: bytes that are stored and seen by nobody."""
    base, fat = _layers(bench, "base:1"), _layers(bench, "fat:1")
    if fat[: len(base)] != base:
        raise NotYetError("fat:1 does not stand on base:1", "fat:1 不是建立在 base:1 之上的")
    names = names_in_layers(bench.engine.raw("/images/fat:1/get"))
    holders = [number for number, found in enumerate(names, 1) if "usr/share/doc/manual" in found]
    if len(holders) < 2:
        raise NotYetError(
            f"/usr/share/doc/manual is in {len(holders)} layer of fat:1: a later layer has to bring its own",
            f"/usr/share/doc/manual 只在 fat:1 的 {len(holders)} 层里：后面要有一层带来自己的一份",
        )
    return Text(
        f"layers {' and '.join(map(str, holders))} have the manual; only the upper one is seen, and both are stored",
        f"第 {'、'.join(map(str, holders))} 层都有 manual；只有上面那份看得见，两份都被存储",
    )


TRACK = Track(2, None, _prepare, lambda home: run_solutions_of(2, home), {"2.1": _shared, "2.2": _hidden}, costly=True)
