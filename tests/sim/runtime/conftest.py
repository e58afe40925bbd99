"""Fixtures of the runtime's tests: a root filesystem around busybox, and a check that nothing is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

BUSYBOX = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.access(path, os.X_OK)), None)


def build_rootfs(root: Path) -> Path:
    assert BUSYBOX is not None
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "srv"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy2(BUSYBOX, root / "bin/busybox")
    for name in subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/srv:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nwww:x:33:\ntape:x:26:www\n")
    return root


@pytest.fixture(scope="session")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root filesystem that nobody writes to."""
    if BUSYBOX is None:
        pytest.skip("needs a statically linked busybox (Debian: busybox-static)")
    return build_rootfs(tmp_path_factory.mktemp("pristine"))


@pytest.fixture
def rootfs(pristine: Path, tmp_path: Path) -> Path:
    """A root filesystem of the test's own."""
    return Path(shutil.copytree(pristine, tmp_path / "rootfs", symlinks=True))


@pytest.fixture
def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")


def world(base: Path) -> dict[str, set[str]]:
    """What a container of these tests could leave behind: mounts, interfaces, control groups.

    Others may be at work on the same machine, so only names that can be of these tests count.
    """
    return {
        "mounts": {line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(base) in line},
        "interfaces": {name for name in os.listdir("/sys/class/net") if name.startswith(("ve", "lltest"))},
        "cgroups": {str(path) for path in Path("/sys/fs/cgroup").glob("**/lltest*") if path.is_dir()},
    }


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    base = tmp_path_factory.getbasetemp()
    before = world(base)
    yield
    deadline = time.monotonic() + 5
    while any(left := [name for kind, now in world(base).items() for name in now - before[kind]]):
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {left}")
        time.sleep(0.02)
