"""One daemon for all tests of a module, which is quicker than one for each; every test begins without containers.

`engine` is the daemon with an image `busybox`, `client` a client of the SDK. Name them after
`from tests.shared import client, engine, running` in the test's module.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.daemons import Daemon

__all__ = ["client", "engine", "running"]


@pytest.fixture(scope="module")
def running(root: None, fuse: None) -> Iterator[Daemon]:
    """Return the daemon of the module."""
    place = Path(tempfile.mkdtemp(prefix="d-"))
    place.chmod(0o755)
    # Without lingering, so that what a test leaves on the machine can be told from what goes by itself.
    daemon = Daemon(place, ("--label", "layerlab.linger=0")).start()
    try:
        daemon.busybox()
        yield daemon
    finally:
        daemon.stop()
        assert "Traceback" not in daemon.log, daemon.log[-4000:]
        shutil.rmtree(place)


@pytest.fixture
def engine(running: Daemon) -> Iterator[Daemon]:
    """Return the daemon; what containers, networks and volumes a test leaves are removed."""
    yield running
    client = running.client()
    try:
        for container in client.containers.list(all=True, ignore_removed=True):
            try:
                container.remove(force=True, v=True)
            except docker.errors.NotFound:
                continue
            except docker.errors.APIError as error:
                if error.status_code != 409:
                    raise
        for network in client.networks.list():
            if network.name not in ("bridge", "host", "none"):
                network.remove()
        for volume in client.volumes.list():
            volume.remove()
    finally:
        client.close()


@pytest.fixture
def client(engine: Daemon) -> Iterator[docker.DockerClient]:
    """Return a client of the SDK."""
    found = engine.client()
    try:
        yield found
    finally:
        found.close()
