"""Open files: what descriptors show when the file beneath them is copied up, removed, renamed or cut."""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fusefs.drivers.fusepython import LIMITS
from tests.integration.conftest import Union

OLD, NEW = b"o" * 10_000, b"N" * 4096


@pytest.fixture
def merged(union: Union) -> Path:
    (union.lower / "file").write_bytes(OLD)
    (union.lower / "dir").mkdir()
    (union.lower / "dir" / "inner").write_bytes(b"inner")
    return union.mount()


def test_a_reader_from_before_the_copy_up_sees_what_is_written_after(merged: Path) -> None:
    fd = os.open(merged / "file", os.O_RDONLY)
    try:
        assert os.pread(fd, 4, 0) == b"oooo"
        before = os.fstat(fd)
        with open(merged / "file", "r+b") as writer:
            writer.write(NEW)
        with open(merged / "file", "ab") as writer:
            writer.write(b"tail")
        assert os.pread(fd, 4, 0) == b"NNNN"
        assert os.pread(fd, 100, 10_000) == b"tail"
        assert (os.fstat(fd).st_ino, os.fstat(fd).st_size) == (before.st_ino, 10_004)
    finally:
        os.close(fd)


@pytest.mark.parametrize("name", ["file", "dir/inner"])
def test_an_open_file_outlives_its_name(union: Union, merged: Path, name: str) -> None:
    fd = os.open(merged / name, os.O_RDWR)
    try:
        os.unlink(merged / name)
        assert not (merged / name).exists()
        os.pwrite(fd, b"still here", 0)
        assert os.pread(fd, 10, 0) == b"still here"
        os.ftruncate(fd, 5)
        os.fchmod(fd, 0o640)
        assert (os.fstat(fd).st_size, stat.S_IMODE(os.fstat(fd).st_mode)) == (5, 0o640)
    finally:
        os.close(fd)
    assert (union.lower / name).exists()


@pytest.mark.cannot("fuse-python", LIMITS["unlinked"])
def test_an_unlinked_open_file_has_no_link_and_no_name(union: Union, merged: Path) -> None:
    fd = os.open(merged / "dir" / "inner", os.O_RDONLY)
    try:
        os.unlink(merged / "dir" / "inner")
        if union.driver != "overlayfs":  # which shows the lower file's
            assert os.fstat(fd).st_nlink == 0
        assert os.pread(fd, 5, 0) == b"inner"
        assert os.listdir(merged / "dir") == []
        os.rmdir(merged / "dir")
    finally:
        os.close(fd)


def test_a_replaced_file_is_still_read_by_who_has_it_open(merged: Path) -> None:
    with open(merged / "file", "rb") as reader:
        (merged / "new").write_bytes(b"new")
        os.rename(merged / "new", merged / "file")
        assert reader.read() == OLD
    assert (merged / "file").read_bytes() == b"new"


def test_an_open_file_is_written_after_a_rename_of_it_and_of_its_directory(merged: Path) -> None:
    (merged / "fresh").mkdir()
    with open(merged / "fresh" / "a", "wb", buffering=0) as writer:
        os.rename(merged / "fresh" / "a", merged / "fresh" / "b")
        os.rename(merged / "fresh", merged / "moved")
        writer.write(b"after")
    assert (merged / "moved" / "b").read_bytes() == b"after"


def test_o_trunc_copies_no_data_and_o_append_appends(union: Union, merged: Path) -> None:
    with open(merged / "file", "wb") as writer:
        writer.write(b"new")
    fd = os.open(merged / "file", os.O_WRONLY | os.O_APPEND)
    os.pwrite(fd, b"1", 0)
    os.write(fd, b"2")
    os.close(fd)
    assert (merged / "file").read_bytes() == b"new12"
    with pytest.raises(FileExistsError):
        os.open(merged / "file", os.O_CREAT | os.O_EXCL | os.O_WRONLY)


def test_shared_and_private_mappings(merged: Path) -> None:
    with open(merged / "file", "r+b") as file, mmap.mmap(file.fileno(), 0) as shared:
        shared[:4] = b"MMAP"
        shared.flush()
        with open(merged / "file", "rb") as reader:
            assert reader.read(4) == b"MMAP"
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as private:
            private[:4] = b"mine"
            assert shared[:4] == b"MMAP"


