"""Paths within a tree: where a path leads when symbolic links are followed, and never out of the tree.

Decided here and only here: how a path of a context, of an image or of a tar is resolved. A `..` at the root stays at
the root, an absolute link starts there again, what does not exist is taken as it is written; so moby's
`FollowSymlinkInScope`. The trees are unions, which never follow a link by themselves. Functions; any thread.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from sim.build.tree import Status, Tree

__all__ = ["join", "remove_tree", "resolve", "status_of", "walk"]

_MOST_LINKS = 255


def join(*parts: str) -> str:
    """Join and clean a path; absolute, from the tree's root.

    >>> join("/a", "../../b/", "./c")
    '/b/c'
    """
    found: list[str] = []
    for part in "/".join(parts).split("/"):
        if part == "..":
            del found[-1:]
        elif part not in ("", "."):
            found.append(part)
    return "/" + "/".join(found)


def status_of(tree: Tree, path: str) -> Status | None:
    """Return what is at a path, a link itself; None where nothing is."""
    try:
        return tree.lstat(os.fsencode(path))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return None
        raise


def resolve(tree: Tree, path: str, *, root: str = "/", last: bool = True) -> str:
    """Return where a path leads, free of links.

    Parameters
    ----------
    root
        A directory, free of links, that the path and all links start at and never leave, as after a chroot.
    last
        Whether a link at the end is followed too.

    Raises
    ------
    OSError
        ELOOP: there are too many links.
    """
    pending = [part for part in path.split("/") if part not in ("", ".")][::-1]
    base = root.rstrip("/")
    at: list[str] = []
    links = 0
    while pending:
        step = pending.pop()
        if step == "..":
            del at[-1:]
            continue
        here = f"{base}/" + "/".join([*at, step])
        if pending or last:
            status = status_of(tree, here)
            if status is not None and stat.S_ISLNK(status.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                text = tree.readlink(os.fsencode(here))
                if text.startswith("/"):
                    at = []
                pending.extend([part for part in text.split("/") if part not in ("", ".")][::-1])
                continue
        at.append(step)
    return f"{base}/" + "/".join(at) if at else root


def walk(tree: Tree, top: str) -> Iterator[tuple[str, Status]]:
    """Yield everything below a directory, sorted by name, each directory before what is in it; no link is followed."""
    pending = [top]
    while pending:
        here = pending.pop()
        status = tree.lstat(os.fsencode(here))
        if here != top:
            yield here, status
        if stat.S_ISDIR(status.st_mode):
            base = here.rstrip("/")
            pending.extend(f"{base}/{name}" for name in reversed(tree.listdir(os.fsencode(here))))


def remove_tree(tree: Tree, path: str) -> None:
    """Remove whatever is at a path, with all below it; no link is followed."""
    status = status_of(tree, path)
    if status is None:
        return
    if not stat.S_ISDIR(status.st_mode):
        tree.unlink(os.fsencode(path))
        return
    found = [(path, status), *walk(tree, path)]
    for here, each in reversed(found):
        if stat.S_ISDIR(each.st_mode):
            tree.rmdir(os.fsencode(here))
        else:
            tree.unlink(os.fsencode(here))
