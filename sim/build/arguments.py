"""Build arguments: which ARG has which value, in which stage.

Decided here and only here: scoping (an ARG before the first FROM is seen by FROMs, and in a stage only where it is
named again without a value), the arguments that are always allowed (proxies), and which were never asked for. A
`BuildArguments` belongs to one build.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Self

__all__ = ["ALWAYS_ALLOWED", "BuildArguments"]

#: Allowed without an ARG, and no part of the cache key unless there is one.
ALWAYS_ALLOWED = frozenset(
    name
    for pair in (("HTTP_PROXY", "http_proxy"), ("HTTPS_PROXY", "https_proxy"), ("FTP_PROXY", "ftp_proxy"),
                 ("NO_PROXY", "no_proxy"), ("ALL_PROXY", "all_proxy"))
    for name in pair
)  # fmt: skip

#: Read by the builder itself.
_OWN = frozenset({"SOURCE_DATE_EPOCH"})


class BuildArguments:
    """The build arguments of one stage, or of what stands before the first.

    Parameters
    ----------
    given
        Of the request; None for one that is named without a value.
    """

    def __init__(self, given: Mapping[str, str | None]) -> None:
        self._given = given
        self._allowed: dict[str, str | None] = {}
        self._global: dict[str, str | None] = {}
        self._referenced: set[str] = set()

    def for_stage(self) -> Self:
        """Return those of a new stage: no ARG of another one is in it."""
        other = type(self)(self._given)
        other._global = dict(self._global)
        other._referenced = set(self._referenced)
        return other

    def merge(self, stage: BuildArguments) -> None:
        """Remember what a stage referred to."""
        self._referenced |= stage._referenced

    def add(self, name: str, value: str | None) -> None:
        """Take an ARG of a stage."""
        self._allowed[name] = value
        self._referenced.add(name)

    def add_global(self, name: str, value: str | None) -> None:
        """Take an ARG before the first FROM."""
        self.add(name, value)
        self._global[name] = value

    def allowed(self) -> dict[str, str]:
        """Return all that have a value in this stage."""
        return self._values(self._allowed)

    def globals(self) -> dict[str, str]:
        """Return all that have a value in a FROM."""
        return self._values(self._global)

    def _values(self, known: Mapping[str, str | None]) -> dict[str, str]:
        found = {}
        for name in sorted({*known, *ALWAYS_ALLOWED}):
            value = self._given.get(name)
            if value is None:
                value = known.get(name)
            if value is None:
                value = self._global.get(name)
            if value is not None:
                found[name] = value
        return found

    def beside(self, environment: Iterable[str]) -> dict[str, str]:
        """Return those that a variable of the image does not hide."""
        hidden = {each.partition("=")[0] for each in environment}
        return {name: value for name, value in self.allowed().items() if name not in hidden}

    def in_key(self, name: str) -> bool:
        """Tell whether an argument is part of a RUN's cache key."""
        return name in self._allowed or name not in ALWAYS_ALLOWED

    def unused(self) -> list[str]:
        """Return the names of those that were given and that no ARG asked for."""
        return sorted(name for name in self._given if name not in self._referenced | ALWAYS_ALLOWED | _OWN)
