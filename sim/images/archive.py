"""Archives: images in one tar, `save` and `load`.

Decided here and only here: the layout of what we write and which layouts we read. We write Docker's present form: an
OCI image layout with a `manifest.json` beside it, so that both kinds of reader find what they know, and the blobs stay
byte for byte what they were; or the OCI layout alone. We read both, and the older docker-archive with a directory for
each layer. An archive is read once, front to back, so a pipe will do; nothing is listed before all of it has been
verified. Functions only; any thread. Sources: moby `image/tarexport`, OCI image specification "Image Layout".
"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import msgspec

from sim.images.compression import Compression, decompress, recognise
from sim.images.digest import Meter, hexadecimal, of_bytes, short
from sim.images.documents import (
    LARGEST_DOCUMENT,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_LAYER_GZIP,
    OCI_LAYER_ZSTD,
    OCI_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    decode,
    describe,
    encode,
    parse_config,
    parse_index,
    parse_manifest,
)
from sim.images.entry import Entry, Kind
from sim.images.errors import ContentError, ImagesError, NotFoundError, ReferenceError
from sim.images.image import Image
from sim.images.lease import Lease
from sim.images.platforms import choose
from sim.images.progress import Listener, Progress, Stage, silent
from sim.images.reference import Reference
from sim.images.store import Store
from sim.images.tarread import TarReader
from sim.images.tarwrite import TarWriter

__all__ = ["load", "save"]

_REF_NAME = "org.opencontainers.image.ref.name"
_IMAGE_NAME = "io.containerd.image.name"
_LAYER_TYPES = {Compression.NONE: OCI_LAYER, Compression.GZIP: OCI_LAYER_GZIP, Compression.ZSTD: OCI_LAYER_ZSTD}


class _Item(msgspec.Struct, rename="pascal"):
    """One image in `manifest.json`."""

    config: str
    layers: list[str] = msgspec.field(default_factory=lambda: list[str]())
    repo_tags: list[str] | None = None


# -- save


def save(
    store: Store,
    names: Sequence[str],
    write: Callable[[bytes | memoryview], object],
    *,
    form: Literal["docker", "oci"] = "docker",
) -> None:
    """Write images as one tar.

    Parameters
    ----------
    names
        References, IDs, or repositories (then with all their tags).
    write
        Takes the archive's bytes.
    form
        `docker` for what Docker writes (an OCI layout with a manifest.json), `oci` for an OCI layout alone.

    Raises
    ------
    NotFoundError, AmbiguousError
        A name is of no or of no single image, or the image is removed just now; then nothing has been written. What
        is removed later than that stays until it is written.
    """
    with store.lease() as lease:
        chosen: dict[str, tuple[Image, list[Reference]]] = {}
        for name in names:
            for image, tags in _named(store, name):
                known = chosen.setdefault(image.id, (image, []))[1]
                known.extend(tag for tag in tags if tag not in known)
                _keep(store, image, lease)
        _write(store, list(chosen.values()), write, form)


def _keep(store: Store, image: Image, lease: Lease) -> None:
    """Keep all that an image consists of; NotFoundError where it goes at this moment."""
    try:
        lease.add(*_blobs_of(store, image))
    except (NotFoundError, OSError):
        store.image(image.id)
        raise
    store.image(image.id)  # still there, so that nothing had gone before it was kept


def _named(store: Store, name: str) -> list[tuple[Image, list[Reference]]]:
    """Return the images of a name, each with the tags to save it under."""
    try:
        reference = Reference.parse(name, default_tag="")
    except ReferenceError:
        return [(store.image(name), [])]
    if not reference.tag and not reference.digest:
        tags = store.tags(reference)
        if tags:
            return [(store.image(tag), [tag]) for tag in tags]
    image = store.image(name)
    return [(image, [reference] if reference in image.tags else [])]


def _blobs_of(store: Store, image: Image) -> list[str]:
    manifest = parse_manifest(store.blobs.read(image.manifest.digest))
    return [layer.digest for layer in manifest.layers] + [image.id, image.manifest.digest]


def _write(
    store: Store,
    chosen: list[tuple[Image, list[Reference]]],
    write: Callable[[bytes | memoryview], object],
    form: Literal["docker", "oci"],
) -> None:
    writer = TarWriter(write)
    blobs: dict[str, None] = {}
    items: list[_Item] = []
    entries: list[Descriptor] = []
    repositories: dict[str, dict[str, str]] = {}
    for image, tags in chosen:
        manifest = parse_manifest(store.blobs.read(image.manifest.digest))
        order = [*(layer.digest for layer in manifest.layers), image.id, image.manifest.digest]
        blobs.update(dict.fromkeys(order))
        layers = [_blob_name(layer.digest) for layer in manifest.layers]
        items.append(_Item(_blob_name(image.id), layers, [tag.familiar for tag in tags] or None))
        if not tags:
            entries.append(image.manifest)
        for tag in tags:
            annotations = {_IMAGE_NAME: str(tag), _REF_NAME: tag.tag}
            entries.append(msgspec.structs.replace(image.manifest, annotations=annotations))
            if layers:
                repositories.setdefault(tag.familiar_repository, {})[tag.tag] = hexadecimal(manifest.layers[-1].digest)
    writer.add(Entry(b"blobs", Kind.DIRECTORY, 0o755))
    writer.add(Entry(b"blobs/sha256", Kind.DIRECTORY, 0o755))
    for digest in sorted(blobs):
        entry = Entry(_blob_name(digest).encode(), mode=0o644, size=store.blobs.size(digest))
        writer.add(entry, store.blobs.chunks(digest))
    documents = {"index.json": encode(Index(2, OCI_INDEX, entries)), "oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
    if form == "docker":
        documents["manifest.json"] = encode(items)
        documents["repositories"] = encode(repositories)
    for name, data in sorted(documents.items()):
        writer.add(Entry(name.encode(), mode=0o644, size=len(data), content=data))
    writer.finish()


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{hexadecimal(digest)}"


# -- load


@dataclass(slots=True)
class _Contents:
    """What an archive held: small documents, blobs by name, links by name."""

    documents: dict[str, bytes]
    blobs: dict[str, Descriptor]
    links: dict[str, str]

    def find(self, name: str) -> Descriptor:
        """Return the blob of a name, through links.

        Raises
        ------
        ContentError
            It is not there.
        """
        seen = set()
        while name in self.links and name not in seen:
            seen.add(name)
            name = self.links[name]
        if name not in self.blobs:
            raise ContentError(f"the archive names {name!r} but does not hold it; it may be truncated")
        return self.blobs[name]


def load(store: Store, chunks: Iterable[bytes], *, tell: Listener = silent) -> list[Image]:
    """Take the images of an archive into the store.

    Parameters
    ----------
    chunks
        The archive's bytes as they come, compressed or not.
    tell
        Is told of each image once it is there, by each name that the archive has for it.

    Returns
    -------
    list of Image
        In the archive's order. A name that was another image's moves.

    Raises
    ------
    ContentError
        The archive is damaged, truncated or none; the text names image and layer. What came before it stays unlisted.
    """
    with store.lease() as lease:
        contents = _read(store, chunks, lease)
        if "manifest.json" in contents.documents:
            images = _load_docker(store, contents, lease, tell)
        elif "index.json" in contents.documents:
            images = _load_oci(store, contents, lease, tell)
        else:
            raise ContentError("this is no image archive: it has neither manifest.json nor index.json")
        for image, tags in images:
            for tag in tags:
                tell(Progress(Stage.LOADED, image.id, text=Reference.parse(tag).familiar))
            if not tags:
                tell(Progress(Stage.LOADED, image.id))
        return [image for image, _ in images]


def _read(store: Store, chunks: Iterable[bytes], lease: Lease) -> _Contents:
    contents = _Contents({}, {}, {})
    reader = TarReader(decompress(chunks))
    for entry in reader:
        name = entry.path.decode(errors="surrogateescape")
        if entry.kind is Kind.SYMLINK:
            target = posixpath.join(posixpath.dirname(name), entry.target.decode(errors="surrogateescape"))
            contents.links[name] = posixpath.normpath(target)
        elif entry.kind is Kind.HARDLINK:
            contents.links[name] = entry.target.decode(errors="surrogateescape")
        elif entry.kind is Kind.FILE:
            if "/" not in name and name in ("manifest.json", "index.json", "oci-layout", "repositories"):
                contents.documents[name] = reader.read(LARGEST_DOCUMENT)
            else:
                contents.blobs[name] = _take(store, name, reader, lease)
    return contents


def _take(store: Store, name: str, reader: TarReader, lease: Lease) -> Descriptor:
    """Keep one file of an archive as a blob; what is in `blobs/` must be what its name says."""
    folder, _, last = name.rpartition("/")
    wanted = f"sha256:{last}" if folder == "blobs/sha256" else None
    if wanted is not None:
        lease.add(wanted)
        if store.blobs.has(wanted):
            meter = Meter()
            for _, part in reader.body():
                meter.update(part)
            if meter.digest != wanted:
                raise ContentError(f"{name}: the content is damaged or forged: its digest is {meter.digest}")
            return Descriptor("", wanted, meter.size)
    with store.blobs.writer(lease.name) as writer:
        for _, part in reader.body():
            writer.write(part)
        lease.add(writer.digest)
        digest, size = writer.digest, writer.size
        writer.commit(wanted)
    return Descriptor("", digest, size)


def _layer_descriptor(store: Store, blob: Descriptor) -> Descriptor:
    with store.blobs.path(blob.digest).open("rb") as stream:
        kind = recognise(stream.read(6))
    return msgspec.structs.replace(blob, media_type=_LAYER_TYPES.get(kind, OCI_LAYER))


def _load_docker(store: Store, contents: _Contents, lease: Lease, tell: Listener) -> list[tuple[Image, list[str]]]:
    items = decode(contents.documents["manifest.json"], list[_Item], "manifest.json")
    known = _known_manifests(store, contents)
    images = []
    for item in items:
        what = (item.repo_tags or [posixpath.basename(item.config)[:12]])[0]
        config = contents.find(posixpath.normpath(item.config))
        configuration = parse_config(store.blobs.read(config.digest), f"image {what}: configuration")
        layers = [_layer_descriptor(store, contents.find(posixpath.normpath(name))) for name in item.layers]
        if len(layers) != len(configuration.diff_ids):
            raise ContentError(
                f"image {what}: {len(layers)} layers in the archive, {len(configuration.diff_ids)} in its configuration"
            )
        _unpack_all(store, layers, configuration.diff_ids, lease, what, tell)
        manifest = known.get(config.digest)
        if manifest is None or [layer.digest for layer in layers] != manifest[1]:
            described = msgspec.structs.replace(config, media_type=OCI_CONFIG)
            data = encode(Manifest(2, OCI_MANIFEST, described, layers))
            lease.add(of_bytes(data))
            store.blobs.write(data, lease.name)
            found = describe(OCI_MANIFEST, data)
        else:
            found = manifest[0]
        images.append((found, item.repo_tags or []))
    return [(_listed(store, manifest, tags, tell), tags) for manifest, tags in images]


def _listed(store: Store, manifest: Descriptor, tags: Iterable[str], tell: Listener) -> Image:
    """List an image under its names, and tell which others have lost theirs to it."""
    names = [Reference.parse(tag) for tag in tags]
    before = {}
    for name in names:
        with contextlib.suppress(NotFoundError):
            before[name] = store.resolve(name)
    image = store.add_manifest(manifest, tags=names)
    for name, old in before.items():
        if old != image.id:
            text = f"The image {name.familiar} already exists, renaming the old one with ID {old} to empty string"
            tell(Progress(Stage.STATUS, text=text))
    return image


def _known_manifests(store: Store, contents: _Contents) -> dict[str, tuple[Descriptor, list[str]]]:
    """Return the manifests that stand in the archive's index, by the image they are of."""
    if "index.json" not in contents.documents:
        return {}
    found = {}
    for entry in _manifests(store, contents):
        data = store.blobs.read(contents.find(_blob_name(entry.digest)).digest)
        manifest = parse_manifest(data, f"manifest {short(entry.digest)}")
        plain = Descriptor(entry.media_type, entry.digest, entry.size)
        found[manifest.config.digest] = (plain, [layer.digest for layer in manifest.layers])
    return found


