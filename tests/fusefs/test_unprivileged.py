"""The union in the process of an ordinary user: no root, no FUSE, the same semantics, marks that user may write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusefs import Format, Options, syscalls
from fusefs.drivers.overlayfs import mount_overlay
from fusefs.stack import Stack
from tests.conftest import User
from tests.fusefs.worlds import Mounted, look

SCRIPT = """
import os, sys
from fusefs import Format, Options, UnionFS
marks = Format(sys.argv[1]) if sys.argv[1] else None
os.makedirs("lower/dir/sub"); os.makedirs("upper"); os.makedirs("work")
for name in ("file", "dir/one", "dir/sub/two", "gone"):
    open("lower/" + name, "w").write(name)
os.link("lower/file", "lower/linked")
records = []
with UnionFS(["lower"], "upper", "work", record=records.append, options=Options(marks=marks)) as fs:
    print(fs.union.marks.value)
    fs.append_bytes("/file", b" more")
    fs.unlink("/gone")
    fs.unlink("/dir/sub/two"); fs.rmdir("/dir/sub"); fs.mkdir("/dir/sub")
    fs.rename("/dir/one", "/moved")
    fs.symlink("moved", "/link"); fs.link("/moved", "/again")
    fs.chmod("/moved", 0o600); fs.utimens("/moved", (0, 10**9)); fs.truncate("/moved", 3)
    fs.setxattr("/moved", "user.colour", b"red")
    assert fs.read_bytes("/link") == b"dir" and fs.listdir("/dir") == ["sub"] and fs.listdir("/dir/sub") == []
    assert fs.stat("/moved").st_nlink == 2 and fs.listxattr("/moved") == ["user.colour"]
    number = fs.stat("/file").st_ino
with UnionFS(["lower"], "upper", "work", options=Options(marks=marks)) as fs:
    assert fs.listdir("/") == ["again", "dir", "file", "link", "linked", "moved"], fs.listdir("/")
    assert fs.listdir("/dir/sub") == [] and not fs.exists("/gone")
    assert fs.stat("/file").st_ino == number or marks is Format.OCI
print(len(records))
"""


@pytest.mark.parametrize("marks", ["", "user", "oci"])
def test_all_of_it_works(user: User, marks: str) -> None:
    chosen, records = user.python(SCRIPT, marks).split()
    assert chosen == (marks or "user")
    assert int(records) > 20


@pytest.mark.usefixtures("overlayfs")
def test_the_kernel_shows_the_same(user: User) -> None:
    user.python(SCRIPT, "user")
    merged, place = user.home / "merged", user.home
    merged.mkdir()
    stack = Stack((place / "lower",), place / "upper", place / "work")
    mount_overlay(stack, merged, Options(marks=Format.USER, index=False))
    try:
        theirs = look(Mounted(merged))
    finally:
        syscalls.umount(os.fsencode(merged))
    assert sorted(theirs) == ["", "again", "dir", "dir/sub", "file", "link", "linked", "moved"]
    assert (theirs["moved"].content, theirs["moved"].attributes) == (b"dir", (("user.colour", b"red"),))
    assert theirs["file"].content == b"file more"


def test_importing_takes_no_driver_and_little_time(tmp_path: Path) -> None:
    code = "import fusefs, sys; print([name for name in ('fuse', 'networkx', 'matplotlib') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
