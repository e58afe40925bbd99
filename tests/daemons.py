"""Our own daemon for tests: a process of its own in a temporary directory, from which nothing is left.

`daemon` is a fixture that starts one and ends it; `new_daemon` returns a function that starts as many as are wanted,
with what flags are wanted. Name them in a test's arguments after `from tests.daemons import daemon, new_daemon` in the
test's module or its conftest.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest

from tests.conftest import ROOT
from tests.dockerd import busybox_tar, find
from tests.patience import PATIENCE

__all__ = ["Daemon", "daemon", "docker_command", "new_daemon"]


@dataclass
class Daemon:
    """A daemon that runs.

    Attributes
    ----------
    place
        Its temporary directory: data root, socket, log.
    flags
        What it was started with beside data root and socket.
    environment
        Variables beside this process's.
    inside
        Words before its command, such as those that start it in another network namespace.
    """

    place: Path
    flags: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    inside: Sequence[str] = ()

    @property
    def socket(self) -> Path:
        """Its unix socket."""
        return self.place / "s.sock"

    @property
    def root(self) -> Path:
        """Its data root."""
        return self.place / "root"

    @property
    def address(self) -> str:
        """For `DOCKER_HOST` and `docker -H`."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int:
        """Number of its process."""
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has logged."""
        return (self.place / "log").read_text(errors="replace")

    def start(self) -> Daemon:
        """Start it and wait until it answers."""
        with open(self.place / "log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.inside,
                    *(sys.executable, "-m", "sim.cli", "daemon", "--data-root", str(self.root)),
                    *("--host", self.address, "--config-file", str(self._settings()), *self.flags),
                ],
                cwd=ROOT,
                env={**os.environ, "HOME": str(self.place), **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + PATIENCE
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"the daemon does not start: {self.log[-2000:]}")
            time.sleep(0.02)
        return self

    def _settings(self) -> Path:
        path = self.place / "daemon.json"
        if not path.exists():
            path.write_text("{}")
        return path

    def answers(self) -> bool:
        """Tell whether it answers on its socket."""
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self.socket))
            connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
            return b" 200 " in connection.recv(1024)
        return False

    def stop(self, number: int = signal.SIGTERM, timeout: float = PATIENCE) -> int:
        """End it by a signal; return its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)

    def kill_containers(self) -> None:
        """Kill what runs: at its end the daemon would give each ten seconds."""
        if self.process is None or self.process.poll() is not None or not self.answers():
            return
        client = self.client()
        try:
            for container in client.containers.list(ignore_removed=True):
                with contextlib.suppress(docker.errors.APIError):  # it has just ended, or is paused
                    container.kill()
        finally:
            client.close()

    def client(self) -> docker.DockerClient:
        """Return a new client of the SDK; close it."""
        return docker.DockerClient(base_url=self.address, version="auto", timeout=60)

    def docker(
        self, *words: str, environment: Mapping[str, str] | None = None, stdin: bytes = b"", timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the docker command against it (the classic builder)."""
        return docker_command(self.address, self.place, words, environment, stdin, timeout)

    def output(self, *words: str, stdin: bytes = b"") -> str:
        """Run the docker command, which must succeed; return what it printed, without what is around it."""
        done = self.docker(*words, stdin=stdin)
        assert done.returncode == 0, (words, done.stderr.decode(), self.log[-2000:])
        return done.stdout.decode().strip()

    def busybox(self, name: str = "busybox:latest") -> str:
        """Give it an image around the machine's static busybox; return the image's ID."""
        repository, _, tag = name.rpartition(":")
        return self.output("import", "-c", 'CMD ["/bin/sh"]', "-", f"{repository}:{tag}", stdin=busybox_tar())


def docker_command(
    address: str,
    place: Path,
    words: Sequence[str],
    environment: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    timeout: float = 60,
) -> subprocess.CompletedProcess[bytes]:
    """Run the docker command against a daemon; skip the test where it is not installed."""
    program = find("docker")
    if program is None:
        pytest.skip("needs the docker command; install docker.io")
    settings = {"DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": str(place / "client"), **(environment or {})}
    return subprocess.run(
        [program, "-H", address, *words],
        env={**os.environ, **settings},
        input=stdin,
        capture_output=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture
def new_daemon() -> Iterator[Callable[..., Daemon]]:
    """Return a function that starts a daemon with flags; they are all ended, and their directories removed."""
    made: list[Daemon] = []

    def make(*flags: str, start: bool = True, inside: Sequence[str] = (), **environment: str) -> Daemon:
        # A short name: the path of a unix socket has at most 107 bytes.
        place = Path(tempfile.mkdtemp(prefix="d-"))
        place.chmod(0o755)
        made.append(Daemon(place, flags, environment=environment, inside=inside))
        return made[-1].start() if start else made[-1]

    yield make
    for one in made:
        if one.process is not None:
            try:
                one.kill_containers()
                one.stop()
            except subprocess.TimeoutExpired:
                one.stop(signal.SIGKILL)
                raise AssertionError(f"the daemon does not end: {one.log[-2000:]}") from None
        assert "Traceback" not in (one.log if one.process is not None else ""), one.log[-4000:]
        shutil.rmtree(one.place)


@pytest.fixture
def daemon(new_daemon: Callable[..., Daemon]) -> Daemon:
    """Return a daemon with the default settings."""
    return new_daemon()
