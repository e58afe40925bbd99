"""The protocol: single requests to one registry about one repository.

Decided here and only here: which requests the OCI distribution specification has for what we want, and that whatever
comes is verified: a manifest against its digest before it is believed, a blob while it streams in. Uploads and
downloads go on where they stopped. A `RegistryClient` may be used by several threads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, urlencode, urljoin, urlsplit

from sim.images.blobs import BlobWriter
from sim.images.digest import check_digest, of_bytes, short
from sim.images.documents import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    LARGEST_DOCUMENT,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    decode,
)
from sim.images.errors import ContentError, RegistryError
from sim.images.registry.credentials import Credentials
from sim.images.registry.endpoints import Endpoint, Registries
from sim.images.registry.session import Session, failure

if TYPE_CHECKING:
    import httpx

__all__ = ["RegistryClient"]

_ACCEPT = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX))
_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
#: Bytes that are uploaded in one request, so that a broken connection costs no more than this.
_UPLOAD = 64 << 20


class RegistryClient:
    """One registry, at one address. A context manager.

    Parameters
    ----------
    endpoint
        The address.
    registries
        How to speak to it.
    credentials
        Who to be; None for nobody.
    """

    def __init__(self, endpoint: Endpoint, registries: Registries, credentials: Credentials | None = None) -> None:
        self.endpoint = endpoint
        self._session = Session(endpoint, registries, credentials)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let go, whatever happened."""
        self.close()

    def ping(self) -> None:
        """Ask whether this is a registry and whether it lets us in.

        Raises
        ------
        RegistryError
            There is none, or it does not.
        """
        self._session.request("GET", "/v2/", "")

    # -- manifests

    def manifest(self, repository: str, reference: str) -> tuple[Descriptor, bytes]:
        """Return a manifest or index by tag or digest: what it is, and its bytes.

        Raises
        ------
        RegistryError
            The registry has none, or does not give it.
        ContentError
            It is not what its digest says.
        """
        url = f"/v2/{repository}/manifests/{quote(reference, safe=':')}"
        response = self._session.request(
            "GET", url, _pull(repository), headers={"Accept": _ACCEPT}, limit=LARGEST_DOCUMENT
        )
        data = response.content
        digest = of_bytes(data)
        wanted = reference if ":" in reference else response.headers.get("docker-content-digest", digest)
        if check_digest(wanted, "manifest") != digest:
            raise ContentError(f"manifest {short(wanted)}: the content is damaged or forged: its digest is {digest}")
        media_type = response.headers.get("content-type", "").partition(";")[0].strip()
        return Descriptor(_media_type(media_type, data), digest, len(data)), data

    def resolve(self, repository: str, reference: str) -> str | None:
        """Return the digest that a tag stands for, None where the registry has none or does not say."""
        url = f"/v2/{repository}/manifests/{quote(reference, safe=':')}"
        response = self._session.request("HEAD", url, _pull(repository), headers={"Accept": _ACCEPT}, good=(200, 404))
        digest: str | None = response.headers.get("docker-content-digest")
        return digest if response.status_code == 200 else None

    def put_manifest(self, repository: str, reference: str, media_type: str, data: bytes) -> str:
        """Store a manifest under a tag or its digest; return its digest."""
        self._session.request(
            "PUT",
            f"/v2/{repository}/manifests/{quote(reference, safe=':')}",
            _push(repository),
            headers={"Content-Type": media_type},
            content=lambda: data,
            good=(200, 201, 202),
        )
        return of_bytes(data)

    def delete_manifest(self, repository: str, digest: str) -> None:
        """Delete a manifest, and with it the tags that stand for it."""
        scope = f"repository:{repository}:pull,push,delete"
        self._session.request("DELETE", f"/v2/{repository}/manifests/{digest}", scope, good=(200, 202))

    # -- lists

    def tags(self, repository: str) -> list[str]:
        """Return the tags of a repository."""
        return list(self._list(f"/v2/{repository}/tags/list", _pull(repository), "tags"))

    def catalog(self) -> list[str]:
        """Return the repositories of the registry."""
        return list(self._list("/v2/_catalog", "registry:catalog:*", "repositories"))

    def search(self, word: str, limit: int) -> bytes:
        """Return what the registry's older search interface answers, a JSON document."""
        query = urlencode({"q": word, "n": limit})
        return bytes(self._session.request("GET", f"/v1/search?{query}", "", limit=LARGEST_DOCUMENT).content)

    def _list(self, url: str, scope: str, field: str) -> Iterator[str]:
        """Follow the pages of a list."""
        seen: set[str] = set()
        while url not in seen:
            seen.add(url)
            response = self._session.request("GET", url, scope)
            what = f"{self.endpoint.host}: {field}"
            yield from decode(response.content, dict[str, object], what).get(field) or ()  # type: ignore[misc]
            follows = response.links.get("next", {}).get("url")
            if not follows:
                return
            url = urljoin(url, follows)
            if urlsplit(url).netloc:
                url = urlsplit(url)._replace(scheme="", netloc="").geturl()

    # -- blobs down

    def has_blob(self, repository: str, digest: str) -> bool:
        """Tell whether a repository has a blob."""
        url = f"/v2/{repository}/blobs/{digest}"
        response = self._session.request("HEAD", url, _push(repository), good=(200, 404, 405))
        return response.status_code == 200

    def blob(self, repository: str, descriptor: Descriptor, writer: BlobWriter, tell: Callable[[int], object]) -> None:
        """Download a blob into a writer, going on where it stands, and again where the connection breaks.

        Parameters
        ----------
        tell
            Is told how many bytes are there, after each piece.

        Raises
        ------
        RegistryError
            The registry does not give it, or not whole, however often it is asked.
        ContentError
            More comes than was announced.
        """
        for attempt in self._session.attempts():
            with attempt:
                self._blob_once(repository, descriptor, writer, tell)
                return

    def _blob_once(
        self, repository: str, descriptor: Descriptor, writer: BlobWriter, tell: Callable[[int], object]
    ) -> None:
        if writer.size > descriptor.size:
            writer.restart()
        if writer.size == descriptor.size and writer.size:
            return
        headers = {"Range": f"bytes={writer.size}-"} if writer.size else {}
        url = f"/v2/{repository}/blobs/{descriptor.digest}"
        with self._session.stream("GET", url, _pull(repository), headers=headers) as response:
            if response.status_code == 416:
                writer.restart()
                raise RegistryError(f"{self.endpoint.host}: it cannot go on in the middle of {descriptor.digest}")
            if response.status_code not in (200, 206):
                raise failure(self.endpoint.host, response)
            if writer.size and not _goes_on(response, writer.size):
                writer.restart()
            for chunk in response.iter_raw():  # as it comes: what was held back would be lost with the connection
                if writer.size + len(chunk) > descriptor.size:
                    writer.restart()
                    raise ContentError(
                        f"{short(descriptor.digest)}: more than the {descriptor.size} bytes that were announced came"
                    )
                writer.write(chunk)
                tell(writer.size)
        if writer.size < descriptor.size:
            raise RegistryError(
                f"{self.endpoint.host}: {short(descriptor.digest)}: the connection ended after {writer.size}"
                f" of {descriptor.size} bytes"
            )

    # -- blobs up

    def start_upload(self, repository: str, digest: str, source: str | None = None) -> str | None:
        """Begin an upload, or let the registry take the blob from another repository.

        Returns
        -------
        str or None
            Where to upload to; None if the blob was mounted from `source` and is there.
        """
        query = {"mount": digest, "from": source} if source else {}
        url = f"/v2/{repository}/blobs/uploads/" + (f"?{urlencode(query)}" if query else "")
        scope = _push(repository) + (f" repository:{source}:pull" if source else "")
        response = self._session.request("POST", url, scope, content=lambda: b"", good=(201, 202))
        return None if response.status_code == 201 and source else self._location(response)

    def _location(self, response: httpx.Response) -> str:
        location = response.headers.get("location", "")
        if not location:
            raise RegistryError(f"{self.endpoint.host}: it did not say where to upload to", 400)
        address: str = urljoin(str(response.request.url), location)
        return address

    def upload(
        self,
        repository: str,
        digest: str,
        size: int,
        read: Callable[[int, int], Iterator[bytes]],
        location: str,
        tell: Callable[[int], object],
    ) -> None:
        """Upload a blob in pieces, going on after a broken connection where the registry stands.

        Parameters
        ----------
        read
            Gives the blob's bytes from an offset, so many.
        location
            From `start_upload`.
        tell
            Is told how many bytes the registry has, after each piece.
        """
        scope = _push(repository)
        done = 0
        for attempt in self._session.attempts():
            with attempt:
                if attempt.number:
                    done, location = self._standing(repository, digest, location)
                while done < size:
                    count = min(_UPLOAD, size - done)
                    headers = {
                        "Content-Type": "application/octet-stream",
                        "Content-Length": str(count),
                        "Content-Range": f"{done}-{done + count - 1}",
                    }
                    body = _counting(read, done, count, tell)
                    with self._session.stream("PATCH", location, scope, headers=headers, content=body) as response:
                        if response.status_code not in (201, 202, 204):
                            raise failure(self.endpoint.host, response)
                        location = self._location(response)
                    done += count
                joint = "&" if urlsplit(location).query else "?"
                with self._session.stream(
                    "PUT", f"{location}{joint}digest={quote(digest)}", scope, content=lambda: b""
                ) as response:
                    if response.status_code not in (201, 202, 204):
                        raise failure(self.endpoint.host, response)
                return

    def _standing(self, repository: str, digest: str, location: str) -> tuple[int, str]:
        """Ask how much of an upload the registry has, and where it goes on; begin anew where it does not.

        The reference registry forgets an upload whose last piece broke off, others know where it broke.
        """
        try:
            response = self._session.request("GET", location, _push(repository), good=(204, 200, 202))
        except RegistryError as error:
            if error.status not in (400, 404, 416):
                raise
            return 0, self.start_upload(repository, digest) or location
        _, _, last = response.headers.get("range", "").partition("-")
        has = int(last) + 1 if last.isdigit() and last != "0" else 0
        return has, self._location(response) if response.headers.get("location") else location


def _counting(
    read: Callable[[int, int], Iterator[bytes]], start: int, count: int, tell: Callable[[int], object]
) -> Callable[[], Iterator[bytes]]:
    def body() -> Iterator[bytes]:
        done = start
        for chunk in read(start, count):
            yield chunk
            done += len(chunk)
            tell(done)

    return body


def _pull(repository: str) -> str:
    return f"repository:{repository}:pull"


def _push(repository: str) -> str:
    return f"repository:{repository}:pull,push"


def _goes_on(response: httpx.Response, at: int) -> bool:
    """Tell whether an answer continues at the byte that was asked for."""
    parts = _RANGE.fullmatch(response.headers.get("content-range", ""))
    return response.status_code == 206 and parts is not None and int(parts[1]) == at


def _media_type(announced: str, data: bytes) -> str:
    """Return what a document says it is; where it says nothing, what the registry says."""
    said = decode(data, dict[str, object], "manifest").get("mediaType")
    return said if isinstance(said, str) and said else announced
