"""The devfuse driver and those who wait for it, or whom it waits for: killed programs, memory, ordinary users."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import NOBODY
from tests.integration.devfuseplace import Place
from tests.patience import until

pytestmark = pytest.mark.usefixtures("root", "fuse")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGCHLD])
def test_who_is_killed_waits_for_no_copy_up(place: Place, number: signal.Signals) -> None:
    """A copy-up that nobody wants any more is given up, and leaves nothing; a signal that kills nobody ends nothing."""
    size = 1 << 28 if number == signal.SIGCHLD else 2 << 30
    with open(place.lower / "large", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)  # blocks that are copied, without having been written
    merged = place.mount()
    code = f"""
import os, signal
signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.signal(signal.SIGCHLD, lambda *_: None)
os.open({str(merged / "large")!r}, os.O_RDWR)
"""
    program = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    work = place.at / "work/work"

    def under_way() -> bool:
        try:
            return any((work / name).stat().st_blocks > 1 << 10 for name in os.listdir(work))
        except FileNotFoundError:  # it has just come to its end
            return True

    until(under_way)
    program.send_signal(number)
    if number == signal.SIGCHLD:
        assert program.wait() == 0
        assert (place.upper / "large").stat().st_size == size
        return
    assert program.wait() == -number
    until(lambda: not os.listdir(work))
    assert not (place.upper / "large").exists()
    assert len(place.asked("INTERRUPT")) == 1
    with open(merged / "large", "rb") as reader:
        assert reader.read(1) == b"\0"


def test_memory_is_given_back(place: Place) -> None:
    for number in range(400):
        (place.lower / f"d{number}").mkdir()
        for name in range(150):
            (place.lower / f"d{number}" / f"n{name}").touch()
    merged = place.mount(nodes=100_000)
    assert place.mounted is not None
    pid = place.mounted.pid

    def resident() -> float:
        status = Path(f"/proc/{pid}/status").read_text()
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS"))

    before = resident()
    walked = subprocess.run(["find", merged, "-ls"], stdout=subprocess.PIPE, check=True).stdout
    assert walked.count(b"\n") > 60_000
    grown = resident()
    assert grown > before + 20, "it knows sixty thousand objects"
    Path("/proc/sys/vm/drop_caches").write_text("2")
    until(lambda: resident() - before < (grown - before) / 3)


def test_as_an_ordinary_user_by_fusermount(place: Place, tool: Callable[[str], str]) -> None:
    """Without root and without a namespace: fusermount3 mounts, and sends the descriptor."""
    tool("fusermount3")
    shutil.chown(place.at, NOBODY, NOBODY)
    for path in place.at.rglob("*"):
        shutil.chown(path, NOBODY, NOBODY)
    code = f"""
import os
from pathlib import Path
from fusefs import Level, Stack, mount
at = Path({str(place.at)!r})
with mount(Stack((at / "lower",), at / "upper", at / "work"), at / "merged", driver="devfuse", journal=at / "j"):
    table = Path("/proc/self/mountinfo").read_text()
    assert "fuse.layerlab" in table and "user_id={NOBODY}" in table, table
    (at / "merged/new").write_text("new")
    os.unlink(at / "merged/dir/inner")
    os.rename(at / "merged/file", at / "merged/moved")
    with open(at / "merged/moved", "r+b") as file: file.write(b"x")
    assert (at / "merged/moved").read_bytes()[:2] == b"xo"
    assert sorted(os.listdir(at / "merged")) == ["dir", "moved", "new"]
"""
    root = Path(__file__).resolve().parents[2]
    interpreter = Path(sys.executable).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "tests.ordinary", str(NOBODY), str(NOBODY), root, sys.prefix, interpreter, "--",
         sys.executable, "-c", code],
        capture_output=True, text=True, check=False, cwd=root,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (place.upper / "moved").read_bytes()[:2] == b"xo"
