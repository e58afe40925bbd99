"""Every method of every collection of Docker's SDK, called on our daemon and on Docker's own engine.

The same test runs on both, so what is asserted is what Docker answers. `test_every_method_is_called` reads this file
and the one about containers: a method that a new SDK has, and no test calls, is named by it.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import tarfile
import time
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
from docker.errors import APIError, ImageNotFound, NotFound
from docker.models.containers import Container
from docker.models.images import Image, RegistryData
from docker.models.networks import Network
from docker.models.resource import Model
from docker.models.volumes import Volume

from tests.bothengines import asked, client, packed, reference_engine, refused, running, sleeper
from tests.daemons import Daemon
from tests.dockerd import ReferenceEngine
from tests.shared import engine
from tests.sim.images.registries import registry

__all__ = ["asked", "client", "engine", "reference_engine", "running", "sleeper"]

pytestmark = [
    pytest.mark.usefixtures("root"),
    # The SDK leaves the sockets of what was handed over (exec, attach) to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

DOCKERFILE = b"FROM busybox\nLABEL made=here\nRUN echo built > /made\nCMD cat /made\n"


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
    files = Path(__file__).parent.glob("test_engine_collections*.py")
    nodes = [node for file in files for node in ast.walk(ast.parse(file.read_bytes()))]
    here = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    here |= {"unlock", "update", "version"} if {"unlock_swarm", "update_swarm"} <= here else set()  # of a swarm
    assert issubclass(Container, Model)
    missing = {
        f"{each.__name__}.{name}"
        for each in _CLASSES
        for name in dir(each)
        if not name.startswith("_") and name not in here | _LEFT
    }
    assert missing == set()
