"""Other union filesystems, mounted on the same directories.

Decided here and only here: how fuse-overlayfs and unionfs-fuse are started, which of their documented options are their
best for speed, and how they are ended. They run in the foreground as children of this process, so that their ends are
known. One thread.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from sim.bench.errors import BenchError
from sim.bench.files import MountedFiles
from sim.bench.places import unmount
from sim.bench.session import Layout, Session

__all__ = ["FUSE_OVERLAYFS_BEST", "UNIONFS_BEST", "fuse_overlayfs", "program_lacks", "unionfs"]

#: fuse-overlayfs(1): what it says makes it faster. It keeps names and attributes for 10^9 seconds by itself.
FUSE_OVERLAYFS_BEST = ("noacl", "static_nlink", "clone_fd")

#: unionfs(8) and libfuse: the kernel keeps what it has seen, and writes in large pieces.
UNIONFS_BEST = (
    "kernel_cache",
    "big_writes",
    "max_write=131072",
    "entry_timeout=3600",
    "attr_timeout=3600",
    "negative_timeout=3600",
)

#: What unionfs(8) proposes for a tree with many open files, where the process may have as many.
_FILES = 32768

_PATIENCE = 10.0


def program_lacks(program: str, package: str) -> str:
    """Return why a program that mounts cannot be used; "" if it can."""
    if not shutil.which(program):
        return f"{program} is not installed; apt-get install {package}"
    if os.geteuid() != 0:
        return f"{program} is measured as root only, like the others; run the command with sudo"
    return "" if os.path.exists("/dev/fuse") else "the kernel offers no FUSE here; try 'modprobe fuse'"


def fuse_overlayfs(layout: Layout, name: str, options: Sequence[str] = ()) -> Session:
    """Mount with fuse-overlayfs."""
    lower = ":".join(str(path) for path in layout.lower)
    words = [f"lowerdir={lower}", f"upperdir={layout.upper}", f"workdir={layout.work}", *options]
    if layout.durability == "off":
        words.append("volatile")
    return _serve(name, layout, ["fuse-overlayfs", "-f", "-o", ",".join(words), str(layout.merged)])


def unionfs(layout: Layout, name: str, options: Sequence[str] = ()) -> Session:
    """Mount with unionfs-fuse, which syncs nothing by itself."""
    branches = ":".join([f"{layout.upper}=RW", *(f"{path}=RO" for path in layout.lower)])
    files = min(_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    words = ",".join(["cow", f"max_files={files}", *options])
    return _serve(name, layout, ["unionfs", "-f", "-o", words, branches, str(layout.merged)])


def _serve(name: str, layout: Layout, command: Sequence[str]) -> Session:
    before = os.stat(layout.merged).st_dev
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd="/",
        text=True,
    )
    end = time.monotonic() + _PATIENCE
    try:
        while os.stat(layout.merged).st_dev == before:
            if process.poll() is not None or time.monotonic() > end:
                raise BenchError(f"{name}: it did not mount: {_last_words(process)}")
            time.sleep(0.002)
    except BaseException:
        _end(process, layout.merged)
        raise
    return Session(
        name,
        layout,
        MountedFiles(layout.merged),
        layout.merged,
        pid=process.pid,
        close=lambda: _end(process, layout.merged),
    )


def _last_words(process: subprocess.Popen[str]) -> str:
    if process.poll() is None:
        process.kill()
    process.wait()
    said = process.stderr.read() if process.stderr else ""
    return " ".join(said.split())[-200:] or f"it ended with status {process.returncode}"


def _end(process: subprocess.Popen[str], point: Path) -> None:
    """Unmount and wait for the process; also where it is dead or hangs."""
    unmount(point)
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stderr:
        process.stderr.close()
