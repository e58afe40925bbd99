"""Credentials: Docker's `config.json` and the credential helpers that it names.

Decided here and only here: in which order a registry's credentials are looked for (those given with the request, then
`credHelpers`, `credsStore`, `auths`), and how they are stored. Passwords are never shown, logged or put into messages.
Functions and frozen values; any thread.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sim.images.blobs import replace_file
from sim.images.errors import AuthenticationError, SettingsError

__all__ = ["Credentials", "DockerConfig"]

#: The key under which Docker keeps the credentials of its own registry.
_HUB = "https://index.docker.io/v1/"
_HELPER_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who to be at a registry: name and password, or a token that stands for both."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @classmethod
    def from_header(cls, header: str) -> Credentials | None:
        """Read the `X-Registry-Auth` header of Docker's API; None where it says nothing.

        Raises
        ------
        AuthenticationError
            It cannot be read.
        """
        if not header:
            return None
        try:
            fields = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
            found = cls(
                str(fields.get("username", "")),
                str(fields.get("password", "")),
                str(fields.get("identitytoken", "")),
                str(fields.get("registrytoken", "")),
            )
        except (ValueError, AttributeError, binascii.Error):
            raise AuthenticationError("the request's credentials (X-Registry-Auth) cannot be read") from None
        return found if found != cls() else None

    def basic(self) -> str:
        """Return the value of a header for basic authentication."""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


class DockerConfig:
    """The credentials in a Docker `config.json`.

    Parameters
    ----------
    path
        The file; `$DOCKER_CONFIG/config.json`, else `~/.docker/config.json` where None. It may be missing.

    Raises
    ------
    SettingsError
        The file is no JSON object.
    """

    def __init__(self, path: Path | None = None) -> None:
        folder = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")
        self.path = path or Path(folder) / "config.json"
        self._fields = self._read()

    def _read(self) -> dict[str, Any]:
        try:
            data = self.path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise SettingsError(f"{self.path}: {error.strerror}") from None
        try:
            fields = json.loads(data or b"{}")
        except ValueError as error:
            raise SettingsError(f"{self.path}: no JSON: {error}") from None
        if not isinstance(fields, dict):
            raise SettingsError(f"{self.path}: it must hold a JSON object")
        return fields

    def find(self, domain: str) -> Credentials | None:
        """Return the credentials for a registry, None where there are none.

        Raises
        ------
        AuthenticationError
            A credential helper is named but cannot be run, or the file's entry cannot be read.
        """
        helpers = self._fields.get("credHelpers")
        for key in _keys(domain):
            helper = helpers.get(key) if isinstance(helpers, dict) else None
            if helper:
                return self._ask(str(helper), key)
        store = self._fields.get("credsStore")
        if store:
            for key in _keys(domain):
                if found := self._ask(str(store), key):
                    return found
        auths = self._fields.get("auths")
        if isinstance(auths, dict):
            for key, entry in auths.items():
                if _host(key) in {_host(name) for name in _keys(domain)} and isinstance(entry, dict):
                    return self._entry(key, entry)
        return None

    def _entry(self, key: str, entry: dict[str, Any]) -> Credentials | None:
        name, password = str(entry.get("username", "")), str(entry.get("password", ""))
        if entry.get("auth"):
            try:
                name, _, password = base64.b64decode(str(entry["auth"])).decode().partition(":")
            except (ValueError, binascii.Error):
                raise AuthenticationError(f"{self.path}: the entry for {key} cannot be read; log in again") from None
        found = Credentials(
            name, password.rstrip("\0"), str(entry.get("identitytoken", "")), str(entry.get("registrytoken", ""))
        )
        return found if found != Credentials() else None

    def _ask(self, helper: str, key: str) -> Credentials | None:
        program = f"docker-credential-{helper}"
        if "/" in helper:
            raise AuthenticationError(f"{self.path}: {helper!r} is no name of a credential helper")
        try:
            answer = subprocess.run(
                [program, "get"], input=key.encode(), capture_output=True, timeout=_HELPER_SECONDS, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise AuthenticationError(f"{program}: the credential helper cannot be run ({error})") from None
        if answer.returncode:
            text = answer.stdout.decode(errors="replace").strip()
            if "not found" in text:
                return None
            raise AuthenticationError(f"{program}: {text or 'it failed'}")
        try:
            fields = json.loads(answer.stdout)
            name, secret = str(fields["Username"]), str(fields["Secret"])
        except (ValueError, KeyError, TypeError):
            raise AuthenticationError(f"{program}: its answer cannot be read") from None
        if name == "<token>":
            return Credentials(identity_token=secret)
        return Credentials(name, secret) if name or secret else None

    def save(self, domain: str, credentials: Credentials | None) -> None:
        """Keep credentials for a registry, or forget them; as `login` and `logout` do. Readable by the owner alone."""
        key = _keys(domain)[0]
        store = self._fields.get("credsStore")
        if store and "/" not in str(store):
            fields = {"ServerURL": key, "Username": "", "Secret": ""}
            if credentials is not None:
                fields.update(Username=credentials.username, Secret=credentials.password)
            verb, text = ("store", json.dumps(fields)) if credentials else ("erase", key)
            subprocess.run(
                [f"docker-credential-{store}", verb],
                input=text.encode(),
                timeout=_HELPER_SECONDS,
                check=True,
                capture_output=True,
            )
            return
        auths = dict(self._fields.get("auths") or {})
        if credentials is None:
            auths.pop(key, None)
        else:
            auths[key] = {"auth": credentials.basic().removeprefix("Basic ")}
            if credentials.identity_token:
                auths[key]["identitytoken"] = credentials.identity_token
        self._fields["auths"] = auths
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = os.umask(0o077)
        try:
            replace_file(self.path, json.dumps(self._fields, indent="\t").encode(), sync=False)
        finally:
            os.umask(before)


def _keys(domain: str) -> tuple[str, ...]:
    if domain in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        return (_HUB, "docker.io", "index.docker.io", "registry-1.docker.io")
    return (domain, f"https://{domain}")


def _host(key: str) -> str:
    """Return the registry that a key names: keys stand with and without scheme and path."""
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]
