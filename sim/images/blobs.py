"""Blobs on disk: files named by the digest of what they hold, written aside and renamed into place once verified.

Decided here and only here: how a blob becomes visible, how a download is resumed, and how two processes that want the
same content agree that one fetches it. A file in `blobs/sha256/` is always whole and always what its name says.
Every function may be called from any thread and any process; a `BlobWriter` belongs to one thread.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from sim.images.digest import CHUNK, Meter, check_digest, hexadecimal, of_bytes, short
from sim.images.documents import LARGEST_DOCUMENT
from sim.images.errors import ContentError, NotFoundError, StoreError

__all__ = ["BlobWriter", "Blobs", "FileLock"]


class FileLock:
    """A lock between threads and processes that the kernel frees when its holder dies.

    The file is removed by whoever frees the lock; whoever waited for it then sees that its file is gone and opens anew.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def acquire(self, *, wait: bool = True) -> bool:
        """Take the lock; without waiting, tell whether it could be had."""
        while True:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                if os.fstat(fd).st_ino == os.stat(self._path, follow_symlinks=False).st_ino:
                    self._fd = fd
                    return True
            except BlockingIOError:
                os.close(fd)
                return False
            except FileNotFoundError:
                pass
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def release(self) -> None:
        """Free the lock."""
        if self._fd >= 0:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> FileLock:
        """Return itself."""
        self.acquire()
        return self

    def __exit__(self, *exception: object) -> None:
        """Let go, whatever happened."""
        self.release()


class Blobs:
    """The blobs of an OCI image layout.

    Parameters
    ----------
    root
        The layout's directory.
    sync
        Whether a blob is on the disk itself before it becomes visible, which a power cut needs and a killed process
        does not.
    """

    def __init__(self, root: Path, *, sync: bool = False) -> None:
        self.directory = root / "blobs" / "sha256"
        self.ingest = root / "ingest"
        self.locks = root / "locks"
        self.sync = sync
        for directory in (self.directory, self.ingest, self.locks):
            directory.mkdir(parents=True, exist_ok=True)

    def path(self, digest: str) -> Path:
        """Return where the blob of this digest is, or would be."""
        return self.directory / hexadecimal(digest)

    def has(self, digest: str) -> bool:
        """Tell whether the blob is there."""
        return self.path(digest).exists()

    def size(self, digest: str) -> int:
        """Return how many bytes a blob has.

        Raises
        ------
        NotFoundError
            There is no such blob.
        """
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise NotFoundError(f"{digest}: no such content in the store") from None

    def read(self, digest: str, limit: int = LARGEST_DOCUMENT) -> bytes:
        """Return a small blob whole, verified again.

        Raises
        ------
        NotFoundError
            There is no such blob.
        ContentError
            It has more than `limit` bytes, or has been damaged on disk.
        """
        if self.size(digest) > limit:
            raise ContentError(f"{digest}: more than the {limit} bytes that a document may have")
        data = self.path(digest).read_bytes()
        if of_bytes(data) != digest:
            raise ContentError(f"{digest}: damaged on disk; remove the image and pull it again")
        return data

    def chunks(self, digest: str) -> Iterator[bytes]:
        """Yield a blob in pieces."""
        self.size(digest)
        with self.path(digest).open("rb", buffering=0) as stream:
            while chunk := stream.read(CHUNK):
                yield chunk

    def lock(self, digest: str) -> FileLock:
        """Return the lock under which content of this digest is fetched or unpacked."""
        return FileLock(self.locks / hexadecimal(digest))

    def write(self, data: bytes, owner: str) -> str:
        """Keep some bytes and return their digest; `owner` is the lease that they are written under."""
        digest = of_bytes(data)
        if not self.has(digest):
            with self.writer(owner) as writer:
                writer.write(data)
                writer.commit(digest, len(data))
        return digest

    def writer(self, owner: str) -> BlobWriter:
        """Return a writer of content whose digest is not known yet."""
        return BlobWriter(self, self.ingest / f"{owner}-{secrets.token_hex(8)}", resume=False)

    def partial(self, digest: str) -> Path:
        """Return where an unfinished download is kept."""
        return self.ingest / f"sha256-{hexadecimal(digest)}.partial"

    def resume(self, digest: str) -> BlobWriter:
        """Return a writer that goes on where an earlier one stopped; the caller holds `lock(digest)`."""
        return BlobWriter(self, self.partial(digest), resume=True)


class BlobWriter:
    """One blob being written.

    Attributes
    ----------
    size
        Bytes written so far, those of an earlier try included.
    """

    def __init__(self, blobs: Blobs, path: Path, *, resume: bool) -> None:
        self._blobs = blobs
        self._path = path
        self._resume = resume
        self._meter = Meter()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | (0 if resume else os.O_EXCL)
        self._fd = os.open(path, flags, 0o600)
        while resume and (chunk := os.read(self._fd, CHUNK)):
            self._meter.update(chunk)

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._meter.size

    @property
    def digest(self) -> str:
        """The digest of the bytes so far."""
        return self._meter.digest

    def restart(self) -> None:
        """Throw away what is there: the other side cannot go on in the middle."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._meter = Meter()

    def write(self, data: bytes | memoryview) -> None:
        """Take the next bytes.

        Raises
        ------
        StoreError
            The disk is full or fails.
        """
        self._meter.update(data)
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise StoreError(f"{self._blobs.directory}: the content cannot be written: {error.strerror}") from None

    def commit(self, digest: str | None = None, size: int | None = None) -> str:
        """Make the blob visible and return its digest.

        Raises
        ------
        ContentError
            It is not what `digest` or `size` says; nothing becomes visible, and nothing is kept to resume from.
        """
        found = self._meter.digest
        if size is not None and size != self._meter.size:
            self._discard()
            raise ContentError(f"{short(digest or found)}: {self._meter.size} bytes came, {size} were announced")
        if digest is not None and check_digest(digest) != found:
            self._discard()
            raise ContentError(f"{digest}: the content is damaged or forged: its digest is {found}")
        os.fchmod(self._fd, 0o644)
        if self._blobs.sync:
            os.fsync(self._fd)
        os.rename(self._path, self._blobs.path(found))
        if self._blobs.sync:
            sync_directory(self._blobs.directory)
        self._path = Path()
        return found

    def _discard(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)
        self._path = Path()

    def close(self) -> None:
        """End; what was not committed is kept if it can be resumed, else thrown away."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            if self._path.name and (not self._resume or not self._meter.size):
                self._discard()

    def __enter__(self) -> BlobWriter:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let go, whatever happened."""
        self.close()


def sync_directory(path: Path) -> None:
    """Put a directory's names on the disk itself."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes, *, sync: bool) -> None:
    """Replace a file's content in one step."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
        os.rename(aside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside)
        raise
    if sync:
        sync_directory(path.parent)
