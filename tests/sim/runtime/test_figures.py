"""Figures of a running container, and what ps says about it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sim.runtime import Container, ContainerError, InvalidSpecError, Layout, Limits, Transfer, processor_time
from sim.runtime.stats import Traffic, legacy_stats, traffic, unified_stats
from sim.runtime.top import listed
from tests.patience import until


@pytest.fixture
def start(box: Any, tmp_path: Path, needs_root: None) -> Iterator[Callable[..., Container]]:
    containers: list[Container] = []

    def begin(*args: str, **wishes: Any) -> Container:
        place = tmp_path / f"c{len(containers)}"
        place.mkdir()
        name = f"layerlab/lltest-figures-{os.getpid()}-{len(containers)}"
        containers.append(Container.create(place, box.spec(*args, cgroup=name, **wishes)))
        containers[-1].start()
        return containers[-1]

    yield begin
    for container in containers:
        container.stop(timeout=0)


def test_files_of_version_1(tmp_path: Path) -> None:
    texts = {
        "memory.stat": "cache 4096\ntotal_inactive_file 1024\n",
        "memory.failcnt": "7\n",
        "cpuacct.usage_percpu": "10 20 \n",
        "cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 99\n",
        "blkio.throttle.io_service_bytes": "8:0 Read 4096\n8:0 Write 10\n8:16 Read 1\nTotal 4107\n",
        "blkio.throttle.io_serviced": "8:0 Read 2\n8:0 Write 1\nTotal 3\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    stats = legacy_stats(dict.fromkeys(("memory", "cpu", "cpuacct", "blkio"), tmp_path))
    assert stats.memory_details == {"cache": 4096, "total_inactive_file": 1024}
    assert (stats.memory_failures, stats.memory_inactive, stats.cpu_each) == (7, 1024, (10, 20))
    assert (stats.cpu_periods, stats.throttled_periods, stats.throttled_time) == (5, 2, 99)
    assert stats.transfers == (
        Transfer(8, 0, "read", 4096, 2),
        Transfer(8, 0, "write", 10, 1),
        Transfer(8, 16, "read", 1, 0),
    )
    assert (stats.read_bytes, stats.written_bytes) == (4097, 10)


def test_files_of_version_2(tmp_path: Path) -> None:
    (tmp_path / "io.stat").write_text("8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 1\nnr_periods 4\nnr_throttled 3\n")
    (tmp_path / "memory.events").write_text("low 0\nmax 6\n")
    stats = unified_stats(tmp_path)
    assert stats.transfers == (
        Transfer(8, 0, "read", 10, 1),
        Transfer(8, 0, "write", 20, 2),
        Transfer(8, 0, "discard", 0, 0),
    )
    assert (stats.cpu_periods, stats.throttled_periods, stats.memory_failures) == (4, 3, 6)


def test_traffic() -> None:
    text = "Inter-| Receive | Transmit\n face |bytes\n"
    text += "    lo: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n  eth0: 100 2 3 4 0 0 0 0 500 6 7 8 0 0 0 0\n"
    assert traffic(text) == {"eth0": Traffic(100, 2, 3, 4, 500, 6, 7, 8)}


def test_the_machines_own_time_goes_on() -> None:
    before, count = processor_time()
    assert count == os.cpu_count()
    until(lambda: processor_time()[0] > before)


def test_a_busy_container(start: Any) -> None:
    missing = {"cpu", "cpuacct", "memory"} - Layout.of_machine().available()
    if missing:
        pytest.skip(f"this machine has no control groups for {', '.join(sorted(missing))}")
    container = start("sh", "-c", "while :; do :; done", limits=Limits(nano_cpus=100_000_000))
    until(lambda: container.stats().throttled_periods >= 2)
    stats = container.stats()
    assert stats.cpu_periods >= stats.throttled_periods
    assert stats.throttled_time > 0
    assert len(stats.cpu_each) >= (os.cpu_count() or 1)
    assert abs(sum(stats.cpu_each) - stats.cpu_total) < 1_000_000_000
    assert {"cache", "rss", "total_inactive_file"} <= stats.memory_details.keys()
    assert container.interfaces() == {}  # it has the loopback alone


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps (Debian: procps)")
class TestTop:
    def test_its_processes_and_no_others(self, start: Any) -> None:
        container = start("sh", "-c", "sleep 4711 & sleep 4712; :")
        until(lambda: len(container.processes()) >= 3)
        titles, rows = container.top()
        assert titles == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
        assert sorted(row[-1] for row in rows) == ["sh -c sleep 4711 & sleep 4712; :", "sleep 4711", "sleep 4712"]
        assert {int(row[1]) for row in rows} == set(container.processes())
        titles, rows = container.top("-o pid,comm")
        assert titles == ["PID", "COMMAND"]
        assert len(rows) == 3
        assert len(container.top("aux")[1]) == 3
        assert len(container.top("-eLf")[1]) == 3

    def test_words_that_ps_cannot_be_asked_with(self) -> None:
        mine = [os.getpid()]
        with pytest.raises(ContainerError, match="Couldn't find PID field in ps output"):
            listed(mine, "-o cmd")
        with pytest.raises(InvalidSpecError, match='specifying "ppid=PID,cmd" is not allowed'):
            listed(mine, "-o ppid=PID,cmd")
        with pytest.raises(ContainerError, match="ps: error: unsupported SysV option"):
            listed(mine, "-zz")
        assert listed(mine, "-o pid=PID,comm")[1]

    def test_threads_belong_to_their_process(self) -> None:
        with subprocess.Popen(["sleep", "9"]) as process:
            titles, rows = listed([process.pid], "-e m -o pid,tid,comm")
            process.kill()
        assert titles == ["PID", "TID", "COMMAND"]
        assert [row[0] for row in rows] == [str(process.pid), "-"]
