"""Recording: how an operation on the union becomes one `Operation`.

Decided here and only here: when a record is made, what its layer is, and that a failed operation is recorded as well.
The methods of the union that are operations carry the decorator `recorded`; while one runs, what it changes is noted
by `_note`. Where nothing is recorded both cost next to nothing.

Threads: each has its own notes and its own caller.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from time import perf_counter_ns, time_ns
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from fusefs.node import Node
from fusefs.operation import EffectKind, Kind, Operation, Raw, RawEffect, from_raw
from fusefs.stack import Options, Stack
from fusefs.tree import Tree

__all__ = ["Caller", "Record", "Recording", "recorded"]

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

    `abandoned` tells whether whoever asked waits no more; long work looks at it by the way.
    """

    abandoned: Callable[[], bool] = staticmethod(lambda: False)

    def __init__(self) -> None:
        self.uid = os.geteuid()
        self.gid = os.getegid()
        self.pid = os.getpid()
        self.effects: list[RawEffect] | None = None
        self.size = 0
        self.offset = 0
        self.target = ""

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
        self.takes: Callable[[Kind], bool] = _everything

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

    def _where(self, node: Node, name: bytes | None = None) -> str:
        """Return the path of a node, or of a name in it, for a note; nothing where nothing is noted."""
        if self.caller.effects is None:
            return ""
        return node.path() if name is None else node.path_of(name)

    def _note(self, kind: EffectKind, path: str, *, origin: int | None = None, size: int = 0, target: str = "") -> None:
        """Note a change that the current operation made."""
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
            if caller.effects is not None or not self.takes(kind):
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
    path = node.raw_path_of(args[1]) if by_name else node.raw_path()
    effects: list[RawEffect] = []
    caller.effects = effects
    caller.size = caller.offset = 0
    caller.target = ""
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
        caller.effects = None
        layer = _layer(result, node, error, effects) if by_name else node.layer
        take(
            (
                word, path, layer, tuple(effects), caller.size, caller.offset, caller.target,
                started, duration, caller.pid, error,
            )
        )  # fmt: skip
    return result


def _layer(result: Any, node: Node, error: int, effects: list[RawEffect]) -> int | None:
    """Return which layer served an operation on a name."""
    if isinstance(result, tuple):
        result = result[0]
    if isinstance(result, Node):
        return result.layer
    return None if error else 0 if effects else node.layer
