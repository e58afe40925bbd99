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
import time
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, cast

from fusefs.node import Node
from fusefs.operation import Effect, EffectKind, Kind, Operation
from fusefs.stack import Options, Stack
from fusefs.tree import Tree

__all__ = ["Caller", "Record", "Recording", "recorded"]

P = ParamSpec("P")
R = TypeVar("R")


class Record(Protocol):
    """What takes the records: a `Recorder`, or anything that can be called with an `Operation`."""

    def __call__(self, operation: Operation, /) -> None:
        """Take one operation."""


class Caller(threading.local):
    """On whose behalf the current thread works: user, group and process; the process itself unless set."""

    def __init__(self) -> None:
        self.uid = os.geteuid()
        self.gid = os.getegid()
        self.pid = os.getpid()
        self.effects: list[Effect] | None = None
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
        self.record: Record | None = None
        self.takes: Callable[[Kind], bool] = _everything

    def _note(self, kind: EffectKind, path: str, *, origin: int | None = None, size: int = 0, target: str = "") -> None:
        """Note a change that the current operation made."""
        effects = self.caller.effects
        if effects is not None:
            effects.append(Effect(kind, path, origin, size, target))


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

    def decorate(method: Callable[Concatenate[U, P], R]) -> Callable[Concatenate[U, P], R]:
        @functools.wraps(method)
        def operation(self: U, /, *args: P.args, **kwargs: P.kwargs) -> R:
            record = self.record
            caller = self.caller
            if record is None or caller.effects is not None or not self.takes(kind):
                return method(self, *args, **kwargs)
            return cast(R, _run(self, record, kind, by_name, method, args, kwargs))

        return operation

    return decorate


_BY_NAME = frozenset(
    {
        Kind.LOOKUP, Kind.CREATE, Kind.MKDIR, Kind.MKNOD, Kind.SYMLINK, Kind.LINK, Kind.UNLINK, Kind.RMDIR, Kind.RENAME,
    }
)  # fmt: skip


def _run(
    union: Any, record: Record, kind: Kind, by_name: bool, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run an operation and record it, whether it succeeds or fails."""
    caller: Caller = union.caller
    subject = args[0]
    node: Node = subject if isinstance(subject, Node) else subject.node
    path = node.path_of(args[1]) if by_name else node.path()
    effects: list[Effect] = []
    caller.effects = effects
    caller.size = caller.offset = 0
    caller.target = ""
    started = time.time_ns()
    before = time.perf_counter_ns()
    error = 0
    result: Any = None
    try:
        result = method(union, *args, **kwargs)
    except OSError as failed:
        error = failed.errno or 0
        raise
    finally:
        duration = time.perf_counter_ns() - before
        caller.effects = None
        layer = _layer(kind, result, node, by_name, error, effects)
        record(
            Operation(
                kind, path, layer, tuple(effects), caller.size, caller.offset, caller.target,
                started, duration, caller.pid, error,
            )
        )  # fmt: skip
    return result


def _layer(kind: Kind, result: Any, node: Node, by_name: bool, error: int, effects: list[Effect]) -> int | None:
    """Return which layer served an operation."""
    if by_name:
        if isinstance(result, tuple):
            result = result[0]
        if isinstance(result, Node):
            return result.layer
        return None if error else 0 if effects else node.layer
    return node.layer
