"""Instructions with a meaning: each a value, its arguments checked, grouped by stages.

Decided here and only here: what arguments each instruction takes, and what is said where they are wrong (BuildKit's
`instructions` package, whose words these are). Nothing is expanded yet. Pure functions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sim.build.errors import DockerfileError
from sim.build.parser import Heredoc, Instruction
from sim.build.quoting import duration, parse_duration, quote

__all__ = [
    "Arg",
    "Cmd",
    "Command",
    "Entrypoint",
    "Env",
    "Expose",
    "Healthcheck",
    "Label",
    "Maintainer",
    "OnBuild",
    "Run",
    "Shell",
    "Stage",
    "StopSignal",
    "Transfer",
    "User",
    "Volume",
    "Workdir",
    "command_of",
    "stages_of",
]

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Command:
    """One instruction; `code` is its text as the output shows it."""

    code: str


@dataclass(frozen=True, slots=True)
class Env(Command):
    """`ENV name=value …`."""

    pairs: Pairs = ()


@dataclass(frozen=True, slots=True)
class Label(Command):
    """`LABEL name=value …`; without `expand` the values are taken as they are."""

    pairs: Pairs = ()
    expand: bool = True


@dataclass(frozen=True, slots=True)
class Maintainer(Command):
    """`MAINTAINER name`."""

    who: str = ""


@dataclass(frozen=True, slots=True)
class Transfer(Command):
    """`ADD` and `COPY`.

    Attributes
    ----------
    name
        "ADD" or "COPY".
    sources, target
        As they are written; a source that is the name of a document stands for it.
    origin
        `--from`.
    """

    name: str = "COPY"
    sources: tuple[str, ...] = ()
    target: str = ""
    chown: str = ""
    chmod: str = ""
    origin: str = ""
    documents: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class Run(Command):
    """`RUN`: words, and whether they are for a shell; flags are the names of those that only BuildKit has."""

    words: tuple[str, ...] = ()
    shell: bool = True
    flags: tuple[str, ...] = ()
    documents: tuple[Heredoc, ...] = ()


@dataclass(frozen=True, slots=True)
class Cmd(Command):
    """`CMD`."""

    words: tuple[str, ...] = ()
    shell: bool = True


@dataclass(frozen=True, slots=True)
class Entrypoint(Command):
    """`ENTRYPOINT`."""

    words: tuple[str, ...] = ()
    shell: bool = True


@dataclass(frozen=True, slots=True)
class Expose(Command):
    """`EXPOSE port …`."""

    ports: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class User(Command):
    """`USER who`."""

    who: str = ""


@dataclass(frozen=True, slots=True)
class Workdir(Command):
    """`WORKDIR path`."""

    path: str = ""


@dataclass(frozen=True, slots=True)
class Volume(Command):
    """`VOLUME path …`."""

    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StopSignal(Command):
    """`STOPSIGNAL name`."""

    signal: str = ""


@dataclass(frozen=True, slots=True)
class Arg(Command):
    """`ARG name[=value] …`; None for one without a value."""

    pairs: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Shell(Command):
    """`SHELL ["…"]`."""

    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OnBuild(Command):
    """`ONBUILD instruction`, kept as text."""

    expression: str = ""


@dataclass(frozen=True, slots=True)
class Healthcheck(Command):
    """`HEALTHCHECK`, by the names of Docker's API."""

    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """A `FROM` and what follows it; `base` is not expanded."""

    code: str
    base: str
    name: str = ""
    platform: str = ""
    commands: tuple[Command, ...] = ()


def stages_of(instructions: Sequence[Instruction]) -> tuple[tuple[Arg, ...], tuple[Stage, ...]]:
    """Return the `ARG`s before the first `FROM`, and the stages.

    Raises
    ------
    DockerfileError
        An instruction is unknown or has wrong arguments.
    """
    first: list[Arg] = []
    stages: list[Stage] = []
    commands: list[Command] = []

    def close() -> None:
        if stages:
            last = stages.pop()
            stages.append(Stage(last.code, last.base, last.name, last.platform, tuple(commands)))
            commands.clear()

    for instruction in instructions:
        try:
            if instruction.name == "from":
                close()
                stages.append(_stage(instruction))
                continue
            command = command_of(instruction)
        except ValueError as error:
            raise DockerfileError(f"dockerfile parse error line {instruction.line}: {error}") from None
        if stages:
            commands.append(command)
        elif isinstance(command, Arg):
            first.append(command)
        else:
            raise DockerfileError("no build stage in current context")
    close()
    return tuple(first), tuple(stages)


