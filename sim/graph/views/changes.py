"""Data of before and after: a tree with what was added, modified and deleted between two states.

Decided here: what counts as modified (another type, size, mode, owner, time or link text), and which unchanged parts of
the tree are folded. The difference of any two states is `difference`, without folding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sim.graph.entry import Entry, parent_of
from sim.graph.merge import merged
from sim.graph.stack import LayerStack

__all__ = ["Change", "ChangeTree", "TreeLine", "change_tree", "difference"]


@dataclass(frozen=True, slots=True)
class Change:
    """One changed path.

    Attributes
    ----------
    path
        Which one.
    what
        `A` added, `M` modified, `D` deleted.
    before, after
        Bytes of file data; 0 where there is none.
    """

    path: str
    what: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class TreeLine:
    """One line of the tree.

    Attributes
    ----------
    name
        Last component of the path; a directory's ends in a slash.
    depth
        0 for the root.
    what
        `A`, `M`, `D`, or "" for a directory that only leads to changes.
    before, after
        Bytes.
    folded
        Number of unchanged entries of this directory that have no line.
    """

    name: str
    depth: int
    what: str
    before: int
    after: int
    folded: int = 0


@dataclass(frozen=True, slots=True)
class ChangeTree:
    """What changed, as a tree.

    Attributes
    ----------
    before, after
        Names of the two states.
    lines
        From the root down.
    added, modified, deleted
        Numbers of paths, shown or not.
    left_out
        Number of changes that have no line.
    """

    before: str
    after: str
    lines: tuple[TreeLine, ...]
    added: int
    modified: int
    deleted: int
    left_out: int = 0


def difference(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> tuple[Change, ...]:
    """Return what differs between two merged trees, by path.

    Directories that differ only in their times are not among it: every change in them does that.
    """
    found = []
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old is None:
            assert new is not None
            found.append(Change(path, "A", 0, new.size))
        elif new is None:
            found.append(Change(path, "D", old.size, 0))
        elif _differ(old, new):
            found.append(Change(path, "M", old.size, new.size))
    return tuple(found)


def _differ(old: Entry, new: Entry) -> bool:
    if (old.type, old.size, old.target) != (new.type, new.size, new.target):
        return True
    if any(-1 not in pair and pair[0] != pair[1] for pair in zip(_owner(old), _owner(new), strict=True)):
        return True
    # The time of a directory changes with every name in it; that of an operation on itself is negative.
    return old.mtime != new.mtime and (not old.is_dir or min(old.mtime, new.mtime) < 0)


def _owner(entry: Entry) -> tuple[int, int, int]:
    return entry.mode, entry.uid, entry.gid


def change_tree(
    before: LayerStack, after: LayerStack, *, names: tuple[str, str] = ("", ""), max_lines: int = 46
) -> ChangeTree:
    """Compare what two stacks show.

    Parameters
    ----------
    before, after
        Two stacks: an image and its container, or one container at two moments.
    names
        What they are called.
    max_lines
        How many lines there are at most; changes beyond are counted.
    """
    old = {path: entry for path, (_, entry) in merged(before.layers).items()}
    new = {path: entry for path, (_, entry) in merged(after.layers).items()}
    return tree_of(
        difference(old, new), old, new, names=(names[0] or before.name, names[1] or after.name), max_lines=max_lines
    )


def tree_of(
    changes: tuple[Change, ...],
    old: Mapping[str, Entry],
    new: Mapping[str, Entry],
    *,
    names: tuple[str, str],
    max_lines: int,
) -> ChangeTree:
    """Lay changes out as a tree, folding what did not change."""
    by_path = {change.path: change for change in changes}
    chosen: set[str] = set()
    shown = 0
    for change in _spread(changes):
        needed = set()
        at = change.path
        while at not in chosen:
            needed.add(at)
            if at == "/":
                break
            at = parent_of(at)
        if len(chosen) + len(needed) > max_lines and chosen:
            continue
        chosen |= needed
        shown += 1
    children: dict[str, int] = {}
    for path in old.keys() | new.keys():
        if path != "/" and path not in chosen and path not in by_path:
            children[parent_of(path)] = children.get(parent_of(path), 0) + 1
    lines = []
    for path in sorted(chosen, key=lambda path: path.split("/") if path != "/" else []):
        change_here = by_path.get(path)
        entry = new.get(path) or old.get(path)
        name = "/" if path == "/" else path.rpartition("/")[2] + ("/" if entry is not None and entry.is_dir else "")
        depth = 0 if path == "/" else path.count("/")
        if change_here is None:
            lines.append(TreeLine(name, depth, "", 0, 0, children.get(path, 0)))
        else:
            folded = children.get(path, 0)
            lines.append(TreeLine(name, depth, change_here.what, change_here.before, change_here.after, folded))
    count = {what: sum(1 for change in changes if change.what == what) for what in "AMD"}
    return ChangeTree(
        *names, tuple(lines), count["A"], count["M"], count["D"], len(changes) - len(chosen & by_path.keys())
    )


def _spread(changes: tuple[Change, ...]) -> list[Change]:
    """Order changes so that each directory gets its turn: first of each, then second of each."""
    turn: dict[str, int] = {}
    order = []
    for change in changes:
        directory = parent_of(change.path)
        turn[directory] = turn.get(directory, 0) + 1
        order.append((turn[directory], change.path.count("/"), change.path, change))
    order.sort(key=lambda item: item[:3])
    return [item[-1] for item in order]
