"""Sessions: requests to one registry address, with authentication, retries and errors that say what happened.

Decided here and only here: when a request is tried again (no connection, a stall, 429 and 5xx; after what the registry
asks for, else with growing pauses), how a challenge is answered, and what a failure is called. A `Session` may be used
by several threads.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sim.images.errors import AuthenticationError, RegistryError
from sim.images.registry.credentials import Credentials
from sim.images.registry.endpoints import Endpoint, Registries

if TYPE_CHECKING:
    import httpx

__all__ = ["Session", "failure", "transient"]

_PARAMETER = re.compile(r'([a-zA-Z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))')
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_LONGEST_PAUSE = 30.0
_LARGEST_ERROR = 64 << 10
_LARGEST_TOKEN = 1 << 20
#: The code of a failure to speak to an address at all: what is there is not what was expected, so no use in insisting.
_NO_CONTACT = "NO_CONTACT"


def transient(error: BaseException) -> bool:
    """Tell whether trying again may help."""
    if isinstance(error, AuthenticationError):
        return False
    if isinstance(error, RegistryError) and error.status == 0:
        return error.code != _NO_CONTACT
    return isinstance(error, RegistryError) and error.status in _AGAIN


class Session:
    """A conversation with one endpoint.

    Parameters
    ----------
    endpoint
        The address.
    registries
        How to speak to it.
    credentials
        Who to be; None for nobody.
    """

    def __init__(self, endpoint: Endpoint, registries: Registries, credentials: Credentials | None) -> None:
        import httpx  # when a registry is spoken to, and not before: it is most of the time that an import takes

        self.endpoint = endpoint
        self._registries = registries
        self._credentials = credentials
        self._lock = threading.Lock()
        self._headers: dict[str, str] = {}
        self._answered = False
        self._client = httpx.Client(
            verify=registries.tls(endpoint),
            timeout=httpx.Timeout(registries.timeout, connect=min(registries.timeout, 10)),
            follow_redirects=True,
            headers={"User-Agent": "layerlab", "Accept-Encoding": "identity"},
            limits=httpx.Limits(max_connections=8, max_keepalive_connections=8),
            trust_env=not registries.is_loopback(endpoint.host),
        )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    # -- requests

    @contextlib.contextmanager
    def stream(
        self, method: str, url: str, scope: str, *, headers: Mapping[str, str] | None = None, content: Any = None
    ) -> Iterator[httpx.Response]:
        """Make one request and give its answer, the body not read yet; a challenge is answered once.

        Raises
        ------
        RegistryError
            There was no answer: its status is 0, and `transient` tells so.
        AuthenticationError
            The challenge cannot be answered.
        """
        import httpx

        address = url if "://" in url else self.endpoint.base + url
        try:
            response = self._send(method, address, scope, headers, content)
            if response.status_code == 401 and self._answer(response, scope):
                response.close()
                response = self._send(method, address, scope, headers, content)
            with contextlib.closing(response):
                yield response
        except httpx.TimeoutException:
            raise RegistryError(f"{self.endpoint.host}: no answer for {self._registries.timeout:g} s") from None
        except httpx.HTTPError as error:
            code = "" if self._answered else _NO_CONTACT
            raise RegistryError(f"{self.endpoint.host}: {_reason(error)}", 0, code) from None
        except httpx.InvalidURL as error:
            raise RegistryError(f"{self.endpoint.host}: it gave an address that is none: {error}", 400) from None

    def _send(
        self, method: str, url: str, scope: str, headers: Mapping[str, str] | None, content: Any
    ) -> httpx.Response:
        merged = dict(headers or {})
        token = self._headers.get(scope) or self._headers.get("")
        if token and urlsplit(url).netloc == urlsplit(self.endpoint.base).netloc:
            merged["Authorization"] = token
        request = self._client.build_request(method, url, headers=merged, content=content() if content else None)
        response = self._client.send(request, stream=True)
        self._answered = True
        return response

    def request(
        self,
        method: str,
        url: str,
        scope: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: Any = None,
        good: tuple[int, ...] = (200,),
        limit: int = 16 << 20,
    ) -> httpx.Response:
        """Make a request, again if need be, and return its answer with the body read.

        Parameters
        ----------
        content
            A function that returns the body, called for each try.
        good
            The statuses that are no failure.
        limit
            Most bytes of the body.

        Raises
        ------
        RegistryError
            It answered otherwise, or not at all.
        """
        for attempt in self.attempts():
            with attempt, self.stream(method, url, scope, headers=headers, content=content) as response:
                if response.status_code not in good:
                    raise failure(self.endpoint.host, response)
                body = bytearray()
                for chunk in response.iter_raw():
                    body += chunk
                    if len(body) > limit:
                        raise RegistryError(f"{self.endpoint.host}: an answer of more than {limit} bytes", 400)
                response._content = bytes(body)
                return response
        raise AssertionError("the last attempt raises")

    def attempts(self) -> Iterator[Attempt]:
        """Yield a context for each try; failures that may pass are swallowed in all but the last."""
        for number in range(self._registries.attempts):
            attempt = Attempt(number, last=number == self._registries.attempts - 1)
            yield attempt
            if attempt.error is None:
                return
            pause = min(self._registries.backoff * 2**number, _LONGEST_PAUSE)
            asked = attempt.error.retry_after if isinstance(attempt.error, RegistryError) else None
            time.sleep(min(asked, _LONGEST_PAUSE) if asked is not None else pause * random.uniform(0.75, 1.25))

    # -- authentication

    def _answer(self, response: httpx.Response, scope: str) -> bool:
        """Answer a challenge; tell whether the request is worth another try: not with what was refused just now."""
        sent: str | None = response.request.headers.get("authorization")
        for challenge in response.headers.get_list("www-authenticate"):
            kind, _, rest = challenge.strip().partition(" ")
            fields = {key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(rest)}
            if kind.lower() == "bearer":
                return self._bearer(fields, scope, sent)
            if kind.lower() == "basic" and self._credentials is not None and self._credentials.username:
                value = self._credentials.basic()
                with self._lock:
                    self._headers[""] = value
                return sent != value
        return False

    def _bearer(self, fields: Mapping[str, str], scope: str, sent: str | None) -> bool:
        who = self._credentials
        if who is not None and who.registry_token:
            with self._lock:
                self._headers[scope] = f"Bearer {who.registry_token}"
            return sent != f"Bearer {who.registry_token}"
        realm = fields.get("realm", "")
        secure = urlsplit(self.endpoint.base).scheme == "https" and self.endpoint.verify
        if urlsplit(realm).scheme not in (("https",) if secure else ("http", "https")):
            raise AuthenticationError(f"{self.endpoint.host}: its token server {realm!r} is not safe to speak to", 401)
        query = {"service": fields["service"]} if fields.get("service") else {}
        wanted = fields.get("scope") or scope
        if wanted:
            query["scope"] = wanted
        headers = {}
        if who is not None and who.identity_token:
            form = {
                **query,
                "grant_type": "refresh_token",
                "refresh_token": who.identity_token,
                "client_id": "layerlab",
            }
            response = self._client.post(realm, data=form)
        else:
            if who is not None and who.username:
                headers["Authorization"] = who.basic()
                query["account"] = who.username
            response = self._client.get(realm, params=query, headers=headers)
        if response.status_code != 200:
            raise AuthenticationError(
                f"{self.endpoint.host}: the token server refused: {_said(response.content) or response.status_code};"
                " log in with other credentials",
                response.status_code,
            )
        try:
            answer = json.loads(response.content[:_LARGEST_TOKEN])
            token = answer.get("token") or answer.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise AuthenticationError(f"{self.endpoint.host}: its token server gave no token", 401)
        with self._lock:
            self._headers[scope] = f"Bearer {token}"
        return True


class Attempt:
    """One try of something; swallows a failure that may pass, unless it is the last try."""

    def __init__(self, number: int, *, last: bool) -> None:
        self.number = number
        self._last = last
        self.error: BaseException | None = None

    def __enter__(self) -> Attempt:
        """Begin."""
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """End; true if the failure is to be forgotten."""
        self.error = error
        return error is not None and not self._last and transient(error)


def _reason(error: httpx.HTTPError) -> str:
    text = str(error) or type(error).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            "its certificate is not signed by a known authority; put the CA into certs.d/<host:port>/ca.crt, or name"
            " the registry among the insecure ones"
        )
    return text.splitlines()[0]


def _said(body: bytes) -> str:
    """Return what the registry's errors say, in Docker's form `code: message`."""
    return ", ".join(f"{code}: {text}" if code else text for code, text in _errors(body))[:500]


def _errors(body: bytes) -> list[tuple[str, str]]:
    try:
        found = json.loads(body)
        errors = found.get("errors") or []
        if not errors and isinstance(found.get("details"), str):
            return [("", found["details"])]
        return [
            (str(item.get("code", "")).lower().replace("_", " "), " ".join(str(item.get("message", "")).split()))
            for item in errors
            if isinstance(item, dict)
        ]
    except (ValueError, AttributeError, TypeError):
        return []


def failure(host: str, response: httpx.Response) -> RegistryError:
    """Return the error for an answer that is none of the good ones."""
    import httpx

    body = b""
    with contextlib.suppress(httpx.HTTPError):
        for chunk in response.iter_raw():
            body += chunk
            if len(body) >= _LARGEST_ERROR:
                break
    status = response.status_code
    errors = _errors(body)
    code = errors[0][0].upper().replace(" ", "_") if errors else ""
    said = _said(body) or f"it answered {status} {response.reason_phrase}".strip()
    if status in (401, 403):
        if not errors:
            said = "authentication required" if status == 401 else "denied: requested access to the resource is denied"
        return AuthenticationError(f"{host}: {said}", status, code)
    error = RegistryError(f"{host}: {said}", status, code)
    if status == 429 or status == 503:
        asked = response.headers.get("retry-after", "")
        if asked.isdigit():
            error.retry_after = float(asked)
    return error