def _manifests(store: Store, contents: _Contents) -> list[Descriptor]:
    """Return the image manifests of the archive's index, of an index in it the one for this machine."""
    index = parse_index(contents.documents["index.json"], "index.json")

    def read(entry: Descriptor) -> bytes:
        return store.blobs.read(contents.find(_blob_name(entry.digest)).digest)

    return [
        msgspec.structs.replace(choose(entry, read), annotations=entry.annotations)
        for entry in index.manifests
        if entry.media_type.endswith("json")
    ]


def _load_oci(store: Store, contents: _Contents, lease: Lease, tell: Listener) -> list[tuple[Image, list[str]]]:
    images: dict[str, tuple[Descriptor, list[str]]] = {}
    for entry in _manifests(store, contents):
        name = _name_of(entry)
        if entry.digest in images:
            images[entry.digest][1].extend(name)
            continue
        what = name[0] if name else short(entry.digest)
        blob = contents.find(_blob_name(entry.digest))
        manifest = parse_manifest(store.blobs.read(blob.digest), f"image {what}: manifest")
        config = contents.find(_blob_name(manifest.config.digest))
        configuration = parse_config(store.blobs.read(config.digest), f"image {what}: configuration")
        for layer in manifest.layers:
            contents.find(_blob_name(layer.digest))
        if len(manifest.layers) != len(configuration.diff_ids):
            raise ContentError(f"image {what}: manifest and configuration tell of different numbers of layers")
        _unpack_all(store, manifest.layers, configuration.diff_ids, lease, what, tell)
        images[entry.digest] = (Descriptor(entry.media_type, entry.digest, blob.size), name)
    if not images:
        raise NotFoundError("the archive's index.json names no image for this machine")
    return [(_listed(store, manifest, tags, tell), tags) for manifest, tags in images.values()]


def _name_of(entry: Descriptor) -> list[str]:
    """Return the name under which an index has an image: containerd's annotation is whole, OCI's often a tag alone."""
    annotations = entry.annotations or {}
    name = annotations.get(_IMAGE_NAME) or annotations.get(_REF_NAME) or ""
    if not annotations.get(_IMAGE_NAME) and ":" not in name and "/" not in name:
        return []
    try:
        return [str(Reference.parse(name))]
    except ReferenceError:
        return []


def _unpack_all(
    store: Store, layers: Sequence[Descriptor], diff_ids: Sequence[str], lease: Lease, what: str, tell: Listener
) -> None:
    """Unpack an image's layers, two at a time."""

    def one(layer: Descriptor, diff_id: str) -> None:
        tell(Progress(Stage.EXTRACTING, layer.digest, 0, layer.size))
        try:
            store.unpack_blob(layer, diff_id, lease)
        except ImagesError as error:
            raise type(error)(f"image {what}: {error}") from None
        tell(Progress(Stage.EXTRACTING, layer.digest, layer.size, layer.size))

    with ThreadPoolExecutor(2, "layer-unpack") as pool:
        for done in [pool.submit(one, *pair) for pair in zip(layers, diff_ids, strict=True)]:
            done.result()
