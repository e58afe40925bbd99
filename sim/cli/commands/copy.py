"""`layerlab cp`: files between a container and this machine.

Decided here and only here: what a destination means, as `cp -a` has it: in a directory that is there under the source's
name, else under the destination's own; with `/.` behind the source what is in it. What comes out of a container is
unpacked in `sim.cli.untar`.
"""

from __future__ import annotations

import base64
import json
import os
import posixpath
import stat
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from sim.cli.commands.archives import pieces
from sim.cli.context import tar_pieces
from sim.cli.failure import Failure
from sim.cli.flags import Call, docker, switch
from sim.cli.show.human import size
from sim.cli.terminal import write

__all__ = ["cp"]

#: Go's bits in a file's mode.
_GO_DIR, _GO_LINK = 1 << 31, 1 << 27


def split(word: str) -> tuple[str, str]:
    """Return a container's name and a path; no name for a path of this machine.

    >>> split("web:/etc"), split("/a:b"), split("./a:b"), split("a")
    (('web', '/etc'), ('', '/a:b'), ('', './a:b'), ('', 'a'))
    """
    if word.startswith(("/", ".")) or ":" not in word:
        return "", word
    name, _, path = word.partition(":")
    return name, path


@docker(
    ("[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-", "[OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH"),
    "Copy files/folders between a container and the local filesystem",
    switch("-a, --archive", "Keep owners"),
    switch("-L, --follow-link", "Copy what a symbolic link leads to, not the link"),
    switch("-q, --quiet", "Do not say what was copied"),
    text="With - for a path the files go to standard output or come from standard input, as a tar archive.",
    least=2,
    most=2,
    aliases=("container cp", "cp"),
    examples=("layerlab cp web:/etc/nginx .", "layerlab cp index.html web:/srv/", "layerlab cp web:/srv - | tar t"),
    completes="container",
)
def cp(call: Call) -> None:
    """Copy files."""
    source, target = call.arguments
    if not source:
        raise Failure("source can not be empty")
    if not target:
        raise Failure("destination can not be empty")
    (container, path), (other, place) = split(source), split(target)
    if container and other:
        raise Failure("copying between containers is not supported")
    if container:
        count = _from_container(call, container, path, place)
    elif other:
        count = _to_container(call, path, other, place)
    else:
        raise Failure("must specify at least one container source")
    if count is not None and not call.on("quiet") and os.isatty(1):
        shown = os.path.abspath(place) if container else target
        print(f"Successfully copied {size(count, 3)} to {shown}", file=sys.stderr)


def _stat(header: str) -> dict[str, Any]:
    try:
        found = json.loads(base64.b64decode(header))
    except ValueError as error:
        raise Failure(
            f"unable to get resource stat from response: unable to decode container path stat header: {error}"
        ) from None
    assert isinstance(found, dict)
    return found


def _inner(path: str) -> str:
    """Return a path of a container from its root, with the end that says what is meant."""
    whole = posixpath.normpath(f"/{path}")
    whole = "/" + whole.lstrip("/")
    if path.endswith("/."):
        return f"{whole.rstrip('/')}/."
    return f"{whole.rstrip('/')}/" if path.endswith("/") else whole


def _link_target(path: str, found: dict[str, Any]) -> str:
    target = str(found.get("linkTarget") or "")
    return target if target.startswith("/") else posixpath.join(posixpath.dirname(path.rstrip("/")), target)


def _counted(chunks: Iterable[bytes], counts: list[int]) -> Iterator[bytes]:
    for chunk in chunks:
        counts[0] += len(chunk)
        yield chunk


def _from_container(call: Call, container: str, path: str, place: str) -> int | None:
    from sim.cli.untar import unpack

    engine = call.engine
    if place != "-":
        folder = os.path.dirname(os.path.abspath(place))
        if not os.path.isdir(folder):
            raise Failure(f'invalid output path: directory "{folder}" does not exist')
    source = _inner(path)
    url = f"/containers/{container}/archive"
    if call.on("follow-link"):
        found = _stat({key.lower(): value for key, value in engine.head(url, path=source).items()}[_HEADER])
        if found["mode"] & _GO_LINK:
            source = _link_target(source, found)
    with engine.stream("GET", url, path=source) as stream:
        if place == "-":
            for data in stream.chunks():
                write(1, data)
            return None
        found = _stat(stream.header(_HEADER))
        name = posixpath.basename(path.rstrip("/")) if call.on("follow-link") else str(found["name"])
        root = local_root(place, name or str(found["name"]), bool(found["mode"] & _GO_DIR), path.endswith("/."))
        counts = [0]
        unpack(_counted(stream.chunks(), counts), root, owners=call.on("archive"))
        return counts[0]


