"""`daemon.json`: the settings of the daemon, in a file and as flags.

Decided here and only here: which keys there are, of what type each is, that nothing may be said both ways, and which
settings a running daemon can take over. Every complaint says file, line and key. Frozen values; any thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fusefs.mount import DRIVERS
from sim.images.errors import SettingsError
from sim.images.registry.endpoints import Registries, check_insecure, check_mirror

__all__ = ["RELOADABLE", "DaemonSettings", "read_settings", "reload_settings"]

_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """How the daemon is to run; the names are the file's with underscores. None or empty means the default.

    Attributes
    ----------
    registry_mirrors, insecure_registries
        See `Registries`.
    data_root
        Where everything is kept.
    storage_driver
        What mounts containers.
    hosts
        Addresses to listen at.
    debug, log_level
        How much it tells.
    labels
        `key=value` each, shown by `info`.
    log_driver, log_opts
        How containers' output is kept, if the container does not say.
    live_restore
        Whether containers go on when the daemon stops.
    icc
        Whether containers on the default network reach each other.
    ip6tables
        Whether what containers send beyond their networks by IPv6 has the host's address.
    group
        Whose members may use unix sockets.
    pidfile
        Where the number of the process is written.
    tls, tlsverify
        Whether TCP speaks TLS, and whether only to clients with a certificate that `tlscacert` has signed.
    tlscacert, tlscert, tlskey
        Files.
    """

    registry_mirrors: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    data_root: str | None = None
    storage_driver: str | None = None
    hosts: tuple[str, ...] = ()
    debug: bool = False
    log_level: str | None = None
    labels: tuple[str, ...] = ()
    log_driver: str | None = None
    log_opts: Mapping[str, str] = field(default_factory=dict)
    live_restore: bool = False
    icc: bool = True
    ip6tables: bool = False
    group: str | None = None
    pidfile: str | None = None
    tls: bool = False
    tlsverify: bool = False
    tlscacert: str | None = None
    tlscert: str | None = None
    tlskey: str | None = None

    def registries(self) -> Registries:
        """Return how to speak to registries under these settings."""
        return Registries(mirrors=self.registry_mirrors, insecure=self.insecure_registries)


#: What a running daemon takes over on SIGHUP; the rest needs a restart.
RELOADABLE = frozenset({"registry_mirrors", "insecure_registries", "debug", "log_level", "labels", "live_restore"})


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise SettingsError("must be a text that is not empty")
    return value


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise SettingsError("must be true or false")
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
        raise SettingsError('must be a list of texts, such as ["a", "b"]')
    return tuple(value)


def _mirrors(value: object) -> tuple[str, ...]:
    return tuple(check_mirror(url) for url in _texts(value))


def _insecure(value: object) -> tuple[str, ...]:
    return check_insecure(_texts(value))


def _labels(value: object) -> tuple[str, ...]:
    found = _texts(value)
    for label in found:
        if not re.fullmatch(r"[^\s=]+=.*", label):
            raise SettingsError(f"{label!r} must be of the form key=value")
    keys = [label.partition("=")[0] for label in found]
    for key in keys:
        if keys.count(key) > 1:
            raise SettingsError(f"the label {key!r} stands twice")
    return found


def _hosts(value: object) -> tuple[str, ...]:
    for host in (found := _texts(value)):
        if not re.fullmatch(r"(unix|tcp|fd|npipe)://.*|/.*", host):
            raise SettingsError(f"{host!r} is no address: write unix:///path or tcp://host:port")
    return found


def _options(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise SettingsError('must be an object of texts, such as {"max-size": "10m"}')
    return dict(value)


def _one_of(*known: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if _text(value) not in known:
            raise SettingsError(f"must be one of {', '.join(known)}")
        return str(value)

    return check


_CHECKS: dict[str, Callable[[object], object]] = {
    "registry-mirrors": _mirrors,
    "insecure-registries": _insecure,
    "data-root": _text,
    "storage-driver": _one_of("auto", *DRIVERS),
    "hosts": _hosts,
    "debug": _truth,
    "log-level": _one_of("debug", "info", "warn", "error", "fatal"),
    "labels": _labels,
    "log-driver": _one_of("json-file", "local", "none"),
    "log-opts": _options,
    "live-restore": _truth,
    "icc": _truth,
    "ip6tables": _truth,
    "group": _text,
    "pidfile": _text,
    "tls": _truth,
    "tlsverify": _truth,
    "tlscacert": _text,
    "tlscert": _text,
    "tlskey": _text,
}


def read_settings(
    path: Path | None, flags: Mapping[str, object] | None = None, *, must_exist: bool = True
) -> DaemonSettings:
    """Read the file and put the flags beside it.

    Parameters
    ----------
    path
        The file; None for none.
    flags
        What was given as flags, by the file's keys (`registry-mirrors` for `--registry-mirror`); None as a value, an
        empty list or an empty object means that the flag was not given.
    must_exist
        Whether a missing file is an error; not for the default path.

    Raises
    ------
    SettingsError
        The file cannot be read, is no JSON object, has an unknown key or a value of the wrong kind, or says what a flag
        says too.
    """
    given = {
        key: value
        for key, value in (flags or {}).items()
        if value is not None and value != [] and value != () and value != {}
    }
    found: dict[str, Any] = {}
    if path is not None:
        for key, (line, value) in _read(path, must_exist).items():
            where = f"{path}:{line}: {key if key.isprintable() else repr(key)}"
            if key not in _CHECKS:
                raise SettingsError(
                    f"{where}: this is no setting of the daemon; known are {', '.join(sorted(_CHECKS))}"
                )
            if key in given:
                raise SettingsError(
                    f"{where}: the setting is given both as a flag and in the file (from flag: {_shown(given[key])},"
                    f" from file: {_shown(value)}); remove one"
                )
            found[key] = _checked(key, value, where)
    for key, value in given.items():
        if key not in _CHECKS:
            raise SettingsError(f"--{key}: this is no setting of the daemon")
        found[key] = _checked(key, value, f"--{key}")
    return DaemonSettings(**{key.replace("-", "_"): value for key, value in found.items()})


def _checked(key: str, value: object, where: str) -> object:
    try:
        return _CHECKS[key](value)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from None


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 80 else text[:80] + "…"


def _read(path: Path, must_exist: bool) -> dict[str, tuple[int, Any]]:
    """Return the file's keys with their lines and values."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if must_exist:
            raise SettingsError(f"{path}: there is no such file") from None
        return {}
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    if len(data) > _LARGEST:
        raise SettingsError(f"{path}: more than {_LARGEST} bytes, which no settings have")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise SettingsError(f"{path}:{line}: the file is not UTF-8") from None
    if not text.strip():
        return {}
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        key = _last_key(text[: error.pos])
        raise SettingsError(f"{path}:{error.lineno}: {key}invalid JSON: {error.msg} (column {error.colno})") from None
    except RecursionError:
        raise SettingsError(f"{path}:1: invalid JSON: nested too deep") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{path}:1: it must hold a JSON object, {{…}}")
    lines: dict[str, int] = {}
    for key, line in _keys(text):
        if key in lines:
            shown = key if key.isprintable() else repr(key)
            raise SettingsError(f"{path}:{line}: {shown}: the key stands twice, first in line {lines[key]}")
        lines[key] = line
    return {key: (lines[key], value) for key, value in document.items()}


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,\n]')


