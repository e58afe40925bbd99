"""Workloads: whole jobs, as people run them.

Decided here and only here: the programs, and the trees that they work on: `entries` files spread over the layers, or a
Debian root filesystem. Programs get a fixed environment, so that no setting of the user's changes the work. Functions
only; one thread.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

from sim.bench.errors import BenchError
from sim.bench.registry import Run, Spot, Step, Workload, nothing, workload
from sim.bench.session import Session
from sim.bench.trees import source_tree

__all__ = ["debian_tree", "program"]

_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"

#: No setting of the user's, no terminal, no network.
_ENVIRONMENT = {
    "PATH": _PATH,
    "HOME": "/nonexistent",
    "LC_ALL": "C.UTF-8",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "layerlab",
    "GIT_AUTHOR_EMAIL": "layerlab@localhost",
    "GIT_COMMITTER_NAME": "layerlab",
    "GIT_COMMITTER_EMAIL": "layerlab@localhost",
    "GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z",
    "DEBIAN_FRONTEND": "noninteractive",
}


def _has(*programs: str) -> Callable[[], str]:
    """Return what says which of these programs is missing."""

    def lacks() -> str:
        absent = [one for one in programs if not shutil.which(one, path=_PATH)]
        return f"{absent[0]} is not installed; apt-get install {_PACKAGE.get(absent[0], absent[0])}" if absent else ""

    return lacks


_PACKAGE = {"cc": "gcc libc6-dev", "dpkg-deb": "dpkg"}


def program(*command: str | os.PathLike[str], cwd: str | os.PathLike[str]) -> None:
    """Run a program to its end.

    Raises
    ------
    BenchError
        It failed; its last words are in the text.
    """
    done = subprocess.run(
        command,
        cwd=cwd,
        env=_ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        said = " ".join(done.stderr.decode(errors="replace").split())[-200:]
        raise BenchError(f"{os.fspath(command[0])} ended with status {done.returncode}: {said}")


def _top(session: Session, spot: Spot) -> str:
    assert session.root is not None
    return f"{session.root}{spot.place}"


def _fill(layers: Sequence[Path], spot: Spot) -> None:
    source_tree(layers, f"{spot.place}/tree", spot.case.entries)


def _walk(session: Session, spot: Spot) -> None:
    """Have the kernel see each file's data and status."""
    program("sh", "-c", "find . -type f -exec cat {} + >/dev/null", cwd=_top(session, spot))


def _job(
    name: str, question: str, *, fill: Callable[[Sequence[Path], Spot], None] = _fill,
    lacks: Callable[[], str] = lambda: "", prime: Step = _walk, undo: Step = nothing,
) -> Workload:  # fmt: skip
    return Workload(name, "jobs", question, fill=fill, prime=prime, undo=undo, needs_path=True, lacks=lacks)


@workload(_job("find", "How long does `find` take over a tree?", lacks=_has("find")))
def find(session: Session, spot: Spot) -> None:
    """Look at each file's size."""
    program("find", ".", "-type", "f", "-size", "+100000k", cwd=_top(session, spot))


@workload(_job("tar-create", "How long does it take to read a tree into a tar?", lacks=_has("tar")))
def tar_create(session: Session, spot: Spot) -> None:
    """Pack the tree into a pipe: GNU tar reads no file if it sees that nobody will."""
    program("sh", "-c", "tar -cf - tree | cat >/dev/null", cwd=_top(session, spot))


def _archive(spot: Spot) -> Path:
    return spot.scratch / "tree.tar"


def _fill_archive(layers: Sequence[Path], spot: Spot) -> None:
    """Pack a tree outside; the layers have the directory that it is unpacked into."""
    for layer in layers:
        (layer / spot.place.lstrip("/")).mkdir(parents=True, exist_ok=True)
    whole = spot.scratch / "whole"
    source_tree([whole], "tree", spot.case.entries)
    program("tar", "-cf", _archive(spot), "tree", cwd=whole)
    shutil.rmtree(whole)


def _read_archive(session: Session, spot: Spot) -> None:
    _archive(spot).read_bytes()


@workload(
    _job(
        "tar-extract",
        "How long does it take to unpack a tar?",
        fill=_fill_archive,
        lacks=_has("tar"),
        prime=_read_archive,
    )
)
def tar_extract(session: Session, spot: Spot) -> None:
    """Unpack a tree into the RW layer."""
    program("tar", "-xf", _archive(spot), cwd=_top(session, spot))


@workload(_job("cp", "How long does `cp -a` of a tree of lower layers take?", lacks=_has("cp")))
def cp(session: Session, spot: Spot) -> None:
    """Copy the tree within the merged view."""
    program("cp", "-a", "tree", "copy", cwd=_top(session, spot))


def _fill_git(layers: Sequence[Path], spot: Spot) -> None:
    """Make a repository in the lowest layer with two branches, of which the second changes every tenth file."""
    for layer in layers:
        (layer / spot.place.lstrip("/")).mkdir(parents=True, exist_ok=True)
    where = layers[-1] / spot.place.lstrip("/")
    source_tree([layers[-1]], f"{spot.place}/tree", spot.case.entries)
    git = ("git", "-c", "gc.auto=0", "-c", "safe.directory=*")
    program(*git, "init", "-q", "-b", "one", cwd=where)
    program(*git, "add", "-A", cwd=where)
    program(*git, "commit", "-q", "-m", "one", cwd=where)
    program(*git, "checkout", "-q", "-b", "two", cwd=where)
    for number, path in enumerate(sorted((where / "tree").rglob("*.txt"))):
        if number % 10 == 0:
            path.write_bytes(path.read_bytes() + b"two\n")
    program(*git, "commit", "-q", "-a", "-m", "two", cwd=where)
    program(*git, "checkout", "-q", "one", cwd=where)


