"""An application of two services, brought up and taken down by docker-compose, which none of us wrote."""

from __future__ import annotations

import os
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemons import Daemon, daemon, new_daemon
from tests.integration.test_podman import cgroups
from tests.patience import until

__all__ = ["cgroups", "daemon", "new_daemon"]

pytestmark = pytest.mark.usefixtures("root", "cgroups")

DOCKERFILE = """\
FROM busybox
ARG WHO=nobody
RUN mkdir /www && echo hello $WHO > /www/index.html
CMD ["httpd", "-f", "-p", "80", "-h", "/www"]
"""

APPLICATION = """\
version: "3.7"
services:
  web:
    build: {context: ., args: {WHO: compose}}
    networks: [front]
    ports: ["80"]
    healthcheck: {test: ["CMD", "wget", "-qO-", "http://127.0.0.1/"], interval: 1s, retries: 30}
    volumes: ["data:/data", "./:/source:ro"]
    stop_signal: SIGKILL
  client:
    image: busybox
    depends_on: [web]
    command: sh -c 'until wget -qO- http://web/; do sleep 0.1; done; sleep 1000'
    networks: [front]
    tmpfs: /scratch
    stop_signal: SIGKILL
volumes: {data: {}}
networks: {front: {driver: bridge}}
"""

Compose = Callable[..., str]


@pytest.fixture
def compose(daemon: Daemon, tool: Callable[[str], str], tmp_path: Path) -> Compose:
    """Return a function that runs docker-compose in the application's directory; it must succeed."""
    program = tool("docker-compose")
    daemon.busybox()
    place = tmp_path / "app"
    place.mkdir()
    (place / "Dockerfile").write_text(DOCKERFILE)
    (place / "docker-compose.yml").write_text(APPLICATION)

    # It reads an image's ContainerConfig, which the API has no more since 1.45: Debian's engine of today speaks 1.41.
    settings = {"COMPOSE_API_VERSION": "1.41", "DOCKER_BUILDKIT": "0", "HOME": str(tmp_path)}

    def run(*words: str) -> str:
        done = subprocess.run(
            [program, "--no-ansi", *words],
            cwd=place,
            env={**os.environ, "DOCKER_HOST": daemon.address, **settings},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr, daemon.log[-2000:])
        return done.stdout

    return run


def test_an_application_lives_and_goes(compose: Compose, daemon: Daemon) -> None:
    compose("up", "-d", "--build")
    until(lambda: "healthy" in compose("ps"))
    address = compose("port", "web", "80").strip().replace("0.0.0.0", "127.0.0.1")
    with urllib.request.urlopen(f"http://{address}/", timeout=30) as page:
        assert page.read() == b"hello compose\n"
    compose("up", "-d", "--no-recreate", "--scale", "client=3")
    assert daemon.output("ps", "-q", "-f", "label=com.docker.compose.service=client").count("\n") == 2
    until(lambda: compose("logs", "--no-color", "client").count("| hello compose") == 3)
    assert compose("exec", "-T", "web", "cat", "/source/Dockerfile") == DOCKERFILE
    assert compose("run", "--rm", "client", "echo", "one") == "one\n"

    compose("exec", "-T", "web", "touch", "/data/kept", "/lost")
    compose("pause", "web")
    assert "Paused" in compose("ps", "web")
    compose("unpause", "web")
    compose("up", "-d", "--force-recreate", "web")  # a new container with the volume of the old one
    assert compose("exec", "-T", "web", "sh", "-c", "ls /data /lost 2>/dev/null || true").split() == ["/data:", "kept"]

    compose("stop", "client")
    assert "Exit 137" in compose("ps", "client")
    compose("down", "-v", "--rmi", "local")
    assert daemon.output("ps", "-aq") == daemon.output("volume", "ls", "-q") == ""
    assert "front" not in daemon.output("network", "ls")
    assert daemon.output("images", "--format", "{{.Repository}}") == "busybox"
