"""Contexts as files: the archive that the docker command's `context export` writes and `context import` reads.

Decided here and only here: what is in such an archive (`meta.json`, and certificates as `tls/<endpoint>/<file>`), what
of one is refused, and how large one may be. It comes from somebody else: nothing is written before all of it was read
and found good. Plain functions of bytes; any thread.
"""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from sim.cli.failure import Failure

__all__ = ["LARGEST", "pack", "unpack"]

LARGEST = 10 << 20  #: bytes of an archive, and of what is in it
_META, _TLS = "meta.json", "tls/"
_BLOCK = 512
_TOO_LARGE = "read exceeds the defined limit"


def pack(document: Mapping[str, Any], files: Mapping[str, bytes]) -> bytes:
    """Return a context as a tar.

    Parameters
    ----------
    document
        As it is kept.
    files
        Certificates, by "endpoint/file".
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:

        def add(name: str, mode: int, data: bytes | None) -> None:
            member = tarfile.TarInfo(name)
            member.mode = mode
            if data is None:
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(data)
            tar.addfile(member, io.BytesIO(data or b""))

        add(_META, 0o644, json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode())
        add("tls", 0o700, None)
        folder = ""
        for name in sorted(files):
            if posixpath.dirname(name) != folder:
                folder = posixpath.dirname(name)
                add(f"{_TLS}{folder}", 0o700, None)
            add(f"{_TLS}{name}", 0o600, files[name])
    return out.getvalue()


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the document and the certificates of a context that somebody has packed, as a tar or a zip.

    Raises
    ------
    Failure
        It is none, or something is in it that is no part of one; mostly in the docker command's words.
    """
    if len(data) > LARGEST:
        raise Failure(_TOO_LARGE)
    document: dict[str, Any] | None = None
    files: dict[str, bytes] = {}
    for name, content in _zipped(data) if data.startswith(b"PK\x03\x04") else _tarred(data):
        _check(name)
        if name == _META:
            document = _document(content)
        else:
            files[name.removeprefix(_TLS)] = content
    if document is None:
        raise Failure("invalid context: no metadata found")
    return document, files


def _check(name: str) -> None:
    if name != _META and not name.startswith(_TLS):
        raise Failure(f"{name}: unexpected context file")
    if posixpath.normpath(name) != name:
        raise Failure(f"{name}: unexpected path format")
    if "\\" in name:
        raise Failure(f"{name}: unexpected '\\' in path")
    if name != _META and name.count("/") != 2:
        raise Failure("archive format is invalid")


def _document(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError as error:
        raise Failure(f"{_META}: {error}") from None
    if not isinstance(found, dict) or not all(
        isinstance(found.get(key) or {}, dict) for key in ("Metadata", "Endpoints")
    ):
        raise Failure(f"{_META}: it describes no context")
    return found


def _tarred(data: bytes) -> Iterator[tuple[str, bytes]]:
    # Docker's own archives end with the last byte of the last file.
    whole = io.BytesIO(data + bytes(-len(data) % _BLOCK + 2 * _BLOCK))
    try:
        with tarfile.open(fileobj=whole, mode="r:") as tar:
            for member in tar:
                if not member.isreg():
                    continue  # as with Docker; links could lead anywhere
                file = tar.extractfile(member)
                assert file is not None
                content = file.read()
                if member.offset_data + member.size > len(data):
                    raise Failure("unexpected EOF")
                yield member.name, content
    except (tarfile.TarError, ValueError, OverflowError) as error:
        if not data:
            return
        raise Failure(f"archive/tar: invalid tar header ({error})") from None


def _zipped(data: bytes) -> Iterator[tuple[str, bytes]]:
    left = LARGEST
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for member in archive.infolist():
                if member.is_dir():
                    continue
                with archive.open(member) as file:
                    content = file.read(left + 1)  # whatever it says its size is
                left -= len(content)
                if left < 0:
                    raise Failure(_TOO_LARGE)
                yield member.filename, content
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, OverflowError, RuntimeError) as error:
        raise Failure(f"zip: not a valid zip file ({error})") from None
