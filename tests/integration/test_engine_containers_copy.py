"""Files into containers and out of them: what `cp` keeps, and that nothing leads out of a container's root."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound
from docker.models.containers import Container

from fusefs import Journal, Kind
from tests.daemons import Daemon
from tests.patience import until
from tests.shared import client, engine, running

__all__ = ["client", "engine", "running"]


def tar(*members: tuple[str, bytes | None] | tarfile.TarInfo) -> bytes:
    """Return a tar: names and contents, None for directories, or whole headers."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            name, content = member
            info = tarfile.TarInfo(name)
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """Return a member that is a link."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def out(container: Container, path: str) -> dict[str, tarfile.TarInfo]:
    """Return the members that come out of a container, by name."""
    stream, _ = container.get_archive(path)
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        return {member.name: member for member in archive.getmembers()}


def box(client: docker.DockerClient, state: str, **settings: Any) -> Container:
    """Return a container that runs, or has stopped, or was never started."""
    container: Container = client.containers.create("busybox", "sleep 1000", **settings)
    if state != "created":
        container.start()
    if state == "exited":
        container.kill()
        container.wait()
    return container


STATES = ("created", "running", "exited")


def entry(name: str, content: bytes = b"", **settings: Any) -> tuple[tarfile.TarInfo, bytes]:
    """Return a member with its content and with what else its header says."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(content), 1_400_000_000
    for key, value in settings.items():
        setattr(info, key, value)
    return info, content


