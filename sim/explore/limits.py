"""Whether an image wastes too much: the check for continuous integration.

Decided here and only here: the rules and their defaults, and what is fair to small images. Waste is what lies in a
layer and cannot be seen (`sim.graph.waste`), in bytes.

- `lowest-efficiency`: the part of all bytes that can be seen.
- `highest-wasted-bytes`: the waste itself.
- `highest-wasted-percent`: of the layers above the lowest, the part that cannot be seen. The lowest is most often
  somebody else's.

A ratio says little about a few bytes: an image that adds one small file and replaces another wastes half of what it
adds. So the two ratios are not asked while the waste is at most `negligible-bytes`. A limit of None is not asked.

Functions keep no state; any thread.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sim.graph import GraphError, LayerStack, Waste, virtual_bytes, waste

__all__ = ["Limits", "LimitsError", "Rule", "Verdict", "judge", "parse_bytes", "parse_part", "read_limits"]

_UNITS = {
    "": 1, "b": 1, "k": 1000, "kb": 1000, "kib": 1024, "m": 1000**2, "mb": 1000**2, "mib": 1024**2,
    "g": 1000**3, "gb": 1000**3, "gib": 1024**3,
}  # fmt: skip


class LimitsError(GraphError):
    """A limit that makes no sense, or a file of limits that cannot be read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is asked of an image.

    Attributes
    ----------
    lowest_efficiency
        From 0 to 1.
    highest_wasted_bytes
        Bytes.
    highest_wasted_percent
        From 0 to 100.
    negligible_bytes
        Up to this waste the two ratios are not asked.
    """

    lowest_efficiency: float | None = 0.9
    highest_wasted_bytes: int | None = None
    highest_wasted_percent: float | None = 10.0
    negligible_bytes: int = 1 << 20


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule and how it came out.

    Attributes
    ----------
    name
        As in a file of limits.
    limit, found
        In words; the limit is "" where there is none.
    passed
        None if it was not asked.
    why
        Why it was not asked; else "".
    """

    name: str
    limit: str
    found: str
    passed: bool | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an image came out.

    Attributes
    ----------
    total, wasted
        Bytes.
    rules
        All of them, in the order of the module's list.
    worst
        What is wasted, the largest first.
    """

    total: int
    wasted: int
    rules: tuple[Rule, ...]
    worst: tuple[Waste, ...]

    @property
    def passed(self) -> bool:
        """Whether no rule that was asked failed."""
        return all(rule.passed is not False for rule in self.rules)


def judge(stack: LayerStack, limits: Limits) -> Verdict:
    """Hold a stack against limits.

    Raises
    ------
    GraphError
        A layer cannot be read.
    """
    found = waste(stack)
    total, wasted = virtual_bytes(stack), sum(one.bytes for one in found)
    lowest_number = stack.number(len(stack.layers) - 1)
    above = total - (stack.layers[-1].bytes if stack.layers else 0)
    wasted_above = sum(one.bytes for one in found if one.layer != lowest_number)
    efficiency = (total - wasted) / total if total else 1.0
    percent = 100 * wasted_above / above if above else 0.0
    rules = []
    lowest = limits.lowest_efficiency
    rules.append(
        _rule(
            "lowest-efficiency",
            None if lowest is None else f"{lowest:.1%}",
            f"{efficiency:.1%}",
            lowest is not None and efficiency >= lowest,
            _little(wasted, limits),
        )
    )
    most = limits.highest_wasted_bytes
    rules.append(
        _rule(
            "highest-wasted-bytes",
            None if most is None else f"{most:,}",
            f"{wasted:,}",
            most is not None and wasted <= most,
            "",
        )
    )
    part = limits.highest_wasted_percent
    rules.append(
        _rule(
            "highest-wasted-percent",
            None if part is None else f"{part:g} %",
            f"{percent:.1f} %" if above else "-",
            part is not None and percent <= part,
            _little(wasted_above, limits) if above else "nothing lies above the lowest layer",
        )
    )
    return Verdict(total, wasted, tuple(rules), found)


def _little(wasted: int, limits: Limits) -> str:
    """Say why a ratio is not asked; "" if it is."""
    if wasted > limits.negligible_bytes:
        return ""
    return f"{wasted:,} wasted bytes are negligible" if wasted else "nothing is wasted"


def _rule(name: str, limit: str | None, found: str, holds: bool, why: str) -> Rule:
    if limit is None:
        return Rule(name, "", found, None, "no limit is set")
    return Rule(name, limit, found, None if why else holds, why)


def parse_bytes(text: str) -> int:
    """Return a number of bytes from words.

    >>> parse_bytes("20MB"), parse_bytes("1.5 MiB"), parse_bytes("512")
    (20000000, 1572864, 512)

    Raises
    ------
    LimitsError
        It is no number of bytes.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if found is None or found[2] not in _UNITS:
        raise LimitsError(f"{text!r} is no number of bytes; write it as 20MB, 1.5MiB or 512")
    return int(float(found[1]) * _UNITS[found[2]])


def parse_part(text: str, whole: float) -> float:
    """Return a part of `whole`, from a number or from percent.

    >>> parse_part("0.9", 1), parse_part("90%", 1), parse_part("10 %", 100), parse_part("10", 100)
    (0.9, 0.9, 10.0, 10.0)

    Raises
    ------
    LimitsError
        It is no number, or not from 0 to `whole`.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", text)
    value = -1.0 if found is None else float(found[1]) * whole / 100 if found[2] else float(found[1])
    if not 0 <= value <= whole:
        raise LimitsError(f"{text!r} is no part of the whole; write a number from 0 to {whole:g}, or percent")
    return value


def read_limits(file: Path, base: Limits | None = None) -> Limits:
    """Read limits from a TOML file; what it does not name stays as it is in `base`.

    Its keys are the names of the rules and `negligible-bytes`; `false` takes a limit away.

    Raises
    ------
    LimitsError
        It cannot be read, or has something else in it.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise LimitsError(f"{file}: the limits cannot be read: {error}") from error
    limits = base or Limits()
    for key, value in document.items():
        name = key.replace("-", "_")
        if name not in Limits.__slots__:
            raise LimitsError(f"{file}: there is no limit {key!r}")
        if value is False and name != "negligible_bytes":
            changes: dict[str, Any] = {name: None}
            limits = replace(limits, **changes)
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise LimitsError(f"{file}: {key} has to be a number or a text, such as 0.9 or '20MB'")
        try:
            if name == "lowest_efficiency":
                limits = replace(limits, lowest_efficiency=parse_part(str(value), 1))
            elif name == "highest_wasted_percent":
                limits = replace(limits, highest_wasted_percent=parse_part(str(value), 100))
            else:
                limits = replace(limits, **{name: parse_bytes(str(value))})
        except LimitsError as error:
            raise LimitsError(f"{file}: {key}: {error}") from error
    return limits
