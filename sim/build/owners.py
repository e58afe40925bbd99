"""Who `--chown` means: names looked up in the image's own /etc/passwd and /etc/group.

Decided here and only here: the grammar and the words of its errors, moby's `parseChownFlag`: a name alone is that of a
user and of a group. Functions; any thread.
"""

from __future__ import annotations

import os

from fusefs import UnionFS
from sim.build.errors import BuildError
from sim.build.paths import resolve

__all__ = ["owner_of"]

_WORDS = "unable to convert uid/gid chown string to host mapping: "
_LARGEST = 2**31 - 1


def owner_of(tree: UnionFS, wish: str) -> tuple[int, int]:
    """Return the numbers of `user[:group]`.

    Raises
    ------
    BuildError
        There is no such user or group.
    """
    user, colon, group = wish.partition(":")
    group = group if colon else user
    return _number(tree, "user", "uid", user, "/etc/passwd"), _number(tree, "group", "gid", group, "/etc/group")


def _number(tree: UnionFS, kind: str, what: str, name: str, path: str) -> int:
    if name.isascii() and name.isdigit():
        number = int(name)
    else:
        try:
            lines = tree.read_bytes(os.fsencode(resolve(tree, path))).decode(errors="replace").splitlines()
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise BuildError(f"{_WORDS}can't find {what} for {kind} {name}: open {path}: {reason}") from None
        found = [fields for fields in (line.strip().split(":") for line in lines) if fields[0] == name]
        if not found or len(found[0]) < 3 or not found[0][2].isdigit():
            raise BuildError(f"{_WORDS}can't find {what} for {kind} {name}: no such {kind}: {name}")
        number = int(found[0][2])
    if number > _LARGEST:
        raise BuildError(f"{_WORDS}uids and gids must be in range 0-{_LARGEST}")
    return number
