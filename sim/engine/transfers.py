"""Images from and to registries, and from tars: pull, push, import, search, login.

Decided here and only here: what a client's words for an image mean for a registry, whose credentials are used (those
that came with the request, never the daemon's own user's), and which events there are. How it is done is decided in
`sim.images.registry`. Any thread may call; what takes long asks `cancelled` and ends when it is set.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sim.engine.errors import (
    BadParameterError,
    CancelledError,
    EngineError,
    NotFoundError,
    UnauthorizedError,
)
from sim.engine.images import reference_of
from sim.images import ContentError, Image, ImagesError, Reference, RegistryError, import_tar
from sim.images.documents import (
    DOCKER_INDEX,
    OCI_INDEX,
    Descriptor,
    Platform,
    decode,
    parse_config,
    parse_index,
    parse_manifest,
)
from sim.images.errors import AuthenticationError
from sim.images.platforms import parse_platform
from sim.images.progress import Listener, Progress, Stage
from sim.images.reference import DEFAULT_DOMAIN

if TYPE_CHECKING:
    from sim.engine.engine import Engine
    from sim.images.registry import Credentials, Pulled, Pushed, Registries, RegistryClient

__all__ = ["Found", "Transfers"]


@dataclass(frozen=True, slots=True)
class Found:
    """One repository that a search found."""

    name: str
    description: str = ""
    stars: int = 0
    official: bool = False
    automated: bool = False


class Transfers:
    """What one engine does with registries."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._store = engine.store

    def registries(self, credentials: Credentials | None) -> Registries:
        """Return how to speak to registries on behalf of a client."""
        known = self._engine.settings.registries()
        return replace(known, credentials=credentials, config=Path(os.devnull))

    # -- pull

    def pull(
        self,
        name: str,
        tag: str,
        tell: Listener,
        *,
        platform: str = "",
        credentials: Credentials | None = None,
        cancelled: threading.Event | None = None,
    ) -> list[Pulled]:
        """Fetch an image, or every tag of a repository.

        Parameters
        ----------
        tag
            A tag or a digest; without it, and none in the name, every tag is fetched.
        platform
            `linux/arm64`, for images of several; empty for this machine's.

        Raises
        ------
        BadParameterError
            The name or the platform is none.
        NotFoundError
            The registry has no such image, or does not let it be seen.
        EngineError
            It cannot be fetched.
        """
        from sim.images.registry import pull, pull_all

        joint = "@" if ":" in tag else ":"
        reference = reference_of(
            f"{name.removesuffix(':')}{joint}{tag}" if tag else name.removesuffix(":"), default_tag=""
        )
        wanted = _platform(platform)
        registries = self.registries(credentials)
        listener = _interruptible(tell, cancelled)
        with _worded():
            if reference.tag or reference.digest:
                pulled = [pull(self._store, reference, registries, platform=wanted, tell=listener)]
            else:
                pulled = pull_all(self._store, reference, registries, tell=listener)
        for each in pulled:
            shown = each.reference.familiar
            self._engine.images.tell("pull", each.image.id, each.reference.familiar_repository, actor=shown)
        return pulled

    # -- push

    def push(
        self,
        name: str,
        tag: str,
        tell: Listener,
        *,
        credentials: Credentials | None = None,
        cancelled: threading.Event | None = None,
    ) -> Iterator[Pushed]:
        """Send an image, or every tag of a repository, to its registry; yield what is there.

        Raises
        ------
        NotFoundError
            Nothing here has this name.
        EngineError
            The registry does not take it.
        """
        from sim.images.registry import push

        reference = reference_of(f"{name}:{tag}" if tag else name, default_tag="")
        if reference.digest:
            raise BadParameterError("cannot push a digest reference")
        known = self._store.tags(reference)
        tags = [reference] if reference.tag else known
        if not known or not tags:
            # After the first line, as Docker does it: the command prints that line, and this as its last.
            tell(Progress(Stage.STATUS, text=f"The push refers to repository [{reference.repository}]"))
            raise NotFoundError(f"An image does not exist locally with the tag: {reference.familiar_repository}")
        registries = self.registries(credentials)
        for each in tags:
            try:
                image = self._store.image(each)
            except ImagesError:
                tell(Progress(Stage.STATUS, text=f"The push refers to repository [{each.repository}]"))
                raise NotFoundError(f"tag does not exist: {each.familiar}") from None
            with _worded():
                pushed = push(self._store, each, registries, tell=_interruptible(tell, cancelled))
            self._engine.images.tell("push", image.id, each.familiar_repository, actor=each.familiar)
            yield pushed

    # -- import

    def import_image(
        self,
        source: str,
        chunks: Iterable[bytes],
        tell: Listener,
        *,
        repository: str = "",
        tag: str = "",
        message: str = "",
        changes: Iterable[str] = (),
        platform: str = "",
        cancelled: threading.Event | None = None,
    ) -> Image:
        """Make an image of a root filesystem's tar.

        Parameters
        ----------
        source
            `-` for `chunks`, or the URL of a tar.

        Raises
        ------
        BadParameterError
            The name or a change is none, or the tar is damaged.
        EngineError
            The URL does not answer.
        """
        reference = reference_of(f"{repository}:{tag}" if tag else repository) if repository else None
        if reference is not None and reference.digest:
            raise BadParameterError("cannot import digest reference")
        wanted = _platform(platform)
        if wanted is not None and wanted.os != "linux":
            raise BadParameterError(f"operating system {wanted.os!r} is not supported here")
        listener = _interruptible(tell, cancelled)
        body = chunks if source == "-" else self._download(source, listener)
        shown = message or f"Imported from {source}"
        try:
            image = import_tar(
                self._store,
                _checked(body, cancelled),
                tags=[reference] if reference is not None else [],
                changes=list(changes),
                message=shown,
                architecture=wanted.architecture if wanted is not None else None,
            )
        except ContentError as error:
            raise BadParameterError(f"Error processing tar file: {error}") from None
        except ImagesError as error:
            raise BadParameterError(str(error)) from None
        self._engine.images.tell("import", image.id, image.id)
        return image

    def _download(self, url: str, tell: Listener) -> Iterator[bytes]:
        """Fetch a tar from elsewhere."""
        import httpx

        address = url if "://" in url else f"http://{url}"
        if urlsplit(address).scheme not in ("http", "https") or not urlsplit(address).netloc:
            raise BadParameterError(f"{url}: only http:// and https:// can be imported from")
        try:
            with httpx.Client(timeout=30, follow_redirects=True) as client, client.stream("GET", address) as response:
                if response.status_code != 200:
                    raise EngineError(f"got HTTP status code >= 400: {response.status_code} {response.reason_phrase}")
                tell(Progress(Stage.STATUS, text=f"Downloading from {address}"))
                total = int(response.headers.get("content-length") or 0)
                done = 0
                for chunk in response.iter_bytes():
                    done += len(chunk)
                    tell(Progress(Stage.DOWNLOADING, "", done, total))
                    yield chunk
        except httpx.HTTPError as error:
            reason = str(error)
            if isinstance(error, httpx.ConnectError) and reason.startswith("[Errno "):
                at = urlsplit(address)
                port = at.port or (443 if at.scheme == "https" else 80)
                reason = f"dial tcp {at.hostname}:{port}: connect: {reason.partition('] ')[2].lower()}"
            raise EngineError(f'Get "{address}": {reason}') from None

    # -- what registries know

    def inspect(self, name: str, credentials: Credentials | None = None) -> tuple[Descriptor, list[Platform]]:
        """Return what a registry has under a name, and for which platforms."""
        reference = reference_of(name)
        with _worded(), self._client(reference.domain, credentials) as clients:
            last: ImagesError | None = None
            for client in clients:
                try:
                    found, data = client.manifest(reference.path, reference.digest or reference.tag)
                    return found, self._platforms(client, reference, found, data)
                except RegistryError as error:
                    last = error
                    if error.status in (401, 403, 404):
                        break
        assert last is not None
        raise _error(last)

    def _platforms(
        self, client: RegistryClient, reference: Reference, found: Descriptor, data: bytes
    ) -> list[Platform]:
        if found.media_type in (OCI_INDEX, DOCKER_INDEX):
            index = parse_index(data, reference.familiar)
            return [entry.platform for entry in index.manifests if entry.platform is not None]
        config = parse_manifest(data, reference.familiar).config
        with self._store.lease() as lease, self._store.blobs.writer(lease.name) as writer:
            client.blob(reference.path, config, writer, lambda done: None)
            lease.add(config.digest)
            writer.commit(config.digest, config.size)
            document = parse_config(self._store.blobs.read(config.digest), reference.familiar)
        return [Platform(document.architecture, document.os, document.variant)]

    @contextmanager
    def _client(self, domain: str, credentials: Credentials | None) -> Iterator[Iterator[RegistryClient]]:
        from sim.images.registry import RegistryClient

        registries = self.registries(credentials)
        opened: list[RegistryClient] = []

        def clients() -> Iterator[RegistryClient]:
            for endpoint in registries.endpoints(domain):
                mine = registries.credentials_for(endpoint.host, mirror=endpoint.mirror)
                opened.append(RegistryClient(endpoint, registries, mine))
                yield opened[-1]

        try:
            yield clients()
        finally:
            for client in opened:
                client.close()

    def login(self, address: str, credentials: Credentials) -> None:
        """Ask a registry whether it knows somebody.

        Raises
        ------
        UnauthorizedError
            It does not.
        EngineError
            It does not answer.
        """
        from sim.images.registry import RegistryClient

        host = address.partition("://")[2] if "://" in address else address
        domain = host.partition("/")[0]
        if domain in ("", "index.docker.io", "registry-1.docker.io"):
            domain = DEFAULT_DOMAIN
        registries = self.registries(credentials)
        last: RegistryError | None = None
        for endpoint in registries.endpoints(domain, push=True):
            try:
                with RegistryClient(endpoint, registries, credentials) as client:
                    client.ping()
            except AuthenticationError as error:
                reason = str(error).partition(": ")[2] or str(error)
                raise UnauthorizedError(
                    f'Get "{endpoint.base}/v2/": unauthorized: {reason.removeprefix("unauthorized: ")}'
                ) from None
            except RegistryError as error:
                last = error
                continue
            return
        assert last is not None
        raise EngineError(f'Get "https://{domain}/v2/": {str(last).partition(": ")[2] or last}')

    def search(self, term: str, limit: int = 25, credentials: Credentials | None = None) -> list[Found]:
        """Look for repositories whose names hold a word.

        A registry is asked by the older search interface, and where it has none, for its catalog.

        Raises
        ------
        EngineError
            No registry that was asked can be searched.
        """
        if not term or "://" in term:
            raise BadParameterError(f"invalid repository name ({term or ''})")
        domain, slash, rest = term.partition("/")
        if not slash or not (set(".:") & set(domain) or domain == "localhost"):
            domain, rest = DEFAULT_DOMAIN, term.removeprefix("library/")
        last = ""
        with self._client(domain, credentials) as clients:
            for client in clients:
                try:
                    return self._searched(client, domain, rest, limit)
                except RegistryError as error:
                    last = str(error)
        raise EngineError(f"{domain} cannot be searched: it offers neither /v1/search nor /v2/_catalog: {last}")

    def _searched(self, client: RegistryClient, domain: str, word: str, limit: int) -> list[Found]:
        shown = "" if domain == DEFAULT_DOMAIN else f"{domain}/"
        try:
            answer = client.search(word, limit)
        except RegistryError as error:
            if not error.status:
                raise
            names = [name for name in client.catalog() if word in name]
            return [Found(shown + name.removeprefix("" if shown else "library/")) for name in names[:limit]]
        found = decode(answer, dict[str, Any], "search").get("results")
        return [
            Found(
                shown + str(item.get("name", "")),
                str(item.get("description") or ""),
                int(item.get("star_count") or 0),
                bool(item.get("is_official")),
                bool(item.get("is_automated")),
            )
            for item in (found if isinstance(found, list) else [])[:limit]
            if isinstance(item, Mapping)
        ]


def _platform(text: str) -> Platform | None:
    if not text:
        return None
    try:
        if "/" not in text:
            from sim.images import architecture

            return Platform(architecture(), text) if text == "linux" else Platform(text, "linux")
        return parse_platform(text.lower())
    except ContentError as error:
        raise BadParameterError(str(error)) from None


def _interruptible(tell: Listener, cancelled: threading.Event | None) -> Listener:
    if cancelled is None:
        return tell

    def told(progress: Progress) -> None:
        if cancelled.is_set():
            raise CancelledError("context canceled")
        tell(progress)

    return told


def _checked(chunks: Iterable[bytes], cancelled: threading.Event | None) -> Iterator[bytes]:
    for chunk in chunks:
        if cancelled is not None and cancelled.is_set():
            raise CancelledError("context canceled")
        yield chunk


@contextmanager
def _worded() -> Iterator[None]:
    """Turn what registries answer into the engine's errors."""
    try:
        yield
    except ImagesError as error:
        raise _error(error) from None


def _error(error: ImagesError) -> Exception:
    if isinstance(error, RegistryError) and error.status in (401, 403, 404):
        return NotFoundError(str(error))
    if isinstance(error, RegistryError):
        return EngineError(str(error))
    return error
