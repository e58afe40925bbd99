"""Engines that run containers, side by side: ours, podman and docker, each from the same root filesystem.

Decided here and only here: what it takes to start a container, to run a command in one, and to build an image with each
engine. Ours is called from Python, the others are commands, as that is how each is used here; a command's own start is
in its times, and `docker` is the only one with a server behind it. All run without a network of their own, so that it
is the storage that differs. One thread.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from fusefs import FusefsError, Stack, mount
from fusefs.mount import Mount
from sim.bench.drivers import DRIVERS
from sim.bench.errors import BenchError
from sim.bench.files import MountedFiles
from sim.bench.session import Driver, Layout, Session

if TYPE_CHECKING:
    from sim.images import Store

__all__ = ["ENGINES", "IMAGE", "Engine"]

#: The command of a container that goes on until it is ended.
_WAIT = ("/bin/busybox", "sleep", "600")
_TRUE = ("/bin/busybox", "true")

#: What every engine calls the image that the root filesystem became.
IMAGE = f"localhost/layerlab-bench:{os.getpid()}"

#: What images that were built here are known by.
_LABEL = ("--label", f"layerlab-bench={os.getpid()}")


class Engine(Session):
    """An engine in use."""

    def __init__(self, name: str, layout: Layout) -> None:
        super().__init__(name, layout, MountedFiles(layout.merged), layout.merged)

    def start(self) -> None:
        """Start a container with a new RW layer, wait for its end, and remove it."""

    def hold(self) -> None:
        """Start a container that goes on."""

    def execute(self) -> None:
        """Run a command in that container and wait for its end."""

    def let_go(self) -> None:
        """End that container and remove it."""

    def ready_to_build(self) -> None:
        """Make what a build needs and what is no part of it."""

    def build(self, context: Path, *, cached: bool) -> None:
        """Build an image on the root filesystem from a directory; with the cache of a build before, or without."""


class Ours(Engine):
    """Our runtime on a mount by one of the storage drivers."""

    def __init__(self, name: str, layout: Layout, driver: str) -> None:
        super().__init__(name, layout)
        self._driver = driver
        self._image = Path()
        self._number = 0
        self._store: Store | None = None
        self._held: tuple[Mount, object, object] | None = None

    def provide(self, place: str) -> None:
        """Take the case's root filesystem as the image."""
        self._image = self.layout.lower[-1] / place.lstrip("/")

    def build(self, context: Path, *, cached: bool) -> None:
        """Build in a store of its own, into which the root filesystem was put as an image before."""
        from sim.build import BuildOptions, LocalRunner, build

        assert self._store is not None
        runner = LocalRunner(self._store, driver=self._driver)
        options = BuildOptions(tags=(f"{IMAGE}-built",), nocache=not cached, network="none")
        build(self._store, context, options, runner=runner, output=lambda _: None)

    def ready_to_build(self) -> None:
        """Put the root filesystem into the store as an image, once."""
        from sim.images import Store, image_from_rootfs

        if self._store is None:
            self._store = Store(self.layout.work / "store")
            image_from_rootfs(self._store, self._image, tags=[IMAGE])

    def _mount(self) -> Mount:
        self._number += 1
        own = self.layout.upper / str(self._number)
        places = [own / name for name in ("upper", "work", "merged")]
        for path in places:
            path.mkdir(parents=True)
        return mount(Stack((self._image,), places[0], places[1]), places[2], driver=self._driver)

    def start(self) -> None:
        """Mount, run, unmount."""
        from sim.runtime import Process, ProcessSpec

        with self._mount() as mounted:
            done = Process(ProcessSpec(args=_TRUE, rootfs=mounted.mountpoint, hostname="box")).run(timeout=60)
        if done.code:
            raise BenchError(f"{self.name}: the container ended with status {done.code}")

    def hold(self) -> None:
        """Start a container with a shim of its own."""
        from sim.runtime import Container, ProcessSpec

        mounted = self._mount()
        directory = mounted.mountpoint.with_name("container")
        directory.mkdir()
        spec = ProcessSpec(args=_WAIT, rootfs=mounted.mountpoint, hostname="box")
        try:
            container = Container.create(directory, spec)
            container.start()
        except BaseException:
            mounted.unmount()
            raise
        self._held = (mounted, container, spec)

    def execute(self) -> None:
        """Join the container."""
        from dataclasses import replace

        from sim.runtime import Container, ProcessSpec

        assert self._held is not None
        _, container, spec = self._held
        assert isinstance(container, Container)
        assert isinstance(spec, ProcessSpec)
        done = container.execution(replace(spec, args=_TRUE)).run(timeout=60)
        if done.code:
            raise BenchError(f"{self.name}: the command ended with status {done.code}")

    def let_go(self) -> None:
        """Stop the container and unmount."""
        from sim.runtime import Container

        if self._held is not None:
            (mounted, container, _), self._held = self._held, None
            assert isinstance(container, Container)
            container.stop(timeout=0)
            mounted.unmount()

    def close(self) -> None:
        """End what still runs."""
        from sim.runtime import end_zygote

        with contextlib.suppress(FusefsError):
            self.let_go()
        if self._store is not None:
            from sim.build import end_parser

            self._store.close()
            end_parser()
        end_zygote()


