"""What our daemon saves and pushes, podman runs; what the classic builder made here, it runs too."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon, daemon, new_daemon
from tests.integration.test_podman import Podman, cgroups
from tests.sim.images.registries import registry

__all__ = ["cgroups", "daemon", "new_daemon"]

pytestmark = pytest.mark.usefixtures("root", "cgroups")

DOCKERFILE = b"""\
FROM bb:1
RUN echo built > /made && rm /etc/group && ln /made /linked
ENV WHO=world
COPY --chown=7:8 Dockerfile /copied
USER nobody
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["echo hello $WHO; cat /linked; id -u; stat -c %u:%g /copied; ls /etc"]
"""

EXPECTED = "hello world\nbuilt\n65534\n7:8\n"


@pytest.fixture
def podman(tool: Callable[[str], str]) -> Iterator[Podman]:
    """Return a podman with an empty store."""
    tool("podman")
    place = Path(tempfile.mkdtemp(prefix="p-"))
    one = Podman(place, None)
    yield one
    one.close()
    shutil.rmtree(place)


@pytest.fixture
def built(daemon: Daemon, tmp_path: Path) -> Daemon:
    """Return a daemon with an image of several layers that was built on it."""
    daemon.busybox("bb:1")
    (tmp_path / "Dockerfile").write_bytes(DOCKERFILE)
    daemon.output("build", "-t", "app:1", str(tmp_path))
    return daemon


def test_podman_runs_what_was_saved(built: Daemon, podman: Podman, tmp_path: Path) -> None:
    archive = tmp_path / "app.tar"
    built.output("save", "-o", str(archive), "app:1")
    assert podman("load", "-q", "-i", str(archive)) == "Loaded image: docker.io/library/app:1\n"
    shown = podman("run", "--rm", "docker.io/library/app:1")
    assert shown.startswith(EXPECTED)
    assert "group" not in shown
    assert podman("image", "inspect", "-f", "{{.Id}}", "docker.io/library/app:1").strip() == (
        built.output("image", "inspect", "-f", "{{.Id}}", "app:1").removeprefix("sha256:")
    )


def test_podman_runs_what_was_pushed(built: Daemon, podman: Podman, tmp_path: Path, tool: Callable[[str], str]) -> None:
    tool("docker-registry")
    with registry(tmp_path / "registry") as host:
        built.output("tag", "app:1", f"{host}/lab/app:1")
        built.output("push", f"{host}/lab/app:1")
        shown = podman("run", "--rm", "--tls-verify=false", f"{host}/lab/app:1")
    assert shown.startswith(EXPECTED)


def test_what_podman_made_runs_here(built: Daemon, podman: Podman, tmp_path: Path) -> None:
    archive, back = tmp_path / "app.tar", tmp_path / "back.tar"
    built.output("save", "-o", str(archive), "app:1")
    podman("load", "-q", "-i", str(archive))
    podman(
        "run", "--name", "changed", "--entrypoint", "/bin/sh", "docker.io/library/app:1", "-c", "echo more > /tmp/more"
    )
    podman("commit", "-q", "--change", 'CMD ["-c", "cat /tmp/more /linked"]', "changed", "localhost/app:2")
    podman("save", "-q", "-o", str(back), "localhost/app:2")
    built.output("load", "-i", str(back))
    assert built.output("run", "--rm", "localhost/app:2") == "more\nbuilt"