def packed(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Return a tar of members with their contents."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return target.getvalue()


@pytest.mark.parametrize("state", STATES)
def test_what_goes_in_comes_out(client: docker.DockerClient, state: str) -> None:
    container = box(client, state)
    info = tarfile.TarInfo("d/script")
    info.mode, info.uid, info.gid, info.mtime = 0o4751, 12, 34, 1_500_000_000
    members = tar(
        ("d", None), ("d/file", b"content"), info, link("d/way", "file"), link("d/same", "d/file", tarfile.LNKTYPE)
    )
    assert container.put_archive("/tmp", members)
    found = out(container, "/tmp/d")
    assert sorted(found) == ["d", "d/file", "d/same", "d/script", "d/way"]
    script = found["d/script"]
    assert (script.mode, script.uid, script.gid, int(script.mtime)) == (0o4751, 12, 34, 1_500_000_000)
    assert found["d/way"].linkname == "file"
    assert {found["d/file"].type, found["d/same"].type} == {tarfile.REGTYPE, tarfile.LNKTYPE}
    changed = {change["Path"]: change["Kind"] for change in container.diff()}
    assert changed["/tmp/d/file"] == 1


@pytest.mark.parametrize("state", STATES)
def test_volumes_are_seen(client: docker.DockerClient, state: str) -> None:
    container = box(client, state, volumes={"kept": {"bind": "/vol", "mode": "rw"}})
    assert container.put_archive("/vol", tar(("inside", b"x")))
    mount = (
        container.attrs["Mounts"][0]
        if container.attrs["Mounts"]
        else client.containers.get(container.id).attrs["Mounts"][0]
    )
    assert Path(mount["Source"], "inside").read_bytes() == b"x"
    assert list(out(container, "/vol/inside")) == ["inside"]
    assert client.containers.run("busybox", "cat /v/inside", volumes=["kept:/v"], remove=True) == b"x"


def test_what_a_container_has_mounted_is_seen(client: docker.DockerClient) -> None:
    script = "echo 1 > /over; touch /t/there; mkdir /m; mount -t tmpfs m /m; echo 2 > /m/two; echo ok; sleep 1000"
    container = client.containers.run(
        "busybox", ["sh", "-c", script], tmpfs={"/t": ""}, cap_add=["SYS_ADMIN"], detach=True
    )
    until(lambda: container.logs() == b"ok\n")
    assert set(out(container, "/t")) == {"t", "t/there"}
    assert set(out(container, "/m/")) == {"m", "m/two"}
    assert out(container, "/etc/hostname")["hostname"].size > 0
    assert "proc/self/status" not in out(container, "/over")
    with pytest.raises(NotFound):
        out(container, "/m/three")


MAPPING = r"""
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
int main() {
    int fd = open("/mapped", O_CREAT | O_RDWR, 0644);
    write(fd, "here", 5);
    char *mapped = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    memcpy(mapped, "mine", 4);
    write(1, "ok\n", 3);
    pause();
}
"""


def said_ok(container: Container) -> bool:
    return bool(container.logs().startswith(b"ok"))


def test_what_is_written_to_a_mapped_file_comes_out(
    client: docker.DockerClient, tool: Callable[[str], str], tmp_path: Path
) -> None:
    build = [tool("cc"), "-static", "-x", "c", "-", "-o", str(tmp_path / "mapping")]
    subprocess.run(build, input=MAPPING.encode(), check=True)
    program = (tmp_path / "mapping").read_bytes()
    for wanted in ("/mapped", "/"):
        container = client.containers.create("busybox", "/mapping")
        info, _ = entry("mapping", program, mode=0o755)
        container.put_archive("/", packed((info, program)))
        container.start()
        until(partial(said_ok, container))
        stream = container.get_archive("/mapped")[0] if wanted == "/mapped" else container.export()
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            content = archive.extractfile("mapped")
            assert content is not None
            assert content.read() == b"mine\0"


def test_what_a_path_is_told_in_the_header(client: docker.DockerClient) -> None:
    container = box(client, "running")
    container.put_archive("/tmp", tar(("file", b"12345"), link("way", "/tmp/file")))

    def told(path: str) -> dict[str, Any]:
        answer = client.api.head(client.api._url("/containers/{0}/archive", container.id), params={"path": path})
        answer.raise_for_status()
        found: dict[str, Any] = json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"]))
        return found

    assert (told("/tmp/file")["name"], told("/tmp/file")["size"]) == ("file", 5)
    assert told("/etc")["mode"] == 1 << 31 | 0o755
    assert (told("/tmp/way")["mode"] & 1 << 27, told("/tmp/way")["linkTarget"]) == (1 << 27, "/tmp/file")
    assert told("/")["name"] == "/"
    with pytest.raises(NotFound, match="Could not find the file /none in container"):
        container.get_archive("/none")


def test_what_may_not_be_written_to(client: docker.DockerClient) -> None:
    container = box(
        client, "running", read_only=True, volumes={"kept": {"bind": "/vol", "mode": "ro"}}, tmpfs={"/t": ""}
    )
    with pytest.raises(APIError, match="container rootfs is marked read-only"):
        container.put_archive("/etc", tar(("f", b"")))
    with pytest.raises(APIError, match="mounted volume is marked read-only"):
        container.put_archive("/vol", tar(("f", b"")))
    with pytest.raises(NotFound, match="Could not find the file /none in container"):
        container.put_archive("/none", tar(("f", b"")))
    with pytest.raises(APIError, match="extraction point is not a directory"):
        container.put_archive("/etc/passwd", tar(("f", b"")))


def test_directories_and_files_do_not_replace_each_other_when_asked_not_to(client: docker.DockerClient) -> None:
    container = box(client, "running")
    container.put_archive("/tmp", tar(("d", None), ("f", b"")))
    url = client.api._url("/containers/{0}/archive", container.id)
    for members, text in (
        (tar(("d", b"x")), "cannot overwrite directory"),
        (tar(("f", None)), "cannot overwrite non-directory"),
    ):
        answer = client.api.put(url, params={"path": "/tmp", "noOverwriteDirNonDir": "true"}, data=members)
        assert (answer.status_code, text in answer.text) == (400, True), answer.text
    container.put_archive("/tmp", tar(("d", b"x")))
    assert out(container, "/tmp/d")["d"].isfile()


@pytest.mark.parametrize("state", STATES)
def test_nothing_leads_out_of_the_root(client: docker.DockerClient, tmp_path: Path, state: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    container = box(client, state)
    container.put_archive("/tmp", tar(link("abs", str(outside)), link("up", "../../../../../../../.." + str(outside))))
    for way in ("abs", "up"):
        with pytest.raises(NotFound):
            container.get_archive(f"/tmp/{way}/secret")
        with pytest.raises(NotFound):
            container.put_archive(f"/tmp/{way}", tar(("planted", b"")))
        # A tar's own symlink, and a member behind it: it stays in the container, where there is no such place.
        with pytest.raises(APIError):
            container.put_archive("/tmp", tar(("sub", None), link(f"sub/{way}", str(outside)), (f"sub/{way}/in", b"")))
        container.put_archive("/tmp", tar(link(f"sub/{way}-etc", "/etc"), (f"sub/{way}-etc/planted", b"")))
        assert "planted" in out(container, "/etc/planted")
    for name in ("../escape", "a/../../escape", "/etc/absolute"):
        with pytest.raises(APIError) as refused:
            container.put_archive("/tmp", tar((name, b"x")))
        assert refused.value.status_code in (400, 500)
    with pytest.raises(APIError):
        container.put_archive("/tmp", tar(link("hard", str(outside / "secret"), tarfile.LNKTYPE)))
    assert sorted(os.listdir(outside)) == ["secret"]
    assert not Path("/escape").exists()


def test_a_container_that_swaps_directories_meanwhile_leads_nowhere(
    engine: Daemon, client: docker.DockerClient, tmp_path: Path
) -> None:
    """CVE-2018-15664: a directory of the path becomes a symlink to the host between look and use."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    script = (
        f"mkdir -p /swap/real; ln -s {outside} /swap/evil;"
        " while :; do mv /swap/real /swap/d; mv /swap/d /swap/real; mv /swap/evil /swap/d; mv /swap/d /swap/evil; done"
    )
    container = client.containers.run("busybox", ["sh", "-c", script], detach=True)
    stop = threading.Event()
    failures: list[str] = []

    def read() -> None:
        mine = engine.client()
        there = mine.containers.get(container.id)
        while not stop.is_set():
            try:
                stream, _ = there.get_archive("/swap/d/secret")
                if b"secret" in b"".join(stream):
                    failures.append("read")
            except (APIError, Exception):
                continue
        mine.close()

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(60):
        try:
            container.put_archive("/swap/d", tar(("planted", b"x"), ("deep/planted", b"x")))
        except APIError:
            continue
    stop.set()
    reader.join(20)
    assert failures == []
    assert sorted(os.listdir(outside)) == ["secret"]


def kept(container: Container, path: str) -> dict[str, tuple[Any, ...]]:
    """Return all that matters of what comes out of a container."""
    stream, _ = container.get_archive(path)
    found: dict[str, tuple[Any, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        for each in archive.getmembers():
            file = archive.extractfile(each) if each.isfile() else None
            attributes = {key: text for key, text in each.pax_headers.items() if key.startswith("SCHILY")}
            found[each.name] = (
                *(each.type, each.mode, each.uid, each.gid, int(each.mtime), each.linkname, attributes),
                file.read() if file else b"",
            )
    return found


def test_what_is_put_there_is_the_same_whether_a_container_runs_or_not(client: docker.DockerClient) -> None:
    """One that does not run is filled without the kernel, up to the first member of a rarer kind, then with it."""
    directory: dict[str, Any] = {"type": tarfile.DIRTYPE}
    members = [
        entry("d", mode=0o2750, gid=7, **directory),
        entry("d/script", b"#!", mode=0o4751, uid=12, gid=34),
        entry("d/open", b"x" * 70_000, mode=0o666),
        entry("d/empty", mode=0o600),
        entry("d/way", type=tarfile.SYMTYPE, linkname="script", uid=5),
        entry("d/script", b"another", mode=0o755),  # again: the later one counts
        entry("d/sub", mode=0o1777, **directory),
        entry("d/sub/last", b"last"),
        entry("d/deep/missing/above", b"above"),  # directories that no member makes
        entry("d/pipe", type=tarfile.FIFOTYPE, mode=0o640),
        entry("d/same", type=tarfile.LNKTYPE, linkname="d/open"),
        entry("d/marked", b"m", pax_headers={"SCHILY.xattr.user.color": "blue"}),
        entry("d/sub/after", b"after", mode=0o640, uid=3),
    ]
    results = []
    for state in STATES:
        container = box(client, state)
        for part in (members, members[:9], members):  # also where all is there already
            container.put_archive("/tmp", packed(*part))
        results.append(kept(container, "/tmp/d"))
    running = results[1]
    made = {"d/deep", "d/deep/missing"}  # their times are those of the making
    assert (running["d"][4], running["d/sub"][4]) == (1_400_000_000, 1_400_000_000)
    assert running["d/script"][1:4] == (0o755, 0, 0)
    assert running["d/script"][-1] == b"another"
    for each in results:
        assert {name: told for name, told in each.items() if name not in made} == {
            name: told for name, told in running.items() if name not in made
        }
        assert made <= set(each)


def test_what_is_put_into_a_stopped_container_is_recorded(engine: Daemon, client: docker.DockerClient) -> None:
    container = box(client, "created")
    container.put_archive("/tmp", packed(entry("d", type=tarfile.DIRTYPE, mode=0o755), entry("d/file", b"content")))
    with Journal(engine.root / "containers" / str(container.id) / "journal.db") as journal:
        told = [(each.kind, each.path, each.size) for each in journal.operations()]
    assert (Kind.MKDIR, "/tmp/d", 0) in told
    assert [each[0] for each in told if each[1] == "/tmp/d/file"][:2] == [Kind.CREATE, Kind.WRITE]
    assert (Kind.WRITE, "/tmp/d/file", 7) in told


@pytest.mark.parametrize("state", ["running", "exited"])
def test_what_is_mounted_in_a_container_is_not_replaced(
    engine: Daemon, client: docker.DockerClient, state: str
) -> None:
    container = box(client, state)
    with pytest.raises(APIError, match="device or resource busy"):
        container.put_archive("/", packed(entry("tmp/before", b"b"), entry("etc/hosts", b"theirs")))
    changed = {change["Path"] for change in container.diff()}
    assert "/tmp/before" in changed
    assert "/etc/hosts" not in changed


@pytest.mark.parametrize("size", [1_000_000, 6_000_000])
@pytest.mark.parametrize("state", ["created", "running"])
def test_nothing_is_left_of_a_file_that_does_not_arrive_whole(
    engine: Daemon, client: docker.DockerClient, state: str, size: int
) -> None:
    """The client goes away in the middle; what came before stays."""
    container = box(client, state)
    data = packed(entry("whole", b"w" * 5000), entry("half", b"h" * size))
    head = f"PUT /containers/{container.id}/archive?path=/tmp HTTP/1.1\r\nHost: d\r\nContent-Length: {len(data)}"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(engine.socket))
        connection.sendall(head.encode() + b"\r\n\r\n" + data[:600_000])
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass  # until the daemon is done with it
    assert list(out(container, "/tmp/whole")) == ["whole"]
    with pytest.raises(NotFound):
        container.get_archive("/tmp/half")


def test_a_client_that_does_not_go_on_keeps_nobody_from_the_container(
    engine: Daemon, client: docker.DockerClient
) -> None:
    container = box(client, "created")
    data = packed(entry("half", b"h" * 1_000_000))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(engine.socket))
        head = f"PUT /containers/{container.id}/archive?path=/tmp HTTP/1.1\r\nHost: d\r\nContent-Length: {len(data)}"
        connection.sendall(head.encode() + b"\r\n\r\n" + data[:600_000])
        container.start()
        connection.sendall(data[600_000:])
        assert b" 200 " in connection.recv(65536)
    assert out(container, "/tmp/half")["half"].size == 1_000_000


def test_damaged_archives_are_refused(client: docker.DockerClient) -> None:
    container = box(client, "running")
    for data in (b"x" * 1000, tar(("f", b"content"))[:700], b"\x1f\x8b broken"):
        with pytest.raises(APIError):
            container.put_archive("/tmp", data)
    assert container.put_archive("/tmp", tar())


def test_the_docker_command_copies_as_it_does_elsewhere(engine: Daemon, tmp_path: Path) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "tree/sub/file").write_text("text")
    engine.output("create", "--name", "box", "busybox", "sleep", "1000")
    engine.output("cp", str(tmp_path / "tree"), "box:/new")
    engine.output("cp", str(tmp_path / "tree"), "box:/etc")
    engine.output("cp", f"{tmp_path}/tree/.", "box:/tmp/")
    engine.output("cp", "box:/new", str(tmp_path / "back"))
    engine.output("cp", "box:/etc/tree/sub/file", str(tmp_path / "one"))
    engine.output("cp", "box:/tmp/.", str(tmp_path / "all"))
    assert (tmp_path / "back/sub/file").read_text() == "text"
    assert (tmp_path / "one").read_text() == "text"
    assert (tmp_path / "all/sub/file").read_text() == "text"
    missing = engine.docker("cp", "box:/nothing", str(tmp_path))
    assert missing.returncode == 1
    assert b"Could not find the file /nothing in container box" in missing.stderr
