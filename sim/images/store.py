"""The store: an OCI image layout on disk, the unpacked layers beside it, and who is called what.

Decided here and only here: where everything lies, how images and layers come in, and how names resolve. On disk:

    oci-layout, index.json     for other tools, which can read the store as an OCI layout
    blobs/sha256/HEX           manifests, configurations, layer tars: whole and verified, always
    layers/HEX/                one unpacked layer, named by its diff ID, in the kernel's overlay format
    records.db                 images, tags, parents, leases (SQLite)
    ingest/, locks/, leases/, trash/   work in progress; what a killed process leaves there is collected

A layer is unpacked aside and renamed into `layers/` when its diff ID has been verified. One store may be used by any
number of threads and processes at once. Content is the truth: a layer's directory without a record is measured anew.
"""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from sim.images import collect
from sim.images.blobs import Blobs, replace_file
from sim.images.compression import LARGEST_LAYER, ahead, decompress
from sim.images.digest import CHUNK, Meter, hexadecimal, short
from sim.images.documents import (
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Configuration,
    Descriptor,
    Index,
    Manifest,
    check_layer_count,
    describe,
    encode,
    parse_config,
    parse_manifest,
)
from sim.images.entry import Entry
from sim.images.errors import AmbiguousError, ContentError, LayerTarError, NotFoundError, StoreError
from sim.images.image import Image, Layer
from sim.images.lease import Lease
from sim.images.pack import pack
from sim.images.records import Records
from sim.images.reference import Reference, is_id_prefix
from sim.images.tarwrite import TarWriter
from sim.images.unpack import Unpacked, measure, unpack

__all__ = ["Store"]

_Write = Callable[[bytes | memoryview], object]


