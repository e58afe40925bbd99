"""Recording: how an operation on the union becomes one `Operation`.

Decided here and only here: when a record is made, what its layer is, and that a failed operation is recorded as well.
The methods of the union that are operations carry the decorator `recorded`; while one runs, what it changes is noted
by `_note`. Where nothing is recorded both cost next to nothing.

Threads: each has its own notes, its own caller, and its own records that were put off.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from time import perf_counter_ns, time_ns
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from fusefs.node import Node
from fusefs.operation import EffectKind, Kind, Operation, Raw, from_raw
from fusefs.stack import Options, Stack
from fusefs.tree import Tree

__all__ = ["Caller", "Record", "Recording", "recorded"]

#: A `RawEffect`; a path of None is the operation's own.
_Noted = tuple[str, str | None, int | None, int, str]
#: What a record is made of that is still to be told: whose path it is, and the rest with no path yet.
_Untold = tuple[Node, bytes | None, list[_Noted], Raw]

P = ParamSpec("P")
R = TypeVar("R")


class Record(Protocol):
    """What takes the records: a `Recorder`, or anything that can be called with an `Operation`.

    What has a method `take` gets each as a `Raw` there.
    """

    def __call__(self, operation: Operation, /) -> None:
        """Take one operation."""


class Caller(threading.local):
    """On whose behalf the current thread works: user, group and process; the process itself unless set.

    `abandoned` tells whether whoever asked waits no more; long work looks at it by the way. `waits` is called before
    the thread waits for a disk, for much data or for another copy-up: somebody else may take over what it was to do.
    """

    abandoned: Callable[[], bool] = staticmethod(lambda: False)
    waits: Callable[[], None] = staticmethod(lambda: None)

    def __init__(self) -> None:
        self.uid = os.geteuid()
        self.gid = os.getegid()
        self.pid = os.getpid()
        self.effects: list[_Noted] | None = None
        self.size = 0
        self.offset = 0
        self.target = ""
        self.untold: list[_Untold] | None = None

    def become(self, uid: int, gid: int, pid: int) -> None:
        """Work for another process from now on; who is created belongs to `uid` and `gid`."""
        self.uid = uid
        self.gid = gid
        self.pid = pid


class Recording(Tree):
    """A tree whose operations are recorded. For the parameters see `Table`."""

    def __init__(self, stack: Stack, options: Options | None = None) -> None:
        super().__init__(stack, options)
        self.caller = Caller()
        self._record: Record | None = None
        self._take: Callable[[Raw], object] | None = None
        self.takes = _everything

    @property
    def takes(self) -> Callable[[Kind], bool]:
        """Tells of each kind of operation whether it is recorded; asked once, when it is set."""
        return self._takes

    @takes.setter
    def takes(self, takes: Callable[[Kind], bool]) -> None:
        self._takes = takes
        self._words = frozenset(kind.value for kind in Kind if takes(kind))

    @property
    def record(self) -> Record | None:
        """What takes the records; None for nothing."""
        return self._record

    @record.setter
    def record(self, record: Record | None) -> None:
        self._record = record
        take = getattr(record, "take", None)
        if take is None and record is not None:
            taker = record

            def take(raw: Raw) -> None:
                taker(from_raw(raw))

        self._take = take

    def put_off_records(self) -> None:
        """Let records of this thread wait for `tell`: for a driver that answers first, so that nobody waits for them.

        The paths of objects are worked out then: they must still be known.
        """
        self.caller.untold = []

    def tell(self) -> None:
        """Pass on the records of this thread that were put off."""
        untold, take = self.caller.untold, self._take
        if untold:
            for node, name, effects, raw in untold:
                if take is not None:
                    take(_with_paths(raw, _path(node, name), effects))
            untold.clear()

    def _where(self, node: Node, name: bytes | None = None) -> str:
        """Return the path of a node, or of a name in it, for a note; nothing where nothing is noted."""
        if self.caller.effects is None:
            return ""
        return node.path() if name is None else node.path_of(name)

    def _note(
        self, kind: EffectKind, path: str | None = None, *, origin: int | None = None, size: int = 0, target: str = ""
    ) -> None:
        """Note a change that the current operation made; a path of None is the one that it was asked of."""
        effects = self.caller.effects
        if effects is not None:
            effects.append((kind._value_, path, origin, size, target))


def _everything(_: Kind) -> bool:
    return True


U = TypeVar("U", bound=Recording)


def recorded(
    kind: Kind,
) -> Callable[[Callable[Concatenate[U, P], R]], Callable[Concatenate[U, P], R]]:
    """Make a method an operation that is recorded.

    The method's first argument is what the operation is asked of: a node, an open file (which has a `node`), or a
    directory that is followed by a name in it. If it returns a node, its layer is the record's.
    """
    by_name = kind in _BY_NAME
    word = kind.value

    def decorate(method: Callable[Concatenate[U, P], R]) -> Callable[Concatenate[U, P], R]:
        @functools.wraps(method)
        def operation(self: U, /, *args: P.args, **kwargs: P.kwargs) -> R:
            take = self._take
            if take is None:
                return method(self, *args, **kwargs)
            caller = self.caller
            if caller.effects is not None or word not in self._words:
                return method(self, *args, **kwargs)
            return cast(R, _run(self, caller, take, word, by_name, method, args, kwargs))

        return operation

    return decorate


_BY_NAME = frozenset(
    {
        Kind.LOOKUP, Kind.CREATE, Kind.MKDIR, Kind.MKNOD, Kind.SYMLINK, Kind.LINK, Kind.UNLINK, Kind.RMDIR, Kind.RENAME,
    }
)  # fmt: skip


def _run(
    union: Any, caller: Caller, take: Callable[[Raw], object], word: str, by_name: bool, method: Any,
    args: tuple[Any, ...], kwargs: dict[str, Any],
) -> Any:  # fmt: skip
    """Run an operation and record it, whether it succeeds or fails."""
    subject = args[0]
    node: Node = subject if isinstance(subject, Node) else subject.node
    name: bytes | None = args[1] if by_name else None
    notes = caller.__dict__  # this thread's: to ask for it each time is most of what recording costs
    untold = notes["untold"]
    path = _path(node, name) if untold is None else b""
    effects: list[_Noted] = []
    notes["effects"] = effects
    notes["size"] = notes["offset"] = 0
    notes["target"] = ""
    started = time_ns()
    before = perf_counter_ns()
    error = 0
    result: Any = None
    try:
        result = method(union, *args, **kwargs)
    except OSError as failed:
        error = failed.errno or 0
        raise
    finally:
        duration = perf_counter_ns() - before
        notes["effects"] = None
        layer = _layer(result, node, error, effects) if by_name else node.layer
        raw = (
            word, b"", layer, (), notes["size"], notes["offset"], notes["target"],
            started, duration, notes["pid"], error,
        )  # fmt: skip
        if untold is None:
            take(_with_paths(raw, path, effects))
        else:
            untold.append((node, name, effects, raw))
    return result


def _with_paths(raw: Raw, path: bytes, effects: list[_Noted]) -> Raw:
    """Return a raw operation with its path and effects."""
    if not effects:
        return (raw[0], path, *raw[2:])
    own = os.fsdecode(path)
    told = tuple([(kind, own if at is None else at, origin, size, to) for kind, at, origin, size, to in effects])
    return (raw[0], path, raw[2], told, *raw[4:])


def _path(node: Node, name: bytes | None) -> bytes:
    return node.raw_path() if name is None else node.raw_path_of(name)


def _layer(result: Any, node: Node, error: int, effects: list[_Noted]) -> int | None:
    """Return which layer served an operation on a name."""
    if isinstance(result, tuple):
        result = result[0]
    if isinstance(result, Node):
        return result.layer
    return None if error else 0 if effects else node.layer