_HEADER = "x-docker-container-path-stat"


def local_root(place: str, name: str, directory: bool, contents: bool) -> str:
    """Return where the source's root comes to lie on this machine.

    Raises
    ------
    Failure
        It cannot lie there.
    """
    target = os.path.abspath(os.path.realpath(place))
    if os.path.isdir(target):
        return target if contents and directory else os.path.join(target, name.strip("/"))
    if os.path.lexists(target):
        if directory:
            raise Failure("cannot copy directory")
        if place.endswith(("/", "/.")):
            raise Failure("not a directory")
        return target
    if not directory and place.endswith(("/", "/.")):
        raise Failure("no such directory")
    return target


def _to_container(call: Call, path: str, container: str, place: str) -> int:
    engine, url = call.engine, f"/containers/{container}/archive"
    target = _inner(place)
    there: dict[str, Any] | None = None
    try:
        there = _stat({key.lower(): value for key, value in engine.head(url, path=target).items()}[_HEADER])
        if there["mode"] & _GO_LINK:
            target = _link_target(target, there)
            there = _stat({key.lower(): value for key, value in engine.head(url, path=target).items()}[_HEADER])
    except (Failure, KeyError):
        pass  # it is not there; the directory that it comes to lie in may be
    is_dir = there is not None and bool(there["mode"] & _GO_DIR)
    counts = [0]
    if path == "-":
        if not is_dir:
            raise Failure(f'destination "{container}:{place}" must be a directory')
        body: Iterable[bytes] = pieces(sys.stdin.buffer)
        folder = target
    else:
        folder, name = _destination(target, there is not None, is_dir, path, _is_dir(path, call.on("follow-link")))
        body = _packed(path, name, call.on("follow-link"))
    with engine.stream(
        "PUT",
        url,
        _counted(body, counts),
        {"Content-Type": "application/x-tar"},
        path=folder,
        noOverwriteDirNonDir="true",
        copyUIDGID="true" if call.on("archive") else None,
    ):
        return counts[0]


def _is_dir(path: str, follow: bool) -> bool:
    whole = os.path.abspath(path)
    try:
        found = os.stat(whole) if follow or path.endswith(("/", "/.")) else os.lstat(whole)
    except OSError as error:
        raise Failure(f"lstat {whole}: {(error.strerror or '').lower()}") from None
    if path.endswith(("/", "/.")) and not stat.S_ISDIR(found.st_mode):
        raise Failure("not a directory")
    return stat.S_ISDIR(found.st_mode)


def _destination(target: str, exists: bool, is_dir: bool, path: str, directory: bool) -> tuple[str, str]:
    """Return the directory that the archive is unpacked in, and the name of the source's root in it."""
    plain = target.removesuffix("/.").rstrip("/") or "/"
    if exists and is_dir:
        name = "." if path.endswith("/.") or path == "." else os.path.basename(os.path.abspath(path))
        return target, name or "."
    if directory:
        if exists:
            raise Failure("cannot copy directory")
    elif not exists and target.endswith(("/", "/.")):
        raise Failure("no such directory")
    return posixpath.dirname(plain), posixpath.basename(plain)


def _packed(path: str, name: str, follow: bool) -> Iterator[bytes]:
    """Yield the source as a tar archive, its root under another name."""
    top = os.path.realpath(path) if follow or path.endswith(("/", "/.")) else os.path.abspath(path)
    folder, base = os.path.split(top)

    def walk(place: str) -> Iterator[str]:
        yield place
        full = os.path.join(folder, place)
        if os.path.isdir(full) and not os.path.islink(full):
            for entry in sorted(os.listdir(full)):
                yield from walk(os.path.join(place, entry))

    paths = list(walk(base)) if base else list(walk(""))
    names = {inner: name + inner[len(base) :] for inner in paths}
    return tar_pieces(paths, {}, folder, names)
