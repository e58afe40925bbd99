"""Eight clients at once, each doing whatever comes to its mind: nobody finds a defect, nothing is left in the end."""

from __future__ import annotations

import io
import os
import random
import tarfile
import threading
import time
from pathlib import Path

import docker
import pytest

from tests.daemons import Daemon, daemon, new_daemon

__all__ = ["daemon", "new_daemon"]

pytestmark = pytest.mark.usefixtures("root", "fuse")

CLIENTS = 8
SECONDS = float(os.environ.get("LAYERLAB_CROWD_SECONDS", "8"))

#: What a client may be told while others are at work on the same things.
FAIR = (304, 400, 403, 404, 409)


def small_tar(number: int) -> bytes:
    """Return a tar with one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(f"file{number}")
        member.size = number
        tar.addfile(member, io.BytesIO(b"x" * number))
    return out.getvalue()


class Visitor:
    """One client: things it does at random, on things that others use too."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.random = random.Random(seed)
        self.client = daemon.client()
        self.done: dict[str, int] = {}
        self.unfair: list[str] = []

    def visit(self, until: float) -> None:
        """Do things until a moment."""
        names = [name for name in dir(self) if name.startswith("do_")]
        while time.monotonic() < until:
            name = self.random.choice(names)
            try:
                getattr(self, name)(self.random.randrange(4))
                self.done[name] = self.done.get(name, 0) + 1
            except docker.errors.APIError as error:
                if error.status_code not in FAIR:
                    self.unfair.append(f"{name}: {error.status_code} {error.explanation}")
            except Exception as error:
                self.unfair.append(f"{name}: {error!r}")
        self.client.close()

    def do_run(self, number: int) -> None:
        assert self.client.containers.run("bb:1", ["echo", str(number)], remove=True) == f"{number}\n".encode()

    def do_create(self, number: int) -> None:
        self.client.containers.create("bb:1", ["sleep", "100"], name=f"con{number}", volumes=[f"vol{number}:/v"])

    def do_start(self, number: int) -> None:
        self.client.containers.get(f"con{number}").start()

    def do_kill(self, number: int) -> None:
        self.client.containers.get(f"con{number}").kill()

    def do_remove(self, number: int) -> None:
        self.client.containers.get(f"con{number}").remove(force=True, v=True)

    def do_list(self, number: int) -> None:
        self.client.api.containers(all=True)
        self.client.api.images()

    def do_import(self, number: int) -> None:
        self.client.api.import_image_from_data(small_tar(number), repository=f"im{number}", tag="1")

    def do_tag(self, number: int) -> None:
        self.client.api.tag(f"im{number}:1", f"im{number}", "2")

    def do_untag(self, number: int) -> None:
        self.client.images.remove(f"im{number}:{self.random.choice('12')}")

    def do_build(self, number: int) -> None:
        text = f"FROM bb:1\nRUN echo {number} > /made\nENV A={number}\n".encode()
        self.client.images.build(fileobj=io.BytesIO(text), tag=f"built{number}", rm=True)

    def do_prune(self, number: int) -> None:
        self.client.images.prune()

    def do_commit(self, number: int) -> None:
        self.client.containers.get(f"con{number}").commit(f"com{number}", "1")

    def do_save_and_load(self, number: int) -> None:
        archive = b"".join(self.client.images.get(f"im{number}:1").save(named=True))
        self.client.images.load(archive)

    def do_volume(self, number: int) -> None:
        self.client.volumes.create(f"vol{number}")
        self.client.volumes.list()

    def do_remove_volume(self, number: int) -> None:
        self.client.volumes.get(f"vol{number}").remove()

    def do_network(self, number: int) -> None:
        self.client.networks.create(f"net{number}")

    def do_join(self, number: int) -> None:
        network = self.client.networks.get(self.client.api.inspect_network(f"net{number}")["Id"])
        network.connect(f"con{self.random.randrange(4)}")

    def do_remove_network(self, number: int) -> None:
        self.client.networks.get(self.client.api.inspect_network(f"net{number}")["Id"]).remove()

    def do_df(self, number: int) -> None:
        self.client.df()


def test_a_crowd_of_clients(daemon: Daemon) -> None:
    daemon.busybox("bb:1")
    visitors = [Visitor(daemon, seed) for seed in range(CLIENTS)]
    until = time.monotonic() + SECONDS
    threads = [threading.Thread(target=visitor.visit, args=(until,)) for visitor in visitors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    unfair = [text for visitor in visitors for text in visitor.unfair]
    assert unfair == [], "\n".join(unfair)
    assert sum(count for visitor in visitors for count in visitor.done.values()) > 20
    assert "Traceback" not in daemon.log

    for container in daemon.output("ps", "-aq").split():
        daemon.output("rm", "-f", "-v", container)
    daemon.output("system", "prune", "-a", "-f", "--volumes")
    daemon.output("volume", "prune", "-a", "-f")
    daemon.output("image", "prune", "-a", "-f")
    assert daemon.output("images", "-aq") == ""
    assert daemon.output("volume", "ls", "-q") == ""
    assert daemon.output("network", "ls", "-q", "-f", "type=custom") == ""
    assert left_in(daemon.root) == []
    # What is known is also what a new daemon finds.
    daemon.stop()
    daemon.start()
    assert daemon.output("system", "df", "--format", "{{.TotalCount}} {{.Size}}").splitlines() == ["0 0B"] * 4


def left_in(root: Path) -> list[str]:
    """Return what is in a data root that belongs to nothing any more."""
    places = (
        "images/blobs/sha256",
        "images/layers",
        "images/trash",
        "images/ingest",
        "containers",
        "volumes",
        "networks",
    )
    return [str(path) for place in places if (root / place).is_dir() for path in (root / place).iterdir()]
