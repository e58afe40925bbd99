"""Moments and spans of time as clients write them.

Decided here and only here: which forms there are: RFC 3339, also without zone, time or seconds; seconds since the epoch
with a fraction; and a span before now in Go's words (`1h30m`). Functions only; any thread.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from sim.engine.errors import BadParameterError

__all__ = ["duration", "moment"]

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS = re.compile(r"(\d{1,12})(?:\.(\d{1,9}))?")


def duration(text: str) -> int | None:
    """Return a span in nanoseconds; None where the text is none.

    >>> duration("1h30m"), duration("1.5s"), duration("5")
    (5400000000000, 1500000000, None)
    """
    sign = -1 if text.startswith("-") else 1
    rest = text.removeprefix("-").removeprefix("+")
    parts = _PART.findall(rest)
    if not parts or len(rest) > 60 or "".join(number + unit for number, unit in parts) != rest:
        return 0 if rest == "0" else None
    return sign * sum(round(float(number) * _UNITS[unit]) for number, unit in parts)


def moment(text: str) -> int:
    """Return a moment in nanoseconds since the epoch.

    Raises
    ------
    BadParameterError
        The text is no moment.

    Examples
    --------
    >>> moment("1.5"), moment("1970-01-01T00:00:02Z")
    (1500000000, 2000000000)
    """
    if found := _SECONDS.fullmatch(text):
        return int(found[1]) * 10**9 + int((found[2] or "").ljust(9, "0"))
    span = duration(text)
    if span is not None:
        return time.time_ns() - span
    fraction = 0
    if found := re.search(r"\.(\d{1,9})\d*", text):
        fraction = int(found[1].ljust(9, "0"))
        text = text[: found.start()] + text[found.end() :]
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise BadParameterError(f'parsing time "{text}": cannot parse it as a time') from None
    try:
        return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()) * 10**9 + fraction
    except (OverflowError, OSError):
        raise BadParameterError(f'parsing time "{text}": it is out of range') from None
