"""The JSON documents of an image: descriptor, manifest, index and configuration.

Decided here and only here: which media types are known, which fields must be there, and how a document that we write is
spelt (compact, keys in the order below, so that the same image has the same digest on every machine). A document read
from elsewhere is never written again from these values: its bytes are kept, and with them every foreign field and
annotation. Frozen values, any thread. Sources: OCI image specification 1.1; "Image Manifest Version 2, Schema 2".
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from sim.images.digest import check_digest, of_bytes
from sim.images.errors import ContentError, TooManyLayersError

__all__ = [
    "CONFIG_TYPES",
    "DOCKER_CONFIG",
    "DOCKER_INDEX",
    "DOCKER_LAYER_GZIP",
    "DOCKER_MANIFEST",
    "INDEX_TYPES",
    "LARGEST_DOCUMENT",
    "MANIFEST_TYPES",
    "MAX_LAYERS",
    "OCI_CONFIG",
    "OCI_INDEX",
    "OCI_LAYER",
    "OCI_LAYER_GZIP",
    "OCI_LAYER_ZSTD",
    "OCI_MANIFEST",
    "Configuration",
    "Descriptor",
    "History",
    "Index",
    "Manifest",
    "Platform",
    "RootFs",
    "check_layer_count",
    "decode",
    "describe",
    "encode",
    "is_layer_type",
    "nanoseconds",
    "now",
    "parse_config",
    "parse_index",
    "parse_manifest",
    "rfc3339",
]

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_LAYER_GZIP = OCI_LAYER + "+gzip"
OCI_LAYER_ZSTD = OCI_LAYER + "+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"

MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_INDEX})
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})

#: Most layers in one image; the limit that Docker's overlay2 driver set and that the format's users expect.
MAX_LAYERS = 127

#: Most bytes of a manifest, an index or a configuration that are read into memory.
LARGEST_DOCUMENT = 16 << 20

_LAYER_TYPES = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)


class Platform(msgspec.Struct, frozen=True, omit_defaults=True, rename={"os_version": "os.version"}):
    """The machine an image is for."""

    architecture: str
    os: str
    variant: str = ""
    os_version: str = ""


class Descriptor(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What refers to content: its type, digest and size in bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: dict[str, str] | None = None
    artifact_type: str | None = None
    urls: list[str] | None = None


class Manifest(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One image for one platform: its configuration and its layers, bottom first."""

    schema_version: int = msgspec.field(default_factory=lambda: 2)
    media_type: str = ""
    config: Descriptor = msgspec.field(default_factory=lambda: Descriptor("", "", -1))
    layers: list[Descriptor] = msgspec.field(default_factory=lambda: list[Descriptor]())
    annotations: dict[str, str] | None = None


