"""The context of a build: a directory, a tar, or something to be fetched; and the Dockerfile in it.

Decided here and only here: how each kind becomes a `Source`, where the Dockerfile is looked for, and what
`.dockerignore` leaves out: of a directory all that it says, of a tar (which a client has filtered already) the
Dockerfile and `.dockerignore` themselves, as moby does it. Functions; a context belongs to one build.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from sim.build.download import fetched
from sim.build.errors import BuildError, DockerfileError
from sim.build.ignore import IgnoreList
from sim.build.paths import join, resolve
from sim.build.source import Source
from sim.build.tartree import TarTree
from sim.build.tree import PlainTree, Tree, read_file
from sim.build.untar import extract, first_member
from sim.build.values import BuildOptions, Output
from sim.images.compression import LARGEST_LAYER, decompress
from sim.images.errors import ContentError

__all__ = ["Context", "opened"]

#: Most bytes that a context may unpack to.
LARGEST_CONTEXT = LARGEST_LAYER

_CHUNK = 1 << 18
_IGNORE = ".dockerignore"
_NOT_FOUND = "file not found in build context or excluded by .dockerignore: "


@dataclass(frozen=True, slots=True)
class Context:
    """A context and the text of its Dockerfile; `source` is None where there is a Dockerfile alone."""

    source: Source | None
    dockerfile: str
    name: str


@contextlib.contextmanager
def opened(
    given: Path | BinaryIO | Iterable[bytes] | None,
    options: BuildOptions,
    place: Path,
    output: Output,
    check: Callable[[], object],
) -> Iterator[Context]:
    """Open a context.

    Parameters
    ----------
    given
        A directory, or a tar as a stream or in chunks; None where the options name a remote one.
    place
        A directory to unpack in.

    Raises
    ------
    BuildError
        It cannot be read, or has no Dockerfile.
    """
    with contextlib.ExitStack() as stack:
        if options.remote:
            remote = _remote(options, place, output, check)
            if isinstance(remote, str):
                yield Context(_empty(place, stack), remote, "Dockerfile")
                return
            given = remote
        if given is None:
            raise DockerfileError("the build has no context")
        source = _directory(given, stack) if isinstance(given, Path) else _unpacked(_chunks(given), place, check, stack)
        name = options.dockerfile or "Dockerfile"
        text, name = _dockerfile(source, name)
        if not isinstance(given, Path):
            _leave_out(source, name)
        yield Context(source, text, name)


def _chunks(given: BinaryIO | Iterable[bytes]) -> Iterator[bytes]:
    read = getattr(given, "read", None)
    if read is None:
        yield from given
        return
    while chunk := read(_CHUNK):
        yield chunk


def _directory(path: Path, stack: contextlib.ExitStack) -> Source:
    if not path.is_dir():
        raise DockerfileError(f"unable to prepare context: path {path} not found")
    tree = stack.enter_context(PlainTree(path))
    return Source(tree, ignored=_ignored(tree), missing=_NOT_FOUND)


def _unpacked(chunks: Iterable[bytes], place: Path, check: Callable[[], object], stack: contextlib.ExitStack) -> Source:
    sums: dict[str, str] = {}
    tree = stack.enter_context(TarTree(place))
    try:
        plain = tree.spooled(decompress(chunks, limit=LARGEST_CONTEXT))
        extract(tree, "/", plain, owners=False, devices=False, hashes=sums, check=check)
    except ContentError as error:
        raise BuildError(f"Error processing tar file(exit status 1): {error}") from None
    return Source(tree, sums=sums, missing=_NOT_FOUND)


def _empty(place: Path, stack: contextlib.ExitStack) -> Source:
    upper = place / "context"
    upper.mkdir(mode=0o755)
    return Source(stack.enter_context(PlainTree(upper)), sums={}, missing=_NOT_FOUND)


def _ignored(tree: Tree) -> IgnoreList | None:
    try:
        return IgnoreList(read_file(tree, "/" + _IGNORE).decode(errors="replace").splitlines())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BuildError(f"{_IGNORE}: {error.strerror}") from None


def _dockerfile(source: Source, name: str) -> tuple[str, str]:
    """Return the text of the Dockerfile and its name; `dockerfile` is taken where `Dockerfile` is not there."""
    names = [name, name.lower()] if name == "Dockerfile" else [name]
    for each in names:
        try:
            data = read_file(source.tree, resolve(source.tree, each))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise BuildError(f"failed to read {each}: {(error.strerror or '').lower()}") from None
        return data.decode(errors="replace"), each
    raise BuildError(f"Cannot locate specified Dockerfile: {name}")


def _leave_out(source: Source, dockerfile: str) -> None:
    ignored = _ignored(source.tree)
    if ignored is None:
        return
    for name in (_IGNORE, dockerfile):
        if ignored.excludes(name.strip("/")):
            source.leave_out(name)


# -- remote


def _remote(
    options: BuildOptions, place: Path, output: Output, check: Callable[[], object]
) -> Path | Iterable[bytes] | str:
    """Fetch a remote context: a git repository is a directory, a tar its chunks, a Dockerfile its text."""
    url = options.remote
    if _is_git(url):
        return _git(url, place)
    if not url.startswith(("http://", "https://")):
        raise DockerfileError(f"unable to prepare context: remote {url!r} is neither a URL nor a git repository")
    saved = place / "remote"
    with open(saved, "wb") as file:
        for _, part in fetched(url, output, check):
            file.write(part)

    def content() -> Iterator[bytes]:
        with open(saved, "rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    try:
        archive = first_member(decompress(content())) is not None
    except ContentError:
        archive = False
    if archive:
        return content()
    return saved.read_bytes()[: 16 << 20].decode(errors="replace")


def _is_git(url: str) -> bool:
    bare = url.partition("#")[0]
    if bare.startswith(("git://", "git@", "github.com/", "ssh://")):
        return True
    return bare.startswith(("http://", "https://")) and bare.endswith(".git")


def _git(url: str, place: Path) -> Path:
    program = shutil.which("git")
    if program is None:
        raise BuildError("unable to find 'git': exec: \"git\": executable file not found in $PATH")
    address, _, rest = url.partition("#")
    reference, _, below = rest.partition(":")
    if address.startswith("github.com/"):
        address = f"https://{address}"
    if reference.startswith("-") or address.startswith("-"):
        raise DockerfileError(f"invalid git reference in {url!r}")
    home = place / "git"
    home.mkdir()
    settings = {"GIT_TERMINAL_PROMPT": "0", "GIT_ALLOW_PROTOCOL": "git:http:https:ssh:file", "HOME": str(home)}
    checkout = home / "checkout"

    def git(*words: str, may_fail: bool = False) -> bool:
        done = subprocess.run(
            [program, *words],
            cwd=home,
            env={"PATH": os.environ.get("PATH", os.defpath), **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode and not may_fail:
            raise BuildError(f"error fetching: {done.stderr.strip() or 'git failed'}")

        return not done.returncode

    git("init", "--quiet", str(checkout))
    fetch = ("-C", str(checkout), "fetch", "--quiet")
    if not git(*fetch, "--depth", "1", "--", address, reference or "HEAD", may_fail=True):
        git(*fetch, "--tags", "--", address, reference or "HEAD")  # a server that knows no part of a history
    git("-C", str(checkout), "checkout", "--quiet", "FETCH_HEAD")
    shutil.rmtree(checkout / ".git")
    # Whatever links the repository has: the directory is looked up within the checkout.
    with PlainTree(checkout) as tree:
        inside = resolve(tree, join(below))
    chosen = checkout / inside.lstrip("/")
    if not chosen.is_dir():
        raise BuildError(f"Error setting git context, path {below} is not a directory")
    return chosen
