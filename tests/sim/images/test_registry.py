"""The registry client against a registry that misbehaves: one clear error, nothing half-written listed, the next try
goes on."""

from __future__ import annotations

import base64
import gzip
import http.server
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sim.images import Store, StoreError, file
from sim.images.digest import of_bytes
from sim.images.documents import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
    Platform,
)
from sim.images.errors import (
    AuthenticationError,
    ContentError,
    ImagesError,
    NotFoundError,
    RegistryError,
    TooManyLayersError,
)
from sim.images.progress import Progress, Stage
from sim.images.registry import Credentials, DockerConfig, Registries, RegistryClient, pull
from sim.images.tarwrite import TarWriter
from tests.sim.images.registries import Answers, error, misbehaving, reply

Handler = http.server.BaseHTTPRequestHandler
FAST = Registries(attempts=3, backoff=0.01, timeout=1, certificates=())


def tar(text: str) -> bytes:
    parts: list[bytes] = []
    writer = TarWriter(lambda data: parts.append(bytes(data)))
    writer.add(file(f"/{text}", os.urandom(60_000)))
    writer.finish()
    return b"".join(parts)


def put(answers: Answers, data: bytes) -> dict[str, Any]:
    answers.blobs[of_bytes(data)] = data
    return {"digest": of_bytes(data), "size": len(data)}


def image(answers: Answers, tag: str = "latest", layers: int = 2, **fields: Any) -> dict[str, Any]:
    tars = [tar(f"{tag}-{number}") for number in range(layers)]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "foreign.field": 1,
        "rootfs": {"type": "layers", "diff_ids": [of_bytes(data) for data in tars]},
    }
    manifest: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "annotations": {"org.example.foreign": "kept"},
        "config": {"mediaType": OCI_CONFIG, **put(answers, json.dumps(config).encode())},
        "layers": [{"mediaType": OCI_LAYER_GZIP, **put(answers, gzip.compress(data))} for data in tars],
    }
    manifest.update(fields)
    return publish(answers, tag, manifest)


def publish(answers: Answers, tag: str, manifest: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(manifest, indent=3).encode()
    kind = manifest.get("mediaType", OCI_MANIFEST)
    for name in (tag, of_bytes(data)):
        answers.manifests[name] = (kind, data)
    return {"mediaType": kind, "digest": of_bytes(data), "size": len(data), "manifest": manifest}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def answers() -> Iterator[Answers]:
    with misbehaving() as found:
        yield found


def get(store: Store, answers: Answers, name: str = "app", registries: Registries = FAST, **options: Any) -> Any:
    return pull(store, f"{answers.host}/{name}", registries, **options)


def test_pull_verifies_and_keeps_the_bytes(store: Store, answers: Answers) -> None:
    made = image(answers)
    told: list[Progress] = []
    pulled = get(store, answers, tell=told.append)
    assert pulled.digest == made["digest"] == pulled.image.manifest.digest
    assert store.blobs.read(pulled.digest) == answers.manifests["latest"][1]
    assert [name.familiar for name in pulled.image.digests] == [f"{answers.host}/app@{made['digest']}"]
    stages = [item.stage for item in told if item.layer == made["manifest"]["layers"][0]["digest"]]
    assert list(dict.fromkeys(stages)) == [
        Stage.PULLING,
        Stage.DOWNLOADING,
        Stage.VERIFYING,
        Stage.DOWNLOADED,
        Stage.EXTRACTING,
        Stage.PULLED,
    ]
    again = get(store, answers)
    assert not again.changed
    assert again.status == f"Status: Image is up to date for {answers.host}/app:latest"
    assert len([entry for entry in answers.log if "/blobs/" in entry[1]]) == 3


def test_schema_2(store: Store, answers: Answers) -> None:
    made = image(answers)["manifest"]
    made["mediaType"], made["config"]["mediaType"] = DOCKER_MANIFEST, DOCKER_CONFIG
    for layer in made["layers"]:
        layer["mediaType"] = DOCKER_LAYER_GZIP
    published = publish(answers, "latest", made)
    assert get(store, answers).digest == published["digest"]


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_INDEX])
def test_index(store: Store, answers: Answers, kind: str) -> None:
    found = {arch: image(answers, arch, 1) for arch in ("amd64", "arm64")}
    entries = [
        {
            "platform": {"os": "linux", "architecture": arch},
            **{key: made[key] for key in ("mediaType", "digest", "size")},
        }
        for arch, made in found.items()
    ]
    index = publish(answers, "latest", {"schemaVersion": 2, "mediaType": kind, "manifests": entries})
    pulled = get(store, answers, platform=Platform("arm64", "linux"))
    assert pulled.digest == index["digest"]
    assert pulled.image.manifest.digest == found["arm64"]["digest"]
    with pytest.raises(NotFoundError, match="no image for linux/riscv64; there is linux/amd64, linux/arm64"):
        get(store, answers, platform=Platform("riscv64", "linux"))
    assert store.blobs.has(index["digest"])
    store.collect()
    assert store.blobs.has(index["digest"])


