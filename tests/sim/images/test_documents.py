"""Manifests, indexes and configurations: what is kept, what is refused, and that nothing crashes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.images.documents import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Configuration,
    History,
    RootFs,
    encode,
    nanoseconds,
    parse_config,
    parse_index,
    parse_manifest,
    rfc3339,
)
from sim.images.errors import ContentError, ImagesError

DIGEST = "sha256:" + "0" * 64


def manifest(**fields: Any) -> bytes:
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": OCI_CONFIG, "digest": DIGEST, "size": 2},
        "layers": [{"mediaType": OCI_LAYER, "digest": DIGEST, "size": 3}],
    }
    return json.dumps({**document, **fields}).encode()


def config(**fields: Any) -> bytes:
    document = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [DIGEST]}}
    return json.dumps({**document, **fields}).encode()


def test_good_ones() -> None:
    assert [layer.size for layer in parse_manifest(manifest()).layers] == [3]
    found = parse_config(config(config={"Foreign": [1], "Env": None}, history=None, unknown={"a": 1}))
    assert (found.diff_ids, found.config) == ((DIGEST,), {"Foreign": [1], "Env": None})
    assert (
        parse_index(json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).encode()).manifests == []
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rootfs": None}, "rootfs"),
        ({"rootfs": {"diff_ids": ["sha256:xyz"]}}, "diff ID 1: 'sha256:xyz' is not a digest"),
        ({"rootfs": {"diff_ids": [DIGEST] * 128}}, "at most 127"),
        ({"history": [{}, {}]}, "history tells of 2 layers, but there are 1"),
        ({"config": []}, "config"),
        ({"architecture": 5}, "architecture"),
    ],
)
def test_bad_configurations(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ImagesError, match=message):
        parse_config(config(**fields), "image x")


def test_missing_fields() -> None:
    for field in ("architecture", "os", "rootfs"):
        document = json.loads(config())
        del document[field]
        with pytest.raises(ContentError, match=field):
            parse_config(json.dumps(document).encode())


def test_ours_are_the_same_bytes_each_time() -> None:
    made = Configuration("amd64", "linux", RootFs(diff_ids=[DIGEST]), history=[History(created_by="x")])
    assert encode(made) == (
        b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["' + DIGEST.encode() + b'"]},'
        b'"history":[{"created_by":"x"}]}'
    )
    assert parse_config(encode(made)) == made


@given(st.integers(0, 4_000_000_000))
def test_times_come_back(seconds: int) -> None:
    assert nanoseconds(rfc3339(seconds)) == seconds * 10**9


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13-01T00:00:00Z", "2024-01-01", "0000-00-00T00:00:00Z"])
def test_times_that_are_none(text: str) -> None:
    assert nanoseconds(text) == 0


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.just(DIGEST)
    | st.just(OCI_LAYER),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([(parse_manifest, manifest()), (parse_config, config()), (parse_index, b'{"manifests":[]}')]),
    st.lists(
        st.tuples(
            st.sampled_from(
                ["schemaVersion", "mediaType", "config", "layers", "manifests", "rootfs", "history", "os", "created"]
            ),
            json_values,
        ),
        max_size=3,
    ),
    st.binary(max_size=4),
    st.integers(0, 400),
    st.booleans(),
)
def test_any_document_is_read_or_refused_in_one_line(
    what: tuple[Callable[[bytes, str], object], bytes],
    changes: list[tuple[str, Any]],
    noise: bytes,
    place: int,
    noisy: bool,
) -> None:
    parse, good = what
    data = json.dumps({**json.loads(good), **dict(changes)}).encode()
    if noisy:
        data = data[:place] + noise + data[place:]
    try:
        parse(data, "manifest x")
    except ImagesError as error:
        said = str(error)
    else:
        return
    assert said.startswith("manifest x")
    assert "\n" not in said


def test_nested_too_deep() -> None:
    with pytest.raises(ContentError):
        parse_manifest(b'{"config":' + b"[" * 100_000)
