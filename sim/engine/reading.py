"""Reading what a client sent into the values of `model.py`, as Go's decoder of JSON would.

Decided here and only here: how lenient that is (names in any case, null for not given, unknown names), which texts may
stand for a list, and the wording of what is refused. Functions only; any thread.
"""

from __future__ import annotations

import functools
import re
import types
import typing
from typing import Any, TypeVar

import msgspec

from sim.engine.errors import BadParameterError

__all__ = ["read"]

_T = TypeVar("_T", bound=msgspec.Struct)

#: Lists that Docker also takes as one text, as in `"Cmd": "ls"`.
_ALSO_TEXT = ("cmd", "entrypoint", "shell", "test")

_KINDS = {
    "str": "string",
    "int": "number",
    "float": "number",
    "bool": "bool",
    "array": "array",
    "object": "object",
    "null": "null",
}
_WANTED = {"str": "string", "int": "int64", "bool": "bool", "array": "[]string", "object": "map[string]string"}
_COMPLAINT = re.compile(r"Expected `([^`]+)`, got `(\w+)`(?: - at `\$\.?(.*)`)?")


def read(value: Any, kind: type[_T], name: str) -> _T:
    """Turn a decoded JSON document into a value.

    Parameters
    ----------
    value
        What the JSON said.
    kind
        The type of the value.
    name
        What Docker calls the type, for its complaints.

    Raises
    ------
    BadParameterError
        A field is of the wrong type; in Docker's words.

    Examples
    --------
    >>> from sim.engine.model import Config
    >>> read({"cmd": "ls", "Env": None, "Unknown": 1}, Config, "Config").cmd
    ('ls',)
    """
    try:
        return msgspec.convert(_shaped(value, kind), kind)
    except msgspec.ValidationError as error:
        raise BadParameterError(f"invalid JSON: {_complaint(str(error), name)}") from None
    except RecursionError:
        raise BadParameterError("invalid JSON: nested too deep") from None


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, tuple[str, Any]]:
    """Return the fields of a type: name in lower case -> name and type."""
    hints = typing.get_type_hints(kind)
    return {field.encode_name.lower(): (field.encode_name, hints[field.name]) for field in msgspec.structs.fields(kind)}


def _shaped(value: Any, kind: Any) -> Any:
    """Return a document with the names that a type has, without what is null."""
    if isinstance(kind, types.UnionType):
        kind = next(each for each in typing.get_args(kind) if each is not types.NoneType)
    origin = typing.get_origin(kind)
    if isinstance(value, dict):
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            known = _fields(kind)
            found = {}
            for key, each in value.items():
                if each is None or key.lower() not in known:
                    continue
                name, inner = known[key.lower()]
                listed = isinstance(each, str) and key.lower() in _ALSO_TEXT
                found[name] = [each] if listed else _shaped(each, inner)
            return found
        if origin is dict:
            inner = typing.get_args(kind)[1]
            if inner is Any:
                return value
            empty: Any = [] if typing.get_origin(inner) is tuple else "" if inner is str else {}
            return {key: empty if each is None else _shaped(each, inner) for key, each in value.items()}
    if isinstance(value, list) and origin is tuple:
        inner = typing.get_args(kind)[0]
        return [("" if inner is str else {}) if each is None else _shaped(each, inner) for each in value]
    return value


def _complaint(text: str, name: str) -> str:
    """Say what msgspec says in the words of Go's encoding/json."""
    found = _COMPLAINT.match(text)
    if found is None:
        return f"json: {text[:1].lower()}{text[1:]}"
    wanted, got, path = found[1].partition(" | ")[0], found[2], re.sub(r"\[[^]]*\]", "", found[3] or "").strip(".")
    said = _KINDS.get(got, got)
    if not path:
        return f"json: cannot unmarshal {said} into Go value of type {name}"
    # Go names the innermost type, then the whole path.
    place = path.split(".")
    inner = place[-2] if len(place) > 1 else name.rpartition(".")[2]
    kind = _WANTED.get(wanted, wanted)
    if "[...]" in (found[3] or ""):
        kind = _WANTED.get(wanted, wanted)
    elif wanted == "array":
        kind = "string" if place[-1].lower() in _ALSO_TEXT else "[]string"
    return f"json: cannot unmarshal {said} into Go struct field {inner}.{path} of type {kind}"