class Index(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """Several images under one name, usually one for each platform."""

    schema_version: int = msgspec.field(default_factory=lambda: 2)
    media_type: str = ""
    manifests: list[Descriptor] = msgspec.field(default_factory=lambda: list[Descriptor]())
    annotations: dict[str, str] | None = None


class History(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of an image's making."""

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


class RootFs(msgspec.Struct, frozen=True):
    """The diff IDs of the layers, bottom first."""

    type: str = "layers"
    diff_ids: list[str] = msgspec.field(default_factory=lambda: list[str]())


class Configuration(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an image says about itself; its digest is the image's ID.

    Attributes
    ----------
    config
        How to run it, by the names of Docker's API (`Env`, `Cmd`, `Entrypoint`, `WorkingDir`, `User`, `Labels`,
        `ExposedPorts`, `Volumes`, `StopSignal`, `Healthcheck`, `Shell`, `OnBuild`); fields that we do not know stay.
    rootfs
        The diff IDs, bottom first.
    """

    architecture: str
    os: str
    rootfs: RootFs
    config: dict[str, Any] | None = None
    history: list[History] | None = None
    created: str | None = None
    author: str = ""
    variant: str = ""

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The digests of the uncompressed layers, bottom first."""
        return tuple(self.rootfs.diff_ids)


_T = TypeVar("_T")


def decode(data: bytes, kind: type[_T], what: str) -> _T:
    """Read a document.

    Raises
    ------
    ContentError
        It is no JSON, or a field is missing or of the wrong type; the text names `what` and the field.
    """
    if len(data) > LARGEST_DOCUMENT:
        raise ContentError(f"{what}: {len(data)} bytes, more than the {LARGEST_DOCUMENT} that a document may have")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise ContentError(f"{what}: {error}") from None


def encode(document: object) -> bytes:
    """Write a document of our own: compact JSON, the same bytes for the same value."""
    return msgspec.json.encode(document)


def _check_descriptor(descriptor: Descriptor, what: str) -> None:
    check_digest(descriptor.digest, what)
    if descriptor.size < 0:
        raise ContentError(f"{what}: the size {descriptor.size} is not possible")


def is_layer_type(media_type: str) -> bool:
    """Tell whether content of this type is a layer's tar."""
    return media_type.startswith(_LAYER_TYPES)


def parse_manifest(data: bytes, what: str = "manifest") -> Manifest:
    """Read and check the manifest of an image.

    Raises
    ------
    ContentError
        It is no image's manifest, or a field is missing or wrong.
    TooManyLayersError
        It has more than `MAX_LAYERS` layers.
    """
    raw = decode(data, dict[str, Any], what)
    if raw.get("schemaVersion") == 1:
        raise ContentError(f"{what}: schema 1 manifests are no longer read; push the image again with a newer tool")
    for field in ("config", "layers"):
        if field not in raw:
            raise ContentError(f"{what}: the field {field!r} is missing")
    if raw.get("manifests"):
        raise ContentError(f"{what}: it is a manifest and an index at once, which is refused")
    manifest = decode(data, Manifest, what)
    if manifest.schema_version != 2:
        raise ContentError(f"{what}: schema version {manifest.schema_version} is not known")
    if manifest.media_type and manifest.media_type not in MANIFEST_TYPES:
        raise ContentError(f"{what}: media type {manifest.media_type!r} is not an image manifest's")
    _check_descriptor(manifest.config, f"{what}: configuration")
    if manifest.config.media_type not in CONFIG_TYPES:
        raise ContentError(f"{what}: configuration of type {manifest.config.media_type!r}: this is no container image")
    for number, layer in enumerate(manifest.layers, 1):
        _check_descriptor(layer, f"{what}: layer {number}")
        if not is_layer_type(layer.media_type):
            raise ContentError(f"{what}: layer {number} has the unknown media type {layer.media_type!r}")
    check_layer_count(len(manifest.layers), what)
    return manifest


def check_layer_count(count: int, what: str) -> None:
    """Refuse an image of too many layers.

    Raises
    ------
    TooManyLayersError
        `count` is more than `MAX_LAYERS`.
    """
    if count > MAX_LAYERS:
        raise TooManyLayersError(
            f"{what}: max depth exceeded: {count} layers, at most {MAX_LAYERS} can be mounted; squash some into one"
        )


def parse_index(data: bytes, what: str = "index") -> Index:
    """Read and check an index of manifests.

    Raises
    ------
    ContentError
        It is no index, or a field is missing or wrong.
    """
    raw = decode(data, dict[str, Any], what)
    if "manifests" not in raw:
        raise ContentError(f"{what}: the field 'manifests' is missing")
    if raw.get("layers") or raw.get("config"):
        raise ContentError(f"{what}: it is a manifest and an index at once, which is refused")
    index = decode(data, Index, what)
    for number, entry in enumerate(index.manifests, 1):
        _check_descriptor(entry, f"{what}: entry {number}")
    return index


def parse_config(data: bytes, what: str = "configuration") -> Configuration:
    """Read and check an image's configuration.

    Raises
    ------
    ContentError
        A field is missing or wrong, or the history tells of another number of layers than there are.
    TooManyLayersError
        It has more than `MAX_LAYERS` layers.
    """
    config = decode(data, Configuration, what)
    for number, diff_id in enumerate(config.rootfs.diff_ids, 1):
        check_digest(diff_id, f"{what}: diff ID {number}")
    check_layer_count(len(config.diff_ids), what)
    filled = sum(not step.empty_layer for step in config.history or ())
    if config.history and filled > len(config.diff_ids):
        raise ContentError(f"{what}: the history tells of {filled} layers, but there are {len(config.diff_ids)}")
    return config


def describe(media_type: str, data: bytes, annotations: Mapping[str, str] | None = None) -> Descriptor:
    """Return the descriptor of some bytes."""
    return Descriptor(media_type, of_bytes(data), len(data), annotations=dict(annotations) if annotations else None)


def rfc3339(seconds: float) -> str:
    """Return a time in the form the documents use: without zeros at the end of a fraction, as Go writes it.

    >>> rfc3339(0), rfc3339(1.25)
    ('1970-01-01T00:00:00Z', '1970-01-01T00:00:01.25Z')
    """
    whole, _, fraction = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f").partition(".")
    fraction = fraction.rstrip("0")
    return f"{whole}.{fraction}Z" if fraction else f"{whole}Z"


@functools.lru_cache(maxsize=8192)
def nanoseconds(time: str) -> int:
    """Return a time of a document in nanoseconds since the epoch; 0 where there is none or it cannot be read.

    >>> nanoseconds("1970-01-01T01:00:00.000000001+01:00")
    1
    """
    parts = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)", time)
    if not parts:
        return 0
    try:
        whole = datetime.fromisoformat(parts[1] + parts[3].replace("Z", "+00:00"))
    except ValueError:
        return 0
    return round(whole.timestamp()) * 1_000_000_000 + int((parts[2] or "").ljust(9, "0"))


def now() -> str:
    """Return the present time in the form the documents use."""
    return rfc3339(datetime.now(UTC).timestamp())
