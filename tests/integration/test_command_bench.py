"""`layerlab bench`: what it prints and writes, and that nothing stays behind when something goes wrong."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from sim.bench.result import Result
from tests.conftest import User
from tests.sim.bench.results import whole

BENCH = (sys.executable, "-P", "-m", "sim.cli", "bench")


def bench(*words: str, timeout: float = 100) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BENCH, *words], capture_output=True, text=True, check=False, timeout=timeout, stdin=subprocess.DEVNULL
    )


def started(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*BENCH, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )


def wait_for_round(process: subprocess.Popen[str], number: int = 2) -> str:
    """Wait until a run is in a round; return what it has said until then."""
    assert process.stderr is not None
    said = ""
    while line := process.stderr.readline():
        said += line
        if line.startswith(f"round {number} of"):
            return said
    pytest.fail(f"it ended before: {said}")


def test_list() -> None:
    done = bench("list")
    assert done.returncode == 0
    assert "What does a byte at the end cost, when it is the first?" in done.stdout
    for name in ("devfuse-no-passthrough", "unionfs-fuse-best", "package-install", "podman", "xfs-reflink"):
        assert name in done.stdout


def test_a_quick_run_in_this_process(tmp_path: Path) -> None:
    """Needs no privilege and no FUSE; writes all that it says."""
    out = tmp_path / "out"
    done = bench(
        "copy-up", "--quick", "--rounds", "1", "--only", "append", "--size", "1K", "--size", "8K", "--size", "64K",
        "--driver", "in-process", "--driver", "plain", "-o", str(out), "--json", str(tmp_path / "x.json"),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"^append, 8 KiB +[\d.]+ (µs|ms) ±0% +[\d.]+ \?$", done.stdout, re.MULTILINE), done.stdout
    assert "1 sample each, taken in" in done.stdout
    found = Result.load(tmp_path / "x.json")
    assert {one.driver for one in found.series} == {"in-process", "plain"}
    assert found.machine["kernel"].startswith("Linux")
    assert found.filesystems["here"]
    assert found.command.startswith("layerlab bench copy-up --quick --driver in-process")
    assert {path.suffix for path in out.iterdir()} == {".json", ".csv", ".png", ".html"}
    assert set(done.stdout.split()) >= {str(path) for path in out.iterdir()}


@pytest.mark.usefixtures("overlayfs", "fuse")
def test_mounted_drivers_side_by_side(tmp_path: Path) -> None:
    done = bench("metadata", "--quick", "--rounds", "1", "--driver", "overlayfs", "--driver", "devfuse",
                 "--only", "create", "--only", "readdir", "--json", str(tmp_path / "x.json"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = Result.load(tmp_path / "x.json")
    assert {one.driver for one in found.series} == {"overlayfs", "devfuse"}
    assert found.missing == ()


@pytest.mark.usefixtures("root", "fuse")
def test_a_peer_that_is_killed_in_the_middle(tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("fuse-overlayfs")
    process = started(
        "metadata", "--only", "create", "--entries", "1000", "--rounds", "3", "--driver", "in-process",
        "--driver", "fuse-overlayfs", "--depth", "1", "--json", str(tmp_path / "x.json"),
    )  # fmt: skip
    wait_for_round(process, 1)
    end = time.monotonic() + 60
    killed = 0
    while process.poll() is None and time.monotonic() < end:
        for pid in _children(process.pid, "fuse-overlayfs"):
            # A while after it was mounted, so that it is at work; and each that is started again, too.
            time.sleep(0.05)
            try:
                os.kill(pid, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                continue
        time.sleep(0.005)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert killed
    found = Result.load(tmp_path / "x.json")
    assert [one.driver for one in found.series if len(one.seconds) == 3] == ["in-process"]
    assert "missing: fuse-overlayfs" in out


def _children(parent: int, name: str) -> list[int]:
    """Return the processes of a program that a process started."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                status = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            if f"({name})" in status and int(status.rpartition(")")[2].split()[1]) == parent:
                found.append(int(entry))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("root", "overlayfs", "fuse")
