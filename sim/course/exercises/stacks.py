"""The stack that lessons 3 to 6 work on: a base, a shop on it, and what was changed.

Decided here: what is in its layers, and how a solution changes it in this process. One thread.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from fusefs import JournalLayer, Options, Recorder, UnionFS

__all__ = ["APP", "BASE", "fill", "opened", "tidy"]

BASE: Mapping[str, str] = {
    "/bin/tool": "#!/bin/sh\n# a tool of the base\n" + "# padding\n" * 5_000,
    "/etc/hosts": "127.0.0.1 localhost\n",
    "/etc/motd": "welcome to the base\n",
    "/etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "/opt/old/tool": "an old tool\n",
    "/usr/share/doc/licence": "do what you like\n",
    "/usr/share/doc/manual": "chapter one\n" * 200,
    "/var/lib/data.db": "a row of the database\n" * 50_000,
    "/var/log/shop.log": "a line of the log\n" * 10_000,
}

APP: Mapping[str, str] = {
    "/etc/motd": "welcome to the shop\n",
    "/srv/config": "debug = false\n",
    "/srv/shop.py": "print('open')\n",
}


def fill(layer: Path, files: Mapping[str, str]) -> None:
    """Make a layer's directory with these files."""
    layer.mkdir(exist_ok=True)
    for path, text in files.items():
        file = layer / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o644)


@contextlib.contextmanager
def opened(
    home: Path,
    lower: Sequence[str],
    *,
    upper: str = "changes",
    work: str = "work",
    journal: str = "journal.db",
    options: Options | None = None,
) -> Iterator[UnionFS]:
    """Open a stack of a lesson's directory in this process, recorded as a mount would be.

    Parameters
    ----------
    home
        The lesson's directory.
    lower
        Names of the read-only layers, the topmost first.
    upper, work, journal
        Names of the rest; an empty upper for a read-only stack.
    options
        As for a mount.
    """
    names = [upper, *lower] if upper else list(lower)
    layers = [
        JournalLayer(number, "rw" if number == 0 else "ro", name, home / name)
        for number, name in enumerate(names, 0 if upper else 1)
    ]
    for name in filter(None, (upper, work if upper else "")):
        (home / name).mkdir(exist_ok=True)
    with (
        Recorder(home / journal, layers, append=True) as record,
        UnionFS(
            [home / name for name in lower],
            home / upper if upper else None,
            home / work if upper else None,
            record=record,
            options=options or Options(),
        ) as fs,
    ):
        yield fs


def tidy(home: Path, *keep: str) -> None:
    """Leave only these names in a lesson's directory, and make the empty ones of a stack that are missing."""
    for path in home.iterdir():
        if path.name in keep or path.name.startswith("."):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for name in ("changes", "work", "merged"):
        (home / name).mkdir(exist_ok=True)
