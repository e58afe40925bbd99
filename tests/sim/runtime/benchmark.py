"""Containers beside podman and Docker's engine, in one run: `python -m tests.sim.runtime.benchmark [--docker SOCKET]`.

All run the same busybox without a network, in turns, and print medians. Ours is what an engine does with the runtime in
a process that goes on: RW layer, mount with a journal, shim, start, wait, unmount, removal. Docker is asked by its
command, and over its socket by a process that goes on, as ours does. Memory is that of idle containers: the parts of
their processes (shim, mount, its journal's) that are their own, and their share of what they have in common (PSS).
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import docker

from fusefs import Mount, Stack, mount
from sim.runtime import Container, LogOptions, ProcessSpec, end_zygote, fork_mount, start_zygote
from tests.dockerd import busybox_tar


class Ours:
    """Containers on the runtime alone."""

    def __init__(self, place: Path, lower: Path) -> None:
        self._place, self._lower = place, lower
        self._lock = threading.Lock()
        self._number = 0

    def begin(self, *args: str) -> tuple[Path, Mount, Container, ProcessSpec]:
        with self._lock:
            self._number += 1
            base = self._place / str(self._number)
        for name in ("upper", "work", "merged", "state"):
            (base / name).mkdir(parents=True)
        stack = Stack((self._lower,), base / "upper", base / "work")
        mounted = mount(stack, base / "merged", journal=base / "journal.db", start=fork_mount)
        spec = ProcessSpec(args=args, rootfs=base / "merged", hostname="box")
        container = Container.create(base / "state", spec, log=LogOptions(path=str(base / "log.json")))
        container.start()
        return base, mounted, container, spec

    def end(self, base: Path, mounted: Mount, container: Container) -> None:
        if container.wait() not in (0, 137):
            raise RuntimeError("the container failed")
        mounted.unmount()
        shutil.rmtree(base)

    def run(self) -> None:
        base, mounted, container, _ = self.begin("true")
        self.end(base, mounted, container)


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def at_once(work: Callable[[], object], count: int) -> Callable[[], None]:
    def run() -> None:
        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return run


def command(*words: object) -> Callable[[], None]:
    def run() -> None:
        subprocess.run([str(word) for word in words], check=True, capture_output=True)

    return run


def compare(title: str, rows: dict[str, Callable[[], object]], rounds: int) -> None:
    found: dict[str, list[float]] = {name: [] for name in rows}
    for _ in range(rounds):
        for name, work in rows.items():
            found[name].append(timed(work))
    words = [f"{name} {statistics.median(times) * 1000:.0f} ms" for name, times in found.items()]
    print(f"{title}: {', '.join(words)}", flush=True)


def descendants(pid: int) -> list[int]:
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return found + [each for child in found for each in descendants(child)]


def share(pid: int) -> int:
    return int(re.findall(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[0])


def memory(ours: Ours, alone: tuple[Path, Mount, Container, ProcessSpec]) -> None:
    running = [alone]
    for count in (1, 10, 20):
        while len(running) < count:
            running.append(ours.begin("sleep", "1000"))
        time.sleep(7)  # until nobody writes journals any more
        pids = [
            pid for _, mount, container, _ in running for pid in (mount.pid, *descendants(mount.pid), container.shim())
        ]
        print(f"{count} idle: {sum(map(share, pids)) / count / 1024:.1f} MB each", flush=True)
    for base, mounted, container, _ in running[1:]:
        container.kill()
        ours.end(base, mounted, container)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--docker", help="socket of an engine")
    options.add_argument("--rounds", type=int, default=11)
    wanted = options.parse_args()
    place = Path(tempfile.mkdtemp(prefix="lb-", dir="/tmp"))
    lower = place / "lower"
    lower.mkdir()
    subprocess.run(["tar", "-C", lower, "-x"], input=busybox_tar(), check=True)
    for name in ("proc", "sys", "dev"):
        (lower / name).mkdir(exist_ok=True)
    start_zygote()
    ours = Ours(place, lower)
    ours.run()
    podman: list[str | os.PathLike[str]] = [
        "podman",
        "--root",
        place / "root",
        "--runroot",
        place / "run",
        "--runtime",
        "runc",
    ]
    podman += ["--cgroup-manager", "cgroupfs", "--storage-driver", "overlay"]
    limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network", "none"]
    subprocess.run([*podman, "import", "-", "box"], input=busybox_tar(), check=True, capture_output=True)
    rows: dict[str, Callable[[], object]] = {
        "ours": ours.run,
        "podman with runc": command(*podman, "run", "--rm", *limits, "box", "true"),
    }
    base, mounted, container, spec = ours.begin("sleep", "1000")
    execs: dict[str, Callable[[], object]] = {
        "ours": lambda: container.execution(replace(spec, args=("true",))).run(capture=True)
    }
    command(*podman, "run", "-d", "--name", "idle", *limits, "box", "sleep", "1000")()
    execs["podman with runc"] = command(*podman, "exec", "idle", "true")
    client = None
    if wanted.docker:
        client = docker.DockerClient(base_url=f"unix://{wanted.docker}", version="auto", timeout=60, max_pool_size=32)
        client.api.import_image_from_data(busybox_tar(), repository="lbench", tag="1")
        words = ("docker", "-H", f"unix://{wanted.docker}")
        rows["docker"] = command(*words, "run", "--rm", "--network", "none", "lbench:1", "true")
        engine = client

        def over_the_socket() -> None:
            made = engine.containers.create("lbench:1", "true", network_mode="none")
            made.start()
            made.wait()
            made.remove()

        rows["docker's API"] = over_the_socket
        idle = engine.containers.run("lbench:1", "sleep 1000", detach=True, network_mode="none")
        execs["docker"] = command(*words, "exec", idle.id, "true")
        execs["docker's API"] = lambda: idle.exec_run("true")
    try:
        compare("run --rm true", rows, wanted.rounds)
        compare("20 at once", {name: at_once(work, 20) for name, work in rows.items()}, 3)
        compare("exec true", execs, wanted.rounds)
        memory(ours, (base, mounted, container, spec))
    finally:
        container.kill()
        ours.end(base, mounted, container)
        subprocess.run([*podman, "rm", "-af", "-t", "0"], capture_output=True)
        if client is not None:
            idle.remove(force=True)
            client.images.remove("lbench:1", force=True)
            client.close()
        end_zygote()
        while not subprocess.run(["umount", "-l", place / "root/overlay"], capture_output=True).returncode:
            pass  # podman mounts it on itself, once for each process that asks, and those that clean up come late
        shutil.rmtree(place)


if __name__ == "__main__":
    os.environ.setdefault("TMPDIR", "/tmp")
    main()
