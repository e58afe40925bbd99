"""Pull, push and login through the daemon: what is told, who is let in, what stays when a client goes away."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemons import Daemon, new_daemon
from tests.dockerd import ReferenceEngine, reference_engine
from tests.patience import PATIENCE, until
from tests.shared import daemon, empty
from tests.sim.images.registries import Answers, free_port, misbehaving, registry, reply

__all__ = ["daemon", "empty", "new_daemon", "reference_engine"]


@pytest.fixture
def host(tool: Callable[[str], str], tmp_path: Path) -> Iterator[str]:
    """Return host and port of the reference registry."""
    tool("docker-registry")
    with registry(tmp_path / "registry") as found:
        yield found


def lines(daemon: Daemon, method: str, target: str) -> list[dict[str, object]]:
    """Make a request to the API; return the lines of its answer."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(daemon.socket))
        connection.sendall(f"{method} {target} HTTP/1.0\r\nHost: d\r\nContent-Length: 0\r\n\r\n".encode())
        data = b""
        while part := connection.recv(1 << 16):
            data += part
    return [json.loads(line) for line in data.partition(b"\r\n\r\n")[2].splitlines() if line.startswith(b"{")]


def test_push_and_pull(daemon: Daemon, host: str) -> None:
    identity = daemon.busybox("bb:1")
    name = f"{host}/lab/bb:1"
    daemon.output("tag", "bb:1", name)
    pushed = daemon.output("push", name)
    short = daemon.output("image", "inspect", "-f", "{{index .RootFS.Layers 0}}", name)[7:19]
    assert pushed.splitlines()[:3] == [
        f"The push refers to repository [{host}/lab/bb]",
        f"{short}: Preparing",
        f"{short}: Pushed",
    ]
    digest = re.search(r"1: digest: (sha256:\w+) size: \d+", pushed)
    assert digest
    assert f"{short}: Layer already exists" in daemon.output("push", name)
    daemon.output("rmi", name, "bb:1")

    pulled = daemon.output("pull", name).splitlines()
    assert pulled[0] == "1: Pulling from lab/bb"
    assert re.fullmatch(r"\w{12}: Pull complete", pulled[-4])
    assert pulled[-3:] == [f"Digest: {digest[1]}", f"Status: Downloaded newer image for {name}", name]
    assert daemon.output("pull", name).splitlines() == [
        "1: Pulling from lab/bb",
        f"Digest: {digest[1]}",
        f"Status: Image is up to date for {name}",
        name,
    ]
    assert daemon.output("images", "-q", "--no-trunc") == identity
    by_digest = f"{host}/lab/bb@{digest[1]}"
    assert daemon.output("image", "inspect", "-f", "{{index .RepoDigests 0}}", name) == by_digest
    daemon.output("rmi", by_digest)
    assert daemon.output("pull", by_digest).splitlines()[-1] == by_digest


def test_progress_tells_bytes(daemon: Daemon, host: str) -> None:
    daemon.busybox("bb:1")
    daemon.output("tag", "bb:1", f"{host}/lab/bb:1")
    daemon.output("push", f"{host}/lab/bb:1")
    daemon.output("rmi", "bb:1", f"{host}/lab/bb:1")
    told = lines(daemon, "POST", f"/v1.41/images/create?fromImage={host}/lab/bb&tag=1")
    done = [line for line in told if line.get("status") == "Downloading"]
    assert done
    last = done[-1]["progressDetail"]
    assert isinstance(last, dict)
    assert last["current"] == last["total"] > 500_000
    assert str(done[-1]["progress"]).startswith("[==================================================>]")
    stages = [
        line["status"] for line in told if "id" in line and line.get("status") not in ("Downloading", "Extracting")
    ]
    assert stages == ["Pulling from lab/bb", "Pulling fs layer", "Verifying Checksum", "Download complete",
                      "Pull complete"]  # fmt: skip


def test_what_is_not_there_is_said_so(daemon: Daemon, host: str) -> None:
    missing = daemon.docker("pull", f"{host}/lab/none:1")
    assert missing.returncode == 1
    assert b"manifest for" in missing.stderr
    assert b"not found: manifest unknown" in missing.stderr
    nowhere = daemon.docker("pull", f"127.0.0.1:{free_port()}/x")
    assert b"Connection refused" in nowhere.stderr
    assert daemon.docker("run", "--rm", f"{host}/lab/none:1").returncode == 125
    absent = daemon.docker("push", f"{host}/lab/none")
    assert b"An image does not exist locally with the tag" in absent.stderr
    assert json.dumps(lines(daemon, "POST", f"/images/create?fromImage={host}/lab/none&tag=1")).count("message") == 1


