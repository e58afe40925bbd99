"""The registry client with the reference registry, and skopeo on the other side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sim.images import (
    AuthenticationError,
    Image,
    RegistryError,
    Store,
    base_image,
    file,
    image_from_layers,
    image_on,
    whiteout,
)
from sim.images.compression import Compression
from sim.images.progress import Progress, Stage
from sim.images.reference import Reference
from sim.images.registry import Credentials, Registries, RegistryClient, pull, pull_all, push
from sim.images.removal import remove
from tests.sim.images.registries import authority, free_port, registry
from tests.sim.images.trees import describe

Tool = Callable[..., str]
PLAIN = Registries(certificates=(), config=Path("/nonexistent"), backoff=0.02, attempts=3)


@pytest.fixture
def reference_registry(tool: Tool) -> str:
    return tool("docker-registry")


@pytest.fixture
def host(tmp_path: Path, reference_registry: str) -> Iterator[str]:
    with registry(tmp_path / "registry") as found:
        yield found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


def app(store: Store, *tags: str) -> Image:
    return image_on(store, base_image(store), [file("/etc/motd", "x"), whiteout("/etc/issue")], tags=tags)


def stages(told: list[Progress]) -> list[Stage]:
    return [item.stage for item in told if item.layer and item.stage is not Stage.PUSHING]


def test_push_and_pull(store: Store, tmp_path: Path, host: str, tool: Tool) -> None:
    image = app(store, f"{host}/team/app:1")
    pushed = push(store, f"{host}/team/app:1", PLAIN)
    skopeo = [tool("skopeo"), "inspect", "--tls-verify=false", f"docker://{host}/team/app:1"]
    seen = json.loads(subprocess.run(skopeo, check=True, capture_output=True).stdout)
    assert seen["Digest"] == pushed.digest
    assert store.image(f"{host}/team/app@{pushed.digest}").id == image.id
    with Store(tmp_path / "second") as second:
        pulled = pull(second, f"{host}/team/app:1", PLAIN)
        assert (pulled.digest, pulled.image.id) == (pushed.digest, image.id)
        for ours, theirs in zip(image.layers, pulled.image.layers, strict=True):
            assert describe(ours.path) == describe(theirs.path)
        # What was pulled is pushed byte for byte, and its blobs are mounted, not sent.
        second.tag(pulled.image, f"{host}/other/copy:2")
        told: list[Progress] = []
        assert push(second, f"{host}/other/copy:2", PLAIN, tell=told.append).digest == pushed.digest
        assert stages(told).count(Stage.MOUNTED) == 2
        assert Stage.PUSHED not in stages([item for item in told if item.layer != image.id])
        told.clear()
        push(second, f"{host}/other/copy:2", PLAIN, tell=told.append)
        assert set(stages(told)) == {Stage.PREPARING, Stage.THERE}


@pytest.mark.parametrize("compression", list(Compression)[:3])
def test_forms_of_layers(store: Store, tmp_path: Path, host: str, tool: Tool, compression: Compression) -> None:
    image = app(store, f"{host}/app:1")
    push(store, f"{host}/app:1", PLAIN, compression=compression)
    target = tmp_path / "copied"
    words = [tool("skopeo"), "copy", "-q", "--src-tls-verify=false", f"docker://{host}/app:1", f"oci:{target}:app"]
    subprocess.run(words, check=True)
    with Store(tmp_path / "second") as second:
        assert pull(second, f"{host}/app:1", PLAIN).image.id == image.id


def test_what_skopeo_pushes(store: Store, tmp_path: Path, host: str, tool: Tool) -> None:
    image = app(store, "app:1")
    source = f"oci:{store.root}:docker.io/library/app:1"
    for form in ("v2s2", "oci"):
        words = [tool("skopeo"), "copy", "-q", "--dest-tls-verify=false", "--format", form, source]
        subprocess.run([*words, f"docker://{host}/{form}:1"], check=True)
        with Store(tmp_path / form) as second:
            pulled = pull(second, f"{host}/{form}:1", PLAIN)
            assert pulled.image.diff_ids == image.diff_ids
            second.tag(pulled.image, f"{host}/{form}:again")
            assert push(second, f"{host}/{form}:again", PLAIN).digest == pulled.digest


def test_lists_and_deletion(store: Store, tmp_path: Path, host: str) -> None:
    app(store, *(f"{host}/team/app:{number}" for number in range(3)))
    for number in range(3):
        pushed = push(store, f"{host}/team/app:{number}", PLAIN)
    store.tag(f"{host}/team/app:0", f"{host}/zoo:1")
    push(store, f"{host}/zoo:1", PLAIN)
    with RegistryClient(PLAIN.endpoints(host)[-1], PLAIN) as client:
        client.ping()
        assert client.catalog() == ["team/app", "zoo"]
        assert sorted(client.tags("team/app")) == ["0", "1", "2"]
        assert client.resolve("team/app", "0") == pushed.digest
        assert client.resolve("team/app", "none") is None
        with Store(tmp_path / "second") as second:
            assert len(pull_all(second, f"{host}/team/app", PLAIN)) == 3
            assert len(second.images()) == 1
        client.delete_manifest("team/app", pushed.digest)
        with pytest.raises(RegistryError, match="manifest unknown"):
            client.manifest("team/app", "0")


def test_password_and_tls(store: Store, tmp_path: Path, reference_registry: str, tool: Tool) -> None:
    tool("openssl")
    authority_file, certificate, key = authority(tmp_path / "ca")
    with registry(tmp_path / "registry", password=True, tls=(certificate, key)) as host:
        app(store, f"{host}/app:1")
        folder = tmp_path / "certs.d" / host
        folder.mkdir(parents=True)
        (folder / "ca.crt").write_bytes(authority_file.read_bytes())
        known = Registries(
            certificates=(tmp_path / "certs.d",), config=tmp_path / "config.json", backoff=0.02, attempts=2
        )
        with pytest.raises(AuthenticationError, match=r"authentication required"):
            push(store, f"{host}/app:1", known)
        auths = {host: {"auth": Credentials("student", "wrong").basic().removeprefix("Basic ")}}
        (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
        with pytest.raises(AuthenticationError):
            push(store, f"{host}/app:1", known)
        auths[host]["auth"] = Credentials("student", "secret").basic().removeprefix("Basic ")
        (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
        pushed = push(store, f"{host}/app:1", known)
        with Store(tmp_path / "second") as second:
            assert pull(second, f"{host}/app:1", known).digest == pushed.digest
            with pytest.raises(AuthenticationError, match=r"pull access denied for .*may require 'docker login'"):
                pull(second, f"{host}/app:1", Registries(certificates=(tmp_path / "certs.d",), config=Path("/none")))
        # A loopback registry may be spoken to insecurely; any other name may not.
        name = host.replace("127.0.0.1", "lesson.invalid")
        assert [endpoint.verify for endpoint in known.endpoints(name)] == [True]
        (folder / "ca.crt").unlink()
        with pytest.raises(RegistryError, match="not signed by a known authority"):
            pull(store, f"{host}/app:1", known)


def test_mirrors(store: Store, tmp_path: Path, reference_registry: str) -> None:
    with registry(tmp_path / "one") as first, registry(tmp_path / "two") as second:
        app(store, f"{second}/library/app:1")
        pushed = push(store, f"{second}/library/app:1", PLAIN)
        dead = f"http://127.0.0.1:{free_port()}"
        known = Registries(
            mirrors=(dead, f"http://{first}", f"http://{second}"), certificates=(), config=Path("/none"), backoff=0.02
        )
        with Store(tmp_path / "second-store") as other:
            pulled = pull(other, "app:1", known)
            assert pulled.digest == pushed.digest
            assert [name.familiar for name in pulled.image.tags] == ["app:1"]
            assert [name.familiar for name in pulled.image.digests] == [f"app@{pushed.digest}"]


def test_an_upload_goes_on_after_the_registry_was_away(store: Store, tmp_path: Path, host: str) -> None:
    layer = store.add_entries([file("/big", os.urandom(3 << 20))])
    image = image_from_layers(store, [layer])
    data = b"".join(store.blobs.chunks(layer.diff_id))
    broken = [True]

    def read(offset: int, count: int) -> Iterator[bytes]:
        step = 100_000
        for at in range(offset, offset + count, step):
            if broken[0] and at > 1 << 20:
                broken[0] = False
                raise RegistryError("the connection broke")
            yield data[at : min(at + step, offset + count)]

    reached: list[int] = []
    with RegistryClient(PLAIN.endpoints(host)[-1], PLAIN) as client:
        location = client.start_upload("app", layer.diff_id)
        assert location
        client.upload("app", layer.diff_id, len(data), read, location, reached.append)
        assert client.has_blob("app", layer.diff_id)
    assert not broken[0]
    assert reached[-1] == len(data)
    assert image.size == 3 << 20


CHILD = """
import sys
from pathlib import Path
from sim.images import Store
from sim.images.registry import Registries, pull
known = Registries(certificates=(), config=Path("/nonexistent"))
with Store(sys.argv[1]) as store:
    print("ready", flush=True)
    pull(store, sys.argv[2], known)
