"""Filters, as clients send them: `{"label": {"a=b": true}}`, or in the older form `{"label": ["a=b"]}`.

Decided here and only here: how both forms are read, and the wording of what is refused. Frozen values, any thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sim.engine.errors import BadParameterError
from sim.engine.times import moment

__all__ = ["Filters"]


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list, a prune or the events are narrowed down to: any of the values of each key, all keys.

    Examples
    --------
    >>> Filters.parse('{"status": {"exited": true}}')["status"], Filters.parse('{"status": ["exited"]}')["status"]
    (('exited',), ('exited',))
    """

    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | None, allowed: Iterable[str] | None = None) -> Filters:
        """Read the query's value.

        Parameters
        ----------
        text
            JSON; nothing is no filter.
        allowed
            The keys that are known in this place; None for any.

        Raises
        ------
        BadParameterError
            It cannot be read, or holds a key that is not known.
        """
        if not text:
            return cls()
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError):
            raise BadParameterError("invalid filter") from None
        if raw is None:
            return cls()
        if not isinstance(raw, dict):
            raise BadParameterError("invalid filter")
        found: dict[str, tuple[str, ...]] = {}
        for key, value in raw.items():
            if allowed is not None and key not in allowed:
                raise BadParameterError(f"invalid filter '{key}'")
            if isinstance(value, dict):
                found[key] = tuple(name for name, wanted in value.items() if wanted)
            elif isinstance(value, list) and all(isinstance(each, str) for each in value):
                found[key] = tuple(value)
            elif isinstance(value, str):
                found[key] = (value,)
            else:
                raise BadParameterError("invalid filter")
        return cls(found)

    def __getitem__(self, key: str) -> tuple[str, ...]:
        """Return the values of a key; none where it is not filtered by."""
        return self.values.get(key, ())

    def __contains__(self, key: str) -> bool:
        """Tell whether a key is filtered by."""
        return bool(self.values.get(key))

    def truth(self, key: str) -> bool | None:
        """Return the value of a key that is true or false; None where it is not filtered by.

        Raises
        ------
        BadParameterError
            It is neither.
        """
        found = self[key]
        if not found:
            return None
        if all(value in ("1", "true", "True", "TRUE", "t", "T") for value in found):
            return True
        if all(value in ("0", "false", "False", "FALSE", "f", "F") for value in found):
            return False
        raise BadParameterError(f"invalid filter '{key}=[{' '.join(found)}]'")

    def until(self) -> int | None:
        """Return the moment of the filter `until`, in nanoseconds since the epoch; None where there is none.

        Raises
        ------
        BadParameterError
            It is no moment, or there are several.
        """
        if "until" not in self:
            return None
        if len(self["until"]) > 1:
            raise BadParameterError("more than one until filter specified")
        return moment(self["until"][0])

    def matches_labels(self, labels: Mapping[str, str], key: str = "label") -> bool:
        """Tell whether labels fit: each `name` must be there, each `name=value` must be so."""
        for wanted in self[key]:
            name, equals, value = wanted.partition("=")
            if name not in labels or (equals and labels[name] != value):
                return False
        return True