def test_interrupted_it_keeps_what_it_has_and_leaves_nothing(number: int, tmp_path: Path) -> None:
    """With an image mounted, on a loop device, and drivers mounted in it."""
    process = started(
        "copy-up", "--only", "append", "--size", "4K", "--filesystem", "ext4", "--rounds", "500", "--depth", "2",
        "--driver", "devfuse", "--driver", "overlayfs", "--driver", "in-process", "--json", str(tmp_path / "x.json"),
    )  # fmt: skip
    wait_for_round(process, 3)
    process.send_signal(number)
    process.send_signal(number)  # an impatient user: undoing is not undone
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "interrupted; what was measured until then is above" in err
    assert "append, 4 KiB, ext4" in out
    found = Result.load(tmp_path / "x.json")
    assert not found.finished
    assert all(1 <= len(one.seconds) < 500 for one in found.series)
    assert found.series
    loops = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    assert not [name for name in loops if f"layerlab-bench-{process.pid}-" in name]


@pytest.mark.usefixtures("fuse")
def test_an_ordinary_user_measures_what_it_can(user: User) -> None:
    """Caches that cannot be dropped are no cold ones; what needs root is named."""
    done = user.run([*BENCH, "metadata", "--quick", "--rounds", "1", "--only", "stat", "--json", "x.json"])
    assert done.returncode == 0, done.stderr
    found = Result.load(user.home / "x.json")
    assert {one.driver for one in found.series} >= {"plain", "in-process"}
    missing = {one.what: one.why for one in found.missing}
    if user.uid != os.geteuid() or os.geteuid() != 0:
        assert {one.case.cache for one in found.series} == {"warm", "as it was"}
        assert "only root can drop" in missing["cold caches"]
        assert "mounted by root only" in missing["overlayfs"]
        assert found.machine["user"] == "an ordinary user"


def test_results_are_compared_drawn_and_put_into_tables(tmp_path: Path) -> None:
    whole(("overlayfs", "devfuse")).save(tmp_path / "a.json")
    whole(("overlayfs", "devfuse"), scale=lambda name: 2.0 if name == "devfuse" else 1.0).save(tmp_path / "b.json")
    done = bench("compare", str(tmp_path / "a.json"), str(tmp_path / "b.json"))
    assert done.returncode == 0, done.stderr
    assert re.search(r"devfuse .* slower$", done.stdout, re.MULTILINE)
    assert not re.search(r"overlayfs .* slower$", done.stdout, re.MULTILINE)
    done = bench("table", str(tmp_path / "a.json"))
    assert done.stdout.startswith("Measured on 2 of 2 processors")
    assert "|  | overlayfs | devfuse |" in done.stdout
    done = bench("model", str(tmp_path / "a.json"))
    assert re.search(r"overlayfs, ext4 +10\d µs .* 1.8\d GiB/s", done.stdout), done.stdout
    assert "error where held out" in done.stdout
    done = bench("report", str(tmp_path / "a.json"), "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/a.html").exists()


