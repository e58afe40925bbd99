"""Permissions are the kernel's: owners, groups, sticky and setgid directories, umask, ACLs, for other users too."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fusefs.drivers.fusepython import LIMITS
from tests.conftest import NOBODY
from tests.integration.conftest import Union


def as_nobody(script: str, cwd: Path, *, groups: str = "") -> subprocess.CompletedProcess[str]:
    """Run a shell script as an ordinary user in a directory."""
    who = [f"--reuid={NOBODY}", f"--regid={NOBODY}", f"--groups={groups}" if groups else "--clear-groups"]
    return subprocess.run(["setpriv", *who, "sh", "-c", script], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture
def merged(union: Union) -> Path:
    (union.lower / "open").mkdir()
    (union.lower / "open").chmod(0o777)
    (union.lower / "sticky").mkdir()
    (union.lower / "sticky").chmod(0o1777)
    (union.lower / "sticky" / "roots").write_text("1")
    (union.lower / "group").mkdir()
    os.chown(union.lower / "group", 0, 1234)
    (union.lower / "group").chmod(0o2775)
    (union.lower / "open" / "gone").mkdir()
    (union.lower / "secret").write_text("1")
    (union.lower / "secret").chmod(0o600)
    return union.mount()


def test_what_is_created_belongs_to_the_caller(merged: Path) -> None:
    done = as_nobody("umask 027; touch f; mkdir d; ln -s x l; mkfifo p; rmdir gone; mkdir gone", merged / "open")
    assert done.returncode == 0, done.stderr
    for name in ("f", "d", "l", "p", "gone"):
        status = os.lstat(merged / "open" / name)
        assert (name, status.st_uid, status.st_gid) == (name, NOBODY, NOBODY)
    assert stat.S_IMODE(os.lstat(merged / "open" / "f").st_mode) == 0o640
    assert stat.S_IMODE(os.lstat(merged / "open" / "d").st_mode) == 0o750


def test_others_are_refused(merged: Path) -> None:
    for script in ("cat secret", "echo 1 >secret", "touch new", "rm -f sticky/roots", "mv sticky/roots open/x",
                   "chmod 777 secret", "chown 1 open", "mkdir group/x", "rm -f secret"):  # fmt: skip
        done = as_nobody(script, merged)
        assert done.returncode != 0, script
        assert "ermi" in done.stderr, (script, done.stderr)  # "Permission denied", "Operation not permitted"


def test_a_setgid_directory_passes_its_group_on(merged: Path) -> None:
    done = as_nobody("touch f; mkdir d; rm f; mkdir f", merged / "group", groups="1234")
    assert done.returncode == 0, done.stderr
    for name in ("d", "f"):
        status = os.lstat(merged / "group" / name)
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode) & stat.S_ISGID) == (
            NOBODY, 1234, stat.S_ISGID,
        )  # fmt: skip


@pytest.mark.cannot("fuse-python", LIMITS["acls"])
def test_a_default_acl_is_inherited(union: Union, tool: Callable[[str], str]) -> None:
    tool("setfacl")
    (union.lower / "dir").mkdir()
    (union.lower / "dir" / "old").mkdir()
    subprocess.run(["setfacl", "-d", "-m", "u:1234:rwx", union.lower / "dir"], check=True)
    merged = union.mount()
    (merged / "dir" / "new").touch()
    os.rmdir(merged / "dir" / "old")
    (merged / "dir" / "old").mkdir()
    for name in ("new", "old"):
        said = subprocess.run(
            ["getfacl", "-cn", merged / "dir" / name], check=True, capture_output=True, text=True
        ).stdout
        assert "user:1234:rwx" in said


@pytest.mark.cannot("fuse-python", LIMITS["acls"])
def test_an_acl_lets_one_user_in(union: Union, tool: Callable[[str], str]) -> None:
    tool("setfacl")
    (union.lower / "file").write_text("for you")
    (union.lower / "file").chmod(0o600)
    merged = union.mount()
    assert as_nobody("cat file", merged).returncode != 0
    subprocess.run(["setfacl", "-m", f"u:{NOBODY}:r", merged / "file"], check=True)
    done = as_nobody("cat file", merged)
    assert done.stdout == "for you", done.stderr
