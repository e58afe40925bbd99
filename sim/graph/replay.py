"""The RW layer after any operation, worked out from the journal alone.

Decided here and only here: what each effect of an operation makes of the RW layer. A directory on disk shows only how
things are now; the journal shows how they were after operation N.

A journal may begin on an RW layer that already holds files. `Replay.initial` gives those: whatever an effect takes for
granted and no earlier effect has made.

A `Replay` takes operations one at a time, in order, and belongs to one thread. What it keeps grows with the number of
paths that were changed or read, never with the number of operations.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from fusefs.operation import Effect, EffectKind, Kind, Operation
from fusefs.tally import Tally
from sim.graph.entry import Entry, EntryType, Layer
from sim.graph.past import Past
from sim.graph.pathtree import PathTree

__all__ = ["Origin", "Reads", "Replay", "Totals", "first_state"]

_MADE = {
    Kind.MKDIR: EntryType.DIRECTORY,
    Kind.SYMLINK: EntryType.SYMLINK,
    Kind.MKNOD: EntryType.OTHER,
}
_RENAME_ORDER = {EffectKind.COPIED_UP: 0, EffectKind.RENAMED: 1}


@dataclass(frozen=True, slots=True)
class Origin:
    """How an object came into the RW layer.

    Attributes
    ----------
    how
        `copied up`, `created`, `linked`, `whiteout` or `opaque`.
    operation
        Number of the operation that did it.
    layer
        Number of the read-only layer that it was copied from or hides; None where there is none.
    path
        Its path in that layer: another than now if it was renamed since.
    size
        Bytes copied (copied up); else 0.
    renamed
        The operation that gave it its present name; 0 if it has its first name.
    was
        The name before that; else "".
    """

    how: EffectKind
    operation: int
    layer: int | None = None
    path: str = ""
    size: int = 0
    renamed: int = 0
    was: str = ""


@dataclass(slots=True)
class Reads:
    """How often, and how much, one path was read from one layer."""

    operations: int = 0  #: calls of any kind that the layer answered without a change
    reads: int = 0  #: calls of `read`
    bytes: int = 0  #: bytes read
    first: int = 0  #: number of the first of these operations
    last: int = 0  #: number of the last


@dataclass(slots=True)
class Totals:
    """What the operations so far add up to.

    Attributes
    ----------
    operations
        How many.
    failed
        How many ended with an error.
    copied
        Bytes that copy-up moved.
    written
        Bytes that callers wrote.
    read
        Bytes that callers read.
    copy_ups
        Objects other than directories that were copied up.
    served
        Number of operations answered, by layer number; None for those that no layer answered.
    copying
        Nanoseconds spent in operations that copied up.
    """

    operations: int = 0
    failed: int = 0
    copied: int = 0
    written: int = 0
    read: int = 0
    copy_ups: int = 0
    served: dict[int | None, int] | None = None
    copying: int = 0


class Replay:
    """The RW layer as the operations taken so far have left it.

    Parameters
    ----------
    lower
        The read-only layers by number, for the types and sizes of what is copied up. Those missing are guessed from
        the operation.
    initial
        What was in the RW layer before the first operation.
    """

    def __init__(self, lower: Mapping[int, Layer] | None = None, initial: Mapping[str, Entry] | None = None) -> None:
        self._lower = lower or {}
        self.entries: dict[str, Entry] = {"/": _unknown("/", EntryType.DIRECTORY), **(initial or {})}
        self._paths = PathTree()
        for path in self.entries:
            self._paths.add(path)
        self.origins: dict[str, Origin] = {}
        self.reads: dict[tuple[str, int], Reads] = {}
        self.totals = Totals(served={})
        self.number = 0
        self.missing: dict[str, Entry] = {}
        self._links = 0
        self._renamed_to: set[str] = set()

    def take(self, operation: Operation) -> None:
        """Take the next operation."""
        self.number = operation.number
        self._count(
            Tally(
                operation.path, operation.layer, operation.kind, operation.error != 0, bool(operation.effects),
                1, operation.size, operation.number, operation.number,
            )
        )  # fmt: skip
        if operation.effects:
            self._change_by(operation)

    def take_all(self, operations: Iterable[Operation]) -> Replay:
        """Take all of them and return self."""
        for operation in operations:
            self.take(operation)
        return self

    def take_past(self, past: Past, number: int) -> Replay:
        """Take a whole past, whose last operation has this number, and return self: quicker than one by one."""
        for operation in past.changes():
            self._change_by(operation)
        for tally in past.tallies():
            self._count(tally)
        self.number = number
        return self

    def _change_by(self, operation: Operation) -> None:
        effects = operation.effects
        if any(effect.kind is EffectKind.RENAMED for effect in effects):
            # What else a rename did is told by the names after it, in whichever order it was done.
            effects = tuple(sorted(effects, key=lambda effect: _RENAME_ORDER.get(effect.kind, 2)))
        copied = False
        for effect in effects:
            _APPLY[effect.kind](self, operation, effect)
            copied = copied or (effect.kind is EffectKind.COPIED_UP and effect.size > 0)
        if copied:
            self.totals.copying += operation.duration

    def _count(self, tally: Tally) -> None:
        totals, count = self.totals, tally.operations
        totals.operations += count
        if totals.served is not None:
            totals.served[tally.layer] = totals.served.get(tally.layer, 0) + count
        if tally.failed:
            totals.failed += count
        if tally.kind is Kind.READ:
            totals.read += tally.size
        elif tally.kind in (Kind.WRITE, Kind.COPY_FILE_RANGE):
            totals.written += tally.size
        if tally.changed or tally.failed or tally.layer is None:
            return
        key = (tally.path, tally.layer)
        seen = self.reads.get(key)
        if seen is None:
            seen = self.reads[key] = Reads(first=tally.first)
        seen.operations += count
        seen.first = min(seen.first, tally.first)
        seen.last = max(seen.last, tally.last)
        if tally.kind is Kind.READ:
            seen.reads += count
            seen.bytes += tally.size

    def _set(self, path: str, entry: Entry) -> None:
        if path not in self.entries:
            self._paths.add(path)
        self.entries[path] = entry

    def _need(self, path: str, kind: EntryType = EntryType.FILE) -> Entry:
        """Return the entry at a path; one that was never made must have been there from the start."""
        entry = self.entries.get(path)
        if entry is None or (entry.is_whiteout and kind is not EntryType.WHITEOUT):
            entry = _unknown(path, kind)
            self.missing.setdefault(path, entry)
            self._set(path, entry)
        return entry

    def _copied_up(self, operation: Operation, effect: Effect) -> None:
        source = self._below(effect.path)
        layer = self._lower.get(effect.origin) if effect.origin is not None else None
        below = layer.entries.get(source) if layer is not None else None
        if below is None:
            kind = _guess(operation, effect)
            entry = _unknown(effect.path, kind, size=effect.size if kind is EntryType.FILE else 0)
        else:
            entry = replace(below, path=effect.path, opaque=False, redirect="", inode=0)
        if not entry.is_dir:
            self.totals.copy_ups += 1
        self.totals.copied += effect.size
        self._set(effect.path, entry)
        self.origins[effect.path] = Origin(effect.kind, operation.number, effect.origin, source, effect.size)

    def _below(self, path: str) -> str:
        """Return where the read-only layers have what is at `path`: elsewhere if a directory above it was renamed."""
        rest = ""
        at = path
        while at != "/":
            parent, _, name = at.rpartition("/")
            at = parent or "/"
            rest = f"/{name}{rest}"
            entry = self.entries.get(at)
            if entry is not None and entry.redirect:
                if entry.redirect.startswith("/"):
                    return entry.redirect + rest
                at, rest = at.rpartition("/")[0] or "/", f"/{entry.redirect}{rest}"
                if at == "/":
                    return rest
                return self._below(at + rest)
        return path

    def _created(self, operation: Operation, effect: Effect) -> None:
        kind = _MADE.get(operation.kind, EntryType.FILE)
        target = operation.target if kind is EntryType.SYMLINK else ""
        self._set(
            effect.path,
            _unknown(effect.path, kind, size=len(os.fsencode(target)), mtime=-operation.number, target=target),
        )
        self.origins[effect.path] = Origin(effect.kind, operation.number)

    def _removed(self, operation: Operation, effect: Effect) -> None:
        self._need(effect.path, EntryType.DIRECTORY if operation.kind is Kind.RMDIR else EntryType.FILE)
        self._take_away(effect.path)

    def _whiteout(self, operation: Operation, effect: Effect) -> None:
        self._take_away(effect.path)
        self._set(effect.path, _unknown(effect.path, EntryType.WHITEOUT, mtime=-operation.number))
        self.origins[effect.path] = Origin(effect.kind, operation.number, effect.origin, effect.path)

    def _opaque(self, operation: Operation, effect: Effect) -> None:
        entry = self._need(effect.path, EntryType.DIRECTORY)
        self.entries[effect.path] = replace(entry, opaque=True)
        before = self.origins.get(effect.path)
        if before is None or before.how is EffectKind.CREATED:
            self.origins[effect.path] = Origin(effect.kind, operation.number, effect.origin, effect.path)

    def _revealed(self, operation: Operation, effect: Effect) -> None:
        entry = self._need(effect.path, EntryType.WHITEOUT)
        if entry.is_whiteout:
            del self.entries[effect.path]
            self._paths.discard(effect.path)
            self.origins.pop(effect.path, None)

    def _renamed(self, operation: Operation, effect: Effect) -> None:
        old, new = effect.path, effect.target
        swap = next((e for e in operation.effects if e.kind is effect.kind and (e.path, e.target) == (new, old)), None)
        if swap is not None and effect.path > effect.target:
            return  # an exchange is told as two renames; the other does both
        self._need(old)
        there = self._take_away(new)
        self._put(self._take_away(old), old, new, operation.number)
        if swap is not None:
            self._put(there, new, old, operation.number)

    def _take_away(self, path: str) -> list[tuple[str, Entry, Origin | None]]:
        taken = [(name, self.entries.pop(name), self.origins.pop(name, None)) for name in self.below(path)]
        for name, _, _ in taken:
            self._paths.discard(name)
        return taken

    def _put(self, moved: list[tuple[str, Entry, Origin | None]], old: str, new: str, number: int) -> None:
        for path, entry, origin in moved:
            target = new + path[len(old) :]
            self._set(target, replace(entry, path=target))
            if path == old:
                origin = replace(origin or Origin(EffectKind.RENAMED, number), renamed=number, was=old)
                self._renamed_to.add(target)
            elif origin is not None and origin.renamed:
                self._renamed_to.add(target)
            if origin is not None:
                self.origins[target] = origin

    def _linked(self, operation: Operation, effect: Effect) -> None:
        entry = self._need(effect.target)
        if not entry.inode:
            self._links -= 1  # negative: never the number of a file on disk
            entry = replace(entry, inode=self._links)
            self.entries[effect.target] = entry
        self._set(effect.path, replace(entry, path=effect.path))
        self.origins[effect.path] = Origin(effect.kind, operation.number, path=effect.target)

    def _written(self, operation: Operation, effect: Effect) -> None:
        entry = self._need(effect.path)
        self._change(entry, operation, max(entry.size, operation.offset + effect.size))

    def _metadata(self, operation: Operation, effect: Effect) -> None:
        entry = self._need(effect.path)
        size = entry.size
        if operation.kind is Kind.TRUNCATE:
            size = operation.offset
        elif operation.kind is Kind.OPEN:
            size = 0  # O_TRUNC: an open changes nothing else
        elif operation.kind is Kind.FALLOCATE:
            size = max(size, operation.offset + operation.size)
        self._change(entry, operation, size)

    def _redirect(self, operation: Operation, effect: Effect) -> None:
        entry = self._need(effect.path, EntryType.DIRECTORY)
        self.entries[effect.path] = replace(entry, redirect=effect.target)

    def _change(self, entry: Entry, operation: Operation, size: int) -> None:
        names = [entry.path]
        if entry.inode:
            names = [path for path, other in self.entries.items() if other.inode == entry.inode]
        mode = -1 if operation.kind is Kind.CHMOD else entry.mode
        uid, gid = (-1, -1) if operation.kind is Kind.CHOWN else (entry.uid, entry.gid)
        for path in names:
            old = self.entries[path]
            # Not `replace`: this is done for each write, and that takes three times as long.
            self.entries[path] = Entry(
                old.path, old.type, size, mode, uid, gid, -operation.number,
                old.target, old.opaque, old.redirect, old.inode,
            )  # fmt: skip

    def renamed_from(self, paths: Container[str]) -> list[str]:
        """Return the paths of those objects of the RW layer that had one of these names before."""
        self._renamed_to = {path for path in self._renamed_to if path in self.origins and self.origins[path].renamed}
        return [path for path in self._renamed_to if self.origins[path].was in paths]

    def below(self, path: str) -> list[str]:
        """Return the paths of the RW layer at and below a path."""
        entry = self.entries.get(path)
        if entry is None or not entry.is_dir:
            return [path] if entry is not None else []
        return list(self._paths.below(path))


def _unknown(path: str, kind: EntryType, *, size: int = 0, mtime: int = 0, target: str = "") -> Entry:
    """Return an entry whose mode and owner the journal does not tell."""
    return Entry(path, kind, size, -1, -1, -1, mtime, target)


def _guess(operation: Operation, effect: Effect) -> EntryType:
    """Guess the type of what was copied up, where its layer is not at hand: the parents of a path are directories."""
    inner = any(path.startswith(effect.path + "/") for path in (operation.path, operation.target) if path)
    if inner or effect.path == "/":
        return EntryType.DIRECTORY
    return EntryType.FILE


_APPLY = {
    EffectKind.COPIED_UP: Replay._copied_up,
    EffectKind.CREATED: Replay._created,
    EffectKind.REMOVED: Replay._removed,
    EffectKind.WHITEOUT: Replay._whiteout,
    EffectKind.OPAQUE: Replay._opaque,
    EffectKind.REVEALED: Replay._revealed,
    EffectKind.RENAMED: Replay._renamed,
    EffectKind.LINKED: Replay._linked,
    EffectKind.WRITTEN: Replay._written,
    EffectKind.METADATA: Replay._metadata,
    EffectKind.REDIRECT: Replay._redirect,
}


def first_state(
    changes: Iterable[Operation], lower: Mapping[int, Layer], now: Mapping[str, Entry] | None = None
) -> dict[str, Entry]:
    """Return what the RW layer held before the first operation, as far as it can be known.

    A file that a rename replaced, and what was in a directory that was moved or removed, leave no trace in a journal.

    Parameters
    ----------
    changes
        All operations of the journal, or those that had effects.
    lower
        The read-only layers by number.
    now
        The RW layer as it is now, if its directory is at hand: what is in it and was never touched was there before.
    """
    replay = Replay(lower)
    for operation in changes:
        replay._change_by(operation)
    found = dict(replay.missing)
    if now is not None:
        found.update({path: entry for path, entry in now.items() if path not in replay.entries})
    return found
