"""The graph of a container or mount as it runs: brought up to date with each operation.

Decided here: what one operation changes in the graph, so that following costs by the operation and not by the size of
the graph. The paths that an operation names are looked up anew; only where a directory was moved or hidden are the
paths below it, too.

What is yielded is the one graph, changed in place: it belongs to the thread that follows.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from fusefs.closing import Closing
from fusefs.errors import JournalError
from fusefs.journal import Journal
from fusefs.operation import EffectKind, Operation
from sim.graph.errors import SourceError
from sim.graph.graph import LayerGraph
from sim.graph.kinds import file_key
from sim.graph.replay import Replay
from sim.graph.sources import add_journal
from sim.graph.stack import LayerStack

__all__ = ["Follower", "advance", "follow"]

_SUBTREES = frozenset(
    {
        EffectKind.RENAMED,
        EffectKind.WHITEOUT,
        EffectKind.OPAQUE,
        EffectKind.REMOVED,
        EffectKind.REVEALED,
        EffectKind.REDIRECT,
    }
)


def follow(
    journal: Path | str,
    *,
    name: str = "mount",
    graph: LayerGraph | None = None,
    after: int | None = None,
    poll: float = 0.1,
    timeout: float | None = None,
) -> Iterator[tuple[Operation, LayerGraph]]:
    """Yield each operation as it reaches the disk, with the graph as it is after it.

    Parameters
    ----------
    journal
        Its file.
    name
        What the container or mount is called.
    graph
        The graph to follow in; a new one by default.
    after
        Begin after this operation; None for what is on disk now.
    poll, timeout
        As in `fusefs.Journal.follow`: seconds between looks, and until it ends without an orderly end of the mount.

    Raises
    ------
    SourceError
        The journal cannot be read.
    """
    with Follower(journal, name=name, graph=graph, after=after) as follower:
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            ended = follower.ended
            for operation in follower.operations():
                yield operation, follower.graph
            if ended or (end is not None and time.monotonic() >= end):
                return
            time.sleep(poll)


class Follower(Closing):
    """A graph that keeps up with a journal, brought up to date when asked.

    Parameters
    ----------
    journal, name, graph, after
        As in `follow`.

    Attributes
    ----------
    graph
        The graph, changed in place.
    stack
        The container's or mount's stack in it.

    Raises
    ------
    SourceError
        The journal cannot be read.
    """

    def __init__(
        self,
        journal: Path | str,
        *,
        name: str = "mount",
        graph: LayerGraph | None = None,
        after: int | None = None,
        image: str | None = None,
    ) -> None:
        self.graph = LayerGraph() if graph is None else graph
        try:
            self._journal = Journal(journal)
        except JournalError as error:
            raise SourceError(str(error)) from error
        try:
            start = len(self._journal) if after is None else after
            self.stack = add_journal(self.graph, self._journal, name=name, at=start, image=image)
        except (JournalError, SourceError) as error:
            self._journal.close()
            raise SourceError(str(error)) from error
        self._number = start

    @property
    def ended(self) -> bool:
        """Whether the recording has ended in order: nothing more will come."""
        try:
            return self._journal.closed
        except JournalError as error:
            raise SourceError(str(error)) from error

    def operations(self) -> Iterator[Operation]:
        """Yield the operations that have come since the last one, the graph being as it is after each."""
        try:
            for operation in self._journal.operations(after=self._number):
                advance(self.graph, self.stack, operation)
                self._number = operation.number
                yield operation
        except JournalError as error:
            raise SourceError(str(error)) from error

    def close(self) -> None:
        """Close the journal; the graph stays as it is."""
        self._journal.close()


def advance(graph: LayerGraph, stack: LayerStack, operation: Operation) -> None:
    """Take the next operation of a stack that was added by `add_journal` with `at`, and bring its nodes up to date."""
    replay = stack.replay
    assert replay is not None
    layer = stack.layers[0]
    changed: dict[str, None] = {}
    for effect in operation.effects:
        for path in (effect.path, effect.target if effect.kind is not EffectKind.REDIRECT else ""):
            if not path:
                continue
            changed[path] = None
            if effect.kind in _SUBTREES:
                changed.update(dict.fromkeys(graph.known_below(path)))
                changed.update(dict.fromkeys(replay.below(path)))
    node = graph.nx.nodes[f"layer:{layer.key}"]
    before = _bytes(replay, changed)
    replay.take(operation)
    for effect in operation.effects:
        if effect.kind is EffectKind.RENAMED:
            changed.update(dict.fromkeys(replay.below(effect.target)))
            changed.update(dict.fromkeys(replay.below(effect.path)))
    linked = {entry.inode for path in changed if (entry := replay.entries.get(path)) is not None and entry.inode}
    if linked:
        changed.update((path, None) for path, entry in replay.entries.items() if entry.inode in linked)
    if changed:
        layer.forget()
        after = _bytes(replay, changed)
        # With hard links the bytes of a name may be counted under another: then all are counted anew.
        node["bytes"] = layer.bytes if before is None or after is None else node["bytes"] + after - before
        known = 0
        while known < len(changed):  # each is taken out, and with it what was said of those that had its name before
            known = len(changed)
            changed.update(dict.fromkeys(replay.renamed_from(changed)))
        for path in changed:
            graph.remove_file(file_key(layer.key, path))
        graph.add_paths(stack, sorted(changed))
    elif operation.layer is not None and not operation.error:
        graph.add_read(stack, operation.path, operation.layer)
    graph.count(stack)


def _bytes(replay: Replay, paths: Iterable[str]) -> int | None:
    """Return the bytes that the RW layer has at these paths; None if one is hard-linked."""
    entries = [replay.entries[path] for path in paths if path in replay.entries]
    return None if any(entry.inode for entry in entries) else sum(entry.size for entry in entries)
