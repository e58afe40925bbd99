"""Node IDs: the names by which the kernel calls the union's nodes, and how often it has looked each one up.

Decided here and only here: which number a node has for the kernel, when it may be forgotten, and what is remembered
about a node for the kernel's sake. A number is never used twice, so generations are always 0.

Each lookup that is answered, in whatever request, counts one; FORGET gives back a number of them. The union's own count
(`Node.pins`) goes up and down with it.

Threads: any; the table has a lock of its own, under which nothing else is called but the union's release.
"""

from __future__ import annotations

import errno
import gc
import threading
from collections.abc import Iterable

from fusefs import syscalls
from fusefs.drivers.devfuse.wire import ROOT_ID
from fusefs.node import Node
from fusefs.table import failure
from fusefs.union import Union

__all__ = ["MANY", "Known", "Nodes", "State"]

#: So many nodes forgotten are worth looking for memory to give back.
MANY = 5_000


class State:
    """What is remembered of a node that has been opened.

    Attributes
    ----------
    passing, caching
        Open files in passthrough and through the page cache; never both at once.
    writers
        Those in passthrough that may write: meanwhile the kernel's idea of the status is not to be trusted.
    backing
        Backing ID, 0 for none.
    generation
        The node's generation that the backing file is of.
    stale
        Whether the pages in the page cache may be wrong.
    filled
        Whether the file was put into the page cache already.
    reader
        Handle that all share who only read through the page cache, 0 for none; it stays when the last of them is gone.
    """

    __slots__ = ("backing", "caching", "filled", "generation", "passing", "reader", "stale", "writers")

    def __init__(self) -> None:
        self.passing = self.caching = self.writers = 0
        self.backing = self.reader = 0
        self.generation = -1
        self.stale = False
        self.filled = False


class Known:
    """A node that the kernel knows.

    Attributes
    ----------
    id
        What the kernel calls it.
    node
        The union's node.
    lookups
        How often the kernel has looked it up.
    state
        What is remembered since it was opened, None before.
    has_default_acl
        For a directory: whether it has a default ACL, None where that is not known.
    """

    __slots__ = ("has_default_acl", "id", "lookups", "node", "state")

    def __init__(self, number: int, node: Node) -> None:
        self.id = number
        self.node = node
        self.lookups = 0
        self.state: State | None = None
        self.has_default_acl: bool | None = None


class Nodes:
    """All nodes that the kernel knows.

    Parameters
    ----------
    union
        Whose nodes.
    limit
        About how many it shall know at most.
    """

    def __init__(self, union: Union, limit: int) -> None:
        self._union = union
        self._lock = threading.Lock()
        self._next = ROOT_ID
        self._forgotten = 0
        self._by_id: dict[int, Known] = {}
        self._by_node: dict[Node, Known] = {}
        self.limit = self._enough = limit
        self.know(union.root)

    def __len__(self) -> int:
        """Return how many nodes the kernel knows."""
        return len(self._by_id)

    def find(self, number: int) -> Known:
        """Return the node that the kernel means.

        Raises
        ------
        OSError
            ESTALE where there is none.
        """
        known = self._by_id.get(number)
        if known is None:
            raise failure(errno.ESTALE)
        return known

    def get(self, number: int) -> Known | None:
        """Return the node that the kernel means, None where there is none."""
        return self._by_id.get(number)

    def known(self, node: Node) -> Known | None:
        """Return what the kernel knows a node as."""
        return self._by_node.get(node)

    def know(self, node: Node) -> Known:
        """Count one lookup of a node, which the caller holds once for it."""
        with self._lock:
            known = self._by_node.get(node)
            if known is None:
                known = self._make(node)
            known.lookups += 1
            return known

    def _make(self, node: Node) -> Known:
        known = Known(self._next, node)
        self._next += 1
        self._by_id[known.id] = known
        self._by_node[node] = known
        return known

    def renew(self, node: Node) -> None:
        """Give a node another number at its next lookup; the old number stays valid for who has it open."""
        with self._lock:
            self._by_node.pop(node, None)

    def forget(self, counts: Iterable[tuple[int, int]]) -> list[State]:
        """Take lookups back.

        Parameters
        ----------
        counts
            Node IDs, each with a number of lookups.

        Returns
        -------
        list
            What was remembered of nodes that are now forgotten.
        """
        states = []
        for number, count in counts:
            with self._lock:
                known = self._by_id.get(number)
                if known is None or number == ROOT_ID:
                    continue
                count = min(count, known.lookups)
                known.lookups -= count
                if not known.lookups:
                    self._forgotten += 1
                    del self._by_id[number]
                    if self._by_node.get(known.node) is known:
                        del self._by_node[known.node]
                    if known.state is not None:
                        states.append(known.state)
            self._union.release(known.node, count)
        return states

    @property
    def forgotten(self) -> int:
        """How many nodes have been forgotten since the last `compact`."""
        return self._forgotten

    def compact(self) -> None:
        """Give memory back after very many nodes were forgotten: the kernel is short of it as well."""
        with self._lock:
            self._forgotten = 0
            self._by_id = dict(self._by_id)
            self._by_node = dict(self._by_node)
        self._union.forget_idle()
        gc.collect()
        syscalls.release_memory()

    def surplus(self) -> list[int]:
        """Return IDs of nodes that the kernel should let go of, those that it knows for longest; most often none."""
        if len(self._by_id) <= self._enough:
            return []
        with self._lock:
            if len(self._by_id) <= self._enough:
                return []
            chosen = [number for number, _ in zip(self._by_id, range(self.limit // 4), strict=False)][1:]
            for number in chosen:  # at the end of the line, for those that it cannot let go of
                self._by_id[number] = self._by_id.pop(number)
            self._enough = max(self.limit, len(self._by_id) - len(chosen) // 2)
            return chosen

    def states(self) -> list[State]:
        """Return what is remembered of all nodes that have been opened."""
        with self._lock:
            return [known.state for known in self._by_id.values() if known.state is not None]