def test_every_tag_and_search(daemon: Daemon, host: str) -> None:
    daemon.busybox("bb:1")
    for tag in ("1", "2"):
        daemon.output("tag", "bb:1", f"{host}/lab/bb:{tag}")
    told = daemon.output("push", "-a", f"{host}/lab/bb")
    assert re.findall(r"^(\d): digest", told, re.M) == ["1", "2"]
    daemon.output("rmi", "bb:1", f"{host}/lab/bb:1", f"{host}/lab/bb:2")
    daemon.output("pull", "-a", f"{host}/lab/bb")
    assert sorted(daemon.output("images", "--format", "{{.Tag}}").split()) == ["1", "2"]
    assert daemon.output("search", "--format", "{{.Name}}", f"{host}/bb") == f"{host}/lab/bb"
    assert daemon.output("search", "--format", "{{.Name}}", f"{host}/nothing") == ""


def test_login_and_whose_credentials_are_used(daemon: Daemon, tool: Callable[[str], str], tmp_path: Path) -> None:
    tool("docker-registry")
    daemon.busybox("bb:1")
    with registry(tmp_path / "locked", password=True) as host:
        # The hash in the registry's file is of no password that anybody knows: so nobody is let in.
        done = daemon.docker("login", "-u", "student", "--password-stdin", host, stdin=b"wrong")
        assert done.returncode == 1
        assert b"unauthorized: authentication required" in done.stderr
        daemon.output("tag", "bb:1", f"{host}/bb:1")
        assert b"authentication required" in daemon.docker("push", f"{host}/bb:1").stderr
    with misbehaving() as answers:
        asked: list[str] = []

        def before(handler: http.server.BaseHTTPRequestHandler) -> bool:
            asked.append(handler.headers.get("Authorization", ""))
            if asked[-1] == "Basic " + base64.b64encode(b"student:secret").decode():
                return False
            reply(handler, 401, b"", {"WWW-Authenticate": 'Basic realm="lesson"'})
            return True

        answers.before = before
        done = daemon.docker("login", "-u", "student", "--password-stdin", answers.host, stdin=b"secret")
        assert b"Login Succeeded" in done.stdout
        asked.clear()
        # Kept by the client, it is sent with what the client asks for, and only then.
        daemon.docker("pull", f"{answers.host}/x:1")
        assert "Basic " + base64.b64encode(b"student:secret").decode() in asked
        asked.clear()
        daemon.docker("pull", f"{answers.host}/x:1", environment={"DOCKER_CONFIG": str(tmp_path)})
        assert set(asked) == {""}


# -- who goes away


