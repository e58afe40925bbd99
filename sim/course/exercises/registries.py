"""Lesson 10, registry, mirrors and sizes.

Decided here: what its exercises want, which mistakes they know, and the registry that the lesson uses: Debian's
docker-registry on loopback, with its files in the lesson's directory. One thread.
"""

from __future__ import annotations

import json
from pathlib import Path

from sim.course.bench import Bench
from sim.course.errors import NotYetError
from sim.course.exercises import Track
from sim.course.exercises.engines import run_solutions_of
from sim.course.texts import Text

__all__ = ["PORT", "TRACK"]

PORT = 5077

_SETTINGS = """version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {place}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def _prepare(home: Path) -> tuple[str, ...]:
    (home / "registry.yml").write_text(_SETTINGS.format(place=(home / "registry").resolve(), port=PORT))
    return ()


def _repository(bench: Bench, name: str) -> Path:
    return bench.home / "registry/docker/registry/v2/repositories" / name


def _tags(bench: Bench, name: str) -> list[str]:
    place = _repository(bench, name) / "_manifests/tags"
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def _layers(bench: Bench, name: str) -> set[str]:
    place = _repository(bench, name) / "_layers/sha256"
    return {path.name for path in place.iterdir()} if place.is_dir() else set()


def _pushed(bench: Bench) -> Text:
    """10.1: two images of one base in a registry."""
    for name, tag in (("shop", "1"), ("news", "1")):
        tags = _tags(bench, name)
        if tag not in tags:
            raise NotYetError(
                f"the registry has {name} with the tags: {', '.join(tags) or 'none'}; push localhost:{PORT}/{name}:{tag}",
                f"registry 里 {name} 的标签有：{'、'.join(tags) or '无'}；请推送 localhost:{PORT}/{name}:{tag}",
            )
    shop, news = _layers(bench, "shop"), _layers(bench, "news")
    blobs = bench.home / "registry/docker/registry/v2/blobs/sha256"
    stored = {path.name for path in blobs.glob("*/*")}
    shared = shop & news & stored
    if not shared:
        raise NotYetError(
            "the two images share no layer in the registry: are both built on base:1?",
            "两个镜像在 registry 里没有共享任何层：它们都是在 base:1 之上构建的吗？",
        )
    return Text(
        f"shop and news name {len(shop) + len(news)} blobs, and {len(shop | news)} are stored: {len(shared)} of them for both",
        f"shop 和 news 共引用 {len(shop) + len(news)} 个 blob，实际存储 {len(shop | news)} 个：其中 {len(shared)} 个是共用的",
    )


def _by_digest(bench: Bench) -> Text:
    """10.2: an image by what it is, not by what it is called."""
    images = bench.engine.get("/images/json?all=0") or []
    repository = f"localhost:{PORT}/shop"
    mine = [one for one in images if any(d.startswith(f"{repository}@") for d in one.get("RepoDigests") or [])]
    if not mine:
        raise NotYetError(
            f"no image of the engine has a digest of {repository}: pull it as {repository}@sha256:...",
            f"引擎里没有带 {repository} 摘要的镜像：请用 {repository}@sha256:... 拉取",
        )
    tagged = [tag for one in mine for tag in one.get("RepoTags") or [] if tag.startswith(f"{repository}:")]
    if tagged:
        raise NotYetError(
            f"it is there under the tag {tagged[0]} too: remove that name, then pull by the digest alone",
            f"它还带着标签 {tagged[0]}：请先删除这个名字，再只用摘要拉取",
        )
    digest = next(d for d in mine[0]["RepoDigests"] if d.startswith(f"{repository}@"))
    wanted = digest.partition("@")[2]
    links = _repository(bench, "shop") / "_manifests/revisions/sha256" / wanted.partition(":")[2]
    if not links.is_dir():
        raise NotYetError(
            f"the registry knows of no {json.dumps(wanted)} in shop", f"registry 的 shop 里没有 {json.dumps(wanted)}"
        )
    return Text(
        f"pulled as {wanted[:19]}…: this name cannot come to mean another image",
        f"以 {wanted[:19]}… 拉取：这个名字不可能指向别的镜像",
    )


TRACK = Track(
    10, 9, _prepare, lambda home: run_solutions_of(10, home), {"10.1": _pushed, "10.2": _by_digest}, costly=True
)
