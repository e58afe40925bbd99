"""Our daemon beside Debian's docker.io and podman's service: `python -m tests.integration.benchmark_engine`.

All are asked by the same docker command, in turns, with the same thousand images and five hundred containers; medians
are printed. Loading and making those is not timed. Memory is the share that the daemon's processes have of what is in
memory (PSS), processor time what they use in ten seconds in which nobody asks anything.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import docker

from tests.daemons import Daemon
from tests.dockerd import busybox_tar, find, started

BASE = "bench:base"

#: Seconds after which a command is given up, and seconds that it takes once and is not asked again.
PATIENCE, SLOW = 120, 20

#: What podman needs on machines of this kind: the limits of processes cannot be raised.
PODMAN = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'


@dataclass
class Engine:
    """One that is asked."""

    name: str
    address: str
    place: Path
    pids: Callable[[], list[int]]
    failed: dict[str, str] = field(default_factory=dict)

    def docker(
        self, *words: str, output: int = subprocess.PIPE, stdin: bytes = b"", timeout: float = PATIENCE
    ) -> subprocess.CompletedProcess[bytes]:
        program = find("docker")
        if program is None:
            raise SystemExit("needs the docker command; install docker.io")
        settings = {"DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": str(self.place / "client")}
        return subprocess.run(
            [program, "-H", self.address, *words],
            env={**os.environ, **settings},
            input=stdin,
            stdout=output,
            stderr=subprocess.PIPE,
            timeout=timeout,
            check=True,
        )


def descendants(pid: int) -> list[int]:
    """Return a process and all below it."""
    with contextlib.suppress(OSError):
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(each for child in below for each in descendants(int(child)))]
    return []


def called(pids: Sequence[int], *names: str) -> list[int]:
    """Return those processes that have one of these names."""
    return [pid for pid in pids if Path(f"/proc/{pid}/comm").read_text().strip() in names]


@contextlib.contextmanager
def ours(place: Path) -> Iterator[Engine]:
    """Start our daemon."""
    daemon = Daemon(place)
    place.mkdir()
    daemon.start()
    try:
        yield Engine("ours", daemon.address, place, lambda: descendants(daemon.pid))
    finally:
        daemon.stop(timeout=120)


@contextlib.contextmanager
def debian(place: Path) -> Iterator[Engine]:
    """Start Debian's docker.io."""
    place.mkdir()
    with started() as engine:
        yield Engine(
            f"docker.io {engine.version}",
            engine.address,
            place,
            lambda: called(descendants(engine.pid), "dockerd", "containerd"),
        )


@contextlib.contextmanager
def podman(place: Path) -> Iterator[Engine]:
    """Start podman's service."""
    place.mkdir()
    (place / "containers.conf").write_text(PODMAN)
    words = [
        *("podman", "--root", f"{place}/root", "--runroot", f"{place}/run", "--runtime", "runc"),
        *("--cgroup-manager", "cgroupfs", "--storage-driver", "overlay"),
    ]
    environment = {**os.environ, "CONTAINERS_CONF": f"{place}/containers.conf"}
    with open(place / "log", "wb") as log:
        process = subprocess.Popen(
            [*words, "system", "service", "-t", "0", f"unix://{place}/s.sock"], env=environment, stdout=log, stderr=log
        )
    try:
        while not (place / "s.sock").exists():
            if process.poll() is not None:
                raise SystemExit((place / "log").read_text())
            time.sleep(0.05)
        yield Engine("podman", f"unix://{place}/s.sock", place, lambda: [process.pid])
    finally:
        process.terminate()
        process.wait(30)
        subprocess.run([*words, "rm", "-af", "-t", "0"], env=environment, capture_output=True, check=False)
        while not subprocess.run(["umount", "-l", place / "root/overlay"], capture_output=True, check=False).returncode:
            pass  # podman mounts it on itself, once for each process that asks


# -- what there is


def archive(count: int) -> bytes:
    """Return an archive of images that have one layer and differ in a label."""
    layer = busybox_tar()
    diff_id = hashlib.sha256(layer).hexdigest()
    out = io.BytesIO()
    items = []
    with tarfile.open(fileobj=out, mode="w") as tar:

        def add(name: str, data: bytes) -> None:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))

        add("layer.tar", layer)
        for number in range(count):
            config = {
                "architecture": "amd64",
                "os": "linux",
                "created": f"2024-01-{number % 28 + 1:02}T00:{number // 28 % 60:02}:00Z",
                "config": {"Cmd": ["true"], "Labels": {"number": str(number)}},
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
                "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "a benchmark"}],
            }
            data = json.dumps(config).encode()
            name = f"{hashlib.sha256(data).hexdigest()}.json"
            add(name, data)
            items.append({"Config": name, "RepoTags": [f"many{number}:1"], "Layers": ["layer.tar"]})
        add("manifest.json", json.dumps(items).encode())
    return out.getvalue()


def fill(engine: Engine, images: int, containers: int, lines: int) -> None:
    """Give an engine what is asked for later."""
    engine.docker("import", "-", BASE, stdin=busybox_tar())
    engine.docker("load", stdin=archive(images), timeout=1800)  # podman takes minutes
    client = docker.APIClient(base_url=engine.address, version="auto", timeout=300)
    for number in range(containers):
        client.create_container(BASE, ["true"], name=f"con{number}")
    client.close()
    script = f"yes {'a line of what a program says, eighty characters long with its number':.<78} | head -n {lines}"
    engine.docker(
        "run", "--network", "none", "--name", "talks", BASE, "sh", "-c", script, output=subprocess.DEVNULL, timeout=600
    )
    engine.docker("create", "--network", "none", "--name", "files", BASE, "true")
    engine.docker("run", "-d", "--network", "none", "--name", "runs", BASE, "sleep", "100000")


