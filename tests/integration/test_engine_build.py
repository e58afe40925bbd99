"""Builds by the docker command: what is printed and how it ends, beside Docker's engine; a client that goes away."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon
from tests.dockerd import ReferenceEngine, reference_engine
from tests.patience import until
from tests.shared import daemon, empty

__all__ = ["daemon", "empty", "reference_engine"]

pytestmark = pytest.mark.usefixtures("root")

Engine = Daemon | ReferenceEngine


@pytest.fixture
def box(daemon: Daemon) -> Daemon:
    """Return a daemon with an image."""
    daemon.busybox("bb:1")
    return daemon


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Return the directory of a context."""
    place = tmp_path / "context"
    place.mkdir()
    (place / "file").write_text("content\n")
    (place / "left-out").write_text("x")
    (place / ".dockerignore").write_text("left-out\n")
    return place


@pytest.fixture
def theirs(reference_engine: ReferenceEngine) -> Iterator[ReferenceEngine]:
    """Return Docker's engine with the same image."""
    reference_engine.docker("rmi", "-f", "bb:1")
    reference_engine.busybox("bb:1")
    yield reference_engine
    reference_engine.docker("image", "prune", "-a", "-f")


def built(engine: Engine, *words: str, stdin: bytes = b"") -> tuple[int, str]:
    """Build; return the status and what was printed, IDs replaced by their order."""
    done = engine.docker("build", *words, stdin=stdin)
    text = done.stdout.decode() + done.stderr.decode().partition("\n\n")[2]
    seen: dict[str, str] = {}
    text = re.sub(r"\b[0-9a-f]{64}\b|\b[0-9a-f]{12}\b", lambda found: seen.setdefault(found[0], f"ID{len(seen)}"), text)
    text = re.sub(r"failed to create shim task: .* process: (exec: .*): unknown", r"\1", text)  # what runc adds
    return done.returncode, re.sub(r"Sending build context to Docker daemon.*[\r\n]*", "", text)


DOCKERFILES = {
    "every kind of step": (
        "FROM bb:1 AS first\nARG WHO=nobody\nENV GREETING=hello\nRUN echo $GREETING $WHO > /said && cat /said\n"
        "FROM bb:1\nLABEL team=a\nCOPY --from=first /said /copied\nCOPY file /\nADD file /added/\nWORKDIR /w\n"
        "EXPOSE 80/tcp\nVOLUME /data\nUSER nobody\nSTOPSIGNAL SIGINT\nHEALTHCHECK --interval=5s CMD true\n"
        'ENTRYPOINT ["/bin/sh"]\nCMD ["-c", "id"]\n'
    ),
    "a command that fails": "FROM bb:1\nRUN echo before; exit 7\nRUN echo never\n",
    "a command that is not there": 'FROM bb:1\nRUN ["/no/such"]\n',
    "an instruction that is none": "FROM bb:1\nFLY away\n",
    "no instruction": "\n",
    "a file that is not there": "FROM bb:1\nCOPY nothing /\n",
    "a file that is left out": "FROM bb:1\nCOPY left-out /\n",
    "a stage that is not there": "FROM bb:1\nCOPY --from=7 /a /b\n",
}


@pytest.mark.parametrize("what", DOCKERFILES)
def test_builds_are_told_as_docker_does(box: Daemon, theirs: ReferenceEngine, context: Path, what: str) -> None:
    (context / "Dockerfile").write_text(DOCKERFILES[what])
    for _ in range(2):  # the second time from the cache
        ours, others = (built(engine, "-t", "made:1", str(context)) for engine in (box, theirs))
        assert ours == others


