"""The daemon is killed at random moments of its work: the next one has what was reported done, nothing half done."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.daemons import Daemon, daemon, new_daemon
from tests.integration.test_engine_crowd import left_in, small_tar

__all__ = ["daemon", "new_daemon"]

pytestmark = pytest.mark.usefixtures("root", "fuse")

ROUNDS = int(os.environ.get("LAYERLAB_EXAMPLES", "0")) or 6
SEED = int(os.environ.get("LAYERLAB_SEED", "7"))


class Worker:
    """Does things one after another until the daemon is gone; remembers which were reported done, in which order."""

    def __init__(self, daemon: Daemon, archive: bytes, number: int) -> None:
        self._daemon, self._archive, self.number = daemon, archive, number
        self.done: set[str] = set()
        self.begun = ""

    def work(self) -> None:
        """Go through the steps again and again."""
        number = self.number
        steps = [
            ("loaded", ("load", "-q"), self._archive),
            ("tagged", ("tag", "bb:1", f"tag{number}:1"), b""),
            ("imported", ("import", "-", f"imp{number}:1"), small_tar(number + 1)),
            ("volume", ("volume", "create", f"vol{number}"), b""),
            ("network", ("network", "create", f"net{number}"), b""),
            ("built", ("build", "-q", "-t", f"made{number}:1", "-"), f"FROM bb:1\nRUN echo {number} > /x\n".encode()),
            ("ran", ("run", "--name", f"con{number}", "-v", f"vol{number}:/v", "bb:1", "true"), b""),
            ("created", ("create", "--name", f"new{number}", "bb:1", "sleep", "600"), b""),
            ("started", ("start", f"new{number}"), b""),
            ("joined", ("network", "connect", f"net{number}", f"new{number}"), b""),
            ("committed", ("commit", f"new{number}", f"com{number}:1"), b""),
            ("renamed", ("rename", f"con{number}", f"old{number}"), b""),
            ("no container", ("rm", f"old{number}"), b""),
            ("no created", ("rm", "-f", f"new{number}"), b""),
            ("no committed", ("rmi", f"com{number}:1"), b""),
            ("no volume", ("volume", "rm", f"vol{number}"), b""),
            ("no network", ("network", "rm", f"net{number}"), b""),
            ("no built", ("rmi", f"made{number}:1"), b""),
            ("no imported", ("rmi", f"imp{number}:1"), b""),
        ]
        with contextlib.suppress(subprocess.TimeoutExpired):
            for name, words, stdin in steps:
                self.begun = name
                if self._daemon.docker(*words, stdin=stdin, timeout=30).returncode:
                    return
                self.done.add(name)


def test_killed_at_random_moments(daemon: Daemon) -> None:
    chance = random.Random(SEED)
    daemon.busybox("bb:1")
    archive = daemon.docker("save", "bb:1").stdout
    for number in range(ROUNDS):
        workers = [Worker(daemon, archive, each) for each in (2 * number, 2 * number + 1)]
        threads = [threading.Thread(target=worker.work) for worker in workers]
        for thread in threads:
            thread.start()
        time.sleep(chance.uniform(0.2, 4))
        daemon.stop(signal.SIGKILL)
        for thread in threads:
            thread.join()
        daemon.start()
        for worker in workers:
            check(daemon, worker)
        check_disk(daemon)
        for container in daemon.output("ps", "-q").split():
            daemon.output("rm", "-f", container)
    for container in daemon.output("ps", "-aq").split():
        daemon.output("rm", "-f", "-v", container)
    daemon.output("system", "prune", "-a", "-f", "--volumes")
    daemon.output("volume", "prune", "-a", "-f")
    daemon.output("image", "prune", "-a", "-f")
    assert daemon.output("images", "-aq") == ""
    daemon.stop()
    daemon.start()
    assert left_in(daemon.root) == []
    assert not list((daemon.root / "images" / "builds").iterdir())


KILLED_AT_THE_BRIDGE = """
import os
import sys
from pathlib import Path

