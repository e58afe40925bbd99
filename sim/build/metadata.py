"""Instructions that change settings and no files.

Decided here and only here: what each does to the settings, and the text that history keeps of it, as moby's dispatchers
have it. Functions from state and instruction to state and text; any thread.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar, cast

from sim.build.errors import BuildError
from sim.build.expand import process_word, process_words
from sim.build.instructions import (
    Arg,
    Cmd,
    Command,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Maintainer,
    OnBuild,
    Shell,
    StopSignal,
    User,
    Volume,
)
from sim.build.quoting import duration, quote_list, quote_rune
from sim.build.state import State

__all__ = ["METADATA", "described"]

Described = tuple[State, str]
Tell = Callable[[str], object]


def described(state: State, command: Command, escape: str, tell: Tell) -> Described:
    """Return the state after an instruction, and the text of it that history keeps.

    Raises
    ------
    BuildError
        Its arguments, once expanded, make no sense.
    """
    words = _Words(state, escape)
    return METADATA[type(command)](state, command, words, tell)


class _Words:
    """Expands words with what a stage knows."""

    def __init__(self, state: State, escape: str) -> None:
        self._variables = state.variables()
        self._escape = escape

    def one(self, word: str) -> str:
        return process_word(word, self._variables, self._escape)

    def many(self, word: str) -> list[str]:
        return process_words(word, self._variables, self._escape)


def _with(state: State, **settings: object) -> State:
    return replace(state, settings={**state.settings, **settings})


def _env(state: State, command: Env, words: _Words, tell: Tell) -> Described:
    environment = state.environment
    text = "ENV"
    for name, value in [(words.one(name), words.one(value)) for name, value in command.pairs]:
        fresh = f"{name}={value}"
        text += f" {fresh}"
        for at, each in enumerate(environment):
            if each.partition("=")[0] == name:
                environment[at] = fresh
                break
        else:
            environment.append(fresh)
    return _with(state, Env=environment), text


def _label(state: State, command: Label, words: _Words, tell: Tell) -> Described:
    labels = dict(state.settings.get("Labels") or {})
    text = "LABEL"
    for name, value in command.pairs:
        if command.expand:
            name, value = words.one(name), words.one(value)
        labels[name] = value
        text += f" {name}={value}"
    return _with(state, Labels=labels), text


def _maintainer(state: State, command: Maintainer, words: _Words, tell: Tell) -> Described:
    return replace(state, author=command.who), f"MAINTAINER {command.who}"


def _cmd(state: State, command: Cmd, words: _Words, tell: Tell) -> Described:
    line = [*state.shell, *command.words] if command.shell else list(command.words)
    changed = replace(_with(state, Cmd=line), cmd_set=state.cmd_set or bool(command.words))
    return changed, f"CMD {quote_list(line)}"


def _entrypoint(state: State, command: Entrypoint, words: _Words, tell: Tell) -> Described:
    line = [*state.shell, *command.words] if command.shell else list(command.words)
    changed = _with(state, Entrypoint=line)
    if not state.cmd_set:
        changed = _with(changed, Cmd=None)
    return changed, f"ENTRYPOINT {quote_list(line)}"


_PORTS = re.compile(r"(?:(?:\[[^\]]*\]|[^:/]*):)?(?:[^:/]*:)?([^:/]*)(?:/(.*))?")


def _expose(state: State, command: Expose, words: _Words, tell: Tell) -> Described:
    written = [port for each in command.ports for port in words.many(each)]
    ports = dict(state.settings.get("ExposedPorts") or {})
    for each in written:
        found = _PORTS.fullmatch(each)
        inside, protocol = (found[1], found[2]) if found else (each, None)
        if not inside:
            raise BuildError(f"No port specified: {each}<empty>")
        protocol = (protocol or "tcp").lower()
        if protocol not in ("tcp", "udp", "sctp"):
            raise BuildError(f"Invalid proto: {protocol}")
        first, dash, last = inside.partition("-")
        try:
            low, high = int(first), int(last) if dash else int(first)
            if not 0 <= low <= high <= 65535:
                raise ValueError
        except ValueError:
            raise BuildError(f"Invalid containerPort: {inside}") from None
        ports.update({f"{number}/{protocol}": {} for number in range(low, high + 1)})
    return _with(state, ExposedPorts=dict(sorted(ports.items()))), f"EXPOSE {' '.join(written)}"


def _user(state: State, command: User, words: _Words, tell: Tell) -> Described:
    who = words.one(command.who)
    return _with(state, User=who), f"USER {who}"


def _volume(state: State, command: Volume, words: _Words, tell: Tell) -> Described:
    paths = [words.one(path) for path in command.paths]
    if not all(paths):
        raise BuildError("VOLUME specified can not be an empty string")
    volumes = {**(state.settings.get("Volumes") or {}), **{path: {} for path in paths}}
    return _with(state, Volumes=dict(sorted(volumes.items()))), f"VOLUME [{' '.join(paths)}]"


def _stop_signal(state: State, command: StopSignal, words: _Words, tell: Tell) -> Described:
    name = words.one(command.signal)
    if not _is_signal(name):
        raise BuildError(f"Invalid signal: {name}")
    return _with(state, StopSignal=name), f"STOPSIGNAL {name}"


def _is_signal(name: str) -> bool:
    if name.isascii() and name.isdigit():
        return 0 < int(name) <= 64
    plain = name.upper().removeprefix("SIG")
    if re.fullmatch(r"RTMIN(\+\d+)?|RTMAX(-\d+)?", plain):
        return True
    return f"SIG{plain}" in signal.Signals.__members__ or plain in ("CLD", "IOT", "POLL", "UNUSED")


def _arg(state: State, command: Arg, words: _Words, tell: Tell) -> Described:
    text = "ARG"
    for name, value in command.pairs:
        name = words.one(name)
        text += f" {name}"
        if value is not None:
            value = words.one(value)
            text += f"={value}"
        state.arguments.add(name, value)
    return state, text


def _shell(state: State, command: Shell, words: _Words, tell: Tell) -> Described:
    return _with(state, Shell=list(command.words)), f"SHELL [{' '.join(command.words)}]"


def _on_build(state: State, command: OnBuild, words: _Words, tell: Tell) -> Described:
    triggers = [*(state.settings.get("OnBuild") or ()), command.expression]
    return _with(state, OnBuild=triggers), f"ONBUILD {command.expression}"


def _healthcheck(state: State, command: Healthcheck, words: _Words, tell: Tell) -> Described:
    before = (state.settings.get("Healthcheck") or {}).get("Test") or []
    if before and before[0] != "NONE":
        tell(f"Note: overriding previous HEALTHCHECK: [{' '.join(before)}]\n")
    settings: Mapping[str, Any] = command.settings
    times = [f'"{duration(settings.get(name, 0))}"' for name in ("Interval", "Timeout", "StartPeriod")]
    if settings.get("StartInterval"):
        times.append(f'"{duration(settings["StartInterval"])}"')
    shown = " ".join([quote_list(settings["Test"]), *times, quote_rune(settings.get("Retries", 0))])
    # What it does not say it has from the one before, as moby merges the settings of a container and its image.
    earlier = {name: value for name, value in (state.settings.get("Healthcheck") or {}).items() if name != "Test"}
    return _with(state, Healthcheck={**earlier, **settings}), f"HEALTHCHECK &{{{shown}}}"


_Kind = TypeVar("_Kind", bound=Command)
_Function = Callable[[State, Command, _Words, Tell], Described]


def _entry(kind: type[_Kind], function: Callable[[State, _Kind, _Words, Tell], Described]) -> tuple[type, _Function]:
    return kind, cast(_Function, function)


#: What is done for each kind of instruction.
METADATA: Mapping[type, _Function] = dict(
    (
        _entry(Env, _env),
        _entry(Label, _label),
        _entry(Maintainer, _maintainer),
        _entry(Cmd, _cmd),
        _entry(Entrypoint, _entrypoint),
        _entry(Expose, _expose),
        _entry(User, _user),
        _entry(Volume, _volume),
        _entry(StopSignal, _stop_signal),
        _entry(Arg, _arg),
        _entry(Shell, _shell),
        _entry(OnBuild, _on_build),
        _entry(Healthcheck, _healthcheck),
    )
)
