"""What ps(1) says about a container's processes.

Decided here and only here: how the host's ps is asked, and what of its answer is about the container, as moby has it
(`daemon/top_unix.go`). Any thread may call.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable

from sim.runtime.errors import ContainerError, InvalidSpecError, UnsupportedError

__all__ = ["listed"]

#: Another column with the title of the numbers, among which processes would be looked for: "-o ppid=PID".
_PRETENDED = re.compile(r"(\S*)=(PID\S*)", re.IGNORECASE)


def listed(pids: Iterable[int], arguments: str = "-ef") -> tuple[list[str], list[list[str]]]:
    """Return the titles and rows of ps for some processes.

    Parameters
    ----------
    pids
        As the caller numbers them.
    arguments
        For ps; they must let it show the numbers.

    Raises
    ------
    InvalidSpecError
        Something else would pass for the numbers.
    ContainerError
        ps refuses the arguments, in its own words.
    UnsupportedError
        There is no ps.
    """
    words = shlex.split(arguments) or ["-ef"]
    for name, title in _PRETENDED.findall(arguments):
        if name != "pid":
            raise InvalidSpecError(f'specifying "{name}={title}" is not allowed')
    tool = shutil.which("ps")
    if tool is None:
        raise UnsupportedError("ps is missing: install it (Debian: procps)")
    done = subprocess.run([tool, *words], capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise ContainerError(f"ps: {said[0] if said else f'exit status {done.returncode}'}")
    return _about(done.stdout.splitlines(), set(pids))


def _about(lines: list[str], pids: set[int]) -> tuple[list[str], list[list[str]]]:
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise ContainerError("Couldn't find PID field in ps output")
    place = titles.index("PID")
    rows, ours = [], False
    for line in lines[1:]:
        words = line.split(None, len(titles) - 1)
        number = words[place] if place < len(words) else ""
        if number.isdigit():
            ours = int(number) in pids
        elif number != "-":  # a thread of the process above it has none
            continue
        if ours:
            rows.append([*words, *[""] * (len(titles) - len(words))])
    return titles, rows