"""


def test_killed_pulls(store: Store, tmp_path: Path, host: str) -> None:
    """Whenever a pull is killed, the store opens, lists nothing half, and the next pull ends it."""
    layers = [store.add_entries([file(f"/{n}/{m}", os.urandom(20_000)) for m in range(80)]) for n in range(3)]
    image = image_from_layers(store, layers, tags=[f"{host}/app:1"])
    pushed = push(store, f"{host}/app:1", PLAIN)
    place = tmp_path / "victim"
    listed = 0
    for turn in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD, place, f"{host}/app:1"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert child.stdout
        child.stdout.readline()
        time.sleep(0.02 * turn)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        with Store(place) as victim:
            victim.collect()
            for found in victim.images():
                assert found.id == image.id
                listed += 1
                for layer in found.layers:
                    assert describe(layer.path) == describe(store.layer(layer.diff_id).path)
            if victim.images():
                remove(victim, f"{host}/app:1")
            assert list((victim.root / "trash").iterdir()) == []
            assert all(path.name.startswith("sha256-") for path in victim.blobs.ingest.iterdir())
            assert len(list((victim.root / "leases").iterdir())) == 1
    with Store(place) as victim:
        assert pull(victim, f"{host}/app:1", PLAIN).digest == pushed.digest
        assert Reference.parse(f"{host}/app:1") in victim.image(image.id).tags
