"""The functions of templates: those of Go's text/template and those that Docker adds.

Decided here and only here: their names, what arguments they take, and the words with which they refuse others. Pure
functions; any thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote_plus

from sim.cli.template.errors import CallError
from sim.cli.template.printf import sprint, sprintf
from sim.cli.template.values import NO_VALUE, Nil, Struct, to_json, to_text, truth, type_name

__all__ = ["FUNCTIONS", "HEADER_FUNCTIONS", "Function"]


class Function:
    """A function and the types of its arguments.

    Parameters
    ----------
    call
        What it does; raises `CallError` where it cannot.
    takes
        Types of arguments: `any`, `string`, `int`, `list`; the last with `...` for any number of it.
    """

    def __init__(self, call: Callable[..., object], *takes: str) -> None:
        self.call = call
        self.takes = takes


class _Texts(list[str]):
    """What `split` returns: Go words an index that it has not in another way."""


def _split(text: str, between: str) -> _Texts:
    return _Texts(text.split(between) if between else text)


def _index(value: Any, *keys: object) -> object:
    for key in keys:
        if value is None or (isinstance(value, Nil) and value.text == "<nil>"):
            raise CallError("index of untyped nil")
        if isinstance(value, dict) and not isinstance(value, Struct):
            if not isinstance(key, str):
                raise CallError(f"value has type {type_name(key)}; should be string")
            # A map's zero value: of a map of texts the empty one.
            value = value.get(key, "" if all(isinstance(item, str) for item in value.values()) else NO_VALUE)
            continue
        if isinstance(value, Nil) and value.text == "map[]":
            value = ""
            continue
        if not isinstance(value, list | str | Nil):
            raise CallError(f"can't index item of type {type_name(value)}")
        if isinstance(key, bool) or not isinstance(key, int):
            raise CallError(f"cannot index slice/array with type {type_name(key)}")
        items = value.encode() if isinstance(value, str) else list(value)
        if not 0 <= key < len(items):
            raise CallError(
                "reflect: slice index out of range" if isinstance(value, _Texts) else f"index out of range: {key}"
            )
        value = items[key]
    return value


def _slice(value: Any, *bounds: object) -> object:
    if len(bounds) > 3:
        raise CallError(f"too many slice indexes: {len(bounds)}")
    if not isinstance(value, list | str | Nil):
        raise CallError(f"can't slice item of type {type_name(value)}")
    if isinstance(value, str) and len(bounds) == 3:
        raise CallError("cannot 3-index slice a string")
    items: Any = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else list(value)
    ends = [0, len(items)]
    for place, bound in enumerate(bounds):
        if isinstance(bound, bool) or not isinstance(bound, int):
            raise CallError(f"cannot index slice/array with type {type_name(bound)}")
        if not 0 <= bound <= len(items):
            raise CallError(f"index out of range: {bound}")
        if place < 2:
            ends[place] = bound
    if ends[0] > ends[1]:
        raise CallError(f"invalid slice index: {ends[0]} > {ends[1]}")
    part = items[ends[0] : ends[1]]
    return part.decode("utf-8", "surrogateescape") if isinstance(part, bytes) else part


def _len(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, list | Nil) or (isinstance(value, dict) and not isinstance(value, Struct)):
        return len(value)
    if value is NO_VALUE or value is None:
        raise CallError("len of nil pointer")
    raise CallError(f"len of type {type_name(value)}")


def _kind(value: object) -> str:
    match value:
        case bool():
            return "bool"
        case int():
            return "int"
        case float():
            return "float"
        case str():
            return "string"
        case Nil() | None:
            return "nil"
    return "" if value is not NO_VALUE else "nil"


def _eq(first: object, *others: object) -> bool:
    if not others:
        raise CallError("missing argument for comparison")
    kind = _kind(first)
    if not kind and isinstance(first, dict | list):
        raise CallError("non-comparable type")
    for other in others:
        there = _kind(other)
        if "nil" not in (kind, there) and kind != there:
            raise CallError("incompatible types for comparison")
        if (kind == there == "nil") or (kind == there and first == other):
            return True
    return False


def _lt(first: object, second: object) -> bool:
    kind, there = _kind(first), _kind(second)
    if kind not in ("int", "float", "string") or there not in ("int", "float", "string"):
        raise CallError("invalid type for comparison")
    if kind != there:
        raise CallError("incompatible types for comparison")
    return bool(first < second)  # type: ignore[operator]


def _le(first: object, second: object) -> bool:
    return _lt(first, second) or _eq(first, second)


def _title(text: str) -> str:
    after = ["", *text]
    return "".join(
        one.title() if not (before.isalnum() or before in "_'") or not before else one
        for before, one in zip(after, text, strict=False)
    )


def _escape_script(*values: object) -> str:
    escapes = {"\\": "\\\\", "'": "\\'", '"': '\\"', "<": "\\u003C", ">": "\\u003E", "&": "\\u0026", "=": "\\u003D"}
    return "".join(escapes.get(one, one) if one >= " " else f"\\u{ord(one):04X}" for one in sprint(values))


def _truncate(text: str, width: int) -> str:
    return text[:width]


def _pad(text: str, left: int, right: int) -> str:
    return f"{' ' * left}{text}{' ' * right}" if text else ""


def _join(items: Any, between: str) -> str:
    return between.join(to_text(item) for item in items)


def _html(*values: object) -> str:
    import html

    return html.escape(sprint(values)).replace("&quot;", "&#34;").replace("&#x27;", "&#39;").replace("\0", "\ufffd")


def _call(*values: object) -> object:
    raise CallError(f"non-function {json.dumps(sprint(values))} of type {type_name(values[0]) if values else 'nil'}")


FUNCTIONS: Mapping[str, Function] = {
    "and": Function(lambda *values: next((one for one in values if not truth(one)), values[-1]), "any", "any..."),
    "or": Function(lambda *values: next((one for one in values if truth(one)), values[-1]), "any", "any..."),
    "not": Function(lambda value: not truth(value), "any"),
    "call": Function(_call, "any", "any..."),
    "eq": Function(_eq, "any", "any..."),
    "ne": Function(lambda first, second: not _eq(first, second), "any", "any"),
    "lt": Function(_lt, "any", "any"),
    "le": Function(_le, "any", "any"),
    "gt": Function(lambda first, second: not _le(first, second), "any", "any"),
    "ge": Function(lambda first, second: not _lt(first, second), "any", "any"),
    "html": Function(_html, "any..."),
    "index": Function(_index, "any", "any..."),
    "js": Function(_escape_script, "any..."),
    "len": Function(_len, "any"),
    "print": Function(lambda *values: sprint(values), "any..."),
    "printf": Function(lambda form, *values: sprintf(form, values), "string", "any..."),
    "println": Function(lambda *values: " ".join(to_text(one, top=False) for one in values) + "\n", "any..."),
    "slice": Function(_slice, "any", "any..."),
    "urlquery": Function(lambda *values: quote_plus(sprint(values)), "any..."),
    # Docker's own
    "json": Function(to_json, "any"),
    "split": Function(_split, "string", "string"),
    "join": Function(_join, "list", "string"),
    "title": Function(_title, "string"),
    "lower": Function(str.lower, "string"),
    "upper": Function(str.upper, "string"),
    "pad": Function(_pad, "string", "int", "int"),
    "truncate": Function(_truncate, "string", "int"),
}

#: What a table's header is made with: functions that would change a heading leave it as it is.
HEADER_FUNCTIONS: Mapping[str, Function] = {
    **FUNCTIONS,
    **{name: Function(lambda text: text, "string") for name in ("json", "title", "lower", "upper")},
    "truncate": Function(lambda text, width: text, "string", "int"),
}
