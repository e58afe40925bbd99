"""Faults: whatever call fails, and wherever the process is killed, the tree is as before the operation or as after it.

Each operation is run again and again in a process of its own, which fails (EIO) or dies at the first, second, third …
system call that changes something. Then its upper is opened anew, by us and by the kernel.
"""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fusefs import Format, LayerError, MountError, Options, Redirect, UnionFS, syscalls
from tests.fusefs.test_against_kernel import kernel, ours
from tests.fusefs.worlds import Thing, World, build, look, perform

WORLD: World = [
    {
        "file": Thing("file", "text", 0o644, {"user.colour": "red"}),
        "dir": Thing("dir"),
        "dir/inner": Thing("file", "inner"),
        "dir/link": Thing("symlink", "inner"),
        "one": Thing("file", "linked"),
        "two": Thing("link", "one"),
        "empty": Thing("dir"),
    }
]

#: What is done before, and then the operation that is interrupted.
CASES: dict[str, tuple[list[tuple[Any, ...]], tuple[Any, ...]]] = {
    "copy-up": ([], ("write", "dir/inner", os.O_WRONLY, b"", 0)),
    "copy-up of metadata": ([], ("chmod", "file", 0o600)),
    "copy-up of a hard link": ([], ("chmod", "one", 0o600)),
    "copy-up of data after metadata": ([("chmod", "file", 0o600)], ("write", "file", os.O_WRONLY, b"new", 1)),
    "rename after a copy-up of metadata": ([("chmod", "file", 0o600)], ("rename", "file", "dir/file", 0)),
    "unlink of a lower file": ([], ("unlink", "file")),
    "unlink of an upper file": ([("chmod", "file", 0o600)], ("unlink", "file")),
    "unlink of a hard link": ([], ("unlink", "two")),
    "rmdir": ([], ("rmdir", "empty")),
    "rmdir with whiteouts": ([("unlink", "dir/inner"), ("unlink", "dir/link")], ("rmdir", "dir")),
    "create over a whiteout": ([("unlink", "file")], ("write", "file", os.O_WRONLY | os.O_CREAT, b"", 0)),
    "mkdir over a whiteout": ([("rmdir", "empty")], ("mkdir", "empty", 0o755)),
    "symlink over a whiteout": ([("unlink", "file")], ("symlink", "text", "file")),
    "link over a whiteout": ([("unlink", "file")], ("link", "dir/inner", "file")),
    "rename of a lower file": ([], ("rename", "file", "dir/file", 0)),
    "rename onto a lower file": ([], ("rename", "dir/inner", "file", 0)),
    "rename of a new directory": (
        [("mkdir", "new", 0o755), ("write", "new/x", os.O_WRONLY | os.O_CREAT, b"x", 0)],
        ("rename", "new", "empty", 0),
    ),
    "rename over a directory of whiteouts": (
        [
            ("mkdir", "new", 0o755),
            ("write", "new/x", os.O_WRONLY | os.O_CREAT, b"x", 0),
            ("unlink", "dir/inner"),
            ("unlink", "dir/link"),
        ],
        ("rename", "new", "dir", 0),
    ),
    "rename of a lower directory": ([], ("rename", "dir", "moved", 0)),
    "exchange": ([], ("rename", "file", "dir/inner", syscalls.RENAME_EXCHANGE)),
    "setxattr": ([], ("setxattr", "file", "user.colour", b"blue", 0)),
}

SETTINGS = {
    "default": Options(redirect=Redirect.ON),
    "metacopy": Options(redirect=Redirect.ON, metacopy=True),
    "oci": Options(marks=Format.OCI),
}

#: Those that are tried with the option `metacopy`.
WITH_METACOPY = ("copy-up of data after metadata", "rename after a copy-up of metadata", "copy-up of metadata")

#: Those that are tried with OCI marks; a directory that replaces another is there two steps, as `renames.py` says.
WITH_OCI = (
    "unlink of a lower file",
    "unlink of an upper file",
    "rmdir with whiteouts",
    "create over a whiteout",
    "mkdir over a whiteout",
    "rename of a lower file",
    "rename onto a lower file",
    "rename of a new directory",
)

_CHANGES = frozenset(
    {
        "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.chmod", "os.chown",
        "os.setxattr", "os.truncate", "os.utime", "os.mknod",
    }
)  # fmt: skip


