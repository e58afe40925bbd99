"""Images from a file: what `docker save` and `skopeo copy` write, read without any daemon or store.

Decided here: how a docker-archive, an OCI layout and an OCI archive become images of the graph, and how a layer's tar
becomes entries. Layers are read when their entries are first asked for, straight from the file; nothing is unpacked.

Source: OCI image specification, "Image Layout" and "Layer Filesystem Changeset". An `_Archive` belongs to one thread.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, cast

from fusefs import marks
from sim.graph.entry import Entry, EntryType, Layer, Role, join, parent_of
from sim.graph.errors import SourceError
from sim.graph.graph import Image, LayerGraph

__all__ = ["add_archive", "archive_graph", "read_layer_tar"]

_PREFIX = os.fsdecode(marks.OCI_PREFIX)
_OPAQUE = os.fsdecode(marks.OCI_OPAQUE)
#: Annotations that name an image: Docker and containerd write the whole name, others only the specification's.
_NAMES = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_NESTED = 8  # how deep indexes may stand in indexes
_LINKS = 40  # how many hard links are followed to the file itself


def archive_graph(path: Path | str) -> LayerGraph:
    """Return the graph of the images in a file or directory; parameters and errors as in `add_archive`."""
    graph = LayerGraph()
    add_archive(graph, path)
    return graph


def add_archive(graph: LayerGraph, path: Path | str) -> tuple[Image, ...]:
    """Add the images of a docker-archive, an OCI archive or an OCI layout directory.

    Parameters
    ----------
    graph
        The graph to add to.
    path
        The file (compressed or not) or directory.

    Raises
    ------
    SourceError
        There is no such file, it is no archive of images, or a part of it is missing or damaged. A layer that is
        missing is said when the image is added, one that is damaged when its entries are asked for.
    """
    archive = _Archive(Path(path))
    images = []
    for key, tags, diff_ids, blobs, commands in archive.images():
        tags = [tag.removeprefix("docker.io/library/") for tag in tags]  # as people write them
        layers = []
        for index, (diff_id, blob) in enumerate(zip(diff_ids, blobs, strict=True), 1):
            archive.need(blob, diff_id)
            name = f"{tags[0].removesuffix(':latest')} step {index}" if tags else diff_id
            made = commands[index - 1] if index <= len(commands) else ""
            layers.append(
                graph.layers.get(diff_id)
                or Layer(diff_id, name, Role.RO, archive.loader(blob), command=made, read=archive.reader(blob))
            )
        images.append(graph.add_image(key, tags, layers[::-1]))
    return tuple(images)


def read_layer_tar(stream: IO[bytes]) -> Mapping[str, Entry]:
    """Read the entries of a layer's tar: plain, or compressed with gzip or zstd.

    Raises
    ------
    SourceError
        It is no tar, or it ends too early.
    """
    entries: dict[str, Entry] = {"/": Entry("/", EntryType.DIRECTORY, mode=0o755)}
    hidden: list[str] = []
    opaque: list[str] = []
    try:
        with tarfile.open(fileobj=_plain(stream), mode="r|", errors="surrogateescape") as tar:
            for member in tar:
                path = _normal(member.name)
                name = path.rpartition("/")[2]
                if name == _OPAQUE:
                    opaque.append(parent_of(path))
                elif name.startswith(_PREFIX):
                    if not name.startswith(_PREFIX * 2):
                        hidden.append(join(parent_of(path), name.removeprefix(_PREFIX)))
                else:
                    entries[path] = _entry(path, member, entries)
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise SourceError(f"the layer cannot be read as a tar: {error}") from error
    for path in [*entries, *opaque, *hidden]:
        _parents(entries, path)
    for path in opaque:
        entries[path] = Entry(path, EntryType.DIRECTORY, mode=entries[path].mode, opaque=True)
    for path in hidden:
        entries.setdefault(path, Entry(path, EntryType.WHITEOUT))
    return entries


def _content(stream: IO[bytes], path: str, limit: int) -> bytes:
    """Return the first bytes of a file of a layer's tar; the last one of its name counts, as when it is unpacked.

    Raises
    ------
    SourceError
        The tar cannot be read, or has no such file.
    """
    found: bytes | None = None
    other = ""
    try:
        with tarfile.open(fileobj=_plain(stream), mode="r|", errors="surrogateescape") as tar:
            for member in tar:
                if _normal(member.name) != path:
                    continue
                content = tar.extractfile(member) if member.isreg() else None
                found = content.read(limit) if content is not None else None
                other = _normal(member.linkname) if member.islnk() else ""
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise SourceError(f"the layer cannot be read as a tar: {error}") from error
    if found is None:
        raise _Elsewhere(other) if other else SourceError(f"{path} is no regular file")
    return found


class _Elsewhere(Exception):  # noqa: N818 - reads as what happened
    """The file is a hard link to this path of the same layer, which stands before it."""


def _normal(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".", "..")]
    return "/" + "/".join(parts)


def _parents(entries: dict[str, Entry], path: str) -> None:
    at = parent_of(path)
    while at not in entries:
        entries[at] = Entry(at, EntryType.DIRECTORY, mode=0o755)
        at = parent_of(at)


def _entry(path: str, member: tarfile.TarInfo, entries: dict[str, Entry]) -> Entry:
    owner = (member.mode & 0o7777, member.uid, member.gid, int(member.mtime) * 1_000_000_000)
    if member.isdir():
        return Entry(path, EntryType.DIRECTORY, 0, *owner)
    if member.issym():
        text = os.fsencode(member.linkname)
        return Entry(path, EntryType.SYMLINK, len(text), *owner, target=member.linkname)
    if member.islnk():
        first = entries.get(_normal(member.linkname))
        if first is None or first.type is not EntryType.FILE:
            raise ValueError(f"{path} is a hard link to {member.linkname}, which is not before it")
        inode = first.inode or len(entries) + 1
        entries[first.path] = Entry(first.path, first.type, first.size, *owner, inode=inode)
        return Entry(path, EntryType.FILE, first.size, *owner, inode=inode)
    if member.isreg():
        return Entry(path, EntryType.FILE, member.size, *owner)
    return Entry(path, EntryType.OTHER, 0, *owner)


def _plain(stream: IO[bytes]) -> IO[bytes]:
    """Return a stream of the bytes that a layer's blob stands for."""
    buffered = io.BufferedReader(cast(Any, stream)) if not isinstance(stream, io.BufferedReader) else stream
    start = buffered.peek(6)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=buffered))
    if start.startswith(b"\x28\xb5\x2f\xfd"):
        import zstandard

        return cast(IO[bytes], zstandard.ZstdDecompressor().stream_reader(buffered))
    return buffered