def command_of(instruction: Instruction) -> Command:
    """Return what one instruction other than `FROM` means.

    Raises
    ------
    ValueError
        It is unknown or has wrong arguments; the text is Docker's.
    """
    parse = _PARSERS.get(instruction.name)
    if parse is None:
        raise ValueError(f"unknown instruction: {instruction.name.upper()}")
    return parse(instruction)


# -- flags and arguments


def _flags(instruction: Instruction, *known: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for flag in instruction.flags:
        if flag == "--":
            break
        name, equals, value = flag[2:].partition("=")
        if name not in known:
            raise ValueError(f"Unknown flag: {name}")
        if name in found:
            raise ValueError(f"Duplicate flag specified: {name}")
        if not equals:
            raise ValueError(f"Missing a value on flag: {name}")
        found[name] = value
    return found


def _some(instruction: Instruction) -> tuple[str, ...]:
    _flags(instruction)
    if not instruction.words:
        raise ValueError(f"{instruction.name.upper()} requires at least one argument")
    return instruction.words


def _one(instruction: Instruction) -> str:
    _flags(instruction)
    if len(instruction.words) != 1:
        raise ValueError(f"{instruction.name.upper()} requires exactly one argument")
    return instruction.words[0]


def _pairs(instruction: Instruction) -> Pairs:
    words = _some(instruction)
    name = instruction.name.upper()
    if len(words) % 2:
        raise ValueError(f"Bad input to {name}, too many arguments")
    if not all(words[::2]):
        raise ValueError(f"{name} names can not be blank")
    return tuple(zip(words[::2], words[1::2], strict=True))


def _stage(instruction: Instruction) -> Stage:
    flags = _flags(instruction, "platform")
    words = instruction.words
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        raise ValueError("FROM requires either one or three arguments")
    name = words[2].lower() if len(words) == 3 else ""
    if name and not re.fullmatch(r"[a-z][a-z0-9-_.]*", name):
        raise ValueError(
            f"invalid name for build stage: {quote(words[2])}, name can't start with a number or contain symbols"
        )
    return Stage(instruction.original, words[0], name, flags.get("platform", ""))


def _env(instruction: Instruction) -> Env:
    return Env(instruction.original, _pairs(instruction))


def _label(instruction: Instruction) -> Label:
    return Label(instruction.original, _pairs(instruction))


def _maintainer(instruction: Instruction) -> Maintainer:
    return Maintainer(instruction.original, _one(instruction))


def _transfer(instruction: Instruction) -> Transfer:
    name = instruction.name.upper()
    known = ("chown", "chmod", "from") if name == "COPY" else ("chown", "chmod")
    words = instruction.words
    if len(words) < 2:
        if not words:
            raise ValueError(f"{name} requires at least two arguments")
        raise ValueError(
            f"{name} requires at least two arguments, but only one was provided. Destination could not be determined"
        )
    flags = _flags(instruction, *known)
    sources = list(words[:-1])
    if instruction.heredocs:
        marks = iter(instruction.heredocs)
        sources = [next(marks).name if source.startswith("<<") else source for source in sources]
    return Transfer(
        instruction.original,
        name,
        tuple(sources),
        words[-1],
        flags.get("chown", ""),
        flags.get("chmod", ""),
        flags.get("from", ""),
        instruction.heredocs,
    )


def _run(instruction: Instruction) -> Run:
    flags = _flags(instruction, "mount", "network", "security") if instruction.flags else {}
    return Run(instruction.original, instruction.words, not instruction.is_json, tuple(flags), instruction.heredocs)


def _cmd(instruction: Instruction) -> Cmd:
    _flags(instruction)
    return Cmd(instruction.original, instruction.words, not instruction.is_json)


def _entrypoint(instruction: Instruction) -> Entrypoint:
    _flags(instruction)
    words, shell = instruction.words, not instruction.is_json
    if not words:  # `ENTRYPOINT []` or nothing at all: there is none any more
        shell = False
    return Entrypoint(instruction.original, words, shell)


def _expose(instruction: Instruction) -> Expose:
    return Expose(instruction.original, tuple(sorted(_some(instruction))))


def _user(instruction: Instruction) -> User:
    return User(instruction.original, _one(instruction))


def _workdir(instruction: Instruction) -> Workdir:
    return Workdir(instruction.original, _one(instruction))


def _volume(instruction: Instruction) -> Volume:
    paths = tuple(path.strip() for path in _some(instruction))
    if not all(paths):
        raise ValueError("VOLUME specified can not be an empty string")
    return Volume(instruction.original, paths)


def _stop_signal(instruction: Instruction) -> StopSignal:
    return StopSignal(instruction.original, _one(instruction))


def _arg(instruction: Instruction) -> Arg:
    pairs: list[tuple[str, str | None]] = []
    for word in _some(instruction):
        name, equals, value = word.partition("=")
        if equals and not name:
            raise ValueError("ARG names can not be blank")
        pairs.append((name, value if equals else None))
    return Arg(instruction.original, tuple(pairs))


def _shell(instruction: Instruction) -> Shell:
    _flags(instruction)
    if not instruction.is_json:
        raise ValueError("SHELL requires the arguments to be in JSON form")
    if not instruction.words:
        raise ValueError("SHELL requires at least one argument")
    return Shell(instruction.original, instruction.words)


def _on_build(instruction: Instruction) -> OnBuild:
    expression = re.sub(r"^\s*ONBUILD\s*", "", instruction.original, count=1, flags=re.IGNORECASE)
    if not expression.strip():
        raise ValueError("ONBUILD requires at least one argument")
    trigger = expression.split(None, 1)[0].upper()
    if trigger == "ONBUILD":
        raise ValueError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if trigger in ("MAINTAINER", "FROM"):
        raise ValueError(f"{trigger} isn't allowed as an ONBUILD trigger")
    return OnBuild(instruction.original, expression)


def _healthcheck(instruction: Instruction) -> Healthcheck:
    words = instruction.words
    if not words:
        raise ValueError("HEALTHCHECK requires at least one argument")
    kind = words[0].upper()
    if kind == "NONE":
        if len(words) > 1:
            raise ValueError("HEALTHCHECK NONE takes no arguments")
        return Healthcheck(instruction.original, {"Test": ["NONE"]})
    flags = _flags(instruction, "interval", "timeout", "start-period", "start-interval", "retries")
    if kind != "CMD":
        raise ValueError(f"Unknown type {quote(kind)} in HEALTHCHECK (try CMD)")
    command = list(words[1:])
    if not command:
        raise ValueError("Missing command after HEALTHCHECK CMD")
    settings: dict[str, Any] = {"Test": ["CMD" if instruction.is_json else "CMD-SHELL", *command]}
    for flag, name in (
        ("interval", "Interval"),
        ("timeout", "Timeout"),
        ("start-period", "StartPeriod"),
        ("start-interval", "StartInterval"),
    ):
        if time := _interval(flag, flags.get(flag, "")):
            settings[name] = time
    if text := flags.get("retries", ""):
        try:
            retries = int(text)
        except ValueError:
            raise ValueError(f"strconv.ParseInt: parsing {quote(text)}: invalid syntax") from None
        if retries < 1:
            raise ValueError(f"--retries must be at least 1 (not {retries})")
        settings["Retries"] = retries
    return Healthcheck(instruction.original, settings)


_SHORTEST = 1_000_000


def _interval(flag: str, text: str) -> int:
    if not text:
        return 0
    time = parse_duration(text)
    if time == 0:
        return 0
    if time < _SHORTEST:
        raise ValueError(f"Interval {quote(flag)} cannot be less than {duration(_SHORTEST)}")
    return time


_PARSERS = {
    "add": _transfer,
    "arg": _arg,
    "cmd": _cmd,
    "copy": _transfer,
    "entrypoint": _entrypoint,
    "env": _env,
    "expose": _expose,
    "healthcheck": _healthcheck,
    "label": _label,
    "maintainer": _maintainer,
    "onbuild": _on_build,
    "run": _run,
    "shell": _shell,
    "stopsignal": _stop_signal,
    "user": _user,
    "volume": _volume,
    "workdir": _workdir,
}
