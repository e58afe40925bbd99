"""Images served by the registry that misbehaves, and how the tests fetch them."""

from __future__ import annotations

import gzip
import http.server
import json
import os
from pathlib import Path
from typing import Any

from sim.images import Store, file
from sim.images.digest import of_bytes
from sim.images.documents import (
    OCI_CONFIG,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
)
from sim.images.registry import Registries, pull
from sim.images.tarwrite import TarWriter
from tests.sim.images.registries import Answers

Handler = http.server.BaseHTTPRequestHandler
#: The settings of a user who has none.
NOBODY = Path("/nonexistent/config.json")
FAST = Registries(attempts=3, backoff=0.01, timeout=10, certificates=(), config=NOBODY)


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


def get(store: Store, answers: Answers, name: str = "app", registries: Registries = FAST, **options: Any) -> Any:
    return pull(store, f"{answers.host}/{name}", registries, **options)
