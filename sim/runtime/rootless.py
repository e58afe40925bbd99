"""User namespaces: which numbers a container's users have outside, and how the mapping is written.

Decided here and only here: where mappings come from and who writes them. Root writes any. An ordinary user writes the
one that makes them root inside, alone; with newuidmap and a range in /etc/subuid a whole range. Any thread may call.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sim.runtime.errors import UnsupportedError
from sim.runtime.spec import Mapping

__all__ = ["own_mappings", "subordinate_range", "write_mappings"]

_RANGE = 65536


def subordinate_range(path: Path, name: str, number: int) -> tuple[int, int] | None:
    """Return start and length of the largest range that /etc/subuid or /etc/subgid (`path`) gives a user."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    found = []
    for line in lines:
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] in (name, str(number)) and fields[1].isdigit() and fields[2].isdigit():
            found.append((int(fields[1]), int(fields[2])))
    return max(found, key=lambda each: each[1], default=None)


def own_mappings() -> tuple[tuple[Mapping, ...], tuple[Mapping, ...]]:
    """Return the widest mappings of user and group numbers that the caller can have.

    An ordinary user is root inside. With newuidmap, newgidmap and ranges for the caller the numbers from 1 on are
    those of the ranges; without them there is no other user inside. Root gets a range of its own if there is one for
    root in /etc/subuid, else numbers far above those of the host's users.
    """
    import pwd

    uid, gid = os.geteuid(), os.getegid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    users = subordinate_range(Path("/etc/subuid"), name, uid)
    groups = subordinate_range(Path("/etc/subgid"), name, uid)
    if uid == 0:
        (start, count), (group_start, group_count) = users or (1 << 20, _RANGE), groups or (1 << 20, _RANGE)
        return (Mapping(0, start, count),), (Mapping(0, group_start, group_count),)
    own_user, own_group = Mapping(0, uid, 1), Mapping(0, gid, 1)
    if users is None or groups is None or not (shutil.which("newuidmap") and shutil.which("newgidmap")):
        return (own_user,), (own_group,)
    return (own_user, Mapping(1, *users)), (own_group, Mapping(1, *groups))


def write_mappings(pid: int, users: tuple[Mapping, ...], groups: tuple[Mapping, ...]) -> None:
    """Give the user namespace of a process its mappings. It must be new, and the caller outside of it.

    Raises
    ------
    UnsupportedError
        The kernel, or newuidmap, refuses them.
    """
    alone = os.geteuid() != 0 and all(len(each) == 1 and each[0].count == 1 for each in (users, groups))
    try:
        if os.geteuid() == 0 or alone:
            if alone:
                Path(f"/proc/{pid}/setgroups").write_text("deny")
            for kind, maps in (("uid_map", users), ("gid_map", groups)):
                Path(f"/proc/{pid}/{kind}").write_text("".join(f"{m.inside} {m.outside} {m.count}\n" for m in maps))
            return
    except OSError as error:
        raise UnsupportedError(
            f"the kernel refuses the user namespace's mapping of numbers: {error.strerror}"
        ) from error
    for tool, maps in (("newuidmap", users), ("newgidmap", groups)):
        words = [str(word) for m in maps for word in (m.inside, m.outside, m.count)]
        child = os.spawnvp(os.P_WAIT, tool, [tool, str(pid), *words])
        if child:
            raise UnsupportedError(f"{tool} refuses the user namespace's mapping of numbers: {' '.join(words)}")
