"""One daemon for all tests of a module, which is quicker than one for each; every test begins without containers.

`engine` is the daemon with an image `busybox`, `client` a client of the SDK. Name them after
`from tests.shared import client, engine, running` in the test's module. `daemon` is one without an image, and every
test begins without any: `from tests.shared import daemon, empty`. What needs settings of its own, kills its daemon, or
needs one that was asked nothing before, starts one (`tests.daemons`).
"""

from __future__ import annotations

import contextlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.daemons import Daemon

__all__ = ["client", "daemon", "empty", "engine", "running"]


@contextlib.contextmanager
def _started() -> Iterator[Daemon]:
    place = Path(tempfile.mkdtemp(prefix="d-"))
    place.chmod(0o755)
    # Without lingering, so that what a test leaves on the machine can be told from what goes by itself.
    one = Daemon(place, ("--label", "layerlab.linger=0")).start()
    try:
        yield one
    finally:
        one.stop()
        assert "Traceback" not in one.log, one.log[-4000:]
        shutil.rmtree(place)


@pytest.fixture(scope="module")
def running(root: None, fuse: None) -> Iterator[Daemon]:
    """Return the daemon of the module, which has an image."""
    with _started() as one:
        one.busybox()
        yield one


@pytest.fixture(scope="module")
def empty(root: None, fuse: None) -> Iterator[Daemon]:
    """Return the daemon of the module, which has no image."""
    with _started() as one:
        with contextlib.closing(one.client()) as client:  # the daemon keeps a parser of Dockerfiles from now on
            client.images.build(fileobj=io.BytesIO(b"FROM scratch\nLABEL a=b\n"), rm=True)[0].remove()
        yield one


@pytest.fixture
def daemon(empty: Daemon) -> Iterator[Daemon]:
    """Return the daemon; whatever a test leaves in it is removed, also what its client remembers."""
    yield empty
    client = empty.client()
    try:
        _clear(client)
        for image in client.api.images(all=True, quiet=True):
            with contextlib.suppress(docker.errors.NotFound):  # it went with another
                client.images.remove(image, force=True)
        assert client.api.images(all=True) == []
    finally:
        client.close()
        shutil.rmtree(empty.place / "client", ignore_errors=True)


@pytest.fixture
def engine(running: Daemon) -> Iterator[Daemon]:
    """Return the daemon; what containers, networks and volumes a test leaves are removed."""
    yield running
    client = running.client()
    try:
        _clear(client)
    finally:
        client.close()


def _clear(client: docker.DockerClient) -> None:
    """Remove all containers, networks and volumes."""
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


@pytest.fixture
def client(engine: Daemon) -> Iterator[docker.DockerClient]:
    """Return a client of the SDK."""
    found = engine.client()
    try:
        yield found
    finally:
        found.close()
