"""The search for leaks finds leaks, and the ordinary user is one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import User
from tests.leaks import traces
from tests.patience import until


def test_a_process_is_found_also_as_an_orphan(tmp_path: Path) -> None:
    before = traces(tmp_path, tmp_path)
    child = subprocess.Popen(["sleep", "60"])
    try:
        orphan = int(subprocess.check_output(["sh", "-c", "sleep 61 >/dev/null & echo $!"]))
        try:
            left = traces(tmp_path, tmp_path) - before
            assert set(left) == {"processes"}
            assert len(left["processes"]) == 2
        finally:
            os.kill(orphan, 9)
    finally:
        child.kill()
        child.wait()
    until(lambda: not traces(tmp_path, tmp_path) - before, lambda: traces(tmp_path, tmp_path) - before)


@pytest.mark.usefixtures("root")
def test_a_mount_devices_and_a_file_are_found(
    tmp_path: Path, tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI", "true")
    ip = tool("ip")
    place = tmp_path / "place"
    place.mkdir()
    before = traces(tmp_path, tmp_path)
    subprocess.run(["mount", "-t", "tmpfs", "none", place], check=True)
    try:
        subprocess.run([ip, "link", "add", "leak0", "type", "veth", "peer", "name", "leak1"], check=True)
        try:
            (tmp_path / "file").touch()
            left = traces(tmp_path, tmp_path) - before
        finally:
            subprocess.run([ip, "link", "del", "leak0"], check=True)
    finally:
        subprocess.run(["umount", place], check=True)
    assert f"{place} (tmpfs)" in left["mounts"]
    assert {"leak0", "leak1"} <= set(left["devices"])
    assert left["files"] == ["file"]


def test_the_user_is_an_ordinary_one(user: User) -> None:
    code = "import os, sim, fusefs; print(os.getuid(), os.getgid(), os.getgroups(), os.getcwd())"
    uid, gid, *rest = user.python(code).split()
    assert (int(uid), int(gid)) == (user.uid, user.gid)
    assert rest[-1] == str(user.home)
    if os.geteuid() == 0:
        assert int(uid) != 0
        assert rest[0] == "[]"
        assert user.run([sys.executable, "-c", "open('/etc/shadow')"]).returncode == 1