def test_a_trace_is_predicted(tmp_path: Path) -> None:
    from fusefs import JournalLayer, Recorder, UnionFS

    for name in ("base", "upper", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "base/db").write_bytes(b"x" * 2_000_000)
    layers = [JournalLayer(0, "rw", "upper", tmp_path / "upper"), JournalLayer(1, "ro", "base", tmp_path / "base")]
    with (
        Recorder(tmp_path / "journal.db", layers) as record,
        UnionFS([tmp_path / "base"], tmp_path / "upper", tmp_path / "work", record=record) as fs,
    ):
        fs.append_bytes("/db", b"12345")
    whole(("overlayfs",)).save(tmp_path / "a.json")
    whole(("overlayfs",), scale=lambda _: 10.0).save(tmp_path / "slow.json")
    done = bench("model", str(tmp_path / "a.json"), "--trace", str(tmp_path / "journal.db"), "--filesystem", "ext4",
                 "--on", str(tmp_path / "slow.json"), "--set", "bandwidth=100M")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"^file +\S+ \S+ +\S+ \S+ +\S+ \S+ \(/db\) +1 +1.91 MiB", done.stdout, re.MULTILINE), done.stdout
    assert len(re.findall("^reflink ", done.stdout, re.MULTILINE)) == 3  # here, on the slow machine, and as set
    assert "Checked by the 1 operations of the trace that copied data" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("copy-up", "--driver", "zfs"), "zfs: there is no such driver; there are plain, overlayfs,"),
        (("copy-up", "--only", "sing"), "sing: there is no such workload here; there are append,"),
        (("copy-up", "--size", "huge"), "'huge' is no size; write it as 4096, 4K, 16M or 1G"),
        (("copy-up", "--quick", "--json", "/nonexistent/x.json"), "/nonexistent: there is no such directory"),
        (("compare", "a.json", "b.json"), "a.json: No such file or directory"),
        (("table", "/dev/null"), "this is no result of `layerlab bench`"),
    ],
)
def test_what_makes_no_sense_is_said_in_a_line(words: Sequence[str], said: str) -> None:
    done = bench(*words)
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert said in line


@pytest.mark.usefixtures("root", "overlayfs")
def test_a_filesystem_that_fills_up_is_no_end(tmp_path: Path) -> None:
    """On a disk of 120 MiB the large case is left out and named, the small one measured."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "none", disk], check=True)
    try:
        done = bench(
            *(
                "copy-up",
                "--only",
                "append",
                "--size",
                "4K",
                "--size",
                "512M",
                "--driver",
                "overlayfs",
                "--rounds",
                "1",
            ),
            *("--filesystem", "here", "--depth", "1", "--place", str(disk), "--json", str(tmp_path / "x.json")),
        )
        assert done.returncode == 0, done.stderr
    finally:
        subprocess.run(["umount", disk], check=True)
    found = Result.load(tmp_path / "x.json")
    assert 512 << 20 not in {one.case.size for one in found.series}
    assert 4096 in {one.case.size for one in found.series}
    assert any("has no room for it" in one.why for one in found.missing)
    assert json.loads((tmp_path / "x.json").read_text())["finished"] is True


@pytest.mark.usefixtures("root", "overlayfs", "fuse")
def test_containers(tool: Callable[[str, str], str], tmp_path: Path) -> None:
    tool("busybox", "busybox-static")
    done = bench(
        *("runtime", "--quick", "--rounds", "1", "--driver", "layerlab-devfuse", "--driver", "layerlab-overlayfs"),
        *("--json", str(tmp_path / "x.json")),
    )
    assert done.returncode == 0, done.stderr
    found = Result.load(tmp_path / "x.json")
    assert found.missing == ()
    assert {one.case.workload for one in found.series} == {
        "container-start",
        "container-exec",
        "build-cold",
        "build-cached",
    }
    for driver in ("layerlab-devfuse", "layerlab-overlayfs"):
        times = {one.case.workload: one.time.value for one in found.series if one.driver == driver}
        assert set(times) == {one.case.workload for one in found.series}


@pytest.mark.usefixtures("overlayfs")
def test_a_package_in_a_debian(tmp_path: Path) -> None:
    from sim.bench import WORKLOADS

    lacking = WORKLOADS["package-install"].lacks()
    if lacking:
        pytest.skip(lacking)
    done = bench("jobs", "--only", "package-install", "--driver", "overlayfs", "--rounds", "1",
                 "--json", str(tmp_path / "x.json"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = Result.load(tmp_path / "x.json")
    assert found.missing == ()
    assert [one.driver for one in found.series] == ["overlayfs"]
