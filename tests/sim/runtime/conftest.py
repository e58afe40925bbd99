"""Fixtures of the runtime's tests: a root filesystem around busybox, and a check that nothing is left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sim.runtime import Bind, Process, ProcessSpec, Result
from tests.patience import PATIENCE

#: Those that the tests use: a link for each of the several hundred would take a while in every test.
APPLETS = """
    [ awk cat chmod chown cp cut date dd df echo env expr find grep head hostname id ip kill ln ls mkdir mknod
    mktemp mount mv nc nslookup ping printf ps pwd readlink rm sed seq setsid sh sleep sort stat stty tail
    test timeout touch tr true tty umount uname unshare wc xargs
"""
BUSYBOX = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.access(path, os.X_OK)), None)


def build_rootfs(root: Path) -> Path:
    assert BUSYBOX is not None
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "srv"):
        (root / name).mkdir(parents=True)
    root.chmod(0o755)
    (root / "tmp").chmod(0o1777)
    shutil.copy2(BUSYBOX, root / "bin/busybox")
    for name in APPLETS.split():
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
    subprocess.run(["cp", "-a", pristine, tmp_path / "rootfs"], check=True)  # copytree takes a while for all the links
    return tmp_path / "rootfs"


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
        "interfaces": {name for name in os.listdir("/sys/class/net") if _is_of_a_test(name)},
        "cgroups": {place for place, _, _ in os.walk("/sys/fs/cgroup") if "/lltest" in place},
    }


def _is_of_a_test(interface: str) -> bool:
    """Tell whether a network interface is a bridge of a test, or a container's end of one or of none."""
    try:
        bridge = os.path.basename(os.readlink(f"/sys/class/net/{interface}/master"))
    except OSError:
        bridge = ""
    return interface.startswith("lltest") or (interface.startswith("ve") and bridge[:6] in ("", "lltest"))


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    base = tmp_path_factory.getbasetemp()
    before = world(base)
    yield
    deadline = time.monotonic() + PATIENCE / 3
    while any(left := [name for kind, now in world(base).items() for name in now - before[kind]]):
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: {left}")
        time.sleep(0.02)


@dataclass(frozen=True)
class Box:
    """Runs commands in containers on one root filesystem."""

    rootfs: Path

    def spec(self, *args: str, **wishes: Any) -> ProcessSpec:
        return ProcessSpec(args=args, **{"rootfs": self.rootfs, **wishes})

    def run(self, *args: str, **wishes: Any) -> Result:
        return Process(self.spec(*args, **wishes)).run(capture=True, timeout=30)

    def sh(self, script: str, **wishes: Any) -> str:
        """Return what a script wrote, which must have succeeded."""
        result = self.run("sh", "-c", script, **wishes)
        assert result.code == 0, (result.code, result.stderr)
        return result.stdout.decode()


@pytest.fixture
def box(rootfs: Path) -> Box:
    return Box(rootfs)


@pytest.fixture
def debian(tmp_path: Path) -> Box:
    """A box that has this machine's own programs, read-only: for what busybox cannot ask."""
    root = tmp_path / "debian"
    for name in ("proc", "sys", "dev", "tmp", "etc", "usr"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path(f"/{name}").is_symlink():
            (root / name).symlink_to(os.readlink(f"/{name}"))
    root.chmod(0o755)
    if not Path("/usr/bin/python3").exists() or not (root / "bin").is_symlink():
        pytest.skip("needs a merged /usr with a python3 in it")
    return DebianBox(root)


@dataclass(frozen=True)
class DebianBox(Box):
    def spec(self, *args: str, **wishes: Any) -> ProcessSpec:
        mounts = (Bind(Path("/usr"), "/usr", read_only=True), *wishes.pop("mounts", ()))
        return super().spec(*args, mounts=mounts, **wishes)

    def python(self, code: str, **wishes: Any) -> str:
        result = self.run("/usr/bin/python3", "-I", "-c", textwrap.dedent(code), **wishes)
        assert result.code == 0, result.stderr.decode()
        return result.stdout.decode().strip()
