"""The same test on our daemon and on Docker's own engine, by a client of Docker's SDK.

Name the fixtures after `from tests.bothengines import asked, client, reference_engine, running, sleeper` in the test's
module. What is asserted then is what Docker answers.
"""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest
from docker import DockerClient as Client
from docker.errors import APIError
from docker.models.containers import Container

from tests.daemons import Daemon
from tests.dockerd import ReferenceEngine, reference_engine
from tests.shared import running

__all__ = [
    "asked",
    "client",
    "packed",
    "reference_engine",
    "refused",
    "running",
    "sleeper",
    "typing",
    "unpacked",
]


@pytest.fixture(scope="module", params=["ours", "docker.io"])
def asked(request: pytest.FixtureRequest) -> Daemon | ReferenceEngine:
    """Return an engine with an image `busybox`."""
    if request.param == "ours":
        ours: Daemon = request.getfixturevalue("running")
        with contextlib.closing(ours.client()) as client:  # the daemon keeps a parser of Dockerfiles from now on
            client.images.build(fileobj=io.BytesIO(b"FROM busybox\nLABEL a=b\n"), rm=True)[0].remove()
        return ours
    theirs: ReferenceEngine = request.getfixturevalue("reference_engine")
    theirs.busybox("busybox:latest")
    return theirs


@pytest.fixture
def client(asked: Daemon | ReferenceEngine) -> Iterator[Client]:
    """Return a client of an engine, from which all containers, networks and volumes are taken in the end."""
    found = asked.client()
    try:
        yield found
    finally:
        for container in found.containers.list(all=True):
            container.remove(force=True, v=True)
        for network in found.networks.list():
            if network.name not in ("bridge", "host", "none"):
                network.remove()
        for volume in found.volumes.list():
            volume.remove()
        found.close()


@pytest.fixture
def sleeper(client: Client) -> Container:
    """Return a container that runs."""
    return client.containers.run("busybox", ["sleep", "1000"], detach=True, name="sleeper", labels={"of": "tests"})


@contextlib.contextmanager
def refused(status: int, text: str = "") -> Iterator[None]:
    """Have a request refused."""
    with pytest.raises(APIError) as told:
        yield
    assert told.value.status_code == status, told.value
    assert text in (told.value.explanation or ""), told.value.explanation


@contextlib.contextmanager
def typing(connection: Any) -> Iterator[Any]:
    """Have the socket of a connection that was handed over; close all of it."""
    kept = connection._sock
    try:
        yield kept
    finally:
        kept.close()
        connection.close()
        with contextlib.suppress(ValueError):  # its file is closed by now
            connection._response.close()


def packed(name: str, data: bytes) -> bytes:
    """Return a tar with one file."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def unpacked(chunks: Iterator[bytes]) -> dict[str, bytes]:
    """Return the files of a tar."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        return {each.name: file.read() for each in tar if each.isreg() and (file := tar.extractfile(each))}
