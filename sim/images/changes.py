"""Changes to an image's settings in the words of a Dockerfile: `--change` of commit and import.

Decided here and only here: what CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, SHELL, STOPSIGNAL, USER,
VOLUME and WORKDIR do to the settings. Functions that return new settings; any thread.
"""

from __future__ import annotations

import copy
import json
import posixpath
import re
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from sim.images.errors import ImagesError

__all__ = ["apply_changes"]

_SHELL = ["/bin/sh", "-c"]
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def apply_changes(settings: Mapping[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """Return the settings after some changes.

    Parameters
    ----------
    settings
        By the names of Docker's API.
    changes
        One instruction each.

    Raises
    ------
    ImagesError
        An instruction is unknown, not allowed here, or has the wrong arguments; the text shows it.

    Examples
    --------
    >>> apply_changes({"Env": ["A=1"]}, ['ENV A=2 B="x y"', 'CMD ["sh"]'])
    {'Env': ['A=2', 'B=x y'], 'Cmd': ['sh']}
    """
    found = copy.deepcopy(dict(settings))
    has_command = False
    for change in changes:
        word, _, rest = change.strip().partition(" ")
        rest = rest.strip()
        name = word.upper()
        function = _INSTRUCTIONS.get(name)
        if function is None:
            known = ", ".join(sorted(_INSTRUCTIONS))
            raise ImagesError(f"{change!r}: {word or 'nothing'} is not a valid change command; use one of {known}")
        if not rest:
            raise ImagesError(f"{change!r}: {name} requires at least one argument")
        try:
            function(found, rest)
        except ValueError as error:
            raise ImagesError(f"{change!r}: {error}") from None
        if name == "ENTRYPOINT" and not has_command:
            found.pop("Cmd", None)  # as the builder: a command set for another entry point makes no sense
        has_command = has_command or name == "CMD"
    return found


def _words(text: str) -> list[str] | None:
    """Return the words of an instruction in its JSON form, None where it is in its other form."""
    if not text.startswith("["):
        return None
    try:
        words = json.loads(text)
    except ValueError:
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None


def _command(settings: dict[str, Any], text: str) -> list[str]:
    words = _words(text)
    return words if words is not None else [*(settings.get("Shell") or _SHELL), text]


def _pairs(text: str) -> list[tuple[str, str]]:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"the quotes do not match ({error})") from None
    if "=" not in words[0]:
        key, _, value = text.partition(" ")
        if not value:
            raise ValueError(f"{key} has no value; write {key}=value")
        return [(key, value.strip())]
    pairs = [word.partition("=") for word in words]
    if any(not equals or not key for key, equals, _ in pairs):
        raise ValueError("each word must be of the form key=value")
    return [(key, value) for key, _, value in pairs]


def _set_cmd(settings: dict[str, Any], text: str) -> None:
    settings["Cmd"] = _command(settings, text)


def _set_entrypoint(settings: dict[str, Any], text: str) -> None:
    settings["Entrypoint"] = _command(settings, text)


def _set_env(settings: dict[str, Any], text: str) -> None:
    present: dict[str, str] = dict(item.partition("=")[::2] for item in settings.get("Env") or ())
    present.update(_pairs(text))
    settings["Env"] = [f"{key}={value}" for key, value in present.items()]


def _set_label(settings: dict[str, Any], text: str) -> None:
    settings["Labels"] = {**(settings.get("Labels") or {}), **dict(_pairs(text))}


def _set_expose(settings: dict[str, Any], text: str) -> None:
    ports = dict(settings.get("ExposedPorts") or {})
    for word in text.split():
        parts = _PORT.fullmatch(word)
        if not parts:
            raise ValueError(f"{word!r} is no port; write 80, 80/udp or 80-90")
        first, last = int(parts[1]), int(parts[2] or parts[1])
        if not 0 < first <= last <= 65535:
            raise ValueError(f"{word!r} is out of the range of ports")
        for port in range(first, last + 1):
            ports[f"{port}/{(parts[3] or 'tcp').lower()}"] = {}
    settings["ExposedPorts"] = ports


def _set_volume(settings: dict[str, Any], text: str) -> None:
    words = _words(text)
    paths = words if words is not None else text.split()
    settings["Volumes"] = {**(settings.get("Volumes") or {}), **{path: {} for path in paths}}


def _set_workdir(settings: dict[str, Any], text: str) -> None:
    settings["WorkingDir"] = posixpath.normpath(posixpath.join("/", settings.get("WorkingDir") or "/", text))


def _set_user(settings: dict[str, Any], text: str) -> None:
    if len(text.split()) != 1:
        raise ValueError("USER requires exactly one argument")
    settings["User"] = text


def _set_onbuild(settings: dict[str, Any], text: str) -> None:
    word = text.split()[0].upper()
    if word in ("ONBUILD", "FROM", "MAINTAINER"):
        raise ValueError(f"{word} is not allowed as an ONBUILD trigger")
    settings["OnBuild"] = [*(settings.get("OnBuild") or ()), text]


def _set_stop_signal(settings: dict[str, Any], text: str) -> None:
    settings["StopSignal"] = text


def _set_shell(settings: dict[str, Any], text: str) -> None:
    words = _words(text)
    if not words:
        raise ValueError("SHELL requires the arguments to be in JSON form")
    settings["Shell"] = words


def _duration(text: str) -> int:
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration; write 30s or 1m30s")
    return sum(round(float(number) * _UNITS[unit]) for number, unit in parts)


def _set_healthcheck(settings: dict[str, Any], text: str) -> None:
    check: dict[str, Any] = {}
    fields = {"interval": "Interval", "timeout": "Timeout", "start-period": "StartPeriod"}
    while text.startswith("--"):
        option, _, text = text.partition(" ")
        key, _, value = option[2:].partition("=")
        if key == "retries":
            if not value.isdigit():
                raise ValueError(f"--retries={value} is no number")
            check["Retries"] = int(value)
        elif key in fields:
            check[fields[key]] = _duration(value)
        else:
            raise ValueError(f"unknown flag: {key}")
        text = text.strip()
    word, _, rest = text.partition(" ")
    if word.upper() == "NONE" and not rest:
        settings["Healthcheck"] = {"Test": ["NONE"]}
    elif word.upper() == "CMD" and rest.strip():
        words = _words(rest.strip())
        test = ["CMD", *words] if words is not None else ["CMD-SHELL", rest.strip()]
        settings["Healthcheck"] = {"Test": test, **check}
    else:
        raise ValueError("HEALTHCHECK takes CMD with a command, or NONE")


_INSTRUCTIONS = {
    "CMD": _set_cmd,
    "ENTRYPOINT": _set_entrypoint,
    "ENV": _set_env,
    "EXPOSE": _set_expose,
    "HEALTHCHECK": _set_healthcheck,
    "LABEL": _set_label,
    "ONBUILD": _set_onbuild,
    "SHELL": _set_shell,
    "STOPSIGNAL": _set_stop_signal,
    "USER": _set_user,
    "VOLUME": _set_volume,
    "WORKDIR": _set_workdir,
}
