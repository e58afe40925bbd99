"""The daemon is killed at random moments of its work: the next one has what was reported done, nothing half done."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from tests.daemons import Daemon, daemon, new_daemon
from tests.integration.test_engine_crowd import left_in, small_tar

__all__ = ["daemon", "new_daemon"]

pytestmark = pytest.mark.usefixtures("root", "fuse")

ROUNDS = int(os.environ.get("LAYERLAB_EXAMPLES", "0")) or 6
SEED = int(os.environ.get("LAYERLAB_SEED", "7"))


class Worker:
    """Does things one after another until the daemon is gone; remembers which were reported done, in which order."""

    def __init__(self, daemon: Daemon, archive: bytes, number: int) -> None:
        self._daemon, self._archive, self._number = daemon, archive, number
        self.done: set[str] = set()
        self.begun = ""

    def work(self) -> None:
        """Go through the steps again and again."""
        number = self._number
        steps = [
            ("loaded", ("load", "-q"), self._archive),
            ("tagged", ("tag", "bb:1", f"tag{number}:1"), b""),
            ("imported", ("import", "-", f"imp{number}:1"), small_tar(number + 1)),
            ("volume", ("volume", "create", f"vol{number}"), b""),
            ("network", ("network", "create", f"net{number}"), b""),
            ("built", ("build", "-q", "-t", f"made{number}:1", "-"), f"FROM bb:1\nRUN echo {number} > /x\n".encode()),
            ("ran", ("run", "--name", f"con{number}", "-v", f"vol{number}:/v", "bb:1", "true"), b""),
            ("no container", ("rm", f"con{number}"), b""),
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
        worker = Worker(daemon, archive, number)
        thread = threading.Thread(target=worker.work)
        thread.start()
        time.sleep(chance.uniform(0.2, 2.5))
        daemon.stop(signal.SIGKILL)
        thread.join()
        daemon.start()
        check(daemon, worker, number)
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


def check(daemon: Daemon, worker: Worker, number: int) -> None:
    """Compare what is there with what was reported done."""
    there = {
        "tagged": f"tag{number}:1" in names(daemon),
        "imported": f"imp{number}:1" in names(daemon),
        "built": f"made{number}:1" in names(daemon),
        "volume": f"vol{number}" in daemon.output("volume", "ls", "-q").split(),
        "network": f"net{number}" in daemon.output("network", "ls", "--format", "{{.Name}}").split(),
    }
    for name, present in there.items():
        removed = f"no {name}"
        if name in worker.done and removed not in worker.done and worker.begun != removed:
            assert present, (name, worker.done, worker.begun)
        if removed in worker.done:
            assert not present, (name, worker.done)
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
