"""What is closed at the end of a block.

Decided here and only here: that such a block ends with `close`, whatever has happened in it. No state of its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

__all__ = ["Closing"]


class Closing(ABC):
    """Base of what has a method `close` and is used in a `with` block.

    Examples
    --------
    >>> class Shop(Closing):
    ...     def close(self) -> None:
    ...         print("closed")
    >>> with Shop():
    ...     print("open")
    open
    closed
    """

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Let go of everything."""

    def __enter__(self) -> Self:
        """Enter a block at whose end it is closed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
