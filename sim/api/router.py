"""Which handler a request reaches.

Decided here and only here: how patterns match. `{name}` takes one part of the path or several, since the names of
images have slashes in them; `{id}` takes exactly one. The first route that matches, in the order of their registration,
is taken. A `Router` is filled at start and only read afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sim.api.exchange import LATEST, Handler

__all__ = ["Router", "split_version"]

_VERSION = re.compile(r"/v(\d{1,3})\.(\d{1,3})(?=/)")


def split_version(path: str) -> tuple[tuple[int, int], str]:
    """Take the version from the beginning of a path; one without is the latest.

    >>> split_version("/v1.41/info"), split_version("/_ping")
    (((1, 41), '/info'), ((1, 50), '/_ping'))
    """
    found = _VERSION.match(path)
    if not found:
        return LATEST, path
    return (int(found[1]), int(found[2])), path[found.end() :]


class Router:
    """The routes of the API.

    Examples
    --------
    >>> from sim.api.exchange import empty
    >>> router = Router()
    >>> @router.route("GET", "/images/{name}/json")
    ... def inspect(request):
    ...     return empty()
    >>> handler, taken = router.find("GET", "/images/host:5000/team/app:1/json")
    >>> taken
    {'name': 'host:5000/team/app:1'}
    """

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []

    def route(self, method: str, pattern: str) -> Callable[[Handler], Handler]:
        """Return a decorator that registers a handler."""
        expression = re.sub(
            r"\\{(\w+)\\}",
            lambda found: f"(?P<{found[1]}>{'.+' if found[1] == 'name' else '[^/]+'})",
            re.escape(pattern),
        )
        compiled = re.compile(expression, re.DOTALL)

        def register(handler: Handler) -> Handler:
            self._routes.append((method, compiled, handler))
            return handler

        return register

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]] | None:
        """Return the handler for a path without version, and what its pattern took; None where there is none."""
        for wanted, pattern, handler in self._routes:
            if (wanted == method or (method == "HEAD" and wanted == "GET")) and (found := pattern.fullmatch(path)):
                return handler, found.groupdict()
        return None
