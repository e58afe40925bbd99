"""Lesson 8, build and cache: one instruction, one layer; what a later layer cannot take away.

Decided here: what its exercises want, and which mistakes they know. One thread.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sim.course.bench import Bench
from sim.course.errors import NotYetError
from sim.course.exercises import Track
from sim.course.exercises.engines import layers_of, names_in_layers, run_solutions_of
from sim.course.texts import Text

__all__ = ["TRACK"]

_SHOP = """FROM base:1
COPY . /srv
RUN echo "installing, which takes long" && head -c 500000 /dev/zero > /usr/share/library
"""
_LEAKY = """FROM base:1
COPY token /srv/token
RUN cat /srv/token > /srv/config
"""


def _prepare(home: Path) -> tuple[str, ...]:
    for name, files in {
        "shop": {"Dockerfile": _SHOP, "shop.py": "print('open')\n"},
        "leaky": {"Dockerfile": _LEAKY, "token": "s3cr3t\n"},
    }.items():
        (home / name).mkdir(exist_ok=True)
        for file, text in files.items():
            (home / name / file).write_text(text)
    return ()


def _image(bench: Bench, name: str) -> dict[str, Any]:
    found = bench.engine.image(name)
    if found is None:
        raise NotYetError(
            f"there is no image {name} yet; build it with `-t {name}`", f"还没有镜像 {name}；请用 `-t {name}` 构建"
        )
    assert isinstance(found, dict)
    return found


def _cached(bench: Bench) -> Text:
    """8.1: a change of the program does not install anew."""
    first, second = layers_of(_image(bench, "shop:1")), layers_of(_image(bench, "shop:2"))
    if first == second:
        raise NotYetError(
            "shop:1 and shop:2 are the same image: change shop.py between the two builds",
            "shop:1 和 shop:2 是同一个镜像：请在两次构建之间修改 shop.py",
        )
    shared = next(
        (n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    library = next(
        (
            n
            for n, names in enumerate(names_in_layers(bench.engine.raw("/images/shop:2/get")))
            if "usr/share/library" in names
        ),
        None,
    )
    if library is None:
        raise NotYetError(
            "shop:2 has no /usr/share/library: nothing was installed",
            "shop:2 里没有 /usr/share/library：什么都没有安装",
        )
    if library >= shared:
        raise NotYetError(
            f"the two share {shared} layers, and the installed library is in layer {library + 1}: it was installed anew, since "
            "what is copied before it has changed. What changes seldom goes first",
            f"两个镜像共享 {shared} 层，而安装的库在第 {library + 1} 层：它被重新安装了，因为在它之前复制的内容变了。很少变化的要放在前面",
        )
    return Text(
        f"shop:1 and shop:2 share {shared} of {len(second)} layers, the installed library among them",
        f"shop:1 和 shop:2 的 {len(second)} 层中共享 {shared} 层，其中包括安装的库",
    )


def _leaked(bench: Bench) -> Text:
    """8.2, break it: a secret that was deleted in a later layer."""
    _image(bench, "leaky:1")
    names = names_in_layers(bench.engine.raw("/images/leaky:1/get"))
    holders = [number for number, found in enumerate(names, 1) if "srv/token" in found]
    marks = [number for number, found in enumerate(names, 1) if "srv/.wh.token" in found]
    if not holders:
        raise NotYetError(
            "no layer of leaky:1 has /srv/token: build it with the COPY that is in the Dockerfile",
            "leaky:1 没有任何一层含有 /srv/token：请保留 Dockerfile 里的 COPY 来构建",
        )
    if not marks:
        raise NotYetError(
            "the token can still be seen in leaky:1: add an instruction that deletes it",
            "leaky:1 里仍然看得到 token：请加一条删除它的指令",
        )
    return Text(
        f"layer {marks[-1]} hides the token, layer {holders[0]} has it: whoever has the image has the secret",
        f"第 {marks[-1]} 层隐藏了 token，第 {holders[0]} 层仍含有它：谁有镜像，谁就有秘密",
    )


def _tight(bench: Bench) -> Text:
    """8.3: the same without the secret in any layer."""
    _image(bench, "tight:1")
    names = names_in_layers(bench.engine.raw("/images/tight:1/get"))
    for number, found in enumerate(names, 1):
        if any(name.rpartition("/")[2] in ("token", ".wh.token") for name in found):
            raise NotYetError(
                f"layer {number} of tight:1 knows of a token: it must not be copied into any layer of this image, not even for a moment",
                f"tight:1 的第 {number} 层里有 token 的痕迹：它不可以被复制到这个镜像的任何一层，哪怕一会儿也不行",
            )
    if not any("srv/config" in found for found in names):
        raise NotYetError(
            "tight:1 has no /srv/config: copy it from the first stage",
            "tight:1 里没有 /srv/config：请从第一个阶段复制过来",
        )
    return Text("tight:1 has the config and no layer with the token", "tight:1 有 config，而没有任何一层含有 token")


TRACK = Track(
    8, 7, _prepare, lambda home: run_solutions_of(8, home), {"8.1": _cached, "8.2": _leaked, "8.3": _tight}, costly=True
)