def _keys(text: str) -> Iterator[tuple[str, int]]:
    """Yield the keys of the outermost object of valid JSON with their lines."""
    depth, line = 0, 1
    last: tuple[str, int] | None = None
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n":
            line += 1
        elif token in "{[":
            depth += 1
            last = None
        elif token in "}]":
            depth -= 1
        elif token == ":" and depth == 1 and last is not None:
            yield last
        elif token == ",":
            last = None
        elif token[0] == '"' and depth == 1:
            last = (str(json.loads(token)), line)


def _last_key(text: str) -> str:
    """Return the key that a damaged text was at, for a message; empty where there is none."""
    found = re.findall(r'"((?:[^"\\]|\\.)*)"\s*:', text)
    return f"{found[-1]}: " if found and found[-1].isprintable() else ""


def reload_settings(old: DaemonSettings, new: DaemonSettings) -> tuple[DaemonSettings, tuple[str, ...]]:
    """Take over what a running daemon can.

    Returns
    -------
    settings
        The old ones with those that can change as in the new ones.
    left
        The keys that differ but need a restart, sorted.
    """
    fresh = asdict(new)
    taken = replace(old, **{name: getattr(new, name) for name in RELOADABLE})
    left = [
        item.name for item in fields(new) if item.name not in RELOADABLE and getattr(old, item.name) != fresh[item.name]
    ]
    return taken, tuple(sorted(name.replace("_", "-") for name in left))