class Store:
    """An image store.

    Parameters
    ----------
    root
        Its directory; made where it is missing.
    sync
        Whether what is reported done survives a power cut. Without it, it survives a killed process.
    largest_layer
        Most bytes that one layer may unpack to.

    Raises
    ------
    StoreError
        The directory cannot be used.

    Examples
    --------
    >>> import tempfile
    >>> from sim.images import file
    >>> with tempfile.TemporaryDirectory() as root, Store(root) as store:
    ...     layer = store.add_entries([file("/etc/motd", "hello")])
    ...     (layer.path / "etc/motd").read_text(), layer.size
    ('hello', 5)
    """

    def __init__(self, root: str | os.PathLike[str], *, sync: bool = False, largest_layer: int = LARGEST_LAYER) -> None:
        self.root = Path(root).absolute()
        self.sync = sync
        self.largest_layer = largest_layer
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.blobs = Blobs(self.root, sync=sync)
            for name in ("layers", "leases", "trash"):
                (self.root / name).mkdir(exist_ok=True)
            if not (self.root / "oci-layout").exists():
                replace_file(self.root / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}\n', sync=sync)
        except OSError as error:
            raise StoreError(f"{self.root}: the image store cannot be used: {error.strerror}") from None
        self.records = Records(self.root / "records.db", sync=sync)
        self._session = Lease(self.root / "leases", self.records)
        if not (self.root / "index.json").exists():
            self._write_index()

    def close(self) -> None:
        """Close it; what was added without a lease and belongs to no image may be collected from now on."""
        self._session.close()
        self.records.close()

    def __enter__(self) -> Store:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let go, whatever happened."""
        self.close()

    def lease(self) -> Lease:
        """Return a lease, a context manager: content added under it stays while the block runs."""
        return Lease(self.root / "leases", self.records)

    # -- layers

    def layer_path(self, diff_id: str) -> Path:
        """Return where the layer is, or would be."""
        return self.root / "layers" / hexadecimal(diff_id)

    def has_layer(self, diff_id: str) -> bool:
        """Tell whether the layer is there, unpacked."""
        return self.layer_path(diff_id).is_dir()

    def layer(self, diff_id: str) -> Layer:
        """Return a layer.

        Raises
        ------
        NotFoundError
            It is not in the store.
        """
        path = self.layer_path(diff_id)
        if not path.is_dir():
            raise NotFoundError(f"{diff_id}: no such layer in the store")
        found = self.records.rows("SELECT size, entries, opaque FROM layer WHERE diff_id = ?", diff_id)
        if not found:
            self._record_layer(diff_id, measure(path))
            found = self.records.rows("SELECT size, entries, opaque FROM layer WHERE diff_id = ?", diff_id)
        size, entries, opaque = map(int, found[0])
        blobs = self.records.rows(
            "SELECT media_type, digest, size FROM layer_blob WHERE diff_id = ? ORDER BY digest", diff_id
        )
        present = tuple(Descriptor(kind, digest, int(count)) for kind, digest, count in blobs if self.blobs.has(digest))
        return Layer(diff_id, size, entries, path, present, bool(opaque))

    def _record_layer(self, diff_id: str, found: Unpacked) -> None:
        with self.records.change() as change:
            change.execute(
                "INSERT OR REPLACE INTO layer VALUES (?, ?, ?, ?)",
                (diff_id, found.size, found.entries, int(found.opaque)),
            )

    def record_layer_blob(self, diff_id: str, blob: Descriptor) -> None:
        """Remember that this blob is a form of that layer's tar."""
        with self.records.change() as change:
            change.execute(
                "INSERT OR REPLACE INTO layer_blob VALUES (?, ?, ?, ?)",
                (diff_id, blob.digest, blob.size, blob.media_type),
            )

    def diff_id_of(self, digest: str) -> str | None:
        """Return which layer a blob unpacks to, None where that is not known."""
        found = self.records.rows("SELECT diff_id FROM layer_blob WHERE digest = ?", digest)
        return found[0][0] if found else None

    def unpack_blob(self, blob: Descriptor, diff_id: str | None = None, lease: Lease | None = None) -> Layer:
        """Unpack a layer's blob that is in the store, unless that was done before.

        Parameters
        ----------
        blob
            The tar, compressed or not.
        diff_id
            What its uncompressed digest must be; None where that is not known.
        lease
            Under which it stays.

        Raises
        ------
        ContentError
            The blob is damaged or not what `diff_id` says; the text names the layer.
        """
        lease = lease or self._session
        if diff_id is not None:
            lease.add(diff_id, blob.digest)
        with self.blobs.lock(diff_id) if diff_id else contextlib.nullcontext():
            if diff_id is None or not self.has_layer(diff_id):
                meter = Meter()
                chunks = decompress(self.blobs.chunks(blob.digest), limit=self.largest_layer)
                try:
                    diff_id = self._unpack(ahead(meter.through(chunks)), meter, diff_id, lease)
                except ContentError as error:
                    raise type(error)(f"layer {short(blob.digest)}: {error}") from None
        self.record_layer_blob(diff_id, blob)
        return self.layer(diff_id)

    def _unpack(self, chunks: Iterable[bytes], meter: Meter, wanted: str | None, lease: Lease) -> str:
        aside = self.blobs.ingest / f"{lease.name}-{secrets.token_hex(8)}"
        aside.mkdir(mode=0o755)
        try:
            found = unpack(chunks, aside)
            if wanted is not None and meter.digest != wanted:
                raise ContentError(f"its content is {meter.digest}, but the image's configuration says {wanted}")
            self._place(meter.digest, aside, found, lease)
        finally:
            if aside.exists():
                collect.discard(self.root, aside)
        return meter.digest

    def _place(self, diff_id: str, aside: Path, found: Unpacked, lease: Lease) -> None:
        if self.sync:
            from fusefs.syscalls import syncfs

            fd = os.open(aside, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                syncfs(fd)
            finally:
                os.close(fd)
        lease.add(diff_id)
        with self.records.change():
            try:
                os.rename(aside, self.layer_path(diff_id))
            except OSError:
                if not self.has_layer(diff_id):  # else another process was first
                    raise
            self._record_layer(diff_id, found)

    def _add(self, produce: Callable[[_Write], None], lease: Lease | None) -> Layer:
        """Keep a new tar as a blob and unpack it, both while it is being written."""
        lease = lease or self._session
        meter = Meter()
        with self.blobs.writer(lease.name) as writer:

            def keep(chunks: Iterator[bytes]) -> Iterator[bytes]:
                for chunk in chunks:
                    meter.update(chunk)
                    writer.write(chunk)
                    yield chunk

            diff_id = self._unpack(ahead(keep(_produced(produce))), meter, None, lease)
            if not self.blobs.has(diff_id):
                writer.commit(diff_id)
        self.record_layer_blob(diff_id, Descriptor(OCI_LAYER, diff_id, meter.size))
        return self.layer(diff_id)

    def add_directory(self, source: Path, *, modified: int | None = None, lease: Lease | None = None) -> Layer:
        """Make a layer of a directory in overlay format, such as a container's RW layer.

        Parameters
        ----------
        source
            The directory; it must not change meanwhile, and it is not changed.
        modified
            A time in nanoseconds since the epoch that nothing in the layer is later than; for the same digest on each
            run whenever the files were written.

        Raises
        ------
        LayerTarError
            It holds what no layer can.
        """
        return self._add(lambda write: pack(source, write, modified=modified), lease)

    def add_entries(self, entries: Iterable[Entry], lease: Lease | None = None) -> Layer:
        """Make a layer of plain entries, in their order."""

        def produce(write: _Write) -> None:
            writer = TarWriter(write)
            for entry in entries:
                writer.add(entry)
            writer.finish()

        return self._add(produce, lease)

    def add_tar(self, chunks: Iterable[bytes], lease: Lease | None = None) -> Layer:
        """Make a layer of a tar, compressed or not; the same tar gives the same layer.

        Raises
        ------
        ContentError
            The tar is damaged or not safe.
        """
        lease = lease or self._session
        meter = Meter()
        with self.blobs.writer(lease.name) as writer:

            def keep() -> Iterator[bytes]:
                for chunk in decompress(chunks, limit=self.largest_layer):
                    meter.update(chunk)
                    writer.write(chunk)
                    yield chunk

            diff_id = self._unpack(ahead(keep()), meter, None, lease)
            if not self.blobs.has(diff_id):
                writer.commit(diff_id)
        self.record_layer_blob(diff_id, Descriptor(OCI_LAYER, diff_id, meter.size))
        return self.layer(diff_id)

    # -- images

    def add_image(
        self,
        configuration: Configuration,
        *,
        tags: Sequence[Reference | str] = (),
        parent: str | None = None,
        annotations: dict[str, str] | None = None,
        lease: Lease | None = None,
    ) -> Image:
        """Make an image of a configuration whose layers are in the store.

        Parameters
        ----------
        configuration
            Its `diff_ids` name the layers, bottom first.
        tags
            Names for it; they move here from whatever they named.
        parent
            ID of the image it was built on.
        annotations
            For the manifest.

        Raises
        ------
        NotFoundError
            A layer is not there.
        TooManyLayersError
            There are more than 127 layers.
        """
        lease = lease or self._session
        check_layer_count(len(configuration.diff_ids), "image")
        layers = [self._layer_blob(diff_id) for diff_id in configuration.diff_ids]
        data = encode(configuration)
        config = describe(OCI_CONFIG, data)
        manifest = encode(Manifest(2, OCI_MANIFEST, config, layers, annotations))
        described = describe(OCI_MANIFEST, manifest)
        lease.add(config.digest, described.digest)
        self.blobs.write(data, lease.name)
        self.blobs.write(manifest, lease.name)
        return self.add_manifest(described, tags=tags, parent=parent)

    def _layer_blob(self, diff_id: str) -> Descriptor:
        blobs = self.layer(diff_id).blobs
        if not blobs:
            raise NotFoundError(f"layer {short(diff_id)}: its tar is not in the store; pull or load its image again")
        plain = [blob for blob in blobs if blob.digest == diff_id]
        return Descriptor(OCI_LAYER, diff_id, plain[0].size) if plain else min(blobs, key=lambda blob: blob.size)

    def add_manifest(
        self,
        manifest: Descriptor,
        *,
        tags: Sequence[Reference | str] = (),
        digests: Sequence[Reference] = (),
        parent: str | None = None,
        also: Sequence[str] = (),
    ) -> Image:
        """List an image whose manifest, configuration, blobs and unpacked layers are in the store already.

        Parameters
        ----------
        manifest
            The manifest, kept byte for byte.
        digests
            By which names registries know it.
        also
            Digests of more blobs that must stay with it, such as the index it was chosen from.

        Raises
        ------
        NotFoundError
            Something is missing.
        ContentError
            Manifest and configuration do not fit each other.
        """
        parsed = parse_manifest(self.blobs.read(manifest.digest), f"manifest {short(manifest.digest)}")
        image = parsed.config.digest
        configuration = parse_config(self.blobs.read(image), f"image {short(image)}")
        if len(configuration.diff_ids) != len(parsed.layers):
            raise ContentError(
                f"image {short(image)}: {len(parsed.layers)} layers in its manifest,"
                f" {len(configuration.diff_ids)} in its configuration"
            )
        with self.records.change() as change:
            for diff_id in configuration.diff_ids:
                self.layer(diff_id)
            change.execute(
                "INSERT INTO image (id, manifest, media_type, parent, added) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET manifest = excluded.manifest, media_type = excluded.media_type,"
                " parent = coalesce(image.parent, excluded.parent)",
                (image, manifest.digest, manifest.media_type, parent, time.time()),
            )
            change.executemany(
                "INSERT OR IGNORE INTO image_layer VALUES (?, ?, ?)",
                [(image, position, diff_id) for position, diff_id in enumerate(configuration.diff_ids)],
            )
            needed = {manifest.digest, image, *also, *(layer.digest for layer in parsed.layers)}
            change.executemany("INSERT OR IGNORE INTO image_blob VALUES (?, ?)", [(image, item) for item in needed])
            change.executemany(
                "INSERT OR REPLACE INTO repository_digest VALUES (?, ?, ?)",
                [(name.repository, name.digest, image) for name in digests],
            )
            for tag in tags:
                self._set_tag(tag, image)
        self._write_index()
        return self.image(image)

    def images(self, *, intermediate: bool = False) -> list[Image]:
        """Return the images, the newest first.

        Parameters
        ----------
        intermediate
            Whether the intermediate images of builds are among them.
        """
        found = [self._image(row) for row in self._image_rows("ORDER BY number DESC")]
        found = [image for image in found if intermediate or not image.intermediate]
        return sorted(found, key=lambda image: (image.created, image.number), reverse=True)

    def _image_rows(self, condition: str, *values: object) -> list[tuple[str, ...]]:
        return self.records.rows(
            "SELECT id, manifest, media_type, parent, number,"
            " EXISTS (SELECT 1 FROM image AS child WHERE child.parent = image.id)"
            " AND NOT EXISTS (SELECT 1 FROM tag WHERE tag.image = image.id)"
            " AND NOT EXISTS (SELECT 1 FROM repository_digest AS known WHERE known.image = image.id)"
            f" FROM image {condition}",
            *values,
        )

    def _image(self, row: tuple[str, ...]) -> Image:
        image, manifest, media_type, parent, number, step = row
        tags = self.records.rows("SELECT repository, tag FROM tag WHERE image = ?", image)
        digests = self.records.rows("SELECT repository, digest FROM repository_digest WHERE image = ?", image)
        configuration = self._configuration(image)
        return Image(
            image,
            configuration,
            Descriptor(media_type, manifest, self.blobs.size(manifest)),
            tuple(self.layer(diff_id) for diff_id in configuration.diff_ids),
            tuple(sorted(_reference(repository).with_tag(tag) for repository, tag in tags)),
            tuple(sorted(_reference(repository).with_digest(digest) for repository, digest in digests)),
            parent or None,
            int(number),
            bool(step),
        )

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - a store lives as long as its process; what is kept never changes
    def _configuration(self, digest: str) -> Configuration:
        return parse_config(self.blobs.read(digest), f"image {short(digest)}")

    def image(self, name: str | Reference) -> Image:
        """Return the image of a name: a reference, an ID, or the beginning of one.

        Raises
        ------
        NotFoundError
            There is none.
        AmbiguousError
            Several IDs begin so.
        ReferenceError
            It is neither a reference nor an ID.
        """
        found = self._image_rows("WHERE id = ?", self.resolve(name))
        if not found:
            raise NotFoundError(f"No such image: {name}")
        return self._image(found[0])

    def resolve(self, name: str | Reference) -> str:
        """Return the ID of the image of a name; as `image`, and as cheap as it gets."""
        text = str(name)
        if isinstance(name, str) and len(text.removeprefix("sha256:")) == 64 and is_id_prefix(text):
            full = "sha256:" + text.removeprefix("sha256:")
            if self.records.rows("SELECT 1 FROM image WHERE id = ?", full):
                return full
            raise NotFoundError(f"No such image: {text}")
        if not text.startswith("sha256:"):
            reference = name if isinstance(name, Reference) else Reference.parse(text)
            if reference.digest:
                found = self.records.rows(
                    "SELECT image FROM repository_digest WHERE repository = ? AND digest = ?",
                    reference.repository,
                    reference.digest,
                )
            else:
                found = self.records.rows(
                    "SELECT image FROM tag WHERE repository = ? AND tag = ?", reference.repository, reference.tag
                )
            if found:
                return found[0][0]
        if isinstance(name, str) and is_id_prefix(text):
            found = self.records.rows(
                "SELECT id FROM image WHERE substr(id, 8, ?1) = ?2 LIMIT 3",
                len(text.removeprefix("sha256:")),
                text.removeprefix("sha256:"),
            )
            if len(found) > 1:
                raise AmbiguousError(f"{text}: several image IDs begin so; give more digits")
            if found:
                return found[0][0]
        shown = name if isinstance(name, str) else name.familiar
        raise NotFoundError(f"No such image: {shown}")

    def layer_directories(self, image: Image | str) -> tuple[Path, ...]:
        """Return an image's layers as a mount wants them: topmost first, each directory once.

        A layer that stands twice counts where it is higher, and nothing below a layer that hides everything is given;
        the merged view is the same.
        """
        found = image if isinstance(image, Image) else self.image(image)
        directories: dict[Path, None] = {}
        for layer in reversed(found.layers):
            directories.setdefault(layer.path)
            if layer.opaque:
                break
        return tuple(directories)

    # -- names

    def tag(self, image: Image | str, name: str | Reference) -> None:
        """Let a name point to an image; it moves here from whatever it named.

        Raises
        ------
        NotFoundError
            There is no such image.
        """
        identity = image.id if isinstance(image, Image) else self.resolve(image)
        with self.records.change():
            self._set_tag(name, identity)
        self._write_index()

    def _set_tag(self, name: str | Reference, image: str) -> None:
        reference = name if isinstance(name, Reference) else Reference.parse(name)
        if reference.digest or not reference.tag:
            raise NotFoundError(f"{reference.familiar}: refusing to create a tag with a digest reference")
        with self.records.change() as change:
            if not change.execute("SELECT 1 FROM image WHERE id = ?", (image,)).fetchone():
                raise NotFoundError(f"No such image: {image}")
            change.execute("INSERT OR REPLACE INTO tag VALUES (?, ?, ?)", (reference.repository, reference.tag, image))

    def names_changed(self) -> None:
        """Write what other tools read after names were changed or removed."""
        self._write_index()

    def _write_index(self) -> None:
        """Write index.json: each image's manifest, once for each tag of it, the first at the top."""
        with self.records.change():
            rows = self.records.rows(
                "SELECT image.media_type, image.manifest, tag.repository, tag.tag FROM image"
                " LEFT JOIN tag ON tag.image = image.id ORDER BY image.number, tag.repository, tag.tag"
            )
            entries = []
            for media_type, manifest, repository, tag in rows:
                name = {"org.opencontainers.image.ref.name": f"{repository}:{tag}"} if repository else None
                entries.append(Descriptor(media_type, manifest, self.blobs.size(manifest), annotations=name))
            replace_file(self.root / "index.json", encode(Index(2, OCI_INDEX, entries)), sync=self.sync)

    # -- what must stay

    def hold(self, owner: str, image: Image | str) -> None:
        """Keep an image's layers for a container, even if the image is removed by force."""
        found = image if isinstance(image, Image) else self.image(image)
        with self.records.change() as change:
            change.execute("DELETE FROM hold WHERE owner = ?", (owner,))
            change.executemany(
                "INSERT INTO hold VALUES (?, ?, ?)",
                [(owner, diff_id, position) for position, diff_id in enumerate(found.diff_ids)],
            )

    def release(self, owner: str) -> None:
        """Let go of what a container held."""
        with self.records.change() as change:
            change.execute("DELETE FROM hold WHERE owner = ?", (owner,))

    def collect(self) -> int:
        """Remove content that nothing refers to and what killed processes left; return the bytes that this freed."""
        return collect.collect(self.root, self.records, self.blobs)


def _reference(repository: str) -> Reference:
    domain, _, path = repository.partition("/")
    return Reference(domain, path)


def _produced(produce: Callable[[_Write], None]) -> Iterator[bytes]:
    """Turn something that writes into something that is read: in chunks, by a thread of its own."""
    import queue
    import threading

    channel: queue.Queue[bytes | BaseException | None] = queue.Queue(16)
    gone = threading.Event()
    pending: list[bytes] = []
    held = 0

    def put(item: bytes | BaseException | None) -> None:
        while not gone.is_set():
            with contextlib.suppress(queue.Full):
                channel.put(item, timeout=0.2)
                return
        raise LayerTarError("the reader has gone")

    def write(data: bytes | memoryview) -> None:
        nonlocal held
        pending.append(bytes(data))
        held += len(data)
        if held >= CHUNK:
            put(b"".join(pending))
            pending.clear()
            held = 0

    def work() -> None:
        try:
            produce(write)
            put(b"".join(pending))
            put(None)
        except BaseException as error:
            with contextlib.suppress(LayerTarError):
                put(error)

    thread = threading.Thread(target=work, name="layer-pack", daemon=True)
    thread.start()
    try:
        while (item := channel.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            if item:
                yield item
    finally:
        gone.set()
        thread.join()
