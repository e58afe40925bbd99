"""Contexts: named engines, kept where the docker command keeps its own.

Decided here and only here: the store's files (`contexts/meta/<SHA-256 of the name>/meta.json` and `contexts/tls/…` in
the directory of the user's config file, whose `currentContext` is the one in use), and which context a command is for.
One thread; of two commands that write at once the last one's file stays, whole.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from sim.cli.client.hosts import Host, Tls, parse
from sim.cli.failure import Failure

__all__ = ["DEFAULT", "Context", "Contexts", "chosen"]

#: The context that is always there: what the variables of the environment say, else the usual socket.
DEFAULT = "default"

_FILES = {"ca": "ca.pem", "cert": "cert.pem", "key": "key.pem"}


class Context(NamedTuple):
    """A named engine.

    Attributes
    ----------
    name, description, host
        Texts; the host as for `--host`.
    skips_verify
        Whether the engine's certificate need not be good.
    tls
        Certificates: `ca`, `cert`, `key`.
    """

    name: str
    description: str = ""
    host: str = ""
    skips_verify: bool = False
    tls: Mapping[str, bytes] = {}

    def document(self) -> dict[str, Any]:
        """Return it as it is kept."""
        return {
            "Name": self.name,
            "Metadata": {"Description": self.description} if self.description else {},
            "Endpoints": {"docker": {"Host": self.host, "SkipTLSVerify": self.skips_verify}},
        }


def _folder(settings: Mapping[str, Any]) -> str:
    return str(settings.get("config") or os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker"))


def _config(settings: Mapping[str, Any]) -> dict[str, Any]:
    try:
        with open(os.path.join(_folder(settings), "config.json"), "rb") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def chosen(settings: Mapping[str, Any]) -> str:
    """Return the name of the context that a command is for.

    Raises
    ------
    Failure
        A host is named as well.
    """
    named = str(settings.get("context_name") or "")
    if settings.get("host"):
        if named:
            raise Failure("conflicting options: cannot specify both --host and --context")
        return DEFAULT
    if named:
        return named
    if os.environ.get("LAYERLAB_HOST") or os.environ.get("DOCKER_HOST"):
        return DEFAULT
    return os.environ.get("DOCKER_CONTEXT") or str(_config(settings).get("currentContext") or "") or DEFAULT


class Contexts:
    """The store.

    Parameters
    ----------
    settings
        The options before the command.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = settings
        self._config_file = os.path.join(_folder(settings), "config.json")
        self._place = os.path.join(_folder(settings), "contexts")

    def places(self, name: str) -> tuple[str, str]:
        """Return the directories of a context's description and of its certificates."""
        import hashlib

        number = hashlib.sha256(name.encode()).hexdigest()
        return os.path.join(self._place, "meta", number), os.path.join(self._place, "tls", number)

    def get(self, name: str) -> Context:
        """Return a context that somebody made.

        Raises
        ------
        Failure
            There is none of this name.
        """
        meta, tls = self.places(name)
        path = os.path.join(meta, "meta.json")
        try:
            with open(path, "rb") as file:
                found = json.load(file)
            endpoint = (found.get("Endpoints") or {}).get("docker") or {}
            certificates = {key: text for key in _FILES if (text := _read(os.path.join(tls, "docker", _FILES[key])))}
            return Context(
                str(found["Name"]),
                str((found.get("Metadata") or {}).get("Description") or ""),
                str(endpoint.get("Host") or ""),
                bool(endpoint.get("SkipTLSVerify")),
                certificates,
            )
        except OSError as error:
            why = f"open {path}: {(error.strerror or '').lower()}"
            raise Failure(f'context "{name}": context not found: {why}') from None
        except (ValueError, KeyError, AttributeError) as error:
            raise Failure(f'context "{name}": cannot be read: {path}: {error}') from None

    def whole(self, name: str) -> tuple[dict[str, Any], dict[str, bytes]]:
        """Return all that is kept of a context: the document, and the files of certificates by "endpoint/file".

        Raises
        ------
        Failure
            There is none of this name.
        """
        self.get(name)
        meta, tls = self.places(name)
        document: dict[str, Any] = json.loads(_read(os.path.join(meta, "meta.json")))
        files = {}
        for folder, _, names in os.walk(tls):
            for each in names:
                path = os.path.join(folder, each)
                files[os.path.relpath(path, tls)] = _read(path)
        return document, files

    def keep_whole(self, name: str, document: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Write all of a new context; what it is called decides what it is named."""
        meta, tls = self.places(name)
        for each, data in files.items():
            _write(os.path.join(tls, each), data, 0o600)
        text = json.dumps({**document, "Name": name}, separators=(",", ":"), ensure_ascii=False)
        _write(os.path.join(meta, "meta.json"), text.encode(), 0o644)  # the last: by it the context is there

    def all(self) -> list[Context]:
        """Return the contexts that somebody made, by name."""
        found = []
        try:
            numbers = os.listdir(os.path.join(self._place, "meta"))
        except OSError:
            return []
        for number in numbers:
            text = _read(os.path.join(self._place, "meta", number, "meta.json"))
            if text:
                try:
                    found.append(self.get(str(json.loads(text)["Name"])))
                except (ValueError, KeyError, TypeError):
                    raise Failure(f"{self._place}/meta/{number}/meta.json: cannot be read") from None
        return sorted(found)

    def keep(self, context: Context) -> None:
        """Write a context, new or changed."""
        meta, tls = self.places(context.name)
        _write(os.path.join(meta, "meta.json"), json.dumps(context.document(), separators=(",", ":")).encode(), 0o644)
        for key, name in _FILES.items():
            path = os.path.join(tls, "docker", name)
            if key in context.tls:
                _write(path, context.tls[key], 0o600)
            elif os.path.exists(path):
                os.unlink(path)

    def remove(self, name: str) -> None:
        """Remove a context."""
        import shutil

        for place in self.places(name):
            shutil.rmtree(place, ignore_errors=True)

    def use(self, name: str) -> None:
        """Let a context be that of commands that name none."""
        config = _config(self._settings)
        config.pop("currentContext", None)
        if name != DEFAULT:
            config["currentContext"] = name
        _write(self._config_file, json.dumps(config, indent="\t").encode(), 0o600)

    def host(self, name: str) -> Host:
        """Return the engine of a context that somebody made.

        Raises
        ------
        Failure
            There is no such context, or its host cannot be read.
        """
        context = self.get(name)
        _, tls = self.places(name)

        def file(key: str) -> str:
            return os.path.join(tls, "docker", _FILES[key]) if key in context.tls else ""

        secret = bool(context.tls) or context.skips_verify
        return parse(
            context.host, Tls(not context.skips_verify, file("ca"), file("cert"), file("key")) if secret else None
        )


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _write(path: str, data: bytes, mode: int) -> None:
    """Write a file aside and put it into its place; where that is a symlink, where it leads to."""
    path = os.path.realpath(path)
    _make_folder(os.path.dirname(path), 0o700 if mode == 0o600 else 0o755)
    aside = f"{path}.{os.getpid()}"
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(fd, "wb") as file:
        file.write(data)
    os.rename(aside, path)


def _make_folder(path: str, mode: int) -> None:
    """Make a directory, and those above it that are not there, each for the same people."""
    if not os.path.isdir(path):
        _make_folder(os.path.dirname(path), mode)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, mode)
