"""What the values of flags mean: sizes, durations, numbers, limits.

Decided here and only here: how each kind of value is read, and what is said about one that cannot be. Pure functions
that raise `ValueError` with Docker's words; any thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable

__all__ = ["PARSERS", "duration", "memory", "switch_value"]


def switch_value(text: str) -> bool:
    """Return what Go's ParseBool does."""
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def _integer(text: str, *, word: str = "ParseInt", bits: int = 63) -> int:
    try:
        plain = text[1:] if text[:1] in ("+", "-") else text
        number = int(text, 8 if plain[:1] == "0" and plain[1:].isdigit() else 0)
        if not text.isascii() or text != text.strip():
            raise ValueError
    except ValueError:
        raise ValueError(f'strconv.{word}: parsing "{text}": invalid syntax') from None
    if not (0 if word == "ParseUint" else -(2**bits)) <= number < 2**bits:
        problem = "value out of range" if number > 0 else "invalid syntax"
        raise ValueError(f'strconv.{word}: parsing "{text}": {problem}')
    return number


def memory(text: str) -> int:
    """Return a number of bytes, `512m` or `1.5GiB`; all units are binary.

    >>> memory("512m"), memory("1.5gib"), memory("100"), memory("2 kb")
    (536870912, 1610612736, 100, 2048)
    """
    end = max((place for place, one in enumerate(text) if one in "0123456789. "), default=-1)
    if end < 0:
        raise ValueError(f"invalid size: '{text}'")
    digits, suffix = (text[:end], text[end + 1 :]) if text[end] == " " else (text[: end + 1], text[end + 1 :])
    try:
        number = float(digits)
    except ValueError:
        raise ValueError(f'strconv.ParseFloat: parsing "{digits}": invalid syntax') from None
    if number < 0:
        raise ValueError(f"invalid size: '{text}'")
    low = suffix.lower()
    powers = {"k": 10, "m": 20, "g": 30, "t": 40, "p": 50}
    if low in ("", "b"):
        return int(number)
    if low[0] not in powers or low[1:] not in ("", "b", "ib"):
        raise ValueError(f"invalid suffix: '{suffix}'")
    return int(number * 2 ** powers[low[0]])


def _swap(text: str) -> int:
    return -1 if text == "-1" else memory(text)


_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def duration(text: str) -> int:
    """Return nanoseconds of a duration of Go's.

    >>> duration("1m30s"), duration("1.5h"), duration("-2ms"), duration("0")
    (90000000000, 5400000000000, -2000000, 0)
    """
    rest, total = text.lstrip("+-") if text[:1] in ("+", "-") else text, 0
    if rest == "0":
        return 0
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    while rest:
        digits = _leading(rest, "0123456789.")
        if not digits or digits == "." or digits.count(".") > 1:
            raise ValueError(f'time: invalid duration "{text}"')
        rest = rest[len(digits) :]
        unit = ""
        while rest and rest[0] not in "0123456789.":
            unit, rest = unit + rest[0], rest[1:]
        if not unit:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if unit not in _UNITS:
            raise ValueError(f'time: unknown unit "{unit}" in duration "{text}"')
        whole, _, part = digits.partition(".")
        total += int(whole or "0") * _UNITS[unit]
        if part:
            total += int(part) * _UNITS[unit] // 10 ** len(part)
    return -total if text[0] == "-" else total


def _leading(text: str, of: str) -> str:
    end = next((place for place, one in enumerate(text) if one not in of), len(text))
    return text[:end]


def _cpus(text: str) -> int:
    from fractions import Fraction

    try:
        nano = Fraction(text) * 10**9
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"failed to parse {text} as a rational number") from None
    if nano.denominator != 1:
        raise ValueError("value is too precise")
    return int(nano)


def _filter(text: str) -> str:
    if "=" not in text:
        raise ValueError("bad format of filter (expected name=value)")
    return text


def _environment(text: str) -> str:
    name, equals, _ = text.partition("=")
    if not name:
        raise ValueError(f"invalid environment variable: {text}")
    if not equals and name in os.environ:
        return f"{name}={os.environ[name]}"
    return text


def _label(text: str) -> str:
    if not text.partition("=")[0].strip():
        raise ValueError(f"invalid label '{text}': empty name")
    return text


_LIMITS = (
    *("as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss"),
    *("rtprio", "rttime", "sigpending", "stack"),
)


def _ulimit(text: str) -> str:
    name, equals, rest = text.partition("=")
    if not equals or not name or not rest:
        raise ValueError(f"invalid ulimit argument: {text}")
    if name not in _LIMITS:
        raise ValueError(f"invalid ulimit type: {name}")
    values = rest.split(":")
    if len(values) > 2:
        raise ValueError(f"too many limit value arguments - {rest}, can only have up to two, `soft[:hard]`")
    numbers = [_integer(value) for value in values]
    if len(numbers) == 2 and numbers[1] != -1 and (numbers[0] == -1 or numbers[0] > numbers[1]):
        raise ValueError(
            f"ulimit soft limit must be less than or equal to hard limit: {numbers[0]} > {numbers[1]}"
            if numbers[0] != -1
            else f"ulimit soft limit must be less than or equal to hard limit: soft: -1 (unlimited), hard: {numbers[1]}"
        )
    return text


def _host(text: str) -> str:
    name, colon, address = text.replace("=", ":", 1).partition(":") if "=" in text else text.partition(":")
    if not colon or not name:
        raise ValueError(f'bad format for add-host: "{text}"')
    plain = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    if plain != "host-gateway":
        import ipaddress

        try:
            ipaddress.ip_address(plain)
        except ValueError:
            raise ValueError(f'invalid IP address in add-host: "{address}"') from None
    return f"{name}:{plain}"


def _address(text: str) -> str:
    import ipaddress

    try:
        ipaddress.ip_address(text.strip())
    except ValueError:
        raise ValueError(f"{text} is not an ip address") from None
    return text.strip()


def _attach(text: str) -> str:
    if text.lower() not in ("stdin", "stdout", "stderr"):
        raise ValueError("valid streams are STDIN, STDOUT and STDERR")
    return text.lower()


def _later(module: str, name: str) -> Callable[[str], object]:
    """Return a reader that is imported when the flag is given."""

    def read(text: str) -> object:
        from importlib import import_module

        found: object = getattr(import_module(module), name)(text)
        return found

    return read


def _pairs(text: str) -> dict[str, str]:
    """Return `KEY=VALUE,KEY=VALUE`."""
    found = {}
    for pair in text.split(","):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair} must be formatted as key=value")
        found[key] = value
    return found


#: kind -> what reads it. `list` takes any text.
PARSERS: dict[str, Callable[[str], object]] = {
    "bool": switch_value,
    "string": str,
    "int": _integer,
    "uint16": lambda text: _integer(text, word="ParseUint", bits=16),
    "bytes": memory,
    "swap": _swap,
    "decimal": _cpus,
    "duration": duration,
    "list": str,
    "strings": str,
    "map": str,
    "filter": _filter,
    "pairs": _pairs,
    "env": _environment,
    "label": _label,
    "ulimit": _ulimit,
    "host": _host,
    "address": _address,
    "attach": _attach,
    "mount": _later("sim.cli.run.mounts", "mount"),
    "network": _later("sim.cli.run.networks", "network"),
    "tag": _later("sim.cli.commands.registries", "checked"),
    "weight": _later("sim.cli.run.devices", "weight"),
    "bps": _later("sim.cli.run.devices", "rate_bytes"),
    "iops": _later("sim.cli.run.devices", "rate_operations"),
    "gpu-request": _later("sim.cli.run.devices", "gpus"),
}
