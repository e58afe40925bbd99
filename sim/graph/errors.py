"""The exceptions of the package.

Decided here: what a source that cannot be read as a graph raises. All are values; any thread may raise them.

    GraphError
    ├── SourceError      a directory, archive, store or journal that cannot be read
    └── NameUnknown      a name or path that is absent or ambiguous
"""

from __future__ import annotations

__all__ = ["GraphError", "NameUnknown", "SourceError"]


class GraphError(Exception):
    """Base of what goes wrong with a graph. The text names the thing, then says how to mend it."""


class SourceError(GraphError):
    """A directory, archive, store or journal that cannot be read."""


class NameUnknown(GraphError):  # noqa: N818 - reads as what happened
    """A name or path that the graph does not have, or that means several things in it."""
