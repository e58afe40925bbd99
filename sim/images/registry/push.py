"""Pushing: an image from the store to a registry.

Decided here and only here: what is uploaded and what the registry has or can take from another repository, and that an
image which was pulled is pushed byte for byte. Layers made here are uncompressed in the store; they are compressed at
their first push, and the compressed form is kept beside. Any thread, any process; `tell` is called by several threads,
one at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import msgspec

from sim.images.compression import Compression, compress
from sim.images.digest import CHUNK, short
from sim.images.documents import (
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    Descriptor,
    describe,
    encode,
    parse_manifest,
)
from sim.images.errors import AuthenticationError, ContentError, RegistryError
from sim.images.image import Image
from sim.images.lease import Lease
from sim.images.progress import Listener, Progress, Stage, silent
from sim.images.reference import Reference
from sim.images.registry.client import RegistryClient
from sim.images.registry.endpoints import Registries
from sim.images.store import Store

__all__ = ["Pushed", "push"]

_UPLOADS = 3
_FORMS = {Compression.GZIP: OCI_LAYER_GZIP, Compression.ZSTD: OCI_LAYER_ZSTD, Compression.NONE: OCI_LAYER}


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push left in the registry: under which name, the manifest's digest, and its size in bytes."""

    reference: Reference
    digest: str
    size: int

    @property
    def status(self) -> str:
        """The closing line that people are shown."""
        return f"{self.reference.tag}: digest: {self.digest} size: {self.size}"


def push(
    store: Store,
    reference: Reference | str,
    registries: Registries | None = None,
    *,
    compression: Compression = Compression.GZIP,
    tell: Listener = silent,
) -> Pushed:
    """Send the image of a name to the registry of that name.

    Parameters
    ----------
    registries
        How to speak to registries; with the user's credentials where None.
    compression
        What layers are wrapped in that were made here.
    tell
        Is told what is being done; an exception that it raises ends the push.

    Raises
    ------
    NotFoundError
        Nothing has this name.
    RegistryError, AuthenticationError
        The registry does not take it.
    """
    name = reference if isinstance(reference, Reference) else Reference.parse(reference)
    known = registries or Registries()
    image = store.image(name)
    last: RegistryError | None = None
    with store.lease() as lease:
        lease.add(*image.diff_ids, image.id, image.manifest.digest)
        tell(Progress(Stage.STATUS, text=f"The push refers to repository [{name.repository}]"))
        manifest = _compressed(store, image, compression, lease, tell)
        for endpoint in known.endpoints(name.domain, push=True):
            with RegistryClient(endpoint, known, known.credentials_for(name.domain)) as client:
                try:
                    _Push(store, client, name, tell).run(manifest)
                except RegistryError as error:
                    last = error
                    if error.status:
                        break
                    continue
            canonical = name.with_digest(manifest.digest)
            store.add_manifest(manifest, digests=[canonical])
            pushed = Pushed(name, manifest.digest, manifest.size)
            tell(Progress(Stage.STATUS, text=pushed.status))
            return pushed
    assert last is not None
    if isinstance(last, AuthenticationError):
        said = str(last).partition(": ")[2]
        raise AuthenticationError(f"{name.familiar}: {said or last}", last.status, last.code)
    raise RegistryError(f"{name.familiar}: {last}", last.status, last.code)


def _compressed(store: Store, image: Image, kind: Compression, lease: Lease, tell: Listener) -> Descriptor:
    """Return the image's manifest with no uncompressed layer in it."""
    manifest = parse_manifest(store.blobs.read(image.manifest.digest), f"image {image.name}")
    if kind is Compression.NONE or all(layer.media_type != OCI_LAYER for layer in manifest.layers):
        lease.add(*(layer.digest for layer in manifest.layers))
        return image.manifest
    layers = []
    for layer in manifest.layers:
        lease.add(layer.digest)
        layers.append(_wrap(store, layer, kind, lease, tell) if layer.media_type == OCI_LAYER else layer)
    data = encode(msgspec.structs.replace(manifest, layers=layers))
    described = describe(image.manifest.media_type, data)
    lease.add(described.digest)
    store.blobs.write(data, lease.name)
    return described


