"""The devfuse driver's own traps: passthrough beside the page cache, what the kernel may believe, how a mount ends."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fusefs import Journal, Kind, Level, Options
from fusefs.drivers.devfuse import Passthrough
from fusefs.mount import find_mount, unmount
from tests.conftest import NOBODY
from tests.integration.devfuseplace import NEW, OLD, Place
from tests.patience import until

pytestmark = pytest.mark.usefixtures("root", "fuse")

# Passthrough


def test_passthrough_is_used_where_it_is_said_to_be(place: Place) -> None:
    merged = place.mount()
    (merged / "new").write_bytes(NEW)
    assert (merged / "new").read_bytes() == NEW
    assert (merged / "file").read_bytes() == OLD
    assert not place.asked("WRITE node")
    assert not place.asked(" READ node"), "the file is small: it was put into the page cache"
    assert len(place.asked("PASSTHROUGH")) == 2
    place.unmount()
    assert (place.upper / "new").read_bytes() == NEW


def test_one_backing_file_for_all_that_have_it_open(place: Place) -> None:
    merged = place.mount()
    with open(merged / "new", "w+b") as one, open(merged / "new", "r+b") as two, open(merged / "new", "rb") as three:
        one.write(b"one")
        one.flush()
        assert two.read(10) == three.read(10) == b"one"
        two.write(b" two")
        two.flush()
        assert three.read(10) == b" two"
    assert len({line.split("backing_id=")[1] for line in place.asked("backing_id=")}) == 1


def test_a_reader_of_a_lower_file_sees_what_is_written(place: Place) -> None:
    merged = place.mount()
    with open(merged / "file", "rb", buffering=0) as reader:
        assert reader.read(4) == b"oooo"
        with open(merged / "file", "r+b", buffering=0) as writer:
            writer.write(NEW)
            assert os.pread(reader.fileno(), 4, 0) == b"NNNN"
            assert not place.asked("PASSTHROUGH")
    until(lambda: len([line for line in place.asked("RELEASE") if place.asked(f"{line.split()[0]} = ")]) == 2)
    with open(merged / "file", "r+b", buffering=0) as writer:  # nobody reads now: the kernel may write by itself
        writer.write(b"again")
        assert place.asked("PASSTHROUGH")
        with open(merged / "file", "rb", buffering=0) as reader:
            assert reader.read(9) == b"againNNNN"


def test_pages_from_before_a_write_in_passthrough_are_dropped(place: Place) -> None:
    merged = place.mount()
    assert (merged / "file").read_bytes() == OLD  # through the page cache
    with open(merged / "file", "r+b") as writer:  # in passthrough
        writer.write(NEW)
    (merged / "file").chmod(0o4755)  # from now on writers go through the page cache
    with open(merged / "file", "r+b", buffering=0) as both:
        assert both.read(4096) == NEW
        both.write(b"!")
    assert (merged / "file").read_bytes() == NEW + b"!" + OLD[4097:]


def test_setuid_goes_when_another_writes(place: Place) -> None:
    merged = place.mount()
    for name in ("made", "file"):
        (merged / name).write_bytes(b"program")
        (merged / name).chmod(0o6777)
        code = f"open({str(merged / name)!r}, 'r+b').write(b'other')"
        subprocess.run(
            [sys.executable, "-c", f"import os; os.setgid({NOBODY}); os.setuid({NOBODY}); {code}"], check=True
        )
        assert stat.S_IMODE((merged / name).stat().st_mode) == 0o777
        assert (merged / name).read_bytes() == b"otheram"


def test_all_in_passthrough_a_writer_of_what_is_read(place: Place) -> None:
    merged = place.mount(passthrough=Passthrough.ALL)
    before = (merged / "file").stat()
    with open(merged / "file", "rb", buffering=0) as reader:
        assert reader.read(4) == b"oooo"
        with open(merged / "file", "r+b") as writer:
            writer.write(NEW)
        assert (merged / "file").read_bytes() == NEW + OLD[4096:]
        assert os.pread(reader.fileno(), 4, 0) == b"oooo", "the documented difference: the old descriptor, the old data"
    assert (merged / "file").stat().st_ino == before.st_ino
    assert place.asked("ESTALE")
    assert not place.asked(" READ node")
    (merged / "dir" / "inner").chmod(0o600)
    with open(merged / "dir" / "inner", "ab") as writer:
        writer.write(b"!")
    assert (merged / "dir" / "inner").read_bytes() == b"inner!"


def test_all_in_passthrough_a_file_that_is_changed_while_it_is_read(place: Place) -> None:
    merged = place.mount(passthrough=Passthrough.ALL)
    with open(merged / "file", "rb", buffering=0) as reader:
        os.truncate(merged / "file", 3)
        assert (merged / "file").read_bytes() == b"ooo"
        assert (merged / "file").stat().st_size == 3
        (merged / "file").unlink()
        assert not (merged / "file").exists()
        assert reader.read(4) == b"oooo"


def test_a_read_only_stack_is_all_in_passthrough(place: Place) -> None:
    merged = place.mount(read_only=True)
    assert (merged / "file").read_bytes() == OLD
    assert len(place.asked("PASSTHROUGH")) == 1
    with pytest.raises(OSError, match="Read-only"):
        (merged / "file").write_bytes(NEW)


def test_a_program_runs_and_maps_in_every_mode(place: Place) -> None:
    (place.lower / "true").write_bytes(Path("/bin/true").read_bytes())
    (place.lower / "true").chmod(0o755)
    for passthrough in (Passthrough.UPPER, Passthrough.ALL, Passthrough.OFF):
        merged = place.mount(passthrough=passthrough)
        subprocess.run([merged / "true"], check=True)
        with open(merged / "file", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[:4] = b"MMAP"
            mapped.flush()
        assert (merged / "file").read_bytes()[:5] == b"MMAPo"
        place.unmount()


def test_a_shared_mapping_shows_in_the_status(place: Place) -> None:
    merged = place.mount()
    (merged / "new").write_bytes(OLD)
    os.utime(merged / "new", ns=(1, 1))
    assert (merged / "new").stat().st_mtime_ns == 1
    with open(merged / "new", "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[:4] = b"MMAP"
        assert (merged / "new").stat().st_mtime_ns > 1


def test_recording_all_sees_each_read_and_write(place: Place) -> None:
    merged = place.mount(level=Level.ALL)
    with open(merged / "file", "r+b", buffering=0) as file:
        for _ in range(3):
            os.pread(file.fileno(), 100, 50)
        os.pwrite(file.fileno(), b"x" * 7, 11)
    (merged / "file").read_bytes()
    assert not place.asked("PASSTHROUGH")
    place.unmount()
    with Journal(place.at / "journal") as journal:
        seen = [(one.kind, one.offset, one.size) for one in journal.operations() if one.kind.is_data]
    assert seen[:4] == [(Kind.READ, 50, 100)] * 3 + [(Kind.WRITE, 11, 7)]
    assert sum(size for kind, _, size in seen[4:] if kind is Kind.READ) == len(OLD)


def test_recording_metadata_keeps_passthrough(place: Place) -> None:
    merged = place.mount(level=Level.METADATA)
    (merged / "new").write_bytes(NEW)
    assert place.asked("PASSTHROUGH")
    place.unmount()
    with Journal(place.at / "journal") as journal:
        assert Kind.CREATE in {one.kind for one in journal.operations()}


# What the kernel may believe


def test_what_is_known_is_not_asked_again(place: Place) -> None:
    merged = place.mount()
    for _ in range(3):
        os.stat(merged / "dir" / "inner")
        assert sorted(os.listdir(merged)) == ["dir", "file"]
        with pytest.raises(FileNotFoundError):
            os.stat(merged / "absent")
    place.unmount()
    assert len(place.asked("LOOKUP", "'absent'")) == 1
    assert len(place.asked("LOOKUP", "'inner'")) == 1
    assert len(place.asked("READDIR")) == 2  # the names, and that there are no more
    (line,) = place.asked("OPENDIR")
    assert place.asked(line.split()[0] + " ", "ENOSYS")


def test_a_copied_up_directory_is_asked_for_again(place: Place) -> None:
    (place.lower / "dir" / "sub").mkdir()
    (place.lower / "dir" / "sub" / "deep").write_text("deep")
    merged = place.mount()
    assert (merged / "dir").stat().st_nlink == 3
    (merged / "dir" / "sub" / "deep").chmod(0o600)
    assert (merged / "dir").stat().st_nlink == 1
    assert (merged / "dir" / "sub").stat().st_nlink == 1


def test_a_copied_up_hard_link_changes_its_number(place: Place) -> None:
    place.options = Options(index=False)
    (place.lower / "other").hardlink_to(place.lower / "file")
    merged = place.mount()

    def numbers() -> dict[str, int]:
        return {entry.name: entry.inode() for entry in os.scandir(merged)}

    before = numbers()
    assert before["file"] == before["other"] == (merged / "file").stat().st_ino
    with open(merged / "file", "r+b") as file:
        file.write(b"x")
    status = (merged / "file").stat()
    assert (status.st_nlink, (merged / "other").stat().st_nlink) == (1, 2)
    assert status.st_ino != before["file"]
    assert numbers()["file"] == status.st_ino
    assert numbers()["other"] == before["other"]


def test_an_indexed_hard_link_keeps_its_number(place: Place) -> None:
    place.options = Options(index=True)
    (place.lower / "dir" / "other").hardlink_to(place.lower / "file")
    merged = place.mount()
    before = (merged / "file").stat()
    assert (merged / "dir" / "other").stat().st_ino == before.st_ino
    with open(merged / "file", "r+b") as file:
        file.write(b"x")
    for name in ("file", "dir/other"):
        status = (merged / name).stat()
        assert (status.st_ino, status.st_nlink) == (before.st_ino, 2)
        assert (merged / name).read_bytes() == b"x" + OLD[1:]


def test_links_are_one_node(place: Place) -> None:
    merged = place.mount()
    (merged / "one").write_bytes(b"first")
    os.link(merged / "one", merged / "dir" / "two")
    with open(merged / "dir" / "two", "ab") as file:
        file.write(b" second")
    assert (merged / "one").read_bytes() == b"first second"
    (merged / "one").chmod(0o600)
    assert stat.S_IMODE((merged / "dir" / "two").stat().st_mode) == 0o600
    assert (merged / "dir" / "two").stat().st_nlink == 2
    (merged / "one").unlink()
    assert (merged / "dir" / "two").stat().st_nlink == 1


def test_layers_that_somebody_edits(place: Place) -> None:
    place.options = Options(cache=False)
    merged = place.mount()
    assert (merged / "file").read_bytes() == OLD
    assert not (merged / "late").exists()
    (place.lower / "file").write_bytes(b"edited")
    (place.lower / "late").write_text("late")
    assert (merged / "file").read_bytes() == b"edited"
    assert (merged / "late").read_text() == "late"
    assert sorted(os.listdir(merged)) == ["dir", "file", "late"]


def test_a_listing_while_names_come_and_go(place: Place) -> None:
    for number in range(3000):
        (place.lower / "dir" / f"name{number:04}").touch()
    merged = place.mount()
    seen = []
    with os.scandir(merged / "dir") as entries:
        for entry in entries:
            seen.append(entry.name)
            os.unlink(entry.path)
            if len(seen) % 100 == 0:
                (merged / "dir" / f"new{len(seen)}").touch()
    kept = [name for name in seen if not name.startswith("new")]
    assert len(kept) == len(set(kept)) == 3001
    assert all(name.startswith("new") for name in os.listdir(merged / "dir"))


def test_names_do_not_vanish_when_the_kernel_forgets(place: Place) -> None:
    for number in range(200):
        (place.lower / "dir" / f"name{number}").write_text(str(number))
    os.link(place.lower / "dir" / "name0", place.lower / "dir" / "link")
    merged = place.mount()
    stop = threading.Event()

    def forget() -> None:
        while not stop.is_set():
            Path("/proc/sys/vm/drop_caches").write_text("2")

    thread = threading.Thread(target=forget)
    thread.start()
    try:
        for turn in range(5):
            for number in range(200):
                expected = "0" + "+" * turn if number == 0 else str(number)
                assert (merged / "dir" / f"name{number}").read_text() == expected
            with open(merged / "dir" / "link", "a") as file:
                file.write("+")
            assert (merged / "dir" / "link").stat().st_size == 2 + turn
    finally:
        stop.set()
        thread.join()


# Workers


def _used(pid: int) -> int:
    """Return the nanoseconds of processor time that a process has used."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def test_a_mount_that_nobody_uses_takes_no_time(place: Place) -> None:
    merged = place.mount(lookout=10_000)
    assert place.mounted is not None
    pid = place.mounted.pid
    for number in range(200):
        assert not (merged / f"absent{number}").exists()
    time.sleep(0.1)
    before = _used(pid)
    time.sleep(1)
    assert _used(pid) - before < 100_000_000


