"""Every method of every collection of Docker's SDK, called on our daemon and on Docker's own engine.

The same test runs on both, so what is asserted is what Docker answers. `test_every_method_is_called` reads this file:
a method that a new SDK has, and no test here calls, is named by it.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import socket
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import docker.models.configs
import docker.models.nodes
import docker.models.plugins
import docker.models.secrets
import docker.models.services
import docker.models.swarm
import pytest
from docker import DockerClient as Client
from docker.errors import APIError, ContainerError, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.models.images import Image, RegistryData
from docker.models.networks import Network
from docker.models.resource import Model
from docker.models.volumes import Volume

from tests.daemons import Daemon
from tests.dockerd import ReferenceEngine, reference_engine
from tests.shared import engine, running
from tests.sim.images.registries import registry

__all__ = ["engine", "reference_engine", "running"]

pytestmark = [
    pytest.mark.usefixtures("root"),
    # The SDK leaves the sockets of what was handed over (exec, attach) to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

DOCKERFILE = b"FROM busybox\nLABEL made=here\nRUN echo built > /made\nCMD cat /made\n"


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


def until(true: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


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


# -- containers


def test_containers_are_made_found_listed_and_pruned(client: Client) -> None:
    made = client.containers.create("busybox", ["true"], name="made", labels={"of": "tests"}, ports={"80/tcp": None})
    assert made.status == "created"
    assert (made.name, made.labels, made.ports) == ("made", {"of": "tests"}, {})
    assert made.id is not None
    assert made.short_id == made.id[:12]
    assert made.image.tags == ["busybox:latest"]
    assert client.containers.get("made") == client.containers.get(made.short_id) == made
    with pytest.raises(NotFound):
        client.containers.get("absent")
    assert client.containers.list() == []
    assert client.containers.list(all=True) == [made]
    assert client.containers.list(all=True, filters={"label": "of=others"}) == []
    assert client.containers.list(all=True, sparse=True)[0].attrs["Names"] == ["/made"]
    assert client.containers.prune({"label": ["of=others"]}) == {"ContainersDeleted": None, "SpaceReclaimed": 0}
    assert client.containers.prune()["ContainersDeleted"] == [made.id]
    assert client.containers.list(all=True) == []


def test_a_container_is_run_and_its_output_returned(client: Client) -> None:
    assert client.containers.run("busybox", "echo out") == b"out\n"
    both = client.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"], stderr=True, remove=True)
    assert sorted(both.splitlines()) == [b"err", b"out"]
    assert list(client.containers.run("busybox", "seq 2", stream=True, remove=True)) == [b"1\n", b"2\n"]
    with pytest.raises(ContainerError) as failed:
        client.containers.run("busybox", ["sh", "-c", "echo no >&2; exit 3"], remove=True)
    assert (failed.value.exit_status, failed.value.stderr) == (3, b"no\n")
    with pytest.raises(ImageNotFound):
        client.api.create_container("absent:1", "true")


def test_a_container_is_started_stopped_killed_and_waited_for(client: Client) -> None:
    script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done"
    one = client.containers.create("busybox", ["sh", "-c", script])
    one.start()
    one.reload()
    assert one.status == "running"
    one.pause()
    one.reload()
    assert one.status == "paused"
    with refused(409, "is already paused"):
        one.pause()
    one.unpause()
    one.reload()
    assert one.status == "running"
    one.restart(timeout=5)
    one.reload()
    assert one.status == "running"
    until(lambda: one.logs().count(b"ready") == 2)
    one.stop(timeout=20)
    assert one.wait()["StatusCode"] == 7
    one.reload()
    assert (one.status, one.attrs["State"]["ExitCode"], one.health) == ("exited", 7, "unknown")
    one.start()
    one.kill("KILL")
    assert one.wait()["StatusCode"] == 137
    with refused(409, "is not running"):
        one.kill()
    one.remove()
    with pytest.raises(NotFound):
        one.reload()


def test_a_container_is_renamed_updated_and_looked_at(client: Client, sleeper: Container) -> None:
    sleeper.rename("renamed")
    sleeper.reload()
    assert sleeper.name == "renamed"
    assert sleeper.update(mem_limit="32m", memswap_limit="64m")["Warnings"] in (None, [])
    sleeper.reload()
    assert sleeper.attrs["HostConfig"]["Memory"] == 32 << 20
    top = sleeper.top(ps_args="-eo pid,comm")
    assert top["Titles"] == ["PID", "COMMAND"]
    assert [row[1] for row in top["Processes"]] == ["sleep"]
    shown = sleeper.stats(stream=False)
    assert (shown["name"], shown["memory_stats"]["limit"]) == ("/renamed", 32 << 20)
    flow = sleeper.stats(decode=True)
    assert next(flow)["id"] == sleeper.id
    flow.close()
    with refused(409, "You cannot remove a running container"):
        sleeper.remove()


def test_a_containers_files_go_in_and_out(client: Client, sleeper: Container) -> None:
    assert sleeper.put_archive("/tmp", packed("file", b"data"))
    with pytest.raises(NotFound):
        sleeper.put_archive("/absent", packed("file", b"data"))
    chunks, told = sleeper.get_archive("/tmp/file")
    assert unpacked(chunks) == {"file": b"data"}
    assert (told["name"], told["size"], told["mode"], told["linkTarget"]) == ("file", 4, 0o644, "")
    with pytest.raises(NotFound):
        sleeper.get_archive("/absent")
    changed = {each["Path"]: each["Kind"] for each in sleeper.diff()}
    assert (changed["/tmp"], changed["/tmp/file"]) == (0, 1)
    whole = unpacked(sleeper.export())
    assert whole["tmp/file"] == b"data"
    assert whole["etc/hosts"] == b""


def test_a_containers_output_is_logged_and_attached_to(client: Client) -> None:
    script = "while read line; do echo got $line; echo bad $line >&2; done"
    one = client.containers.create("busybox", ["sh", "-c", script], stdin_open=True)
    with typing(one.attach_socket(params={"stdin": 1, "stream": 1})) as typed:
        one.start()
        typed.sendall(b"this\n")
        until(lambda: len(one.logs().splitlines()) == 2)
        assert one.logs(stderr=False) == b"got this\n"
        assert one.logs(stdout=False) == b"bad this\n"
        assert one.logs(timestamps=True, stderr=False).partition(b" ")[2] == b"got this\n"
        assert one.logs(since=int(time.time()) + 100) == b""
        flow = one.attach(stream=True, logs=False, stderr=False)
        typed.sendall(b"that\n")
        assert next(flow) == b"got that\n"
        flow.close()
        followed = one.logs(stream=True, follow=True, stderr=False)
        assert next(followed) + next(followed) == b"got this\ngot that\n"
        followed.close()
    one.kill()


def test_a_container_is_committed(client: Client, sleeper: Container) -> None:
    sleeper.exec_run(["sh", "-c", "echo words > /kept"])
    image = sleeper.commit("committed", "1", message="why", author="who", changes=["CMD cat /kept"])
    try:
        assert image.tags == ["committed:1"]
        assert (image.attrs["Comment"], image.attrs["Author"]) == ("why", "who")
        assert client.containers.run("committed:1") == b"words\n"
    finally:
        client.containers.prune()
        image.remove(force=True)


def test_a_terminal_has_a_size(client: Client) -> None:
    one = client.containers.run("busybox", ["sh"], tty=True, stdin_open=True, detach=True)
    one.resize(height=17, width=71)
    script = "until [ \"$(stty size 2>/dev/null)\" = '19 73' ]; do sleep 0.02; done"
    made = client.api.exec_create(one.id, ["sh", "-c", script], tty=True)
    flow = client.api.exec_start(made["Id"], tty=True, stream=True)
    client.api.exec_resize(made["Id"], height=19, width=73)
    assert b"".join(flow) == b""
    assert client.api.exec_inspect(made["Id"])["ExitCode"] == 0
    assert one.attrs["Config"]["Tty"]


def test_commands_are_run_in_a_container(client: Client, sleeper: Container) -> None:
    assert sleeper.exec_run("echo out") == (0, b"out\n")
    assert sleeper.exec_run(["sh", "-c", "exit 4"]).exit_code == 4
    split = sleeper.exec_run(["sh", "-c", "echo $A; pwd >&2"], environment={"A": "b"}, workdir="/tmp", demux=True)
    assert split.output == (b"b\n", b"/tmp\n")
    assert sleeper.exec_run("id -u", user="nobody").output == b"65534\n"
    made = client.api.exec_create(sleeper.id, ["cat"], stdin=True)
    found = client.api.exec_inspect(made["Id"])
    assert (found["Running"], found["ExitCode"], found["ContainerID"]) == (False, None, sleeper.id)
    with typing(client.api.exec_start(made["Id"], socket=True)) as typed:
        typed.sendall(b"typed\n")
        assert typed.recv(14, socket.MSG_WAITALL) == b"\1\0\0\0\0\0\0\6typed\n"
        assert client.api.exec_inspect(made["Id"])["Running"]
    made = client.api.exec_create(sleeper.id, ["true"])
    client.api.exec_start(made["Id"], detach=True)
    until(lambda: client.api.exec_inspect(made["Id"])["ExitCode"] == 0)
    with refused(409, "has already run"):
        client.api.exec_start(made["Id"], detach=True)


def test_a_check_of_health_is_told(client: Client) -> None:
    check = {"test": ["CMD", "true"], "interval": 100_000_000}
    one = client.containers.run("busybox", ["sleep", "1000"], detach=True, healthcheck=check)

    def healthy() -> bool:
        one.reload()
        return str(one.health) == "healthy"

    until(healthy)


# -- images


def test_images_are_found_listed_tagged_and_removed(client: Client) -> None:
    image = client.images.get("busybox")
    assert image.id is not None
    assert image.short_id == image.id[:19]
    assert image.tag("other/name", "1")
    image.reload()
    assert sorted(image.tags) == ["busybox:latest", "other/name:1"]
    assert image.labels == {}
    assert [each.id for each in client.images.list("other/name")] == [image.id]
    assert client.images.list(filters={"reference": "absent"}) == []
    assert image in client.images.list()
    assert [each["Comment"] for each in image.history()] == ["Imported from -"]
    client.images.remove("other/name:1")
    image.reload()
    assert image.tags == ["busybox:latest"]
    with pytest.raises(ImageNotFound):
        client.images.get("other/name:1")


def test_images_are_built_saved_loaded_and_pruned(client: Client) -> None:
    image, said = client.images.build(
        fileobj=io.BytesIO(DOCKERFILE), tag="built:1", rm=True, forcerm=True, nocache=True
    )
    steps = [each["stream"] for each in said if each.get("stream", "").startswith("Step")]
    assert [step.partition(" : ")[2].strip() for step in steps] == DOCKERFILE.decode().split("\n")[:-1]
    assert image.labels == {"made": "here"}
    assert client.containers.run("built:1", remove=True) == b"built\n"
    archive = b"".join(image.save(named=True))
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        (manifest,) = json.loads(tar.extractfile("manifest.json").read())  # type: ignore[union-attr]
    assert manifest["RepoTags"] == ["built:1"]
    image.remove(force=True)
    (loaded,) = client.images.load(archive)
    assert (loaded.id, loaded.tags) == (image.id, ["built:1"])
    with pytest.raises(docker.errors.BuildError):
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN exit 4\n"), rm=True, forcerm=True)
    with refused(400, "unknown instruction: NONSENSE"):
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\nNONSENSE\n"))
    client.api.tag("busybox", "built", "1", force=True)  # what was built has no name now
    pruned = client.images.prune()
    assert image.id in {each.get("Deleted") for each in pruned["ImagesDeleted"]}
    assert set(client.images.prune_builds()) >= {"SpaceReclaimed"}
    client.images.remove("built:1")


def test_images_are_imported(client: Client, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(packed("file", b"data"))
    for answer in (
        client.api.import_image_from_data(packed("file", b"data"), repository="imported", tag="1"),
        client.api.import_image_from_file(str(tmp_path / "root.tar"), repository="imported", tag="1"),
        client.api.import_image(str(tmp_path / "root.tar"), repository="imported", tag="1"),
    ):
        assert json.loads(answer.splitlines()[-1])["status"].startswith("sha256:")
    assert client.images.get("imported:1").attrs["RootFS"]["Layers"]
    client.images.remove("imported:1")
    client.images.prune()


def test_images_are_pushed_pulled_and_looked_up(
    client: Client, asked: Daemon | ReferenceEngine, tmp_path: Path
) -> None:
    inside = asked.inside if isinstance(asked, ReferenceEngine) else ()
    with registry(tmp_path / "registry", inside=inside, password=True) as host:
        name = f"{host}/pushed"
        client.images.get("busybox").tag(name, "1")
        with refused(500 if inside else 401, "nauthorized"):  # newer engines than the reference say 401
            client.login("student", "wrong", registry=host, reauth=True)
        assert client.login("student", "secret", registry=host, reauth=True)["Status"] == "Login Succeeded"
        said = [json.loads(line) for line in client.images.push(name, "1").splitlines()]
        digest = next(each["aux"]["Digest"] for each in said if "aux" in each)
        found = client.images.get_registry_data(f"{name}:1")
        assert (found.id, found.short_id) == (digest, digest[:19])
        assert found.has_platform("linux/amd64")
        assert not found.has_platform("linux/arm64")
        found.reload()
        client.images.remove(f"{name}:1")
        again = client.images.pull(name, tag="1")
        assert again.attrs["RepoDigests"] == [f"{name}@{digest}"]
        assert found.pull().id == again.id
        assert [each.id for each in client.images.pull(name, all_tags=True)] == [again.id]
        with pytest.raises(NotFound):
            client.images.pull(name, tag="absent")
        client.images.remove(again.id, force=True)
    asked.busybox("busybox:latest")


def test_a_search_for_images_fails_where_nobody_answers(client: Client) -> None:
    with pytest.raises(APIError) as told:
        client.images.search("127.0.0.1:1/name")
    assert told.value.is_server_error()


# -- networks and volumes


def test_networks_are_made_found_joined_left_and_removed(client: Client, sleeper: Container) -> None:
    pool = docker.types.IPAMPool(subnet="10.213.91.0/24", gateway="10.213.91.1")
    network = client.networks.create(
        "made", driver="bridge", ipam=docker.types.IPAMConfig(pool_configs=[pool]), labels={"of": "tests"}
    )
    assert (network.name, network.attrs["Labels"], network.containers) == ("made", {"of": "tests"}, [])
    assert client.networks.get("made") == client.networks.get(network.id) == network
    assert network.short_id == network.id[:12]
    assert client.networks.list(names=["made"]) == [network]
    assert {each.name for each in client.networks.list()} == {"made", "bridge", "host", "none"}
    with refused(409, "already exists"):
        client.networks.create("made", check_duplicate=True)
    network.connect(sleeper, aliases=["alias"], ipv4_address="10.213.91.7")
    network.reload()
    assert network.containers == [sleeper]
    sleeper.reload()
    assert sleeper.attrs["NetworkSettings"]["Networks"]["made"]["IPAddress"] == "10.213.91.7"
    with refused(403, "has active endpoints"):
        network.remove()
    network.disconnect(sleeper)
    network.reload()
    assert network.containers == []
    unused = client.networks.create("unused")
    assert sorted(client.networks.prune()["NetworksDeleted"]) == ["made", "unused"]
    with pytest.raises(NotFound):
        unused.reload()
    with pytest.raises(NotFound):
        network.remove()


def test_volumes_are_made_found_used_and_removed(client: Client) -> None:
    volume = client.volumes.create("made", driver="local", labels={"of": "tests"})
    assert (volume.name, volume.id, volume.attrs["Labels"]) == ("made", "made", {"of": "tests"})
    assert volume.attrs["Mountpoint"].endswith("/volumes/made/_data")
    assert client.volumes.get("made") == volume
    volume.reload()
    assert (volume.short_id, volume.attrs["Scope"]) == ("made", "local")
    assert client.volumes.list(filters={"label": "of=tests"}) == [volume]
    mounts = {"made": {"bind": "/data", "mode": "rw"}}
    client.containers.run("busybox", ["sh", "-c", "echo kept > /data/file"], volumes=mounts, remove=True)
    user = client.containers.create("busybox", ["cat", "/data/file"], volumes=mounts)
    with refused(409, "volume is in use"):
        volume.remove()
    user.start()
    user.wait()
    assert user.logs() == b"kept\n"
    user.remove()
    volume.remove()
    with pytest.raises(NotFound):
        client.volumes.get("made")
    unnamed = client.volumes.create()
    assert client.volumes.prune()["VolumesDeleted"] == [unnamed.name]


# -- the engine itself


def test_the_engine_says_what_it_is_and_has(client: Client, sleeper: Container) -> None:
    assert client.ping()
    version = client.version()
    assert {"Version", "ApiVersion", "MinAPIVersion", "Os", "Arch", "KernelVersion", "Components"} <= set(version)
    assert client.api.api_version == min(version["ApiVersion"], client.api.api_version, key=_parts)
    info = client.info()
    assert (info["Containers"], info["ContainersRunning"]) == (1, 1)
    assert info["Swarm"]["LocalNodeState"] == "inactive"
    shown = client.df()
    assert [each["Names"] for each in shown["Containers"]] == [["/sleeper"]]
    assert "busybox:latest" in [tag for each in shown["Images"] for tag in each["RepoTags"] or ()]
    assert shown["LayersSize"] > 0


def _parts(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def test_events_are_told_as_they_happen_and_afterwards(client: Client) -> None:
    since = int(time.time())
    with contextlib.closing(client.events(decode=True, filters={"type": "volume"})) as events:
        client.volumes.create("told").remove()
        told = [next(events), next(events)]
    assert [(each["Action"], each["Actor"]["ID"]) for each in told] == [("create", "told"), ("destroy", "told")]
    past = client.events(decode=True, since=since, until=int(time.time()) + 1, filters={"volume": "told"})
    assert [each["Action"] for each in past] == ["create", "destroy"]


def test_a_client_is_made_from_the_environment(
    asked: Daemon | ReferenceEngine, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", asked.address)
    with contextlib.closing(docker.from_env()) as found:
        assert found.containers.list() == client.containers.list() == []


def test_a_client_is_made_from_a_context(
    asked: Daemon | ReferenceEngine, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    docker.context.ContextAPI.create_context("there", host=asked.address)
    with contextlib.closing(Client.from_context("there")) as found:
        assert found.info()["ID"] == client.info()["ID"]


# -- what there is not: the node is in no swarm, and has no plugins


def test_a_node_in_no_swarm_says_so(client: Client) -> None:
    with refused(503, "This node is not a swarm manager."):
        client.swarm.reload()
    with refused(503, "This node is not a swarm manager."):
        client.swarm.get_unlock_key()
    with refused(503, "This node is not part of a swarm"):
        client.swarm.leave()
    for ask in (
        client.nodes.list,
        client.services.list,
        client.secrets.list,
        client.configs.list,
        lambda: client.nodes.get("x"),
        lambda: client.services.get("x"),
        lambda: client.secrets.get("x"),
        lambda: client.configs.get("x"),
        lambda: client.services.create("busybox"),
        lambda: client.secrets.create(name="x", data=b"y"),
        lambda: client.configs.create(name="x", data=b"y"),
        lambda: client.api.tasks(),
    ):
        with refused(503, "This node is not a swarm manager."):
            ask()


def test_no_swarm_is_formed_here(engine: Daemon) -> None:
    with contextlib.closing(engine.client()) as client:
        with refused(501, "forms no swarm"):
            client.swarm.init()
        with refused(501, "forms no swarm"):
            client.swarm.join(remote_addrs=["127.0.0.1"], join_token="x")
        with refused(503):
            client.api.unlock_swarm("SWMKEY-1-x")
        with refused(503):
            client.api.update_swarm(1)


def test_there_are_no_plugins(client: Client) -> None:
    assert client.plugins.list() == []
    with pytest.raises(NotFound):
        client.plugins.get("absent")


def test_no_plugins_are_taken_here(engine: Daemon, tmp_path: Path) -> None:
    with contextlib.closing(engine.client()) as client:
        with refused(501, "takes no plugins"):
            client.plugins.install("absent")
        with refused(501, "takes no plugins"):
            client.api.create_plugin("x", str(tmp_path))


#: What has no request of its own, or needs what there is not (a swarm, plugins).
_LEFT = {"model", "prepare_model", "id_attribute"}
_CLASSES: tuple[type[Any], ...] = (
    Client, docker.models.containers.ContainerCollection, Container, docker.models.images.ImageCollection, Image,
    RegistryData, docker.models.networks.NetworkCollection, Network, docker.models.volumes.VolumeCollection, Volume,
    docker.models.configs.ConfigCollection, docker.models.nodes.NodeCollection, docker.models.plugins.PluginCollection,
    docker.models.secrets.SecretCollection, docker.models.services.ServiceCollection, docker.models.swarm.Swarm,
)  # fmt: skip


def test_every_method_is_called() -> None:
    here = {node.attr for node in ast.walk(ast.parse(Path(__file__).read_bytes())) if isinstance(node, ast.Attribute)}
    here |= {"unlock", "update", "version"} if {"unlock_swarm", "update_swarm"} <= here else set()  # of a swarm
    assert issubclass(Container, Model)
    missing = {
        f"{each.__name__}.{name}"
        for each in _CLASSES
        for name in dir(each)
        if not name.startswith("_") and name not in here | _LEFT
    }
    assert missing == set()