@contextlib.contextmanager
def slow(answers: Answers, digest: str, size: int) -> Iterator[threading.Event]:
    """Let a registry give only half of a blob until the event that is returned is set."""
    go_on = threading.Event()

    def before(handler: http.server.BaseHTTPRequestHandler) -> bool:
        if digest not in handler.path or handler.headers.get("Range") or go_on.is_set():
            return False
        data = answers.blobs[digest]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[: size // 2])
        handler.wfile.flush()
        for at in range(size // 2, size, 200):  # so slowly that nobody waits for the end
            if go_on.wait(0.02):
                break
            with contextlib.suppress(OSError):
                handler.wfile.write(data[at : at + 200])
        handler.close_connection = True
        return True

    answers.before = before
    try:
        yield go_on
    finally:
        go_on.set()


def test_a_client_that_goes_away_ends_its_pull_and_the_next_one_goes_on(daemon: Daemon, host: str) -> None:
    identity = daemon.busybox("bb:1")
    daemon.output("tag", "bb:1", f"{host}/bb:1")
    daemon.output("push", f"{host}/bb:1")
    import httpx

    with misbehaving() as answers, httpx.Client(base_url=f"http://{host}") as client:
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        manifest = client.get("/v2/bb/manifests/1", headers=accept)
        answers.manifests["1"] = (manifest.headers["content-type"], manifest.content)
        answers.manifests[manifest.headers["docker-content-digest"]] = answers.manifests["1"]
        described = manifest.json()
        for blob in (described["config"], *described["layers"]):
            answers.blobs[blob["digest"]] = client.get(f"/v2/bb/blobs/{blob['digest']}").content
        layer = described["layers"][0]
        daemon.output("rmi", "-f", identity)
        with slow(answers, layer["digest"], layer["size"]):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(daemon.socket))
                connection.sendall(
                    f"POST /images/create?fromImage={answers.host}/bb&tag=1 HTTP/1.1\r\nHost: d\r\n\r\n".encode()
                )
                seen = b""
                while b'"current":' not in seen:
                    seen += connection.recv(1 << 16)
            leases = daemon.root / "images" / "leases"
            # The daemon's own stays; the pull does not go on when nobody wants it.
            until(lambda: len(list(leases.iterdir())) <= 1)
        assert daemon.output("images", "-q") == ""
        assert list((daemon.root / "images" / "ingest").glob("sha256-*"))
        assert daemon.output("pull", f"{answers.host}/bb:1").endswith(f"{answers.host}/bb:1")
        assert [entry[2] for entry in answers.asked("GET", layer["digest"])][-1].startswith("bytes=")
    assert daemon.output("images", "-q", "--no-trunc") == identity


def test_a_client_that_goes_away_while_it_loads_leaves_nothing(daemon: Daemon) -> None:
    daemon.busybox("bb:1")
    archive = daemon.docker("save", "bb:1").stdout
    daemon.output("rmi", "bb:1")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(daemon.socket))
        head = f"POST /images/load HTTP/1.1\r\nHost: d\r\nContent-Length: {len(archive)}\r\n\r\n".encode()
        connection.sendall(head + archive[: len(archive) // 2])
        time.sleep(0.2)
    until(lambda: len(list((daemon.root / "images" / "leases").iterdir())) <= 1)
    assert daemon.output("images", "-aq") == ""
    daemon.output("image", "prune", "-f")
    assert list((daemon.root / "images" / "blobs" / "sha256").iterdir()) == []
    assert daemon.output("load", stdin=archive) == "Loaded image: bb:1"


def test_two_clients_pull_one_image_and_download_it_once(daemon: Daemon, host: str) -> None:
    daemon.busybox("bb:1")
    name = f"{host}/lab/bb:1"
    daemon.output("tag", "bb:1", name)
    daemon.output("push", name)
    daemon.output("rmi", "bb:1", name)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(daemon.output("pull", "-q", name))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [name] * 4


# -- with Docker's engine through one registry


@pytest.fixture
def beside(
    reference_engine: ReferenceEngine, new_daemon: Callable[..., Daemon], tool: Callable[[str], str], tmp_path: Path
) -> Iterator[tuple[Daemon, ReferenceEngine, str]]:
    """Return our daemon and Docker's engine, and a registry in their network namespace that both reach."""
    tool("docker-registry")
    port = free_port()
    (tmp_path / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nhttp: {{addr: '127.0.0.1:{port}'}}\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path}/data}}}}\n"
    )
    command = [*reference_engine.inside, "docker-registry", "serve", str(tmp_path / "config.yml")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        # Only the network is another one, so that its socket and the tools are where they are.
        yield new_daemon(inside=reference_engine.inside), reference_engine, f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def test_images_travel_through_a_registry(beside: tuple[Daemon, ReferenceEngine, str]) -> None:
    ours, theirs, host = beside
    base = theirs.busybox("via/base:1")
    steps = b"FROM via/base:1\nRUN echo one > /one && rm /etc/group\nENV A=1\nRUN mkdir -p /d/e && ln -s one /two\n"
    assert theirs.docker("build", "-t", f"{host}/via/x:1", "-", stdin=steps).returncode == 0
    end = time.monotonic() + PATIENCE
    while (pushed := theirs.docker("push", f"{host}/via/x:1")).returncode:
        assert time.monotonic() < end, pushed.stderr
        time.sleep(0.2)
    ours.output("pull", f"{host}/via/x:1")
    shape = "{{.Id}} {{.Size}} {{json .RootFS.Layers}} {{json .Config.Env}} {{json .RepoDigests}}"
    assert ours.output("image", "inspect", "-f", shape, f"{host}/via/x:1") == (
        theirs.docker("image", "inspect", "-f", shape, f"{host}/via/x:1").stdout.decode().strip()
    )
    history = (
        "history",
        "--no-trunc",
        "-H=false",
        "--format",
        "{{.Size}} {{.CreatedBy}} {{.Comment}}",
        f"{host}/via/x:1",
    )
    assert ours.output(*history) == theirs.docker(*history).stdout.decode().strip()
    digest = ours.output("push", f"{host}/via/x:1").rsplit("digest: ", 1)[1].split()[0]
    assert digest in pushed.stdout.decode()  # what was pulled is pushed byte for byte

    mine = ours.busybox("bb:1")
    ours.output("tag", "bb:1", f"{host}/via/bb:1")
    ours.output("push", f"{host}/via/bb:1")
    assert theirs.docker("pull", f"{host}/via/bb:1").returncode == 0
    assert ours.output("image", "inspect", "-f", shape, f"{host}/via/bb:1") == (
        theirs.docker("image", "inspect", "-f", shape, f"{host}/via/bb:1").stdout.decode().strip()
    )
    assert theirs.docker("run", "--rm", mine, "echo", "hi").stdout == b"hi\n"
    theirs.docker("rmi", "-f", mine, base, f"{host}/via/x:1")
