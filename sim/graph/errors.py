"""The exceptions of the package.

Decided here: what a source that cannot be read as a graph raises. All are values; any thread may raise them.

    GraphError
    ├── SourceError      a directory, archive, store or journal that cannot be read
    └── NameUnknown      a name or path that is absent or ambiguous
"""

from __future__ import annotations

__all__ = ["GraphError", "NameUnknown", "SourceError"]


class GraphError(Exception):
    r"""Base of what goes wrong with a graph. The text names the thing, then says how to mend it.

    It is one line that can be printed anywhere, whatever is in the names of files:

    >>> str(GraphError("/a\nb\x1b[31m\udcff: gone"))
    '/a\\nb\\x1b[31m\\xff: gone'
    """

    def __init__(self, text: str) -> None:
        super().__init__(text if text.isprintable() else "".join(map(_shown, text)))


class SourceError(GraphError):
    """A directory, archive, store or journal that cannot be read."""


class NameUnknown(GraphError):  # noqa: N818 - reads as what happened
    """A name or path that the graph does not have, or that means several things in it."""


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode()