def test_a_circle_of_indexes(store: Store, answers: Answers) -> None:
    """A true circle has no digests that fit; indexes in indexes without end are what a registry can send."""
    entry = image(answers, "deep", 1)
    for depth in range(6):
        known = {key: entry[key] for key in ("mediaType", "digest", "size")}
        entry = publish(answers, f"d{depth}", {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [known]})
    with pytest.raises(ContentError, match="in a circle, or more than 4 deep"):
        get(store, answers, "app:d5")
    assert get(store, answers, "app:d1").changed


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: m.pop("config"), "'config' is missing"),
        (lambda m: m.pop("layers"), "'layers' is missing"),
        (lambda m: m["layers"][0].pop("digest"), "digest"),
        (lambda m: m["layers"][0].update(digest="sha256:../../../etc/passwd"), "is not a digest"),
        (lambda m: m["layers"][0].update(size=-1), "size -1 is not possible"),
        (lambda m: m["layers"][0].update(size="big"), "int"),
        (lambda m: m["layers"][0].update(mediaType="text/plain"), "unknown media type"),
        (lambda m: m["config"].update(mediaType="text/plain"), "no container image"),
        (lambda m: m.update(schemaVersion=1), "schema 1"),
        (lambda m: m.update(schemaVersion=3), "schema version 3"),
        (lambda m: m.update(manifests=[m["config"]]), "manifest and an index at once"),
        (lambda m: m["layers"].pop(), "different numbers of layers"),
        (lambda m: m.update(mediaType="application/vnd.unknown"), "no container image"),
    ],
)
def test_bad_manifests(store: Store, answers: Answers, spoil: Callable[[dict[str, Any]], object], message: str) -> None:
    manifest = image(answers)["manifest"]
    spoil(manifest)
    publish(answers, "latest", manifest)
    with pytest.raises(ImagesError, match=message) as caught:
        get(store, answers)
    assert f"{answers.host}/app:latest" in str(caught.value)
    assert "\n" not in str(caught.value)
    nothing_is_left(store)


def nothing_is_left(store: Store) -> None:
    """Nothing is listed, and once collected, nothing is there."""
    assert store.images(intermediate=True) == []
    store.collect()
    assert list(store.blobs.directory.iterdir()) == []
    assert list((store.root / "layers").iterdir()) == []


def test_too_many_layers(store: Store, answers: Answers) -> None:
    manifest = image(answers, layers=1)["manifest"]
    manifest["layers"] *= 128
    publish(answers, "latest", manifest)
    with pytest.raises(TooManyLayersError, match="128 layers, at most 127"):
        get(store, answers)


def test_forged_manifest(store: Store, answers: Answers) -> None:
    image(answers)
    wrong = "sha256:" + "1" * 64
    answers.manifests[wrong] = answers.manifests["latest"]
    with pytest.raises(ContentError, match="damaged or forged"):
        get(store, answers, f"app@{wrong}")


def test_forged_layer(store: Store, answers: Answers) -> None:
    layer = image(answers)["manifest"]["layers"][1]
    good = answers.blobs[layer["digest"]]
    answers.blobs[layer["digest"]] = b"x" * len(good)
    with pytest.raises(ContentError, match=rf"layer {layer['digest'][7:19]}: .*damaged or forged"):
        get(store, answers)
    assert store.images() == []
    answers.blobs[layer["digest"]] = good
    assert get(store, answers).changed  # nothing of the forged one was kept to go on from


def test_wrong_diff_id(store: Store, answers: Answers) -> None:
    manifest = image(answers)["manifest"]
    other = gzip.compress(tar("other"))
    manifest["layers"][0].update(put(answers, other))
    publish(answers, "latest", manifest)
    with pytest.raises(ContentError, match="but the image's configuration says"):
        get(store, answers)
    nothing_is_left(store)