def test_locks_exclude_each_other(merged: Path) -> None:
    with open(merged / "file", "r+b") as one, open(merged / "file", "r+b") as other:
        fcntl.flock(one, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(one, fcntl.LOCK_UN)
        fcntl.lockf(one, fcntl.LOCK_EX)
        code = (
            "import fcntl, sys\n"
            "try: fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
            "except OSError: print('locked')"
        )
        done = subprocess.run([sys.executable, "-c", code, merged / "file"], capture_output=True, text=True, check=True)
        assert done.stdout == "locked\n"


@pytest.mark.cannot("fuse-python", LIMITS["fallocate"])
def test_fallocate_makes_room_and_holes(merged: Path) -> None:
    fd = os.open(merged / "file", os.O_RDWR)
    try:
        os.posix_fallocate(fd, 0, 50_000)
        assert os.fstat(fd).st_size == 50_000
        from fusefs import syscalls

        syscalls.fallocate(fd, 3, 0, 4096)  # punch a hole, keep the size
        assert os.pread(fd, 4, 0) == bytes(4)
        assert os.pread(fd, 4, 5000) == b"oooo"
    finally:
        os.close(fd)


@pytest.mark.cannot("fuse-python", LIMITS["holes"])
def test_holes_are_found(merged: Path) -> None:
    with open(merged / "sparse", "wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"data")
    fd = os.open(merged / "sparse", os.O_RDONLY)
    try:
        assert os.lseek(fd, 0, os.SEEK_DATA) == 1 << 19
        assert os.lseek(fd, 0, os.SEEK_HOLE) == 0
    finally:
        os.close(fd)


@pytest.mark.cannot("fuse-python", LIMITS["tmpfile"])
def test_a_file_without_a_name_can_be_given_one(merged: Path) -> None:
    fd = os.open(merged, os.O_TMPFILE | os.O_RDWR, 0o600)
    try:
        os.write(fd, b"unnamed")
        os.link(f"/proc/self/fd/{fd}", merged / "named", src_dir_fd=fd, follow_symlinks=True)  # as linkat(2) has it
    finally:
        os.close(fd)
    assert (merged / "named").read_bytes() == b"unnamed"


def test_copy_file_range_and_sendfile(merged: Path) -> None:
    with open(merged / "file", "rb") as source, open(merged / "copy", "wb") as target:
        count = os.copy_file_range(source.fileno(), target.fileno(), 5000)
        assert count > 0
        assert os.sendfile(target.fileno(), source.fileno(), count, 10_000 - count) == 10_000 - count
    assert (merged / "copy").read_bytes() == OLD


def test_direct_io(merged: Path) -> None:
    fd = os.open(merged / "direct", os.O_CREAT | os.O_RDWR | os.O_DIRECT)
    try:
        block = mmap.mmap(-1, 4096)
        block.write(b"d" * 4096)
        assert os.pwrite(fd, block, 0) == 4096
        assert os.preadv(fd, [block], 0) == 4096
    finally:
        os.close(fd)


def test_first_writers_at_once_copy_once(union: Union, merged: Path) -> None:
    big = union.merged / "file"
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            with open(big, "r+b", buffering=0) as file:
                file.seek(number * 100)
                file.write(bytes([65 + number]) * 100)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    data = big.read_bytes()
    assert data == b"".join(bytes([65 + number]) * 100 for number in range(20)) + OLD[2000:]


def test_a_listing_survives_deletion_while_it_is_read(union: Union) -> None:
    for number in range(2000):
        (union.lower / f"f{number}").touch()
    merged = union.mount()
    for number in range(2000, 3000):
        (merged / f"f{number}").touch()
    seen: list[str] = []
    with os.scandir(merged) as entries:
        for entry in entries:
            seen.append(entry.name)
            os.unlink(entry.path)
    assert sorted(seen) == sorted(f"f{number}" for number in range(3000))
    assert os.listdir(merged) == []