def dockerfile() -> str:
    """Return one of twenty steps."""
    lines = [f"FROM {BASE}", "ENV A=1", "WORKDIR /work", "COPY a.txt .", "LABEL x=y"]
    lines += [f"RUN echo {number} > file{number}" for number in range(10)]
    return "\n".join([*lines, "COPY a.txt /b", "ENV B=2", "EXPOSE 80", "USER nobody", 'CMD ["true"]', ""])


# -- asking


def timed(work: Callable[[Engine, int], object], engine: Engine, number: int) -> float:
    began = time.monotonic()
    work(engine, number)
    return time.monotonic() - began


def rows(place: Path, files: int) -> Mapping[str, tuple[Callable[[Engine, int], object], int]]:
    """Return what is asked, and how often."""
    context, tree = place / "context", place / "tree"
    context.mkdir()
    (context / "Dockerfile").write_text(dockerfile())
    (context / "a.txt").write_text("a\n")
    for number in range(files):
        path = tree / str(number // 100) / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)

    def build(*flags: str) -> Callable[[Engine, int], object]:
        return lambda engine, _: engine.docker("build", "--network", "none", *flags, "-t", "built:1", str(context))

    def logs(engine: Engine, _: int) -> None:
        engine.docker("logs", "talks", output=subprocess.DEVNULL)

    def given(container: str) -> Callable[[Engine, int], object]:
        return lambda engine, number: engine.docker("cp", str(tree), f"{container}:/in{number}")

    def taken(container: str) -> Callable[[Engine, int], object]:
        return lambda engine, number: engine.docker(
            "cp", f"{container}:/in0", f"{place}/out-{container}-{engine.name.split()[0]}-{number}"
        )

    return {
        "ps -a": (lambda engine, _: engine.docker("ps", "-a"), 9),
        "images": (lambda engine, _: engine.docker("images"), 9),
        "inspect CONTAINER": (lambda engine, _: engine.docker("inspect", "con7"), 9),
        "inspect IMAGE": (lambda engine, _: engine.docker("inspect", "many7:1"), 9),
        "run --rm true": (
            lambda engine, _: engine.docker("run", "--rm", "--network", "none", BASE, "true"),
            9,
        ),
        "build, 20 steps, cold": (build("--no-cache"), 3),
        "build, 20 steps, cached": (build(), 5),
        "logs of 100 MB": (logs, 3),
        "cp of 10,000 files, in": (given("files"), 5),
        "cp of 10,000 files, out": (taken("files"), 5),
        "cp of 10,000 files, in, running": (given("runs"), 5),
        "cp of 10,000 files, out, running": (taken("runs"), 5),
    }


def share(pid: int) -> int:
    with contextlib.suppress(OSError):  # it has just ended
        return int(re.findall(r"^Pss: +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[0])
    return 0


def used(pid: int) -> float:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def idle(engines: Sequence[Engine]) -> tuple[list[str], list[str]]:
    """Return memory in MB and processor time in seconds of each, while nobody asks."""
    before = [{pid: used(pid) for pid in engine.pids()} for engine in engines]
    time.sleep(10)
    memory = [sum(map(share, engine.pids())) / 1024 for engine in engines]
    time_used = [sum(max(0.0, used(pid) - start) for pid, start in each.items()) for each in before]
    return [f"{each:.0f} MB" for each in memory], [f"{each:.2f} s" for each in time_used]


def show(title: str, cells: Sequence[str]) -> None:
    print("".join([f"{title:32}", *(f" {cell:>23}" for cell in cells)]), flush=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--images", type=int, default=1000)
    options.add_argument("--containers", type=int, default=500)
    options.add_argument("--only", help="rows that have this in their name")
    options.add_argument("--without", default="", help="leave engines out: docker.io,podman")
    wanted = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="be-", dir="/tmp") as directory, contextlib.ExitStack() as stack:
        place = Path(directory)
        makers = {"ours": ours, "docker.io": debian, "podman": podman}
        engines = [
            stack.enter_context(make(place / name)) for name, make in makers.items() if name not in wanted.without
        ]
        show("", [engine.name for engine in engines])
        memory, seconds = idle(engines)
        show("idle memory, new", memory)
        show("idle processor time, new", seconds)
        with ThreadPoolExecutor(len(engines)) as pool:
            list(pool.map(lambda each: fill(each, wanted.images, wanted.containers, 1_250_000), engines))
        for title, (work, rounds) in rows(place, 10_000).items():
            if wanted.only and wanted.only not in title:
                continue
            found: list[list[float]] = [[] for _ in engines]
            why: list[str] = [""] * len(engines)
            for number in range(rounds):
                for at, engine in enumerate(engines):
                    if why[at] or max(found[at], default=0) > SLOW:
                        continue
                    try:
                        found[at].append(timed(work, engine, number))
                    except subprocess.CalledProcessError as error:
                        why[at] = error.stderr.decode(errors="replace").strip()[-60:] or "fails"
                    except subprocess.TimeoutExpired:
                        why[at] = f"> {PATIENCE} s"
            show(
                title,
                [f"{statistics.median(each) * 1000:.0f} ms" if each else why[at] for at, each in enumerate(found)],
            )
        memory, seconds = idle(engines)
        show("idle memory, full", memory)
        show("idle processor time, full", seconds)
        for engine in engines:
            engine.docker("rm", "-f", "runs")
        for left in place.glob("out-*"):
            shutil.rmtree(left)


if __name__ == "__main__":
    main()