def test_gzip_bomb(tmp_path: Path, answers: Answers) -> None:
    manifest = image(answers)["manifest"]
    bomb = gzip.compress(bytes(50 << 20), 9)
    manifest["layers"][0].update(put(answers, bomb))
    publish(answers, "latest", manifest)
    with Store(tmp_path / "small", largest_layer=1 << 20) as store:
        with pytest.raises(ContentError, match=r"more than 1048576 bytes|no tar"):
            get(store, answers)
        nothing_is_left(store)


def test_a_cut_connection_is_resumed(store: Store, answers: Answers) -> None:
    layer = image(answers)["manifest"]["layers"][0]
    data = answers.blobs[layer["digest"]]
    cuts = [20_000, 40_000]

    def before(handler: Handler) -> bool:
        if layer["digest"] not in handler.path or not cuts:
            return False
        start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        end = cuts.pop(0)
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(data) - start))
        handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.end_headers()
        handler.wfile.write(data[start:end])
        handler.close_connection = True
        return True

    answers.before = before
    assert get(store, answers).changed
    assert [entry[2] for entry in answers.asked("GET", layer["digest"])] == ["", "bytes=20000-", "bytes=40000-"]


def test_the_next_pull_goes_on(store: Store, answers: Answers) -> None:
    layer = image(answers)["manifest"]["layers"][0]
    data = answers.blobs[layer["digest"]]

    def before(handler: Handler) -> bool:
        if layer["digest"] not in handler.path:
            return False
        if handler.headers.get("Range"):
            reply(handler, 500, b"")
            return True
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:30_000])
        handler.close_connection = True
        return True

    answers.before = before
    with pytest.raises(RegistryError, match=f"layer {layer['digest'][7:19]}"):
        get(store, answers)
    assert store.images() == []
    store.collect()
    answers.before = lambda handler: False
    answers.log.clear()
    assert get(store, answers).changed
    assert [entry[2] for entry in answers.asked("GET", layer["digest"])] == ["bytes=30000-"]


def test_a_registry_that_cannot_resume(store: Store, answers: Answers) -> None:
    layer = image(answers)["manifest"]["layers"][0]
    data = answers.blobs[layer["digest"]]
    first = [True]

    def before(handler: Handler) -> bool:
        if layer["digest"] not in handler.path:
            return False
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:10_000] if first[0] else data)
        handler.close_connection = first[0]
        first[0] = False
        return True

    answers.before = before
    assert get(store, answers).changed


def test_a_registry_that_lies_about_lengths(store: Store, answers: Answers) -> None:
    layer = image(answers)["manifest"]["layers"][0]
    answers.blobs[layer["digest"]] += b"more"
    with pytest.raises(ContentError, match="more than the"):
        get(store, answers)
    answers.blobs[layer["digest"]] = answers.blobs[layer["digest"]][:-5]
    with pytest.raises(RegistryError, match="the connection ended after"):
        get(store, answers)
    assert store.images() == []


def test_a_registry_that_stalls(store: Store, answers: Answers) -> None:
    layer = image(answers)["manifest"]["layers"][0]
    wake = threading.Event()

    def before(handler: Handler) -> bool:
        if layer["digest"] in handler.path:
            handler.send_response(200)
            handler.send_header("Content-Length", "100")
            handler.end_headers()
            handler.wfile.write(b"x")
            handler.wfile.flush()
            wake.wait(20)
            handler.close_connection = True
            return True
        return False

    answers.before = before
    begun = time.monotonic()
    try:
        with pytest.raises(RegistryError, match=r"no answer for 0\.2 s"):
            get(store, answers, registries=Registries(attempts=2, backoff=0.01, timeout=0.2, certificates=()))
    finally:
        wake.set()
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("status", "kind", "message"),
    [
        (401, AuthenticationError, "pull access denied for .*/app, repository does not exist or may require"),
        (403, AuthenticationError, "pull access denied"),
        (404, RegistryError, r"manifest for .*/app:latest not found: name unknown: not here"),
        (429, RegistryError, "name unknown: not here"),
        (500, RegistryError, "name unknown: not here"),
        (418, RegistryError, "name unknown: not here"),
    ],
)
def test_statuses(store: Store, answers: Answers, status: int, kind: type[RegistryError], message: str) -> None:
    def before(handler: Handler) -> bool:
        reply(handler, status, error("NAME_UNKNOWN", "not\n here"))
        return True

    answers.before = before
    with pytest.raises(kind, match=message) as caught:
        get(store, answers)
    assert caught.value.status == status
    assert len(answers.asked("GET", "/manifests/")) == (3 if status in (429, 500) else 1)