_Found = tuple[str, list[str], list[str], list[str], list[str]]


class _Archive:
    """A directory or tar file with blobs in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._tar: tarfile.TarFile | None = None
        self._members: dict[str, tarfile.TarInfo] = {}
        if path.is_dir():
            return
        if not path.is_file():
            raise SourceError(f"{path}: there is no such file")
        try:
            self._tar = tarfile.open(path)  # noqa: SIM115 - stays open for the layers that are read later
            self._members = {_normal(member.name): member for member in self._tar}
        except (tarfile.TarError, OSError, EOFError) as error:
            raise SourceError(f"{path}: this is no tar of images: {error}") from error

    def __del__(self) -> None:
        """Close the file."""
        tar = getattr(self, "_tar", None)
        if tar is not None:
            tar.close()

    def has(self, name: str) -> bool:
        return _normal(name) in self._members if self._tar is not None else (self.path / name).is_file()

    def open(self, name: str) -> IO[bytes]:
        if self._tar is None:
            try:
                return (self.path / name).open("rb")
            except OSError as error:
                raise SourceError(f"{self.path}: {name} cannot be read: {error.strerror}") from error
        member = self._members.get(_normal(name))
        stream = self._tar.extractfile(member) if member is not None else None
        if stream is None:
            raise SourceError(f"{self.path}: {name} is missing; save the image again")
        return stream

    def document(self, name: str) -> Any:
        with self.open(name) as stream:
            try:
                return json.loads(stream.read())
            except ValueError as error:
                raise SourceError(f"{self.path}: {name} is no JSON: {error}") from error

    def need(self, blob: str, diff_id: str) -> None:
        if not self.has(blob):
            raise SourceError(f"{self.path}: the layer {diff_id[:19]} is missing ({blob}); save the image again")

    def loader(self, blob: str) -> Any:
        def load() -> Mapping[str, Entry]:
            with self.open(blob) as stream:
                try:
                    return read_layer_tar(stream)
                except SourceError as error:
                    raise SourceError(f"{self.path}: {blob}: {error}") from error

        return load

    def reader(self, blob: str) -> Callable[[Entry, int], bytes]:
        def read(entry: Entry, limit: int) -> bytes:
            path = entry.path
            for _ in range(_LINKS):
                try:
                    with self.open(blob) as stream:
                        return _content(stream, path, limit)
                except _Elsewhere as link:
                    path = str(link)
                except SourceError as error:
                    raise SourceError(f"{self.path}: {blob}: {error}") from error
            raise SourceError(f"{self.path}: {entry.path} is a hard link to hard links, too many to follow")

        return read

    def images(self) -> Iterator[_Found]:
        try:
            if self.has("manifest.json"):
                yield from self._docker()
            elif self.has("index.json"):
                yield from self._oci(self.document("index.json"), [], 0)
            else:
                raise SourceError(
                    f"{self.path}: neither a docker-archive nor an OCI layout: no manifest.json, no index.json"
                )
        except (KeyError, TypeError, AttributeError) as error:
            raise SourceError(f"{self.path}: a document in it is not as the specification says: {error!r}") from error

    def _docker(self) -> Iterator[_Found]:
        for item in self.document("manifest.json"):
            config = self.document(item["Config"])
            diff_ids = config["rootfs"]["diff_ids"]
            if len(diff_ids) != len(item["Layers"]):
                raise SourceError(
                    f"{self.path}: {len(item['Layers'])} layers, but the configuration has {len(diff_ids)}"
                )
            yield (
                item["Config"].rpartition("/")[2].removesuffix(".json"),
                item["RepoTags"] or [],
                diff_ids,
                item["Layers"],
                _commands(config),
            )

    def _oci(self, index: Any, names: list[str], depth: int) -> Iterator[_Found]:
        if depth > _NESTED:
            raise SourceError(f"{self.path}: indexes stand in indexes more than {_NESTED} deep")
        for item in index["manifests"]:
            document = self.document(_blob(item["digest"]))
            notes = item.get("annotations") or {}
            name = next((notes[key] for key in _NAMES if notes.get(key)), "")
            tags = [name] if name else names
            if "manifests" in document:
                yield from self._oci(document, tags, depth + 1)
                continue
            if not self.has(_blob(document["config"]["digest"])):
                raise SourceError(f"{self.path}: the configuration {document['config']['digest'][:19]} is missing")
            config = self.document(_blob(document["config"]["digest"]))
            diff_ids = config.get("rootfs", {}).get("diff_ids") or []
            blobs = [_blob(layer["digest"]) for layer in document["layers"]]
            if len(diff_ids) != len(blobs):
                continue  # an artifact that is no image: an attestation, a signature
            yield document["config"]["digest"], tags, diff_ids, blobs, _commands(config)


def _commands(config: Any) -> list[str]:
    """Return what made each layer, the lowest first, as the history tells: nothing where it does not add up."""
    steps = [step.get("created_by") or "" for step in config.get("history") or () if not step.get("empty_layer")]
    return steps if len(steps) == len(config.get("rootfs", {}).get("diff_ids") or ()) else []


def _blob(digest: str) -> str:
    algorithm, _, digits = digest.partition(":")
    return f"blobs/{algorithm}/{digits}"
