"""Pulling: an image from a registry into the store.

Decided here and only here: in which order mirrors and origin are tried, what is fetched at once and what is not fetched
at all, and when an image is listed: after each of its layers has been verified and unpacked. What a broken pull has
fetched stays for the next try. Two processes that pull the same layer fetch it once. Any thread, any process; `tell` is
called by several threads, one at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from sim.images.digest import short
from sim.images.documents import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Descriptor,
    Manifest,
    Platform,
    parse_config,
    parse_manifest,
)
from sim.images.errors import ContentError, ImagesError, NotFoundError, RegistryError
from sim.images.image import Image
from sim.images.lease import Lease
from sim.images.platforms import choose
from sim.images.progress import Listener, Progress, Stage, silent
from sim.images.reference import Reference
from sim.images.registry.client import RegistryClient
from sim.images.registry.endpoints import Registries
from sim.images.store import Store

__all__ = ["Pulled", "pull", "pull_all"]

_DOWNLOADS = 3
_UNPACKINGS = 2
_STEP = 512 << 10
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull brought.

    Attributes
    ----------
    digest
        What the registry calls it: the digest of its manifest or, for several platforms, of its index.
    changed
        Whether the name stands for another image than before, or for the first time.
    """

    image: Image
    reference: Reference
    digest: str
    changed: bool

    @property
    def status(self) -> str:
        """The closing line that people are shown."""
        return _closing(self.reference, self.changed)


def _closing(name: Reference, changed: bool) -> str:
    what = "Downloaded newer image for" if changed else "Image is up to date for"
    return f"Status: {what} {name.familiar}"


def pull(
    store: Store,
    reference: Reference | str,
    registries: Registries | None = None,
    *,
    platform: Platform | None = None,
    tell: Listener = silent,
) -> Pulled:
    """Fetch an image.

    Parameters
    ----------
    registries
        How to speak to registries; with the user's credentials and no mirrors where None.
    platform
        Which image of an index; this machine's where None.
    tell
        Is told what is being done; an exception that it raises ends the pull.

    Raises
    ------
    RegistryError, AuthenticationError
        No address that was tried gives the image; the text is that of the last.
    ContentError
        What came is damaged, forged or no image; the text names image and layer.
    NotFoundError
        There is no image for this platform.
    """
    name = reference if isinstance(reference, Reference) else Reference.parse(reference)
    pulled = _pull(store, name, registries or Registries(), platform, tell)
    tell(Progress(Stage.STATUS, text=pulled.status))
    return pulled


def _pull(store: Store, name: Reference, known: Registries, platform: Platform | None, tell: Listener) -> Pulled:
    last: ImagesError | None = None
    with store.lease() as lease:
        for client in _clients(known, name):
            with client:
                try:
                    return _Pull(store, client, known, name, lease, tell).run(platform)
                except (RegistryError, ContentError) as error:
                    last = error
                if client.endpoint.mirror:
                    tell(Progress(Stage.STATUS, text=f"mirror {client.endpoint.host}: {last}; trying the next"))
                elif not _goes_on_without_tls(last):
                    break
    assert last is not None
    raise _worded(last, name)


def _clients(registries: Registries, name: Reference) -> Iterator[RegistryClient]:
    credentials = registries.credentials_for(name.domain)
    for endpoint in registries.endpoints(name.domain):
        mine = registries.credentials_for(endpoint.host, mirror=True) if endpoint.mirror else credentials
        yield RegistryClient(endpoint, registries, mine)


def _goes_on_without_tls(error: ImagesError | None) -> bool:
    """Tell whether the origin's next address, which is the same without TLS, is worth a try: there was no answer."""
    return isinstance(error, RegistryError) and error.status == 0


def _worded(error: ImagesError, name: Reference) -> ImagesError:
    """Return the error in the words that Docker has for it."""
    if isinstance(error, RegistryError):
        text = str(error)
        if error.status == 404:
            text = f"manifest for {name.familiar} not found: {text.partition(': ')[2] or text}"
        elif error.status in (401, 403):
            repository = name.familiar_repository
            said = text.partition(": ")[2] or text
            text = (
                f"pull access denied for {repository}, repository does not exist or may require 'docker login': {said}"
            )
        else:
            text = f"{name.familiar}: {text}"
        return type(error)(text, error.status, error.code)
    text = str(error)
    return error if text.startswith(name.familiar) else type(error)(f"{name.familiar}: {text}")


