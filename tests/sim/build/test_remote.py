"""What is fetched: ADD by a URL, remote contexts, git repositories, base images."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fusefs import UnionFS
from sim.build import BuildError, LocalRunner, MessageKind
from sim.images import Store
from sim.images.registry import Registries, push
from tests.dockerd import find
from tests.sim.build.worlds import Builds, context, failure, tar
from tests.sim.images.registries import registry

pytestmark = pytest.mark.usefixtures("overlayfs")


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/named/":
            self.send_response(200)
            self.send_header("Content-Disposition", 'attachment; filename="../../given.txt"')
            self.end_headers()
            self.wfile.write(b"named by its header")
        elif self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file.txt")
            self.end_headers()
        else:
            super().do_GET()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """Return a directory, and the URL under which it is served."""
    place = tmp_path / "served"
    place.mkdir()
    handler = functools.partial(_Quiet, directory=str(place))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield place, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_add_by_a_url(builds: Builds, served: tuple[Path, str]) -> None:
    place, url = served
    (place / "file.txt").write_text("fetched")
    (place / "archive.tar").write_bytes(tar({"inside": "x"}))
    os.utime(place / "file.txt", (1_500_000_000, 1_500_000_000))
    result = builds(
        f"FROM busybox\nADD {url}/file.txt /a/\nADD {url}/file.txt /b\nADD {url}/archive.tar /c/\n"
        f"ADD --chown=5:6 {url}/moved /d\nADD {url}/file.txt {url}/archive.tar /e/\n"
    )
    with UnionFS(builds.store.layer_directories(result.image)) as fs:
        assert fs.read_bytes("/a/file.txt") == b"fetched"
        status = fs.stat("/b")
        assert (status.st_mode & 0o7777, status.st_uid, status.st_mtime_ns) == (0o600, 0, 1_500_000_000 * 10**9)
        assert fs.listdir("/c") == ["archive.tar"]  # what is fetched is not unpacked
        assert fs.read_bytes("/d") == b"fetched"
        assert fs.stat("/d").st_uid == 5
        assert fs.listdir("/e") == ["archive.tar", "file.txt"]
    builds(f"FROM busybox\nADD {url}/file.txt /a/\nADD {url}/file.txt /b\n")
    assert builds.steps() == ["done", "cached", "cached"]
    (place / "file.txt").write_text("changed")
    builds(f"FROM busybox\nADD {url}/file.txt /a/\n")
    assert builds.steps() == ["done", "done"]
    progress = [message.progress for message in builds.messages if message.kind is MessageKind.STATUS]
    assert progress[-1] is not None
    assert progress[-1].current == 7


def test_a_name_from_a_header_stays_a_name(builds: Builds, served: tuple[Path, str]) -> None:
    _, url = served
    result = builds(f"FROM busybox\nADD {url}/named/ /x/\n")
    with UnionFS(builds.store.layer_directories(result.image)) as fs:
        assert fs.listdir("/x") == ["given.txt"]
    assert "cannot determine filename" in str(failure(builds, f"FROM busybox\nADD {url}/?q /x/\n"))
    error = failure(builds, f"FROM busybox\nADD {url}/nothing /x\n")
    assert str(error).startswith(f"ADD failed: failed to GET {url}/nothing with status 404")
    assert "ADD failed: Get" in str(failure(builds, "FROM busybox\nADD http://127.0.0.1:1/x /x\n"))


def test_a_remote_context(builds: Builds, served: tuple[Path, str]) -> None:
    place, url = served
    (place / "context.tar").write_bytes(context("FROM busybox\nCOPY f /f\n", {"f": "x"}))
    (place / "Dockerfile").write_text("FROM busybox\nENV alone=1\n")
    builds.tar(b"", remote=f"{url}/context.tar")
    assert len(builds.steps()) == 2
    result = builds.tar(b"", remote=f"{url}/Dockerfile")
    assert "alone=1" in builds.store.image(result.image).environment
    with pytest.raises(BuildError, match="404"):
        builds.tar(b"", remote=f"{url}/nothing")
    with pytest.raises(BuildError, match="neither a URL nor a git repository"):
        builds.tar(b"", remote="nonsense")
    (place / "bad").write_text("FROM busybox\nCOPY f /\n")
    with pytest.raises(BuildError, match="file not found in build context"):
        builds.tar(b"", remote=f"{url}/bad")


def test_a_git_repository(builds: Builds, served: tuple[Path, str], tmp_path: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("needs git; install git")
    place, url = served
    work = tmp_path / "work"
    work.mkdir()
    environment = {
        **os.environ,
        **{f"GIT_{who}_{what}": f"x@{what}" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        "GIT_CONFIG_GLOBAL": "/dev/null",
    }

    def git(*words: str) -> None:
        subprocess.run(["git", *words], cwd=work, env=environment, check=True, capture_output=True)

    git("init", "--quiet", "--initial-branch=main")
    (work / "Dockerfile").write_text("FROM busybox\nCOPY . /all/\n")
    (work / "sub").mkdir()
    (work / "sub/Dockerfile").write_text("FROM busybox\nLABEL where=sub\n")
    (work / "up").symlink_to("/")
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    git("tag", "v1")
    (work / "sub/Dockerfile").write_text("FROM busybox\nLABEL where=later\n")
    git("commit", "--quiet", "-a", "-m", "two")
    git("clone", "--quiet", "--bare", str(work), str(place / "repository.git"))
    subprocess.run(["git", "-C", str(place / "repository.git"), "update-server-info"], check=True)

    def labels(remote: str) -> dict[str, str]:
        return builds.store.image(builds.tar(b"", remote=remote).image).labels

    result = builds.tar(b"", remote=f"{url}/repository.git")
    with UnionFS(builds.store.layer_directories(result.image)) as fs:
        assert fs.listdir("/all") == ["Dockerfile", "sub", "up"]
    assert labels(f"{url}/repository.git#main:sub") == {"where": "later"}
    assert labels(f"{url}/repository.git#v1:sub") == {"where": "sub"}
    with pytest.raises(BuildError, match="error fetching"):
        labels(f"{url}/repository.git#nowhere")
    with pytest.raises(BuildError, match=r"not a directory|Cannot locate"):
        labels(f"{url}/repository.git#main:up/etc")
    with pytest.raises(BuildError, match="invalid git reference"):
        labels(f"{url}/repository.git#--upload-pack=touch /tmp/x")


def test_base_images_are_fetched(builds: Builds, tmp_path: Path) -> None:
    if find("docker-registry") is None:
        pytest.skip("needs docker-registry; install docker-registry")
    registries = Registries(config=Path("/nonexistent"), certificates=())
    with contextlib.ExitStack() as stack:
        host = stack.enter_context(registry(tmp_path / "registry"))
        builds.store.tag("busybox", f"{host}/team/base:1")
        push(builds.store, f"{host}/team/base:1", registries)
        with Store(tmp_path / "other") as other:
            there = Builds(other)
            there.runner = LocalRunner(other, registries=lambda options: registries, cgroup="")
            text = f"FROM {host}/team/base:1\nCOPY --from={host}/team/base:1 /etc/passwd /p\n"
            there(text)
            assert MessageKind.STATUS in {message.kind for message in there.messages}
            there(text)
            assert MessageKind.STATUS not in {message.kind for message in there.messages}
            there(text, pull=True)
            assert MessageKind.STATUS in {message.kind for message in there.messages}
            error = failure(there, f"FROM {host}/team/nothing\n")
            assert "not found" in str(error) or "not known" in str(error) or "does not exist" in str(error), error
