"""A union filesystem: read-only layers and one writable layer, seen as one tree, every operation recorded.

In this process, on plain directories, without privilege:

    from fusefs import UnionFS
    fs = UnionFS(lower=["top", "base"], upper="upper", work="work")

For every program, on a mountpoint:

    from fusefs import Stack, mount
    mounted = mount(Stack((Path("top"), Path("base")), Path("upper"), Path("work")), Path("mnt"))
"""

from fusefs.errors import FusefsError, JournalError, LayerError, MountError
from fusefs.journal import Journal, JournalLayer, Level
from fusefs.marks import Format
from fusefs.mount import Mount, mount, unmount
from fusefs.operation import Effect, EffectKind, Kind, Operation
from fusefs.paths import UnionFS
from fusefs.recorder import Recorder
from fusefs.stack import Options, Redirect, Stack

__all__ = [
    "Effect",
    "EffectKind",
    "Format",
    "FusefsError",
    "Journal",
    "JournalError",
    "JournalLayer",
    "Kind",
    "LayerError",
    "Level",
    "Mount",
    "MountError",
    "Operation",
    "Options",
    "Recorder",
    "Redirect",
    "Stack",
    "UnionFS",
    "mount",
    "unmount",
]