def test_a_busy_registry_is_asked_again_when_it_says(store: Store, answers: Answers) -> None:
    image(answers)
    busy = [True]

    def before(handler: Handler) -> bool:
        if busy.pop() if busy else False:
            reply(handler, 429, b"", {"Retry-After": "1"})
            return True
        return False

    answers.before = before
    begun = time.monotonic()
    assert get(store, answers).changed
    assert time.monotonic() - begun >= 1


def challenge(answers: Answers, tokens: Answers) -> Callable[[Handler], bool]:
    def before(handler: Handler) -> bool:
        if handler.headers.get("Authorization") == "Bearer good":
            return False
        scope = "repository:app:pull"
        value = f'Bearer realm="http://{tokens.host}/token",service="lesson",scope="{scope}"'
        reply(handler, 401, error("UNAUTHORIZED", "authentication required"), {"WWW-Authenticate": value})
        return True

    return before


def test_tokens(store: Store, answers: Answers) -> None:
    image(answers)
    with misbehaving() as tokens:
        asked: list[tuple[str, str]] = []

        def give(handler: Handler) -> bool:
            asked.append((handler.path, handler.headers.get("Authorization", "")))
            good = handler.headers.get("Authorization") == Credentials("student", "secret").basic()
            reply(handler, 200 if good else 401, json.dumps({"token": "good"}).encode())
            return True

        tokens.before = give
        answers.before = challenge(answers, tokens)
        with pytest.raises(AuthenticationError, match="token server refused"):
            get(store, answers)
        named = Registries(credentials=Credentials("student", "secret"), attempts=2, backoff=0.01, certificates=())
        assert get(store, answers, registries=named).changed
        assert "service=lesson" in asked[-1][0]
        assert "scope=repository%3Aapp%3Apull" in asked[-1][0]
        assert "account=student" in asked[-1][0]
    assert "secret" not in repr(named)


def test_credentials_do_not_follow_a_redirect(store: Store, answers: Answers) -> None:
    made = image(answers)
    layer = made["manifest"]["layers"][0]["digest"]
    with misbehaving() as elsewhere:
        elsewhere.blobs.update(answers.blobs)
        seen: list[str | None] = []

        def watch(handler: Handler) -> bool:
            seen.append(handler.headers.get("Authorization"))
            return False

        def before(handler: Handler) -> bool:
            if not handler.headers.get("Authorization"):
                reply(handler, 401, b"", {"WWW-Authenticate": 'Basic realm="lesson"'})
                return True
            if layer in handler.path:
                reply(handler, 307, b"", {"Location": f"http://{elsewhere.host}{handler.path}"})
                return True
            return False

        elsewhere.before, answers.before = watch, before
        named = Registries(credentials=Credentials("student", "secret"), attempts=2, backoff=0.01, certificates=())
        assert get(store, answers, registries=named).changed
        assert seen == [None]


def test_mirrors_in_order_then_the_origin(store: Store, answers: Answers) -> None:
    with misbehaving() as second:
        image(second, "3")
        mirrors = (f"http://{answers.host}", f"http://{second.host}/")
        known = Registries(mirrors=mirrors, attempts=2, backoff=0.01, timeout=1, certificates=())
        told: list[Progress] = []
        pulled = pull(store, "alpine:3", known, tell=told.append)
        assert pulled.reference.familiar == "alpine:3"
        assert answers.asked("GET", "/v2/library/alpine/manifests/3")
        assert any(answers.host in item.text and "trying the next" in item.text for item in told)
        answers.log.clear()
        pull(store, f"{second.host}/library/alpine:3", known)
        assert not answers.log  # mirrors are for Docker's registry alone


