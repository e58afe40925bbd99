"""Unpacked layers: each once, under its diff ID, in the kernel's overlay format.

Decided here and only here: where a store's content lies, how a layer comes in and when it is visible: it is unpacked
aside, its digest is verified, and it is renamed into place. Any number of threads and processes may share one store.
Content is the truth: a layer's directory without a record is measured anew. On disk:

    blobs/sha256/HEX           manifests, configurations, layer tars: whole and verified, always
    layers/HEX/                one unpacked layer, named by its diff ID
    records.db                 images, tags, parents, leases (SQLite)
    ingest/, locks/, leases/, trash/   work in progress; what a killed process leaves there is collected
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import Self

from fusefs.syscalls import syncfs
from sim.images import collect
from sim.images.blobs import Blobs, replace_file
from sim.images.compression import LARGEST_LAYER, ahead, decompress
from sim.images.digest import CHUNK, Meter, hexadecimal, short
from sim.images.documents import OCI_LAYER, Descriptor
from sim.images.entry import Entry
from sim.images.errors import ContentError, LayerTarError, NotFoundError, StoreError
from sim.images.image import Layer
from sim.images.lease import Lease
from sim.images.pack import pack
from sim.images.records import Records
from sim.images.tarwrite import TarWriter
from sim.images.unpack import Unpacked, measure, unpack

__all__ = ["LayerStore"]

_Write = Callable[[bytes | memoryview], object]


class LayerStore:
    """The part of a store that knows layers and blobs, but no images.

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
    """

    def __init__(self, root: str | os.PathLike[str], *, sync: bool = False, largest_layer: int = LARGEST_LAYER) -> None:
        self.root = Path(root).absolute()
        self.sync = sync
        self.largest_layer = largest_layer
        try:
            # What images hold may be set-user-ID: others on this machine have no business there.
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.blobs = Blobs(self.root, sync=sync)
            for name in ("layers", "leases", "trash"):
                (self.root / name).mkdir(exist_ok=True)
            if not (self.root / "oci-layout").exists():
                replace_file(self.root / "oci-layout", b'{"imageLayoutVersion":"1.0.0"}\n', sync=sync)
        except OSError as error:
            raise StoreError(f"{self.root}: the image store cannot be used: {error.strerror}") from None
        self.records = Records(self.root / "records.db", sync=sync)
        self._session = Lease(self.root / "leases", self.records)

    def close(self) -> None:
        """Close it; what was added without a lease and belongs to no image may be collected from now on."""
        self._session.close()
        self.records.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let go, whatever happened."""
        self.close()

    def lease(self) -> Lease:
        """Return a lease, a context manager: content added under it stays while the block runs."""
        return Lease(self.root / "leases", self.records)

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

    def layers(self) -> dict[str, Layer]:
        """Return every layer that is there, by its diff ID; with a few looks, however many there are."""
        there = set(os.listdir(self.root / "layers"))
        present = set(os.listdir(self.blobs.directory))
        blobs: dict[str, list[Descriptor]] = {}
        for diff_id, kind, digest, count in self.records.rows(
            "SELECT diff_id, media_type, digest, size FROM layer_blob ORDER BY digest"
        ):
            if hexadecimal(digest) in present:
                blobs.setdefault(diff_id, []).append(Descriptor(kind, digest, count))
        return {
            diff_id: Layer(
                diff_id, size, entries, self.layer_path(diff_id), tuple(blobs.get(diff_id, ())), bool(opaque)
            )
            for diff_id, size, entries, opaque in self.records.rows("SELECT diff_id, size, entries, opaque FROM layer")
            if hexadecimal(diff_id) in there
        }

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

    def unpack_blob(
        self,
        blob: Descriptor,
        diff_id: str | None = None,
        lease: Lease | None = None,
        tell: Callable[[int], object] = lambda done: None,
    ) -> Layer:
        """Unpack a layer's blob that is in the store, unless that was done before.

        Parameters
        ----------
        blob
            The tar, compressed or not.
        diff_id
            What its uncompressed digest must be; None where that is not known.
        lease
            Under which it stays.
        tell
            Is told how many bytes of the blob have been read.

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
                read = _told(self.blobs.chunks(blob.digest), tell)
                chunks = decompress(ahead(read), limit=self.largest_layer)
                try:
                    diff_id = self._unpack(ahead(meter.through(chunks)), meter, diff_id, lease)
                except ContentError as error:
                    raise type(error)(f"layer {short(blob.digest)}: {error}") from None
        self.record_layer_blob(diff_id, blob)
        return self.layer(diff_id)

    def _unpack(self, chunks: Generator[bytes, None, None], meter: Meter, wanted: str | None, lease: Lease) -> str:
        aside = self.blobs.ingest / f"{lease.name}-{secrets.token_hex(8)}"
        aside.mkdir(mode=0o755)
        try:
            found = unpack(chunks, aside)
            if wanted is not None and meter.digest != wanted:
                raise ContentError(f"its content is {meter.digest}, but the image's configuration says {wanted}")
            self._place(meter.digest, aside, found, lease)
        except OSError as error:
            raise StoreError(f"{self.root}: the layer cannot be unpacked: {error.strerror or error}") from None
        finally:
            chunks.close()  # ends the thread that reads ahead, before what it reads from is closed
            if aside.exists():
                collect.discard(self.root, aside)
        return meter.digest

    def _place(self, diff_id: str, aside: Path, found: Unpacked, lease: Lease) -> None:
        if self.sync:
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

    def add_directory(
        self,
        source: Path,
        *,
        modified: int | None = None,
        skip: frozenset[bytes] = frozenset(),
        lease: Lease | None = None,
    ) -> Layer:
        """Make a layer of a directory in overlay format, such as a container's RW layer.

        Parameters
        ----------
        source
            The directory; it must not change meanwhile, and it is not changed.
        modified
            A time in nanoseconds since the epoch that nothing in the layer is later than; for the same digest on each
            run whenever the files were written.
        skip
            Paths that are left out, with all below them.

        Raises
        ------
        LayerTarError
            It holds what no layer can.
        """
        return self._add(lambda write: pack(source, write, modified=modified, skip=skip), lease)

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

    def collect(self) -> collect.Collected:
        """Remove content that nothing refers to and what killed processes left."""
        return collect.collect(self.root, self.records, self.blobs)


def _told(chunks: Iterable[bytes], tell: Callable[[int], object]) -> Iterator[bytes]:
    """Pass chunks on and tell how many bytes have passed."""
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        tell(done)


def _produced(produce: Callable[[_Write], None]) -> Iterator[bytes]:
    """Turn something that writes into something that is read: in chunks, by a thread of its own."""
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
