"""What the lessons on images and containers share: a small root filesystem, and the solved state of the lesson before.

Decided here: what is in the base image (the machine's busybox, linked statically, and a few files), and that a lesson's
solved state is made by its own solutions, run in a shell as a student would. One thread.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from sim.course import engine
from sim.course.errors import CourseError

__all__ = ["base_image", "layers_of", "names_in_layers", "run_solutions_of"]

_APPLETS = [
    "sh",
    "ls",
    "cat",
    "echo",
    "rm",
    "mkdir",
    "touch",
    "ps",
    "uname",
    "hostname",
    "sleep",
    "wc",
    "id",
    "mount",
    "chmod",
    "cp",
    "mv",
    "grep",
    "head",
    "tail",
    "true",
]

_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/motd": "welcome to the base\n",
    "usr/share/doc/manual": "chapter one\n" * 2_000,
}


def base_image(home: Path) -> None:
    """Make `rootfs` in a lesson's directory, and `rootfs.tar` with the same in it.

    Raises
    ------
    CourseError
        There is no busybox on this machine.
    """
    busybox = shutil.which("busybox", path="/bin:/usr/bin:/usr/local/bin")
    if busybox is None:
        raise CourseError("the lessons on images need a statically linked busybox; install the package busybox-static")
    root = home / "rootfs"
    for name in ("bin", "etc", "tmp", "root", "usr/share/doc"):
        (root / name).mkdir(parents=True, exist_ok=True)
    shutil.copyfile(busybox, root / "bin/busybox")
    (root / "bin/busybox").chmod(0o755)
    for name in _APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    for name, text in _FILES.items():
        (root / name).write_text(text)
    with tarfile.open(home / "rootfs.tar", "w") as archive:
        archive.add(root, arcname=".", filter=_of_root)


def _of_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    member.mtime = 1_700_000_000
    return member


def run_solutions_of(lesson: int, home: Path) -> None:
    """Run a lesson's solutions in a directory, as a student would.

    Raises
    ------
    CourseError
        One of them fails.
    """
    from sim.course import shelf

    with tempfile.TemporaryDirectory(prefix="layerlab-solve-") as programs:
        command = Path(programs, "layerlab")
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P -m sim.cli "$@"\n')
        command.chmod(0o755)
        for exercise in shelf.lesson(lesson).exercises:
            done = subprocess.run(
                ["bash", "-eu", "-c", exercise.script],
                cwd=home,
                env={**os.environ, "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}", "LAYERLAB_LANG": "en"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            if done.returncode:
                said = done.stdout.decode(errors="replace").strip().splitlines() or [""]
                why = next((line for line in said if "Error response" in line), said[-1])
                raise CourseError(f"the state of lesson {lesson} cannot be made: {why[:300]}")
    engine.stop(home)


def layers_of(found: dict[str, dict[str, list[str]]]) -> list[str]:
    """Return the diff IDs of an image, the lowest first."""
    return list(found["RootFS"].get("Layers") or [])


def names_in_layers(archive: bytes) -> list[list[str]]:
    """Return the names in each layer of an image's archive (`docker save`), the lowest first."""
    import io
    import json

    with tarfile.open(fileobj=io.BytesIO(archive)) as outer:
        manifest = outer.extractfile("manifest.json")
        assert manifest is not None
        found = []
        for name in json.load(manifest)[0]["Layers"]:
            layer = outer.extractfile(name)
            assert layer is not None
            with tarfile.open(fileobj=io.BytesIO(layer.read())) as inner:
                found.append([member.name.removeprefix("./") for member in inner])
    return found
