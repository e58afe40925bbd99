"""A runner without processes: the few programs that lessons run, done on the union inside this process.

Decided here: which programs there are, for a notebook where no container can be started: no root, no namespaces. It is
no shell: words, `&&` between commands and `>` after `echo`. What it does not know it says, and ends with 127, as a
shell does for a program that is not there. Any thread may call.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Callable, Sequence

from fusefs import UnionFS
from sim.build.runner import LeftContainer, RunRequest
from sim.build.values import BuildOptions
from sim.images import Image, ImagesError, Progress, Reference

__all__ = ["InProcessRunner"]


class InProcessRunner:
    """Runs `rm`, `chmod`, `mkdir`, `dd`, `cat`, `echo` and `true` on the layers, without any process.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from sim.build import BuildOptions, build
    >>> from sim.build.inprocess import InProcessRunner
    >>> from sim.images import Store
    >>> with tempfile.TemporaryDirectory() as home, Store(f"{home}/store") as store:
    ...     context = Path(home, "context")
    ...     context.mkdir()
    ...     _ = (context / "Dockerfile").write_text("FROM scratch\\nCOPY Dockerfile /a\\nRUN rm /a && echo hi > /b\\n")
    ...     options = BuildOptions(tags=("lesson:1",))
    ...     built = build(store, context, options, runner=InProcessRunner(), output=lambda message: None)
    ...     len(store.image("lesson:1").layers), store.image("lesson:1").size
    (2, 61)
    """

    def run(self, request: RunRequest, write: Callable[[int, bytes], object], cancelled: Callable[[], bool]) -> int:
        """Do what a RUN says and return its exit status; see `Runner`."""
        args = request.args
        text = args[2] if len(args) == 3 and args[1] == "-c" else shlex.join(args)
        with UnionFS(request.layers, request.upper, request.work) as fs:
            for command in re.split(r"\s*&&\s*", text.strip()):
                if cancelled():
                    return 137
                try:
                    status = _do(fs, shlex.split(command), write)
                except (OSError, ValueError, LookupError) as error:
                    reason = error.strerror if isinstance(error, OSError) else str(error)
                    write(2, f"{command}: {reason}\n".encode(errors="surrogateescape"))
                    status = 1
                if status:
                    return status
        return 0

    def leave(self, container: LeftContainer) -> None:
        """Keep nothing: lessons without processes have no containers; see `Runner`."""

    def pull(self, reference: Reference, options: BuildOptions, tell: Callable[[Progress], object]) -> Image:
        """Refuse: a lesson has its images; see `Runner`."""
        raise ImagesError(f"{reference.familiar}: there is no such image here, and lessons fetch none")


def _do(fs: UnionFS, words: Sequence[str], write: Callable[[int, bytes], object]) -> int:
    name, *rest = words
    if name == "echo" and ">" in rest:
        at = rest.index(">")
        fs.write_bytes(rest[at + 1], " ".join(rest[:at]).encode() + b"\n")
        return 0
    flags = {letter for word in rest if word.startswith("-") for letter in word[1:]}
    plain = [word for word in rest if not word.startswith("-")]
    if name == "true":
        return 0
    if name == "echo":
        write(1, " ".join(rest).encode() + b"\n")
    elif name == "cat":
        for path in plain:
            write(1, fs.read_bytes(path))
    elif name == "rm":
        for path in plain:
            if fs.exists(path) or "f" not in flags:
                _remove(fs, path, everything="r" in flags)
    elif name == "mkdir":
        for path in plain:
            _mkdir(fs, path, parents="p" in flags)
    elif name == "chmod":
        for path in plain[1:]:
            _chmod(fs, path, plain[0], everything="R" in flags)
    elif name == "dd":
        values = dict(word.split("=", 1) for word in rest)
        fs.write_bytes(values["of"], bytes(int(values["bs"]) * int(values["count"])))
    else:
        write(2, f"{name}: not known to lessons that run without processes\n".encode())
        return 127
    return 0


def _remove(fs: UnionFS, path: str, *, everything: bool) -> None:
    if stat.S_ISDIR(fs.lstat(path).st_mode):
        if not everything:
            raise IsADirectoryError(21, os.strerror(21))
        for name in fs.listdir(path):
            _remove(fs, f"{path.rstrip('/')}/{name}", everything=True)
        fs.rmdir(path)
    else:
        fs.unlink(path)


def _mkdir(fs: UnionFS, path: str, *, parents: bool) -> None:
    if parents:
        above = path.rstrip("/").rpartition("/")[0]
        if above and not fs.exists(above):
            _mkdir(fs, above, parents=True)
        if fs.exists(path):
            return
    fs.mkdir(path, 0o755)


def _chmod(fs: UnionFS, path: str, mode: str, *, everything: bool) -> None:
    status = fs.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        return
    if re.fullmatch("[0-7]+", mode):
        bits = int(mode, 8)
    else:
        bits = stat.S_IMODE(status.st_mode) | {"+x": 0o111, "+w": 0o200, "+r": 0o444}[mode.lstrip("a")]
    # As the program does: also where nothing changes, which copies up all the same.
    fs.chmod(path, bits)
    if everything and stat.S_ISDIR(status.st_mode):
        for name in fs.listdir(path):
            _chmod(fs, f"{path.rstrip('/')}/{name}", mode, everything=True)
