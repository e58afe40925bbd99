"""A small stack with every kind of mark, and a hand-written journal of what a process did on it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fusefs import JournalLayer, Recorder
from fusefs.operation import Effect, EffectKind, Kind, Operation

START = 1_700_000_000_000_000_000
BASE = "sha256:" + "b" * 64
APP = "sha256:" + "a" * 64


def write(root: Path, path: str, text: str) -> Path:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def whiteout(root: Path, path: str) -> None:
    """Make a mark in the form that needs no privilege; the other forms have tests of their own."""
    file = root / path.lstrip("/")
    write(root, f"{file.parent.relative_to(root)}/.wh.{file.name}", "")


def opaque(root: Path, path: str) -> None:
    write(root, f"{path}/.wh..wh..opq", "")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    root = tmp_path / "base"
    write(root, "/etc/passwd", "root:x:0:0\n" * 10)
    write(root, "/etc/hosts", "127.0.0.1 localhost\n")
    write(root, "/bin/sh", "x" * 4000)
    write(root, "/usr/share/doc/readme", "r" * 300)
    write(root, "/usr/share/doc/licence", "l" * 200)
    write(root, "/var/cache/index", "i" * 1000)
    os.symlink("sh", root / "bin/ash")
    return root


@pytest.fixture
def app(tmp_path: Path) -> Path:
    root = tmp_path / "app"
    write(root, "/app/main.py", "print('hi')\n" * 5)
    write(root, "/etc/hosts", "10.0.0.1 app\n")
    whiteout(root, "/var/cache/index")
    return root


FIELDS = ("kind", "path", "layer", "effects", "size", "offset", "target", "start", "duration", "pid", "error", "number")


def altered(operation: Operation, **changes: int) -> Operation:
    """Return an operation with other numbers."""
    return Operation(**{**{name: getattr(operation, name) for name in FIELDS}, **changes})


def operations() -> list[Operation]:
    """What a process did: read, edit /etc/passwd, remove a file, make a directory anew, rename, create."""
    e, k = Effect, EffectKind
    done = [
        Operation(Kind.LOOKUP, "/etc", layer=1),
        Operation(Kind.LOOKUP, "/etc/hosts", layer=1),
        Operation(Kind.OPEN, "/etc/hosts", layer=1),
        Operation(Kind.READ, "/etc/hosts", layer=1, size=13),
        Operation(Kind.LOOKUP, "/etc/shadow", layer=None, error=2),
        Operation(
            Kind.OPEN,
            "/etc/passwd",
            layer=0,
            effects=(e(k.COPIED_UP, "/etc", origin=1), e(k.COPIED_UP, "/etc/passwd", origin=2, size=110)),
        ),
        Operation(
            Kind.WRITE, "/etc/passwd", layer=0, size=22, offset=110, effects=(e(k.WRITTEN, "/etc/passwd", size=22),)
        ),
        Operation(
            Kind.UNLINK,
            "/bin/ash",
            layer=0,
            effects=(e(k.COPIED_UP, "/bin", origin=2), e(k.WHITEOUT, "/bin/ash", origin=2)),
        ),
        Operation(
            Kind.UNLINK,
            "/usr/share/doc/readme",
            layer=0,
            effects=(
                e(k.COPIED_UP, "/usr", origin=2),
                e(k.COPIED_UP, "/usr/share", origin=2),
                e(k.COPIED_UP, "/usr/share/doc", origin=2),
                e(k.WHITEOUT, "/usr/share/doc/readme", origin=2),
            ),
        ),
        Operation(
            Kind.UNLINK, "/usr/share/doc/licence", layer=0, effects=(e(k.WHITEOUT, "/usr/share/doc/licence", origin=2),)
        ),
        Operation(
            Kind.RMDIR,
            "/usr/share/doc",
            layer=0,
            effects=(e(k.REMOVED, "/usr/share/doc"), e(k.WHITEOUT, "/usr/share/doc", origin=2)),
        ),
        Operation(
            Kind.MKDIR,
            "/usr/share/doc",
            layer=0,
            effects=(
                e(k.REVEALED, "/usr/share/doc"),
                e(k.CREATED, "/usr/share/doc"),
                e(k.OPAQUE, "/usr/share/doc", origin=2),
            ),
        ),
        Operation(Kind.CREATE, "/usr/share/doc/new", layer=0, effects=(e(k.CREATED, "/usr/share/doc/new"),)),
        Operation(
            Kind.WRITE, "/usr/share/doc/new", layer=0, size=50, effects=(e(k.WRITTEN, "/usr/share/doc/new", size=50),)
        ),
        Operation(
            Kind.RENAME,
            "/app/main.py",
            layer=0,
            target="/app/start.py",
            effects=(
                e(k.COPIED_UP, "/app", origin=1),
                e(k.COPIED_UP, "/app/main.py", origin=1, size=60),
                e(k.RENAMED, "/app/main.py", target="/app/start.py"),
                e(k.WHITEOUT, "/app/main.py", origin=1),
            ),
        ),
        Operation(Kind.OPEN, "/bin/sh", layer=2),
        Operation(Kind.READ, "/bin/sh", layer=2, size=4000),
        Operation(Kind.CREATE, "/tmp.log", layer=0, effects=(e(k.CREATED, "/tmp.log"),)),
        Operation(Kind.WRITE, "/tmp.log", layer=0, size=700, effects=(e(k.WRITTEN, "/tmp.log", size=700),)),
        Operation(Kind.UNLINK, "/tmp.log", layer=0, effects=(e(k.REMOVED, "/tmp.log"),)),
    ]
    return [altered(op, start=START + i * 2_000_000, duration=150_000, pid=7) for i, op in enumerate(done)]


@pytest.fixture
def journal(tmp_path: Path, base: Path, app: Path) -> Path:
    """The journal of a mount of [app, base] whose RW directory is gone."""
    path = tmp_path / "journal.db"
    layers = [
        JournalLayer(0, "rw", "web", tmp_path / "gone"),
        JournalLayer(1, "ro", APP, app),
        JournalLayer(2, "ro", BASE, base),
    ]
    with Recorder(path, layers) as record:
        for operation in operations():
            record(operation)
    return path
