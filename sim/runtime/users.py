"""Who `-u` means: user and group names resolved in the container's own /etc/passwd and /etc/group.

Decided here and only here: the meaning of `user[:group]`, as moby's `user.GetExecUser` has it. Pure functions on the
text of the two files, which are the container's, so anything may be in them: a line that makes no sense is no user.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sim.runtime.errors import UnknownUserError

__all__ = ["Identity", "resolve_user"]

_HIGHEST = 2**31 - 1  # moby allows no more, though the kernel would


@dataclass(frozen=True, slots=True)
class Identity:
    """A user, its groups and its home directory, in numbers as the container knows them."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def _fields(text: str, count: int) -> list[list[str]]:
    lines = (line.strip().split(":") for line in text.splitlines() if not line.startswith("#"))
    return [line for line in lines if len(line) >= count]


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None


def resolve_user(wish: str, passwd: str = "", group: str = "", extra: Iterable[str] = ()) -> Identity:
    """Find out whom `user[:group]` means.

    Parameters
    ----------
    wish
        Name or number, and after a colon a group's name or number; "" is root.
    passwd, group
        Text of the container's /etc/passwd and /etc/group.
    extra
        More groups (`--group-add`), names or numbers.

    Raises
    ------
    UnknownUserError
        A name that is not there, or a number out of range; in moby's words.

    Examples
    --------
    >>> resolve_user("www", "www:x:33:33::/srv:/bin/sh", "tape:x:26:www")
    Identity(uid=33, gid=33, groups=(26,), home='/srv')
    >>> resolve_user("1000:5").gid
    5
    """
    user, _, group_wish = wish.partition(":")
    user = user or "0"
    number = _number(user)
    accounts = [line for line in _fields(passwd, 4) if _number(line[2]) is not None and _number(line[3]) is not None]
    match = next((a for a in accounts if a[0] == user), None) or next(
        (a for a in accounts if number is not None and int(a[2]) == number), None
    )
    if match:
        uid, gid, name = int(match[2]), int(match[3]), match[0]
        home = match[5] if len(match) > 5 and match[5] else "/"
    elif number is None:
        raise UnknownUserError(f"unable to find user {user}: no matching entries in passwd file")
    else:
        uid, gid, name, home = number, 0, "", "/"
    known = [line for line in _fields(group, 3) if _number(line[2]) is not None]
    member = [int(line[2]) for line in known if len(line) > 3 and name and name in line[3].split(",")]
    groups = sorted(set(member)) if not group_wish else []
    if group_wish:
        gid = _group(group_wish, known)
    groups += [number for number in (_group(each, known, "Unable") for each in extra) if number not in groups]
    for each in (uid, gid, *groups):
        if each > _HIGHEST:
            raise UnknownUserError(f"uids and gids must be in range 0-{_HIGHEST}, not {each}")
    return Identity(uid, gid, tuple(groups), home)


def _group(wish: str, known: list[list[str]], unable: str = "unable") -> int:
    """Return the number of a group; `unable` is how the complaint begins, which moby has in two ways."""
    match = next((int(line[2]) for line in known if line[0] == wish), None)
    if match is not None:
        return match
    number = _number(wish)
    if number is None:
        raise UnknownUserError(f"{unable} to find group {wish}: no matching entries in group file")
    return number
