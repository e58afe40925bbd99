"""The lookout: staying awake for the next request while it is likely to come at once.

Decided here and only here: for how long a reader of /dev/fuse looks for the next request before it goes to sleep, and
when it does what nobody waits for: when there is no request to read.

A program that works on files asks one thing after the other, and each answer is followed by the next question within
some ten microseconds. To put a processor to sleep and to wake it takes as long as that, in a virtual machine several
times as long, and was most of what a request took. So a reader that has just answered looks again and again for a
short while. A hypervisor polls before it halts a virtual processor, and network drivers before they sleep, for the
same reason.

It must not cost others anything. Whoever looks lets others run at each look, and goes to sleep for good measure as soon
as somebody did: then the processor is wanted. Where requests come seldom it sleeps at once, so that a mount nobody uses
takes no time at all. On a single processor it always does: what asks could not run meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from time import perf_counter_ns

__all__ = ["Lookout"]

#: A look takes a microsecond or two. One that took so many nanoseconds has let somebody else run.
_ROBBED = 40_000

#: Nanoseconds without looking once somebody else wanted the processor.
_REST = 2_000_000


class Lookout:
    """Looks out for requests, for one reader at a time.

    Parameters
    ----------
    longest
        Microseconds to look for a request before sleeping; 0 to sleep at once.

    Examples
    --------
    >>> lookout = Lookout(100)
    >>> lookout.sees(lambda _: [], lambda: False)  # nobody is known to ask often yet
    False
    """

    __slots__ = ("_begun", "_longest", "_often", "_rested")

    def __init__(self, longest: int) -> None:
        self._longest = longest * 1000 if len(os.sched_getaffinity(0)) > 1 else 0
        self._often = False
        self._begun = self._rested = 0

    def sees(self, look: Callable[[int], list[tuple[int, int]]], idle: Callable[[], bool]) -> bool:
        """Look for a while; return whether there is something to read, and not whether it is time to sleep for it.

        Parameters
        ----------
        look
            The method `poll` of what watches the device.
        idle
            Does a piece of what was put off until nobody waits; returns whether there was any. All of it is done before
            it is time to sleep.
        """
        self._begun = last = perf_counter_ns()
        end = last + self._longest
        while not look(0):
            if idle():
                last = perf_counter_ns()
                continue
            if not self._often:
                return False
            os.sched_yield()
            now = perf_counter_ns()
            if now - last > _ROBBED:
                self._rested = now + _REST
                return False
            if now > end:
                return False
            last = now
        return True

    def wakes(self) -> None:
        """Take note that a request has come after all, and of how long that took."""
        now = perf_counter_ns()
        self._often = now - self._begun < self._longest and now > self._rested