class Command(Engine):
    """An engine that is a command with docker's words.

    Parameters
    ----------
    name, layout
        As for `Session`.
    words
        The command and the options that come first.
    place
        A directory of the engine's own, removed at the end.
    runs
        More options of `run`.
    builds
        More options of `build`.
    """

    def __init__(
        self, name: str, layout: Layout, words: Sequence[str], *, place: Path | None = None, runs: Sequence[str] = (),
        builds: Sequence[str] = (),
    ) -> None:  # fmt: skip
        super().__init__(name, layout)
        self._words = list(words)
        self._place = place
        self._runs = [*runs, "--network", "none"]
        self._builds = list(builds)
        self._image = IMAGE
        self._held = ""
        self._from = ""

    def _run(self, *words: str, data: bytes | None = None) -> str:
        done = subprocess.run(
            [*self._words, *words], input=data, stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        if done.returncode:
            said = " ".join(done.stderr.decode(errors="replace").split())[-200:]
            raise BenchError(f"{self.name}: {words[0]} failed: {said}")
        return done.stdout.decode(errors="replace").strip()

    def provide(self, place: str) -> None:
        """Import the case's root filesystem as an image, once."""
        if self._from == place:
            return
        root = self.layout.lower[-1] / place.lstrip("/")
        packed = subprocess.run(["tar", "-C", str(root), "-c", "."], capture_output=True, check=True)
        self._run("import", "-", self._image, data=packed.stdout)
        self._from = place

    def start(self) -> None:
        """Run a container that ends at once."""
        self._run("run", "--rm", *self._runs, self._image, *_TRUE)

    def hold(self) -> None:
        """Start a container in the background."""
        self._held = self._run("run", "-d", *self._runs, self._image, *_WAIT)

    def execute(self) -> None:
        """Run a command in it."""
        self._run("exec", self._held, *_TRUE)

    def let_go(self) -> None:
        """Remove it."""
        held, self._held = self._held, ""
        if held:
            self._run("rm", "--force", held)

    def build(self, context: Path, *, cached: bool) -> None:
        """Build with the engine's own builder."""
        cache = [] if cached else ["--no-cache"]
        self._run("build", "-q", *self._builds, *cache, *_LABEL, "-t", f"{self._image}-built", str(context))

    def close(self) -> None:
        """Remove images and containers, and the engine's own directory."""
        for words in (("rm", "--force", self._held), ("rmi", "--force", f"{self._image}-built", self._image)):
            if words[-1]:
                with contextlib.suppress(BenchError, subprocess.TimeoutExpired):
                    self._run(*words)
        if self._place is None:  # builds without a cache leave those behind that had the name before
            with contextlib.suppress(BenchError, subprocess.TimeoutExpired):
                self._run("image", "prune", "--force", "--filter", f"label={_LABEL[1]}")
        else:
            from sim.bench.places import clear

            clear(self._place)


def _podman(layout: Layout) -> Session:
    # podman takes no longer name than 50 characters for where it runs.
    place = Path(tempfile.mkdtemp(prefix=f"layerlab-bench-{os.getpid()}-", dir="/tmp"))
    runtime = ["--runtime", "runc"] if shutil.which("runc") else []
    words = ["podman", "--root", f"{place}/root", "--runroot", f"{place}/run", *runtime]
    words += ["--cgroup-manager", "cgroupfs", "--storage-driver", "overlay", "--events-backend", "none"]
    limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
    builds = ["--isolation", "chroot", "--network", "host"]
    return Command("podman", layout, words, place=place, runs=limits, builds=builds)


def _docker(layout: Layout) -> Session:
    return Command("docker", layout, ["docker"], builds=["--network", "none"])


def _no_podman() -> str:
    if not shutil.which("podman"):
        return "podman is not installed; apt-get install podman"
    return "" if os.geteuid() == 0 else "podman is measured as root only, like the others; run the command with sudo"


def _no_docker() -> str:
    if not shutil.which("docker"):
        return "docker is not installed; apt-get install docker.io"
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{json .Server.Platform}}"], capture_output=True, text=True, check=False,
            timeout=20,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "docker's server does not answer; set DOCKER_HOST to one that does"
    with contextlib.suppress(ValueError):
        server = json.loads(done.stdout or "null")
        if done.returncode == 0 and isinstance(server, dict):
            return ""
    return "docker's server cannot be reached; start it, or set DOCKER_HOST"


def _ours(name: str, driver: str) -> Callable[[Layout], Session]:
    return lambda layout: Ours(name, layout, driver)


def _no_runtime(driver: str) -> Callable[[], str]:
    def lacks() -> str:
        if os.geteuid() != 0:
            return "containers are measured as root only, like the others; run the command with sudo"
        return DRIVERS[driver].lacks()

    return lacks


#: By name, in the order of reports.
ENGINES: Mapping[str, Driver] = MappingProxyType(
    {
        driver.name: driver
        for driver in (
            *(
                Driver(
                    f"layerlab-{name}", f"our runtime and builder on {name}, called from Python", "",
                    _ours(f"layerlab-{name}", name), _no_runtime(name), storage=False,
                )
                for name in ("devfuse", "fuse-python", "overlayfs")
            ),
            Driver(
                "podman", "podman with runc, the command", "--storage-driver overlay", _podman, _no_podman,
                storage=False,
            ),
            Driver("docker", "docker, the command and its server", "", _docker, _no_docker, storage=False),
        )
    }
)  # fmt: skip
