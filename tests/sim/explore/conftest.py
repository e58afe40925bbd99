"""A stack of directories to look around in, with a whiteout, an opaque directory, a secret and odd names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sim.graph.conftest import opaque, whiteout, write

ODD = "we\nird\udcff\x1b[31m"


@pytest.fixture
def dirs(tmp_path: Path) -> list[Path]:
    """Three layers, the topmost first."""
    base, app, clean = (tmp_path / name for name in ("base", "app", "clean"))
    write(base, "/etc/passwd", "root:x:0:0\n" * 10)
    write(base, "/etc/hosts", "127.0.0.1 localhost\n")
    write(base, "/bin/sh", "\0\1" * 2000)
    write(base, "/usr/share/doc/readme", "r" * 300)
    write(base, "/var/cache/index", "i" * 1000)
    write(app, "/srv/app.py", "print('hi')\n" * 5)
    write(app, "/etc/hosts", "10.0.0.1 app\n")
    write(app, "/srv/id_rsa", "-----BEGIN KEY-----\n")
    write(app, f"/srv/{ODD}", "odd")
    whiteout(app, "/var/cache/index")
    whiteout(clean, "/srv/id_rsa")
    opaque(clean, "/usr/share/doc")
    write(clean, "/usr/share/doc/new", "new")
    return [clean, app, base]
