"""Images beside podman and skopeo with umoci, in one run: `python -m tests.sim.images.benchmark ROOTFS`.

ROOTFS is a root filesystem to make the image of, such as a debootstrap tree. The image has five layers and goes through
the reference registry on a loopback port. Each of our steps is there twice: as a process of its own, with the start
of Python in its time ("library"), and as it is used, by the docker command on our daemon ("daemon"). Rows alternate
between the tools; printed are median and range of the rounds, in seconds.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sim.images import Image, Store, image_from_layers
from sim.images.registry import Registries, push
from tests.daemons import Daemon
from tests.sim.images.registries import registry

_PARTS = (
    ("usr/lib", "usr/lib64"),
    ("usr/share",),
    ("usr/bin", "usr/sbin", "bin", "sbin", "lib", "lib64"),
    ("var",),
    ("etc", "root", "home", "tmp", "opt", "srv", "run", "boot", "media", "mnt"),
)
_PRELUDE = """
import sys
from pathlib import Path
from sim.images import *
from sim.images.registry import *
known = Registries(config=Path("/nonexistent"), certificates=())
a = sys.argv[1:]
def chunks(path):
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 18):
            yield chunk
"""
_OURS = {
    "pull": "pull(Store(a[0]), a[1], known)",
    "commit": "commit(Store(a[0]), a[1], Path(a[2]), tags=['new:1'])",
    "save": "with open(a[1], 'wb') as stream: save(Store(a[0]), ['new:1'], stream.write)",
    "push": "s = Store(a[0]); s.tag('new:1', a[1]); push(s, a[1], known)",
    "load": "load(Store(a[0]), chunks(a[1]))",
    "remove": "s = Store(a[0]); [remove(s, image.id, force=True) for image in s.images()]",
}


def run(*words: object) -> str:
    """Run a program; its output, or an error with what it said."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{words}: {done.stderr}")
    return done.stdout.strip()


def ours(step: str, *words: object) -> None:
    """Run one of our steps."""
    run(sys.executable, "-c", _PRELUDE + _OURS[step], *words)


def five_layers(store: Store, source: Path, name: str, place: Path) -> Image:
    """Make an image of five layers from a root filesystem."""
    layers = []
    for paths in _PARTS:
        part = place / "part"
        part.mkdir(parents=True)
        for path in paths:
            if os.path.lexists(source / path):
                (part / path).parent.mkdir(parents=True, exist_ok=True)
                run("cp", "-a", source / path, (part / path).parent)
        layers.append(store.add_directory(part))
        shutil.rmtree(part)
    return image_from_layers(store, layers, tags=[name])


