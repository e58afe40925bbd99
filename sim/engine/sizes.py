"""How many bytes a directory holds while somebody may be changing it.

Decided here and only here: what counts (whatever is no directory, each inode once, as for layers), and that what goes
away meanwhile counts nothing. Functions only; any thread.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["tree_size"]


def tree_size(place: Path) -> int:
    """Return the bytes below a directory; 0 where it is not there.

    >>> tree_size(Path("/not/there"))
    0
    """
    seen: set[tuple[int, int]] = set()
    total = 0
    waiting = [os.fspath(place)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                        continue
                    found = entry.stat(follow_symlinks=False)
                    if found.st_nlink > 1:
                        if (found.st_dev, found.st_ino) in seen:
                            continue
                        seen.add((found.st_dev, found.st_ino))
                    total += found.st_size
        except OSError:
            continue
    return total
