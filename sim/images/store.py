"""The store: images and their names, over the layers and blobs of `layers.py`.

Decided here and only here: how images come in, how names resolve, and that the directory is an OCI image layout
(`oci-layout` and `index.json`, rewritten after each change of names) which other tools read. Any number of threads and
processes may share one store.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sim.images.blobs import replace_file
from sim.images.compression import LARGEST_LAYER
from sim.images.digest import short
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
    now,
    parse_config,
    parse_manifest,
)
from sim.images.errors import AmbiguousError, ContentError, NotFoundError, ReferenceError
from sim.images.image import Image, Layer
from sim.images.layers import LayerStore
from sim.images.lease import Lease, drop_dead_leases
from sim.images.reference import Reference, is_id_prefix

__all__ = ["Store"]


class Store(LayerStore):
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
        super().__init__(root, sync=sync, largest_layer=largest_layer)
        self._listed: tuple[tuple[int, int], list[Image]] | None = None
        if not (self.root / "index.json").exists():
            self._write_index()

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
        lease
            The lease under which its layers were added; needed where several threads add the same ones.

        Raises
        ------
        NotFoundError
            A layer is not there.
        TooManyLayersError
            There are more than 127 layers.
        """
        held = lease or self._session
        check_layer_count(len(configuration.diff_ids), "image")
        layers = [self._layer_blob(diff_id) for diff_id in configuration.diff_ids]
        data = encode(configuration)
        config = describe(OCI_CONFIG, data)
        manifest = encode(Manifest(2, OCI_MANIFEST, config, layers, annotations))
        described = describe(OCI_MANIFEST, manifest)
        held.add(config.digest, described.digest)
        self.blobs.write(data, held.name)
        self.blobs.write(manifest, held.name)
        image = self.add_manifest(described, tags=tags, parent=parent)
        if lease is None:
            blobs = [layer.digest for layer in layers]
            self._session.drop(config.digest, described.digest, *configuration.diff_ids, *blobs)
        return image

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
        version = self.records.version()
        known = self._listed
        if known is None or known[0] != version:
            known = self._listed = (version, self._list())
        return [image for image in known[1] if intermediate or not image.intermediate]

    def _list(self) -> list[Image]:
        names = _Names({}, {})
        for image, repository, tag in self.records.rows("SELECT image, repository, tag FROM tag"):
            names.tags.setdefault(image, []).append((repository, tag))
        for image, repository, digest in self.records.rows("SELECT image, repository, digest FROM repository_digest"):
            names.digests.setdefault(image, []).append((repository, digest))
        layers = self.layers()
        found = [self._image(row, layers, names) for row in self._image_rows("ORDER BY number DESC")]
        return sorted(found, key=lambda image: (image.created_ns, image.number), reverse=True)

    def count(self) -> int:
        """Return how many images there are, the intermediate ones of builds among them."""
        return int(self.records.rows("SELECT count(*) FROM image")[0][0])

    def _image_rows(self, condition: str, *values: object) -> list[tuple[str, ...]]:
        return self.records.rows(
            "SELECT id, manifest, media_type, parent, number,"
            " EXISTS (SELECT 1 FROM image AS child WHERE child.parent = image.id)"
            " AND NOT EXISTS (SELECT 1 FROM tag WHERE tag.image = image.id)"
            " AND NOT EXISTS (SELECT 1 FROM repository_digest AS known WHERE known.image = image.id)"
            f" FROM image {condition}",
            *values,
        )

    def _image(self, row: tuple[str, ...], known: dict[str, Layer] | None = None, names: _Names | None = None) -> Image:
        """Make the value of an image; what is known of layers and names already need not be looked for."""
        layers = {} if known is None else known
        image, manifest, media_type, parent, number, step = row
        if names is None:
            tags = self.records.rows("SELECT repository, tag FROM tag WHERE image = ?", image)
            digests = self.records.rows("SELECT repository, digest FROM repository_digest WHERE image = ?", image)
        else:
            tags, digests = names.tags.get(image, []), names.digests.get(image, [])
        configuration = self._configuration(image)
        for diff_id in configuration.diff_ids:
            if diff_id not in layers:
                layers[diff_id] = self.layer(diff_id)
        return Image(
            image,
            configuration,
            Descriptor(media_type, manifest, self._manifest_size(manifest)),
            tuple(layers[diff_id] for diff_id in configuration.diff_ids),
            tuple(sorted(_reference(repository).with_tag(tag) for repository, tag in tags)),
            tuple(sorted(_reference(repository).with_digest(digest) for repository, digest in digests)),
            parent or None,
            int(number),
            bool(step),
        )

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - as below
    def _manifest_size(self, digest: str) -> int:
        return self.blobs.size(digest)

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - a store lives as long as its process; what is kept never changes
    def _configuration(self, digest: str) -> Configuration:
        return parse_config(self.blobs.read(digest), f"image {short(digest)}")

    def image(self, name: str | Reference, *, like: Image | None = None) -> Image:
        """Return the image of a name: a reference, an ID, or the beginning of one.

        Parameters
        ----------
        like
            An image that has most of its layers, for a caller who asks for many: what is known of them is taken over.

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
        return self._image(found[0], {layer.diff_id: layer for layer in like.layers} if like else None)

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
                return str(found[0][0])
        if isinstance(name, str) and is_id_prefix(text):
            found = self.records.rows(
                "SELECT id FROM image WHERE substr(id, 8, ?1) = ?2 LIMIT 3",
                len(text.removeprefix("sha256:")),
                text.removeprefix("sha256:"),
            )
            if len(found) > 1:
                raise AmbiguousError(f"{text}: several image IDs begin so; give more digits")
            if found:
                return str(found[0][0])
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

    # -- steps of builds

    def record_step(self, image: str, parent: str, command: Sequence[str]) -> None:
        """Remember which command of a build made an image from its parent, empty for none; removed with the image."""
        with self.records.change() as change:
            change.execute("INSERT OR IGNORE INTO step VALUES (?, ?, ?)", (image, json.dumps(list(command)), parent))
            change.execute("UPDATE image SET parent = ? WHERE id = ? AND parent IS NULL", (parent or None, image))

    def steps(self, parent: str) -> list[tuple[str, list[str]]]:
        """Return the images that a build's steps made from one, empty for none, and by which commands."""
        found = self.records.rows("SELECT image, command FROM step WHERE parent = ?", parent)
        return [(image, json.loads(command)) for image, command in found]

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

    def tags(self, repository: Reference) -> list[Reference]:
        """Return the tags of a repository that the store has, sorted."""
        found = self.records.rows("SELECT tag FROM tag WHERE repository = ?", repository.repository)
        return sorted(repository.with_tag(tag) for (tag,) in found)

    def _set_tag(self, name: str | Reference, image: str) -> None:
        reference = name if isinstance(name, Reference) else Reference.parse(name)
        if reference.digest or not reference.tag:
            raise ReferenceError(f"{reference.familiar}: refusing to create a tag with a digest reference")
        with self.records.change() as change:
            if not change.execute("SELECT 1 FROM image WHERE id = ?", (image,)).fetchone():
                raise NotFoundError(f"No such image: {image}")
            change.execute(
                "INSERT OR REPLACE INTO tag VALUES (?, ?, ?, ?)", (reference.repository, reference.tag, image, now())
            )

    def last_tagged(self, image: str) -> str:
        """Return when an image, by its ID, was last given a name (RFC 3339); empty where it has none."""
        return str(self.records.rows("SELECT coalesce(max(tagged), '') FROM tag WHERE image = ?", image)[0][0])

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

    def leased(self) -> set[str]:
        """Return the digests of what is kept for work that is under way, images among them."""
        with self.records.change() as change:
            drop_dead_leases(self.root / "leases", self.records)
            return {row[0] for row in change.execute("SELECT DISTINCT digest FROM lease")}

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


@dataclass(slots=True)
class _Names:
    """Names by the IDs of images: repository and tag, repository and digest."""

    tags: dict[str, list[tuple[str, str]]]
    digests: dict[str, list[tuple[str, str]]]


@functools.lru_cache(maxsize=4096)
def _reference(repository: str) -> Reference:
    domain, _, path = repository.partition("/")
    return Reference(domain, path)