def ten_thousand_files(place: Path) -> Path:
    """Make a directory of 10,000 small files."""
    for number in range(10_000):
        path = place / str(number // 100) / str(number % 100)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number} " * 20)
    os.chmod(place, 0o755)
    return place


class Bench:
    """One run: where things lie, and the times taken."""

    def __init__(self, place: Path, host: str) -> None:
        self.place = place
        self.name = f"{host}/bench:1"
        self.host = host
        self.times: dict[tuple[str, str], list[float]] = {}

    def time(self, row: str, tool: str, work: Callable[[], object]) -> None:
        """Take the time of one step, with nothing left to write from the one before."""
        os.sync()
        begun = time.perf_counter()
        work()
        self.times.setdefault((row, tool), []).append(time.perf_counter() - begun)

    def podman(self, which: str) -> list[object]:
        """Return how to call podman with a store of its own."""
        place = self.place / which
        return ["podman", "--root", place / "root", "--runroot", place / "run", "--storage-driver", "overlay"]

    def round(self, number: int) -> None:
        """Go through every row once."""
        mine, other = self.place / "mine", self.place / "other"
        first, second = self.podman("podman"), self.podman("podman2")
        insecure = "--tls-verify=false"
        layout = self.place / "layout"
        files = ten_thousand_files(self.place / "files")
        daemon = Daemon(self.place / "daemon")
        daemon.place.mkdir()
        daemon.start()
        away = f"{self.host}/daemon:{number}"

        def skopeo_umoci() -> None:
            run("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{self.name}", f"oci:{layout}:bench")
            run("umoci", "unpack", "--image", f"{layout}:bench", self.place / "bundle")

        try:
            self.time("pull", "daemon", lambda: daemon.output("pull", "-q", self.name))
            self.time("pull", "library", lambda: ours("pull", mine, self.name))
            self.time("pull", "podman", lambda: run(*first, "pull", "-q", insecure, self.name))
            self.time("pull", "skopeo+umoci", skopeo_umoci)
            self.time("pull again", "daemon", lambda: daemon.output("pull", "-q", self.name))
            self.time("pull again", "library", lambda: ours("pull", mine, self.name))
            self.time("pull again", "podman", lambda: run(*first, "pull", "-q", insecure, self.name))
            self.time("commit 10,000 files", "library", lambda: ours("commit", mine, self.name, files))
            container = run(*first, "create", self.name, "true")
            run("cp", "-a", f"{files}/.", run(*first, "mount", container))
            run(*first, "umount", container)
            self.time("commit 10,000 files", "podman", lambda: run(*first, "commit", "-q", container, "new:1"))
            daemon.output("tag", self.name, "new:1")
            daemon.output("tag", self.name, away)
            self.time("save", "daemon", lambda: daemon.output("save", "-o", str(self.place / "daemon.tar"), "new:1"))
            self.time("save", "library", lambda: ours("save", mine, self.place / "ours.tar"))
            self.time("save", "podman", lambda: run(*first, "save", "-q", "-o", self.place / "podman.tar", "new:1"))
            target = f"{self.host}/ours:{number}"
            self.time("push", "daemon", lambda: daemon.output("push", "-q", away))
            self.time("push", "library", lambda: ours("push", mine, target))
            theirs = f"{self.host}/podman:{number}"
            self.time("push", "podman", lambda: run(*first, "push", "-q", insecure, "new:1", theirs))
            daemon.output("rmi", "-f", self.name, "new:1", away)
            self.time("load", "daemon", lambda: daemon.output("load", "-q", "-i", str(self.place / "podman.tar")))
            self.time("load", "library", lambda: ours("load", other, self.place / "podman.tar"))
            self.time("load", "podman", lambda: run(*second, "load", "-q", "-i", self.place / "podman.tar"))
            images = daemon.output("images", "-q").split()
            self.time("remove", "daemon", lambda: daemon.output("rmi", "-f", *dict.fromkeys(images)))
            self.time("remove", "library", lambda: ours("remove", other))
            self.time("remove", "podman", lambda: run(*second, "rmi", "-f", "-a"))
        finally:
            daemon.stop()
            for podman in (first, second):
                run(*podman, "system", "reset", "-f")
            for name in ("mine", "other", "layout", "bundle", "files", "podman", "podman2", "daemon"):
                shutil.rmtree(self.place / name, ignore_errors=True)
            for name in ("ours.tar", "podman.tar", "daemon.tar"):
                (self.place / name).unlink(missing_ok=True)

    def table(self) -> str:
        """Return what was measured."""
        lines = [f"{'':24}{'tool':16}{'median':>8}  range"]
        for (row, tool), times in self.times.items():
            middle = statistics.median(times)
            lines.append(f"{row:24}{tool:16}{middle:8.2f}  {min(times):.2f} to {max(times):.2f}")
        return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rootfs", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as temporary:
        place = Path(temporary)
        with registry(place / "registry") as host, Store(place / "origin") as store:
            bench = Bench(place, host)
            image = five_layers(store, wanted.rootfs, bench.name, place / "parts")
            push(store, bench.name, Registries(config=Path("/nonexistent"), certificates=()))
            print(
                f"{len(image.layers)} layers, {image.size} bytes, {sum(layer.entries for layer in image.layers)} names"
            )
            for number in range(wanted.rounds):
                bench.round(number)
            print(bench.table())


if __name__ == "__main__":
    main()