def test_a_mirror_that_forges_is_not_believed(store: Store, answers: Answers) -> None:
    with misbehaving() as honest:
        layer = image(honest, "3")["manifest"]["layers"][0]["digest"]
        answers.manifests.update(honest.manifests)
        answers.blobs.update(honest.blobs)
        answers.blobs[layer] = b"\0" * len(honest.blobs[layer])
        mirrors = (f"http://{answers.host}", f"http://{honest.host}")
        assert pull(store, "alpine:3", Registries(mirrors=mirrors, attempts=1, certificates=())).changed


def test_a_listener_can_end_a_pull(store: Store, answers: Answers) -> None:
    image(answers)

    class EnoughError(Exception):
        pass

    def tell(progress: Progress) -> None:
        if progress.stage is Stage.DOWNLOADING:
            raise EnoughError

    with pytest.raises(EnoughError):
        get(store, answers, tell=tell)
    assert store.images() == []


def test_two_pulls_fetch_once(tmp_path: Path, answers: Answers) -> None:
    layers = image(answers, layers=3)["manifest"]["layers"]
    slow = threading.Event()

    def before(handler: Handler) -> bool:
        if "/blobs/" in handler.path:
            slow.wait(0.2)
        return False

    answers.before = before
    results: list[bool | BaseException] = []

    def work() -> None:
        try:
            with Store(tmp_path / "store") as store:
                results.append(get(store, answers).changed)
        except BaseException as problem:
            results.append(problem)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(results) <= {True, False}
    assert True in results
    for layer in layers:
        assert len(answers.asked("GET", layer["digest"])) == 1


def test_an_upload_goes_on_where_the_registry_stands(answers: Answers) -> None:
    data = os.urandom(500_000)
    digest = of_bytes(data)
    has = bytearray()
    pieces: list[str] = []

    def before(handler: Handler) -> bool:
        place = {"Location": "/v2/app/blobs/uploads/7?state=1"}
        if handler.command == "POST":
            reply(handler, 202, b"", place)
        elif handler.command == "GET" and "/uploads/" in handler.path:
            reply(handler, 204, b"", {**place, "Range": f"0-{len(has) - 1}"})
        elif handler.command == "PATCH":
            pieces.append(handler.headers["Content-Range"])
            length = int(handler.headers["Content-Length"])
            if len(pieces) == 1:
                has.extend(handler.rfile.read(200_000))
                handler.close_connection = True
                handler.connection.shutdown(2)
                return True
            has.extend(handler.rfile.read(length))
            reply(handler, 202, b"", place)
        elif handler.command == "PUT":
            reply(
                handler,
                201 if of_bytes(bytes(has)) == digest and digest.replace(":", "%3A") in handler.path else 400,
                b"",
            )
        return True

    answers.before = before
    with RegistryClient(FAST.endpoints(answers.host)[-1], FAST) as client:
        location = client.start_upload("app", digest)
        assert location

        def read(offset: int, count: int) -> Iterator[bytes]:
            for at in range(offset, offset + count, 10_000):
                yield data[at : min(at + 10_000, offset + count)]

        client.upload("app", digest, len(data), read, location, lambda done: None)
    assert pieces == ["0-499999", "200000-499999"]


def test_config_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-lesson"
    helper.write_text(
        '#!/bin/sh\nread host\n[ "$host" = helped.example ] || { echo credentials not found; exit 1; }\n'
        'echo \'{"Username":"<token>","Secret":"identity"}\'\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    config = tmp_path / "config.json"
    auth = base64.b64encode(b"me:pass:word").decode()
    config.write_text(
        json.dumps(
            {
                "credHelpers": {"helped.example": "lesson"},
                "auths": {"https://index.docker.io/v1/": {"auth": auth}, "https://plain.example": {"auth": auth}},
            }
        )
    )
    found = DockerConfig(config)
    assert found.find("docker.io") == Credentials("me", "pass:word")
    assert found.find("plain.example") == Credentials("me", "pass:word")
    assert found.find("helped.example") == Credentials(identity_token="identity")
    assert found.find("unknown.example") is None
    found.save("new.example:5000", Credentials("you", "secret"))
    assert DockerConfig(config).find("new.example:5000") == Credentials("you", "secret")
    assert config.stat().st_mode & 0o77 == 0
    DockerConfig(config).save("new.example:5000", None)
    assert DockerConfig(config).find("new.example:5000") is None


def test_a_store_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "records.db").write_text("not a database, but a text long enough to be taken for one" * 20)
    with pytest.raises(StoreError, match="no image store's database"):
        Store(tmp_path)
