"""Lesson 9, tags, dangling images and removal.

Decided here: what its exercises want, and which mistakes they know. One thread.
"""

from __future__ import annotations

from pathlib import Path

from sim.course.bench import Bench
from sim.course.errors import NotYetError
from sim.course.exercises import Track
from sim.course.exercises.engines import run_solutions_of
from sim.course.texts import Text

__all__ = ["TRACK"]


def _prepare(home: Path) -> tuple[str, ...]:
    (home / "news").mkdir(exist_ok=True)
    (home / "news/Dockerfile").write_text("FROM base:1\nCOPY news /news\n")
    (home / "news/news").write_text("yesterday\n")
    return ()


def _untagged(bench: Bench) -> Text:
    """9.1: an image loses a name and stays."""
    stable = bench.engine.image("shop:stable")
    if stable is None:
        raise NotYetError(
            "there is no shop:stable: give shop:2 this second name before you take the first away",
            "没有 shop:stable：在拿走第一个名字之前，请先给 shop:2 起这第二个名字",
        )
    tags = stable.get("RepoTags") or []
    if "shop:2" in tags:
        raise NotYetError("it has both names still; remove shop:2", "它还有两个名字；请删除 shop:2")
    if bench.engine.image("shop:2") is not None:
        raise NotYetError("shop:2 is another image than shop:stable", "shop:2 和 shop:stable 不是同一个镜像")
    return Text(
        f"Untagged, not Deleted: the image {stable['Id'][7:19]} is there under {', '.join(tags)}",
        f"是 Untagged，不是 Deleted：镜像 {stable['Id'][7:19]} 仍在，名字是 {'、'.join(tags)}",
    )


def _dangling(bench: Bench) -> Text:
    """9.2: a name moves on, and leaves an image without one."""
    if bench.engine.image("news:latest") is None:
        raise NotYetError("there is no news:latest yet: build it", "还没有 news:latest：请构建它")
    found = bench.engine.get('/images/json?filters={"dangling":["true"]}') or []
    if not found:
        raise NotYetError(
            "no image is dangling: change the file news and build again under the same name (and do not prune)",
            "没有悬空镜像：请修改文件 news，用同一个名字再构建一次（不要 prune）",
        )
    return Text(
        f"the name went to the new image; {len(found)} without a name is left, {found[0]['Id'][7:19]}",
        f"名字归了新镜像；留下 {len(found)} 个没有名字的镜像：{found[0]['Id'][7:19]}",
    )


def _in_use(bench: Bench) -> Text:
    """9.3: an image that a container needs stays; without the container it goes."""
    everything = bench.engine.get("/containers/json?all=1") or []
    if any("/keeper" in one["Names"] for one in everything):
        raise NotYetError(
            "the container keeper is there, and so the image is in use: remove the container, then the image",
            "容器 keeper 还在，所以镜像在使用中：先删除容器，再删除镜像",
        )
    if bench.engine.image("motd:1") is not None:
        raise NotYetError("motd:1 is still there; nothing uses it any more", "motd:1 还在；已经没有容器使用它了")
    if bench.engine.image("base:1") is None:
        raise NotYetError("base:1 went too; it should stay", "base:1 也被删了；它应当留下")
    return Text(
        "motd:1 is gone with the layer that was its own; base:1 keeps the layer that they shared",
        "motd:1 连同它独有的层一起消失；base:1 保留着两者共享的那一层",
    )


TRACK = Track(
    9,
    8,
    _prepare,
    lambda home: run_solutions_of(9, home),
    {"9.1": _untagged, "9.2": _dangling, "9.3": _in_use},
    costly=True,
)