def _wrap(store: Store, layer: Descriptor, kind: Compression, lease: Lease, tell: Listener) -> Descriptor:
    """Return the compressed form of a layer, made now if it is not in the store."""
    for known in store.layer(layer.digest).blobs:
        if known.media_type == _FORMS[kind]:
            lease.add(known.digest)
            if store.blobs.has(known.digest):
                return known
    tell(Progress(Stage.PREPARING, layer.digest, 0, layer.size))
    with store.blobs.writer(lease.name) as writer:
        for chunk in compress(store.blobs.chunks(layer.digest), kind):
            writer.write(chunk)
        lease.add(writer.digest)
        found = Descriptor(_FORMS[kind], writer.digest, writer.size)
        writer.commit()
    store.record_layer_blob(layer.digest, found)
    return found


class _Push:
    """One push to one address."""

    def __init__(self, store: Store, client: RegistryClient, name: Reference, tell: Listener) -> None:
        self._store = store
        self._client = client
        self._name = name
        self._listener = tell
        self._lock = threading.Lock()

    def _tell(self, progress: Progress) -> None:
        with self._lock:
            self._listener(progress)

    def run(self, described: Descriptor) -> None:
        data = self._store.blobs.read(described.digest)
        manifest = parse_manifest(data)
        layers = {layer.digest: layer for layer in manifest.layers}
        for layer in layers:
            self._tell(Progress(Stage.PREPARING, layer))
        with ThreadPoolExecutor(_UPLOADS, "push-upload") as pool:
            futures = [pool.submit(self._blob, layer) for layer in (*layers.values(), manifest.config)]
            errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
        self._client.put_manifest(self._name.path, self._name.tag, described.media_type, data)

    def _blob(self, blob: Descriptor) -> None:
        path, digest = self._name.path, blob.digest
        if not self._store.blobs.has(digest):
            raise ContentError(f"layer {short(digest)}: its tar is not in the store; pull or load the image again")
        if self._client.has_blob(path, digest):
            self._tell(Progress(Stage.THERE, digest))
            self._remember(digest)
            return
        location: str | None = ""
        for source in self._sources(digest):
            location = self._client.start_upload(path, digest, source)
            if location is None:
                self._tell(Progress(Stage.MOUNTED, digest, text=source))
                self._remember(digest)
                return
            break
        location = location or self._client.start_upload(path, digest)
        assert location is not None
        self._tell(Progress(Stage.PUSHING, digest, 0, blob.size))
        self._client.upload(
            path,
            digest,
            blob.size,
            self._read(digest),
            location,
            lambda done: self._tell(Progress(Stage.PUSHING, digest, done, blob.size)),
        )
        self._tell(Progress(Stage.PUSHED, digest, blob.size, blob.size))
        self._remember(digest)

    def _read(self, digest: str) -> _Reader:
        return _Reader(self._store, digest)

    def _sources(self, digest: str) -> list[str]:
        """Return the other repositories of the same registry that are known to have a blob."""
        rows = self._store.records.rows("SELECT repository FROM layer_source WHERE digest = ?", digest)
        found = [Reference.parse(repository) for (repository,) in rows]
        return sorted(item.path for item in found if item.domain == self._name.domain and item.path != self._name.path)

    def _remember(self, digest: str) -> None:
        with self._store.records.change() as change:
            change.execute("INSERT OR IGNORE INTO layer_source VALUES (?, ?)", (digest, self._name.repository))


class _Reader:
    """Gives pieces of a blob."""

    def __init__(self, store: Store, digest: str) -> None:
        self._path = store.blobs.path(digest)

    def __call__(self, offset: int, count: int) -> Iterator[bytes]:
        with self._path.open("rb", buffering=0) as stream:
            stream.seek(offset)
            while count and (chunk := stream.read(min(CHUNK, count))):
                yield chunk
                count -= len(chunk)
