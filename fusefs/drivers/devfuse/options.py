"""What can be chosen about a mount by the devfuse driver.

Decided here and only here: the choices and their defaults. Frozen values: any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

__all__ = ["Passthrough", "Tuning"]


class Passthrough(StrEnum):
    """Which files the kernel reads and writes by itself (Linux 6.9, as root)."""

    AUTO = "auto"  #: `upper` where there is an RW layer, `all` for a read-only stack
    UPPER = "upper"  #: files that are in the RW layer; those below are read through the page cache
    ALL = "all"  #: all; a file of a lower layer that is open while it is copied up goes on showing its old data
    OFF = "off"  #: none


@dataclass(frozen=True, slots=True)
class Tuning:
    """How the devfuse driver serves a mount.

    Attributes
    ----------
    passthrough
        Which files the kernel reads and writes by itself.
    workers
        Threads that serve requests, each with a descriptor of its own; slow work occupies one each.
    nodes
        About how many objects the kernel may know before it is asked to let some go (Linux 6.18); what it knows
        costs about 1 KiB each here.
    readahead
        Bytes that the kernel reads ahead of a sequential reader of a file that is not in passthrough.
    prefill
        Files of up to this many bytes are put into the page cache when they are opened, which saves the request that
        would read them.
    lookout
        Microseconds to look for the next request before sleeping until it comes; 0 to sleep at once.
    trace
        File that gets each message in words; "-" for standard error, "" for none.
    """

    passthrough: Passthrough = Passthrough.AUTO
    workers: int = 4
    nodes: int = 100_000
    readahead: int = 1 << 20
    prefill: int = 1 << 17
    lookout: int = 100
    trace: str = ""

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `dataclasses.asdict` made plain.

        >>> from dataclasses import asdict
        >>> Tuning.from_plain(asdict(Tuning(workers=2))).workers
        2
        """
        values = dict(plain)
        if "passthrough" in values:
            values["passthrough"] = Passthrough(values["passthrough"])
        return cls(**values)
