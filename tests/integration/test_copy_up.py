"""Copy-up: what is copied, what is kept, what it does not touch; and that hard links and numbers stay."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fusefs import EffectKind, Operation, Options, UnionFS
from fusefs.drivers.fusepython import LIMITS
from tests.conftest import NOBODY
from tests.fusefs.worlds import PAST
from tests.integration.conftest import Union

GIGABYTE = 1 << 30

ATTRIBUTES = {"user.bytes": bytes(range(256)), "user.text": "\u00e4\u6f22".encode(), "user.none": b""}


def test_all_metadata_is_kept(union: Union, tool: Callable[[str], str]) -> None:
    tool("setfacl")
    tool("setcap")
    path = union.lower / "program"
    shutil.copy("/bin/true", path)
    os.chown(path, 1000, 1001)
    path.chmod(0o6755)
    subprocess.run(["setfacl", "-m", "u:33:rx", path], check=True)
    subprocess.run([tool("setcap"), "cap_net_raw+ep", path], check=True)
    os.setxattr(path, "user.colour", b"red")
    os.setxattr(path, "trusted.secret", b"1")
    os.utime(path, ns=(PAST, PAST))
    merged = union.mount()
    os.setxattr(merged / "program", "user.new", b"1")
    copy = union.upper / "program"
    was, now = path.stat(), copy.stat()
    assert (now.st_mode, now.st_uid, now.st_gid, now.st_mtime_ns) == (was.st_mode, 1000, 1001, PAST)
    assert copy.read_bytes() == path.read_bytes()
    wanted = {name: os.getxattr(path, name) for name in os.listxattr(path)} | {"user.new": b"1"}
    found = {name: os.getxattr(copy, name) for name in os.listxattr(copy) if ".overlay." not in name}
    assert found == wanted
    assert {"security.capability", "system.posix_acl_access"} <= set(found)


def test_parents_are_copied_with_their_metadata_and_keep_their_times(union: Union) -> None:
    (union.lower / "a" / "b").mkdir(parents=True)
    (union.lower / "a" / "b" / "file").write_bytes(b"1")
    (union.lower / "a").chmod(0o2750)
    os.chown(union.lower / "a", 1000, 1001)
    os.setxattr(union.lower / "a" / "b", "user.colour", b"blue")
    for path in (union.lower / "a" / "b", union.lower / "a"):
        os.utime(path, ns=(PAST, PAST))
    merged = union.mount()
    (merged / "a" / "b" / "file").chmod(0o600)
    upper = (union.upper / "a").stat()
    assert (stat.S_IMODE(upper.st_mode), upper.st_uid, upper.st_gid) == (0o2750, 1000, 1001)
    assert os.getxattr(union.upper / "a" / "b", "user.colour") == b"blue"
    assert {(union.upper / path).stat().st_mtime_ns for path in ("a", "a/b")} == {PAST}


def test_reading_copies_nothing_up_and_leaves_no_trace(union: Union) -> None:
    (union.lower / "file").write_bytes(b"1")
    os.utime(union.lower / "file", ns=(PAST, PAST))
    merged = union.mount()
    assert (merged / "file").read_bytes() == b"1"
    os.listdir(merged)
    assert os.listdir(union.upper) == []
    assert (union.lower / "file").stat().st_atime_ns == PAST


def test_a_sparse_file_stays_sparse(union: Union) -> None:
    with open(union.lower / "sparse", "wb") as file:
        file.truncate(5 * GIGABYTE)
        file.seek(4 * GIGABYTE)
        file.write(b"beyond four gigabytes")
    merged = union.mount()
    with open(merged / "sparse", "r+b") as file:
        file.write(b"start")
        file.seek(4 * GIGABYTE)
        assert file.read(6) == b"beyond"
    copy = (union.upper / "sparse").stat()
    assert copy.st_size == 5 * GIGABYTE
    assert copy.st_blocks * 512 < 8 << 20


@pytest.mark.parametrize("kind", ["fifo", "device", "symlink", "socket"])
def test_special_files_are_copied_up(union: Union, kind: str) -> None:
    path = union.lower / kind
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "device":
            os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 7))
        case "socket":
            os.mknod(path, stat.S_IFSOCK | 0o600)
        case _:
            path.symlink_to("/nowhere")
    merged = union.mount()
    os.chown(merged / kind, 1000, 1000, follow_symlinks=False)
    was, now = os.lstat(path), os.lstat(union.upper / kind)
    assert (stat.S_IFMT(now.st_mode), now.st_rdev, now.st_uid) == (stat.S_IFMT(was.st_mode), was.st_rdev, 1000)
    os.rename(merged / kind, merged / "moved")
    assert stat.S_IFMT(os.lstat(merged / "moved").st_mode) == stat.S_IFMT(was.st_mode)


def test_numbers_stay_across_copy_up_rename_and_remount(union: Union) -> None:
    (union.lower / "dir").mkdir()
    for name in ("file", "dir/inner", "other"):
        (union.lower / name).write_bytes(b"1")
    merged = union.mount()

    def numbers() -> dict[str, int]:
        return {name: os.lstat(merged / name).st_ino for name in ("file", "dir", "dir/inner", "other")}

    before = numbers()
    with open(merged / "file", "a") as file:
        file.write("more")
    (merged / "dir" / "inner").chmod(0o600)
    os.rename(merged / "file", merged / "dir" / "file")
    os.rename(merged / "dir" / "file", merged / "file")
    assert numbers() == before
    listed = {entry.name: entry.inode() for entry in os.scandir(merged)}
    assert listed == {name: before[name] for name in ("file", "dir", "other")}
    union.unmount()
    union.mount()
    assert numbers() == before
    assert len({*numbers().values()}) == 4


def test_hard_links_stay_links(union: Union) -> None:
    (union.lower / "one").write_bytes(b"1")
    os.link(union.lower / "one", union.lower / "two")
    merged = union.mount()
    number = os.lstat(merged / "one").st_ino
    with open(merged / "one", "ab") as file:
        file.write(b"2")
    assert (merged / "two").read_bytes() == b"12"
    assert {os.lstat(merged / name).st_ino for name in ("one", "two")} == {number}
    assert os.lstat(merged / "two").st_nlink == 2
    os.unlink(merged / "one")
    assert os.lstat(merged / "two").st_nlink == 1
    os.link(merged / "two", merged / "three")
    union.unmount()
    union.mount()
    assert (merged / "two").read_bytes() == b"12"
    assert {(os.lstat(merged / name).st_ino, os.lstat(merged / name).st_nlink) for name in ("two", "three")} == {
        (number, 2)
    }


@pytest.mark.cannot("fuse-python", LIMITS["binary attributes"])
def test_binary_attributes_are_read(union: Union) -> None:
    (union.lower / "file").touch()
    for name, value in ATTRIBUTES.items():
        os.setxattr(union.lower / "file", name, value)
    merged = union.mount()
    assert {name: os.getxattr(merged / "file", name) for name in os.listxattr(merged / "file")} == ATTRIBUTES


@pytest.mark.cannot("fuse-python", LIMITS["binary attributes"])
def test_binary_attributes_are_set(union: Union) -> None:
    (union.lower / "file").touch()
    merged = union.mount()
    for name, value in ATTRIBUTES.items():
        os.setxattr(merged / "file", name, value)
    assert {name: os.getxattr(union.upper / "file", name) for name in ATTRIBUTES} == ATTRIBUTES


@pytest.mark.cannot("fuse-python", LIMITS["nanoseconds"])
def test_times_have_nanoseconds_and_reach_far(union: Union) -> None:
    (union.lower / "file").touch()
    merged = union.mount()
    os.utime(merged / "file", ns=(PAST, 4_200_000_000_123_456_789))
    status = os.lstat(merged / "file")
    assert (status.st_atime_ns, status.st_mtime_ns) == (PAST, 4_200_000_000_123_456_789)


def test_the_privilege_bits_are_dropped_on_write_and_chown(union: Union, user: object) -> None:
    (union.lower / "program").write_bytes(b"1")
    (union.lower / "program").chmod(0o6777)
    merged = union.mount()
    done = subprocess.run(
        ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "sh", "-c", 'echo 2 >>"$1"', "sh",
         merged / "program"],
        check=False, capture_output=True,
    )  # fmt: skip
    if done.returncode:
        pytest.skip(f"the temporary directory is closed to others: {done.stderr.decode()}")
    assert stat.S_IMODE(os.lstat(merged / "program").st_mode) == 0o777
    (merged / "program").chmod(0o4755)
    os.chown(merged / "program", 1000, 1000)
    assert stat.S_IMODE(os.lstat(merged / "program").st_mode) == 0o755


def test_a_shorter_file_is_cut_before_it_is_copied(new_union: Callable[..., Union]) -> None:
    union = new_union(record=True)
    (union.lower / "file").write_bytes(b"x" * 100_000)
    merged = union.mount()
    os.truncate(merged / "file", 10)
    assert (merged / "file").read_bytes() == b"x" * 10
    union.unmount()
    if union.driver != "overlayfs":
        effects = [effect for op in union.operations() for effect in op.effects]
        copied = [effect.size for effect in effects if effect.kind is EffectKind.COPIED_UP and effect.path == "/file"]
        assert copied == [10]


@pytest.mark.parametrize("volatile", [False, True])
def test_durability_changes_nothing_that_is_seen(new_union: Callable[..., Union], volatile: bool) -> None:
    union = new_union(options=Options(volatile=volatile))
    (union.lower / "file").write_bytes(b"1")
    merged = union.mount()
    with open(merged / "file", "ab") as file:
        file.write(b"2")
        os.fsync(file.fileno())
    fd = os.open(merged, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)
    union.unmount()
    assert (union.upper / "file").read_bytes() == b"12"


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_a_copy_that_shares_its_data_needs_no_sync(kind: str, tmp_path: Path, tool: Callable[[str], str]) -> None:
    """With data shared, copy-up takes no longer for a large file than for a small one, since nothing is written."""
    tool("losetup")
    make, image, at = tool(f"mkfs.{kind}"), tmp_path / "image", tmp_path / "at"
    subprocess.run(["truncate", "-s", "512M", image], check=True)
    subprocess.run([make, "-q", image], check=True, capture_output=True)
    at.mkdir()
    if subprocess.run(["mount", "-o", "loop", image, at], capture_output=True, check=False).returncode:
        pytest.skip(f"needs a kernel that mounts {kind}")
    try:
        for name in ("lower", "upper", "work"):
            (at / name).mkdir()
        (at / "lower/large").write_bytes(os.urandom(8 << 20))
        synced: list[int] = []
        operations: list[Operation] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", synced.append)
            with UnionFS(lower=[at / "lower"], upper=at / "upper", work=at / "work", record=operations.append) as union:
                union.chmod("/large", 0o600)
        assert synced == []
        assert [effect.size for operation in operations for effect in operation.effects if effect.origin] == [0]
        assert (at / "upper/large").read_bytes() == (at / "lower/large").read_bytes()
    finally:
        subprocess.run(["umount", at], check=True)