def pull_all(
    store: Store, repository: Reference | str, registries: Registries | None = None, *, tell: Listener = silent
) -> list[Pulled]:
    """Fetch every tag of a repository."""
    name = repository if isinstance(repository, Reference) else Reference.parse(repository)
    known = registries or Registries()
    last: RegistryError | None = None
    for client in _clients(known, name):
        with client:
            try:
                tags = client.tags(name.path)
            except RegistryError as error:
                last = error
                continue
        pulled = [_pull(store, name.with_tag(tag), known, None, tell) for tag in tags]
        changed = any(each.changed for each in pulled)
        tell(Progress(Stage.STATUS, text=_closing(name.with_tag(""), changed)))
        return pulled
    assert last is not None
    raise _worded(last, name)


class _Pull:
    """One pull from one address."""

    def __init__(
        self,
        store: Store,
        client: RegistryClient,
        registries: Registries,
        name: Reference,
        lease: Lease,
        tell: Listener,
    ) -> None:
        self._store = store
        self._client = client
        self._registries = registries
        self._name = name
        self._lease = lease
        self._listener = tell
        self._lock = threading.Lock()

    def _tell(self, progress: Progress) -> None:
        with self._lock:
            self._listener(progress)

    def run(self, platform: Platform | None) -> Pulled:
        name, store = self._name, self._store
        target, _ = self._document(name.digest or name.tag)
        if target.media_type not in MANIFEST_TYPES | INDEX_TYPES:
            raise ContentError(f"media type {target.media_type!r}: this is no container image")
        self._tell(Progress(Stage.STATUS, text=f"{name.tag or name.digest}: Pulling from {name.path}"))

        def read(entry: Descriptor) -> bytes:
            return self._document(entry.digest)[1]

        entry = choose(target, read, platform, name.familiar)
        manifest = parse_manifest(read(entry), f"manifest {short(entry.digest)}")
        config = self._config(manifest)
        diff_ids = parse_config(config, f"configuration {short(manifest.config.digest)}").diff_ids
        if len(diff_ids) != len(manifest.layers):
            raise ContentError("manifest and configuration tell of different numbers of layers")
        if not self._has(manifest.config.digest, manifest):
            self._layers(manifest, diff_ids)
        before = self._before()
        plain = Descriptor(entry.media_type, entry.digest, entry.size)
        canonical = name.with_digest(target.digest)
        also = [] if target.digest == entry.digest else [target.digest]
        tags = [name.with_tag(name.tag)] if name.tag and not name.digest else []
        image = store.add_manifest(plain, tags=tags, digests=[canonical], also=also)
        self._remember_source(manifest)
        self._tell(Progress(Stage.STATUS, text=f"Digest: {target.digest}"))
        return Pulled(image, name, target.digest, before != image.id)

    def _has(self, image: str, manifest: Manifest) -> bool:
        """Tell whether the image is here, with all that its manifest names: then nothing is told of its layers."""
        blobs = [layer.digest for layer in manifest.layers]
        self._lease.add(*blobs)
        try:
            self._lease.add(*self._store.image(image).diff_ids)
        except NotFoundError:
            return False
        return all(self._store.blobs.has(digest) for digest in blobs)

    def _before(self) -> str | None:
        try:
            return self._store.resolve(self._name)
        except NotFoundError:
            return None

    def _remember_source(self, manifest: Manifest) -> None:
        with self._store.records.change() as change:
            change.executemany(
                "INSERT OR IGNORE INTO layer_source VALUES (?, ?)",
                [(layer.digest, self._name.repository) for layer in manifest.layers],
            )

    def _document(self, reference: str) -> tuple[Descriptor, bytes]:
        """Return a manifest or index, from the store if it is known by its digest, and keep it."""
        if reference.startswith("sha256:"):
            self._lease.add(reference)
        descriptor, data = self._client.manifest(self._name.path, reference)
        self._lease.add(descriptor.digest)
        self._store.blobs.write(data, self._lease.name)
        return descriptor, data

    def _config(self, manifest: Manifest) -> bytes:
        self._lease.add(manifest.config.digest)
        self._fetch(manifest.config, lambda stage, done: None)
        return self._store.blobs.read(manifest.config.digest)

    def _fetch(self, blob: Descriptor, tell: Callable[[Stage, int], object]) -> bool:
        """Have a blob in the store; tell whether it had to be fetched."""
        lock = self._store.blobs.lock(blob.digest)
        if not lock.acquire(wait=False):
            tell(Stage.WAITING, 0)
            lock.acquire()
        with ExitStack() as stack:
            stack.callback(lock.release)
            if self._store.blobs.has(blob.digest):
                if self._store.blobs.size(blob.digest) != blob.size:
                    raise ContentError(
                        f"{short(blob.digest)}: the manifest gives its size as {blob.size}, which is wrong"
                    )
                return False
            writer = stack.enter_context(self._store.blobs.resume(blob.digest))
            tell(Stage.DOWNLOADING, writer.size)
            self._client.blob(self._name.path, blob, writer, lambda done: tell(Stage.DOWNLOADING, done))
            tell(Stage.VERIFYING, blob.size)
            writer.commit(blob.digest, blob.size)
            return True

    def _layers(self, manifest: Manifest, diff_ids: Sequence[str]) -> None:
        """Fetch three layers at once and unpack two, the bottom one first; the first failure ends it all."""
        order: dict[str, tuple[Descriptor, str]] = {}
        for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
            order.setdefault(layer.digest, (layer, diff_id))
        self._lease.add(*order, *diff_ids)
        for digest, (_, diff_id) in order.items():
            if not (self._store.has_layer(diff_id) and self._store.blobs.has(digest)):
                self._tell(Progress(Stage.PULLING, digest))
        failed = threading.Event()
        with _pool(_DOWNLOADS, "pull-fetch") as fetching, _pool(_UNPACKINGS, "pull-unpack") as unpacking:
            fetched: list[Future[bool]] = []
            unpacked: list[Future[None]] = []
            for layer, diff_id in order.values():
                fetch = fetching.submit(_guarded(failed, lambda item=layer: self._fetch_layer(item)))  # type: ignore[misc]
                fetched.append(fetch)
                unpacked.append(
                    unpacking.submit(
                        _guarded(failed, lambda f=fetch, item=layer, d=diff_id: self._unpack_layer(f, item, d))  # type: ignore[misc]
                    )
                )
            everything: list[Future[bool] | Future[None]] = [*fetched, *unpacked]
            errors = [error for future in everything if (error := future.exception()) is not None]
        real = [error for error in errors if not isinstance(error, _AbandonedError)]
        if real:
            raise real[0]

    def _fetch_layer(self, layer: Descriptor) -> bool:
        told = -_STEP

        def tell(stage: Stage, done: int) -> None:
            nonlocal told
            if stage is not Stage.DOWNLOADING or done - told >= _STEP or done == layer.size:
                told = done
                self._tell(Progress(stage, layer.digest, done, layer.size))

        try:
            new = self._fetch(layer, tell)
        except RegistryError as error:
            raise type(error)(f"layer {short(layer.digest)}: {error}", error.status, error.code) from None
        except ContentError as error:
            raise ContentError(f"layer {short(layer.digest)}: {error}") from None
        if new:
            self._tell(Progress(Stage.DOWNLOADED, layer.digest))
        return new

    def _unpack_layer(self, fetch: Future[bool], layer: Descriptor, diff_id: str) -> None:
        new = fetch.result()
        there = self._store.has_layer(diff_id)
        told = -_STEP

        def tell(done: int) -> None:
            nonlocal told
            if done - told >= _STEP or done == layer.size:
                told = done
                self._tell(Progress(Stage.EXTRACTING, layer.digest, done, layer.size))

        if not there:
            tell(0)
        self._store.unpack_blob(layer, diff_id, self._lease, tell)
        self._tell(Progress(Stage.EXISTS if there and not new else Stage.PULLED, layer.digest))


class _AbandonedError(Exception):
    """Another part of the pull failed."""


def _guarded(failed: threading.Event, work: Callable[[], _T]) -> Callable[[], _T]:
    """Do nothing once something has failed, and tell the others if this does."""

    def run() -> _T:
        if failed.is_set():
            raise _AbandonedError
        try:
            return work()
        except BaseException:
            failed.set()
            raise

    return run


@contextmanager
def _pool(size: int, name: str) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(size, name) as pool:
        yield pool
