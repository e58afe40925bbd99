"""The exceptions of the package.

Decided here: what cannot be measured at all. What can be measured only in part is no error: the result names what is
missing in it, and why. All are values; any thread may raise them.

    BenchError
    ├── ResultError      a file that is no result, or results that cannot be compared
    ├── Unavailable      a driver, a program or a privilege that this machine does not have
    └── Stopped          a driver that did not answer in time and was ended
"""

from __future__ import annotations

__all__ = ["BenchError", "ResultError", "Stopped", "Unavailable", "reason"]


class BenchError(Exception):
    """Base of what goes wrong with a measurement. The text names the thing, then says how to mend it."""


class ResultError(BenchError):
    """A file that is no result, or results that have nothing in common."""


class Unavailable(BenchError):  # noqa: N818 - reads as what happened
    """What this machine does not have: a program, a kernel's filesystem, a privilege, room on the disk."""


class Stopped(BenchError):  # noqa: N818 - reads as what happened
    """A driver that did not answer in time and was ended."""


def reason(error: BaseException) -> str:
    """Return what is said about an error, in one line.

    >>> reason(OSError(28, "No space left on device")), reason(BenchError("x: two\\nlines")), reason(ValueError())
    ('No space left on device', 'x: two lines', 'ValueError')
    """
    text = (error.strerror if isinstance(error, OSError) and error.strerror else str(error)) or type(error).__name__
    return " ".join(text.split())
