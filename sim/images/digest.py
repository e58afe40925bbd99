"""Digests: how content is named, and streams that are hashed and measured while they pass.

Decided here and only here: that content is named by SHA-256, what a digest looks like, and what a chain ID is.
Functions and values; a `Meter` belongs to one thread.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from sim.images.errors import ContentError

__all__ = ["CHUNK", "Meter", "chain_id", "chain_ids", "check_digest", "hexadecimal", "of_bytes", "short"]

#: Bytes in which streams are moved.
CHUNK = 1 << 18

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class _Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


def check_digest(digest: str, of: str = "content") -> str:
    """Return the digest if it is a well-formed SHA-256 one.

    Raises
    ------
    ContentError
        It is not; `of` says what it was to name. Nothing else may become a file name in the store.
    """
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ContentError(f"{of}: {str(digest)[:100]!r} is not a digest of the form sha256:<64 hexadecimal digits>")
    return digest


def hexadecimal(digest: str) -> str:
    """Return the digits of a digest.

    >>> hexadecimal(of_bytes(b""))[:12]
    'e3b0c44298fc'
    """
    return check_digest(digest)[7:]


def short(digest: str) -> str:
    """Return the twelve digits that people are shown."""
    return digest.removeprefix("sha256:")[:12]


def of_bytes(data: bytes) -> str:
    """Return the digest of some bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """Return the chain ID of each layer, bottom first (OCI image specification, "Layer ChainID").

    >>> chain_ids(["sha256:" + "0" * 64]) == ("sha256:" + "0" * 64,)
    True
    """
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(of_bytes(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)


def chain_id(diff_ids: Sequence[str]) -> str:
    """Return the chain ID of the whole stack, empty for no layers."""
    return chain_ids(diff_ids)[-1] if diff_ids else ""


class Meter:
    """Hashes and counts what passes through it."""

    __slots__ = ("_hash", "size")

    def __init__(self) -> None:
        self._hash: _Hash = hashlib.sha256()
        self.size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes in."""
        self._hash.update(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        """The digest of what has passed so far."""
        return "sha256:" + self._hash.hexdigest()

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass chunks on, hashing each."""
        for chunk in chunks:
            self.update(chunk)
            yield chunk
