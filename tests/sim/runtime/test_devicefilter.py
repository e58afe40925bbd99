from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sim.runtime import Layout
from sim.runtime.devicefilter import attach_device_filter, device_program


@pytest.fixture
def group(needs_root: None) -> Iterator[Path]:
    unified = Layout.of_machine().unified
    if unified is None:
        pytest.skip("this machine has no tree of control groups of version 2")
    place = unified / f"lltest-filter-{os.getpid()}"
    place.mkdir()
    yield place
    for _ in range(100):
        try:
            place.rmdir()
            return
        except OSError:
            time.sleep(0.02)


def tries(group: Path, tmp_path: Path) -> list[str]:
    """In the group, read the null device, write to it, read /dev/zero, and make a disk's node and a terminal's."""
    code = f"""
        import os, stat
        open({str(group / "cgroup.procs")!r}, "w").write("0")
        def attempt(work):
            try:
                work()
                return "yes"
            except PermissionError:
                return "no"
        print(
            attempt(lambda: os.read(os.open("/dev/null", os.O_RDONLY), 1)),
            attempt(lambda: os.write(os.open("/dev/null", os.O_WRONLY), b"x")),
            attempt(lambda: os.read(os.open("/dev/zero", os.O_RDONLY), 1)),
            attempt(lambda: os.mknod({str(tmp_path / "disk")!r}, stat.S_IFBLK | 0o600, os.makedev(8, 1))),
            attempt(lambda: os.mknod({str(tmp_path / "node")!r}, stat.S_IFCHR | 0o600, os.makedev(1, 3))),
        )
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_kernel_asks_it(group: Path, tmp_path: Path) -> None:
    try:
        attach_device_filter(group, ["c 1:3 r", "b 8:* m"])
    except OSError as error:
        pytest.skip(f"this kernel takes no filters for devices: {error.strerror}")
    assert tries(group, tmp_path) == ["yes", "no", "no", "yes", "no"]


def test_the_usual_rules(group: Path, tmp_path: Path) -> None:
    try:
        attach_device_filter(group, ["c *:* m", "c 1:3 rwm", "c 1:5 rwm"])
    except OSError as error:
        pytest.skip(f"this kernel takes no filters for devices: {error.strerror}")
    assert tries(group, tmp_path) == ["yes", "yes", "yes", "no", "yes"]


def test_its_length_is_that_of_its_rules() -> None:
    assert len(device_program([])) == 8 * 8
    assert len(device_program(["c *:* rwm"])) == 8 * (8 + 3)
    assert len(device_program(["c 1:3 r"])) == 8 * (8 + 8)
