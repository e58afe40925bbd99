"""Mounts whose process is forked: what they serve, that they outlive their starter, what is said where they fail."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fusefs import FusefsError, Journal, Mount, Stack, mount, unmount
from fusefs.mount import choose_driver, find_mount
from fusefs.serve import NAME
from sim.runtime import end_zygote, fork_mount, start_zygote
from sim.runtime.stamp import process_start
from sim.runtime.zygote import zygote
from tests.conftest import ROOT
from tests.patience import until

pytestmark = pytest.mark.usefixtures("fuse")


@dataclass(frozen=True)
class Place:
    """Directories to mount, and what mounts them."""

    base: Path

    @property
    def merged(self) -> Path:
        return self.base / "merged"

    @property
    def journal(self) -> Path:
        return self.base / "journal.db"

    def stack(self) -> Stack:
        return Stack((self.base / "lower",), self.base / "upper", self.base / "work")

    def mount(self, journal: bool = False) -> Mount:
        path = self.journal if journal else None
        return mount(self.stack(), self.merged, driver="devfuse", journal=path, start=fork_mount)


def place_at(base: Path) -> Place:
    for name in ("lower", "upper", "work", "merged"):
        (base / name).mkdir(parents=True)
    (base / "lower/motd").write_text("hello\n")
    return Place(base)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    if choose_driver() != "devfuse":
        pytest.skip("needs the driver devfuse (Linux 5.4)")
    made = place_at(tmp_path)
    yield made
    if find_mount(made.merged):
        unmount(made.merged)


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_it_serves_and_ends(place: Place) -> None:
    mounted = place.mount()
    assert (place.merged / "motd").read_text() == "hello\n"
    (place.merged / "new").write_text("mine\n")
    assert (place.base / "upper/new").read_text() == "mine\n"
    assert find_mount(place.merged) == Mount(place.merged, "fuse", mounted.pid)
    assert name_of(mounted.pid) == NAME
    parent = Path(f"/proc/{mounted.pid}/stat").read_text().rpartition(")")[2].split()[1]
    assert int(parent) == zygote().pid
    mounted.unmount()
    assert find_mount(place.merged) is None
    until(lambda: not process_start(mounted.pid))


def test_unmounting_waits_until_the_journal_is_complete(place: Place) -> None:
    with place.mount(journal=True):
        (place.merged / "new").write_text("mine\n")
        (place.merged / "motd").unlink()
    with Journal(place.journal) as journal:
        assert journal.closed
        kinds = [operation.kind.value for operation in journal.operations()]
    assert {"create", "write", "unlink"} <= set(kinds)


def test_a_container_has_its_root_on_one(box: Any, tmp_path: Path) -> None:
    if choose_driver() != "devfuse":
        pytest.skip("needs the driver devfuse (Linux 5.4)")
    for name in ("upper", "work", "merged"):
        (tmp_path / name).mkdir()
    stack = Stack((box.rootfs,), tmp_path / "upper", tmp_path / "work")
    with mount(stack, tmp_path / "merged", driver="devfuse", start=fork_mount) as mounted:
        text = box.sh("echo mine > /srv/new; rm /etc/group; ls /etc; id -u", rootfs=mounted.mountpoint)
        assert text.split() == ["passwd", "0"]
    assert (tmp_path / "upper/srv/new").read_text() == "mine\n"
    assert (box.rootfs / "etc/group").exists()


def test_it_outlives_its_starter(place: Place) -> None:
    code = f"""
from pathlib import Path
from sim.runtime import fork_mount
from tests.sim.runtime.test_mounts import Place
print(Place(Path({str(place.base)!r})).mount(journal=True).pid)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    pid = int(done.stdout)
    assert name_of(pid) == NAME
    (place.merged / "new").write_text("mine\n")
    unmount(place.merged)
    until(lambda: not process_start(pid))
    with Journal(place.journal) as journal:
        assert journal.closed
        assert "create" in {operation.kind.value for operation in journal.operations()}


def test_it_outlives_the_zygote(place: Place) -> None:
    mounted = place.mount()
    end_zygote()
    assert (place.merged / "motd").read_text() == "hello\n"
    mounted.unmount()
    until(lambda: not process_start(mounted.pid))


def test_it_ends_when_it_is_told_to(place: Place) -> None:
    mounted = place.mount()
    os.kill(mounted.pid, signal.SIGTERM)
    until(lambda: not process_start(mounted.pid))
    assert find_mount(place.merged) is None


def test_unmounting_a_dead_one(place: Place) -> None:
    mounted = place.mount()
    os.kill(mounted.pid, signal.SIGKILL)
    until(lambda: not process_start(mounted.pid))
    unmount(place.merged)
    assert find_mount(place.merged) is None
    assert os.listdir(place.merged) == []


def test_what_cannot_be_served_is_said(place: Place) -> None:
    with place.mount():  # it holds the RW layer, so that no other may
        other = place.base / "other"
        other.mkdir()
        descriptors = len(os.listdir("/proc/self/fd"))
        with pytest.raises(FusefsError) as refused:
            mount(place.stack(), other, driver="devfuse", start=fork_mount)
        with pytest.raises(FusefsError) as expected:
            mount(place.stack(), other, driver="devfuse")
        assert str(refused.value) == str(expected.value)
        assert find_mount(other) is None
        assert len(os.listdir("/proc/self/fd")) == descriptors


def test_messages_go_to_the_log(place: Place) -> None:
    log = place.base / "log"
    with mount(place.stack(), place.merged, driver="devfuse", log=log, start=fork_mount) as mounted:
        assert os.readlink(f"/proc/{mounted.pid}/fd/2") == str(log)


def test_it_holds_nothing_of_its_starter(place: Place) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    mounted = place.mount()
    os.close(writing)
    assert os.read(reading, 1) == b""  # the end of the pipe: nobody else has it
    os.close(reading)
    mounted.unmount()


def test_many_at_once(place: Place) -> None:
    start_zygote()
    places = [place_at(place.base / f"p{number}") for number in range(12)]
    pids: list[int] = []
    threads = [threading.Thread(target=lambda p=each: pids.append(p.mount().pid)) for each in places]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(pids)) == 12
    assert [(each.merged / "motd").read_text() for each in places] == ["hello\n"] * 12
    for each in places:
        unmount(each.merged)
    until(lambda: not any(map(process_start, pids)))


def test_fuse_python_gets_an_interpreter_of_its_own(place: Place) -> None:
    pytest.importorskip("fuse", reason="needs fuse-python", exc_type=ImportError)
    with mount(place.stack(), place.merged, driver="fuse-python", start=fork_mount) as mounted:
        assert (place.merged / "motd").read_text() == "hello\n"
        assert b"fusefs.serve" in Path(f"/proc/{mounted.pid}/cmdline").read_bytes()
        assert name_of(mounted.pid) == NAME
