"""When a step comes from the cache: the same table on the reference engine and on ours."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import docker
import pytest

from sim.images import Store
from tests.dockerd import ReferenceEngine
from tests.sim.build.worlds import Builds, File, Files, by_engine, context, folder, hard, link

pytestmark = pytest.mark.usefixtures("overlayfs")


@dataclass(frozen=True)
class Pair:
    """Two builds, one after the other, and how many steps of the second one are cached."""

    name: str
    first: str
    second: str
    cached: int
    files: Files = field(default_factory=dict)
    others: Files | None = None
    options: dict[str, Any] = field(default_factory=dict)
    other_options: dict[str, Any] = field(default_factory=dict)


_RUNS = "FROM busybox\nRUN echo a\nRUN echo b\n"
_TREE: Files = {"d": folder(), "d/a": "x", "d/l": link("a"), "d/h": hard("d/a")}

PAIRS = (
    Pair("the-same", _RUNS, _RUNS, 2),
    Pair("another-end", _RUNS, "FROM busybox\nRUN echo a\nRUN echo c\n", 1),
    Pair("another-beginning", _RUNS, "FROM busybox\nRUN echo c\nRUN echo b\n", 0),
    Pair("another-order", "FROM busybox\nENV a=1\nENV b=2\n", "FROM busybox\nENV b=2\nENV a=1\n", 0),
    Pair("no-cache", _RUNS, _RUNS, 0, other_options={"nocache": True}),
    Pair("blanks-in-between", "FROM busybox\nRUN  echo a\n", "FROM busybox\nRUN echo a\n", 1),
    Pair("blanks-within", "FROM busybox\nRUN echo  a\n", "FROM busybox\nRUN echo a\n", 0),
    Pair("json-like-shell", 'FROM busybox\nRUN ["/bin/sh", "-c", "echo a"]\n', "FROM busybox\nRUN echo a\n", 1),
    Pair("json-with-other-borders", 'FROM busybox\nRUN ["echo", "a b"]\n', 'FROM busybox\nRUN ["echo", "a", "b"]\n', 0),
    Pair("another-shell", 'FROM busybox\nSHELL ["/bin/sh", "-c"]\nENV a=b\n', "FROM busybox\nENV a=b\n", 0),
    Pair("an-expanded-value", "FROM busybox\nENV a=1\nENV b=$a\n", "FROM busybox\nENV a=1\nENV b=1\n", 2),
    Pair("a-comment", "FROM busybox\n# one\nRUN echo a\n", "FROM busybox\n# two\nRUN echo a\n", 1),
    Pair("copy-the-same", "FROM busybox\nCOPY f /\n", "FROM busybox\nCOPY f /\n", 1, {"f": "x"}),
    Pair("copy-other-data", "FROM busybox\nCOPY f /\n", "FROM busybox\nCOPY f /\n", 0, {"f": "x"}, {"f": "y"}),
    Pair("copy-other-time", "FROM busybox\nCOPY f /\n", "FROM busybox\nCOPY f /\n", 1, {"f": "x"}, {"f": File(b"x", mtime=1)}),
    Pair("copy-other-mode", "FROM busybox\nCOPY f /\n", "FROM busybox\nCOPY f /\n", 0, {"f": "x"}, {"f": File(b"x", 0o600)}),
    Pair("copy-other-name", "FROM busybox\nCOPY f /a\n", "FROM busybox\nCOPY g /a\n", 0, {"f": "x"}, {"g": "x"}),
    Pair("copy-other-target", "FROM busybox\nCOPY f /a\n", "FROM busybox\nCOPY f /b\n", 0, {"f": "x"}),
    Pair("copy-other-owner", "FROM busybox\nCOPY f /a\n", "FROM busybox\nCOPY --chown=1 f /a\n", 0, {"f": "x"}),
    Pair("copy-what-is-not-copied", "FROM busybox\nCOPY f /a\n", "FROM busybox\nCOPY f /a\n", 1, {"f": "x"}, {"f": "x", "g": "y"}),
    Pair("copy-directory", "FROM busybox\nCOPY d /x\n", "FROM busybox\nCOPY d /x\n", 1, _TREE),
    Pair("copy-directory-with-more", "FROM busybox\nCOPY d /x\n", "FROM busybox\nCOPY d /x\n", 0, _TREE, {**_TREE, "d/b": ""}),
    Pair("copy-add-differ", "FROM busybox\nCOPY f /\n", "FROM busybox\nADD f /\n", 0, {"f": "x"}),
    Pair("copy-all-with-another-dockerfile", "FROM busybox\nCOPY . /x\n", "FROM busybox\n\nCOPY . /x\n", 0, {"f": "x"}),
    Pair("argument-the-same", "FROM busybox\nARG a\nRUN echo $a\n", "FROM busybox\nARG a\nRUN echo $a\n", 2,
         options={"buildargs": {"a": "1"}}, other_options={"buildargs": {"a": "1"}}),
    Pair("argument-other-value", "FROM busybox\nARG a\nRUN echo $a\n", "FROM busybox\nARG a\nRUN echo $a\n", 1,
         options={"buildargs": {"a": "1"}}, other_options={"buildargs": {"a": "2"}}),
    Pair("argument-not-in-run", "FROM busybox\nARG a\nENV b=1\n", "FROM busybox\nARG a\nENV b=1\n", 2,
         options={"buildargs": {"a": "1"}}, other_options={"buildargs": {"a": "2"}}),
    Pair("argument-without-arg", "FROM busybox\nRUN echo $a\n", "FROM busybox\nRUN echo $a\n", 1,
         options={"buildargs": {"a": "1"}}, other_options={"buildargs": {"a": "2"}}),
    Pair("argument-hidden-by-env", "FROM busybox\nARG a\nENV a=x\nRUN echo $a\n", "FROM busybox\nARG a\nENV a=x\nRUN echo $a\n", 3,
         options={"buildargs": {"a": "1"}}, other_options={"buildargs": {"a": "2"}}),
    Pair("proxy", "FROM busybox\nRUN true\n", "FROM busybox\nRUN true\n", 1,
         options={"buildargs": {"HTTP_PROXY": "1"}}, other_options={"buildargs": {"HTTP_PROXY": "2"}}),
    Pair("proxy-or-none", "FROM busybox\nRUN true\n", "FROM busybox\nRUN true\n", 0,
         options={"buildargs": {"HTTP_PROXY": "1"}}),
    Pair("proxy-with-arg", "FROM busybox\nARG HTTP_PROXY\nRUN true\n", "FROM busybox\nARG HTTP_PROXY\nRUN true\n", 1,
         options={"buildargs": {"HTTP_PROXY": "1"}}, other_options={"buildargs": {"HTTP_PROXY": "2"}}),
    Pair("another-stage-hits-again", "FROM busybox\nRUN echo a\nFROM busybox\nRUN echo b\n",
         "FROM busybox\nRUN echo c\nFROM busybox\nRUN echo b\n", 1),
    Pair("copy-from-stage", "FROM busybox AS a\nRUN echo x >/f\nFROM busybox\nCOPY --from=a /f /\n",
         "FROM busybox AS a\nRUN echo x >/f\nFROM busybox\nCOPY --from=a /f /\n", 2),
    Pair("copy-from-stage-that-made-the-same", "FROM busybox AS a\nRUN echo x >/f\nFROM busybox\nCOPY --from=a /f /\n",
         "FROM busybox AS a\nRUN echo x >/f && true\nFROM busybox\nCOPY --from=a /f /\n", 1),
    Pair("scratch", "FROM scratch\nCOPY f /\nENV a=1\n", "FROM scratch\nCOPY f /\nENV a=1\n", 2, {"f": "x"}),
    Pair("workdir", "FROM busybox\nWORKDIR /x\nRUN pwd\n", "FROM busybox\nWORKDIR /x\nRUN pwd\n", 2),
    Pair("health", "FROM busybox\nHEALTHCHECK CMD x\n", "FROM busybox\nHEALTHCHECK --retries=2 CMD x\n", 0),
    Pair("label-of-the-request", "FROM busybox\nENV a=1\n", "FROM busybox\nENV a=1\n", 1, other_options={"labels": {"a": "b"}}),
    Pair("label-like-one-of-the-request", "FROM busybox\nLABEL a=b\n", "FROM busybox\n", 1, other_options={"labels": {"a": "b"}}),
    Pair("target", "FROM busybox AS a\nRUN echo a\nFROM busybox\n", "FROM busybox AS a\nRUN echo a\nFROM busybox\n", 1,
         other_options={"target": "a"}),
    Pair("limits", "FROM busybox\nRUN echo a\n", "FROM busybox\nRUN echo a\n", 1, other_options={"network": "none"}),
    Pair("onbuild", "FROM busybox AS a\nONBUILD RUN echo x\nFROM a\n", "FROM busybox AS a\nONBUILD RUN echo x\nFROM a\n", 2),
)  # fmt: skip


def cached(text: str) -> int:
    return text.count(" ---> Using cache\n")


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_ours(builds: Builds, pair: Pair) -> None:
    builds(pair.first, pair.files, **_ours(pair.options))
    builds(pair.second, pair.files if pair.others is None else pair.others, **_ours(pair.other_options))
    assert cached(builds.text) == pair.cached


def _ours(options: dict[str, Any]) -> dict[str, Any]:
    return dict(options)


@pytest.fixture(scope="module")
def reference(reference_engine: ReferenceEngine, request: pytest.FixtureRequest) -> Iterator[Mapping[str, Future[int]]]:
    with by_engine(reference_engine, request, "pair", by_reference) as results:
        yield results


def by_reference(client: docker.DockerClient, pair: Pair) -> int:
    """Return how often the cache served; a first line of their own keeps the pairs apart on one engine."""

    def told(dockerfile: str, files: Files, options: dict[str, Any]) -> str:
        given = {"network_mode" if name == "network" else name: value for name, value in options.items()}
        own = re.sub(r"(?m)^(FROM (?:busybox|scratch)(?: AS .)?)$", rf"\1\nLABEL only={pair.name}", dockerfile)
        data = io.BytesIO(context(own, files))
        answer = client.api.build(fileobj=data, custom_context=True, rm=True, **given)
        return "".join(json.loads(line).get("stream", "") for part in answer for line in part.splitlines())

    own_lines = len(re.findall(r"(?m)^FROM (busybox|scratch)", pair.second))
    told(pair.first, pair.files, pair.options)
    text = told(pair.second, pair.files if pair.others is None else pair.others, pair.other_options)
    if pair.other_options.get("target"):
        own_lines = 1
    if pair.other_options.get("nocache"):
        own_lines = 0
    return cached(text) - own_lines


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_the_table_is_the_reference_s(reference: Mapping[str, Future[int]], pair: Pair) -> None:
    assert reference[pair.name].result() == pair.cached


def test_the_newest_of_several_counts(builds: Builds) -> None:
    first = builds("FROM busybox\nRUN date +%N >/n\n")
    second = builds("FROM busybox\nRUN date +%N >/n\n", nocache=True)
    third = builds("FROM busybox\nRUN date +%N >/n\n")
    assert first.image != second.image
    assert third.image == second.image
    assert third.cached == 1


def test_a_removed_image_is_no_cache(builds: Builds, store: Store) -> None:
    from sim.images import remove

    builds("FROM busybox\nRUN echo a\nRUN echo b\n", tags=("x",))
    remove(store, "x")
    builds("FROM busybox\nRUN echo a\nRUN echo b\n")
    assert builds.steps() == ["done", "done", "done"]


def test_an_image_from_elsewhere_serves_only_when_it_is_named(builds: Builds, tmp_path: Any, base_tar: bytes) -> None:
    """As `--cache-from` is meant: a machine that built nothing, and an image that was pulled or loaded."""
    from sim.images import load, save

    text = "FROM busybox\nENV a=1\nRUN echo x >/x\nRUN echo y >/y\nCMD a\n"
    builds(text, tags=("app",))
    parts: list[bytes] = []
    save(builds.store, ["app", "busybox"], lambda data: parts.append(bytes(data)))
    with Store(tmp_path / "other") as other:
        load(other, parts)
        there = Builds(other)
        there(text)
        assert there.steps() == ["done"] * 5
    with Store(tmp_path / "third") as other:
        load(other, parts)
        there = Builds(other)
        result = there(text, cachefrom=("app", "nothing-of-this-name"))
        assert there.steps() == ["done", "cached", "cached", "cached", "cached"]
        assert result.image == other.image("app").id
        there(text.replace("echo y", "echo z"), cachefrom=("app",))
        assert there.steps() == ["done", "cached", "cached", "done", "done"]


def test_named_sources_shut_out_what_was_built_here_on_something_else(builds: Builds) -> None:
    builds("FROM busybox\nRUN echo a\n", tags=("a",))
    builds("FROM busybox\nRUN echo b\n", tags=("b",))
    builds("FROM busybox\nRUN echo b\n", cachefrom=("a",))
    assert builds.steps() == ["done", "done"]
    builds("FROM busybox\nRUN echo a\n", cachefrom=("a",))
    assert builds.steps() == ["done", "cached"]
