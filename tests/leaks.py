"""What a test may leave behind on a machine, as a value that can be compared: nothing.

Decided here: what counts. A process counts when it descends from the test run (also as an orphan: it carries the mark
that is put into the environment). In continuous integration, where nothing else happens on the machine, every mount,
cgroup, network device, table of the packet filter and loop device counts, wherever it is. Elsewhere only a mount in the
directories of the test run counts, since others may be at work on the machine.
"""

from __future__ import annotations

import glob
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

MARK = f"LAYERLAB_TEST_RUN={os.getpid()}.{time.time_ns()}"


@dataclass(frozen=True)
class Traces:
    """What is there now, each as printable names."""

    mounts: frozenset[str]
    processes: frozenset[str]
    cgroups: frozenset[str]
    devices: frozenset[str]
    tables: frozenset[str]
    loops: frozenset[str]
    files: frozenset[str]

    def __sub__(self, before: Traces) -> Mapping[str, list[str]]:
        """Return what is here and was not there before."""
        more = {field.name: sorted(getattr(self, field.name) - getattr(before, field.name)) for field in fields(Traces)}
        # A process that was there is the same one when it sleeps where it ran before, or calls itself something else.
        there = {name.split()[0] for name in before.processes}
        more["processes"] = [name for name in more["processes"] if name.split()[0] not in there]
        return {name: values for name, values in more.items() if values}


def traces(own: Path, temporary: Path) -> Traces:
    """Look at the machine.

    Parameters
    ----------
    own
        The directory of this test run; the directories beside it belong to other runs.
    temporary
        Where temporary files go; everything in it counts.
    """
    alone = bool(os.environ.get("CI"))
    return Traces(
        mounts=frozenset(mount for mount in _mounts() if alone or _inside(mount, own, temporary)),
        processes=frozenset(_processes()),
        cgroups=frozenset(_cgroups() if alone else ()),
        devices=frozenset(os.listdir("/sys/class/net") if alone else ()),
        tables=frozenset(_tables() if alone else ()),
        loops=frozenset(glob.glob("/sys/block/loop*/loop/backing_file") if alone else ()),
        files=frozenset(os.listdir(temporary)),
    )


def _inside(mount: str, own: Path, temporary: Path) -> bool:
    return mount.startswith((f"{own}/", f"{temporary}/", "/var/tmp/user-"))


def _mounts() -> list[str]:
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split(" ")
        place, kind = words[4], words[words.index("-") + 1]
        found.append(f"{place} ({kind})")
    return found


def _processes() -> list[str]:
    mine = os.getpid()
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    marked: set[int] = set()
    for entry in os.listdir("/proc"):
        if not entry.isdecimal():
            continue
        try:
            status = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            environment = Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        pid = int(entry)
        parents[pid] = int(status[1])
        names[pid] = f"{entry} {status[0]} {command.strip()[:200]}"
        if MARK.encode() in environment:
            marked.add(pid)
    found = []
    for pid, name in names.items():
        if name.endswith(" layerlab-ahead") and names.get(parents[pid], "").endswith(" layerlab-zygote"):
            continue  # waits for the next wish, and goes with its zygote
        above = pid
        while above in parents and above != mine:
            above = parents[above]
        if pid != mine and (above == mine or pid in marked):
            found.append(name)
    return found


def _cgroups() -> list[str]:
    return [path for path, *_ in os.walk("/sys/fs/cgroup") if "layerlab" in path]


def _tables() -> list[str]:
    if os.geteuid() != 0:
        return []
    try:
        done = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    return done.stdout.splitlines()