from sim.engine import Engine, hostside

make = hostside.create_bridge


def killed(bridge):
    make(bridge)
    os._exit(9)


hostside.create_bridge = killed
engine = Engine(Path(sys.argv[1]))
engine.networks.attach("0" * 64, "lonely", {}, name="one", hostname="one")
"""


def test_killed_just_when_a_bridge_was_made(daemon: Daemon) -> None:
    identity = daemon.output("network", "create", "lonely")
    bridge = Path(f"/sys/class/net/br-{identity[:12]}")
    daemon.stop()
    ended = subprocess.run([sys.executable, "-c", KILLED_AT_THE_BRIDGE, daemon.root], cwd=ROOT, check=False)
    assert ended.returncode == 9
    assert bridge.exists()
    daemon.start()
    assert not bridge.exists()
    assert "lonely" in daemon.output("network", "ls", "--format", "{{.Name}}").split()


def check(daemon: Daemon, worker: Worker) -> None:
    """Compare what is there with what was reported done."""
    number, images = worker.number, names(daemon)
    containers = daemon.output("ps", "-a", "--format", "{{.Names}} {{.State}} {{.Networks}}").splitlines()
    mine = [line.split()[1:] for line in containers if line.startswith(f"new{number} ")]
    there = {
        "tagged": f"tag{number}:1" in images,
        "imported": f"imp{number}:1" in images,
        "built": f"made{number}:1" in images,
        "committed": f"com{number}:1" in images,
        "created": bool(mine),
        "volume": f"vol{number}" in daemon.output("volume", "ls", "-q").split(),
        "network": f"net{number}" in daemon.output("network", "ls", "--format", "{{.Name}}").split(),
    }
    for name, present in there.items():
        removed = f"no {name}"
        if name in worker.done and removed not in worker.done and worker.begun != removed:
            assert present, (name, worker.done, worker.begun)
        if removed in worker.done:
            assert not present, (name, worker.done)
    if worker.begun not in ("no created", "no network") and "no created" not in worker.done:
        assert "started" not in worker.done or mine[0][0] == "running", (mine, worker.done, worker.begun)
        assert "joined" not in worker.done or f"net{number}" in mine[0][1].split(","), (mine, worker.done)
    old = [line.split()[0] for line in containers if line.split()[0] in (f"con{number}", f"old{number}")]
    if "ran" in worker.done and "no container" not in worker.done and worker.begun != "no container":
        assert len(old) == 1, (old, worker.done, worker.begun)
        assert "renamed" not in worker.done or old == [f"old{number}"], (old, worker.done)
    assert "no container" not in worker.done or not old, (old, worker.done)


def check_disk(daemon: Daemon) -> None:
    """Compare what is listed with what is on disk, and with what is mounted."""
    running = set(daemon.output("ps", "-q", "--no-trunc").split())
    everything = set(daemon.output("ps", "-aq", "--no-trunc").split())
    assert {path.name for path in (daemon.root / "containers").iterdir()} == everything
    listed = set(daemon.output("volume", "ls", "-q").split())
    assert {path.name for path in (daemon.root / "volumes").iterdir() if path.is_dir()} == listed
    mounted = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    mine = [Path(path).relative_to(daemon.root) for path in mounted if path.startswith(f"{daemon.root}/")]
    assert {path.parts[1] for path in mine if path.parts[0] == "containers"} <= running, mine
    # Whatever is listed is whole.
    for name in names(daemon):
        image = json.loads(daemon.output("image", "inspect", name))[0]
        layers = [Path(daemon.root / "images" / "layers" / digest[7:]) for digest in image["RootFS"]["Layers"]]
        assert all(layer.is_dir() for layer in layers), name
        assert daemon.docker("save", name).returncode == 0
    assert daemon.output("run", "--rm", "bb:1", "echo", "alive") == "alive"


def names(daemon: Daemon) -> list[str]:
    """Return the names of the images."""
    found = daemon.output("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    return [name for name in found if "<none>" not in name]
