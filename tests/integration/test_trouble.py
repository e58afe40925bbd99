"""Trouble on a mount: a full disk, a killed server, mistakes in a driver. Nothing is torn, and it can be cleared."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fusefs import Stack, mount, syscalls, unmount
from fusefs.mount import DRIVERS
from tests.integration.conftest import Union

#: Drivers whose mounts are served by a process.
SERVED = [driver for driver in DRIVERS if driver != "overlayfs"]


@pytest.fixture
def small(union: Union, tool: Callable[[str], str]) -> Iterator[Path]:
    """Return a filesystem of 8 MiB."""
    image, mounted = union.place / "image", union.place / "small"
    mounted.mkdir()
    with open(image, "wb") as file:
        file.truncate(8 << 20)
    subprocess.run([tool("mkfs.ext4"), "-q", image], check=True)
    done = subprocess.run(["mount", "-o", "loop", image, mounted], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs loop devices: {done.stderr.strip()}")
    yield mounted
    union.unmount()
    syscalls.umount(os.fsencode(mounted))


def test_a_full_disk_is_said_and_the_mount_goes_on(union: Union, small: Path) -> None:
    (union.lower / "large").write_bytes(os.urandom(12 << 20))
    (union.lower / "small").write_bytes(b"small")
    for name in ("upper", "work"):
        (small / name).mkdir()
    stack = Stack((union.lower,), small / "upper", small / "work")
    union.mounted = mount(stack, union.merged, driver=union.driver)
    merged = union.merged
    for change in (
        lambda: os.open(merged / "large", os.O_RDWR),
        lambda: os.rename(merged / "large", merged / "moved"),
        lambda: os.setxattr(merged / "large", "user.colour", b"red"),
    ):
        with pytest.raises(OSError, match="No space left") as caught:
            change()
        assert caught.value.errno == errno.ENOSPC
    assert os.listdir(small / "upper") == []
    with open(merged / "small", "ab") as file:
        file.write(b" and more")
    with pytest.raises(OSError, match="No space left"):
        (merged / "new").write_bytes(bytes(12 << 20))
    (merged / "new").unlink()
    assert (merged / "small").read_bytes() == b"small and more"
    with open(merged / "large", "rb") as file:
        assert len(file.read()) == 12 << 20


@pytest.mark.parametrize("driver", SERVED, indirect=True)
def test_a_killed_server_leaves_a_mount_that_can_be_cleared_and_mounted_again(union: Union) -> None:
    (union.lower / "file").write_text("lower")
    merged = union.mount()
    (merged / "file").write_text("upper")
    assert union.mounted is not None
    os.kill(union.mounted.pid, signal.SIGKILL)
    os.waitpid(union.mounted.pid, 0)
    with pytest.raises(OSError, match=r"not connected|aborted"):
        os.listdir(merged)
    unmount(merged)
    union.mounted = None
    assert (union.mount() / "file").read_text() == "upper"
    assert os.listdir(union.work / "work") == []


@pytest.mark.parametrize("driver", SERVED, indirect=True)
def test_a_server_told_to_end_unmounts(union: Union) -> None:
    merged = union.mount()
    (merged / "file").write_text("kept")
    assert union.mounted is not None
    pid = union.mounted.pid
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
    union.mounted = None
    assert not os.path.ismount(merged)
    assert (union.upper / "file").read_text() == "kept"


@pytest.mark.parametrize("driver", SERVED, indirect=True)
def test_who_mounts_may_end_and_lets_those_go_that_have_ended(union: Union) -> None:
    code = f"""
import os, signal
from pathlib import Path
from fusefs import Stack, mount, unmount
def mounted():
    stack = Stack((Path({str(union.lower)!r}),), Path({str(union.upper)!r}), Path({str(union.work)!r}))
    return mount(stack, Path({str(union.merged)!r}), driver={union.driver!r})
first = mounted()
os.kill(first.pid, signal.SIGKILL)
unmount(first.mountpoint, lazy=True)
os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
second = mounted()
print(os.path.exists(f"/proc/{{first.pid}}"), second.pid)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    served = os.path.ismount(union.merged)
    unmount(union.merged, lazy=True)
    assert done.stderr == ""  # such as of a child that still runs
    assert (served, done.stdout.split()[0]) == (True, "False")


def test_a_mistake_in_the_driver_is_answered_and_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    fusepython = pytest.importorskip("fusefs.drivers.fusepython")

    class Adapter:
        class union:  # noqa: N801
            class caller:  # noqa: N801
                @staticmethod
                def become(*_: int) -> None:
                    """Take note of nothing."""

    def broken(_self: Adapter, _path: str) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(fusepython.fuse, "FuseGetContext", lambda: {"uid": 0, "gid": 0, "pid": 1})
    with pytest.raises(OSError, match="Input/output") as caught:
        fusepython._guarded(broken)(Adapter(), "/path")
    assert caught.value.errno == errno.EIO
    assert "broken('/path',) failed; answered EIO" in caplog.text
    assert "ZeroDivisionError" in caplog.text