def _git_once(session: Session, spot: Spot) -> None:
    # Inode numbers are not the layer's own: git looks at all files once, and writes down what it saw.
    program("git", "-c", "safe.directory=*", "status", "--porcelain", cwd=_top(session, spot))


@workload(_job("git-status", "How long does `git status` take?", fill=_fill_git, lacks=_has("git"), prime=_git_once))
def git_status(session: Session, spot: Spot) -> None:
    """Ask what has changed: nothing."""
    program("git", "-c", "safe.directory=*", "status", "--porcelain", cwd=_top(session, spot))


@workload(
    _job("git-checkout", "How long does changing branch take?", fill=_fill_git, lacks=_has("git"), prime=_git_once)
)
def git_checkout(session: Session, spot: Spot) -> None:
    """Change to a branch in which every tenth file differs."""
    program("git", "-c", "safe.directory=*", "checkout", "-q", "two", cwd=_top(session, spot))


_PACKAGES = ("json", "email", "http", "logging", "unittest", "xml", "asyncio", "importlib", "multiprocessing")


def _fill_python(layers: Sequence[Path], spot: Spot) -> None:
    """Put packages of the standard library into the layers, as many as make up `entries` files at most."""
    library, left = Path(sysconfig.get_path("stdlib")), spot.case.entries
    for layer in layers:
        (layer / spot.place.lstrip("/") / "lib").mkdir(parents=True)
    for number, name in enumerate(_PACKAGES):
        for source in sorted((library / name).glob("*.py")):
            if left > 0:
                target = layers[number % len(layers)] / spot.place.lstrip("/") / "lib" / name / source.name
                target.parent.mkdir(exist_ok=True)
                shutil.copyfile(source, target)
                left -= 1


@workload(_job("compileall", "How long does compiling Python take?", fill=_fill_python))
def compileall(session: Session, spot: Spot) -> None:
    """Compile modules of the standard library, each into a new file beside it."""
    program(sys.executable, "-m", "compileall", "-q", "-f", "lib", cwd=_top(session, spot))


def _fill_c(layers: Sequence[Path], spot: Spot) -> None:
    for layer in layers:
        (layer / spot.place.lstrip("/")).mkdir(parents=True)
    for number in range(spot.case.entries):
        path = layers[number % len(layers)] / spot.place.lstrip("/") / f"part{number}.c"
        body = "".join(
            f'int f{number}_{n}(int x) {{ printf("%d", x); return x * {n} + {number}; }}\n' for n in range(20)
        )
        main = "int main(void) { return 0; }\n" if number == 0 else ""
        path.write_text(f"#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n{body}{main}")


@workload(_job("c-build", "How long does a build in C take?", fill=_fill_c, lacks=_has("cc")))
def c_build(session: Session, spot: Spot) -> None:
    """Compile each file and link them."""
    program("sh", "-ec", "for f in *.c; do cc -c $f; done; cc -o whole *.o", cwd=_top(session, spot))


def debian_tree() -> Path:
    """Return where the root filesystem of a Debian is that tests use; it may be missing."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.environ.get("HOME", "/root"), ".cache")
    return Path(os.environ.get("LAYERLAB_DEBIAN_TREE") or os.path.join(cache, "layerlab", "debian-tree"))


def _lacks_debian() -> str:
    lacking = _has("dpkg-deb", "cp")()
    if lacking:
        return lacking
    if os.geteuid() != 0:
        return "installing a package needs root; run the command with sudo"
    tree = debian_tree()
    there = (tree / "etc/debian_version").exists()
    return "" if there else f"{tree} is no Debian root filesystem; make one with debootstrap, or `./layerlab test`"


def _fill_debian(layers: Sequence[Path], spot: Spot) -> None:
    """Put the root filesystem into the lowest layer, and a package of `entries` files into the one above all."""
    for layer in layers:
        (layer / spot.place.lstrip("/")).mkdir(parents=True)
    program("cp", "-a", f"{debian_tree()}/.", layers[-1] / spot.place.lstrip("/"), cwd="/")
    build = spot.scratch / "package"
    source_tree([build], "usr/share/layerlab-bench", spot.case.entries)
    (build / "DEBIAN").mkdir()
    (build / "DEBIAN/control").write_text(
        "Package: layerlab-bench\nVersion: 1\nArchitecture: all\nMaintainer: layerlab <layerlab@localhost>\n"
        "Description: files to install\n"
    )
    program("dpkg-deb", "--root-owner-group", "-Zgzip", "--build", build, "whole.deb", cwd=spot.scratch)
    shutil.copy(spot.scratch / "whole.deb", layers[0] / spot.place.lstrip("/") / "whole.deb")


def _dpkg_once(session: Session, spot: Spot) -> None:
    program("chroot", _top(session, spot), "apt-get", "--version", cwd="/")


@workload(
    _job(
        "package-install",
        "How long does installing a package in a Debian take?",
        fill=_fill_debian,
        lacks=_lacks_debian,
        prime=_dpkg_once,
    )
)
def package_install(session: Session, spot: Spot) -> None:
    """Install a package that lies in the tree, by the tree's own apt."""
    options = ("-o", "Dpkg::Use-Pty=0", "-o", "APT::Sandbox::User=root", "-q", "-y")
    program("chroot", _top(session, spot), "apt-get", *options, "install", "/whole.deb", cwd="/")


_ALL: tuple[Run, ...] = (
    find, tar_create, tar_extract, cp, git_status, git_checkout, compileall, c_build, package_install,
)  # fmt: skip
