"""How long something took or has been, in about one word, as Docker says it.

Decided here and only here, for the daemon, whose lists say it of containers, and for the command, which says it of the
rest. Imports nothing: the command line asks it at each start.
"""

from __future__ import annotations

__all__ = ["duration_words"]


def duration_words(seconds: float) -> str:
    """Return a duration in about one word.

    >>> [duration_words(s) for s in (0.5, 1, 59, 60, 119, 120, 3599, 5400, 172800, 1209600, 5184000, 63072000)]
    ... # doctest: +NORMALIZE_WHITESPACE
    ['Less than a second', '1 second', '59 seconds', 'About a minute', 'About a minute', '2 minutes', '59 minutes',
     '2 hours', '2 days', '2 weeks', '2 months', '2 years']
    """
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = int(seconds / 60)
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    for limit, divisor, word in ((48, 1, "hours"), (336, 24, "days"), (1440, 168, "weeks"), (17520, 720, "months")):
        if hours < limit:
            return f"{hours // divisor} {word}"
    return f"{int(seconds / 3600) // 24 // 365} years"