class Fault:
    """Counts the calls that change something and stops the n-th one."""

    def __init__(self, position: int, stop: Callable[[], None]) -> None:
        self.left = position
        self.stop = stop
        self.armed = False

    def count(self) -> None:
        if self.armed:
            self.left -= 1
            if self.left == 0:
                self.stop()

    def install(self) -> None:
        """Watch Python's own calls by its audit events, and ours by wrapping them. For a process of its own."""

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            opens_for_change = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
            if event in _CHANGES or opens_for_change:
                self.count()

        sys.addaudithook(watch)
        for name in ("rename", "utimens", "copy_range", "clone_file"):
            self._wrap(syscalls, name)
        for name in ("fsync", "mknod"):
            self._wrap(os, name)

    def _wrap(self, module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self.count()
            return real(*arguments, **named)

        setattr(module, name, call)


def fail() -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def die() -> None:
    os._exit(9)


def seen(where: Any) -> dict[str, Any]:
    """Return what a caller sees; without numbers and times, which an operation may change on its way."""
    return {path: (one.status[:3], one.status[3], one.content, one.attributes) for path, one in look(where).items()}


def run(place: Path, lower: list[Path], case: str, options: Options, position: int, stop: Callable[[], None]) -> int:
    """Run a case in a process of its own with a fault; return 0 if it was too late to hit."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 1
    try:
        before, operation = CASES[case]
        with ours(lower, place, "fault", options) as fs:
            for step in before:
                perform(fs, step)
            seen(fs)
            fault = Fault(position, stop)
            fault.install()
            fault.armed = True
            result = perform(fs, operation)
            fault.armed = False
            (place / "live").write_bytes(pickle.dumps((result, seen(fs))))
        code = 0 if fault.left > 0 else 2
    finally:
        os._exit(code)


@pytest.mark.usefixtures("overlayfs")
@pytest.mark.parametrize("stop", [fail, die])
@pytest.mark.parametrize(
    ("case", "setting"),
    [
        *((case, "default") for case in CASES if case not in WITH_METACOPY),
        *((case, "metacopy") for case in WITH_METACOPY),
        *((case, "oci") for case in WITH_OCI),
    ],
)
def test_the_tree_is_as_before_or_as_after(tmp_path: Path, case: str, stop: Callable[[], None], setting: str) -> None:
    options = SETTINGS[setting]
    lower = build(WORLD, tmp_path)
    before, operation = CASES[case]
    with ours(lower, tmp_path, "whole", options) as fs:
        for step in before:
            perform(fs, step)
        old = seen(fs)
        result = perform(fs, operation)
        assert result in (None, len(operation[3]) if operation[0] == "write" else 0), result
        new = seen(fs)
    assert (old == new) == (case == "copy-up")
    for position in range(1, 100):
        status = run(tmp_path, lower, case, options, position, stop)
        if status == 0:
            break
        assert status in (2, 9), status
        if stop is fail:
            outcome, live = pickle.loads((tmp_path / "live").read_bytes())
            assert live in (old, new), f"call {position}: neither the old nor the new tree"
            assert outcome in ("EIO", result)
        if setting != "oci":
            with kernel(lower, tmp_path, "fault", options) as theirs:
                assert seen(theirs) in (old, new), f"call {position}: the kernel sees neither"
        with ours(lower, tmp_path, "fault", options) as mine:
            assert seen(mine) in (old, new), f"call {position}: after a remount neither"
            if stop is fail:
                assert seen(mine) == live, f"call {position}: live and on disk differ"
            assert os.listdir(tmp_path / "fault-work" / "work") == []
        for name in ("fault-upper", "fault-work"):
            shutil.rmtree(tmp_path / name)
    else:
        pytest.fail("the operation never ends")
    assert position > 1, "no fault was injected"


def test_a_full_disk_changes_nothing(tmp_path: Path, small_filesystem: Path) -> None:
    (tmp_path / "lower").mkdir()
    (tmp_path / "lower" / "large").write_bytes(os.urandom(12 << 20))
    (tmp_path / "lower" / "small").write_bytes(b"small")
    for name in ("upper", "work"):
        (small_filesystem / name).mkdir()
    with UnionFS([tmp_path / "lower"], small_filesystem / "upper", small_filesystem / "work") as fs:
        with pytest.raises(OSError, match="No space left") as caught:
            fs.append_bytes("/large", b"more")
        assert caught.value.errno == errno.ENOSPC
        assert os.listdir(small_filesystem / "upper") == []
        assert os.listdir(small_filesystem / "work" / "work") == []
        assert fs.stat("/large").st_size == 12 << 20
        fs.append_bytes("/small", b" and more")
        fs.truncate("/large", 1 << 20)
        assert fs.read_bytes("/small") == b"small and more"


@pytest.mark.parametrize("implementation", ["ours", "kernel"])
def test_a_volatile_upper_is_refused_after_a_crash(tmp_path: Path, implementation: str, overlayfs: None) -> None:
    lower = build(WORLD, tmp_path)
    options = Options(volatile=True, marks=Format.OVERLAY)
    with ours(lower, tmp_path, "volatile", options) as fs:
        fs.append_bytes("/file", b" one")
    child = os.fork()
    if not child:
        fs = UnionFS(lower, tmp_path / "volatile-upper", tmp_path / "volatile-work", options=options)
        fs.append_bytes("/file", b" two")
        os._exit(0)
    os.waitpid(child, 0)
    opened = ours if implementation == "ours" else kernel
    with (
        pytest.raises((LayerError, MountError), match=r"volatile|refuses"),
        opened(lower, tmp_path, "volatile", options),
    ):
        pass
    shutil.rmtree(tmp_path / "volatile-work" / "work" / "incompat")
    with ours(lower, tmp_path, "volatile") as fs:
        assert fs.read_bytes("/file") == b"text one two"


@pytest.fixture
def small_filesystem(tmp_path: Path, root: None, tool: Callable[[str], str]) -> Any:
    """Mount a filesystem of 8 MiB."""
    import subprocess

    image, mounted = tmp_path / "image", tmp_path / "small"
    mounted.mkdir()
    with open(image, "wb") as file:
        file.truncate(8 << 20)
    subprocess.run([tool("mkfs.ext4"), "-q", image], check=True)
    done = subprocess.run(["mount", "-o", "loop", image, mounted], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs loop devices: {done.stderr.strip()}")
    yield mounted
    syscalls.umount(os.fsencode(mounted))
