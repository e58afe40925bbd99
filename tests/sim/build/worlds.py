"""Contexts, images and builds for tests; and what a build made, as values that can be compared between engines."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import docker
import pytest

from sim.build import BuildError, BuildMessage, BuildOptions, BuildResult, LocalRunner, MessageKind, build
from sim.images import Image, Store
from sim.images.documents import nanoseconds
from sim.images.pack import walk
from tests.dockerd import ReferenceEngine

#: The time of all files in a context, in seconds.
THEN = 1_600_000_000


@dataclass(frozen=True)
class File:
    """A file of a context; `kind` is a type of `tarfile`."""

    data: bytes = b""
    mode: int = 0o644
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    uid: int = 0
    gid: int = 0
    mtime: float = THEN
    pax: Mapping[str, str] = field(default_factory=dict)


def link(target: str) -> File:
    return File(kind=tarfile.SYMTYPE, link=target, mode=0o777)


def hard(target: str) -> File:
    return File(kind=tarfile.LNKTYPE, link=target)


def folder(mode: int = 0o755) -> File:
    return File(kind=tarfile.DIRTYPE, mode=mode)


Files = Mapping[str, "File | bytes | str"]


def tar(files: Files) -> bytes:
    """Return a tar with these files, in their order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, given in files.items():
            file = given if isinstance(given, File) else File(given.encode() if isinstance(given, str) else given)
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.size, member.linkname = file.kind, file.mode, len(file.data), file.link
            member.uid, member.gid, member.mtime = file.uid, file.gid, file.mtime
            member.pax_headers = dict(file.pax)
            made.addfile(member, io.BytesIO(file.data))
    return out.getvalue()


def context(dockerfile: str | None, files: Files | None = None) -> bytes:
    """Return a build's context as a tar."""
    first: Files = {} if dockerfile is None else {"Dockerfile": dockerfile}
    return tar({**first, **(files or {})})


@dataclass(frozen=True)
class Case:
    """A build that is run by two engines."""

    name: str
    dockerfile: str
    files: Files = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One entry of a layer, as far as two engines must agree."""

    kind: str
    mode: int
    owner: tuple[int, int]
    content: str
    time: int


@dataclass(frozen=True)
class Made:
    """What a build told and made; IDs of images and containers are left away."""

    lines: tuple[str, ...]
    error: str = ""
    code: int | None = None
    history: tuple[tuple[str, str, bool], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    layers: tuple[Mapping[str, Entry], ...] = ()


_ID = re.compile(r"\b[0-9a-f]{12}\b|sha256:[0-9a-f]{64}")


def normal(text: str) -> str:
    """Return a text without IDs."""
    return _ID.sub("ID", text)


_Value = TypeVar("_Value")


@contextlib.contextmanager
def by_engine(
    engine: ReferenceEngine,
    request: pytest.FixtureRequest,
    parameter: str,
    make: Callable[[docker.DockerClient, Any], _Value],
) -> Iterator[Mapping[str, Future[_Value]]]:
    """Have the reference engine do what the selected tests of a module compare with: all at once, it waits a lot.

    Parameters
    ----------
    parameter
        The tests' parameter, which has a `name`.
    make
        Called with a client and the parameter's value.
    """
    engine.busybox()
    client = docker.DockerClient(base_url=engine.address, version="auto", timeout=120, max_pool_size=8)
    wanted: list[Any] = [
        item.callspec.params[parameter]
        for item in request.session.items
        if isinstance(item, pytest.Function) and request.fixturename in item.fixturenames and item.path == request.path
    ]
    with contextlib.closing(client), ThreadPoolExecutor(6) as pool:
        yield {value.name: pool.submit(make, client, value) for value in wanted}


class Builds:
    """Builds with a store of their own, and what they tell."""

    def __init__(self, store: Store, driver: str = "overlayfs") -> None:
        self.store = store
        self.runner = LocalRunner(store, driver=driver, cgroup="")
        self.messages: list[BuildMessage] = []

    def __call__(
        self, dockerfile: str | None, files: Files | None = None, *, driver: str = "", **options: Any
    ) -> BuildResult:
        """Build; messages are in `messages` then."""
        return self.tar(context(dockerfile, files), driver=driver, **options)

    def tar(self, data: bytes, *, driver: str = "", **options: Any) -> BuildResult:
        self.messages = []
        runner = LocalRunner(self.store, driver=driver, cgroup="") if driver else self.runner
        return build(self.store, io.BytesIO(data), BuildOptions(**options), runner=runner, output=self.messages.append)

    @property
    def text(self) -> str:
        """All that was printed."""
        return "".join(message.text for message in self.messages if message.kind is MessageKind.STREAM)

    def steps(self) -> list[str]:
        """Return for each step of the last build what became of it: "cached" or "done"."""
        parts = re.split(r"(?m)^Step \d+/\d+ : ", self.text)[1:]
        return ["cached" if " ---> Using cache\n" in part else "done" for part in parts]


def failure(builds: Builds, dockerfile: str, files: Files | None = None, **options: Any) -> BuildError:
    """Return how a build fails."""
    try:
        builds(dockerfile, files, **options)
    except BuildError as error:
        return error
    raise AssertionError("the build did not fail")


def layer_of(path: Path) -> dict[str, Entry]:
    """Return what is in a layer's directory; times of the present are 0."""
    found = {}
    for entry, descriptor in walk(path):
        digest = ""
        if descriptor >= 0:
            with open(os.dup(descriptor), "rb") as file:
                digest = hashlib.sha256(file.read()).hexdigest()[:12]
        content = digest or entry.target.decode()
        time = entry.modified if abs(entry.modified // 10**9 - THEN) < 1000 else 0
        found[entry.path.decode()] = Entry(
            str(entry.kind), stat.S_IMODE(entry.mode), (entry.uid, entry.gid), content, time
        )
    return found


def made(store: Store, image: Image, lines: tuple[str, ...]) -> Made:
    """Return what a build made, from a store."""
    settings = {name: value for name, value in image.settings.items() if value not in (None, "", [], {}, False)}
    settings.pop("Image", None)
    return Made(
        lines,
        history=tuple((step.created_by, step.author, step.empty_layer) for step in image.history),
        settings=settings,
        layers=tuple(layer_of(layer.path) for layer in image.layers),
    )


def without_base(found: Made) -> Made:
    """Leave the base image's history and layer away, which are the same by themselves."""
    return replace(found, history=found.history[1:], layers=found.layers[1:])


def blocks(text: str) -> Iterator[str]:
    """Yield what was printed, in the parts between steps: what a RUN wrote may come in other pieces."""
    yield from re.split(r"(?m)^(?=Step )", text)


def is_recent(time: str) -> bool:
    return nanoseconds(time) > THEN * 10**9 + 10**12