def test_the_images_that_are_built_are_dockers(box: Daemon, theirs: ReferenceEngine, context: Path) -> None:
    (context / "Dockerfile").write_text(DOCKERFILES["every kind of step"])
    found = []
    for engine in (box, theirs):
        assert built(engine, "-t", "made:1", "--build-arg", "WHO=you", str(context))[0] == 0
        image = json.loads(engine.docker("image", "inspect", "made:1").stdout)[0]
        config = {key: value for key, value in image["Config"].items() if value and key != "Image"}
        history = engine.docker("history", "--no-trunc", "-H=false", "--format", "{{.Size}} {{.CreatedBy}}", "made:1")
        # A digest in the history is of the copied file as it is in the stage, with the time of its making.
        steps = re.sub(r"file:[0-9a-f]{64} in /copied", "FILE", history.stdout.decode())
        found.append((config, image["Size"], len(image["RootFS"]["Layers"]), steps.splitlines()))
    assert found[0] == found[1]


def test_other_ways_to_give_a_context(box: Daemon, context: Path, tmp_path: Path) -> None:
    (context / "other").write_text("FROM bb:1\nCOPY file /from-other\n")
    assert built(box, "-q", "-f", str(context / "other"), str(context))[0] == 0
    outside = tmp_path / "Outside"
    outside.write_text("FROM bb:1\nCOPY file /from-outside\n")
    assert built(box, "-q", "-f", str(outside), str(context))[0] == 0
    assert built(box, "-t", "piped:1", "-", stdin=b"FROM bb:1\nENV A=1\n")[0] == 0
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        tar.add(context / "file", "file")
        tar.add(context / "other", "Dockerfile")
    assert built(box, "-t", "tar:1", "-", stdin=archive.getvalue())[0] == 0
    assert box.output("run", "--rm", "tar:1", "cat", "/from-other") == "content"
    status, text = built(box, "--target", "none", "-", stdin=b"FROM bb:1\n")
    assert (status, "failed to reach build target none in Dockerfile" in text) == (1, True)


def test_a_context_that_climbs_reaches_nothing(box: Daemon, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, link in (("out", "/"), ("up", "../../../../../../../../..")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, link
            tar.addfile(member)
        text = f"FROM bb:1\nCOPY out{tmp_path}/secret /a\n".encode()
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    status, told = built(box, "-", stdin=archive.getvalue())
    assert status != 0
    assert "secret" not in box.docker("images", "-a").stdout.decode()
    assert "no such file or directory" in told or "not found" in told


def test_a_client_that_goes_away_ends_its_build(box: Daemon) -> None:
    seconds = f"sleep {7_000_000 + os.getpid()}"
    text = f"FROM bb:1\nRUN echo begun; {seconds}\n".encode()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("Dockerfile")
        member.size = len(text)
        tar.addfile(member, io.BytesIO(text))
    body = archive.getvalue()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(box.socket))
        connection.sendall(
            b"POST /build?t=never:1 HTTP/1.1\r\nHost: d\r\nContent-Type: application/x-tar\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        seen = b""
        while b"begun" not in seen:
            seen += connection.recv(1 << 16)
    # It does not go on when nobody wants it.
    until(lambda: not any(seconds in line for line in commands()) and not list((box.root / "images").glob("builds/*")))
    assert box.output("images", "-q", "never") == ""
    until(lambda: box.output("network", "inspect", "-f", "{{json .Containers}}", "bridge") == "{}")


def commands() -> list[str]:
    """Return the command lines of all processes."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                found.append(Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return found


def test_a_build_by_the_sdk(box: Daemon) -> None:
    client = box.client()
    try:
        image, log = client.images.build(
            fileobj=io.BytesIO(b"FROM bb:1\nRUN echo from the SDK\n"), tag="sdk:1", rm=True
        )
        assert image.tags == ["sdk:1"]
        assert "from the SDK\n" in [line.get("stream") for line in log]
    finally:
        client.close()


def test_buildkit_is_told_of_as_missing(box: Daemon, tool: Callable[[str], str]) -> None:
    tool("docker")
    done = box.docker("build", "-", stdin=b"FROM bb:1\n", environment={"DOCKER_BUILDKIT": ""})
    assert done.returncode == 0  # the classic one is taken where there is no other
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(box.socket))
        connection.sendall(b"POST /build?version=2 HTTP/1.1\r\nHost: d\r\nContent-Length: 0\r\n\r\n")
        answer = connection.recv(1 << 16)
    assert b" 501 " in answer
    assert b"the classic builder only" in answer
