"""Progress: what a pull, push, load or save tells while it works, as plain data.

Decided here and only here: the words for each stage of a layer, which are Docker's. Frozen values, any thread; a
listener is called by whichever thread does the work and should return soon.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Listener", "Progress", "Stage", "silent"]


class Stage(StrEnum):
    """What is being done with a layer."""

    PULLING = "Pulling fs layer"
    WAITING = "Waiting"
    DOWNLOADING = "Downloading"
    VERIFYING = "Verifying Checksum"
    DOWNLOADED = "Download complete"
    EXTRACTING = "Extracting"
    EXISTS = "Already exists"
    PULLED = "Pull complete"
    PREPARING = "Preparing"
    PUSHING = "Pushing"
    PUSHED = "Pushed"
    THERE = "Layer already exists"
    MOUNTED = "Mounted from"
    LOADED = "Loaded image"
    STATUS = ""


@dataclass(frozen=True, slots=True)
class Progress:
    """One thing to tell.

    Attributes
    ----------
    layer
        Digest of the layer it is about; empty where it is about the whole.
    current, total
        Bytes done and bytes in all; 0 where that is not known.
    text
        More about it: a repository, a reason, or the whole message of a `STATUS`.
    """

    stage: Stage
    layer: str = ""
    current: int = 0
    total: int = 0
    text: str = ""


Listener = Callable[[Progress], object]


def silent(progress: Progress) -> None:
    """Tell nobody."""