def test_a_copy_up_keeps_nobody_waiting(place: Place) -> None:
    with open(place.lower / "large", "wb") as file:
        for _ in range(192):
            file.write(os.urandom(1 << 20))
    merged = place.mount(workers=2)
    done = threading.Event()

    def touch() -> None:
        with open(merged / "large", "r+b") as file:
            file.write(b"x")
        done.set()

    thread = threading.Thread(target=touch)
    thread.start()
    waits = []
    number = 0
    began = time.monotonic()
    while not done.is_set():
        number += 1
        start = time.monotonic()
        assert not (merged / "dir" / f"absent{number}").exists()
        waits.append(time.monotonic() - start)
    thread.join()
    assert len(waits) > 20
    assert sorted(waits)[len(waits) // 2] < (time.monotonic() - began) / 20


def test_many_programs_at_once(place: Place) -> None:
    merged = place.mount()
    code = """
import os, sys
here = os.path.join(sys.argv[1], "dir", "p" + sys.argv[2])
os.mkdir(here)
for i in range(150):
    with open(f"{here}/{i}", "w+") as f:
        f.write(str(i)); f.seek(0); assert f.read() == str(i)
    os.rename(f"{here}/{i}", f"{here}/r{i}")
    if i % 3 == 0: os.unlink(f"{here}/r{i}")
with open(os.path.join(sys.argv[1], "file"), "ab") as f: f.write(b"x")
assert len(os.listdir(here)) == 100
"""
    running = [subprocess.Popen([sys.executable, "-c", code, merged, str(n)]) for n in range(4)]
    assert [process.wait() for process in running] == [0] * 4
    assert (merged / "file").read_bytes() == OLD + b"xxxx"


# How it ends


def test_killed_it_answers_and_can_be_cleared(place: Place) -> None:
    merged = place.mount()
    (merged / "new").write_bytes(NEW)
    assert place.mounted is not None
    os.kill(place.mounted.pid, signal.SIGKILL)

    def cut_off() -> bool:
        try:
            os.stat(merged / "asked only now")
        except OSError as error:
            return error.errno == errno.ENOTCONN
        return False

    until(cut_off)
    with pytest.raises(OSError, match="Transport endpoint is not connected"):
        os.listdir(merged)
    place.mounted = None
    unmount(merged)
    assert find_mount(merged) is None
    assert (place.mount() / "new").read_bytes() == NEW


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_unmounts(place: Place, number: signal.Signals) -> None:
    merged = place.mount()
    assert place.mounted is not None
    os.kill(place.mounted.pid, number)
    until(lambda: find_mount(merged) is None)
    place.mounted = None


def test_memory_stays_within_bounds(place: Place) -> None:
    for number in range(60):
        (place.lower / f"d{number}").mkdir()
        for name in range(100):
            (place.lower / f"d{number}" / f"n{name}").touch()
    merged = place.mount(nodes=600)
    assert place.mounted is not None
    kernel = tuple(map(int, os.uname().release.split(".")[:2]))
    if kernel < (6, 18):
        pytest.skip("needs Linux 6.18, which can be asked to let nodes go")
    for number in range(60):
        for entry in os.scandir(merged / f"d{number}"):
            entry.stat(follow_symlinks=False)

    def given() -> int:
        batches = sum(int(line.split("count=")[1].split()[0]) for line in place.asked("BATCH_FORGET"))
        return batches + len(place.asked("FORGET node")) - len(place.asked("BATCH_FORGET node"))

    until(lambda: given() > 4000)  # the kernel was asked to let go of what it had looked up, and does
    assert (merged / "d0" / "n0").exists()


# For everybody


def test_in_a_user_namespace(place: Place, tool: Callable[[str], str]) -> None:
    code = f"""
import os
from pathlib import Path
from fusefs import Stack, mount
at = Path({str(place.at)!r})
with mount(Stack((at / "lower",), at / "upper", at / "work"), at / "merged", driver="devfuse") as mounted:
    (at / "merged" / "new").write_text("new")
    with open(at / "merged" / "file", "r+b") as file: file.write(b"x")
    os.unlink(at / "merged" / "dir" / "inner")
    assert os.listdir(at / "merged" / "dir") == []
    assert (at / "merged" / "file").read_bytes()[:2] == b"xo"
"""
    done = subprocess.run(
        [tool("unshare"), "--user", "--map-root-user", "--mount", sys.executable, "-c", code],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (place.upper / "new").read_text() == "new"


def test_a_default_acl_counts_from_when_it_is_set_until_it_is_removed(place: Place) -> None:
    merged = place.mount()

    def made(name: str) -> int:
        os.close(os.open(merged / "dir" / name, os.O_CREAT | os.O_WRONLY, 0o666))
        (merged / "dir" / f"{name}-dir").mkdir(mode=0o777)
        return stat.S_IMODE((merged / "dir" / name).stat().st_mode)

    entries = ((0x01, 7), (0x04, 7), (0x20, 2))  # the owner, the owning group, others
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", tag, mode, 0xFFFFFFFF) for tag, mode in entries)
    umask = os.umask(0o077)
    try:
        assert made("before") == 0o600
        os.setxattr(merged / "dir", "system.posix_acl_default", acl)
        assert made("under") == 0o662
        assert os.getxattr(merged / "dir" / "under-dir", "system.posix_acl_default") == acl
        os.removexattr(merged / "dir", "system.posix_acl_default")
        assert made("after") == 0o600
    finally:
        os.umask(umask)
