"""Moments on the command line: `--since 10m`, `--until 2026-11-27T10:00:00`.

Decided here and only here: how they are written, and that those of the client's zone are put into the engine's terms.
Pure functions; any thread.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from sim.cli.failure import Failure
from sim.cli.flags.values import duration

__all__ = ["moment", "rfc3339"]

_WRITTEN = re.compile(r"(\d{4}-\d\d-\d\d)(?:T(\d\d)(?::(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?)?(Z|[+-]\d\d:?\d\d)?")


def moment(text: str, word: str = "since") -> str | None:
    """Return a moment in seconds since the epoch, as the engine wants it; None where none was given.

    Raises
    ------
    Failure
        It cannot be read.

    Examples
    --------
    >>> moment("2026-11-27T10:00:00.5Z"), moment("1700000000"), moment("")
    ('1795773600.500000000', '1700000000', None)
    """
    if not text:
        return None
    try:
        return str(int(time.time()) - duration(text) // 10**9)
    except ValueError:
        pass
    found = _WRITTEN.fullmatch(text)
    if found is None:
        if re.fullmatch(r"\d+(\.\d+)?", text):
            return text
        raise Failure(f'invalid value for "{word}": failed to parse value as time or duration: "{text}"')
    day, hour, minute, second, part, zone = found.groups()
    plain = f"{day}T{hour or '00'}:{minute or '00'}:{second or '00'}"
    when = datetime.fromisoformat(plain + (zone or ""))
    if zone is None:
        when = when.astimezone()
    return f"{int(when.timestamp())}.{(part or '').ljust(9, '0')}"


def rfc3339(nanoseconds: int) -> str:
    """Return a moment with nine digits behind the second, in the zone of this process.

    >>> rfc3339(0).startswith("19")
    True
    """
    seconds, rest = divmod(nanoseconds, 10**9)
    local = datetime.fromtimestamp(seconds, UTC).astimezone()
    zone = local.strftime("%z")
    return f"{local:%Y-%m-%dT%H:%M:%S}.{rest:09d}{'Z' if zone == '+0000' else f'{zone[:3]}:{zone[3:]}'}"
