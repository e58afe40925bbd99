"""A registry that misbehaves: one clear error, nothing half-written listed, the next try goes on."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sim.images import Store
from sim.images.documents import (
    OCI_INDEX,
)
from sim.images.errors import (
    AuthenticationError,
    ContentError,
    ImagesError,
    RegistryError,
    TooManyLayersError,
)
from sim.images.registry import Registries
from tests.sim.images.registries import Answers, error, misbehaving, reply
from tests.sim.images.served import NOBODY, Handler, get, image, publish, put, tar


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def answers() -> Iterator[Answers]:
    with misbehaving() as found:
        yield found


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
            get(
                store,
                answers,
                registries=Registries(attempts=2, backoff=0.01, timeout=0.2, certificates=(), config=NOBODY),
            )
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
