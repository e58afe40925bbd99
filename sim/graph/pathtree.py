"""Paths by the directories that they are in, so that what lies below one is found without looking at all others.

Decided here and only here: that what is asked for below a path costs by the number of paths there. A tree of paths
belongs to one thread.
"""

from __future__ import annotations

from collections.abc import Iterator

from sim.graph.entry import parent_of

__all__ = ["PathTree"]


class PathTree:
    """A bag of absolute paths.

    Examples
    --------
    >>> tree = PathTree()
    >>> for path in ("/etc", "/etc/ssl/cert", "/etcetera"):
    ...     tree.add(path)
    >>> sorted(tree.below("/etc")), sorted(tree.below("/usr"))
    (['/etc', '/etc/ssl/cert'], [])
    """

    def __init__(self) -> None:
        self._count: dict[str, int] = {}
        self._inside: dict[str, set[str]] = {}

    def __contains__(self, path: str) -> bool:
        """Whether a path is in the bag."""
        return path in self._count

    def add(self, path: str) -> None:
        """Add a path once more."""
        count = self._count.get(path, 0)
        self._count[path] = count + 1
        if count:
            return
        inside = self._inside
        while path != "/":
            directory = parent_of(path)
            names = inside.get(directory)
            if names is not None:
                names.add(path)
                return
            inside[directory] = {path}
            path = directory

    def discard(self, path: str) -> None:
        """Take a path out once, if it is there."""
        count = self._count.get(path, 0)
        if count > 1:
            self._count[path] = count - 1
            return
        self._count.pop(path, None)
        inside = self._inside
        while path != "/" and path not in self._count and not inside.get(path):
            inside.pop(path, None)
            directory = parent_of(path)
            names = inside.get(directory)
            if names is None:
                return
            names.discard(path)
            path = directory

    def below(self, path: str) -> Iterator[str]:
        """Yield the paths at and below a path, each once; what is added meanwhile may or may not be among them."""
        pending = [path]
        while pending:
            current = pending.pop()
            if current in self._count:
                yield current
            pending.extend(self._inside.get(current, ()))
