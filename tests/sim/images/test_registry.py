"""The registry client: what is fetched and kept, who one is, mirrors, uploads."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sim.images import Store, StoreError
from sim.images.digest import of_bytes
from sim.images.documents import (
    DOCKER_CONFIG,
    DOCKER_INDEX,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_INDEX,
    Platform,
)
from sim.images.errors import (
    AuthenticationError,
    NotFoundError,
)
from sim.images.progress import Progress, Stage
from sim.images.registry import Credentials, DockerConfig, Registries, RegistryClient, pull
from tests.sim.images.registries import Answers, error, misbehaving, reply
from tests.sim.images.served import FAST, NOBODY, Handler, get, image, publish


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def answers() -> Iterator[Answers]:
    with misbehaving() as found:
        yield found


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
        named = Registries(
            credentials=Credentials("student", "secret"), attempts=2, backoff=0.01, certificates=(), config=NOBODY
        )
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
        named = Registries(
            credentials=Credentials("student", "secret"), attempts=2, backoff=0.01, certificates=(), config=NOBODY
        )
        assert get(store, answers, registries=named).changed
        assert seen == [None]


def test_mirrors_in_order_then_the_origin(store: Store, answers: Answers) -> None:
    with misbehaving() as second:
        image(second, "3")
        mirrors = (f"http://{answers.host}", f"http://{second.host}/")
        known = Registries(mirrors=mirrors, attempts=2, backoff=0.01, timeout=10, certificates=(), config=NOBODY)
        told: list[Progress] = []
        pulled = pull(store, "alpine:3", known, tell=told.append)
        assert pulled.reference.familiar == "alpine:3"
        assert answers.asked("GET", "/v2/library/alpine/manifests/3")
        assert any(answers.host in item.text and "trying the next" in item.text for item in told)
        answers.log.clear()
        pull(store, f"{second.host}/library/alpine:3", known)
        assert not answers.log  # mirrors are for Docker's registry alone


def test_a_mirror_sees_no_credentials_of_the_origin(store: Store, answers: Answers, tmp_path: Path) -> None:
    seen: list[str | None] = []

    def before(handler: Handler) -> bool:
        seen.append(handler.headers.get("Authorization"))
        reply(handler, 401, b"", {"WWW-Authenticate": 'Basic realm="mirror"'})
        return True

    answers.before = before
    secret = Credentials("student", "secret")
    with misbehaving() as second:
        image(second, "3")
        mirrors = (f"http://{answers.host}", f"http://{second.host}")
        known = Registries(mirrors=mirrors, credentials=secret, config=tmp_path / "none", attempts=1, certificates=())
        assert pull(store, "alpine:3", known).changed
    assert seen == [None]


def test_a_mirror_that_forges_is_not_believed(store: Store, answers: Answers) -> None:
    with misbehaving() as honest:
        layer = image(honest, "3")["manifest"]["layers"][0]["digest"]
        answers.manifests.update(honest.manifests)
        answers.blobs.update(honest.blobs)
        answers.blobs[layer] = b"\0" * len(honest.blobs[layer])
        mirrors = (f"http://{answers.host}", f"http://{honest.host}")
        assert pull(store, "alpine:3", Registries(mirrors=mirrors, attempts=1, certificates=(), config=NOBODY)).changed


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
