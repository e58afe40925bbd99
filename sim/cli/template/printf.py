"""Go's `printf`.

Decided here and only here: what each verb does with each type, and what is said of a verb that does not fit. Pure
functions; any thread.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from sim.cli.template.values import NO_VALUE, Nil, go_float, to_text, type_name

__all__ = ["sprint", "sprintf"]

_VERB = re.compile(r"%([-+# 0]*)(\*|\d+)?(?:\.(\*|\d*))?(.)?", re.DOTALL)


def sprint(values: Sequence[object]) -> str:
    """Return values as Go's `print`: with a space between two of them where neither is a string.

    >>> sprint(["a", 1, 2, "b"])
    'a1 2b'
    """
    text = ""
    for index, value in enumerate(values):
        if index and not isinstance(value, str) and not isinstance(values[index - 1], str):
            text += " "
        text += to_text(value, top=False)
    return text


def sprintf(form: str, values: Sequence[object]) -> str:
    r"""Return a text with values put in as Go's `printf` does.

    >>> sprintf("%-5s|%03d|%5.2f|%q|%x|%v|%t|%%", ["ab", 7, 2.5, 'a"b', "hi", [1, 2], True])
    'ab   |007| 2.50|"a\\"b"|6869|[1 2]|true|%'
    >>> sprintf("%d %s", ["x"])
    '%!d(string=x) %!s(MISSING)'
    """
    waiting = list(values)
    used = 0

    def take() -> object:
        nonlocal used
        used += 1
        return waiting[used - 1] if used <= len(waiting) else _MISSING

    def put(match: re.Match[str]) -> str:
        flags, width, precision, verb = match.groups()
        if verb is None:
            return "%!(NOVERB)"
        if verb == "%":
            return "%"
        sizes: list[int | None] = []
        for size in (width, precision):
            if size == "*":
                given = take()
                sizes.append(given if isinstance(given, int) else None)
            else:
                sizes.append(None if size is None else int(size or 0))
        value = take()
        if value is _MISSING:
            return f"%!{verb}(MISSING)"
        if sizes[0] is not None and sizes[0] < 0:
            flags, sizes[0] = flags + "-", -sizes[0]
        return _pad(_one(verb, flags, sizes[0], sizes[1], value), flags, sizes[0], verb, value)

    text = _VERB.sub(put, form)
    if used < len(waiting):
        rest = ", ".join(f"{type_name(value)}={to_text(value, top=False)}" for value in waiting[used:])
        text += f"%!(EXTRA {rest})"
    return text


_MISSING = object()


def _pad(text: str, flags: str, width: int | None, verb: str, value: object) -> str:
    if width is None or len(text) >= width:
        return text
    if "-" in flags:
        return text.ljust(width)
    if "0" in flags and isinstance(value, int | float) and not isinstance(value, bool) and verb not in "vqs":
        sign = text[:1] if text[:1] in ("+", "-") else ""
        return sign + text[len(sign) :].rjust(width - len(sign), "0")
    return text.rjust(width, "0" if "0" in flags and verb in "sx" else " ")


def _bad(verb: str, value: object) -> str:
    if isinstance(value, Nil) or value is None or value is NO_VALUE:
        return f"%!{verb}(<nil>)"
    return f"%!{verb}({type_name(value)}={to_text(value, top=False)})"


def _one(verb: str, flags: str, width: int | None, precision: int | None, value: object) -> str:
    if isinstance(value, list) and verb in "sqdxXfgt":
        return f"[{' '.join(_one(verb, flags, width, precision, item) for item in value)}]"
    if verb == "v":
        if "#" in flags and isinstance(value, str):
            return json.dumps(value, ensure_ascii=False)
        return to_text(value, top=False)
    if verb == "T":
        return type_name(value)
    if isinstance(value, bool):
        return to_text(value) if verb == "t" else _bad(verb, value)
    if isinstance(value, int):
        return _integer(verb, flags, precision, value)
    if isinstance(value, float):
        return _float(verb, flags, precision, value)
    if isinstance(value, str):
        return _string(verb, flags, precision, value)
    return to_text(value, top=False) if verb == "s" and isinstance(value, dict) else _bad(verb, value)


def _integer(verb: str, flags: str, precision: int | None, value: int) -> str:
    sign = "-" if value < 0 else "+" if "+" in flags else " " if " " in flags else ""
    if verb in "dboxX":
        digits = format(abs(value), verb)
        prefix = {"x": "0x", "X": "0X", "b": "0b", "o": "0"}.get(verb, "") if "#" in flags else ""
        return sign + prefix + digits.rjust(precision or 0, "0")
    if verb == "c":
        return chr(value)
    if verb == "q":
        return f"'{chr(value)}'"
    if verb == "U":
        return f"U+{value:04X}"
    return _bad(verb, value)


def _float(verb: str, flags: str, precision: int | None, value: float) -> str:
    sign = "+" if "+" in flags and value >= 0 else ""
    if verb in "eEfFgG":
        if verb in "gG" and precision is None:
            return sign + go_float(value)
        return sign + format(value, f".{6 if precision is None else precision}{verb}")
    return _bad(verb, value)


def _string(verb: str, flags: str, precision: int | None, value: str) -> str:
    if verb == "s":
        return value if precision is None else value[:precision]
    if verb == "q":
        text = value if precision is None else value[:precision]
        return f"`{text}`" if "#" in flags and "`" not in text else json.dumps(text, ensure_ascii=False)
    if verb in "xX":
        data = value.encode("utf-8", "surrogateescape")
        digits = data.hex(" ") if " " in flags else data.hex()
        return digits.upper() if verb == "X" else digits
    return _bad(verb, value)
